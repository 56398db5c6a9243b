//! Evidence that is true and endless: whoever is convicted by it is left out all the same, and nobody carries it.

use dkg::{Acceptance, Accused, Deal, Exclusion, Grounds, Member, Message};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_bytes::ByteBuf;

use crate::absence::cheat_once;
use crate::cluster::{Cluster, NOW, Step};
use crate::dealer::{Dealer, encryption_secret};
use crate::false_words::complain_of;

/// 0-based: the member that cheats. It does not lead.
const CHEAT: usize = 1;
/// Much more than anything that a ceremony of five has to keep or to say, and less than the evidence below.
const MUCH: usize = 100_000;

/// A deal with more than half a mebibyte of commitments, truly signed.
fn endless(cluster: &Cluster, acceptances: &[Acceptance]) -> Deal {
    let secret = encryption_secret(cluster.nodes[CHEAT].state());
    let mut dealer = Dealer::new(&cluster.proposal, acceptances, 2, secret, 1);
    let again = dealer.commitments[1];
    dealer.commitments.truncate(1);
    dealer.commitments.resize(20_000, again);
    dealer.finish(&cluster.nodes[CHEAT].local.identity)
}

/// All that is kept by the end.
fn assert_nobody_carries_it(cluster: &Cluster, code: &str) {
    cluster.assert_completed_without(&[CHEAT]);
    for place in (0..cluster.nodes.len()).filter(|place| *place != CHEAT) {
        let node = &cluster.nodes[place];
        assert!(node.disk.as_ref().unwrap().len() < MUCH, "member {place}");
        let [exclusion] = node.member.exclusions() else {
            panic!("{:?}", node.member.exclusions())
        };
        assert_eq!(exclusion.member, 2);
        let word = Grounds::Claimed {
            code: code.to_owned(),
        };
        assert_eq!(exclusion.grounds, word);
    }
    assert!(cluster.leader_disk.as_ref().unwrap().len() < MUCH);
}

#[test]
fn a_deal_without_end_leaves_its_dealer_out_on_the_leader_s_word() {
    let mut cluster = Cluster::with_absent(3, 5, 1, 950);
    let mut longest = 0;
    cheat_once(&mut cluster, endless, |begin, _| {
        longest = longest.max(begin.to_bytes().len());
    });
    assert!(longest < MUCH, "a `begin` has {longest} bytes");
    assert_nobody_carries_it(&cluster, "deal-commitment-count");
}

#[test]
fn complaints_without_end_leave_their_author_out_on_the_leader_s_word() {
    let many = |complaint| vec![complaint; 3_000];
    assert_nobody_carries_it(&complain_of(951, true, 1, many), "wrong-answer");
    let long = |mut complaint: dkg::Complaint| {
        complaint.path = ByteBuf::from(vec![7; 32 * 20_000]);
        vec![complaint]
    };
    assert_nobody_carries_it(&complain_of(952, true, 1, long), "wrong-answer");
    // With nobody to be absent the ceremony fails, by the same name.
    let cluster = complain_of(953, true, 0, many);
    cluster.assert_failed_by(CHEAT, "wrong-answer");
    for node in &cluster.nodes {
        assert!(node.disk.as_ref().unwrap().len() < MUCH);
    }
}

/// A `begin` without the cheat, and what the deal that it has dealt could be called.
fn begin_without(cluster: &mut Cluster) -> (Message, Box<Accused>) {
    let mut begun = None;
    let mut first: Vec<Acceptance> = Vec::new();
    cheat_once(cluster, endless, |begin, _| {
        if let Message::Begin {
            attempt,
            acceptances,
            ..
        } = begin
        {
            match attempt {
                1 => first.clone_from(acceptances),
                _ => begun = Some(begin.clone()),
            }
        }
    });
    let deal = endless(cluster, &first);
    let accused = Accused {
        header: deal.header,
        attempt: 1,
        acceptances: first,
        commitments: deal.commitments,
    };
    (begun.unwrap(), Box::new(accused))
}

/// A member that has accepted and has been told nothing else, from what it had written then.
fn that_has_accepted(cluster: &Cluster) -> Member {
    let mut fresh = Cluster::with_absent(3, 5, 1, 954);
    let mut disk = None;
    fresh.run_with(|cluster, step| {
        if let Step::Question(2, Message::Begin { .. }) = step {
            disk = disk.take().or_else(|| cluster.nodes[2].disk.clone());
        }
    });
    assert_eq!(fresh.proposal.hash(), cluster.proposal.hash());
    Member::restore(cluster.nodes[2].local.clone(), &disk.unwrap()).unwrap()
}

#[test]
fn members_take_no_longer_evidence_than_they_must() {
    let mut cluster = Cluster::with_absent(3, 5, 1, 954);
    let (begin, accused) = begin_without(&mut cluster);
    let (from, rng) = (cluster.leader_id(), &mut StdRng::seed_from_u64(1));
    let ceremony = cluster.proposal.id();
    // It is true that the deal is void, and it would be kept.
    let told = Exclusion {
        member: 2,
        grounds: Grounds::VoidDeal(accused.clone()),
    };
    let notice = Message::Notice {
        ceremony,
        excluded: vec![told.clone()],
    };
    let mut member = that_has_accepted(&cluster);
    let output = member.handle(&from, notice, NOW, rng).unwrap();
    assert!(output.persist.is_none() && member.accused().is_empty());
    assert_eq!(
        told.verify(&cluster.proposal).unwrap_err().code(),
        "false-evidence"
    );
    // Neither from a leader with which another attempt follows.
    let mut with = |grounds: Grounds| {
        let mut begin = begin.clone();
        if let Message::Begin { excluded, .. } = &mut begin {
            excluded[0].grounds = grounds;
        }
        let answer = that_has_accepted(&cluster).handle(&from, begin, NOW, rng);
        answer.map_or_else(|fault| fault.code(), |output| output.reply.name())
    };
    assert_eq!(with(Grounds::VoidDeal(accused.clone())), "false-evidence");
    let code = "x".repeat(65);
    assert_eq!(with(Grounds::Claimed { code }), "false-evidence");
    let code = "x".repeat(64);
    assert_eq!(with(Grounds::Claimed { code }), "dealt");
    let mut longer = accused;
    longer.commitments = ByteBuf::from(vec![0; 17 << 20]);
    assert_eq!(with(Grounds::VoidDeal(longer)), "evidence-too-long");
}

#[test]
fn sums_without_end_are_not_kept() {
    let mut cluster = Cluster::new(3, 5, 955);
    let mut longest = 0;
    cluster.run_with(|cluster, step| match step {
        Step::Question(2, Message::Deals { sums, .. }) => {
            *sums = ByteBuf::from(vec![1; 32 * 20_000]);
        }
        Step::Question(2, Message::WholeDeals { .. }) => {
            longest = cluster.nodes[2].disk.as_ref().unwrap().len();
        }
        _ => {}
    });
    assert!((1..MUCH).contains(&longest), "{longest} bytes");
    cluster.assert_completed();
}
