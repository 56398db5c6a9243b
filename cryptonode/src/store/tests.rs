#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    missing_docs
)]

use std::fs;
use std::os::unix::fs::PermissionsExt;

use super::*;

const CHEAP: Cost = Cost {
    memory_kib: 8,
    passes: 1,
    lanes: 1,
};

fn passphrase(text: &str) -> Passphrase {
    Passphrase::new(text).unwrap()
}

fn value(bytes: &[u8]) -> Zeroizing<Vec<u8>> {
    Zeroizing::new(bytes.to_vec())
}

fn created() -> tempfile::TempDir {
    let dir = tempfile::tempdir().unwrap();
    let first = [Change::put(Table::Identity, b"only", value(b"the seed"))];
    Store::create(dir.path(), &passphrase("right"), CHEAP, &first).unwrap();
    dir
}

fn open(dir: &Path) -> Result<Store, StoreError> {
    Store::open(dir, &passphrase("right"))
}

#[test]
fn records_come_back_after_a_restart() {
    let dir = created();
    let store = open(dir.path()).unwrap();
    store
        .commit(&[
            Change::put(Table::Key, b"y1", value(b"share 1")),
            Change::put(Table::Key, b"y2", value(b"2")),
        ])
        .unwrap();
    drop(store);
    let store = open(dir.path()).unwrap();
    assert_eq!(
        store
            .get(Table::Identity, b"only")
            .unwrap()
            .unwrap()
            .as_slice(),
        b"the seed"
    );
    assert_eq!(store.list(Table::Key).unwrap().len(), 2);
    assert!(store.get(Table::Key, b"y3").unwrap().is_none());
    store.commit(&[Change::erase(Table::Key, b"y1")]).unwrap();
    assert!(store.get(Table::Key, b"y1").unwrap().is_none());
}

#[test]
fn the_file_is_private_and_shows_no_plaintext() {
    let dir = created();
    let path = dir.path().join(STORE_FILE);
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o600
    );
    let bytes = fs::read(path).unwrap();
    assert!(!bytes.windows(8).any(|window| window == b"the seed"));
}

#[test]
fn a_wrong_passphrase_is_told_apart_and_changes_nothing() {
    let dir = created();
    let before = fs::read(dir.path().join(STORE_FILE)).unwrap();
    let refused = Store::open(dir.path(), &passphrase("wrong")).unwrap_err();
    assert!(
        matches!(refused, StoreError::WrongPassphrase { .. }),
        "{refused}"
    );
    assert_eq!(fs::read(dir.path().join(STORE_FILE)).unwrap(), before);
    open(dir.path()).unwrap();
}

#[test]
fn a_file_cut_anywhere_is_refused_and_left_alone() {
    let dir = created();
    let path = dir.path().join(STORE_FILE);
    let whole = fs::read(&path).unwrap();
    let cuts = (0..64)
        .chain((64..whole.len()).step_by(whole.len() / 97))
        .chain([whole.len() - 1]);
    for cut in cuts {
        fs::write(&path, &whole[..cut]).unwrap();
        let refused = open(dir.path()).unwrap_err();
        assert!(
            matches!(refused, StoreError::Corrupt { .. }),
            "cut at {cut}: {refused}"
        );
        assert_eq!(fs::read(&path).unwrap(), &whole[..cut], "cut at {cut}");
    }
    fs::write(&path, &whole).unwrap();
    open(dir.path()).unwrap();
}

/// A flipped bit is noticed, or lies where nothing is stored; it never gives another plaintext or a lost record.
#[test]
fn a_flipped_bit_never_gives_another_record() {
    let dir = created();
    let path = dir.path().join(STORE_FILE);
    let whole = fs::read(&path).unwrap();
    let used: Vec<usize> = (0..whole.len()).filter(|at| whole[*at] != 0).collect();
    let mut noticed = 0;
    for at in used.iter().step_by(used.len() / 300 + 1) {
        let mut damaged = whole.clone();
        damaged[*at] ^= 1 << (at % 8);
        fs::write(&path, &damaged).unwrap();
        match open(dir.path()) {
            Ok(store) => {
                assert_eq!(
                    store
                        .get(Table::Identity, b"only")
                        .unwrap()
                        .unwrap()
                        .as_slice(),
                    b"the seed",
                    "byte {at}"
                );
            }
            Err(
                StoreError::Corrupt { .. }
                | StoreError::WrongPassphrase { .. }
                | StoreError::OtherVersion { .. },
            ) => {
                assert_eq!(
                    fs::read(&path).unwrap(),
                    damaged,
                    "byte {at}: a refusal changes nothing"
                );
                noticed += 1;
            }
            Err(other) => panic!("byte {at}: {other}"),
        }
    }
    assert!(noticed > 0);
}

