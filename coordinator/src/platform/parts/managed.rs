//! Uploads in parts of users whose keys this platform keeps: completed, signed and on the record in one request.
//!
//! 1. The pieces become one body and a prepared transaction, as for everybody ([`Platform::complete_parts`]).
//! 2. The platform signs. Which transaction it is, is durable before it is on its way.
//! 3. The transaction commits, and the pieces go.
//!
//! Done again, whatever broke off, it gives what it gave before: the record says whether the transaction of step 2 is there. As long as it may
//! still come there, nothing else is signed for this upload.

use std::sync::Arc;

use uuid::Uuid;

use super::list::PartsError;
use super::written::Signed;
use super::{Platform, PlatformError, PreparedWrite, Whole, now_ms};
use crate::record::{DocumentName, Identifier, Receipt, UnsignedTransaction, UserName};

/// A version that the platform wrote for its author.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct WrittenParts {
    /// Its number, from 1.
    pub version: u64,
    /// Bytes of plaintext.
    pub length: u64,
    /// SHA-256 over the stored body.
    pub checksum: [u8; 32],
    /// Where and when it came onto the record.
    pub receipt: Receipt,
}

/// What is known of the transaction that was signed for an upload.
enum Standing {
    /// It is on the record.
    Written(WrittenParts),
    /// It may come there.
    Open,
    /// It can come there no more, and may be in a block that is not here yet. Then it has the version that is tried for next, which the record
    /// gives once.
    Doubtful,
    /// There is none, or it never comes there.
    None,
}

impl Platform {
    /// Which document an upload in parts is of, and whose; also after it was written.
    ///
    /// # Errors
    ///
    /// [`PlatformError::NotWaiting`] if there is none of that id.
    pub async fn parts_author(
        &self,
        tenant: &Identifier,
        id: Uuid,
    ) -> Result<(DocumentName, UserName), PlatformError> {
        if let Some(signed) = self.parts.list.signed_for(tenant.clone(), id).await? {
            return Ok((signed.name.document_name(), signed.author));
        }
        let begun = self.begun(tenant, id).await?;
        Ok((begun.name().document_name(), begun.author))
    }

    /// What came of an upload that [`Platform::write_parts`] has written already.
    ///
    /// # Errors
    ///
    /// [`PartsError::Differs`] if it was another body.
    pub async fn parts_written(
        &self,
        tenant: &Identifier,
        id: Uuid,
        whole: Whole,
    ) -> Result<Option<WrittenParts>, PlatformError> {
        let signed = self.parts.list.signed_for(tenant.clone(), id).await?;
        Ok(match self.standing(signed.as_ref(), whole)? {
            Standing::Written(written) => Some(written),
            Standing::Open | Standing::Doubtful | Standing::None => None,
        })
    }

    /// Completes an upload and puts it onto the record for its author, as the version `next` if one is named; `signing` is told what is signed, before. Goes on to its end even if the
    /// caller no longer waits.
    ///
    /// # Errors
    ///
    /// [`PlatformError::ManagedKey`] if this platform does not sign for the author, [`PartsError::Pending`] if it is not known yet what became
    /// of an earlier attempt; otherwise as [`Platform::complete_parts`] and [`Platform::commit_write`].
    pub async fn write_parts(
        self: &Arc<Self>,
        tenant: &Identifier,
        id: Uuid,
        whole: Whole,
        next: Option<u64>,
        signing: impl FnOnce(&UnsignedTransaction) + Send + 'static,
    ) -> Result<WrittenParts, PlatformError> {
        let (platform, tenant) = (self.clone(), tenant.clone());
        let written = async move {
            platform
                .write_parts_now(&tenant, id, whole, next, signing)
                .await
        };
        tokio::spawn(written).await?
    }

