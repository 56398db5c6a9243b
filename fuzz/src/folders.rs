//! Files that lie in somebody's folder and may have been changed, damaged or made by others: a sealed master key, a peer's settings and its backup,
//! notes of uploads, profiles.

use std::cell::RefCell;
use std::path::{Path, PathBuf};

use argon2::{Algorithm, Argon2, Params, Version};
use aws_lc_rs::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use coordinator::body_store::{BodyStore, Note, Pointer};
use coordinator::client::profiles::Profiles;
use coordinator::folder::Folder;
use coordinator::master_key::{MAX_KEYS, MasterKey as _, Passphrase, SealedMasterKey};
use coordinator::peer::backup::{BackupManifest, examine};
use coordinator::peer::settings::PeerSettings;
use coordinator::record::Genesis;
use coordinator::record::peer::Mirror;
use hkdf::Hkdf;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};

use crate::files::with_private;
use crate::node::in_memory;
use crate::platform::opening;
use crate::{Target, Verdict, edits, refused};

pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "body_note",
            run: body_note,
            seeds: || {
                let note = |more: Value| {
                    let mut note = json!({
                        "tenant": "main", "dataset": "designs", "document": "bridge",
                        "version": 3, "pointer": hex::encode([7; 16]), "sealed_pointer": "",
                    });
                    for (name, value) in more.as_object().unwrap() {
                        note[name] = value.clone();
                    }
                    note.to_string().into_bytes()
                };
                vec![
                    ("ok-on-its-way".to_owned(), note(json!({}))),
                    (
                        "ok-sent".to_owned(),
                        note(
                            json!({ "sealed_pointer": "a1b2", "expires_ms": 1_800_000_000_000_u64 }),
                        ),
                    ),
                    (
                        "long-pointer".to_owned(),
                        note(json!({ "pointer": hex::encode([7; 17]) })),
                    ),
                    ("no-name".to_owned(), note(json!({ "tenant": "../main" }))),
                ]
            },
        },
        Target {
            name: "master_key",
            run: master_key,
            seeds: || {
                let text = |version| String::from_utf8(sealed_keys(version)).unwrap();
                let dear = text(2).replace("\"memory_kib\":64", "\"memory_kib\":1048577");
                let often = text(2).replace("\"passes\":1", "\"passes\":65");
                vec![
                    ("ok-first-version".to_owned(), sealed_keys(1)),
                    ("ok-two-keys".to_owned(), sealed_keys(2)),
                    ("too-much-memory".to_owned(), dear.into_bytes()),
                    ("too-many-passes".to_owned(), often.into_bytes()),
                ]
            },
        },
        Target {
            name: "peer_settings",
            run: peer_settings,
            seeds: || {
                let small = "organisation = \"oak\"\nlisten = \"127.0.0.1:7720\"\napi = \"127.0.0.1:7730\"\n";
                let key = hex::encode([7; 32]);
                let whole = format!(
                    "{small}api_tls = \"[::1]:7740\"\n[timing]\nidle_ms = 100\nleader_ms = 500\ncertification_ms = 1000\n[members]\npine = \"10.0.0.2:7720\"\n[apis]\npine = \"10.0.0.2:7740\"\n\
                     [helpers]\nelder = \"{key}\"\n[[clients]]\nname = \"platform\"\nkey = \"{key}\"\n\
                     [[revocation]]\nauthority = \"ca.pem\"\nlist = \"https://example.com/list.crl\"\n"
                );
                vec![
                    ("ok-small".to_owned(), small.as_bytes().to_vec()),
                    ("ok-whole".to_owned(), whole.into_bytes()),
                    (
                        "open-to-the-network".to_owned(),
                        small.replace("127.0.0.1:7730", "0.0.0.0:7730").into_bytes(),
                    ),
                ]
            },
        },
        Target {
            name: "peer_backup",
            run: peer_backup,
            seeds: || {
                let outside = br#"+{"format":"coordinator-peer-backup/1","organisation":"oak","ledger":"","height":0,"transactions":0,"time_ms":0,"made_ms":0,"files":{"../genesis.cbor":""}}"#;
                let mut seeds = vec![
                    ("ok".to_owned(), Vec::new()),
                    ("outside".to_owned(), outside.to_vec()),
                ];
                seeds.extend(
                    (0..8).map(|what| (format!("edit-{what}"), vec![b'-', what, 90, 0, 1, 0])),
                );
                seeds
            },
        },
        Target {
            name: "client_profiles",
            run: client_profiles,
            seeds: || {
                let text = "default = \"home\"\n[profiles.home]\nurl = \"http://127.0.0.1:7710\"\ntenant = \"main\"\napi_key = \"a.b\"\n\
                            [profiles.work]\nurl = \"https://work.example\"\nuser = \"alice\"\nkey = \"alice.pem\"\n";
                vec![("ok".to_owned(), text.as_bytes().to_vec())]
            },
        },
    ]
}

