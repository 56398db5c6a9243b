//! What operators, auditors and command lines are given: commands on a socket, keys in text, files of proofs and of settings.

use std::path::Path;
use std::sync::LazyLock;

use certs::cosignature::WitnessKey;
use certs::log_proof::InclusionLines;
use certs::merkle::{Tree, leaf_hash};
use coordinator::body_store::Bucket;
use coordinator::client::profile::Profile;
use coordinator::config::{Config, PeerKey};
use coordinator::record::audit::{Subject, verify_proof};
use coordinator::record::head::SignedHead;
use coordinator::record::{SignedTransaction, UserName, quorum};
use cryptonode::admin::Command;
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};

use crate::node::with_file;
use crate::platform::{READS, founders, strings};
use crate::{Target, Verdict, edits, refused, text};

pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "admin_command",
            run: admin_command,
            seeds: || {
                let commands = [
                    json!({ "command": "status" }),
                    json!({ "command": "unseal" }),
                    json!({ "command": "ceremony-propose", "threshold": 3, "members": ["n1", "n2"], "open_for_s": 60, "may_be_absent": 0, "patience_s": 5, "allow_few_members": false, "after_attempt": 0 }),
                    json!({ "command": "ceremony-status", "id": "3af1", "wait": true }),
                    json!({ "command": "key-list" }),
                ];
                numbered(commands.map(|command| command.to_string()))
            },
        },
        Target {
            name: "witness_key",
            run: witness_key,
            seeds: || {
                let key = SigningKey::from_bytes(&[7; 32]).verifying_key();
                let key = WitnessKey::new("node-1.example/key", key).unwrap();
                numbered([key.to_string()])
            },
        },
        Target {
            name: "record_proof",
            run: record_proof,
            seeds: || {
                let mut seeds = vec![("ok".to_owned(), Vec::new())];
                seeds.extend((0..8).map(|what| (format!("edit-{what}"), vec![what, 9, 0, 1, 0])));
                seeds
            },
        },
        Target {
            name: "platform_config",
            run: platform_config,
            seeds: || {
                let listen = ([127, 0, 0, 1], 7710).into();
                let text = Config::text(listen);
                vec![("ok".to_owned(), text.into_bytes())]
            },
        },
        Target {
            name: "client_profile",
            run: client_profile,
            seeds: || {
                let text = "url = \"http://127.0.0.1:7710\"\ntenant = \"main\"\napi_key = \"a.b\"\nuser = \"alice\"\nkey = \"alice.pem\"\n";
                numbered([text.to_owned()])
            },
        },
        Target {
            name: "names",
            run: names,
            seeds: || {
                let texts = [
                    "document:main/designs/bridge",
                    "main/alice",
                    "s3://bodies/prefix",
                ];
                let mut seeds = numbered(texts.map(str::to_owned));
                seeds.extend(
                    numbered([format!("{:064x}", 7)])
                        .into_iter()
                        .map(|(_, bytes)| ("ok-key".to_owned(), bytes)),
                );
                seeds
            },
        },
    ]
}

fn numbered<const N: usize>(texts: [String; N]) -> Vec<(String, Vec<u8>)> {
    (1..)
        .zip(texts)
        .map(|(number, text)| (format!("ok-{number}"), text.into_bytes()))
        .collect()
}

/// Any line as a command to a running node: what is taken is told again as it was meant.
fn admin_command(bytes: &[u8]) -> Verdict {
    let command: Command =
        serde_json::from_slice(bytes).or_else(|error| refused(error.to_string()))?;
    let told = serde_json::to_vec(&command).unwrap();
    assert_eq!(serde_json::from_slice::<Command>(&told).unwrap(), command);
    Ok(())
}

/// Any text as a witness's key: it is written as it is read.
fn witness_key(bytes: &[u8]) -> Verdict {
    let text = text(bytes)?;
    let key: WitnessKey = text.parse().or_else(|_| refused("witness-key"))?;
    assert_eq!(key.to_string(), text, "one encoding");
    Ok(())
}

/// A transaction's proof, made from an export, and which transaction it is of.
static PROOF: LazyLock<(String, u64)> = LazyLock::new(|| {
    let mut found = Vec::new();
    for line in READS.lines() {
        let line: Value = serde_json::from_str(line).unwrap();
        strings(&line, &mut found);
    }
    let leaves: Vec<Vec<u8>> = found
        .iter()
        .filter_map(|text| hex::decode(text).ok())
        .filter(|bytes| SignedTransaction::from_bytes(bytes).is_ok())
        .collect();
    let mut tree = Tree::new();
    for leaf in &leaves {
        tree.push(leaf_hash(leaf));
    }
    let keys = founders();
    let (note, size) = found
        .iter()
        .filter(|text| text.contains("\u{2014} "))
        .find_map(|note| {
            let signed = SignedHead::parse(note).ok()?;
            let head = signed.verify(&keys, quorum(keys.len())).ok()?;
            Some((note, head.checkpoint.size))
        })
        .unwrap();
    let index = size / 2;
    let lines = InclusionLines {
        extra: Some(leaves[usize::try_from(index).unwrap()].clone()),
        index,
        proof: tree.inclusion_proof(index, size).unwrap(),
    };
    (lines.with_note(note), index)
});

/// A file of a proof, edited: nothing else is proven than what was.
fn record_proof(bytes: &[u8]) -> Verdict {
    let (honest, index) = &*PROOF;
    let edited = edits::apply(honest.as_bytes(), bytes, &[]);
    let (head, row) =
        verify_proof(text(&edited)?, &founders()).map_err(|error| error.code().to_owned())?;
    let (first, true_row) = verify_proof(honest, &founders()).unwrap();
    assert_eq!((row.position(), &row), (*index, &true_row));
    assert_eq!(head.head(), first.head());
    Ok(())
}

/// A file of this name that nobody else may read.
pub(crate) fn with_private<T>(name: &str, bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    use std::os::unix::fs::PermissionsExt as _;
    with_file(name, bytes, |folder| {
        let path = folder.join(name);
        let private = std::fs::Permissions::from_mode(0o600);
        std::fs::set_permissions(&path, private).unwrap();
        read(&path)
    })
}

/// Any text as a platform's settings: what is taken is in order, and what is refused says which value.
fn platform_config(bytes: &[u8]) -> Verdict {
    with_private("coordinator.toml", bytes, |path| match Config::read(path) {
        Ok(_) => Ok(()),
        Err(error) => {
            assert!(error.to_string().contains("coordinator.toml"), "{error}");
            refused("config")
        }
    })
}

/// Any text as a client's profile. What is wrong with it is said without what is in it.
fn client_profile(bytes: &[u8]) -> Verdict {
    with_private("client.toml", bytes, |path| match Profile::read(path) {
        Ok(profile) => {
            assert!(profile.key.is_none_or(|key| key.is_absolute()));
            Ok(())
        }
        Err(error) => refused(error.code()),
    })
}

/// Any text as a name on the record, a key, or a place for bodies: each is read in one way only.
fn names(bytes: &[u8]) -> Verdict {
    let text = text(bytes)?;
    let subject = text.parse::<Subject>();
    let user = text.parse::<UserName>();
    if let Ok(user) = &user {
        assert_eq!(user.to_string(), text);
    }
    let bucket = text.parse::<Bucket>();
    let key = text.parse::<PeerKey>();
    if let Ok(key) = &key {
        assert_eq!(hex::encode(key.0), text.to_ascii_lowercase());
    }
    match subject.is_ok() || user.is_ok() || bucket.is_ok() || key.is_ok() {
        true => Ok(()),
        false => refused("no-name"),
    }
}
