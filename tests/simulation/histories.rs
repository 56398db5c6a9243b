//! The histories that are played, and the planted bugs that show that they would tell.

use std::path::PathBuf;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use reencrypt::{Scalar, SecretScalar};
use testkit::misbehaviour::Misbehaviour;

use crate::invariants::{self, BELOW_T, Pool};
use crate::network::Weather;
use crate::plan::{ATTACKS, Attack, CONDUCTS, Kind, Plan, SHAPES, Step, provoking};
use crate::plants::Plant;
use crate::shrink::{History, Outcome, play, report, shortest};
use crate::world::{DEALINGS, LEADINGS};

/// As many as continuous integration has the time for.
const USUAL: u64 = 2_000;

fn number(name: &str) -> Option<u64> {
    let value = std::env::var(name).ok()?;
    Some(
        value
            .parse()
            .unwrap_or_else(|_| panic!("{name} is a number")),
    )
}

/// The history that is to be played alone, if one is.
fn chosen() -> Option<History> {
    if let Ok(file) = std::env::var("SIMULATE_LOG") {
        // `cargo test` works in the crate's folder.
        let root = concat!(env!("CARGO_MANIFEST_DIR"), "/..");
        let text = std::fs::read_to_string(PathBuf::from(root).join(&file));
        let text = text.unwrap_or_else(|error| panic!("SIMULATE_LOG={file}: {error}"));
        let history = text.parse();
        return Some(history.unwrap_or_else(|error| panic!("SIMULATE_LOG={file}: {error}")));
    }
    let seed = number("SIMULATE_SEED")?;
    let mut history = History::whole(seed, &Plan::of(seed));
    if let Ok(kept) = std::env::var("SIMULATE_KEEP") {
        let steps = kept.split(',').filter(|step| *step != "none");
        history.steps = steps
            .map(|step| step.parse().expect("SIMULATE_KEEP is a list of numbers"))
            .collect();
    }
    Some(history)
}

/// What a history that failed comes down to: it is printed, and lies in a file that plays it again.
fn tell(whole: &History, plan: &Plan, invariant: &str) -> String {
    let (history, told) = report(whole, plan, None, invariant);
    let file = format!("{}/history-{}.log", env!("CARGO_TARGET_TMPDIR"), whole.seed);
    let written = std::fs::write(&file, format!("# {invariant} does not hold\n{history}"));
    let again = match written {
        Ok(()) => format!("SIMULATE_LOG={file} just simulate"),
        Err(error) => {
            format!("SIMULATE_LOG=FILE just simulate, of the lines above ({file}: {error})")
        }
    };
    format!("{told}\nagain: {again}\n")
}

#[test]
fn the_invariants_hold_in_every_history() {
    if let Some(history) = chosen() {
        let outcome = play(&history, &Plan::of(history.seed), None, true);
        println!("{}", outcome.log.join("\n"));
        if let Some(found) = outcome.violation {
            panic!("{} does not hold: {}", found.invariant, found.what);
        }
        return;
    }
    let first = number("SIMULATE_FROM").unwrap_or(0);
    let seeds = number("SIMULATE_SEEDS").unwrap_or(USUAL);
    let next = AtomicU64::new(first);
    let [released, opened, made, torn, lies, checkpoints] = [const { AtomicU64::new(0) }; 6];
    let failed: Mutex<Option<String>> = Mutex::new(None);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                loop {
                    let seed = next.fetch_add(1, Ordering::Relaxed);
                    if seed >= first + seeds || failed.lock().unwrap().is_some() {
                        return;
                    }
                    let plan = Plan::of(seed);
                    let whole = History::whole(seed, &plan);
                    let outcome = play(&whole, &plan, None, false);
                    released.fetch_add(outcome.released, Ordering::Relaxed);
                    opened.fetch_add(outcome.opened, Ordering::Relaxed);
                    made.fetch_add(outcome.made as u64, Ordering::Relaxed);
                    torn.fetch_add(outcome.torn, Ordering::Relaxed);
                    lies.fetch_add(outcome.lies, Ordering::Relaxed);
                    checkpoints.fetch_add(outcome.torn_checkpoints, Ordering::Relaxed);
                    if let Some(found) = outcome.violation {
                        let told = tell(&whole, &plan, found.invariant);
                        failed.lock().unwrap().get_or_insert(told);
                    }
                }
            });
        }
    });
    if let Some(told) = failed.into_inner().unwrap() {
        panic!("{told}");
    }
    let [released, opened, made, torn, lies, checkpoints] =
        [released, opened, made, torn, lies, checkpoints].map(AtomicU64::into_inner);
    let told = format!(
        "{seeds} histories: {released} shares given, {opened} documents opened, {made} results of ceremonies, {lies} lies in them, {torn} times the power failed in a write, {checkpoints} times in a record's checkpoint"
    );
    println!("{told}");
    assert!(
        opened >= seeds / 2
            && made >= seeds / 8
            && lies >= seeds / 20
            && checkpoints >= seeds / 200,
        "too little has happened: {told}"
    );
}

