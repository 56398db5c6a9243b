//! Users whose keys this platform keeps: it signs for them when an API key of their tenant asks, so that an application needs no cryptography.
//!
//! 1. A key is drawn, sealed under the master key for its user and its public half alone, and durable before anybody hears of it. Nothing is
//!    kept under a master key that is not the present one.
//! 2. It counts once the record says so: as the present key of a user who is `managed`. A key that the record never takes over is destroyed
//!    when the transaction that names it can no longer be accepted.
//! 3. It is unsealed for one signature at a time. What is signed names the user as `managed`, or the record refuses it.
//! 4. It is destroyed when the record has another key for the user, and when the user has expired. A suspended user's key stays sealed: the
//!    record refuses what it would sign.
//!
//! The record decides all of this, so that a crash between two steps leaves nothing that the next pass does not put right.

mod store;

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use cryptonode::randomness;
use ed25519_dalek::SigningKey;
use futures_util::future::BoxFuture;
use zeroize::Zeroizing;

use super::{Platform, PlatformError, UnderMasterKey};
use crate::master_key::{MasterKey, MasterKeyError, wrapped_under};
use crate::record::{
    Author, Receipt, RecordError, Rejection, SignedTransaction, State, Transaction,
    UnsignedTransaction, UserName, rotate_key,
};

use store::{Inserted, KeptKey, KeyName, Store};

/// How long after it was made a key may still be taken over by the record: longer than any transaction lives.
const MAY_COME_WITHIN_MS: u64 = 2 * 3_600_000;
/// How often all kept keys are held against the record.
const ALL_EVERY: Duration = Duration::from_secs(300);
/// Keys that are looked at at once.
const AT_ONCE: u32 = 500;

/// Why this platform does not sign for a user.
#[derive(Debug, thiserror::Error)]
pub enum ManagedKeyError {
    /// The user holds its key itself.
    #[error(
        "{0} signs by a key of its own: on the command line give it with --key, over HTTP prepare the change and send it signed, or give the key into the platform's hands (`coordinator user rotate --managed`)"
    )]
    NotManaged(UserName),
    /// The record says that a platform keeps the key, and this one does not.
    #[error(
        "this platform does not keep the key of {0}: ask the one that does, or restore managed-keys.sqlite from a backup"
    )]
    Missing(UserName),
    /// More keys were made than the record has taken over.
    #[error(
        "too many managed keys of this tenant wait for the record: sign and send what was prepared, or wait two hours"
    )]
    TooMany,
    /// The sealed key is not the one that its row says.
    #[error("the kept key of {0} is damaged: restore managed-keys.sqlite from a backup")]
    Damaged(UserName),
    /// The list of kept keys.
    #[error("the list of managed keys cannot be used: {0}; put the disk in order")]
    Store(#[from] rusqlite::Error),
    /// The master key.
    #[error(transparent)]
    MasterKey(#[from] MasterKeyError),
    /// A task of the process failed.
    #[error("the platform failed: {0}")]
    Task(String),
}

impl ManagedKeyError {
    /// A stable name of the reason, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::NotManaged(_) => "user-not-managed",
            Self::Missing(_) => "managed-key-missing",
            Self::TooMany => "managed-keys-waiting",
            Self::Damaged(_) => "managed-key-damaged",
            Self::Store(_) => "managed-key-store",
            Self::MasterKey(e) => e.code(),
            Self::Task(_) => "internal",
        }
    }
}

/// The kept keys.
#[derive(Clone)]
pub struct ManagedKeys {
    store: Arc<Store>,
    master: Arc<dyn MasterKey>,
}

/// A key that was just made and is sealed already. Wiped when dropped.
pub struct NewKey(Box<SigningKey>);