/// Any bytes as the note of an upload that an earlier process left.
fn body_note(bytes: &[u8]) -> Verdict {
    thread_local! {
        static STORE: (tempfile::TempDir, BodyStore) = {
            let folder = in_memory();
            let store = BodyStore::local(&folder.path().join("bodies"), &folder.path().join("uploads"));
            (folder, store.unwrap())
        };
    }
    STORE.with(|(folder, store)| {
        std::fs::write(folder.path().join("uploads/one.note"), bytes).unwrap();
        let notes: Vec<Note> = store
            .earlier_notes()
            .map_err(|error| error.code().to_owned())?;
        let [note] = notes.as_slice() else {
            panic!("{} notes of one file", notes.len());
        };
        let told = serde_json::to_vec(note).unwrap();
        let again: Note = serde_json::from_slice(&told).unwrap();
        assert_eq!((again.name(), again.pointer), (note.name(), note.pointer));
        assert_eq!(
            Pointer::from_slice(note.pointer.as_bytes()),
            Some(note.pointer)
        );
        assert_eq!(serde_json::to_vec(&again).unwrap(), told);
        Ok(())
    })
}

const PASSPHRASE: &str = "correct horse";

/// The file of a sealed master key, as the head of `coordinator/src/master_key/file.rs` describes it, at the lowest cost.
fn sealed_keys(version: u8) -> Vec<u8> {
    let (salt, seal_salt, id) = ([1; 32], [2; 32], [3; 8]);
    let count = usize::from(version);
    let mut key = [0; 32];
    let params = Params::new(64, 1, 1, Some(32)).unwrap();
    Argon2::new(Algorithm::Argon2id, Version::V0x13, params)
        .hash_password_into(PASSPHRASE.as_bytes(), &salt, &mut key)
        .unwrap();
    let mut context = [b"coordinator/v1/master-key-file", &[version][..]].concat();
    context.extend([64_u32.to_le_bytes(), 1_u32.to_le_bytes()].concat());
    context.extend(salt);
    let mut file = json!({
        "version": version, "kdf": "argon2id", "memory_kib": 64, "passes": 1, "salt": hex::encode(salt),
    });
    if version == 2 {
        let from = Hkdf::<Sha256>::new(Some(&seal_salt), &key);
        from.expand(b"coordinator/v1/master-key-file-seal", &mut key)
            .unwrap();
        context.extend(seal_salt);
        for _ in 0..count {
            context.extend(id);
            context.extend(9_u64.to_le_bytes());
        }
        file["seal_salt"] = json!(hex::encode(seal_salt));
        file["keys"] = json!(vec![json!({ "id": hex::encode(id), "made_ms": 9 }); count]);
    }
    let mut sealed: Vec<u8> = (0..version).flat_map(|number| [number; 32]).collect();
    LessSafeKey::new(UnboundKey::new(&AES_256_GCM, &key).unwrap())
        .seal_in_place_append_tag(
            Nonce::assume_unique_for_key([0; 12]),
            Aad::from(context),
            &mut sealed,
        )
        .unwrap();
    file["sealed"] = json!(hex::encode(sealed));
    file.to_string().into_bytes()
}

/// Any bytes as the file of a sealed master key. What opens is what was sealed, however it is written down.
fn master_key(bytes: &[u8]) -> Verdict {
    // What the product allows takes seconds: the costs are tried at their bounds and at the bottom.
    let asked: Option<Value> = serde_json::from_slice(bytes).ok();
    let asks = |what: &str| asked.as_ref().and_then(|file| file[what].as_u64());
    let allowed = asks("memory_kib").is_some_and(|it| it <= 1024 * 1024)
        && asks("passes").is_some_and(|it| it <= 64);
    let dear =
        asks("memory_kib").is_some_and(|it| it > 256) || asks("passes").is_some_and(|it| it > 2);
    if allowed && dear {
        return refused("dear");
    }
    with_private("master.key", bytes, |path| {
        let opened = SealedMasterKey::open(path, &Passphrase::new(PASSPHRASE));
        let keys = opened.map_err(|error| error.code().to_owned())?.keys();
        assert!((1..=MAX_KEYS).contains(&keys.len()));
        let version = u8::try_from(keys.len()).unwrap();
        let honest: Value = serde_json::from_slice(&sealed_keys(version)).unwrap();
        assert_eq!(keys.len(), usize::from(version));
        let of = |file: &Value| {
            ["version", "salt", "sealed", "seal_salt"]
                .map(|name| file[name].as_str().map(str::to_ascii_lowercase))
        };
        assert_eq!(asked.as_ref().map(of), Some(of(&honest)));
        Ok(())
    })
}

