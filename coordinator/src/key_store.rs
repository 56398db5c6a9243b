//! The platform's half of what opens a version under platform encryption: a *version key* of its own for each version, wrapped under the
//! master key. It lies here and nowhere on the record, so that it can be destroyed.
//!
//! The record is for ever, and with it every wrapped key that was ever written to it. Were that wrapped under the master key alone, an
//! erased document would open again for whoever has the master key and an old copy of the body. So what stands on the record is wrapped under
//! the version key, and an erasure deletes the version key: what is on the record is then of no use to anybody, the platform included. A
//! rotation of the master key, too, concerns the rows here and not the record.
//!
//! Life of a row: it is durable before the transaction that needs it can be signed; it is marked once that is on the record; it goes when
//! the version is erased or the write is given up. A start asks the record about all rows; what was prepared and is not there goes after a day,
//! for a platform that follows its record may know less of it than was committed.
//!
//! Deleted rows are overwritten in the file, and the write-ahead log is emptied after an erasure. What a file system or a disk keeps of old
//! blocks, and backups of this file, still hold the wrapped version key: they open as long as the master key of that time exists.

mod rows;

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};

use tokio::sync::oneshot;

use crate::master_key::KeyId;
use crate::record::{DocumentName, VersionName};
pub use rows::KeyStoreError;
use rows::Rows;

/// Names a version key. The name stands on the record.
pub type VersionKeyId = [u8; 16];

/// What a row is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Purpose {
    /// A version that may not be on the record yet.
    Prepared,
    /// A version that was on the record.
    Committed,
    /// The parts of an upload that is not complete.
    Parts,
}

/// A wrapped version key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Entry {
    /// Its name.
    pub id: VersionKeyId,
    /// The version that it belongs to.
    pub name: VersionName,
    /// What it is for.
    pub purpose: Purpose,
    /// The master key that it is wrapped under.
    pub master: KeyId,
    /// The wrapped key.
    pub wrapped: Vec<u8>,
    /// When it was made, milliseconds since the Unix epoch.
    pub made_ms: u64,
}

/// What became of a new row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Put {
    /// It is durable.
    Done,
    /// It is wrapped under a master key that is not the present one any more: wrap it again.
    Outdated,
}

type Waiting = (Entry, oneshot::Sender<Result<Put, KeyStoreError>>);

/// The rows.
#[derive(Clone)]
pub struct KeyStore(Arc<Inner>);

struct Inner {
    rows: Mutex<Rows>,
    /// New rows that go to the disk together with the next ones.
    queue: Mutex<Vec<Waiting>>,
    /// Whoever holds it writes for all.
    writer: tokio::sync::Mutex<()>,
    /// Rows that are to be marked, some time.
    marked: Mutex<Vec<VersionKeyId>>,
}

impl KeyStore {
    /// Opens the file at `path`, and makes it if it is not there.
    ///
    /// # Errors
    ///
    /// [`KeyStoreError`]
    pub fn open(path: &Path) -> Result<Self, KeyStoreError> {
        let inner = Inner {
            rows: Mutex::new(Rows::open(path)?),
            queue: Mutex::default(),
            writer: tokio::sync::Mutex::default(),
            marked: Mutex::default(),
        };
        Ok(Self(Arc::new(inner)))
    }

