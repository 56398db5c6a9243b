//! A node that misbehaves, as a process of its own: with the true identity and the true share of a node's folder, at that node's address,
//! and with an answer that is none or the wrong one.
//!
//! It is what an attacker runs who has taken a node over. Nothing of it is in the product: it listens and speaks TLS by the
//! node's own library, does the work that the node would do, and departs from it only in what it sends. It verifies
//! approvals and proofs (a late or slow node is an honest one), and keeps no audit log.

use std::collections::HashMap;
use std::net::SocketAddr;
use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cryptonode::config::Config;
use cryptonode::keyring::ActiveKey;
use cryptonode::server::{Limits, bind};
use cryptonode::store::{Folder, Passphrase, Store};
use cryptonode::tls;
use cryptonode::wire::v1::{Answer, ByteBuf, MAX_REQUEST, MAX_SHARE_ANSWER, Request};
use quinn::{Connection, RecvStream, SendStream};
use reencrypt::{EphemeralKey, WrappedKey, verify_request};
use sha2::{Digest, Sha256};

use crate::falsify::Truth;
use crate::misbehaviour::Misbehaviour;

/// How long a slow reader rests between two pieces.
const SLOW: Duration = Duration::from_millis(50);

/// Why it does not run, in the words of whatever refused.
#[derive(Debug, thiserror::Error)]
#[error("the faulty node cannot {what}: {reason}")]
pub struct FaultyNodeError {
    what: &'static str,
    reason: String,
}

pub(crate) fn cannot<E: std::fmt::Display>(
    what: &'static str,
) -> impl FnOnce(E) -> FaultyNodeError {
    move |reason| FaultyNodeError {
        what,
        reason: reason.to_string(),
    }
}

/// What all requests share.
struct Faulty {
    misbehaviour: Misbehaviour,
    identity: [u8; 32],
    /// By Y.
    keys: HashMap<[u8; 32], ActiveKey>,
    /// Certificates of keys as they were when it started, by Y.
    certificates: HashMap<[u8; 32], (Vec<String>, Vec<u8>)>,
    /// The last share that it gave.
    earlier: Mutex<Option<Vec<u8>>>,
}

/// Takes the folder of a node that does not run, and its place, until the task is dropped. `announce` is called once, with the
/// address, when it serves. Needs a tokio runtime.
///
/// # Errors
/// [`FaultyNodeError`] if the folder cannot be opened or the address not be listened on.
pub async fn run(
    dir: &Path,
    passphrase_file: &Path,
    misbehaviour: Misbehaviour,
    announce: impl FnOnce(SocketAddr),
) -> Result<(), FaultyNodeError> {
    let concerns = misbehaviour.concerns();
    if !concerns.reads {
        return Err(FaultyNodeError {
            what: "run",
            reason: format!("{misbehaviour} is nothing that a node does that is asked for shares"),
        });
    }
    if misbehaviour == Misbehaviour::Crashed {
        return Err(FaultyNodeError {
            what: "run",
            reason: "a crashed node has no process".to_owned(),
        });
    }
    let folder = Folder::open(dir).map_err(cannot("take the folder"))?;
    let config = Config::load(dir).map_err(cannot("read the configuration"))?;
    let passphrase =
        Passphrase::obtain(Some(passphrase_file), false).map_err(cannot("read the passphrase"))?;
    let store = Store::open(folder.path(), &passphrase).map_err(cannot("open the node's store"))?;
    let identity = store.identity().map_err(cannot("read the identity"))?;
    let keys = store.active_keys().map_err(cannot("read the keys"))?;
    let keys = keys
        .into_iter()
        .map(|key| (*key.package.public_key().as_bytes(), key))
        .collect();
    let entries = store.keys().map_err(cannot("read the keys"))?;
    let certificates = entries.iter().filter_map(|entry| {
        let newest = entry.state().newest.as_ref()?;
        let certificate = newest.certificate.as_bytes().to_vec();
        Some((*entry.public_key(), (newest.addresses.clone(), certificate)))
    });
    let certificates = certificates.collect();
    let endpoint = bind(config.listen, &identity.signing, &Limits::default())
        .map_err(cannot("listen at the node's address"))?;
    let address = endpoint
        .local_addr()
        .map_err(cannot("tell its own address"))?;
    let faulty = Arc::new(Faulty {
        misbehaviour,
        identity: identity.signing.verifying_key().to_bytes(),
        keys,
        certificates,
        earlier: Mutex::default(),
    });
    announce(address);
    while let Some(incoming) = endpoint.accept().await {
        let faulty = Arc::clone(&faulty);
        tokio::spawn(async move {
            if let Ok(connection) = incoming.await {
                faulty.serve(connection).await;
            }
        });
    }
    Ok(())
}

impl Faulty {
    async fn serve(self: Arc<Self>, connection: Connection) {
        let Some(client) = tls::peer_key(&connection) else {
            return;
        };
        let client: Arc<[u8]> = client.into();
        while let Ok((send, receive)) = connection.accept_bi().await {
            let (faulty, client) = (Arc::clone(&self), Arc::clone(&client));
            tokio::spawn(async move { faulty.answer_stream(&client, send, receive).await });
        }
    }

