//! A node against clients that do what they should not: every request is refused with its code, and the node goes on.
#![cfg(feature = "node")]
#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

mod network_harness;

use cryptonode::client::ClientIdentity;
use cryptonode::server::{ClientRules, Limits};
use cryptonode::wire::v1::{Answer, ByteBuf, MAX_REQUEST, Request};
use network_harness::*;
use reencrypt::{EphemeralSecret, Point};
use sha2::{Digest, Sha256};

#[tokio::test]
async fn a_share_is_given_and_recorded() {
    let (material, node) = one();
    let (peer, spki) = peer(&node);
    let read = Read::new(&material.public_key);
    let answer = peer
        .call(&read.request(&material.approve(&read, &spki, &[0, 1, 3])))
        .await
        .unwrap();
    let Answer::Share { share, .. } = answer else {
        panic!("{answer:?}")
    };
    let share = reencrypt::Share::parse(&share).unwrap();
    share
        .verify(&material.package, &read.wrapped, read.ephemeral.public())
        .unwrap();

    let records = node.audit.records.lock().unwrap();
    let [record] = records.as_slice() else {
        panic!("{records:?}")
    };
    assert_eq!(record.client, <[u8; 32]>::from(Sha256::digest(&spki)));
    assert_eq!(record.write_id, read.wrapped.write_id());
    assert_eq!(
        &record.ephemeral_point,
        read.ephemeral.public().point().as_bytes()
    );
    assert_eq!(&record.public_key, material.public_key.as_bytes());
    assert!(record.time_ms.abs_diff(now_ms()) < 5_000);
    let organisations: Vec<_> = record
        .approvals
        .iter()
        .map(|approval| approval.organisation.as_str())
        .collect();
    assert_eq!(organisations, ["Hospital A", "Hospital B", "University"]);
    let fingerprint: [u8; 32] = Sha256::digest(material.issuers[0].certificate_der()).into();
    assert_eq!(record.approvals[0].issuer_fingerprint, fingerprint);
    assert_eq!(record.approvals[0].approval_id, "read-1/0");
}

#[tokio::test]
async fn approvals_must_be_enough_valid_and_of_this_very_read() {
    let (material, node) = one();
    let (peer, spki) = peer(&node);
    let read = Read::new(&material.public_key);
    let good = material.approve(&read, &spki, &[0, 1, 2]);
    let with_third = |third: Vec<u8>| read.request(&[good[0].clone(), good[1].clone(), third]);
    let stranger = Material::new(2, 3, 3);
    let other_read = Read::new(&material.public_key);
    let thief = ClientIdentity::generate().unwrap();
    let expired = material.approve_within(&read, &spki, &[2], now() - 400, now() - 200);
    let early = material.approve_within(&read, &spki, &[2], now() + 100, now() + 200);
    for (code, request) in [
        ("not-enough-approvals", read.request(&[])),
        ("not-enough-approvals", read.request(&good[..2])),
        ("duplicate-approval", with_third(good[0].clone())),
        (
            "organisation-counted-already",
            with_third(material.approve(&read, &spki, &[0]).remove(0)),
        ),
        ("approval-expired", with_third(expired[0].clone())),
        ("approval-not-yet-valid", with_third(early[0].clone())),
        (
            "approval-other-write-id",
            with_third(material.approve(&other_read, &spki, &[2]).remove(0)),
        ),
        (
            "approval-other-client",
            with_third(material.approve(&read, thief.spki(), &[2]).remove(0)),
        ),
        (
            "approval-unknown-issuer",
            with_third(stranger.approve(&read, &spki, &[2]).remove(0)),
        ),
        ("certificate", with_third(b"no certificate".to_vec())),
    ] {
        let (got, message, retry) = refusal(peer.call(&request).await.unwrap());
        assert_eq!(
            (got.as_str(), retry),
            ("not-enough-approvals", None),
            "{message}"
        );
        assert!(message.contains(code) || code == got, "{code}: {message}");
    }
    assert!(
        node.audit.records.lock().unwrap().is_empty(),
        "nothing was given"
    );
    assert!(matches!(
        peer.call(&read.request(&good)).await.unwrap(),
        Answer::Share { .. }
    ));
}

