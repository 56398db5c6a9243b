//! Randomness that leaves nothing behind.
//!
//! A generator that lives in the process keeps what it gave. The one of a thread (`rand::rng`) makes 256 bytes ahead, and they stay
//! in its buffer until the next ones are due, which on a quiet thread is never; and its state tells everything that it gave
//! since it was seeded. A key that was drawn from it lies in memory long after it was wiped everywhere else, and so does
//! the nonce of a proof, from which the secret follows that was proven to be known.
//!
//! So everything comes from the system's generator, which writes where it shall be and keeps no copy in the process. One draw is one
//! system call, some hundred nanoseconds. `clippy.toml` holds this crate, the coordinator and the root binary to it.

use rand::rngs::SysRng;
use rand_core::{CryptoRng, Rng as _, UnwrapErr};
use zeroize::Zeroizing;

/// The system's generator.
///
/// # Panics
/// When it is drawn from, on a system whose `getrandom` fails: without it a process must not go on.
#[must_use]
pub fn system() -> impl CryptoRng + Copy + Send + Sync {
    UnwrapErr(SysRng)
}

/// A new secret of so many bytes. It lies on the heap, where moving it about leaves no copies, and is wiped in the end.
///
/// # Panics
/// As [`system`].
#[must_use]
pub fn secret<const N: usize>() -> Box<Zeroizing<[u8; N]>> {
    let mut bytes = Box::new(Zeroizing::new([0; N]));
    system().fill_bytes(bytes.as_mut_slice());
    bytes
}

/// So many bytes for what is no secret: a nonce, a salt, an identifier.
///
/// # Panics
/// As [`system`].
#[must_use]
pub fn public<const N: usize>() -> [u8; N] {
    let mut bytes = [0; N];
    system().fill_bytes(&mut bytes);
    bytes
}