    async fn answer_stream(&self, client: &[u8], mut send: SendStream, mut receive: RecvStream) {
        let slow = self.misbehaviour == Misbehaviour::SlowReader;
        if slow {
            tokio::time::sleep(SLOW).await;
        }
        let Ok(bytes) = receive.read_to_end(MAX_REQUEST).await else {
            return;
        };
        let answer = match Request::from_bytes(&bytes) {
            Ok(Request::Reencrypt {
                approvals,
                wrapped_key,
                ephemeral_key,
                ..
            }) => match self.misbehaviour {
                Misbehaviour::NoAnswer => {
                    // Until the client gives up.
                    let _ = send.stopped().await;
                    return;
                }
                Misbehaviour::Refusal => refused("This node refuses every request."),
                misbehaviour => {
                    let mut share = None;
                    for _ in 0..times(misbehaviour) {
                        share = self.share(client, &approvals, &wrapped_key, &ephemeral_key);
                    }
                    if let Misbehaviour::Late(delay) = misbehaviour {
                        tokio::time::sleep(delay).await;
                    }
                    share.map_or_else(
                        || refused("The request does not hold."),
                        |share| Answer::Share {
                            share: ByteBuf::from(share),
                            newest: None,
                        },
                    )
                }
            },
            Ok(Request::KeyCertificate { public_key })
                if self.misbehaviour == Misbehaviour::StaleCertificate =>
            {
                let known = self.certificates.get(&public_key);
                known.map_or_else(
                    || refused("This node has no certificate of the key."),
                    |(addresses, certificate)| Answer::KeyCertificate {
                        addresses: addresses.clone(),
                        certificate: ByteBuf::from(certificate.clone()),
                    },
                )
            }
            Ok(Request::Status {}) => self.status(),
            _ => refused("This node answers nothing but shares and its status."),
        };
        let Ok(bytes) = answer.to_bytes() else { return };
        let bytes = self.misbehaviour.frame(bytes, MAX_SHARE_ANSWER);
        for part in bytes.chunks(if slow { 64 } else { bytes.len().max(1) }) {
            if send.write_all(part).await.is_err() {
                return;
            }
            if slow {
                tokio::time::sleep(SLOW).await;
            }
        }
        if send.finish().is_ok() {
            let _ = send.stopped().await;
        }
    }

    /// The node's work, and the share that is sent; `None` if the node would refuse.
    fn share(
        &self,
        client: &[u8],
        approvals: &[ByteBuf],
        wrapped_key: &[u8],
        ephemeral_key: &[u8],
    ) -> Option<Vec<u8>> {
        let public_key = WrappedKey::peek_public_key(wrapped_key).ok()?;
        let key = self.keys.get(public_key)?;
        let binding = certs_binding(wrapped_key, ephemeral_key, client)?;
        let approvals: Vec<&[u8]> = approvals.iter().map(|bytes| bytes.as_slice()).collect();
        let now = self.clock()?;
        key.policy.verify(&approvals, &binding, now).ok()?;
        let mut rng = rand::rng();
        let wrapped = WrappedKey::parse_under(wrapped_key, &key.package.public_key()).ok()?;
        let ephemeral = EphemeralKey::parse(ephemeral_key).ok()?;
        let (wrapped, ephemeral) = verify_request(&wrapped, &ephemeral, &mut rng).ok()?;
        let share = key.share.reencrypt(&wrapped, &ephemeral, &mut rng).ok()?;
        let mut earlier = self.earlier.lock().unwrap_or_else(PoisonError::into_inner);
        let truth = Truth {
            key,
            wrapped: &wrapped,
            ephemeral: &ephemeral,
            share: share.to_bytes().to_vec(),
            earlier: earlier.as_deref(),
        };
        let sent = self.misbehaviour.falsify(truth, &mut rng);
        earlier.get_or_insert_with(|| sent.clone());
        Some(sent)
    }

    /// Seconds since the Unix epoch, as this node takes them to be.
    fn clock(&self) -> Option<u64> {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).ok()?.as_secs();
        Some(match self.misbehaviour {
            Misbehaviour::WrongClock(ahead_s) => now.saturating_add_signed(ahead_s),
            _ => now,
        })
    }

    fn status(&self) -> Answer {
        let keys = self.keys.values().map(|key| key.status());
        Answer::Status {
            keys: keys.collect(),
            time_ms: self.clock().unwrap_or_default() * 1000,
            identity: self.identity,
            software: "faulty node".to_owned(),
        }
    }
}

/// How often the arithmetic is done.
fn times(misbehaviour: Misbehaviour) -> u32 {
    match misbehaviour {
        Misbehaviour::SlowProcessor(times) => times,
        _ => 1,
    }
}

fn certs_binding<'a>(
    wrapped_key: &[u8],
    ephemeral_key: &[u8],
    client: &'a [u8],
) -> Option<certs::Binding<'a>> {
    Some(certs::Binding {
        write_id: Sha256::digest(wrapped_key).into(),
        ephemeral_point: *ephemeral_key.first_chunk()?,
        client_spki: client,
    })
}

fn refused(message: &str) -> Answer {
    Answer::Refused {
        code: "misbehaving".to_owned(),
        message: message.to_owned(),
        retry_after_ms: None,
    }
}
