//! Each attack that broke this profile's ancestor, and those that lie nearby: refused, each for its own reason.

use crate::forge::{
    Authority, EPHEMERAL_POINT, Key, NOW, Parts, WRITE_ID, World, arc, authority_parts, client,
    critical, name, time, tlv, verify,
};
use certs::{Binding, MAX_APPROVALS, Organisation, Policy, Refusal};

fn organisations(approved: &certs::Approved) -> Vec<&str> {
    approved
        .counted
        .iter()
        .map(|counted| counted.organisation.as_str())
        .collect()
}

#[test]
fn good_approvals_of_both_algorithms_are_counted() {
    let world = World::new();
    let (a, b, c) = (world.a.approval(), world.b.approval(), world.c.approval());
    let approved = world.verify(3, &[&a, &b, &c]).unwrap();
    assert_eq!(organisations(&approved), ["a", "b", "c"]);
    assert_eq!(approved.counted[1].approval_id, "read-b");
    assert_eq!(approved.counted[1].index, 1);
    let fingerprint: [u8; 32] = <sha2::Sha256 as sha2::Digest>::digest(&world.b.certificate).into();
    assert_eq!(approved.counted[1].issuer_fingerprint, fingerprint);
    assert!(approved.not_counted.is_empty());
}

#[test]
fn verification_stops_when_enough_organisations_are_counted() {
    let world = World::new();
    let (a, b, c) = (world.a.approval(), world.b.approval(), world.c.approval());
    assert_eq!(
        organisations(&world.verify(1, &[&c, &a, &b]).unwrap()),
        ["c"]
    );
}

#[test]
fn no_approvals_are_not_enough() {
    let refused = World::new().verify(2, &[]).unwrap_err();
    assert_eq!(
        (refused.needed, refused.counted, refused.reasons.len()),
        (2, 0, 0)
    );
    assert_eq!(refused.code(), "not-enough-approvals");
    assert_eq!(
        refused.to_string(),
        "0 of the 2 organisations needed approved this read"
    );
}

#[test]
fn a_foreign_self_signed_certificate_before_valid_ones_is_passed_over() {
    let world = World::new();
    // Eve copies everything, the issuer's name included, and signs with her own key, to her own ephemeral key or to Bob's.
    let eve = Key::ed25519(0xee);
    for ephemeral_point in [[0xee; 32], EPHEMERAL_POINT] {
        let parts = world.a.approval_parts().with_extension(
            &arc(1, 2),
            critical(&arc(1, 2), &tlv(0x04, ephemeral_point)),
        );
        let foreign = parts.signed_by(&eve);
        let (a, b) = (world.a.approval(), world.b.approval());

        let approved = world.verify(2, &[&foreign, &a, &b]).unwrap();
        assert_eq!(organisations(&approved), ["a", "b"]);
        assert_eq!(
            approved.not_counted.first().map(|(index, _)| *index),
            (ephemeral_point != EPHEMERAL_POINT).then_some(0)
        );

        let refused = world.verify(2, &[&foreign, &a]).unwrap_err();
        assert_eq!(refused.counted, 1);
        let expected = if ephemeral_point == EPHEMERAL_POINT {
            Refusal::UnknownIssuer
        } else {
            Refusal::OtherEphemeralPoint {
                approved: ephemeral_point,
            }
        };
        assert_eq!(refused.reasons, [(0, expected)]);
    }
}

#[test]
fn eves_own_request_finds_no_use_for_the_approvals_of_bob() {
    let world = World::new();
    let (a, b) = (world.a.approval(), world.b.approval());
    let foreign = world.a.approval_parts().signed_by(&Key::ed25519(0xee));
    let spki = client().spki();
    let binding = Binding {
        write_id: WRITE_ID,
        ephemeral_point: [0xee; 32],
        client_spki: &spki,
    };
    let refused = world
        .policy(2)
        .verify(&[&foreign, &a, &b], &binding, NOW)
        .unwrap_err();
    assert_eq!((refused.counted, refused.reasons.len()), (0, 3));
    assert!(
        refused
            .reasons
            .iter()
            .all(|(_, reason)| reason.code() == "approval-other-ephemeral-key")
    );
}

#[test]
fn approvals_for_different_ephemeral_keys_do_not_add_up() {
    let world = World::new();
    let other = world
        .b
        .approval_parts()
        .with_extension(&arc(1, 2), critical(&arc(1, 2), &tlv(0x04, [0x33; 32])));
    let refused = world
        .verify(2, &[&world.a.approval(), &world.b.sign(&other)])
        .unwrap_err();
    assert_eq!(refused.counted, 1);
    assert_eq!(refused.organisations, ["a"]);
    assert_eq!(
        refused.reasons,
        [(
            1,
            Refusal::OtherEphemeralPoint {
                approved: [0x33; 32]
            }
        )]
    );
}