/// Every planted bug is found, by its invariant, and a short history of it is told.
#[test]
fn every_invariant_finds_the_bug_that_is_planted_for_it() {
    let plants = [
        Plant::OtherResult,
        Plant::FewerOrganisations,
        Plant::LeaksShare,
        Plant::LyingDisk,
        Plant::ForgetfulPeer,
        Plant::Mute,
        Plant::AnswersFirst,
        Plant::BlamesAnybody,
    ];
    let mut found_by: Vec<&str> = Vec::new();
    for plant in plants {
        let plan = Plan {
            kind: Kind::Reads,
            shape: SHAPES[0],
            steps: provoking(plant),
            storm_ms: 8_000,
        };
        let whole = History::whole(7, &plan);
        let honest = play(&whole, &plan, None, false);
        assert_eq!(
            honest.violation, None,
            "{plant:?}: nothing is wrong without it"
        );
        let outcome = play(&whole, &plan, Some(plant), false);
        let violation = outcome
            .violation
            .unwrap_or_else(|| panic!("{plant:?} is not found"));
        assert_eq!(
            violation.invariant,
            invariants::finds(plant),
            "{plant:?}: {}",
            violation.what
        );
        found_by.push(violation.invariant);
        // It comes down to a short history, which as a text plays the same again.
        let (history, told) = report(&whole, &plan, Some(plant), violation.invariant);
        assert!(told.contains(&history.to_string()), "{told}");
        assert!(history.steps.len() <= 3, "{told}");
        assert_eq!(
            history.messages.as_ref().map(|it| it.len()),
            Some(0),
            "{told}"
        );
        let read: History = history.to_string().parse().unwrap();
        assert_eq!(read, history);
        let again = play(&read, &plan, Some(plant), false).violation.unwrap();
        assert_eq!(again.invariant, violation.invariant, "{told}");
    }
    for invariant in invariants::ALL {
        assert!(
            found_by.contains(&invariant),
            "no bug is planted for {invariant}"
        );
    }
}

/// A read that is slow because messages were lost: which ones it was is found, each of them is needed, and the text of it plays the same.
#[test]
fn what_the_weather_did_comes_down_to_single_messages() {
    const SLOW_MS: u64 = 1_500;
    let weather = Weather {
        lost: 250,
        doubled: 0,
        delay_ms: 4,
    };
    let storm = Step::Storm {
        weather,
        for_ms: 4_000,
    };
    let read = Step::Read {
        reader: 0,
        document: 0,
    };
    let plan = Plan {
        kind: Kind::Reads,
        shape: SHAPES[0],
        steps: vec![(0, storm), (10, read)],
        storm_ms: 4_000,
    };
    let slow = |outcome: &Outcome| {
        let opened = outcome.log.iter().find_map(|line| {
            let (_, rest) = line.split_once("read 0 is open after ")?;
            rest.split(' ').next()?.parse::<u64>().ok()
        });
        opened.is_some_and(|took| took > SLOW_MS)
    };
    let whole = (0..40)
        .map(|seed| History::whole(seed, &plan))
        .find(|whole| slow(&play(whole, &plan, None, true)))
        .expect("a slow read in bad weather");
    let bad = play(&whole, &plan, None, true).fared.len();
    let found = shortest(&whole, &plan, None, &slow);
    // The storm itself has become idle.
    assert_eq!(found.steps, [1], "{found}");
    let messages = found.messages.clone().unwrap();
    assert!(!messages.is_empty() && messages.len() < bad, "{found}");
    let read: History = found.to_string().parse().unwrap();
    assert_eq!(read, found);
    assert!(slow(&play(&read, &plan, None, true)), "{found}");
    for letter in messages.keys() {
        let mut without = found.clone();
        without.messages.as_mut().unwrap().remove(letter);
        assert!(
            !slow(&play(&without, &plan, None, true)),
            "{letter:?}: {found}"
        );
    }
}

