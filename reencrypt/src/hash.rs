//! The hash of the protocol (section 1): SHA-512 over length-prefixed items.
//!
//! `H(tag, m1, …, mk)` feeds, for the tag and then for each item, its length as eight little-endian bytes and the item
//! itself. The lengths make the encoding of a list of items injective: moving a byte from one item into the next gives
//! another hash. The tag keeps one use of the hash apart from every other.

use curve25519_dalek::Scalar;
use sha2::{Digest, Sha512};
use zeroize::Zeroizing;

/// `H(tag, items…)`: 64 bytes.
#[must_use]
pub fn hash(tag: &str, items: &[&[u8]]) -> [u8; 64] {
    Hasher::new(tag).items(items).finalize()
}

/// `Hs(tag, items…)`: the same 64 bytes, read as a little-endian integer and reduced modulo ℓ.
///
/// The 512 bits make the bias of the reduction smaller than 2⁻²⁵⁰.
#[must_use]
pub fn hash_to_scalar(tag: &str, items: &[&[u8]]) -> Scalar {
    Hasher::new(tag).items(items).finalize_scalar()
}

/// The same hash, fed item by item.
///
/// ```
/// # use reencrypt::{hash, Hasher};
/// let streamed = Hasher::new("example/v1").item(b"one").item(b"two").finalize();
/// assert_eq!(streamed, hash("example/v1", &[b"one", b"two"]));
/// ```
pub struct Hasher(Sha512);

impl Hasher {
    /// Starts a hash under `tag`.
    #[must_use]
    pub fn new(tag: &str) -> Self {
        Hasher(Sha512::new()).item(tag.as_bytes())
    }

    /// Adds one item, of any length.
    #[must_use]
    pub fn item(mut self, item: &[u8]) -> Self {
        self.0.update((item.len() as u64).to_le_bytes());
        self.0.update(item);
        self
    }

    /// Adds several items, each with its own length.
    #[must_use]
    pub fn items(self, items: &[&[u8]]) -> Self {
        items.iter().fold(self, |hasher, item| hasher.item(item))
    }

    /// The 64 bytes of `H`.
    #[must_use]
    pub fn finalize(self) -> [u8; 64] {
        self.0.finalize().into()
    }

    /// The scalar of `Hs`. Nonces are made with it, so the 64 bytes are wiped.
    #[must_use]
    pub fn finalize_scalar(self) -> Scalar {
        Scalar::from_bytes_mod_order_wide(&Zeroizing::new(self.finalize()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn items_do_not_run_into_each_other() {
        assert_ne!(hash("t", &[b"ab", b"c"]), hash("t", &[b"a", b"bc"]));
        assert_ne!(hash("t", &[b"", b""]), hash("t", &[b""]));
        assert_ne!(hash("ta", &[b"b"]), hash("t", &[b"ab"]));
    }
}