#[test]
fn an_approval_of_another_wrapped_key_is_refused() {
    let world = World::new();
    let other = world
        .a
        .approval_parts()
        .with_extension(&arc(1, 1), critical(&arc(1, 1), &tlv(0x04, [0x44; 32])));
    assert_eq!(
        world.refusal(&world.a.sign(&other)),
        Refusal::OtherWriteId {
            approved: [0x44; 32]
        }
    );
}

#[test]
fn the_approval_of_another_clients_key_is_refused() {
    let world = World::new();
    let mut parts = world.a.approval_parts();
    parts.spki = Key::ed25519(0xdd).spki();
    assert_eq!(world.refusal(&world.a.sign(&parts)), Refusal::OtherClient);
    parts.spki = Key::p256().spki();
    assert_eq!(world.refusal(&world.a.sign(&parts)), Refusal::OtherClient);
}

#[test]
fn an_organisation_counts_once_whatever_it_signs() {
    let world = World::new();
    let first = world.a.approval();
    let mut parts = world.a.approval_parts();
    parts.serial = vec![2, 1, 10];
    let second = world.a.sign(&parts);
    let refused = world.verify(2, &[&first, &second]).unwrap_err();
    assert_eq!(
        (refused.counted, refused.organisations.as_slice()),
        (1, ["a".to_owned()].as_slice())
    );
    let reason = Refusal::OrganisationCounted {
        organisation: "a".into(),
        first: 0,
    };
    assert_eq!(refused.reasons, [(1, reason.clone())]);
    assert_eq!(reason.organisation(), Some("a"));
    // A third organisation makes up for it.
    assert_eq!(
        organisations(
            &world
                .verify(2, &[&first, &second, &world.c.approval()])
                .unwrap()
        ),
        ["a", "c"]
    );
}

#[test]
fn two_issuers_of_one_organisation_count_once() {
    let world = World::new();
    let mut config = world.config(2);
    let branch = Authority::new("a", Key::ed25519(9));
    config.organisations[0]
        .issuers
        .push(branch.certificate.clone());
    let policy = Policy::new(config).unwrap();
    let refused = verify(&policy, &[&world.a.approval(), &branch.approval()], NOW).unwrap_err();
    assert_eq!(
        refused.reasons,
        [(
            1,
            Refusal::OrganisationCounted {
                organisation: "a".into(),
                first: 0
            }
        )]
    );
    let approved = verify(&policy, &[&branch.approval(), &world.b.approval()], NOW).unwrap();
    assert_eq!(organisations(&approved), ["a", "b"]);
}

#[test]
fn the_same_bytes_twice_count_once() {
    let world = World::new();
    for approval in [world.a.approval(), world.b.approval()] {
        let refused = world.verify(2, &[&approval, &approval]).unwrap_err();
        assert_eq!(refused.counted, 1);
        assert_eq!(refused.reasons, [(1, Refusal::Duplicate { first: 0 })]);
    }
}

#[test]
fn an_ecdsa_signature_in_its_second_form_counts_once() {
    use crate::forge::{bit_string, sequence};
    let world = World::new();
    let approval = world.b.approval();
    let parsed = x509_parser::parse_x509_certificate(&approval).unwrap().1;
    let signature = parsed.signature_value.data.to_vec();
    let malleated = sequence(&[
        parsed.tbs_certificate.as_ref(),
        world.b.key.identifier(),
        &bit_string(&negate_s(&signature)),
    ]);
    assert_ne!(malleated, approval);
    let refused = world.verify(2, &[&approval, &malleated]).unwrap_err();
    assert_eq!(
        refused.reasons,
        [(
            1,
            Refusal::OrganisationCounted {
                organisation: "b".into(),
                first: 0
            }
        )]
    );
}

/// (r, s) to (r, n − s), in DER.
fn negate_s(signature: &[u8]) -> Vec<u8> {
    const ORDER: &str = "ffffffff00000000ffffffffffffffffbce6faada7179e84f3b9cac2fc632551";
    let r_end = 4 + usize::from(signature[3]);
    let s = &signature[r_end + 2..];
    let mut minuend = vec![0];
    minuend.extend(hex::decode(ORDER).unwrap());
    let mut subtrahend = vec![0; 33 - s.len()];
    subtrahend.extend(s);
    let mut borrow = 0i16;
    let mut difference = [0u8; 33];
    for i in (0..33).rev() {
        let value = i16::from(minuend[i]) - i16::from(subtrahend[i]) - borrow;
        borrow = i16::from(value < 0);
        difference[i] = value.rem_euclid(256) as u8;
    }
    let start = difference.iter().position(|byte| *byte != 0).unwrap();
    let start = if difference[start] & 0x80 != 0 {
        start - 1
    } else {
        start
    };
    tlv(
        0x30,
        [&signature[2..r_end], &tlv(0x02, &difference[start..])].concat(),
    )
}

