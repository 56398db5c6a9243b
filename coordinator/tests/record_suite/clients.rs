//! Clients that are bound to certificates of their company: reads go to no others, if the tenant says so, and to none whose certificate does not stand.

use crate::{
    approvals::{Bench, code, finalise},
    certificates::*,
    ledger::*,
};
use coordinator::record::{
    ClientName, Event, FresherLists, Role, Storage, Transaction, TransactionId, UserRole,
    peer::Peer,
};
use std::sync::Arc;

fn with_document() -> Ledger {
    let mut ledger = Ledger::with_dataset(threshold("Y"), Storage::OffChain);
    let write = threshold_write("acme/data/doc", 1, "acme/bob", &cluster("Y"));
    ledger.accept("acme/bob", Transaction::Write(write));
    ledger
}

/// What becomes of a read by this client.
fn read(ledger: &mut Ledger, who: &str, with: &str) -> &'static str {
    let name = version("acme/data/doc", 1);
    let (read, _) = threshold_read(&ledger.state, &name, &spki(with));
    match ledger.apply(who, Transaction::Read(read)) {
        Ok(_) => "ok",
        Err(rejection) => rejection.code(),
    }
}

#[test]
fn reads_go_to_bound_clients_alone_when_the_tenant_says_so() {
    let mut ledger = with_document();
    let ledger_id = ledger.id;
    let company = Company::new("company", None);
    let (known, unknown) = (client("acme", &spki("known")), "unknown");
    let machine = company.certify("machine", 7, 30);
    let bind = || machine.bind_client(&ledger_id, &known);
    assert_eq!(ledger.refuse("acme/root", bind()), "unknown-authorities");
    ledger.accept("acme/root", authorities("acme", &[&company]));
    assert_eq!(ledger.refuse("acme/eve", bind()), "not-administrator");
    assert_eq!(ledger.refuse("rival/root", bind()), "not-administrator");
    let unbind = || certify_client(&known, None);
    assert_eq!(ledger.refuse("acme/root", unbind()), "certificate-unbound");
    let events = ledger.accept("acme/root", bind());
    assert!(matches!(
        events.as_slice(),
        [Event::ClientCertified { client, certificate: Some(_), .. }] if *client == hex::encode(known.client)
    ));
    // That one is bound says nothing of others.
    for with in ["known", unknown] {
        assert_eq!(read(&mut ledger, "acme/eve", with), "ok");
    }

    let strict = authorities_and("acme", &[&company], true);
    ledger.accept("acme/root", strict);
    assert_eq!(read(&mut ledger, "acme/eve", "known"), "ok");
    assert_eq!(
        read(&mut ledger, "acme/eve", unknown),
        "certificate-missing"
    );
    // It is the reader's company that says so, not that of the data.
    let mallory = grant("acme/data", Role::Reader, "rival/mallory");
    ledger.accept("acme/ann", mallory);
    assert_eq!(read(&mut ledger, "rival/mallory", unknown), "ok");

    // Revoked; bound to another certificate; to none.
    ledger.accept(
        "acme/root",
        publish("acme", &[], company.list(&[7], 1, NOW_S)),
    );
    assert_eq!(
        read(&mut ledger, "acme/eve", "known"),
        "certificate-revoked"
    );
    assert_eq!(ledger.refuse("acme/root", bind()), "certificate-revoked");
    let renewed = company.certify("machine", 8, 30);
    ledger.accept("acme/root", renewed.bind_client(&ledger_id, &known));
    assert_eq!(read(&mut ledger, "acme/eve", "known"), "ok");
    ledger.accept("acme/root", unbind());
    assert_eq!(
        read(&mut ledger, "acme/eve", "known"),
        "certificate-missing"
    );

    // A client whose certificate does not stand is refused also where clients need not be bound.
    let short = company.certify("machine", 9, 2);
    ledger.accept("acme/root", short.bind_client(&ledger_id, &known));
    ledger.accept("alpha", authorities("acme", &[&company]));
    assert_eq!(read(&mut ledger, "acme/eve", "known"), "ok");
    ledger.block.time_ms = (NOW_S + 2 * DAY_S + 1) * 1000;
    assert_eq!(
        read(&mut ledger, "acme/eve", "known"),
        "certificate-expired"
    );
    assert_eq!(read(&mut ledger, "acme/eve", unknown), "ok");
    ledger.accept("acme/root", authorities("acme", &[]));
    let expected = "certificate-expired";
    assert_eq!(read(&mut ledger, "acme/eve", "known"), expected);
}

