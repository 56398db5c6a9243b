//! The operations that are counted. What they need is made before, and lazily made tables are made by a first, uncounted run.

use std::hint::black_box;

use rand::SeedableRng;
use rand::rngs::StdRng;
use reencrypt::{EphemeralSecret, Share, WrappedKey, wrap};

use crate::cluster::Read;
use crate::member;
use crate::region::measured;

/// All of them.
pub(crate) const NAMES: [&str; 12] = [
    "wrap",
    "wrapped-key-verify",
    "ephemeral-key",
    "approvals-verify",
    "share",
    "share-verify",
    "open-3",
    "open-11",
    "open-43",
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
        "approvals-verify" => {
            let read = Read::new(3, 5);
            twice(|measured| measured(&mut || read.approve()));
        }
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

/// All answers of one member of a key generation, from the proposal to the activated key.
fn member(members: u16, threshold: u16) {
    let recorded = member::record(members, threshold);
    twice(|measured| {
        let mut replay = member::Replay::of(&recorded);
        measured(&mut || replay.answer_all());
    });
}
