//! Organisations come, go and change keys by a quorum's endorsement.

use crate::ledger::*;
use coordinator::record::{
    Event, OrganisationChange, OrganisationEndorse, OrganisationWithdraw, Rejection, Transaction,
    UserRole, quorum,
};

fn endorse(change: &OrganisationChange) -> Transaction {
    Transaction::OrganisationEndorse(OrganisationEndorse {
        change: change.clone(),
    })
}

fn withdraw(change: &OrganisationChange) -> Transaction {
    Transaction::OrganisationWithdraw(OrganisationWithdraw {
        change: change.id(),
    })
}

#[test]
fn quorums_overlap_in_an_honest_peer() {
    for (n, expected) in [
        (1, 1),
        (2, 2),
        (3, 3),
        (4, 3),
        (5, 4),
        (6, 5),
        (7, 5),
        (10, 7),
        (13, 9),
    ] {
        assert_eq!(quorum(n), expected);
        let faulty = (n - 1) / 3;
        assert!(
            2 * quorum(n) > n + faulty,
            "two quorums of {n} share more than the {faulty} faulty"
        );
        assert!(quorum(n) <= n - faulty, "the others of {n} are a quorum");
    }
}

#[test]
fn an_organisation_is_admitted_by_three_of_four() {
    let mut ledger = Ledger::new();
    let change = OrganisationChange::Admit(organisation("epsilon", &Authority::new("epsilon")));
    assert_eq!(
        ledger.accept("alpha", endorse(&change)),
        [Event::ChangeEndorsed {
            organisation: id("alpha"),
            missing: 2
        }]
    );
    assert_eq!(ledger.refuse("alpha", endorse(&change)), "already-endorsed");
    ledger.accept("beta", endorse(&change));
    assert_eq!(ledger.refuse("gamma", withdraw(&change)), "not-endorsed");
    ledger.accept("beta", withdraw(&change));
    assert_eq!(ledger.refuse("beta", withdraw(&change)), "not-endorsed");
    assert_eq!(
        ledger.refuse("epsilon", tenant_register("early")),
        "unknown-organisation"
    );
    ledger.accept("gamma", endorse(&change));
    let events = ledger.accept("delta", endorse(&change));
    assert!(events.contains(&Event::OrganisationAdmitted {
        organisation: id("epsilon")
    }));
    assert_eq!(ledger.state.pending_changes().count(), 0);
    assert_eq!(ledger.state.organisations().count(), 5);
    ledger.accept("epsilon", tenant_register("newcomer"));
    assert_eq!(
        ledger.refuse("alpha", endorse(&change)),
        "organisation-exists"
    );
}

#[test]
fn what_enough_have_endorsed_when_one_leaves_happens_with_its_departure() {
    let mut ledger = Ledger::new();
    let admit = |name| OrganisationChange::Admit(organisation(name, &Authority::new(name)));
    let (fifth, sixth, seventh) = (admit("epsilon"), admit("zeta"), admit("eta"));
    for author in ["alpha", "beta", "gamma"] {
        ledger.accept(author, endorse(&fifth));
    }
    // Of five, four decide; of four, three.
    let mut rekeyed = organisation("epsilon", &Authority::new("epsilon"));
    rekeyed.operator_key = public("epsilon's second operator");
    let of_the_departed = OrganisationChange::Rekey(rekeyed);
    for change in [&sixth, &of_the_departed] {
        for author in ["alpha", "beta", "gamma"] {
            ledger.accept(author, endorse(change));
        }
    }
    for author in ["alpha", "beta", "epsilon"] {
        ledger.accept(author, endorse(&seventh));
    }
    let remove = OrganisationChange::Remove(id("epsilon"));
    for author in ["alpha", "beta", "gamma"] {
        ledger.accept(author, endorse(&remove));
    }
    assert_eq!(ledger.state.organisations().count(), 5);
    let events = ledger.accept("delta", endorse(&remove));
    let expected = [
        Event::ChangeEndorsed {
            organisation: id("delta"),
            missing: 0,
        },
        Event::OrganisationRemoved {
            organisation: id("epsilon"),
        },
        Event::OrganisationAdmitted {
            organisation: id("zeta"),
        },
    ];
    assert_eq!(events, expected);
    ledger.accept("zeta", tenant_register("newcomer"));

    // What cannot happen to one that is gone waits, and so does what had the departed one's voice.
    let pending: Vec<_> = ledger.state.pending_changes().collect();
    assert_eq!(pending.len(), 2);
    for (id, change) in pending {
        let endorsed = change.endorsed_by.len();
        assert_eq!(endorsed, if *id == seventh.id() { 2 } else { 3 });
        assert!([seventh.id(), of_the_departed.id()].contains(id));
    }
    // Of five again, four decide.
    ledger.accept("gamma", endorse(&seventh));
    assert!(ledger.state.organisation(&id("eta")).is_none());
    ledger.accept("delta", endorse(&seventh));
    assert!(ledger.state.organisation(&id("eta")).is_some());
    ledger.accept("alpha", withdraw(&of_the_departed));
}

