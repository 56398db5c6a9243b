//! The secrets that a member shares with each of the others, n_j·N_i = n_i·N_j.
//!
//! One serves both directions: j seals under it what it deals to i, and opens with it what i dealt to j. So a member multiplies once
//! for each other member, although the deals go both ways. They are kept in memory only, and computed again after a restart; they
//! go when n_j goes.

use reencrypt::{Point, SecretScalar};
use zeroize::Zeroizing;

/// The shared secrets that a member has computed, by the other's encryption key.
#[derive(Default)]
pub(crate) struct Pairs {
    keys: Vec<[u8; 32]>,
    /// In the same order. Never grows beyond what it was made for, which would leave copies behind.
    shared: Zeroizing<Vec<[u8; 32]>>,
}

impl Pairs {
    /// Those of n_j with each of `keys`; `known` are not computed again.
    pub(crate) fn new<'a>(
        secret: &SecretScalar,
        keys: impl ExactSizeIterator<Item = &'a Point>,
        known: &Self,
    ) -> Self {
        let keys: Vec<&Point> = keys.collect();
        // Attempts of one ceremony differ by few members: most are found where they would stand.
        let found = |(place, key): (usize, &&Point)| known.near(place, key);
        let found: Vec<_> = keys.iter().enumerate().map(found).collect();
        let missing = keys.iter().zip(&found).filter(|(_, found)| found.is_none());
        let missing: Vec<&Point> = missing.map(|(key, _)| *key).collect();
        let computed = secret.diffie_hellman_with_each(missing.into_iter());
        let mut computed = computed.iter().copied().map(Zeroizing::new);
        let mut pairs = Self {
            keys: Vec::with_capacity(keys.len()),
            shared: Zeroizing::new(Vec::with_capacity(keys.len())),
        };
        for (key, found) in keys.into_iter().zip(found) {
            let shared = found.or_else(|| computed.next());
            let shared = shared.unwrap_or_else(|| secret.diffie_hellman(key));
            pairs.keys.push(*key.as_bytes());
            pairs.shared.push(*shared);
        }
        pairs
    }

    /// n_j·N, computed if it is not there.
    pub(crate) fn with(
        &self,
        secret: &SecretScalar,
        place: usize,
        key: &Point,
    ) -> Zeroizing<[u8; 32]> {
        self.near(place, key)
            .unwrap_or_else(|| secret.diffie_hellman(key))
    }

    /// The one with `key`, looked for at `place` first.
    fn near(&self, place: usize, key: &Point) -> Option<Zeroizing<[u8; 32]>> {
        let is_there = |place: &usize| self.keys.get(*place) == Some(key.as_bytes());
        let place = Some(place)
            .filter(is_there)
            .or_else(|| self.keys.iter().position(|known| known == key.as_bytes()))?;
        self.shared.get(place).copied().map(Zeroizing::new)
    }
}

#[cfg(test)]
mod tests {
    #![allow(
        clippy::unwrap_used,
        clippy::expect_used,
        clippy::indexing_slicing,
        clippy::panic,
        missing_docs
    )]
    use super::*;

    #[test]
    fn a_pair_is_found_wherever_it_stands_and_computed_where_it_is_not() {
        let rng = &mut rand::rng();
        let own = SecretScalar::random(rng);
        let others: Vec<SecretScalar> = (0..4).map(|_| SecretScalar::random(rng)).collect();
        let keys: Vec<Point> = others.iter().map(SecretScalar::public).collect();
        let three = Pairs::new(&own, keys[..3].iter(), &Pairs::default());
        let last = Pairs::new(&own, keys[1..].iter(), &three);
        for pairs in [&three, &last, &Pairs::default()] {
            for (place, (other, key)) in others.iter().zip(&keys).enumerate() {
                let shared = other.diffie_hellman(&own.public());
                assert_eq!(*pairs.with(&own, place, key), *shared);
            }
        }
        let stranger = SecretScalar::random(rng).public();
        assert!(last.near(0, &stranger).is_none() && last.near(0, &keys[0]).is_none());
    }
}
