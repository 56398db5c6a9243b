//! Keys that are made, sealed, sealed anew and destroyed, and what a crash at any step leaves.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use super::*;
use crate::master_key::{KeyId, KeyInfo, Passphrase, SealedMasterKey, Secret};

fn user(name: &str) -> UserName {
    UserName {
        tenant: "acme".parse().unwrap(),
        user: name.parse().unwrap(),
    }
}

fn master(dir: &Path, name: &str) -> Arc<SealedMasterKey> {
    let passphrase = Passphrase::new("for tests");
    Arc::new(SealedMasterKey::create(&dir.join(name), &passphrase).unwrap())
}

fn unsigned(user: &UserName) -> UnsignedTransaction {
    UnsignedTransaction {
        ledger: [1; 32],
        author: Author::Managed(user.clone()),
        nonce: [2; 16],
        expires_ms: 3,
        transaction: Transaction::UserSuspend(user.clone()),
    }
}

#[tokio::test]
async fn a_key_signs_for_its_user_until_it_is_destroyed() {
    let dir = tempfile::tempdir().unwrap();
    let (path, master) = (dir.path().join("keys.sqlite"), master(dir.path(), "m"));
    let keys = ManagedKeys::open(&path, master.clone()).unwrap();
    let carol = user("carol");
    let made = keys.make(&carol, 5).await.unwrap();
    let name = KeyName {
        user: carol.clone(),
        public_key: made.public_key(),
    };
    drop(made);
    // Another process, later.
    let keys = ManagedKeys::open(&path, master).unwrap();
    let signed = keys.sign(unsigned(&carol), name.clone()).await.unwrap();
    let public = ed25519_dalek::VerifyingKey::from_bytes(&name.public_key).unwrap();
    assert!(signed.is_signed_by(&public));

    // The same bytes under another name open nothing.
    let kept = keys.part(None).await.unwrap().pop().unwrap();
    let eve = KeyName {
        user: user("eve"),
        ..name.clone()
    };
    let moved = KeptKey {
        name: eve.clone(),
        ..kept
    };
    keys.store.insert(&moved, || keys.master.id()).unwrap();
    let refused = keys.sign(unsigned(&eve.user), eve).await.unwrap_err();
    assert_eq!(refused.code(), "master-key-refused");

    assert_eq!(keys.destroy(vec![name.clone()]).await.unwrap(), 1);
    let refused = keys.sign(unsigned(&carol), name).await.unwrap_err();
    assert_eq!(refused.code(), "managed-key-missing");
}

#[tokio::test]
async fn nothing_of_a_destroyed_key_stays_in_the_files() {
    let dir = tempfile::tempdir().unwrap();
    let (path, master) = (dir.path().join("keys.sqlite"), master(dir.path(), "m"));
    let keys = ManagedKeys::open(&path, master).unwrap();
    let made = keys.make(&user("carol"), 5).await.unwrap();
    let kept = keys.part(None).await.unwrap().pop().unwrap();
    let found = |needle: &[u8]| {
        let files = std::fs::read_dir(dir.path()).unwrap();
        files
            .map(|file| std::fs::read(file.unwrap().path()).unwrap())
            .any(|bytes| bytes.windows(needle.len()).any(|part| part == needle))
    };
    let seed = Zeroizing::new(made.0.to_bytes());
    assert!(found(&kept.sealed) && !found(seed.as_slice()));
    keys.destroy(vec![kept.name.clone()]).await.unwrap();
    assert!(!found(&kept.sealed) && !found(&kept.name.public_key));
}

/// A keeper of master keys that dies after so many operations: what was to come after them is not done.
struct Mortal {
    keys: Arc<SealedMasterKey>,
    left: AtomicUsize,
}

impl Mortal {
    fn step(&self) -> Result<(), MasterKeyError> {
        let lived = |left: usize| left.checked_sub(1);
        let step = self
            .left
            .fetch_update(Ordering::SeqCst, Ordering::SeqCst, lived);
        step.map(drop).map_err(|_| MasterKeyError::Cipher)
    }
}

impl MasterKey for Mortal {
    fn keys(&self) -> Vec<KeyInfo> {
        self.keys.keys()
    }

    fn id(&self) -> KeyId {
        self.keys.id()
    }

    fn wrap<'a>(
        &'a self,
        secret: &'a [u8],
        context: &'a [u8],
    ) -> BoxFuture<'a, Result<Vec<u8>, MasterKeyError>> {
        Box::pin(async move {
            self.step()?;
            self.keys.wrap(secret, context).await
        })
    }

    fn unwrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a [u8],
    ) -> BoxFuture<'a, Result<Secret, MasterKeyError>> {
        Box::pin(async move {
            self.step()?;
            self.keys.unwrap(wrapped, context).await
        })
    }

    fn rotate(&self, now_ms: u64) -> BoxFuture<'_, Result<KeyInfo, MasterKeyError>> {
        self.keys.rotate(now_ms)
    }

    fn retire(&self, id: KeyId) -> BoxFuture<'_, Result<(), MasterKeyError>> {
        self.keys.retire(id)
    }
}