#[test]
fn departures_follow_one_another() {
    let names = [
        "alpha", "beta", "gamma", "delta", "epsilon", "zeta", "eta", "theta",
    ];
    let mut ledger = Ledger::of(&names);
    // Of eight six decide, of seven and of six five, of five four.
    let remove = |name| OrganisationChange::Remove(id(name));
    for (leaves, endorsers) in [("epsilon", 4), ("zeta", 5), ("eta", 5), ("theta", 5)] {
        for author in &names[..endorsers] {
            ledger.accept(author, endorse(&remove(leaves)));
        }
    }
    assert_eq!(ledger.state.organisations().count(), 8);
    let events = ledger.accept("zeta", endorse(&remove("theta")));
    assert_eq!(events.len(), 5);
    let left: Vec<_> = ledger.state.organisations().map(|it| &it.name).collect();
    assert_eq!(
        left,
        [&id("alpha"), &id("beta"), &id("delta"), &id("gamma")]
    );
    assert_eq!(ledger.state.pending_changes().count(), 0);
}

#[test]
fn who_is_removed_decides_nothing_any_more() {
    let mut ledger = Ledger::with_users();
    let admit = OrganisationChange::Admit(organisation("epsilon", &Authority::new("epsilon")));
    ledger.accept("alpha", endorse(&admit));
    let remove = OrganisationChange::Remove(id("alpha"));
    for author in ["beta", "gamma", "delta"] {
        ledger.accept(author, endorse(&remove));
    }
    assert!(ledger.state.organisation(&id("alpha")).is_none());
    assert_eq!(
        ledger.state.pending_changes().count(),
        0,
        "alpha's endorsement went with it"
    );
    assert_eq!(
        ledger.refuse("alpha", tenant_register("late")),
        "unknown-organisation"
    );
    assert_eq!(
        ledger.refuse("acme/root", user_register("acme/new", UserRole::Member)),
        "orphaned-tenant"
    );
    ledger.accept("rival/root", user_register("rival/new", UserRole::Member));
    assert_eq!(
        ledger.refuse("beta", endorse(&remove)),
        "unknown-organisation"
    );
}

#[test]
fn keys_are_exchanged_by_a_quorum_and_never_shared() {
    let mut ledger = Ledger::new();
    let authority = Authority::new("alpha");
    let mut rekeyed = organisation("alpha", &authority);
    rekeyed.operator_key = public("alpha's second operator");
    let change = OrganisationChange::Rekey(rekeyed.clone());
    for author in ["alpha", "beta", "gamma"] {
        ledger.accept(author, endorse(&change));
    }
    assert_eq!(ledger.refuse("alpha", tenant_register("acme")), "signature");

    let mut shared = rekeyed.clone();
    shared.head_key = public("head beta");
    let mut weak = rekeyed.clone();
    weak.head_key = [0; 32];
    let mut nobody = rekeyed.clone();
    nobody.issuers.clear();
    let mut garbage = rekeyed.clone();
    garbage.issuers = vec![serde_bytes::ByteBuf::from(vec![0x30, 0x00])];
    for bad in [shared, weak, nobody, garbage] {
        assert_eq!(
            ledger.refuse("beta", endorse(&OrganisationChange::Rekey(bad))),
            "organisation-change"
        );
    }
    let unknown = organisation("zeta", &authority);
    assert_eq!(
        ledger.refuse("beta", endorse(&OrganisationChange::Rekey(unknown))),
        "unknown-organisation"
    );
    assert_eq!(ledger.refuse("beta", withdraw(&change)), "not-endorsed");
}