#[tokio::test]
async fn stolen_approvals_are_of_no_use_to_another_client() {
    let (material, node) = one();
    let (owner, spki) = peer(&node);
    let (thief, _) = peer(&node);
    let read = Read::new(&material.public_key);
    let request = read.request(&material.approve(&read, &spki, &[0, 1, 2]));
    let (code, message, _) = refusal(thief.call(&request).await.unwrap());
    assert_eq!(code, "not-enough-approvals");
    assert_eq!(
        message.matches("approval-other-client").count(),
        3,
        "{message}"
    );
    assert!(matches!(
        owner.call(&request).await.unwrap(),
        Answer::Share { .. }
    ));
}

/// The attack that broke the ancestor: X = U′ − U would have the cluster compute x·U′ under the approvals for U.
#[tokio::test]
async fn an_ephemeral_key_made_of_two_documents_is_refused() {
    let (material, node) = one();
    let (peer, spki) = peer(&node);
    let [mine, target] = [
        Read::new(&material.public_key),
        Read::new(&material.public_key),
    ];
    // U and Ū stand behind the version byte and Y (protocol section 3).
    let point =
        |read: &Read, at: usize| Point::from_slice(&read.wrapped.as_bytes()[at..at + 32]).unwrap();
    let minus = |at| {
        Point::from_ristretto(point(&target, at).as_ristretto() - point(&mine, at).as_ristretto())
            .unwrap()
    };
    let (difference, shadow) = (minus(33), minus(65));
    // The proof of an honest key, and the points of the attack.
    let honest = *mine.ephemeral.public().as_bytes();
    let forged = [
        difference.as_bytes().as_slice(),
        shadow.as_bytes(),
        &honest[64..],
    ]
    .concat();
    let approvals: Vec<Vec<u8>> = [0, 1, 2]
        .map(|organisation: usize| {
            material.issuers[organisation]
                .issue(&certs::Approval {
                    write_id: mine.wrapped.write_id(),
                    ephemeral_point: *difference.as_bytes(),
                    approval_id: "read-2".into(),
                    client_spki: spki.clone(),
                    not_before: now() - 5,
                    not_after: now() + 200,
                })
                .unwrap()
        })
        .to_vec();
    let request = reencrypt_request(mine.wrapped.as_bytes(), &forged, &approvals);
    let (code, message, _) = refusal(peer.call(&request).await.unwrap());
    assert!(code.starts_with("ephemeral-key"), "{code}: {message}");
    assert!(node.audit.records.lock().unwrap().is_empty());
}

#[tokio::test]
async fn keys_made_for_another_write_or_altered_are_refused() {
    let (material, node) = one();
    let (peer, spki) = peer(&node);
    let read = Read::new(&material.public_key);
    let approvals = material.approve(&read, &spki, &[0, 1, 2]);
    let other = EphemeralSecret::new(&Read::new(&material.public_key).wrapped, &mut rand::rng());
    let foreign = Read {
        wrapped: read.wrapped.clone(),
        ephemeral: other,
    };
    let foreign_approvals = material.approve(&foreign, &spki, &[0, 1, 2]);
    let (code, ..) = refusal(
        peer.call(&foreign.request(&foreign_approvals))
            .await
            .unwrap(),
    );
    assert!(code.starts_with("ephemeral-key"), "{code}");

    // A label changed by one bit: another write_id, for which approvals can be had, and a proof that no longer holds.
    let mut altered = read.wrapped.as_bytes().to_vec();
    altered[1 + 3 * 32 + 96 + 2] ^= 1;
    let write_id: [u8; 32] = Sha256::digest(&altered).into();
    let ephemeral = EphemeralSecret::for_write(&material.public_key, &write_id, &mut rand::rng());
    let issue = |organisation: usize| {
        let approval = certs::Approval {
            write_id,
            ephemeral_point: *ephemeral.public().point().as_bytes(),
            approval_id: "read-3".into(),
            client_spki: spki.clone(),
            not_before: now() - 5,
            not_after: now() + 200,
        };
        material.issuers[organisation].issue(&approval).unwrap()
    };
    let request = reencrypt_request(
        &altered,
        ephemeral.public().as_bytes(),
        &[issue(0), issue(1), issue(2)],
    );
    let (code, ..) = refusal(peer.call(&request).await.unwrap());
    assert!(code.starts_with("wrapped-key"), "{code}");

    let short = reencrypt_request(&[1, 2, 3], read.ephemeral.public().as_bytes(), &approvals);
    let (code, ..) = refusal(peer.call(&short).await.unwrap());
    assert!(code.starts_with("wrapped-key"), "{code}");
    assert!(node.audit.records.lock().unwrap().is_empty());
}

