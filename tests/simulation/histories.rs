//! The histories that are played, and the planted bugs that show that they would tell.

use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use reencrypt::{Scalar, SecretScalar};
use testkit::misbehaviour::Misbehaviour;

use crate::invariants::{self, BELOW_T, Pool};
use crate::plan::{ATTACKS, Attack, CONDUCTS, Kind, Plan, SHAPES, provoking};
use crate::plants::Plant;
use crate::shrink::{all, play, report};
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

fn kept(plan: &Plan) -> Vec<usize> {
    match std::env::var("SIMULATE_KEEP") {
        Err(_) => all(plan),
        Ok(none) if none == "none" => Vec::new(),
        Ok(steps) => steps
            .split(',')
            .map(|step| step.parse().expect("SIMULATE_KEEP is a list of numbers"))
            .collect(),
    }
}

#[test]
fn the_invariants_hold_in_every_history() {
    if let Some(seed) = number("SIMULATE_SEED") {
        let plan = Plan::of(seed);
        let outcome = play(seed, &plan, &kept(&plan), None, true);
        println!("{}", outcome.log.join("\n"));
        if let Some(found) = outcome.violation {
            panic!("{} does not hold: {}", found.invariant, found.what);
        }
        return;
    }
    let first = number("SIMULATE_FROM").unwrap_or(0);
    let seeds = number("SIMULATE_SEEDS").unwrap_or(USUAL);
    let next = AtomicU64::new(first);
    let [released, opened, made, torn, lies] = [const { AtomicU64::new(0) }; 5];
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
                    let outcome = play(seed, &plan, &all(&plan), None, false);
                    released.fetch_add(outcome.released, Ordering::Relaxed);
                    opened.fetch_add(outcome.opened, Ordering::Relaxed);
                    made.fetch_add(outcome.made as u64, Ordering::Relaxed);
                    torn.fetch_add(outcome.torn, Ordering::Relaxed);
                    lies.fetch_add(outcome.lies, Ordering::Relaxed);
                    if let Some(found) = outcome.violation {
                        let told = report(seed, &plan, None, &found);
                        failed.lock().unwrap().get_or_insert(told);
                    }
                }
            });
        }
    });
    if let Some(told) = failed.into_inner().unwrap() {
        panic!("{told}");
    }
    let [released, opened, made, torn, lies] =
        [released, opened, made, torn, lies].map(AtomicU64::into_inner);
    let told = format!(
        "{seeds} histories: {released} shares given, {opened} documents opened, {made} results of ceremonies, {lies} lies in them, {torn} times the power failed in a write"
    );
    println!("{told}");
    assert!(
        opened >= seeds / 2 && made >= seeds / 8 && lies >= seeds / 20,
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
        let honest = play(7, &plan, &all(&plan), None, false);
        assert_eq!(
            honest.violation, None,
            "{plant:?}: nothing is wrong without it"
        );
        let outcome = play(7, &plan, &all(&plan), Some(plant), false);
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
        let told = report(7, &plan, Some(plant), &violation);
        assert!(told.contains("SIMULATE_KEEP="), "{told}");
    }
    for invariant in invariants::ALL {
        assert!(
            found_by.contains(&invariant),
            "no bug is planted for {invariant}"
        );
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
                play(*seed, &plan, &all(&plan), None, false);
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
        // What the machines' own histories have, where one ceremony is all that there is (`CHEATS` there).
        let elsewhere = [M::FalseComplaint, M::EndlessDeals, M::CallingBack].contains(&word);
        if concerns.ceremonies && !concerns.reads && !concerns.clients && !elsewhere {
            let played = DEALINGS.contains(&word) || LEADINGS.contains(&word);
            assert!(played, "{word}");
        }
    }
}
