//! Leaks on purpose. They are run before every check, in its process and with its suppressions: a check that does not see them sees
//! nothing, whatever the reason (memory that is not marked, a valgrind that does not look, a suppression that covers too much).

use std::hint::black_box;

use crate::marks::{errors, secret};

type Leak = (&'static str, fn());

const LEAKS: [Leak; 2] = [("a branch", by_branch), ("an address", by_address)];

/// Compares up to the first difference.
#[inline(never)]
fn by_branch() {
    let bytes = [7_u8; 64];
    secret(&bytes);
    black_box(black_box(&bytes)[..] == black_box(&[7_u8; 64])[..]);
}

/// Looks up a table at a secret place.
#[inline(never)]
fn by_address() {
    let (place, table) = ([3_u8; 1], [1_u8; 256]);
    secret(&place);
    black_box(black_box(&table)[usize::from(black_box(&place)[0])]);
}

/// The leaks that valgrind does not report.
pub(crate) fn unseen() -> Vec<&'static str> {
    LEAKS
        .iter()
        .filter(|(_, leak)| {
            let before = errors();
            leak();
            errors() == before
        })
        .map(|(name, _)| *name)
        .collect()
}