#[tokio::test]
async fn an_unknown_key_is_named() {
    let (_, node) = one();
    let (peer, spki) = peer(&node);
    let stranger = Material::new(2, 3, 3);
    let read = Read::new(&stranger.public_key);
    let request = read.request(&stranger.approve(&read, &spki, &[0, 1, 2]));
    let (code, message, _) = refusal(peer.call(&request).await.unwrap());
    assert_eq!(code, "unknown-key");
    assert!(
        message.contains(&hex::encode(stranger.public_key.as_bytes())),
        "{message}"
    );
    let asked = Request::Key {
        public_key: *stranger.public_key.as_bytes(),
    };
    assert_eq!(refusal(peer.call(&asked).await.unwrap()).0, "unknown-key");
}

#[tokio::test]
async fn bytes_that_are_no_request_are_refused_with_a_code() {
    let (material, node) = one();
    let connection = raw(&node).await;
    let status = Request::Status {}.to_bytes().unwrap();
    let with = |tail: &[u8]| [status.as_slice(), tail].concat();
    let unknown_field = hex::decode("a166737461747573a16178f6").unwrap();
    for (code, bytes) in [
        ("message-truncated", vec![]),
        ("message-truncated", status[..5].to_vec()),
        ("message-not-canonical", with(&[0])),
        ("message-not-canonical", with(&status)),
        ("message-shape", unknown_field),
        ("message-truncated", b"\x66status".to_vec()),
        ("message-shape", vec![0xff]),
        ("message-not-cbor", vec![0x1c]),
        ("message-too-long", vec![0; MAX_REQUEST + 1]),
        ("message-too-long", vec![0; 4 * MAX_REQUEST]),
    ] {
        let length = bytes.len();
        let (got, message, _) = refusal(send_raw(&connection, &bytes).await);
        assert_eq!(got, code, "{length} bytes: {message}");
    }
    assert!(
        matches!(send_raw(&connection, &status).await, Answer::Status { .. }),
        "the connection goes on"
    );
    assert_alive(&material, &node).await;
}

#[tokio::test]
async fn a_node_may_be_narrowed_to_listed_clients() {
    let material = Material::new(2, 3, 3);
    let listed = ClientIdentity::generate().unwrap();
    let fingerprint: [u8; 32] = Sha256::digest(listed.spki()).into();
    let node = Node::start_with(&material, 1, loopback(), Limits::default(), |serving| {
        serving.gate.clients.replace(ClientRules {
            allow: Some([fingerprint].into()),
            ..ClientRules::default()
        });
    });
    let read = Read::new(&material.public_key);
    let (peer, spki) = peer_as(&node, listed);
    let request = read.request(&material.approve(&read, &spki, &[0, 1, 2]));
    assert!(matches!(
        peer.call(&request).await.unwrap(),
        Answer::Share { .. }
    ));
    let (stranger, spki) = network_harness::peer(&node);
    let request = read.request(&material.approve(&read, &spki, &[0, 1, 2]));
    assert_eq!(
        refusal(stranger.call(&request).await.unwrap()).0,
        "client-not-listed"
    );
}

