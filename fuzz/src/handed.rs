//! What is handed to a command line as a file by somebody else, or lies in a folder that others could reach: descriptions of reads, re-encrypted keys, private
//! keys, a node's public identity, its store, and what it keeps of its votes.

use std::sync::LazyLock;

use certs::{Approval, Issuer, UnverifiedApproval};
use coordinator::client::user_key;
use cryptonode::client::handover::{ReadDescription, Shares};
use cryptonode::node_files::{IDENTITY_FILE, PublicIdentity};
use cryptonode::store::{Change, Cost, NodeIdentity, Passphrase, STORE_FILE, Store, Table};
use cryptonode::tls::TlsIdentity;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::EncodePrivateKey;
use ed25519_dalek::pkcs8::spki::der::pem::LineEnding;
use ordering::hostile;
use reencrypt::{EphemeralSecret, Opening, Progress, VerifiedWrappedKey, wrap};
use sha2::{Digest as _, Sha256};
use zeroize::Zeroizing;

use crate::certificates::{AUTHORITY, NOW};
use crate::files::with_private;
use crate::keys::{Sharing, rng};
use crate::node::{in_memory, with_file};
use crate::proofs::changed;
use crate::{Target, Verdict, refused, text};

pub(crate) fn targets() -> Vec<Target> {
    vec![
        Target {
            name: "read_description",
            run: read_description,
            seeds: || {
                let read = serde_json::to_vec_pretty(&*DESCRIPTION).unwrap();
                let newer = String::from_utf8(read.clone()).unwrap();
                let newer = newer.replace("\"version\": 1", "\"version\": 2");
                vec![
                    ("ok".to_owned(), read),
                    ("newer".to_owned(), newer.into_bytes()),
                ]
            },
        },
        Target {
            name: "shares_file",
            run: shares_file,
            seeds: || {
                let mut seeds = vec![
                    ("ok".to_owned(), Vec::new()),
                    ("any-bytes".to_owned(), b"+{\"version\":1}".to_vec()),
                ];
                for what in 0..8 {
                    for place in [30_u16, 330, 600] {
                        let [low, high] = place.to_le_bytes();
                        seeds.push((
                            format!("edit-{what}-{place}"),
                            vec![b'-', what, low, high, 1, 0],
                        ));
                    }
                }
                seeds
            },
        },
        Target {
            name: "private_key",
            run: private_key,
            seeds: || {
                let pem = SigningKey::from_bytes(&[4; 32]).to_pkcs8_pem(LineEnding::LF);
                vec![
                    ("ok".to_owned(), pem.unwrap().as_bytes().to_vec()),
                    (
                        "ok-authority".to_owned(),
                        include_bytes!("../fixtures/authority.key").to_vec(),
                    ),
                    (
                        "a-certificate".to_owned(),
                        include_bytes!("../fixtures/authority.pem").to_vec(),
                    ),
                ]
            },
        },
        Target {
            name: "public_identity",
            run: public_identity,
            seeds: || {
                let public = PublicIdentity {
                    identity: [1; 32],
                    recovery_public: [2; 32],
                };
                vec![("ok".to_owned(), serde_json::to_vec(&public).unwrap())]
            },
        },
        Target {
            name: "node_store",
            run: node_store,
            seeds: || {
                let mut seeds = vec![("ok".to_owned(), Vec::new())];
                for what in 0..8 {
                    for place in [4_u16, 100, 5_000, 9_000, 40_000] {
                        let [low, high] = place.to_le_bytes();
                        seeds.push((format!("edit-{what}-{place}"), vec![what, low, high, 1, 0]));
                    }
                }
                seeds
            },
        },
        Target {
            name: "votes_file",
            run: votes_file,
            seeds: || {
                vec![
                    ("ok".to_owned(), b"17\n".to_vec()),
                    ("none".to_owned(), b"many\n".to_vec()),
                ]
            },
        },
    ]
}

static DESCRIPTION: LazyLock<ReadDescription> = LazyLock::new(|| ReadDescription {
    version: 1,
    public_key: *Sharing::new().y.as_bytes(),
    write_id: [2; 32],
    label: "letter-7".to_owned(),
    ephemeral_point: [3; 32],
    client_spki: AUTHORITY.spki.clone(),
    client: Sha256::digest(&AUTHORITY.spki).into(),
});

