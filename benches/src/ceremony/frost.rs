//! The key generation of `frost-core` in the same group, for comparison: one participant's parts 1 to 3.

use std::collections::BTreeMap;

use dkg::Ristretto255Sha512 as Suite;
use frost_core::Identifier;
use frost_core::keys::dkg::{part1, part2, part3};
use rand::rngs::StdRng;
use rand::{Rng, SeedableRng};

use super::Failure;
use super::in_process::thread_cpu_ms;

/// Today's generator under the traits that frost-core asks for.
struct Adapter(StdRng);

impl rand_core_06::RngCore for Adapter {
    fn next_u32(&mut self) -> u32 {
        self.0.next_u32()
    }

    fn next_u64(&mut self) -> u64 {
        self.0.next_u64()
    }

    fn fill_bytes(&mut self, bytes: &mut [u8]) {
        self.0.fill_bytes(bytes);
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), rand_core_06::Error> {
        self.0.fill_bytes(bytes);
        Ok(())
    }
}

impl rand_core_06::CryptoRng for Adapter {}

/// Milliseconds of processor time of participant 1. The others' parts are made as far as it needs them, and not counted.
pub(super) fn member_cpu_ms(members: u16, threshold: u16, seed: u64) -> Result<f64, Failure> {
    let failed = |error: frost_core::Error<Suite>| Failure::Frost(error.to_string());
    let mut rng = Adapter(StdRng::seed_from_u64(seed));
    let identifier = |index: u16| Identifier::<Suite>::try_from(index).map_err(failed);
    let own = identifier(1)?;

    let started = thread_cpu_ms();
    let (secret, _) = part1::<Suite, _>(own, members, threshold, &mut rng).map_err(failed)?;
    let mut used = thread_cpu_ms() - started;

    let (mut secrets, mut packages) = (BTreeMap::new(), BTreeMap::new());
    for index in 2..=members {
        let other = identifier(index)?;
        let (secret, package) =
            part1::<Suite, _>(other, members, threshold, &mut rng).map_err(failed)?;
        secrets.insert(other, secret);
        packages.insert(other, package);
    }

    let started = thread_cpu_ms();
    let (secret, to_others) = part2(secret, &packages).map_err(failed)?;
    used += thread_cpu_ms() - started;
    drop(to_others);

    // A share for participant 1 is the value of the dealer's polynomial at 1; part 2 of everybody would verify all proofs n times.
    let mut shares = BTreeMap::new();
    for (other, secret) in secrets {
        let value = secret
            .coefficients()
            .iter()
            .fold(curve25519_dalek::Scalar::ZERO, |sum, coefficient| {
                sum + coefficient
            });
        let share = frost_core::keys::SigningShare::new(value);
        shares.insert(other, frost_core::keys::dkg::round2::Package::new(share));
    }

    let started = thread_cpu_ms();
    part3(&secret, &packages, &shares).map_err(failed)?;
    Ok(used + thread_cpu_ms() - started)
}