#[test]
fn a_record_put_in_the_place_of_another_is_refused() {
    let dir = created();
    let store = open(dir.path()).unwrap();
    store
        .commit(&[
            Change::put(Table::Key, b"y1", value(b"1")),
            Change::put(Table::Key, b"y2", value(b"2")),
        ])
        .unwrap();
    drop(store);
    let path = dir.path().join(STORE_FILE);
    let database = Database::open(&path).unwrap();
    let entries = sealed_entries(&database, Table::Key).unwrap();
    let transaction = database.begin_write().unwrap();
    transaction
        .open_table(Table::Key.definition())
        .unwrap()
        .insert(b"y1".as_slice(), entries[1].1.as_slice())
        .unwrap();
    transaction.commit().unwrap();
    drop(database);
    let refused = open(dir.path()).unwrap_err();
    assert!(matches!(refused, StoreError::Corrupt { .. }), "{refused}");
}

#[test]
fn a_kill_between_commits_keeps_what_was_committed() {
    let dir = created();
    let store = open(dir.path()).unwrap();
    for n in 0..20u8 {
        store
            .commit(&[Change::put(Table::Policy, &[n], value(&[n; 40]))])
            .unwrap();
        // What the disk has at this moment is what a killed process leaves: the database was not closed.
        let copy = tempfile::tempdir().unwrap();
        fs::copy(dir.path().join(STORE_FILE), copy.path().join(STORE_FILE)).unwrap();
        let after = open(copy.path()).unwrap();
        assert_eq!(after.list(Table::Policy).unwrap().len(), usize::from(n) + 1);
    }
}

#[test]
fn an_erased_ceremony_leaves_no_key_behind() {
    let dir = created();
    let store = open(dir.path()).unwrap();
    let id = [7; 16];
    store
        .commit(&[Change::put(Table::Ceremony, &id, value(b"polynomial"))])
        .unwrap();
    store
        .commit(&[Change::put(
            Table::Ceremony,
            &id,
            value(b"polynomial, later"),
        )])
        .unwrap();
    let key = dir
        .path()
        .join(erasable::FOLDER)
        .join(format!("{}.key", hex::encode(id)));
    let sealed_key = fs::read(&key).unwrap();
    assert_eq!(
        store.get(Table::Ceremony, &id).unwrap().unwrap().as_slice(),
        b"polynomial, later"
    );
    store
        .commit(&[
            Change::erase(Table::Ceremony, &id),
            Change::put(Table::Decided, &id, value(b"done")),
        ])
        .unwrap();
    assert!(!key.exists());
    drop(store);
    // A crash between commit and destruction leaves the file: the next start destroys it.
    fs::write(&key, sealed_key).unwrap();
    open(dir.path()).unwrap();
    assert!(!key.exists());
}

#[test]
fn an_erased_share_does_not_come_back_with_an_old_copy_of_the_file() {
    let dir = created();
    let share = Change::put(Table::Key, b"y1, epoch 0", value(b"share"));
    open(dir.path()).unwrap().commit(&[share]).unwrap();
    let file = dir.path().join(STORE_FILE);
    let old = fs::read(&file).unwrap();
    let store = open(dir.path()).unwrap();
    assert!(store.get(Table::Key, b"y1, epoch 0").unwrap().is_some());
    store
        .commit(&[
            Change::erase(Table::Key, b"y1, epoch 0"),
            Change::put(Table::Key, b"y1, epoch 1", value(b"new share")),
        ])
        .unwrap();
    drop(store);
    fs::write(&file, old).unwrap();
    assert!(matches!(open(dir.path()), Err(StoreError::Corrupt { .. })));
}

#[test]
fn a_ceremony_whose_key_is_gone_is_damage() {
    let dir = created();
    open(dir.path())
        .unwrap()
        .commit(&[Change::put(Table::Ceremony, &[7; 16], value(b"polynomial"))])
        .unwrap();
    fs::remove_dir_all(dir.path().join(erasable::FOLDER)).unwrap();
    assert!(matches!(open(dir.path()), Err(StoreError::Corrupt { .. })));
}

#[test]
fn a_store_is_never_made_over_another() {
    let dir = created();
    let refused = Store::create(dir.path(), &passphrase("other"), CHEAP, &[]).unwrap_err();
    assert!(matches!(refused, StoreError::Exists { .. }));
    open(dir.path()).unwrap();
    fs::remove_file(dir.path().join(STORE_FILE)).unwrap();
    assert!(matches!(open(dir.path()), Err(StoreError::Missing { .. })));
}

#[test]
fn a_folder_is_for_one_process_and_one_user() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path().join("n1");
    let folder = Folder::create(&path).unwrap();
    assert_eq!(
        fs::metadata(&path).unwrap().permissions().mode() & 0o777,
        0o700
    );
    assert!(matches!(
        Folder::create(&path),
        Err(FolderError::InUse { .. })
    ));
    assert!(matches!(
        Folder::open(&path),
        Err(FolderError::NoNode { .. })
    ));
    write_private(&folder.file(crate::config::CONFIG_FILE), b"", false).unwrap();
    assert!(matches!(
        Folder::open(&path),
        Err(FolderError::InUse { .. })
    ));
    drop(folder);
    Folder::open(&path).unwrap();
    fs::set_permissions(&path, fs::Permissions::from_mode(0o755)).unwrap();
    assert!(matches!(
        Folder::open(&path),
        Err(FolderError::Open { mode: 0o755, .. })
    ));
}
