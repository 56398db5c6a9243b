//! The part of an operation that is counted.

use std::hint::black_box;

/// What callgrind looks for: the name of [`measured`], whatever it is compiled for.
pub(crate) const PATTERN: &str = "*instructions::region::measured*";

/// Runs this, counted. It must stay a function of its own: callgrind counts between its call and its return.
#[inline(never)]
pub(crate) fn measured<T>(work: impl FnOnce() -> T) -> T {
    black_box(black_box(work)())
}
