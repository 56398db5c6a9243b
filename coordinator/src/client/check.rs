//! What the client checks before it signs: that what the platform prepared is what its user asked for.
//!
//! A signature on the record is for ever and speaks for its author, so the platform is not believed here. What it could
//! put into a transaction without being asked is: another author, another tenant, dataset, document or version, another
//! length or content, a wrapped key with another label. The checksum is over the encrypted body, which the platform
//! made; it can be checked where the body is in the transaction, and where nothing is encrypted.

use cryptonode::client::ClientIdentity;
use cryptonode::randomness;
use reencrypt::{EphemeralKey, VerifiedWrappedKey, WrappedKey};
use sha2::{Digest as _, Sha256};

use super::ClientError;
use crate::record::{
    Author, Body, Identifier, KeyWrapping, LedgerId, MAX_TRANSACTION_LIFETIME_MS, Read,
    Transaction, UnsignedTransaction, UserName, VersionName, Write, label::wrapped_key_label,
};

/// Whom and which document a transaction must be about.
#[derive(Debug, Clone)]
pub struct Meant<'m> {
    /// The ledger, if it is known.
    pub ledger: Option<LedgerId>,
    /// Who signs.
    pub author: &'m UserName,
    /// The tenant.
    pub tenant: &'m Identifier,
    /// The dataset.
    pub dataset: &'m Identifier,
    /// The document.
    pub document: &'m Identifier,
    /// The version, if a certain one was asked for.
    pub version: Option<u64>,
    /// Milliseconds since the Unix epoch.
    pub now_ms: u64,
}

/// What was sent.
#[derive(Debug, Clone)]
pub struct Sent<'m> {
    /// Bytes.
    pub length: u64,
    /// SHA-256 over them.
    pub digest: [u8; 32],
    /// Media type.
    pub content_type: Option<&'m str>,
}

pub(super) fn same<T: PartialEq + ToString>(
    what: &'static str,
    expected: &T,
    found: &T,
) -> Result<(), ClientError> {
    if expected == found {
        return Ok(());
    }
    Err(ClientError::NotWhatWasMeant {
        what,
        expected: expected.to_string(),
        found: found.to_string(),
    })
}

pub(super) fn differs(what: &'static str, expected: &str, found: &str) -> ClientError {
    ClientError::NotWhatWasMeant {
        what,
        expected: expected.to_owned(),
        found: found.to_owned(),
    }
}

/// Whether a transaction is of this ledger and this author, and not signed for longer than it may take.
pub(super) fn check_frame(
    prepared: &UnsignedTransaction,
    ledger: Option<&LedgerId>,
    author: &UserName,
    now_ms: u64,
) -> Result<(), ClientError> {
    if let Some(ledger) = ledger {
        same(
            "the ledger",
            &hex::encode(ledger),
            &hex::encode(prepared.ledger),
        )?;
    }
    same(
        "the author",
        &Author::User(author.clone()).to_string(),
        &prepared.author.to_string(),
    )?;
    // Some slack, for the clocks of client and platform are two.
    let latest = now_ms.saturating_add(2 * MAX_TRANSACTION_LIFETIME_MS);
    if prepared.expires_ms > latest {
        return Err(differs(
            "its expiry",
            &format!("at most {latest} ms"),
            &format!("{} ms", prepared.expires_ms),
        ));
    }
    Ok(())
}

