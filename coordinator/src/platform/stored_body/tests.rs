//! Bodies arrive whole, and nothing of one that was altered, before the first pass or between the two.
#![allow(clippy::unwrap_used, clippy::indexing_slicing)]
use super::*;
use crate::envelope::{BodyKey, BodySealer, encrypted_length};
use crate::record::VersionName;

fn id(name: &str) -> Identifier {
    Identifier::new(name).unwrap()
}

fn name() -> VersionName {
    VersionName {
        tenant: id("acme"),
        dataset: id("designs"),
        document: id("bridge"),
        version: 1,
    }
}

struct Case {
    _dir: tempfile::TempDir,
    store: BodyStore,
    pointer: Pointer,
    file: std::path::PathBuf,
    body: SealedBody,
    stored: u64,
    plain: Vec<u8>,
    key: Option<BodyKey>,
}

impl Case {
    async fn new(length: usize, encrypted: bool) -> Self {
        let dir = tempfile::tempdir().unwrap();
        let store =
            BodyStore::local(&dir.path().join("bodies"), &dir.path().join("uploads")).unwrap();
        let plain: Vec<u8> = (0..length).map(|i| (i * 7 + i / 256) as u8).collect();
        let key = encrypted.then(|| BodyKey::generate(&mut rand::rng()));
        let mut sealed = Vec::new();
        let body = if let Some(key) = &key {
            let mut sealer = BodySealer::new(key, &name(), &mut rand::rng(), &mut sealed).unwrap();
            sealer.push(&plain, &mut sealed).unwrap();
            sealer.finish(&mut sealed).unwrap()
        } else {
            sealed.clone_from(&plain);
            let checksum = digest::digest(&digest::SHA256, &plain)
                .as_ref()
                .try_into()
                .unwrap();
            SealedBody {
                checksum,
                length: length as u64,
            }
        };
        let mut writer = store.create(&name()).await.unwrap();
        writer.push(&sealed).await.unwrap();
        let note = writer.finish().await.unwrap().into_note().unwrap();
        let tenant = std::fs::read_dir(dir.path().join("bodies"))
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let file = std::fs::read_dir(tenant)
            .unwrap()
            .next()
            .unwrap()
            .unwrap()
            .path();
        let stored = if encrypted {
            encrypted_length(body.length)
        } else {
            body.length
        };
        Self {
            _dir: dir,
            store,
            pointer: note.pointer,
            file,
            body,
            stored,
            plain,
            key,
        }
    }

    fn place(&self) -> Place {
        Place::OffChain {
            store: self.store.clone(),
            tenant: id("acme"),
            pointer: self.pointer,
        }
    }

    async fn verify(&self) -> Result<VerifiedBody, PlatformError> {
        VerifiedBody::verify(self.place(), self.body, self.stored, &mut Times::default()).await
    }

    /// What reached the reader, and how it ended.
    async fn stream(&self, verified: VerifiedBody) -> (Vec<u8>, Result<(), PlatformError>) {
        let key = self
            .key
            .as_ref()
            .map(|k| BodyKey::from_slice(k.expose()).unwrap());
        let reader = key.map(|key| BodyReader::new(key, name(), self.body.length));
        let (sender, mut receiver) = mpsc::channel::<Bytes>(1);
        let collect = tokio::spawn(async move {
            let mut out = Vec::new();
            while let Some(part) = receiver.recv().await {
                out.extend_from_slice(&part);
            }
            out
        });
        let idle = Duration::from_secs(60);
        let end = verified
            .stream(reader, &sender, idle, &mut Times::default(), |_| {})
            .await;
        drop(sender);
        (collect.await.unwrap(), end)
    }
}

#[tokio::test]
async fn whole_bodies_of_all_sizes_arrive() {
    for length in [0, 1, 100_000, 1_000_000, (1 << 20) + 1, 3_500_000] {
        for encrypted in [true, false] {
            if length == 0 && !encrypted {
                continue; // goes onto the ledger, never into the store
            }
            let case = Case::new(length, encrypted).await;
            let (out, end) = case.stream(case.verify().await.unwrap()).await;
            assert!(end.is_ok(), "{length} {encrypted}");
            assert!(out == case.plain);
        }
    }
}

#[tokio::test]
async fn a_body_altered_in_the_store_is_refused_before_its_first_byte() {
    for encrypted in [true, false] {
        let case = Case::new(3_000_000, encrypted).await;
        let original = std::fs::read(&case.file).unwrap();
        let mut altered = original.clone();
        altered[2_500_000] ^= 1;
        std::fs::write(&case.file, &altered).unwrap();
        assert!(matches!(
            case.verify().await,
            Err(PlatformError::Envelope(EnvelopeError::Checksum))
        ));
        std::fs::write(&case.file, &original[..2_999_999]).unwrap();
        assert!(matches!(
            case.verify().await,
            Err(PlatformError::Envelope(EnvelopeError::Size { .. }))
        ));
        std::fs::remove_file(&case.file).unwrap();
        assert!(matches!(case.verify().await, Err(PlatformError::Body(_))));
    }
}

#[tokio::test]
async fn a_body_altered_between_the_passes_releases_nothing_of_what_was_altered() {
    for encrypted in [true, false] {
        let case = Case::new(3_000_000, encrypted).await;
        let verified = case.verify().await.unwrap();
        let mut altered = std::fs::read(&case.file).unwrap();
        let at = if encrypted { 1_500_000 } else { 2_999_000 };
        altered[at] ^= 1;
        std::fs::write(&case.file, &altered).unwrap();
        let (out, end) = case.stream(verified).await;
        assert!(matches!(end, Err(PlatformError::Envelope(_))));
        assert!(case.plain.starts_with(&out) && out.len() < at);
    }
}

#[tokio::test]
async fn who_knows_the_body_key_cannot_exchange_the_body_between_the_passes() {
    for encrypted in [true, false] {
        let case = Case::new(3_000_000, encrypted).await;
        let verified = case.verify().await.unwrap();
        let other = vec![7; 3_000_000];
        let mut forged = Vec::new();
        match &case.key {
            Some(key) => {
                let mut sealer =
                    BodySealer::new(key, &name(), &mut rand::rng(), &mut forged).unwrap();
                sealer.push(&other, &mut forged).unwrap();
                sealer.finish(&mut forged).unwrap();
            }
            None => forged = other,
        }
        std::fs::write(&case.file, &forged).unwrap();
        let (out, end) = case.stream(verified).await;
        assert!(matches!(
            end,
            Err(PlatformError::Envelope(EnvelopeError::Checksum))
        ));
        assert!(out.is_empty());
    }
}
