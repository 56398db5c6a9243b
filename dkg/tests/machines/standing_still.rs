//! Leaders that ask and do not go on, and what others' leaders have told: neither keeps the lead, nor the honest leader from its end.

use dkg::{Fault, Member, MemberStage, Message};
use rand::SeedableRng;
use rand::rngs::StdRng;

use crate::cluster::{Cluster, NOW, Step};

/// 0-based. 0 leads; the cheat is the next in the circle.
const CHEAT: usize = 1;
const VICTIM: usize = 2;
const PATIENCE: u64 = dkg::DEFAULT_PATIENCE_S as u64;

/// What the victim is told in an honest ceremony, and what it had written before.
struct Told {
    cluster: Cluster,
    begin: Message,
    /// With false sums.
    deals: Message,
    whole_deals: Message,
    dealt: Vec<u8>,
}

impl Told {
    fn new(seed: u64) -> Self {
        let mut cluster = Cluster::new(3, 5, seed);
        let (mut begin, mut deals, mut whole_deals) = (None, None, None);
        let mut dealt = None;
        cluster.run_with(|cluster, step| match step {
            Step::Question(VICTIM, message @ Message::Begin { .. }) => {
                begin = Some(message.clone());
            }
            Step::Question(VICTIM, message @ Message::Deals { .. }) => {
                dealt.clone_from(&cluster.nodes[VICTIM].disk);
                if let Message::Deals { sums, .. } = message {
                    sums.reverse();
                }
                deals = Some(message.clone());
            }
            Step::Question(VICTIM, message @ Message::WholeDeals { .. }) => {
                whole_deals = Some(message.clone());
            }
            _ => {}
        });
        Self {
            cluster,
            begin: begin.unwrap(),
            deals: deals.unwrap(),
            whole_deals: whole_deals.unwrap(),
            dealt: dealt.unwrap(),
        }
    }

    /// The victim, when it has dealt.
    fn victim(&self) -> Member {
        let local = self.cluster.nodes[VICTIM].local.clone();
        Member::restore(local, &self.dealt).unwrap()
    }

    fn identity(&self, place: usize) -> [u8; 32] {
        self.cluster.nodes[place].card.identity
    }

    fn leading(&self) -> Message {
        Message::Leading {
            waiting: Vec::new(),
            attempt: 1,
            ceremony: self.cluster.proposal.id(),
        }
    }
}

#[test]
fn false_sums_by_turns_with_the_whole_deals_are_no_progress() {
    let told = Told::new(970);
    let mut member = told.victim();
    let (from, rng) = (told.identity(0), &mut StdRng::seed_from_u64(1));
    let (mut now, mut turn, mut codes) = (NOW, u64::MAX, Vec::new());
    while now < turn {
        for question in [&told.deals, &told.whole_deals] {
            let answer = member.handle(&from, question.clone(), now, rng);
            codes.extend(answer.err().map(|fault| fault.code()));
        }
        turn = member.takes_over_at(now).unwrap();
        now += 60;
        assert!(now < NOW + 6 * PATIENCE, "it never ends");
    }
    assert!(!codes.is_empty() && codes.iter().all(|code| *code == "false-sums"));
    assert_eq!(member.stage(), MemberStage::Acknowledged);
}

/// The victim is led by 0, hears nothing of it for its patience, follows the next, and is called back by 0; so often.
fn calls_back(told: &Told, member: &mut Member, now: &mut u64, between: Option<&Message>) {
    let rng = &mut StdRng::seed_from_u64(2);
    let mut ask = |member: &mut Member, place: usize, question: &Message, now: u64| {
        let _ = member.handle(&told.identity(place), question.clone(), now, rng);
        member.led_by().unwrap().identity
    };
    *now += PATIENCE;
    let led_by = ask(member, CHEAT, &told.leading(), *now);
    assert_eq!(led_by, told.identity(CHEAT), "the next takes over");
    *now += 1;
    ask(member, 0, &told.leading(), *now);
    if let Some(question) = between {
        *now += 1;
        ask(member, 0, question, *now);
    }
}

#[test]
fn silence_and_calling_back_by_turns_lose_the_lead() {
    let told = Told::new(971);
    let mut member = told.victim();
    let (mut now, rng) = (NOW, &mut StdRng::seed_from_u64(3));
    let output = member.handle(&told.identity(0), told.leading(), now, rng);
    assert!(output.is_ok());
    calls_back(&told, &mut member, &mut now, None);
    let led_by = member.led_by().unwrap().identity;
    assert_eq!(led_by, told.identity(0), "once, it may have been cut off");
    calls_back(&told, &mut member, &mut now, None);
    let led_by = member.led_by().unwrap().identity;
    assert_eq!(led_by, told.identity(CHEAT), "the second time it stays");
    // So its successor can do what only a leader can.
    let mut next = told.begin.clone();
    if let Message::Begin { attempt, .. } = &mut next {
        *attempt = 2;
    }
    let from_former = member.handle(&told.identity(0), next.clone(), now, rng);
    assert_eq!(from_former.err().unwrap().code(), "not-the-leader");
    let output = member
        .handle(&told.identity(CHEAT), next, now, rng)
        .unwrap();
    assert_eq!(output.reply.name(), "dealt");
}

