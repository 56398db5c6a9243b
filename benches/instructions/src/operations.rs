//! The operations that are counted. What they need is made before, and lazily made tables are made by a first, uncounted run.
//!
//! Each part of a request that the nodes time by itself is here by itself: what is a fifth of a whole request could grow by a quarter
//! before the whole grew by 5 %. What is not here: body encryption, which is aws-lc's own assembly and has its limit beside it in
//! `coordinator/benches/envelope.rs`; and the leader of a key generation, who works once in a key's life.

use std::hint::black_box;

use cryptonode::wire::v1::Request;
use rand::SeedableRng;
use rand::rngs::StdRng;
use reencrypt::{
    EphemeralSecret, PublicKeyPackage, Share, WrappedKey, verify_request, verify_shares, wrap,
};

use crate::cluster::{Read, Signed};
use crate::member;
use crate::region::measured;

/// All of them.
pub(crate) const NAMES: [&str; 26] = [
    "wrap",
    "wrapped-key-verify",
    "ephemeral-key",
    "approval-issue",
    "request-encode",
    "request-decode",
    "approvals-verify",
    "approvals-verify-p256",
    "request-parse",
    "request-verify",
    "share",
    "audit-record",
    "share-verify",
    "shares-verify-3",
    "shares-verify-11",
    "shares-verify-43",
    "open-3",
    "open-11",
    "open-43",
    "open-3-one-lies",
    "open-11-one-lies",
    "package-5",
    "package-64",
    "node-request",
    "member-5",
    "member-16",
];

/// Runs one, its second time counted; false if there is none of that name.
#[expect(
    clippy::expect_used,
    reason = "the inputs are our own, and a failure ends the count"
)]
pub(crate) fn run(name: &str) -> bool {
    match name {
        "wrap" => {
            let public_key = Read::new(3, 5).package.public_key();
            twice(|measured| {
                let mut rng = StdRng::seed_from_u64(2);
                measured(&mut || {
                    let wrapped = wrap(&public_key, &[1; 32], &[2; 32], &mut rng);
                    black_box(wrapped.expect("valid lengths"));
                });
            });
        }
        "wrapped-key-verify" => {
            let read = Read::new(3, 5);
            twice(|measured| {
                let mut rng = StdRng::seed_from_u64(2);
                measured(&mut || {
                    let parsed = WrappedKey::parse(read.wrapped.as_bytes()).expect("an encoding");
                    black_box(parsed.verify(&mut rng).expect("a true proof"));
                });
            });
        }
        "ephemeral-key" => {
            let read = Read::new(3, 5);
            twice(|measured| {
                let mut rng = StdRng::seed_from_u64(2);
                measured(&mut || {
                    black_box(EphemeralSecret::new(&read.wrapped, &mut rng));
                });
            });
        }
        "approval-issue" => {
            let (issuer, wanted) = Read::new(3, 5).to_approve();
            twice(|measured| {
                measured(&mut || {
                    black_box(issuer.issue(&wanted).expect("a valid approval"));
                });
            });
        }
        "request-encode" => {
            let message = Read::new(3, 5).message();
            twice(|measured| {
                measured(&mut || {
                    black_box(message.to_bytes().expect("a request of ordinary length"));
                });
            });
        }
        "request-decode" => {
            let message = Read::new(3, 5).message();
            let bytes = message.to_bytes().expect("a request of ordinary length");
            twice(|measured| {
                measured(&mut || {
                    black_box(Request::from_bytes(&bytes).expect("an encoding"));
                });
            });
        }
        "approvals-verify" => {
            let read = Read::new(3, 5);
            twice(|measured| measured(&mut || read.approve()));
        }
        "approvals-verify-p256" => {
            let signed = Signed::with_p256(&Read::new(3, 5));
            twice(|measured| measured(&mut || signed.approve()));
        }
        "request-parse" => {
            let read = Read::new(3, 5);
            twice(|measured| {
                measured(&mut || {
                    black_box(read.parse());
                });
            });
        }
        "request-verify" => {
            let read = Read::new(3, 5);
            let (wrapped, ephemeral) = read.parse();
            twice(|measured| {
                let mut rng = StdRng::seed_from_u64(2);
                measured(&mut || {
                    let verified = verify_request(&wrapped, &ephemeral, &mut rng);
                    black_box(verified.expect("true proofs"));
                });
            });
        }
        "audit-record" => {
            let record = Read::new(3, 5).audit_record();
            twice(|measured| {
                measured(&mut || {
                    black_box(record.to_bytes().expect("a record of ordinary length"));
                });
            });
        }
        "shares-verify-3" => shares_verify(3, 5),
        "shares-verify-11" => shares_verify(11, 16),
        "shares-verify-43" => shares_verify(43, 64),
        "open-3-one-lies" => open_with_a_liar(3, 5),
        "open-11-one-lies" => open_with_a_liar(11, 16),
        "package-5" => package(3, 5),
        "package-64" => package(33, 64),
        "share" => twice(|measured| {
            let mut read = Read::new(3, 5);
            measured(&mut || {
                black_box(read.share(1));
            });
        }),
        "share-verify" => {
            let mut read = Read::new(3, 5);
            let share = read.share(1).to_bytes();
            twice(|measured| {
                measured(&mut || {
                    let share = Share::parse(&share).expect("an encoding");
                    let verified =
                        share.verify(&read.package, &read.wrapped, read.ephemeral.public());
                    black_box(verified.expect("a true proof"));
                });
            });
        }
        "open-3" => open(3, 5),
        "open-11" => open(11, 16),
        "open-43" => open(43, 64),
        "node-request" => twice(|measured| {
            let mut read = Read::new(3, 5);
            measured(&mut || {
                black_box(read.answer());
            });
        }),
        "member-5" => member(5, 3),
        "member-16" => member(16, 11),
        _ => return false,
    }
    true
}

