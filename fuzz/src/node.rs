//! The crypto node: requests and answers, the files that its operator and its own log give it.

use std::path::Path;
use std::sync::LazyLock;

use cryptonode::audit::{AuditApproval, AuditRecord, read_exported, verify_folder};
use cryptonode::client::{ClusterDescriptor, MemberDescriptor};
use cryptonode::config::{Card, Config, read_policy};
use cryptonode::wire::v1::{Answer, KeyStatus, Request, presentable};
use ed25519_dalek::SigningKey;
use sha2::{Digest, Sha256};

use crate::keys::Sharing;
use crate::{Target, Verdict, refused, text};

pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "request",
            run: request,
            seeds: || frozen("request"),
        },
        Target {
            name: "answer",
            run: answer,
            seeds: || {
                let mut seeds = frozen("answer");
                let status = Answer::Status {
                    keys: vec![KeyStatus {
                        epoch: 1,
                        index: 2,
                        attempt: 1,
                        members: 3,
                        threshold: 2,
                        public_key: [4; 32],
                    }],
                    time_ms: 5,
                    identity: [6; 32],
                    software: "cryptonode 1".to_owned(),
                };
                seeds.push(("ok-status-2".to_owned(), status.to_bytes().unwrap()));
                seeds
            },
        },
        Target {
            name: "descriptor",
            run: descriptor,
            seeds: || vec![("ok".to_owned(), cluster().to_json().into_bytes())],
        },
        Target {
            name: "node_config",
            run: node_config,
            seeds: configs,
        },
        Target {
            name: "card",
            run: card,
            seeds: || vec![("ok".to_owned(), card_line().into_bytes())],
        },
        Target {
            name: "policy_file",
            run: policy_file,
            seeds: || {
                let pem = include_str!("../fixtures/authority.pem");
                let head = "approvals_needed = 1\n[[organisations]]\nname = \"oak\"";
                let text = format!("{head}\nissuers = [\"\"\"\n{pem}\"\"\"]\n");
                vec![("ok".to_owned(), text.into_bytes())]
            },
        },
        Target {
            name: "audit_record",
            run: audit_record,
            seeds: || vec![("ok".to_owned(), record(1).to_bytes().unwrap())],
        },
        Target {
            name: "audit_segment",
            run: audit_segment,
            seeds: || {
                vec![
                    ("ok-none".to_owned(), segment(0)),
                    ("ok-three".to_owned(), segment(3)),
                ]
            },
        },
        Target {
            name: "audit_export",
            run: audit_export,
            seeds: || vec![("cut-short".to_owned(), export(2))],
        },
    ]
}

/// Messages of the frozen list, by what their name begins with.
fn frozen(kind: &str) -> Vec<(String, Vec<u8>)> {
    include_str!("../../cryptonode/tests/network_wire_v1.txt")
        .lines()
        .filter_map(|line| {
            let (name, bytes) = line.rsplit_once(": ")?;
            let name = name.strip_prefix(kind)?.trim().replace(' ', "-");
            Some((format!("ok-{name}"), hex::decode(bytes).ok()?))
        })
        .collect()
}

/// Any bytes as a request.
fn request(bytes: &[u8]) -> Verdict {
    let request = Request::from_bytes(bytes).map_err(|error| {
        assert!(error.to_string().len() < 4096);
        error.code().to_owned()
    })?;
    assert_eq!(request.to_bytes().as_deref(), Ok(bytes), "one encoding");
    Ok(())
}

/// Any bytes as an answer, and its text as it would be shown.
fn answer(bytes: &[u8]) -> Verdict {
    let answer = Answer::from_bytes(bytes).map_err(|error| error.code().to_owned())?;
    assert_eq!(answer.to_bytes().as_deref(), Ok(bytes), "one encoding");
    if let Answer::Refused { code, message, .. } = &answer {
        assert!(!presentable(message, 200).chars().any(char::is_control));
        assert!(code.len() <= 64);
    }
    Ok(())
}

fn cluster() -> ClusterDescriptor {
    let sharing = Sharing::new();
    let member = |index: u16| MemberDescriptor {
        index,
        name: format!("node-{index}"),
        identity: identity(index),
        address: format!("node-{index}.example:7700"),
        public_share: *sharing.package.public_share(index).unwrap().as_bytes(),
    };
    ClusterDescriptor {
        version: 1,
        public_key: *sharing.y.as_bytes(),
        epoch: 0,
        attempt: 1,
        threshold: 2,
        members: (1..=3).map(member).collect(),
        policy_hash: [7; 32],
    }
}

fn identity(seed: u16) -> [u8; 32] {
    SigningKey::from_bytes(&[seed as u8; 32])
        .verifying_key()
        .to_bytes()
}

/// Any text as `cluster.json`.
fn descriptor(bytes: &[u8]) -> Verdict {
    let code = |error: cryptonode::client::DescriptorError| error.code().to_owned();
    let cluster = ClusterDescriptor::from_json(text(bytes)?)
        .and_then(ClusterDescriptor::check)
        .map_err(code)?;
    let again = ClusterDescriptor::from_json(&cluster.descriptor().to_json()).unwrap();
    assert_eq!(&again, cluster.descriptor());
    Ok(())
}

/// Any text as a node's configuration.
fn node_config(bytes: &[u8]) -> Verdict {
    match Config::parse(Path::new("/nowhere"), text(bytes)?) {
        Ok(config) => {
            assert!(!config.name.is_empty());
            Ok(())
        }
        Err(error) => {
            assert!(!error.to_string().is_empty());
            refused("configuration")
        }
    }
}