#[test]
fn what_an_exchanged_key_endorsed_counts_no_more() {
    let mut ledger = Ledger::new();
    // Somebody who has delta's key consents in its name; the others give delta another key.
    let wanted = OrganisationChange::Remove(id("gamma"));
    ledger.accept("delta", endorse(&wanted));
    let mut delta = organisation("delta", &Authority::new("delta"));
    delta.operator_key = public("delta's new key");
    let rekey = OrganisationChange::Rekey(delta);
    for name in ["alpha", "beta", "gamma"] {
        ledger.accept(name, endorse(&rekey));
    }
    assert_eq!(ledger.state.pending_changes().count(), 0);
    ledger.accept("alpha", endorse(&wanted));
    ledger.accept("beta", endorse(&wanted));
    assert!(
        ledger.state.organisation(&id("gamma")).is_some(),
        "two of four"
    );
}

#[test]
fn undecided_changes_are_bounded_and_users_have_no_say() {
    let mut ledger = Ledger::with_users();
    let remove = OrganisationChange::Remove(id("delta"));
    assert_eq!(ledger.refuse("acme/root", endorse(&remove)), "wrong-author");
    let authority = Authority::new("many");
    let mut refused = None;
    for number in 0..20 {
        let name = format!("many{number}");
        let change = OrganisationChange::Admit(organisation(&name, &authority));
        if let Err(rejection) = ledger.apply("alpha", endorse(&change)) {
            refused = Some((number, rejection));
            break;
        }
    }
    let (number, rejection) = refused.unwrap();
    assert_eq!((number, rejection.code()), (16, "too-many-endorsements"));
    assert!(matches!(
        rejection,
        Rejection::TooManyEndorsements { limit: 16, .. }
    ));
}

#[test]
fn a_genesis_without_order_or_with_shared_keys_founds_nothing() {
    let founders = Founders::four();
    let id = founders.genesis.id();
    let mut other = founders.genesis.clone();
    other.nonce[0] ^= 1;
    assert_ne!(other.id(), id);
    let mut reversed = founders.genesis.clone();
    reversed.organisations.reverse();
    assert!(reversed.state().is_err());
    let mut twice = founders.genesis.clone();
    twice.organisations[1].operator_key = twice.organisations[0].operator_key;
    assert!(twice.state().is_err());
    let mut none = founders.genesis.clone();
    none.organisations.clear();
    assert!(none.state().is_err());
    let bytes = founders.genesis.to_bytes();
    assert_eq!(
        coordinator::record::Genesis::from_bytes(&bytes).unwrap(),
        founders.genesis
    );
}

#[test]
fn the_length_of_epochs_is_part_of_the_genesis_and_bounded() {
    let founders = Founders::four();
    let with = |batches| {
        let mut genesis = founders.genesis.clone();
        genesis.epoch_batches = batches;
        genesis
    };
    for fit in [None, Some(4), Some(512), Some(1_000_000)] {
        let genesis = with(fit);
        assert!(genesis.state().is_ok());
        let again = coordinator::record::Genesis::from_bytes(&genesis.to_bytes()).unwrap();
        assert_eq!(again.epoch_batches, fit);
        assert_eq!(genesis.id() == founders.genesis.id(), fit.is_none());
    }
    for unfit in [0, 3, 1_000_001, u32::MAX] {
        assert!(with(Some(unfit)).state().is_err());
    }
}
