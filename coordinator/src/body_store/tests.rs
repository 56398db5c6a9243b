//! Bodies come back, and what nobody committed does not stay.
#![allow(clippy::unwrap_used, clippy::panic, clippy::indexing_slicing)]
use super::*;

fn files(dir: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(dir).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(files(&path))
        } else {
            found.push(path)
        }
    }
    found
}

fn id(name: &str) -> Identifier {
    Identifier::new(name).unwrap()
}

fn name() -> VersionName {
    VersionName {
        tenant: id("acme"),
        dataset: id("d"),
        document: id("x"),
        version: 1,
    }
}

#[tokio::test]
async fn bodies_come_back_and_only_to_their_tenant() {
    let dir = tempfile::tempdir().unwrap();
    let store = BodyStore::local(&dir.path().join("bodies"), &dir.path().join("uploads")).unwrap();
    let body: Vec<u8> = (0..PART_SIZE * 2 + 77).map(|i| (i % 251) as u8).collect();
    let mut writer = store.create(&name()).await.unwrap();
    for part in body.chunks(100_000) {
        writer.push(part).await.unwrap();
    }
    let note = writer.finish().await.unwrap().into_note().unwrap();
    assert_eq!(
        store.size(&id("acme"), &note.pointer).await.unwrap(),
        body.len() as u64
    );
    let all = store
        .read(&id("acme"), &note.pointer, 0..body.len() as u64)
        .await
        .unwrap();
    assert!(all == body);
    let result = store.read(&id("other"), &note.pointer, 0..1).await;
    assert!(matches!(result, Err(BodyStoreError::Missing)));
    store.discard(&note).await;
    assert!(files(dir.path()).is_empty());
}

#[tokio::test]
async fn an_upload_given_up_leaves_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let store = BodyStore::local(&dir.path().join("bodies"), &dir.path().join("uploads")).unwrap();
    let gone = async || {
        let wait = async {
            while !files(dir.path()).is_empty() {
                tokio::task::yield_now().await;
            }
        };
        tokio::time::timeout(std::time::Duration::from_secs(60), wait)
            .await
            .unwrap();
    };
    // Given up while it is on its way, with a part in flight.
    let mut writer = store.create(&name()).await.unwrap();
    writer.push(&vec![1; PART_SIZE + 5]).await.unwrap();
    assert!(!files(dir.path()).is_empty());
    drop(writer);
    gone().await;
    // Given up when it is complete, before any transaction names it.
    let mut writer = store.create(&name()).await.unwrap();
    writer.push(b"body").await.unwrap();
    let body = writer.finish().await.unwrap();
    assert_eq!(files(&dir.path().join("bodies")).len(), 1);
    drop(body);
    gone().await;
}

#[tokio::test]
async fn a_restart_removes_orphans_and_keeps_the_committed() {
    let dir = tempfile::tempdir().unwrap();
    let (bodies, uploads) = (dir.path().join("bodies"), dir.path().join("uploads"));
    let store = BodyStore::local(&bodies, &uploads).unwrap();
    let mut notes = Vec::new();
    for _ in 0..3 {
        let mut writer = store.create(&name()).await.unwrap();
        writer.push(b"body").await.unwrap();
        let mut body = writer.finish().await.unwrap();
        let sealed = [b"sealed".as_slice(), body.pointer().as_bytes()].concat();
        body.seal(&sealed, 5).await.unwrap();
        notes.push(body.into_note().unwrap());
    }
    // A fourth was cut off while it was on its way, with a staged file left behind.
    let mut writer = store.create(&name()).await.unwrap();
    writer.push(&vec![0; PART_SIZE]).await.unwrap();
    writer.settle().await.unwrap();
    let unfinished = writer.note.take().unwrap();
    std::mem::forget(writer.upload.take());
    assert!(
        files(&bodies)
            .iter()
            .any(|f| f.to_string_lossy().contains('#'))
    );
    drop(writer);

    let store = BodyStore::local(&bodies, &uploads).unwrap();
    let [committed, never, open] = [0, 1, 2].map(|at: usize| notes[at].pointer);
    let fate = |note: &Note| match note.pointer {
        it if it == committed => Fate::Committed,
        it if it == open => Fate::Open,
        it => {
            assert_eq!(note.expires_ms, (it == never).then_some(5));
            Fate::Never
        }
    };
    let earlier = store.earlier_notes().unwrap();
    assert_eq!(earlier.len(), 4);
    let (removed, left) = store.settle(earlier, fate).await;
    assert_eq!(removed, 2);
    // What is open keeps body and note, and is looked at again.
    assert_eq!(left.len(), 1);
    assert_eq!((files(&uploads).len(), files(&bodies).len()), (1, 2));
    assert!(store.size(&id("acme"), &unfinished.pointer).await.is_err());
    let (removed, left) = store.settle(left, |_| Fate::Never).await;
    assert_eq!((removed, left.len()), (1, 0));
    assert!(files(&uploads).is_empty());
    assert_eq!(files(&bodies).len(), 1);
    let result = store
        .read(&id("acme"), &notes.first().unwrap().pointer, 0..4)
        .await
        .unwrap();
    assert_eq!(&result[..], b"body");
}

#[test]
fn a_disk_that_others_have_filled_is_a_full_store() {
    let no_room = || std::io::Error::from(std::io::ErrorKind::StorageFull);
    let note = BodyStoreError::Folder(FolderError::Io {
        action: "write",
        path: "uploads/note".into(),
        source: no_room(),
    });
    let body = BodyStoreError::Store(object_store::Error::Generic {
        store: "LocalFileSystem",
        source: Box::new(no_room()),
    });
    for error in [note, body, BodyStoreError::Full { reserve: 1 }] {
        assert!(error.is_full());
        assert_eq!(error.code(), "body-store-full");
    }
    let denied = BodyStoreError::Folder(FolderError::Io {
        action: "write",
        path: "uploads/note".into(),
        source: std::io::ErrorKind::PermissionDenied.into(),
    });
    assert!(!denied.is_full());
    assert_eq!(denied.code(), "file-io");
}