#[tokio::test]
async fn ceremonies_are_for_members() {
    let (material, node) = one();
    let message = |bytes: Vec<u8>| Request::Ceremony {
        message: ByteBuf::from(bytes),
    };
    let (stranger, _) = peer(&node);
    assert_eq!(
        refusal(stranger.call(&message(b"hello".to_vec())).await.unwrap()).0,
        "not-a-member"
    );
    // A stranger's request is bounded before it is read, whatever it is.
    let (code, ..) = refusal(
        stranger
            .call(&message(vec![0; 2 * MAX_REQUEST]))
            .await
            .unwrap(),
    );
    assert_eq!(code, "message-too-long");

    let (member, _) = peer_as(
        &node,
        ClientIdentity::from_signing_key(&material.identities[2]).unwrap(),
    );
    // Policies are for members as well.
    let policy = |policy_hash| Request::Policy { policy_hash };
    let asked = stranger.call(&policy([7; 32])).await.unwrap();
    assert_eq!(refusal(asked).0, "not-a-member");
    let asked = member.call(&policy([8; 32])).await.unwrap();
    assert_eq!(refusal(asked).0, "unknown-policy");
    let asked = member.call(&policy([7; 32])).await.unwrap();
    assert!(matches!(asked, Answer::Policy { policy } if policy.as_slice() == b"a policy"));

    let long = vec![7; 3 * 1024 * 1024];
    let Answer::Ceremony { message: reply } = member.call(&message(long.clone())).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(
        &reply[..32],
        &material.identities[2].verifying_key().to_bytes()
    );
    assert_eq!(&reply[32..], &long);
    assert_eq!(
        refusal(member.call(&message(b"refuse".to_vec())).await.unwrap()).0,
        "no-ceremony"
    );
}

#[tokio::test]
async fn public_things_can_be_asked_for() {
    let (material, node) = one();
    assert_alive(&material, &node).await;
    let (peer, _) = peer(&node);
    let Answer::Status {
        keys,
        identity,
        time_ms,
        ..
    } = peer.call(&Request::Status {}).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(identity, node.identity.verifying_key().to_bytes());
    assert_eq!(
        (
            keys.len(),
            keys[0].index,
            keys[0].threshold,
            keys[0].members
        ),
        (1, 1, 2, 3)
    );
    assert!(time_ms.abs_diff(now_ms()) < 5_000);
    let asked = Request::Key {
        public_key: *material.public_key.as_bytes(),
    };
    let Answer::Key {
        descriptor,
        certificate,
    } = peer.call(&asked).await.unwrap()
    else {
        panic!()
    };
    assert_eq!(certificate.as_slice(), b"certificate of the ceremony");
    let cluster = cryptonode::client::ClusterDescriptor::from_json(&descriptor)
        .unwrap()
        .check()
        .unwrap();
    assert_eq!(cluster.package().public_key(), material.public_key);
    let audit = Request::Audit {
        from: 0,
        limit: u32::MAX,
    };
    let Answer::Audit {
        from: 0,
        size: 1,
        records,
    } = peer.call(&audit).await.unwrap()
    else {
        panic!()
    };
    let record = cryptonode::audit::AuditRecord::from_bytes(&records[0]).unwrap();
    assert_eq!(&record.public_key, material.public_key.as_bytes());
    let beyond = Request::Audit {
        from: u64::MAX,
        limit: 1,
    };
    let Answer::Audit { size, records, .. } = peer.call(&beyond).await.unwrap() else {
        panic!()
    };
    assert!(records.is_empty() && size == 1);
    let Answer::Checkpoint { note } = peer.call(&Request::Checkpoint {}).await.unwrap() else {
        panic!()
    };
    assert!(note.starts_with("test/log\n1\n"));
}
