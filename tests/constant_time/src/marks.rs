//! Marking memory as secret, for valgrind.
//!
//! A program talks to valgrind by a sequence of instructions that does nothing on a real processor (valgrind.h,
//! "client requests", stable since version 3.0). It is written out here, because the crates that wrap it need libclang to be built;
//! this is the only unsafe code of the project, in a program that is never shipped.

use std::arch::asm;
use std::convert::Infallible;

use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};
use rand_core::{TryCryptoRng, TryRng};

/// `VG_USERREQ__RUNNING_ON_VALGRIND`, `VG_USERREQ__COUNT_ERRORS`.
const RUNNING_ON_VALGRIND: u64 = 0x1001;
const COUNT_ERRORS: u64 = 0x1201;
/// Memcheck's own begin at `('M' << 24) | ('C' << 16)`.
const MAKE_MEM_UNDEFINED: u64 = 0x4d43_0001;
const MAKE_MEM_DEFINED: u64 = 0x4d43_0002;
const GET_VBITS: u64 = 0x4d43_0008;

/// Asks valgrind; 0 if there is none.
fn request(number: u64, arguments: [u64; 3]) -> u64 {
    let [first, second, third] = arguments;
    let arguments: [u64; 6] = [number, first, second, third, 0, 0];
    let mut answer = 0_u64;
    #[allow(
        unsafe_code,
        reason = "four rotations that cancel and an exchange of rbx with itself"
    )]
    // SAFETY: on a processor it changes nothing but the flags. Under valgrind it reads the six arguments.
    unsafe {
        asm!(
            "rol rdi, 3",
            "rol rdi, 13",
            "rol rdi, 61",
            "rol rdi, 51",
            "xchg rbx, rbx",
            in("rax") arguments.as_ptr(),
            inout("rdx") answer,
        );
    }
    answer
}

pub(crate) fn under_valgrind() -> bool {
    request(RUNNING_ON_VALGRIND, [0; 3]) > 0
}

/// Errors that valgrind has reported in this process.
pub(crate) fn errors() -> u64 {
    request(COUNT_ERRORS, [0; 3])
}

fn mark<T: ?Sized>(value: &T, state: u64) {
    mark_at(std::ptr::from_ref(value).cast(), size_of_val(value), state);
}

fn mark_at(start: *const u8, length: usize, state: u64) {
    request(state, [start.expose_provenance() as u64, length as u64, 0]);
}

/// The same for a library that says what is what itself.
pub(crate) const MARKS: dkg::constant_time::Marks = dkg::constant_time::Marks {
    secret: |start, length| mark_at(start, length, MAKE_MEM_UNDEFINED),
    public: |start, length| mark_at(start, length, MAKE_MEM_DEFINED),
    is_secret,
};

/// Whether a bit of what lies there depends on a secret.
fn is_secret(start: *const u8, length: usize) -> bool {
    let mut bits = vec![0_u8; length];
    let to = bits.as_mut_ptr().expose_provenance() as u64;
    let place = start.expose_provenance() as u64;
    let answered = request(GET_VBITS, [place, to, length as u64]);
    assert_eq!(answered, 1, "valgrind does not say what is secret");
    std::hint::black_box(bits).iter().any(|bits| *bits != 0)
}

/// From here on valgrind reports every branch and address that depends on it.
pub(crate) fn secret<T: ?Sized>(value: &T) {
    mark(value, MAKE_MEM_UNDEFINED);
}

/// May be known from here on.
pub(crate) fn public<T: ?Sized>(value: &T) {
    mark(value, MAKE_MEM_DEFINED);
}

/// A generator all of whose output is secret.
pub(crate) struct SecretRng(StdRng);

impl SecretRng {
    pub(crate) fn new() -> Self {
        Self(StdRng::seed_from_u64(1))
    }
}

impl TryRng for SecretRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        let mut bytes = [0; 4];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u32::from_le_bytes(bytes))
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        let mut bytes = [0; 8];
        self.try_fill_bytes(&mut bytes)?;
        Ok(u64::from_le_bytes(bytes))
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill_bytes(bytes);
        secret(bytes);
        Ok(())
    }
}

impl TryCryptoRng for SecretRng {}