#[test]
fn a_leader_that_was_cut_off_comes_back_as_often_as_it_goes_on() {
    let told = Told::new(972);
    let mut member = told.victim();
    let (mut now, rng) = (NOW, &mut StdRng::seed_from_u64(4));
    let output = member.handle(&told.identity(0), told.leading(), now, rng);
    assert!(output.is_ok());
    for question in [Some(&told.deals), Some(&told.whole_deals), None] {
        calls_back(&told, &mut member, &mut now, question);
        let led_by = member.led_by().unwrap().identity;
        assert_eq!(led_by, told.identity(0), "{question:?}");
    }
    assert_eq!(member.stage(), MemberStage::Acknowledged);
}

/// Two that are always the first to ask when the leader is gone, and bring nobody further, by silence or by standing still.
#[test]
fn two_in_turns_do_not_keep_the_lead_from_the_others() {
    for asks_every in [PATIENCE, PATIENCE / 2] {
        let told = Told::new(975);
        let mut member = told.victim();
        let rng = &mut StdRng::seed_from_u64(6);
        let cheats = [0, CHEAT].map(|place| told.identity(place));
        let honest = told.identity(3);
        let (mut now, mut refused) = (NOW, 0);
        // Whoever leads asks as often as it takes; the other tries at every moment, before anybody else does.
        while member
            .led_by()
            .is_none_or(|leader| leader.identity != honest)
        {
            assert!(now < NOW + 40 * PATIENCE, "it never ends");
            let leader = member.led_by().map(|leader| leader.identity);
            for cheat in cheats {
                if leader != Some(cheat) || now % asks_every == 0 {
                    let _ = member.handle(&cheat, told.leading(), now, rng);
                }
            }
            let turn = member.takes_over_at(now).unwrap();
            if now + PATIENCE > turn {
                let _ = member.handle(&honest, told.leading(), now, rng);
                refused += 1;
            }
            now += 10;
        }
        assert!(refused > 0);
        // And it can do what only a leader can.
        let mut next = told.begin.clone();
        if let Message::Begin { attempt, .. } = &mut next {
            *attempt = 2;
        }
        let output = member.handle(&honest, next, now, rng).unwrap();
        assert_eq!(output.reply.name(), "dealt");
    }
}

/// Another leads the victim for a moment and makes it doubt what it has acknowledged, when all have.
#[test]
fn who_was_made_to_doubt_is_shown_the_whole_deals_by_the_leader_that_confirms() {
    let mut cluster = Cluster::new(3, 5, 973);
    let (mut told, mut doubts, mut whole, mut refused) = (None, 0, 0, Vec::new());
    cluster.run_with(|cluster, step| match step {
        Step::Question(VICTIM, message @ Message::Deals { .. }) => told = Some(message.clone()),
        Step::Question(VICTIM, Message::Acknowledgements { .. }) if doubts == 0 => {
            let mut question = told.clone().unwrap();
            if let Message::Deals { sums, .. } = &mut question {
                sums.reverse();
            }
            let other = cluster.nodes[CHEAT].card.identity;
            let now = NOW + PATIENCE;
            let rng = &mut StdRng::seed_from_u64(5);
            let output = cluster.nodes[VICTIM]
                .member
                .handle(&other, question, now, rng)
                .unwrap();
            assert_eq!(output.reply.name(), "deals-wanted");
            doubts += 1;
        }
        Step::Question(VICTIM, Message::WholeDeals { .. }) => whole += 1,
        Step::Answer(VICTIM, Message::Refused { code, .. }) => refused.push(code.clone()),
        _ => {}
    });
    assert_eq!(
        (doubts, whole, refused.as_slice()),
        (1, 1, &["out-of-step".to_owned()][..])
    );
    cluster.assert_completed();
    assert_eq!(cluster.nodes[VICTIM].member.attempt(), Some(1));
}

/// All but the leader refuse the sums of the first attempt: the answers of most come when the next has begun.
#[test]
fn refusals_that_come_late_raise_no_number() {
    let mut cluster = Cluster::new(3, 5, 974);
    let (mut asked, mut begun) = (None, 0);
    cluster.run_with(|_, step| match step {
        Step::Question(_, message) => {
            if let Message::Begin { attempt, .. } = message {
                begun = begun.max(*attempt);
            }
            asked = Some(message.about());
        }
        Step::Answer(1.., reply @ Message::Acknowledged { attempt: 1, .. }) => {
            *reply = Message::refusal(asked.unwrap(), &Fault::FalseSums);
        }
        _ => {}
    });
    assert_eq!(begun, 2);
    cluster.assert_completed();
}

#[test]
fn a_refusal_of_what_was_not_asked_is_its_author_s_fault() {
    for number in [0, 7] {
        let mut cluster = Cluster::new(3, 5, 975);
        cluster.run_with(|_, step| {
            if let Step::Answer(CHEAT, reply @ Message::Acknowledged { .. }) = step {
                let mut about = reply.about();
                about.attempt = Some(number);
                *reply = Message::refusal(about, &Fault::FalseSums);
            }
        });
        cluster.assert_failed_by(CHEAT, "refused");
    }
}