fn card_line() -> String {
    let sharing = Sharing::new();
    Card {
        name: "node-1".to_owned(),
        identity: hex::encode(identity(1)),
        recovery_public: hex::encode(sharing.y.as_bytes()),
        address: "node-1.example:7700".to_owned(),
    }
    .to_line()
}

fn configs() -> Vec<(String, Vec<u8>)> {
    let template = include_str!("../../cryptonode/src/config/template.toml");
    let small = "name = \"node-1\"\nlisten = \"127.0.0.1:7700\"\npolicy = \"policy.toml\"\n";
    let card: serde_json::Value = serde_json::from_str(&card_line()).unwrap();
    let mut member = "\n[[members]]\n".to_owned();
    for (key, value) in card.as_object().unwrap() {
        member.push_str(&format!("{key} = {value}\n"));
    }
    vec![
        ("template".to_owned(), template.as_bytes().to_vec()),
        ("small".to_owned(), small.as_bytes().to_vec()),
        ("member".to_owned(), format!("{small}{member}").into_bytes()),
    ]
}

/// Any text as a node's card.
fn card(bytes: &[u8]) -> Verdict {
    let Ok(card) = Card::parse(text(bytes)?) else {
        return refused("card");
    };
    assert_eq!(Card::parse(&card.to_line()).as_ref(), Ok(&card));
    assert_eq!(
        Card::of(&card.member().unwrap()).to_line().len(),
        card.to_line().len()
    );
    Ok(())
}

/// A file that a function of the product reads by its path.
pub(crate) fn with_file<T>(name: &str, bytes: &[u8], read: impl FnOnce(&Path) -> T) -> T {
    thread_local! {
        static FOLDER: tempfile::TempDir = in_memory();
    }
    FOLDER.with(|folder| {
        std::fs::write(folder.path().join(name), bytes).unwrap();
        read(folder.path())
    })
}

pub(crate) fn in_memory() -> tempfile::TempDir {
    tempfile::tempdir_in("/dev/shm")
        .or_else(|_| tempfile::tempdir())
        .unwrap()
}

/// Any bytes as a policy file.
fn policy_file(bytes: &[u8]) -> Verdict {
    with_file("policy.toml", bytes, |folder| {
        match read_policy(&folder.join("policy.toml")) {
            Ok(policy) => {
                assert!(policy.approvals_needed() >= 1);
                Ok(())
            }
            Err(_) => refused("policy"),
        }
    })
}

fn record(number: u64) -> AuditRecord {
    AuditRecord {
        epoch: 0,
        client: [1; 32],
        time_ms: 1_800_000_000_000 + number,
        write_id: [2; 32],
        approvals: vec![AuditApproval {
            approval_id: "read/1".to_owned(),
            organisation: "oak".to_owned(),
            issuer_fingerprint: [3; 32],
        }],
        public_key: [4; 32],
        ephemeral_point: [5; 32],
    }
}

/// Any bytes as an audit record.
fn audit_record(bytes: &[u8]) -> Verdict {
    match AuditRecord::from_bytes(bytes) {
        Ok(record) => {
            assert_eq!(record.to_bytes().as_deref(), Ok(bytes), "one encoding");
            Ok(())
        }
        Err(error) => refused(match error {
            cryptonode::audit::RecordError::TooLong { .. } => "too-long",
            cryptonode::audit::RecordError::Malformed { .. } => "malformed",
            cryptonode::audit::RecordError::NotCanonical => "not-canonical",
        }),
    }
}

/// A segment file of so many records, as `cryptonode/src/audit/segment.rs` describes it.
fn segment(records: u64) -> Vec<u8> {
    let mut bytes = b"cnaudit1".to_vec();
    bytes.extend(0_u64.to_le_bytes());
    for index in 0..records {
        let record = record(index).to_bytes().unwrap();
        let mut head = (record.len() as u32).to_le_bytes().to_vec();
        head.extend(index.to_le_bytes());
        head.extend(0_u64.to_le_bytes());
        let checksum = Sha256::new()
            .chain_update(&head)
            .chain_update(&record)
            .finalize();
        bytes.extend(head);
        bytes.extend(&checksum[..8]);
        bytes.extend(record);
    }
    bytes
}

/// Any bytes as the only segment of a node's audit log.
fn audit_segment(bytes: &[u8]) -> Verdict {
    thread_local! {
        static FOLDER: tempfile::TempDir = in_memory();
    }
    FOLDER.with(|folder| {
        let file = folder.path().join(format!("{:020}.log", 0));
        std::fs::write(file, bytes).unwrap();
        let mut seen = 0;
        let verified = verify_folder(folder.path(), "node-1", &identity(1), |index, _, _| {
            assert_eq!(index, seen);
            seen += 1;
            Ok(())
        });
        let verified = verified.map_err(|error| error.code().to_owned())?;
        assert_eq!(verified.records, seen);
        Ok(())
    })
}

static NODES: LazyLock<[u8; 32]> = LazyLock::new(|| identity(1));

fn export(records: u64) -> Vec<u8> {
    let mut lines = String::new();
    for index in 0..records {
        let bytes = hex::encode(record(index).to_bytes().unwrap());
        lines.push_str(&format!("{{\"index\":{index},\"record\":\"{bytes}\"}}\n"));
    }
    lines.into_bytes()
}

/// Any text as a node's exported log.
fn audit_export(bytes: &[u8]) -> Verdict {
    let nodes = [("node-1", *NODES)];
    let log = read_exported(bytes, &nodes).map_err(|error| error.code().to_owned())?;
    assert!(log.signed <= log.records.len() as u64);
    Ok(())
}