/// Any bytes as a peer's settings: what is taken is written and read again as it is.
fn peer_settings(bytes: &[u8]) -> Verdict {
    with_private("peer.toml", bytes, |path| {
        let folder = Folder::at(path.parent().unwrap());
        let settings = PeerSettings::read(&folder).map_err(|error| {
            assert!(error.to_string().contains("peer.toml"), "{error}");
            error.code().to_owned()
        })?;
        assert!(settings.api.ip().is_loopback());
        settings.write(&folder).unwrap();
        assert_eq!(PeerSettings::read(&folder).unwrap(), settings);
        Ok(())
    })
}

/// A whole backup of a peer that has begun, and what its manifest says.
struct Backup {
    folder: tempfile::TempDir,
    honest: BackupManifest,
    text: Vec<u8>,
}

impl Backup {
    fn new() -> Self {
        const OWNER: &str = "mirror";
        let folder = in_memory();
        let place = |name: &str| folder.path().join(name);
        std::fs::create_dir(place("record")).unwrap();
        let genesis = Genesis::from_bytes(&opening()).unwrap();
        std::fs::write(place("genesis.cbor"), genesis.to_bytes()).unwrap();
        let store = format!("record/{OWNER}.sqlite");
        drop(Mirror::open(&place(&store), &genesis).unwrap());
        let digest = |path: PathBuf| hex::encode(Sha256::digest(std::fs::read(path).unwrap()));
        let files = ["genesis.cbor", &store].map(|name| (name.to_owned(), digest(place(name))));
        let honest = BackupManifest {
            format: "coordinator-peer-backup/1".to_owned(),
            organisation: OWNER.parse().unwrap(),
            ledger: hex::encode(genesis.id()),
            height: 0,
            transactions: 0,
            time_ms: genesis.time_ms,
            made_ms: genesis.time_ms,
            files: files.into(),
        };
        let text = serde_json::to_vec_pretty(&honest).unwrap();
        Self {
            folder,
            honest,
            text,
        }
    }

    fn examine(&self, manifest: &[u8]) -> Verdict {
        let folder: &Path = self.folder.path();
        std::fs::write(folder.join("backup.json"), manifest).unwrap();
        let found = examine(folder).map_err(|error| error.code().to_owned())?;
        let honest = &self.honest;
        assert_eq!(
            (
                &found.organisation,
                &found.ledger,
                found.height,
                found.transactions
            ),
            (
                &honest.organisation,
                &honest.ledger,
                honest.height,
                honest.transactions
            )
        );
        // Nothing else, and nothing outside.
        for (name, digest) in &found.files {
            assert_eq!(honest.files.get(name), Some(digest), "{name}");
        }
        Ok(())
    }
}

/// Any bytes as the manifest of a peer's backup (`+`), or the honest one, edited: what is taken says nothing of the backup that is not so.
fn peer_backup(bytes: &[u8]) -> Verdict {
    thread_local! {
        static BACKUP: RefCell<Option<Backup>> = const { RefCell::new(None) };
    }
    BACKUP.with_borrow_mut(|backup| {
        let backup = backup.get_or_insert_with(Backup::new);
        match bytes.split_first() {
            Some((b'+', manifest)) => backup.examine(manifest),
            Some((_, changes)) => backup.examine(&edits::apply(&backup.text, changes, &[])),
            None => backup.examine(&backup.text),
        }
    })
}

/// Any bytes as the profiles of a client: what is taken is written and read again as it is.
fn client_profiles(bytes: &[u8]) -> Verdict {
    with_private("profiles.toml", bytes, |path| {
        let profiles = Profiles::read(path).map_err(|error| error.code().to_owned())?;
        let named = |profiles: &Profiles| profiles.profiles.keys().cloned().collect::<Vec<_>>();
        profiles.write(path).unwrap();
        let again = Profiles::read(path).unwrap();
        assert_eq!(again.default, profiles.default);
        assert_eq!(named(&again), named(&profiles));
        for (name, profile) in &again.profiles {
            assert_eq!(profile.url, profiles.profiles[name].url);
            assert_eq!(profile.user, profiles.profiles[name].user);
        }
        Ok(())
    })
}
