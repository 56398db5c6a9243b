//! Calls that happen once, however often they are made: every request that changes something carries an `Idempotency-Key`.
//!
//! One call can take several requests, to prepare and to commit, and each needs a key of its own. So they are derived from the one that the caller
//! has drawn, by what the request is: the same call sends the same keys, after a restart of this program too.

use reqwest::Method;
use sha2::{Digest as _, Sha256};

use super::{Client, ClientError};

pub(super) const HEADER: &str = "idempotency-key";
/// Most characters of the caller's own: the platform takes 128.
const MAX: usize = 100;
/// Bytes by which the requests of one call differ.
const SHORT: usize = 8;

impl Client {
    /// This client, for one thing that is to happen once: whoever did not get the answer makes the same call with the same `key` again, and gets
    /// it, as long as the platform remembers it (`limits.idempotency_s`). Draw a new key for each thing.
    ///
    /// What is prepared and signed is remembered as long as it may wait for its signature. A call that comes later is refused with the code
    /// `idempotency-key-reused` if the first one was carried out, and so is a [`Client::submit`] that is done again: then it is on the record.
    ///
    /// # Errors
    ///
    /// [`ClientError::Once`]
    pub fn once(&self, key: &str) -> Result<Self, ClientError> {
        if !(1..=MAX).contains(&key.len()) || !key.bytes().all(|b| b.is_ascii_graphic()) {
            return Err(ClientError::Once);
        }
        Ok(Self {
            http: self.http.clone(),
            url: self.url.clone(),
            tenant: self.tenant.clone(),
            api_key: self.api_key.clone(),
            signer: self.signer.clone(),
            ledger: self.ledger,
            organisations: self.organisations.clone(),
            trace: self.trace,
            once: Some(key.to_owned()),
        })
    }

    /// The key of a request, if it changes something and is to happen once.
    pub(super) fn once_for(&self, method: &Method, path: &str, what: &[u8]) -> Option<String> {
        let once = self.once.as_ref().filter(|_| *method != Method::GET)?;
        let mut digest = Sha256::new();
        for item in [method.as_str().as_bytes(), path.as_bytes(), what] {
            digest.update((item.len() as u64).to_le_bytes());
            digest.update(item);
        }
        let digest = digest.finalize();
        let short = digest.get(..SHORT).unwrap_or_default();
        Some(format!("{once}.{}", hex::encode(short)))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn the_requests_of_a_call_have_keys_of_their_own_and_always_the_same() {
        let tenant = "acme".parse().unwrap();
        let client = Client::new("http://127.0.0.1:1", tenant, "key".to_owned()).unwrap();
        assert!(client.once_for(&Method::POST, "/a", &[]).is_none());
        for bad in ["", "a b", "é", &"x".repeat(MAX + 1)] {
            assert!(client.once(bad).is_err(), "{bad}");
        }
        let longest = "x".repeat(MAX);
        let key = |method: Method, path: &str, what: &[u8]| {
            let once = client.once(&longest).unwrap();
            once.once_for(&method, path, what)
        };
        assert!(key(Method::GET, "/a", &[]).is_none());
        let all = [
            key(Method::POST, "/a", &[]),
            key(Method::PUT, "/a", &[]),
            key(Method::POST, "/ab", &[]),
            key(Method::POST, "/a", b"b"),
        ];
        let different: std::collections::BTreeSet<_> = all.iter().flatten().collect();
        assert_eq!(different.len(), all.len());
        assert!(different.iter().all(|key| key.len() <= 128));
        assert_eq!(all[0], key(Method::POST, "/a", &[]));
    }
}