#[test]
fn a_clients_binding_is_of_this_tenant_this_ledger_and_this_key() {
    let mut ledger = with_document();
    let ledger_id = ledger.id;
    let company = Company::new("company", None);
    ledger.accept("acme/root", authorities("acme", &[&company]));
    ledger.accept("rival/root", authorities("rival", &[&company]));
    let machine = company.certify("machine", 7, 30);
    let right = client("acme", &spki("client"));
    let signed_for = |ledger: &[u8; 32], other: &ClientName| {
        let Transaction::ClientCertify(mut it) = machine.bind_client(ledger, other) else {
            unreachable!()
        };
        it.tenant = right.tenant.clone();
        it.client = right.client;
        Transaction::ClientCertify(it)
    };
    for wrong in [
        signed_for(&[9; 32], &right),
        signed_for(&ledger_id, &client("rival", &spki("client"))),
        signed_for(&ledger_id, &client("acme", &spki("another"))),
        // What binds a user binds no client.
        match machine.bind(&ledger_id, "acme/eve", "acme/eve", &[]) {
            Transaction::UserCertify(it) => certify_client(&right, it.certificate),
            _ => unreachable!(),
        },
    ] {
        assert_eq!(ledger.refuse("acme/root", wrong), "certificate-proof");
    }
    let stranger = Company::new("company", None).certify("machine", 7, 30);
    let refused = ledger.refuse("acme/root", stranger.bind_client(&ledger_id, &right));
    assert_eq!(refused, "certificate-chain");
    ledger.accept("acme/root", signed_for(&ledger_id, &right));
    // A bound client is somebody who is bound: its authorities are not for administrators to add to.
    let own = Company::new("own", None);
    let refused = ledger.refuse("acme/root", authorities("acme", &[&company, &own]));
    assert_eq!(refused, "organisation-decides");
    let administrator = user_register("acme/second", UserRole::Administrator);
    ledger.accept("acme/root", administrator);
    ledger.accept("acme/second", certify_client(&right, None));
    ledger.accept("acme/second", authorities("acme", &[&own]));
}

/// The certificate's last second in an approval.
fn ends(peer: &mut Peer, read: TransactionId, now_ms: u64) -> u64 {
    let certificate = peer.approve(&[read], now_ms).remove(0).unwrap();
    let approval = certs::UnverifiedApproval::parse(&certificate).unwrap();
    approval.not_after()
}

/// At a peer: what was permitted when it was read is looked at again.
#[test]
fn no_approval_is_given_to_a_client_that_is_revoked_or_was_never_bound() {
    let mut bench = Bench::new();
    let [mut alpha, mut beta] = bench.peers(["alpha", "beta"]);
    let ledger = bench.founders.genesis.id();
    let company = Company::new("company", None);
    let before = bench.with_read(&mut [&mut alpha, &mut beta]);
    let both = &mut [&mut alpha, &mut beta];
    execute(&bench, both, authorities_and("acme", &[&company], true));
    let (now_ms, missing) = (bench.now_ms, "certificate-missing");
    assert_eq!(code(both[0], before, now_ms), missing);

    let machine = company.certify("machine", 7, 30);
    let known = client("acme", &spki("client"));
    execute(&bench, both, machine.bind_client(&ledger, &known));
    assert_eq!(code(both[0], before, now_ms), "ok");
    let read = bench.read(both);

    // A list that alpha has, and the record not yet.
    let lists = Arc::new(FresherLists::default());
    both[0].consult(lists.clone());
    let authority = certs::chain::PkiAuthority::from_der(&company.certificate).unwrap();
    for (serials, expected) in [(&[7][..], "certificate-revoked"), (&[], "ok")] {
        let list = company.list(serials, 1, NOW_S);
        let list = authority.revocation_list(&list).unwrap();
        let revoked = list.serials().map(<[u8]>::to_vec).collect();
        lists.put(authority.key_hash(), revoked);
        assert_eq!(code(both[0], read, now_ms), expected);
        assert_eq!(code(both[1], read, now_ms), "ok");
    }
    execute(
        &bench,
        both,
        publish("acme", &[], company.list(&[7], 2, NOW_S)),
    );
    for read in [before, read] {
        assert_eq!(code(both[0], read, now_ms), "certificate-revoked");
    }
    // Nor does one outlive the client's certificate.
    let short = company.certify("machine", 8, 1);
    execute(&bench, both, short.bind_client(&ledger, &known));
    let end_s = NOW_S + DAY_S;
    bench.now_ms = (end_s - 20) * 1000;
    let read = bench.read(both);
    assert_eq!(ends(both[0], read, bench.now_ms), end_s);
    execute(&bench, both, certify_client(&known, None));
    assert_eq!(code(both[0], read, bench.now_ms), missing);
}

fn execute(bench: &Bench, peers: &mut [&mut Peer], transaction: Transaction) {
    bench.execute(peers, "acme/root", transaction);
    finalise(peers);
}