/// Any text as what a reader asks an organisation to approve: what is approved is what it says, or nothing.
fn read_description(bytes: &[u8]) -> Verdict {
    let read = ReadDescription::from_json(text(bytes)?).map_err(|error| error.code().to_owned())?;
    let told = serde_json::to_string(&read).unwrap();
    assert_eq!(ReadDescription::from_json(&told).as_ref(), Ok(&read));
    let approval = Approval {
        write_id: read.write_id,
        ephemeral_point: read.ephemeral_point,
        approval_id: "read/1".to_owned(),
        client_spki: read.client_spki.clone(),
        not_before: NOW - 5,
        not_after: NOW + 200,
    };
    let issued = AUTHORITY.issuer.issue(&approval);
    let issued = issued.map_err(|error| error.code().to_owned())?;
    let approved = UnverifiedApproval::parse(&issued).unwrap();
    assert_eq!(approved.client_spki(), read.client_spki);
    Ok(())
}

/// A read whose re-encryption somebody else brings.
struct Reencrypted {
    sharing: Sharing,
    wrapped: VerifiedWrappedKey,
    honest: Vec<u8>,
}

const SECRET: &[u8] = &[7; 32];

impl Reencrypted {
    fn ephemeral(wrapped: &VerifiedWrappedKey) -> EphemeralSecret {
        EphemeralSecret::new(wrapped, &mut rng(6))
    }
}

static REENCRYPTED: LazyLock<Reencrypted> = LazyLock::new(|| {
    let sharing = Sharing::new();
    let wrapped = wrap(&sharing.y, b"letter", SECRET, &mut rng(5)).unwrap();
    let ephemeral = Reencrypted::ephemeral(&wrapped);
    let shares = sharing.shares.iter().take(2).map(|share| {
        let share = share.reencrypt(&wrapped, ephemeral.public(), &mut rng(7));
        hex::encode(share.unwrap().to_bytes())
    });
    let file = Shares {
        version: 1,
        public_key: *sharing.y.as_bytes(),
        epoch: 0,
        attempt: 1,
        write_id: wrapped.write_id(),
        ephemeral_point: *ephemeral.public().point().as_bytes(),
        shares: shares.collect(),
    };
    let honest = serde_json::to_vec_pretty(&file).unwrap();
    Reencrypted {
        sharing,
        wrapped,
        honest,
    }
});

/// The file of a re-encrypted key, edited, or (behind a `+`) any bytes: what opens is what was wrapped.
fn shares_file(bytes: &[u8]) -> Verdict {
    let read = &*REENCRYPTED;
    let file = changed(&read.honest, bytes);
    let code = |error: cryptonode::client::handover::HandoverError| error.code().to_owned();
    let shares = Shares::from_json(text(&file)?).map_err(code)?;
    let told = serde_json::to_string(&shares).unwrap();
    assert_eq!(Shares::from_json(&told).as_ref(), Ok(&shares));
    let ephemeral = Reencrypted::ephemeral(&read.wrapped);
    let decoded = shares
        .of_read(&read.wrapped, &ephemeral.public().point())
        .map_err(code)?;
    let package = read.sharing.package.clone();
    let mut opening = Opening::new(read.wrapped.clone(), ephemeral, package).unwrap();
    for share in &decoded {
        let index = share
            .first_chunk()
            .map_or(0, |index| u16::from_le_bytes(*index));
        match opening.add(index, share) {
            Progress::Opened(secret) => {
                assert_eq!(secret.expose(), SECRET);
                return Ok(());
            }
            Progress::InvalidWrappedKey => panic!("an honest writer is blamed"),
            Progress::Need(_) | Progress::Finished => {}
        }
    }
    refused("too-few-shares")
}

