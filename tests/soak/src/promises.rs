//! What was acknowledged: for each version of each document what was written, and by which reads it was let out.

use std::collections::BTreeMap;
use std::sync::{Mutex, MutexGuard, PoisonError};

use rand::rngs::StdRng;
use rand::{Rng, RngExt, SeedableRng};
use sha2::{Digest, Sha256};

/// A version that the platform acknowledged.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Promise {
    /// The document.
    pub(crate) document: String,
    /// Its version.
    pub(crate) version: u64,
    /// Bytes.
    pub(crate) length: u64,
    /// SHA-256, hexadecimal.
    pub(crate) sha256: String,
}

#[derive(Default)]
struct Inner {
    written: Vec<Promise>,
    /// The last acknowledged version of each document.
    latest: BTreeMap<String, u64>,
    /// Transactions of reads that were answered, hexadecimal.
    reads: Vec<String>,
}

/// All that was acknowledged.
#[derive(Default)]
pub(crate) struct Promises(Mutex<Inner>);

impl Promises {
    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// A write was acknowledged.
    pub(crate) fn written(&self, promise: Promise) {
        let mut inner = self.lock();
        let latest = inner.latest.entry(promise.document.clone()).or_default();
        *latest = promise.version.max(*latest);
        inner.written.push(promise);
    }

    /// A read was answered.
    pub(crate) fn read(&self, transaction: String) {
        self.lock().reads.push(transaction);
    }

    /// One of them: every second time one of the latest few.
    pub(crate) fn any(&self, rng: &mut StdRng) -> Option<Promise> {
        let inner = self.lock();
        let count = inner.written.len();
        let from = if rng.random() {
            count.saturating_sub(20)
        } else {
            0
        };
        if count == 0 {
            return None;
        }
        inner.written.get(rng.random_range(from..count)).cloned()
    }

    /// The last acknowledged version of a document.
    pub(crate) fn latest(&self, document: &str) -> Option<u64> {
        self.lock().latest.get(document).copied()
    }

    /// All acknowledged versions.
    pub(crate) fn all(&self) -> Vec<Promise> {
        self.lock().written.clone()
    }

    /// The transactions of all answered reads.
    pub(crate) fn reads(&self) -> Vec<String> {
        self.lock().reads.clone()
    }
}

/// A document's bytes, of a length that exercises the ledger's own store, single blocks and several.
pub(crate) fn content(rng: &mut StdRng) -> Vec<u8> {
    let length = match rng.random_range(0..10_u8) {
        0 => 0,
        1..=4 => rng.random_range(1..2_048),
        5..=8 => rng.random_range(2_048..65_536),
        _ => rng.random_range(65_536..300_000),
    };
    let mut bytes = vec![0; length];
    StdRng::seed_from_u64(rng.random()).fill_bytes(&mut bytes);
    bytes
}

/// SHA-256 in hexadecimal.
pub(crate) fn digest(bytes: &[u8]) -> String {
    hex::encode(Sha256::digest(bytes))
}