impl NewKey {
    /// Its public half.
    pub fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    /// The rotation by which the user's key becomes this one.
    pub fn rotation(&self, ledger: &[u8; 32], user: &UserName) -> Transaction {
        let mut rotation = rotate_key(ledger, user, &self.0);
        if let Transaction::UserRotateKey(rotation) = &mut rotation {
            rotation.managed = true;
        }
        rotation
    }
}

impl ManagedKeys {
    /// Opens the list of kept keys, or begins one.
    ///
    /// # Errors
    /// [`ManagedKeyError::Store`]
    pub fn open(path: &Path, master: Arc<dyn MasterKey>) -> Result<Self, ManagedKeyError> {
        let store = Arc::new(Store::open(path)?);
        Ok(Self { store, master })
    }

    /// Makes a key for a user; it is durable when this returns.
    ///
    /// # Errors
    /// [`ManagedKeyError`]
    pub async fn make(&self, user: &UserName, now_ms: u64) -> Result<NewKey, ManagedKeyError> {
        let secret = randomness::secret::<32>();
        let key = NewKey(Box::new(SigningKey::from_bytes(&secret)));
        let name = KeyName {
            user: user.clone(),
            public_key: key.public_key(),
        };
        let bound_to = context(&name);
        loop {
            let kept = KeptKey {
                name: name.clone(),
                sealed: self.master.wrap(secret.as_slice(), &bound_to).await?,
                made_ms: now_ms,
            };
            let master = self.master.clone();
            let inserted = self.blocking(move |store| store.insert(&kept, || master.id()));
            match inserted.await? {
                Inserted::Done => return Ok(key),
                Inserted::TooMany => return Err(ManagedKeyError::TooMany),
                // A rotation came in between.
                Inserted::Outdated => {}
            }
        }
    }

    /// Signs for a user by its key with this public half.
    async fn sign(
        &self,
        unsigned: UnsignedTransaction,
        name: KeyName,
    ) -> Result<SignedTransaction, ManagedKeyError> {
        // Its master key may be retired between the two steps; then it is sealed under that one's successor.
        let mut tried = None;
        let secret = loop {
            let wanted = name.clone();
            let kept = self.blocking(move |store| store.get(&wanted)).await?;
            let kept = kept.ok_or_else(|| ManagedKeyError::Missing(name.user.clone()))?;
            match self.master.unwrap(&kept.sealed, &context(&name)).await {
                Ok(secret) => break secret,
                Err(e) if tried.as_ref() == Some(&kept.sealed) => return Err(e.into()),
                Err(_) => tried = Some(kept.sealed),
            }
        };
        let damaged = |_| ManagedKeyError::Damaged(name.user.clone());
        let mut seed = Zeroizing::new([0; 32]);
        seed.copy_from_slice(<&[u8; 32]>::try_from(secret.as_slice()).map_err(damaged)?);
        let key = Box::new(SigningKey::from_bytes(&seed));
        if key.verifying_key().to_bytes() != name.public_key {
            return Err(ManagedKeyError::Damaged(name.user));
        }
        Ok(unsigned.sign(&key))
    }

    /// Seals those keys anew that are under an older master key: before that one is destroyed. How many were. Each row is the old one or the
    /// new one at any moment, and none comes under an older key, so this can be broken off anywhere and done again.
    ///
    /// # Errors
    /// [`ManagedKeyError`] if one of them does not open, after all others were sealed.
    pub async fn seal_anew(&self) -> Result<usize, ManagedKeyError> {
        let (mut after, mut sealed, mut failed) = (None, 0, None);
        loop {
            let part = self.part(after.take()).await?;
            let Some(last) = part.last() else {
                return failed.map_or(Ok(sealed), Err);
            };
            after = Some(last.name.clone());
            for kept in part {
                if wrapped_under(&kept.sealed) == Some(self.master.id()) {
                    continue;
                }
                match self.renewed(kept).await {
                    Ok(kept) => {
                        self.blocking(move |store| store.replace(&kept)).await?;
                        sealed += 1;
                    }
                    // One that does not open stands in nobody else's way.
                    Err(e) => failed = Some(e),
                }
            }
        }
    }