/// Any bytes as a private key in PEM: of a client, of a user, and of an authority whose certificate is there.
fn private_key(bytes: &[u8]) -> Verdict {
    let pem = text(bytes)?;
    let client = TlsIdentity::from_pem(pem);
    if let Ok(client) = &client {
        let again = TlsIdentity::from_pem(client.to_pem()).unwrap();
        assert_eq!(again.spki(), client.spki());
    }
    let user = with_private("user.pem", bytes, user_key::read);
    let certificate = include_str!("../fixtures/authority.pem");
    let authority = Issuer::from_pem(certificate, pem);
    if let Ok(authority) = &authority {
        let own = AUTHORITY.issuer.certificate_der();
        assert_eq!(authority.certificate_der(), own);
    }
    match client.is_ok() || user.is_ok() || authority.is_ok() {
        true => Ok(()),
        false => refused("no-key"),
    }
}

/// Any bytes as the file with a node's public identity.
fn public_identity(bytes: &[u8]) -> Verdict {
    with_file(IDENTITY_FILE, bytes, |folder| {
        let Ok(public) = PublicIdentity::read(folder) else {
            return refused("identity");
        };
        let told = serde_json::to_vec(&public).unwrap();
        assert_eq!(
            serde_json::from_slice::<PublicIdentity>(&told).unwrap(),
            public
        );
        Ok(())
    })
}

/// A node's sealed store, and what is in it.
struct Sealed {
    folder: tempfile::TempDir,
    honest: Vec<u8>,
}

const POLICY: (&[u8], &[u8]) = (b"a name", &[9; 300]);

impl Sealed {
    fn passphrase() -> Passphrase {
        Passphrase::new("a passphrase of the fuzzer's").unwrap()
    }

    fn new() -> Self {
        let folder = in_memory();
        let identity = NodeIdentity {
            signing: SigningKey::from_bytes(&[3; 32]),
            recovery_public: *Sharing::new().y.as_bytes(),
        };
        let cheap = Cost {
            memory_kib: 8,
            passes: 1,
            lanes: 1,
        };
        let policy = Change::put(Table::Policy, POLICY.0, Zeroizing::new(POLICY.1.to_vec()));
        let first = [identity.to_change(), policy];
        Store::create(folder.path(), &Self::passphrase(), cheap, &first).unwrap();
        let honest = std::fs::read(folder.path().join(STORE_FILE)).unwrap();
        Self { folder, honest }
    }
}

/// A node's store, damaged: it does not open, and stays as it is, or it has what was written.
fn node_store(bytes: &[u8]) -> Verdict {
    thread_local! {
        static SEALED: Sealed = Sealed::new();
    }
    SEALED.with(|sealed| {
        // The wide edits reach all of it, and not its first pages alone.
        let mut damaged = crate::edits::apply(&sealed.honest, bytes, &[]);
        if let [at, by, ..] = bytes {
            let place = damaged.len() * usize::from(*at) / 256;
            if let Some(byte) = damaged.get_mut(place).filter(|_| bytes.len() % 5 == 2) {
                *byte ^= (*by).max(1);
            }
        }
        let path = sealed.folder.path().join(STORE_FILE);
        std::fs::write(&path, &damaged).unwrap();
        let store = match Store::open(sealed.folder.path(), &Sealed::passphrase()) {
            Ok(store) => store,
            Err(error) => {
                assert!(!error.to_string().is_empty());
                assert_eq!(std::fs::read(&path).unwrap(), damaged, "it was written to");
                return refused("store");
            }
        };
        let identity = store.identity().unwrap();
        assert_eq!(identity.signing.as_bytes(), &[3; 32]);
        let entries = store.list(Table::Policy).unwrap();
        let [(name, value)] = entries.as_slice() else {
            panic!("{} records of one", entries.len());
        };
        assert_eq!((name.as_slice(), value.as_slice()), POLICY);
        Ok(())
    })
}

/// Any bytes as the file in which a member of the order keeps from which height on it knows its votes.
fn votes_file(bytes: &[u8]) -> Verdict {
    thread_local! {
        static FOLDER: tempfile::TempDir = in_memory();
    }
    FOLDER.with(
        |folder| match hostile::votes_kept_from(folder.path(), bytes) {
            Ok(Some(height)) => {
                let told = text(bytes)?;
                assert_eq!(
                    told.trim().trim_start_matches('+').parse::<u64>(),
                    Ok(height)
                );
                Ok(())
            }
            Ok(None) => panic!("there is a file"),
            Err(_) => refused("votes"),
        },
    )
}