#[test]
fn a_ten_year_leaf_is_refused() {
    let world = World::new();
    let mut parts = world.a.approval_parts();
    let ten_years = 10 * 365 * 86_400;
    parts.not_before = time(NOW);
    parts.not_after = time(NOW + ten_years);
    assert_eq!(
        world.refusal(&world.a.sign(&parts)),
        Refusal::LifetimeTooLong {
            seconds: ten_years,
            most: 300
        }
    );
    // The bound is exact, and a validity to the end of time does not overflow.
    parts.not_after = time(NOW + 300);
    assert!(world.verify(1, &[&world.a.sign(&parts)]).is_ok());
    parts.not_after = time(NOW + 301);
    assert_eq!(
        world.refusal(&world.a.sign(&parts)),
        Refusal::LifetimeTooLong {
            seconds: 301,
            most: 300
        }
    );
    parts.not_before = tlv(0x17, "700101000000Z");
    parts.not_after = tlv(0x18, "99991231235959Z");
    assert_eq!(
        world.refusal(&world.a.sign(&parts)).code(),
        "approval-lifetime"
    );
}

#[test]
fn an_expired_leaf_is_refused_and_the_tolerance_is_exact() {
    let world = World::new();
    let approval = world.a.approval(); // NOW − 10 to NOW + 100, tolerance 30
    assert!(verify(&world.policy(1), &[&approval], NOW + 130).is_ok());
    let expired = |now| Refusal::Expired {
        not_after: NOW + 100,
        now,
        tolerance_s: 30,
    };
    assert_eq!(world.refusal_at(&approval, NOW + 131), expired(NOW + 131));
    assert_eq!(world.refusal_at(&approval, u64::MAX), expired(u64::MAX));
    assert!(verify(&world.policy(1), &[&approval], NOW - 40).is_ok());
    let early = |now| Refusal::NotYetValid {
        not_before: NOW - 10,
        now,
        tolerance_s: 30,
    };
    assert_eq!(world.refusal_at(&approval, NOW - 41), early(NOW - 41));
    assert_eq!(world.refusal_at(&approval, 0), early(0));
}

#[test]
fn a_leaf_that_ends_before_it_begins_is_refused() {
    let world = World::new();
    let mut parts = world.a.approval_parts();
    (parts.not_before, parts.not_after) = (time(NOW + 5), time(NOW - 5));
    assert_eq!(
        world.refusal(&world.a.sign(&parts)),
        Refusal::ReversedValidity
    );
}

/// Organisation a with issuers of one key and these validities, and an approval by it.
fn issuers_valid(validities: &[(u64, u64)]) -> (Policy, Vec<u8>) {
    let mut world = World::new();
    world.a.certificate.clear();
    let mut config = world.config(1);
    config.organisations[0].issuers = validities
        .iter()
        .map(|(not_before, not_after)| {
            let mut parts = authority_parts(&world.a.key, &world.a.subject);
            (parts.not_before, parts.not_after) = (time(*not_before), time(*not_after));
            world.a.sign(&parts)
        })
        .collect();
    (Policy::new(config).unwrap(), world.a.approval())
}

#[test]
fn an_expired_issuer_does_not_count() {
    let reason = |policy: &Policy, approval: &[u8]| {
        verify(policy, &[approval], NOW).unwrap_err().reasons[0]
            .1
            .clone()
    };
    let (policy, approval) = issuers_valid(&[(NOW - 500, NOW - 31)]);
    let expired = |not_after| Refusal::IssuerExpired {
        organisation: "a".into(),
        not_after,
    };
    assert_eq!(reason(&policy, &approval), expired(NOW - 31));
    let (policy, approval) = issuers_valid(&[(NOW - 500, NOW - 30)]);
    assert!(verify(&policy, &[&approval], NOW).is_ok());
    let (policy, approval) = issuers_valid(&[(NOW + 31, NOW + 500)]);
    let early = Refusal::IssuerNotYetValid {
        organisation: "a".into(),
        not_before: NOW + 31,
    };
    assert_eq!(reason(&policy, &approval), early);
    let (policy, approval) = issuers_valid(&[(NOW + 30, NOW + 500)]);
    assert!(verify(&policy, &[&approval], NOW).is_ok());
    // Renewed with the same key: either certificate speaks for it.
    let (policy, approval) = issuers_valid(&[(NOW - 500, NOW - 100), (NOW - 200, NOW + 200)]);
    assert!(verify(&policy, &[&approval], NOW).is_ok());
    let (policy, approval) = issuers_valid(&[(NOW - 500, NOW - 100), (NOW - 900, NOW - 400)]);
    assert_eq!(reason(&policy, &approval), expired(NOW - 100));
}