impl Meant<'_> {
    fn frame(&self, prepared: &UnsignedTransaction, name: &VersionName) -> Result<(), ClientError> {
        check_frame(prepared, self.ledger.as_ref(), self.author, self.now_ms)?;
        same("the tenant", self.tenant, &name.tenant)?;
        same("the dataset", self.dataset, &name.dataset)?;
        same("the document", self.document, &name.document)?;
        if let Some(version) = &self.version {
            same("the version", version, &name.version)?;
        }
        Ok(())
    }

    /// Whether `prepared` is the write of what was sent.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotWhatWasMeant`] with the first difference.
    pub fn check_write<'t>(
        &self,
        prepared: &'t UnsignedTransaction,
        sent: &Sent<'_>,
    ) -> Result<&'t Write, ClientError> {
        let Transaction::Write(write) = &prepared.transaction else {
            return Err(differs(
                "the transaction",
                "write",
                prepared.transaction.kind(),
            ));
        };
        self.frame(prepared, &write.name())?;
        same("the length", &sent.length, &write.length)?;
        let none = "(none)";
        let (asked, found) = (
            sent.content_type.unwrap_or(none),
            write.content_type.as_deref().unwrap_or(none),
        );
        same("the content type", &asked, &found)?;
        if let Body::OnLedger(bytes) = &write.body {
            same(
                "the checksum",
                &hex::encode(Sha256::digest(bytes)),
                &hex::encode(write.checksum),
            )?;
        }
        match &write.key {
            KeyWrapping::None => same(
                "the checksum",
                &hex::encode(sent.digest),
                &hex::encode(write.checksum),
            )?,
            KeyWrapping::Platform { .. } => {}
            KeyWrapping::Threshold { wrapped_key } => {
                let label = wrapped_key_label(&write.name(), self.author);
                let wrapped = WrappedKey::parse(wrapped_key)
                    .and_then(|wrapped| wrapped.verify(&mut randomness::system()));
                let wrapped =
                    wrapped.map_err(|e| differs("the wrapped key", "valid", &e.to_string()))?;
                same(
                    "the wrapped key's label",
                    &hex::encode(label),
                    &hex::encode(wrapped.label()),
                )?;
            }
        }
        Ok(write)
    }

    /// Whether `prepared` wraps the version's key under this cluster key, and does nothing else. What is wrapped cannot be seen from here.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotWhatWasMeant`] with the first difference.
    pub fn check_rewrap(
        &self,
        prepared: &UnsignedTransaction,
        cluster: &[u8; 32],
    ) -> Result<(), ClientError> {
        let Transaction::Rewrap(rewrap) = &prepared.transaction else {
            return Err(differs(
                "the transaction",
                "rewrap",
                prepared.transaction.kind(),
            ));
        };
        self.frame(prepared, &rewrap.name())?;
        let wrapped = WrappedKey::parse(&rewrap.wrapped_key)
            .and_then(|wrapped| wrapped.verify(&mut randomness::system()))
            .map_err(|e| differs("the wrapped key", "valid", &e.to_string()))?;
        same(
            "the cluster key",
            &hex::encode(cluster),
            &hex::encode(wrapped.public_key().as_bytes()),
        )
    }

    /// Whether `prepared` is the read that was asked for.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotWhatWasMeant`] with the first difference.
    pub fn check_read<'t>(
        &self,
        prepared: &'t UnsignedTransaction,
    ) -> Result<&'t Read, ClientError> {
        let Transaction::Read(read) = &prepared.transaction else {
            return Err(differs(
                "the transaction",
                "read",
                prepared.transaction.kind(),
            ));
        };
        self.frame(prepared, &read.name())?;
        Ok(read)
    }

    /// Whether `prepared` is the read of this wrapped key to this ephemeral key, by whoever asks the crypto nodes: `own`, or the
    /// platform, under whatever key it has. To anybody else's ephemeral key the document must not go in this user's name.
    ///
    /// # Errors
    ///
    /// [`ClientError::NotWhatWasMeant`] with the first difference.
    pub fn check_end_to_end_read<'t>(
        &self,
        prepared: &'t UnsignedTransaction,
        wrapped: &VerifiedWrappedKey,
        ephemeral: &EphemeralKey,
        own: Option<&ClientIdentity>,
    ) -> Result<&'t Read, ClientError> {
        let read = self.check_read(prepared)?;
        let Some(found) = &read.reencryption else {
            return Err(differs("the ephemeral key", "the reader's", "absent"));
        };
        let hexadecimal = |bytes: &[u8]| hex::encode(bytes);
        same(
            "the wrapped key",
            &hexadecimal(&wrapped.write_id()),
            &hexadecimal(&found.write_id),
        )?;
        same(
            "the ephemeral key",
            &hexadecimal(ephemeral.as_bytes()),
            &hexadecimal(&found.ephemeral_key),
        )?;
        if let Some(own) = own {
            same(
                "the key towards the crypto nodes",
                &hexadecimal(own.spki()),
                &hexadecimal(&found.client_spki),
            )?;
        }
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;

    fn id(name: &str) -> Identifier {
        Identifier::new(name).unwrap()
    }

    fn prepared(change: impl FnOnce(&mut UnsignedTransaction, &mut Write)) -> UnsignedTransaction {
        let mut write = Write {
            tenant: id("acme"),
            dataset: id("designs"),
            document: id("bridge"),
            version: 1,
            content_type: None,
            length: 5,
            checksum: Sha256::digest(b"hello").into(),
            wrapped_dek1: Vec::new(),
            key: KeyWrapping::None,
            body: Body::OnLedger(b"hello".to_vec()),
        };
        let mut unsigned = UnsignedTransaction {
            ledger: [1; 32],
            author: Author::User(UserName {
                tenant: id("acme"),
                user: id("alice"),
            }),
            nonce: [0; 16],
            expires_ms: 1000,
            transaction: Transaction::UserSuspend(UserName {
                tenant: id("acme"),
                user: id("bob"),
            }),
        };
        change(&mut unsigned, &mut write);
        if matches!(unsigned.transaction, Transaction::UserSuspend(_)) && unsigned.nonce == [0; 16]
        {
            unsigned.transaction = Transaction::Write(write);
        }
        unsigned
    }

    #[test]
    fn every_difference_is_found() {
        let (author, tenant) = (
            UserName {
                tenant: id("acme"),
                user: id("alice"),
            },
            id("acme"),
        );
        let (dataset, document) = (id("designs"), id("bridge"));
        let meant = Meant {
            ledger: Some([1; 32]),
            author: &author,
            tenant: &tenant,
            dataset: &dataset,
            document: &document,
            version: Some(1),
            now_ms: 0,
        };
        let sent = Sent {
            length: 5,
            digest: Sha256::digest(b"hello").into(),
            content_type: None,
        };
        meant.check_write(&prepared(|_, _| {}), &sent).unwrap();
        let refused =
            |what: &str, prepared: UnsignedTransaction| match meant.check_write(&prepared, &sent) {
                Err(ClientError::NotWhatWasMeant { what: found, .. }) => assert_eq!(found, what),
                other => panic!("{what}: {other:?}"),
            };
        refused("the transaction", prepared(|t, _| t.nonce = [1; 16]));
        refused("the ledger", prepared(|t, _| t.ledger = [2; 32]));
        refused(
            "the author",
            prepared(|t, _| t.author = Author::Organisation(id("acme"))),
        );
        refused("the tenant", prepared(|_, w| w.tenant = id("umbra")));
        refused("the dataset", prepared(|_, w| w.dataset = id("drafts")));
        refused("the document", prepared(|_, w| w.document = id("tunnel")));
        refused("the version", prepared(|_, w| w.version = 2));
        refused("its expiry", prepared(|t, _| t.expires_ms = u64::MAX));
        refused("the length", prepared(|_, w| w.length = 6));
        refused(
            "the content type",
            prepared(|_, w| w.content_type = Some("text/plain".into())),
        );
        refused("the checksum", prepared(|_, w| w.checksum = [0; 32]));
        refused(
            "the checksum",
            prepared(|_, w| w.body = Body::OnLedger(b"hellO".to_vec())),
        );
        refused(
            "the wrapped key",
            prepared(|_, w| {
                w.key = KeyWrapping::Threshold {
                    wrapped_key: vec![1],
                }
            }),
        );
        let x = reencrypt::SecretScalar::random(&mut rand::rng());
        let wrapped = reencrypt::wrap(&x.public(), &[7; 32], &[0; 32], &mut rand::rng()).unwrap();
        let wrapped_key = wrapped.as_bytes().to_vec();
        refused(
            "the wrapped key's label",
            prepared(|_, w| w.key = KeyWrapping::Threshold { wrapped_key }),
        );
    }
}