    async fn renewed(&self, mut kept: KeptKey) -> Result<KeptKey, ManagedKeyError> {
        let context = context(&kept.name);
        let secret = self.master.unwrap(&kept.sealed, &context).await?;
        kept.sealed = self.master.wrap(&secret, &context).await?;
        Ok(kept)
    }

    async fn part(&self, after: Option<KeyName>) -> Result<Vec<KeptKey>, ManagedKeyError> {
        self.blocking(move |store| store.after(after.as_ref(), AT_ONCE))
            .await
    }

    async fn destroy(&self, keys: Vec<KeyName>) -> Result<usize, ManagedKeyError> {
        if keys.is_empty() {
            return Ok(0);
        }
        self.blocking(move |store| store.destroy(&keys)).await
    }

    async fn blocking<T: Send + 'static>(
        &self,
        work: impl FnOnce(&Store) -> Result<T, rusqlite::Error> + Send + 'static,
    ) -> Result<T, ManagedKeyError> {
        let store = self.store.clone();
        let done = tokio::task::spawn_blocking(move || work(&store)).await;
        Ok(done.map_err(|e| ManagedKeyError::Task(e.to_string()))??)
    }
}

impl UnderMasterKey for ManagedKeys {
    fn rewrap(&self) -> BoxFuture<'_, Result<usize, MasterKeyError>> {
        Box::pin(async {
            let sealed = self.seal_anew().await;
            sealed.map_err(|e| MasterKeyError::NotRewrapped {
                what: "managed users' keys",
                reason: e.to_string(),
            })
        })
    }
}

/// What a sealed key is bound to, so that two rows cannot be exchanged.
fn context(name: &KeyName) -> Vec<u8> {
    let KeyName { user, public_key } = name;
    // Names have no line ends.
    let text = format!(
        "coordinator/v1/managed-key\n{}\n{}\n",
        user.tenant, user.user
    );
    [text.as_bytes(), public_key].concat()
}

/// Whether a kept key can serve its user, now or once the record has taken it over.
fn is_of_use(state: &State, kept: &KeptKey) -> bool {
    let time_ms = state.time_ms();
    let present = state
        .user(&kept.name.user)
        .filter(|user| user.public_key == kept.name.public_key);
    match present {
        Some(user) => user.managed && user.expires_ms.is_none_or(|end| end > time_ms),
        None => kept.made_ms.saturating_add(MAY_COME_WITHIN_MS) > time_ms,
    }
}

/// The key that signs for a user now. What the record would refuse in any case is not signed.
fn signing_key_of(state: &State, name: &UserName) -> Result<[u8; 32], PlatformError> {
    let known = state.user(name).filter(|user| user.managed);
    let user = known.ok_or_else(|| ManagedKeyError::NotManaged(name.clone()))?;
    let refused = if user.suspended {
        Rejection::UserSuspended(name.clone())
    } else if let Some(expires_ms) = user.expires_ms.filter(|end| *end <= state.time_ms()) {
        Rejection::UserExpired {
            user: name.clone(),
            expires_ms,
        }
    } else {
        return Ok(user.public_key);
    };
    Err(RecordError::from(refused).into())
}

impl Platform {
    /// Makes a key for a user of this platform's; see [`ManagedKeys::make`].
    ///
    /// # Errors
    /// [`PlatformError::ManagedKey`]
    pub async fn make_managed_key(&self, user: &UserName) -> Result<NewKey, PlatformError> {
        Ok(self.managed.make(user, super::now_ms()).await?)
    }

    /// Whether the record says that a platform keeps this user's key.
    pub fn is_managed(&self, user: &UserName) -> bool {
        let managed = |state: &State| state.user(user).is_some_and(|user| user.managed);
        self.record.with_state(managed)
    }