/// What a body is given to have something counted.
type Counted<'a> = &'a dyn Fn(&mut dyn FnMut());

/// Runs a body without counting, for what is made once in a process, and then with.
fn twice(body: impl Fn(Counted<'_>)) {
    body(&|work| work());
    body(&|work| measured(work));
}

fn open(threshold: u16, members: u16) {
    twice(|measured| {
        let mut read = Read::new(threshold, members);
        let answers = read.answers();
        let mut read = Some(read);
        measured(&mut || {
            if let Some(read) = read.take() {
                read.open(&answers);
            }
        });
    });
}

/// t shares, parsed and verified in one batch.
#[expect(clippy::expect_used, reason = "the shares are our own")]
fn shares_verify(threshold: u16, members: u16) {
    let mut read = Read::new(threshold, members);
    let answers = read.answers();
    twice(|measured| {
        let mut rng = StdRng::seed_from_u64(2);
        measured(&mut || {
            let shares: Vec<Share> = answers
                .iter()
                .map(|(_, share)| Share::parse(share).expect("an encoding"))
                .collect();
            let (package, ephemeral) = (&read.package, read.ephemeral.public());
            let verified = verify_shares(&shares, package, &read.wrapped, ephemeral, &mut rng);
            black_box(verified.expect("true proofs"));
        });
    });
}

/// One liar among the first t: combined, all verified, one dropped, combined again with another.
fn open_with_a_liar(threshold: u16, members: u16) {
    twice(|measured| {
        let mut read = Read::new(threshold, members);
        let answers = read.answers_with_a_lie();
        let mut read = Some(read);
        measured(&mut || {
            if let Some(read) = read.take() {
                read.open(&answers);
            }
        });
    });
}

/// A public key package checked: what a client does with a cluster's description, and a node with its own.
#[expect(clippy::expect_used, reason = "the package is our own")]
fn package(threshold: u16, members: u16) {
    let package = Read::new(threshold, members).package;
    twice(|measured| {
        let mut shares = Some(package.public_shares().to_vec());
        measured(&mut || {
            let shares = shares.take().unwrap_or_default();
            let checked = PublicKeyPackage::new(package.public_key(), 0, threshold, shares);
            black_box(checked.expect("shares of one polynomial"));
        });
    });
}

/// All answers of one member of a key generation, from the proposal to the activated key.
fn member(members: u16, threshold: u16) {
    let recorded = member::record(members, threshold);
    twice(|measured| {
        let mut replay = member::Replay::of(&recorded);
        measured(&mut || replay.answer_all());
    });
}