#[tokio::test]
async fn sealing_anew_breaks_off_at_any_step_and_loses_no_key() {
    let dir = tempfile::tempdir().unwrap();
    let (path, master) = (dir.path().join("keys.sqlite"), master(dir.path(), "m"));
    let open = |master: Arc<dyn MasterKey>| ManagedKeys::open(&path, master).unwrap();
    let mut names = Vec::new();
    for name in ["carol", "dave", "eve"] {
        let made = open(master.clone()).make(&user(name), 5).await.unwrap();
        names.push(KeyName {
            user: user(name),
            public_key: made.public_key(),
        });
    }
    // Each key takes two operations.
    for steps in 0..=6 {
        let before = master.id();
        master.rotate(steps).await.unwrap();
        let mortal = Mortal {
            keys: master.clone(),
            left: AtomicUsize::new(usize::try_from(steps).unwrap()),
        };
        let broken = open(Arc::new(mortal)).seal_anew().await;
        assert_eq!(broken.is_ok(), steps == 6, "{steps}");
        // The next process: all sign, and what was done need not be done again.
        let keys = open(master.clone());
        let all = keys.part(None).await.unwrap();
        let present = |kept: &&KeptKey| wrapped_under(&kept.sealed) == Some(master.id());
        let done = all.iter().filter(present).count();
        assert_eq!(done, usize::try_from(steps).unwrap() / 2);
        for name in &names {
            let unsigned = unsigned(&name.user);
            keys.sign(unsigned, name.clone()).await.unwrap();
        }
        assert_eq!(keys.seal_anew().await.unwrap(), 3 - done);
        master.retire(before).await.unwrap();
        for name in &names {
            let unsigned = unsigned(&name.user);
            keys.sign(unsigned, name.clone()).await.unwrap();
        }
    }
}

/// A keeper whose master key is rotated, and the one before destroyed, just when something was wrapped under it.
struct Overtaken {
    keys: Mortal,
    done: AtomicBool,
}

impl MasterKey for Overtaken {
    fn keys(&self) -> Vec<KeyInfo> {
        self.keys.keys()
    }

    fn id(&self) -> KeyId {
        self.keys.id()
    }

    fn wrap<'a>(
        &'a self,
        secret: &'a [u8],
        context: &'a [u8],
    ) -> BoxFuture<'a, Result<Vec<u8>, MasterKeyError>> {
        Box::pin(async move {
            let wrapped = self.keys.wrap(secret, context).await?;
            if !self.done.swap(true, Ordering::SeqCst) {
                let before = self.id();
                self.keys.rotate(7).await?;
                self.keys.retire(before).await?;
            }
            Ok(wrapped)
        })
    }

    fn unwrap<'a>(
        &'a self,
        wrapped: &'a [u8],
        context: &'a [u8],
    ) -> BoxFuture<'a, Result<Secret, MasterKeyError>> {
        self.keys.unwrap(wrapped, context)
    }

    fn rotate(&self, now_ms: u64) -> BoxFuture<'_, Result<KeyInfo, MasterKeyError>> {
        self.keys.rotate(now_ms)
    }

    fn retire(&self, id: KeyId) -> BoxFuture<'_, Result<(), MasterKeyError>> {
        self.keys.retire(id)
    }
}

#[tokio::test]
async fn no_key_is_ever_kept_under_a_master_key_that_is_gone() {
    let dir = tempfile::tempdir().unwrap();
    let master = master(dir.path(), "m");
    // It dies before the second sealing; and it lives.
    for (steps, kept) in [(1, 0), (9, 1)] {
        let path = dir.path().join(format!("keys-{steps}.sqlite"));
        let overtaken = Overtaken {
            keys: Mortal {
                keys: master.clone(),
                left: AtomicUsize::new(steps),
            },
            done: AtomicBool::new(false),
        };
        let keys = ManagedKeys::open(&path, Arc::new(overtaken)).unwrap();
        let made = keys.make(&user("carol"), 5).await;
        assert_eq!(made.is_ok(), kept == 1);
        let keys = ManagedKeys::open(&path, master.clone()).unwrap();
        let rows = keys.part(None).await.unwrap();
        assert_eq!(rows.len(), kept);
        for row in rows {
            assert_eq!(wrapped_under(&row.sealed), Some(master.id()));
            let unsigned = unsigned(&row.name.user);
            keys.sign(unsigned, row.name).await.unwrap();
        }
    }
}