    async fn write_parts_now(
        self: &Arc<Self>,
        tenant: &Identifier,
        id: Uuid,
        whole: Whole,
        next: Option<u64>,
        signing: impl FnOnce(&UnsignedTransaction) + Send,
    ) -> Result<WrittenParts, PlatformError> {
        if let Some(written) = self.parts_written(tenant, id, whole).await? {
            self.remove_written(tenant, id).await;
            return Ok(written);
        }
        if let Err(e) = self.begun(tenant, id).await {
            // Somebody else may have written it just now.
            return self.parts_written(tenant, id, whole).await?.ok_or(e);
        }
        let open = self.parts.open(id);
        let _lock = open.lock.lock().await;
        // Somebody else may have written it while this one waited.
        let signed = self.parts.list.signed_for(tenant.clone(), id).await?;
        let earlier = match self.standing(signed.as_ref(), whole)? {
            Standing::Written(written) => {
                self.parts.close(id);
                return Ok(written);
            }
            Standing::Open => return Err(PartsError::Pending.into()),
            Standing::Doubtful => signed,
            Standing::None => None,
        };
        let begun = self.begun(tenant, id).await?;
        let PreparedWrite {
            id: prepared,
            transaction,
            name,
            length,
            checksum,
        } = self.complete_locked(&begun, &open, whole, next).await?;
        signing(&transaction);
        let remembered = Signed {
            upload: id,
            name,
            author: begun.author.clone(),
            whole,
            transaction: transaction.id(),
            transaction_expires_ms: transaction.expires_ms,
        };
        let version = remembered.name.version;
        let until = self.parts_expire();
        let committed = async {
            let signed = self.sign_managed(transaction).await?;
            self.parts.list.signed(remembered, until).await?;
            self.commit_write(tenant, prepared, signed).await
        };
        match committed.await {
            Ok(receipt) => Ok(WrittenParts {
                version,
                length,
                checksum,
                receipt,
            }),
            Err(e) => {
                if !e.leaves_open() {
                    // Nobody else can sign it.
                    let _ = self.discard_write(tenant, prepared).await;
                    match earlier {
                        Some(earlier) => self.parts.list.signed(earlier, until).await?,
                        None => self.parts.list.forget_signed(id).await?,
                    }
                }
                Err(e)
            }
        }
    }

    fn standing(&self, signed: Option<&Signed>, whole: Whole) -> Result<Standing, PlatformError> {
        let Some(signed) = signed else {
            return Ok(Standing::None);
        };
        let (version, time_ms) = self.record.with_state(|state| {
            let version = state.version(&signed.name);
            let told = version.map(|it| (it.transaction, it.length, it.checksum));
            (told, state.time_ms())
        });
        let Some((transaction, length, checksum)) = version else {
            let expires_ms = signed.transaction_expires_ms;
            return Ok(match self.record.orders_alone() {
                // What a record that has stopped has, is seen when it runs again.
                true if self.record.halted().is_some() => Standing::Open,
                true => Standing::None,
                false if time_ms >= expires_ms => Standing::None,
                false if now_ms() > expires_ms => Standing::Doubtful,
                false => Standing::Open,
            });
        };
        if transaction != signed.transaction {
            // Another write has taken the version.
            return Ok(Standing::None);
        }
        if whole != signed.whole {
            return Err(PartsError::Differs.into());
        }
        let receipt = self.record.receipt(&transaction)?;
        // It is in the state a moment before it is in the store.
        let receipt = receipt.ok_or(PartsError::Pending)?;
        Ok(Standing::Written(WrittenParts {
            version: signed.name.version,
            length,
            checksum,
            receipt,
        }))
    }

    /// Removes what is left of an upload that is on the record.
    async fn remove_written(&self, tenant: &Identifier, id: Uuid) {
        let left = async {
            match self.begun(tenant, id).await {
                Ok(begun) => self.remove_parts(&begun).await,
                Err(_) => Ok(()),
            }
        };
        if let Err(e) = left.await {
            tracing::warn!(error = %e, "the parts of a committed upload go later");
        }
    }
}