#[test]
fn what_is_no_history_is_refused() {
    for text in [
        "",
        "step 1",
        "seed one",
        "seed 1\nstep -1",
        "seed 1\nmessage node1 nobody 1 lost",
        "seed 1\nmessage node1 node2 1 late",
        "seed 1\nmessage node1 node2 1 after soon ms",
        "seed 1\nanything",
    ] {
        assert!(text.parse::<History>().is_err(), "{text:?}");
    }
}

/// What `nothing-below-t` says of sharings that a cluster could have been brought to.
#[test]
fn a_sharing_that_is_no_sharing_is_found() {
    let rng = &mut rand::rng();
    let mut random = || *SecretScalar::random(rng).expose();
    let secret = random();
    let public_key = SecretScalar::from_scalar(secret).unwrap().public();
    let share = |coefficients: &[Scalar], index: u16| {
        let (at, mut power, mut sum) = (Scalar::from(index), Scalar::ONE, Scalar::ZERO);
        for coefficient in coefficients {
            sum += coefficient * power;
            power *= at;
        }
        sum
    };
    // Two epochs of three of five, t − 1 members of each: first, then last.
    let found = |first: &[Scalar], then: &[Scalar]| {
        let mut pool = Pool::default();
        let holdings = [(0, first, [1, 2]), (1, then, [4, 5])];
        let mut outcome = Ok(());
        for (epoch, coefficients, indices) in holdings {
            for index in indices {
                let result = dkg::ResultName {
                    epoch,
                    attempt: 1,
                    hash: [0; 64],
                };
                let added = pool.add(result, index, share(coefficients, index), 3, &public_key);
                outcome = outcome.and(added);
            }
        }
        outcome.err().map(|violation| violation.invariant)
    };
    let sharings: [[Scalar; 3]; 2] = [[secret, random(), random()], [secret, random(), random()]];
    assert_eq!(found(&sharings[0], &sharings[1]), None);
    // A reshare that hands the same polynomial on.
    assert_eq!(found(&sharings[0], &sharings[0]), Some(BELOW_T));
    // Dealers whose polynomials are shorter than they should be.
    assert_eq!(found(&sharings[0][..2], &sharings[1]), Some(BELOW_T));
    // No polynomial at all: everybody has the secret.
    assert_eq!(found(&sharings[0], &sharings[1][..1]), Some(BELOW_T));
}

#[test]
#[ignore = "a measurement, not a check"]
fn what_parts_cost() {
    use std::time::Instant;
    let seeds: Vec<u64> = (0..16).collect();
    for kind in [Kind::Reads, Kind::Reshare, Kind::Create] {
        let mut spent = std::time::Duration::ZERO;
        let mut count = 0;
        for seed in &seeds {
            let plan = Plan::of(*seed);
            if plan.kind == kind {
                drop(crate::template::world(*seed, &plan, None));
                let begin = Instant::now();
                play(&History::whole(*seed, &plan), &plan, None, false);
                spent += begin.elapsed();
                count += 1;
            }
        }
        println!("{kind:?}: {count} histories, {:?} each", spent / count);
    }
    let plan = Plan::of(3);
    let begin = Instant::now();
    let mut world = crate::template::world(3, &plan, None);
    println!("world: {:?}", begin.elapsed());
    let begin = Instant::now();
    world.nodes[0].boot().unwrap();
    println!("a node starts: {:?}", begin.elapsed());
    let begin = Instant::now();
    world.peers[0].boot(world.founders).unwrap();
    println!("a peer starts: {:?}", begin.elapsed());
    let begin = Instant::now();
    world.nodes[0].kill();
    println!("a node is killed: {:?}", begin.elapsed());
    let begin = Instant::now();
    world.peers[0].kill();
    println!("a peer is killed: {:?}", begin.elapsed());
}

/// What nodes, strangers and members do in histories is all that the vocabulary has for them.
#[test]
fn every_word_for_misbehaviour_is_played_by_whom_it_concerns() {
    use Misbehaviour as M;
    for word in M::all() {
        let concerns = word.concerns();
        // Who is crashed, late or slow has bad luck, which the plan's crashes and the network's weather are.
        let unlucky = matches!(word, M::Crashed | M::Late(_) | M::SlowProcessor(_));
        if concerns.reads && !unlucky {
            assert!(CONDUCTS.contains(&word), "{word}");
        }
        // A stranger's message comes whole, however slowly it was sent.
        if concerns.clients && word != M::SlowReader {
            assert!(ATTACKS.contains(&Attack::As(word)), "{word}");
        }
        if concerns.ceremonies && !concerns.reads && !concerns.clients {
            let played = DEALINGS.contains(&word) || LEADINGS.contains(&word);
            assert!(played, "{word}");
        }
    }
}