#[test]
fn an_authority_below_an_issuer_cannot_approve() {
    let world = World::new();
    // a certifies Eve's key as an authority; what that signs is signed by no issuer of the policy.
    let eve = Authority::new("eve", Key::ed25519(0xee));
    let certified = authority_parts(&eve.key, &eve.subject).signed_by(&world.a.key);
    let refused = world.verify(1, &[&certified, &eve.approval()]).unwrap_err();
    assert_eq!(
        refused.reasons,
        [(0, Refusal::IsAuthority), (1, Refusal::UnknownIssuer)]
    );
}

#[test]
fn an_approval_cannot_sign_an_approval() {
    let world = World::new();
    // The client signs with the key that its approval certifies.
    let forged = world.b.approval_parts();
    let forged = Parts {
        inner_algorithm: client().identifier().to_vec(),
        outer_algorithm: client().identifier().to_vec(),
        issuer: name("approval"),
        ..forged
    };
    let refused = world
        .verify(2, &[&world.a.approval(), &forged.signed_by(&client())])
        .unwrap_err();
    assert_eq!(refused.reasons, [(1, Refusal::UnknownIssuer)]);
}

#[test]
fn stray_certificates_use_up_their_own_requests_checks_and_no_more() {
    let world = World::new();
    let stray: Vec<Vec<u8>> = (0..40)
        .map(|seed| {
            let mut parts = world.a.approval_parts();
            parts.serial = vec![2, 1, seed];
            parts.serial[2] += 1;
            parts.issuer = name("nobody");
            parts.signed_by(&Key::ed25519(0xee))
        })
        .collect();
    // Good approvals come first in spite of their place: their issuer's name leads to the key.
    let good = world.a.approval();
    let mut request: Vec<&[u8]> = stray.iter().map(Vec::as_slice).collect();
    request.push(&good);
    assert_eq!(organisations(&world.verify(1, &request).unwrap()), ["a"]);
    let refused = world.verify(1, &request[..40]).unwrap_err();
    // Two keys of that algorithm and (1 + 1)·3 checks: three certificates are tried, the others are not.
    let unknown = refused
        .reasons
        .iter()
        .filter(|(_, reason)| *reason == Refusal::UnknownIssuer)
        .count();
    assert_eq!((unknown, refused.reasons.len()), (3, 40));
    assert_eq!(
        refused.reasons[39].1,
        Refusal::SignatureChecksUsedUp { tries: 6 }
    );
    assert!(refused.to_string().ends_with("; and 32 more"));
}

#[test]
fn issuers_are_found_by_signature_when_names_do_not_help() {
    let world = World::new();
    // The name of another issuer of the policy, or of nobody.
    for issuer in [world.c.subject.clone(), name("nobody"), tlv(0x30, [])] {
        let mut parts = world.a.approval_parts();
        parts.issuer = issuer;
        assert_eq!(
            organisations(&world.verify(1, &[&world.a.sign(&parts)]).unwrap()),
            ["a"]
        );
    }
}

#[test]
fn issuers_that_share_a_name_are_told_apart() {
    let keys = [Key::ed25519(1), Key::ed25519(2), Key::p256()];
    let subject = name("authority");
    let [a, b, c] = keys.map(|key| {
        let certificate = authority_parts(&key, &subject).signed_by(&key);
        Authority {
            organisation: "same",
            key,
            subject: subject.clone(),
            certificate,
        }
    });
    let organisation = |name: &str, authority: &Authority| Organisation {
        name: name.into(),
        issuers: vec![authority.certificate.clone()],
    };
    let mut config = World::new().config(3);
    config.organisations = vec![
        organisation("a", &a),
        organisation("b", &b),
        organisation("c", &c),
    ];
    let policy = Policy::new(config).unwrap();
    let approved = verify(&policy, &[&c.approval(), &b.approval(), &a.approval()], NOW).unwrap();
    assert_eq!(organisations(&approved), ["c", "b", "a"]);
}

#[test]
fn too_many_approvals_are_refused_unread() {
    let world = World::new();
    let approval = world.a.approval();
    let request = vec![approval.as_slice(); MAX_APPROVALS + 1];
    let refused = world.verify(1, &request).unwrap_err();
    let reason = Refusal::TooManyApprovals {
        given: 65,
        most: 64,
    };
    assert_eq!((refused.counted, refused.reasons), (0, vec![(64, reason)]));
    assert!(world.verify(1, &request[..MAX_APPROVALS]).is_ok());
}