    async fn with<T: Send + 'static>(
        &self,
        work: impl FnOnce(&mut Rows) -> Result<T, KeyStoreError> + Send + 'static,
    ) -> Result<T, KeyStoreError> {
        let inner = self.0.clone();
        let done = tokio::task::spawn_blocking(move || {
            work(&mut inner.rows.lock().unwrap_or_else(PoisonError::into_inner))
        });
        done.await.map_err(|_| KeyStoreError::Broken)?
    }

    /// Adds a row; it is durable when this returns. Rows that come at the same time go to the disk together.
    ///
    /// `present` is asked, while no row can come in between, which master key is the present one: a row under an older one, which the
    /// rewrapping may have passed already, is not taken.
    ///
    /// # Errors
    ///
    /// [`KeyStoreError`]
    pub async fn put(
        &self,
        entry: Entry,
        present: impl Fn() -> KeyId + Send + 'static,
    ) -> Result<Put, KeyStoreError> {
        let (sender, mut answer) = oneshot::channel();
        self.queue(|queue| queue.push((entry, sender)));
        let _writer = self.0.writer.lock().await;
        // Somebody else may have written it meanwhile.
        if let Ok(done) = answer.try_recv() {
            return done;
        }
        let waiting = self.queue(std::mem::take);
        self.with(move |rows| {
            let (entries, senders): (Vec<_>, Vec<_>) = waiting.into_iter().unzip();
            let result = rows.put(&entries, &present());
            for (place, sender) in senders.into_iter().enumerate() {
                let own = match &result {
                    Ok(puts) => puts.get(place).copied().ok_or(KeyStoreError::Broken),
                    Err(e) => Err(e.again()),
                };
                let _ = sender.send(own);
            }
            Ok(())
        })
        .await?;
        answer.await.map_err(|_| KeyStoreError::Broken)?
    }

    fn queue<T>(&self, work: impl FnOnce(&mut Vec<Waiting>) -> T) -> T {
        work(&mut self.0.queue.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// A row.
    ///
    /// # Errors
    ///
    /// [`KeyStoreError`]
    pub async fn get(&self, id: VersionKeyId) -> Result<Option<Entry>, KeyStoreError> {
        self.with(move |rows| rows.get(&id)).await
    }

    /// Notes that the version is on the record. It reaches the disk with the next [`KeyStore::flush`]: a start that does not find it asks
    /// the record.
    pub fn committed(&self, id: VersionKeyId) {
        let mut marked = self.0.marked.lock().unwrap_or_else(PoisonError::into_inner);
        marked.push(id);
    }

    /// Writes down what [`KeyStore::committed`] noted.
    ///
    /// # Errors
    ///
    /// [`KeyStoreError`]; then it is tried again with the next one.
    pub async fn flush(&self) -> Result<(), KeyStoreError> {
        let marked = {
            let mut marked = self.0.marked.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut *marked)
        };
        if marked.is_empty() {
            return Ok(());
        }
        let ids = marked.clone();
        let result = self.with(move |rows| rows.mark(&ids)).await;
        if result.is_err() {
            let mut again = self.0.marked.lock().unwrap_or_else(PoisonError::into_inner);
            again.extend(marked);
        }
        result
    }

    /// Removes rows; doing it again changes nothing. With `shred` nothing of them stays in the files.
    ///
    /// # Errors
    ///
    /// [`KeyStoreError`]
    pub async fn remove(&self, ids: Vec<VersionKeyId>, shred: bool) -> Result<(), KeyStoreError> {
        if ids.is_empty() {
            return Ok(());
        }
        self.with(move |rows| rows.remove(&ids, shred)).await
    }

    /// The rows of a document.
    ///
    /// # Errors
    ///
    /// [`KeyStoreError`]
    pub async fn of_document(&self, name: DocumentName) -> Result<Vec<Entry>, KeyStoreError> {
        self.with(move |rows| rows.of_document(&name)).await
    }

    /// At most `limit` rows behind `after`, by id.
    ///
    /// # Errors
    ///
    /// [`KeyStoreError`]
    pub async fn after(
        &self,
        after: Option<VersionKeyId>,
        limit: u32,
    ) -> Result<Vec<Entry>, KeyStoreError> {
        self.with(move |rows| rows.after(after.as_ref(), limit))
            .await
    }

    /// At most `limit` rows behind `after` that are not under `master`, by id.
    ///
    /// # Errors
    ///
    /// [`KeyStoreError`]
    pub async fn not_under(
        &self,
        master: KeyId,
        after: Option<VersionKeyId>,
        limit: u32,
    ) -> Result<Vec<Entry>, KeyStoreError> {
        self.with(move |rows| rows.not_under(&master, after.as_ref(), limit))
            .await
    }

    /// How many rows are under which master key.
    ///
    /// # Errors
    ///
    /// [`KeyStoreError`]
    pub async fn counts(&self) -> Result<Vec<(KeyId, u64)>, KeyStoreError> {
        self.with(|rows| rows.counts()).await
    }

    /// Puts rows in place of those of the same id that are still as they were: each comes with the master key that it was under.
    ///
    /// # Errors
    ///
    /// [`KeyStoreError`]
    pub async fn replace(&self, entries: Vec<(KeyId, Entry)>) -> Result<(), KeyStoreError> {
        self.with(move |rows| rows.replace(&entries)).await
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    fn entry(number: u8, document: &str, master: u8) -> Entry {
        let id = |name: &str| name.parse().unwrap();
        Entry {
            id: [number; 16],
            name: VersionName {
                tenant: id("acme"),
                dataset: id("designs"),
                document: id(document),
                version: u64::from(number),
            },
            purpose: Purpose::Prepared,
            master: [master; 8],
            wrapped: vec![number; 40],
            made_ms: 7,
        }
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn rows_come_and_go_and_none_comes_under_an_old_key() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("keys.sqlite");
        let store = KeyStore::open(&path).unwrap();
        let puts = (1..=40).map(|number| store.put(entry(number, "a", 1), || [1; 8]));
        for done in futures_util::future::join_all(puts).await {
            assert_eq!(done.unwrap(), Put::Done);
        }
        let late = store.put(entry(41, "a", 1), || [2; 8]).await.unwrap();
        assert_eq!(late, Put::Outdated);
        assert_eq!(store.get([41; 16]).await.unwrap(), None);
        store.put(entry(42, "b", 2), || [2; 8]).await.unwrap();
        assert_eq!(store.counts().await.unwrap(), [([1; 8], 40), ([2; 8], 1)]);

        store.committed([3; 16]);
        store.flush().await.unwrap();
        let again = KeyStore::open(&path).unwrap();
        let marked = again.get([3; 16]).await.unwrap().unwrap();
        assert_eq!(marked.purpose, Purpose::Committed);
        assert_eq!(again.get([4; 16]).await.unwrap(), Some(entry(4, "a", 1)));

        // What was replaced or removed meanwhile is not put back.
        let old = again.not_under([2; 8], None, 2).await.unwrap();
        assert_eq!(old.len(), 2);
        store.remove(vec![[1; 16]], false).await.unwrap();
        let renewed = old.into_iter().map(|mut it| {
            let before = std::mem::replace(&mut it.master, [2; 8]);
            it.wrapped = vec![77; 41];
            (before, it)
        });
        again.replace(renewed.collect()).await.unwrap();
        assert_eq!(again.get([1; 16]).await.unwrap(), None);
        assert_eq!(again.get([2; 16]).await.unwrap().unwrap().wrapped, [77; 41]);
        let rest = again.not_under([2; 8], Some([2; 16]), 100).await.unwrap();
        assert_eq!(rest.len(), 38);
        let of_b = again.of_document(entry(1, "b", 1).name.document_name());
        assert_eq!(of_b.await.unwrap().len(), 1);
    }

    #[tokio::test(flavor = "multi_thread")]
    async fn nothing_of_what_was_shredded_stays_in_the_files() {
        let folder = tempfile::tempdir().unwrap();
        let store = KeyStore::open(&folder.path().join("keys.sqlite")).unwrap();
        let secret = b"thirty-two bytes of a secret key";
        for number in 1..=30 {
            let mut entry = entry(number, "a", 1);
            entry.wrapped = [secret.as_slice(), &[number; 60]].concat();
            store.put(entry, || [1; 8]).await.unwrap();
        }
        let found = |what: &[u8]| {
            let files = std::fs::read_dir(folder.path()).unwrap();
            let mut files = files.map(|it| std::fs::read(it.unwrap().path()).unwrap());
            files.any(|bytes| bytes.windows(what.len()).any(|it| it == what))
        };
        assert!(found(secret));
        store
            .remove((1..30).map(|number| [number; 16]).collect(), true)
            .await
            .unwrap();
        assert!(found(&[secret.as_slice(), &[30; 60]].concat()));
        for number in 1..30 {
            assert!(!found(&[secret.as_slice(), &[number; 60]].concat()));
        }
        store.remove(vec![[30; 16]], true).await.unwrap();
        assert!(!found(secret));
    }
}