    /// Signs for a user whose key this platform keeps.
    ///
    /// # Errors
    /// [`PlatformError::ManagedKey`]
    pub async fn sign_managed(
        &self,
        unsigned: UnsignedTransaction,
    ) -> Result<SignedTransaction, PlatformError> {
        let user = match &unsigned.author {
            Author::Managed(user) | Author::User(user) => user.clone(),
            Author::Organisation(_) => {
                let reason = "an organisation signs for itself".to_owned();
                return Err(PlatformError::Malformed { reason });
            }
        };
        let public_key = self
            .record
            .with_state(|state| signing_key_of(state, &user))?;
        Ok(self
            .managed
            .sign(unsigned, KeyName { user, public_key })
            .await?)
    }

    /// Signs for a user and puts it on the record, of the kinds that [`Platform::submit`] takes.
    ///
    /// # Errors
    /// [`PlatformError::ManagedKey`], and as [`Platform::submit`].
    pub async fn submit_managed(
        &self,
        unsigned: UnsignedTransaction,
    ) -> Result<Receipt, PlatformError> {
        let signed = self.sign_managed(unsigned).await?;
        self.submit(signed).await
    }

    /// The keys that may go when this transaction is on the record.
    pub(super) fn keys_ended_by(&self, signed: &SignedTransaction) -> Vec<KeyName> {
        let user = match (signed.transaction(), signed.author()) {
            (Transaction::UserRotateKey(_), author) => author.user().cloned(),
            (Transaction::UserExpire(it), _) => Some(UserName {
                tenant: it.tenant.clone(),
                user: it.user.clone(),
            }),
            _ => None,
        };
        let name = user.and_then(|user| {
            let key = |state: &State| state.user(&user).map(|user| user.public_key);
            let public_key = self.record.with_state(key)?;
            Some(KeyName { user, public_key })
        });
        name.into_iter().collect()
    }

    /// Destroys those of these keys that the record has no use for: they have been its users' keys, so none of them waits.
    pub(super) async fn destroy_ended(&self, keys: Vec<KeyName>) {
        let ended = self.record.with_state(|state| {
            let over = |name: &KeyName| {
                let kept = KeptKey {
                    name: name.clone(),
                    sealed: Vec::new(),
                    made_ms: 0,
                };
                !is_of_use(state, &kept)
            };
            keys.into_iter().filter(over).collect::<Vec<_>>()
        });
        match self.managed.destroy(ended).await {
            Ok(0) => {}
            Ok(destroyed) => tracing::info!(destroyed, "destroyed managed keys that are over"),
            Err(e) => {
                tracing::error!(error = %e, "a managed key that is over stays; it is destroyed later");
            }
        }
    }

    /// Holds all kept keys against the record, and destroys what it has no use for; at most once in a while.
    pub(super) async fn sweep_managed(&self) {
        let due = {
            let mut last = super::locked(&self.managed_swept);
            let due = last.is_none_or(|at: Instant| at.elapsed() >= ALL_EVERY);
            if due {
                *last = Some(Instant::now());
            }
            due
        };
        if !due {
            return;
        }
        if let Err(e) = self.destroy_useless().await {
            tracing::error!(error = %e, "managed keys that are over may stay; they are looked at again later");
        }
    }

    async fn destroy_useless(&self) -> Result<(), ManagedKeyError> {
        let mut after = None;
        loop {
            let part = self.managed.part(after.take()).await?;
            let Some(last) = part.last() else {
                return Ok(());
            };
            after = Some(last.name.clone());
            let useless: Vec<KeyName> = self.record.with_state(|state| {
                let over = part.iter().filter(|kept| !is_of_use(state, kept));
                over.map(|kept| kept.name.clone()).collect()
            });
            let destroyed = self.managed.destroy(useless).await?;
            if destroyed > 0 {
                tracing::info!(destroyed, "destroyed managed keys that are over");
            }
        }
    }
}

#[cfg(test)]
mod tests;
