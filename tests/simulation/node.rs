//! A crypto node: the product's own decisions, keyring, store and audit log, with a driver that knows nothing but virtual time.
//!
//! What the product does with tasks, sockets and timers is done here by three calls: [`Host::ask`] answers a request,
//! [`Host::commit`] makes the audit records durable that wait and lets their shares go, [`Host::wake`] does what a node does by
//! itself (`ceremonies.rs`).

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use cryptonode::audit::{CheckpointKey, Journal};
use cryptonode::ceremony::Desk;
use cryptonode::disk::Disk;
use cryptonode::keyring::{ActiveKey, KeyEntry, Keyring};
use cryptonode::server::decision::{Prepared, ShareRequest, admit};
use cryptonode::server::{Gate, Refusal, descriptor};
use cryptonode::store::{
    Cost, Passphrase, STORE_FILE, Store, Table, audit_head_change, policy_change,
};
use cryptonode::wire::v1::{
    Answer, ByteBuf, KeyStatus, MAX_MEMBER_REQUEST, MAX_REQUEST, Request, WireError,
};
use dkg::{Leader, LocalNode, Member, MemberIdentity, RecoveryPhrase};
use rand::SeedableRng;
use rand::rngs::StdRng;
use sha2::{Digest, Sha256};
use testkit::misbehaviour::Misbehaviour;

use crate::ceremonies::{Asks, Made};
use crate::disk::SimDisk;
use crate::plants::Plant;

pub const FOLDER: &str = "/node";
pub const AUDIT: &str = "/node/audit";
/// How long a member of a ceremony may keep silent, seconds.
pub const PATIENCE_S: u32 = 20;
/// How long an old share is served on, seconds.
pub const OVERLAP_S: u64 = 30;

pub type CeremonyId = [u8; 16];

/// A node, running or not.
pub struct Host {
    pub name: String,
    pub local: LocalNode,
    pub card: MemberIdentity,
    pub policy: certs::Policy,
    pub disk: SimDisk,
    pub running: Option<Running>,
    /// How often it was started: an answer to a question from before a crash finds nobody.
    pub boots: u64,
    /// Its clock against the world's.
    pub skew_ms: i64,
    pub conduct: Option<Misbehaviour>,
    pub plant: Option<Plant>,
    /// What it answered with before, for replays: anything, and a share.
    pub last_answer: Option<Answer>,
    pub earlier: Option<Vec<u8>>,
    /// The first certificate that it had of its key.
    pub first_certificate: Option<Vec<u8>>,
}

/// What a node has in memory.
pub struct Running {
    pub desk: Desk,
    pub journal: Journal,
    pub gate: Gate,
    pub seats: BTreeMap<CeremonyId, Member>,
    pub led: BTreeMap<CeremonyId, Leader>,
    pub made: BTreeMap<CeremonyId, Made>,
    pub asks: Asks,
    /// Shares that wait for their records, by call.
    pub batch: Vec<(u64, Prepared)>,
}

/// What becomes of a request.
pub enum Handled {
    Now(Answer),
    /// When its record is durable.
    Later,
    Never,
}

/// An answer that waited for its record.
pub struct Released {
    pub call: u64,
    pub answer: Answer,
    pub record: Vec<u8>,
}

/// Who asks, as the connection proved it.
#[derive(Debug, Clone)]
pub struct Caller {
    pub spki: Vec<u8>,
    pub member: Option<[u8; 32]>,
}

fn passphrase() -> Passphrase {
    Passphrase::new("correct horse battery").unwrap()
}

impl Host {
    /// A new node with an empty store. Its keys come of the seed.
    pub fn new(name: &str, seed: u64, policy: &certs::Policy) -> Self {
        let phrase = RecoveryPhrase::generate(&mut StdRng::seed_from_u64(seed));
        let keys = phrase.node_keys();
        let card = MemberIdentity {
            name: name.to_owned(),
            identity: keys.identity.verifying_key().to_bytes(),
            recovery_public: *keys.recovery_public.as_bytes(),
            address: format!("{name}.example:7700"),
        };
        let local = LocalNode {
            identity: keys.identity.clone().into(),
            recovery_public: keys.recovery_public,
            policy_hash: policy.hash(),
        };
        let folder = tempfile::tempdir().unwrap();
        let cheap = Cost {
            memory_kib: 8,
            passes: 1,
            lanes: 1,
        };
        Store::create(
            folder.path(),
            &passphrase(),
            cheap,
            &[policy_change(policy)],
        )
        .unwrap();
        let disk = SimDisk::default();
        let store = std::fs::read(folder.path().join(STORE_FILE)).unwrap();
        disk.put(&Path::new(FOLDER).join(STORE_FILE), store);
        Self {
            name: name.to_owned(),
            local,
            card,
            policy: policy.clone(),
            disk,
            running: None,
            boots: 0,
            skew_ms: 0,
            conduct: None,
            plant: None,
            last_answer: None,
            earlier: None,
            first_certificate: None,
        }
    }

    /// The same node on a copy of its disk, not started.
    pub fn copy(&self) -> Self {
        Self {
            name: self.name.clone(),
            local: self.local.clone(),
            card: self.card.clone(),
            policy: self.policy.clone(),
            disk: self.disk.copy(),
            running: None,
            boots: 0,
            skew_ms: 0,
            conduct: None,
            plant: None,
            last_answer: None,
            earlier: None,
            first_certificate: None,
        }
    }

    pub fn identity(&self) -> [u8; 32] {
        self.card.identity
    }

    pub fn is_honest(&self) -> bool {
        self.conduct.is_none()
    }

    pub fn clock_ms(&self, now_ms: u64) -> u64 {
        now_ms.saturating_add_signed(self.skew_ms)
    }

    /// Starts it from what its disk has.
    pub fn boot(&mut self) -> Result<(), String> {
        self.boots += 1;
        let folder = Path::new(FOLDER);
        let files: Arc<dyn Disk> = Arc::new(self.disk.clone());
        let store = Store::open_on(Arc::clone(&files), folder, &passphrase())
            .map_err(|error| error.to_string())?;
        let keyring = Keyring::new();
        for entry in store.keys().map_err(|error| error.to_string())? {
            keyring.put(entry);
        }
        let key = CheckpointKey::of_node(&self.name, &self.local.identity).unwrap();
        let known = store.audit_head().map_err(|error| error.to_string())?;
        let journal = Journal::open(files, Path::new(AUDIT), key, known.as_ref())
            .map_err(|error| error.to_string())?;
        store
            .commit(&[audit_head_change(&journal.head())])
            .map_err(|error| error.to_string())?;
        let mut seats = BTreeMap::new();
        for table in [Table::Decided, Table::Ceremony] {
            for (id, state) in store.list(table).map_err(|error| error.to_string())? {
                let machine = Member::restore(self.local.clone(), &state)
                    .map_err(|error| error.to_string())?;
                let id: CeremonyId = id.as_slice().try_into().map_err(|_| "an id")?;
                seats.insert(id, machine.with_patience(PATIENCE_S));
            }
        }
        let mut led = BTreeMap::new();
        for (id, state) in store
            .list(Table::Leading)
            .map_err(|error| error.to_string())?
        {
            let id: CeremonyId = id.as_slice().try_into().map_err(|_| "an id")?;
            led.insert(
                id,
                Leader::restore(&state).map_err(|error| error.to_string())?,
            );
        }
        let mut running = Running {
            desk: Desk {
                store: Arc::new(store),
                keyring: Arc::new(keyring),
                policy: Some(self.policy.clone()),
            },
            journal,
            gate: Gate::default(),
            seats,
            led,
            made: BTreeMap::new(),
            asks: Asks::default(),
            batch: Vec::new(),
        };
        running.remember_keys()?;
        self.running = Some(running);
        Ok(())
    }

    /// The process is gone, and with it what it had in memory.
    pub fn kill(&mut self) {
        // First: a database that is closed in order would write.
        self.disk.cut();
        self.running = None;
    }

    /// Answers a request, as the server does that reads it off a stream.
    pub fn ask(
        &mut self,
        call: u64,
        caller: &Caller,
        bytes: &[u8],
        now_ms: u64,
        rng: &mut StdRng,
    ) -> Handled {
        let now_ms = self.clock_ms(now_ms);
        let identity = self.identity();
        let limit = match caller.member {
            Some(_) => MAX_MEMBER_REQUEST,
            None => MAX_REQUEST,
        };
        if bytes.len() > limit {
            return Handled::Now(Refusal::Message(WireError::TooLong { limit }).to_answer());
        }
        let request = match Request::from_bytes(bytes) {
            Ok(request) => request,
            Err(error) => return Handled::Now(Refusal::Message(error).to_answer()),
        };
        if let Request::Ceremony { message } = request {
            let Some(from) = caller.member else {
                return Handled::Now(Refusal::NotAMember.to_answer());
            };
            let reply = self.ceremony(&from, &message, now_ms / 1000, rng);
            return reply.map_or(Handled::Never, |message| {
                Handled::Now(Answer::Ceremony {
                    message: ByteBuf::from(message),
                })
            });
        }
        let Some(running) = &mut self.running else {
            return Handled::Never;
        };
        let answer = match request {
            Request::Reencrypt {
                result,
                approvals,
                wrapped_key,
                ephemeral_key,
                traceparent: _,
            } => {
                let request = ShareRequest {
                    result,
                    approvals: &approvals,
                    wrapped_key: &wrapped_key,
                    ephemeral_key: &ephemeral_key,
                    client_spki: &caller.spki,
                    client: Sha256::digest(&caller.spki).into(),
                };
                let admitted = admit(&running.desk.keyring, &running.gate, request);
                let prepared = admitted.and_then(|admitted| {
                    let checked = admitted.check(&running.gate, now_ms, rng, &mut ())?;
                    Ok(checked.compute(rng, &mut ()))
                });
                match prepared {
                    Ok(prepared) => {
                        running.batch.push((call, prepared));
                        return Handled::Later;
                    }
                    Err(refusal) => Err(refusal),
                }
            }
            Request::Key { public_key } => running
                .desk
                .keyring
                .choose(&public_key, None)
                .map(|chosen| Answer::Key {
                    descriptor: descriptor(&chosen.key).to_json(),
                    certificate: ByteBuf::from(chosen.key.certificate.as_slice()),
                })
                .map_err(Refusal::from),
            Request::KeyCertificate { public_key } => {
                let entry = running.desk.keyring.entry(&public_key);
                let newest = entry
                    .as_ref()
                    .and_then(|entry| entry.state().newest.as_ref());
                newest
                    .map(|newest| Answer::KeyCertificate {
                        addresses: newest.addresses.clone(),
                        certificate: ByteBuf::from(newest.certificate.as_bytes()),
                    })
                    .ok_or_else(|| Refusal::NoCertificate {
                        public_key: hex::encode(public_key),
                    })
            }
            Request::Status {} => Ok(status(running, identity, now_ms)),
            _ => Err(Refusal::Stopping),
        };
        Handled::Now(answer.unwrap_or_else(|refusal| refusal.to_answer()))
    }

    /// Makes the records durable that wait, and lets their shares go.
    pub fn commit(&mut self) -> Vec<Released> {
        let Some(running) = &mut self.running else {
            return Vec::new();
        };
        let batch = std::mem::take(&mut running.batch);
        let records: Vec<Vec<u8>> = batch
            .iter()
            .map(|(_, prepared)| prepared.record().to_bytes().unwrap())
            .collect();
        let appended = running.journal.append(records.iter().map(Vec::as_slice));
        if self.disk.is_off() {
            return Vec::new();
        }
        let released = (0..)
            .zip(batch)
            .zip(records)
            .map(|((index, (call, prepared)), record)| {
                let recorded = appended.clone().map(|first| first + index);
                let answer = prepared.release(Some(recorded), Duration::from_millis(200));
                Released {
                    call,
                    answer: answer.unwrap_or_else(|refusal| refusal.to_answer()),
                    record,
                }
            })
            .collect();
        running.journal.lay_out();
        released
    }

    /// The shares that it holds, on its disk and in memory.
    pub fn held(&self) -> Vec<Arc<ActiveKey>> {
        let Some(running) = &self.running else {
            return Vec::new();
        };
        let entries = running.desk.keyring.entries();
        entries
            .iter()
            .flat_map(|entry| held(entry))
            .cloned()
            .collect()
    }

    /// Whether a share of this key would be answered with.
    pub fn serves(&self, public_key: &[u8; 32], epoch: u64) -> bool {
        let Some(running) = &self.running else {
            return false;
        };
        let entry = running.desk.keyring.entry(public_key);
        entry.is_some_and(|entry| entry.served().any(|key| key.result.epoch == epoch))
    }
}

/// The shares of a key, the newest first.
pub fn held(entry: &KeyEntry) -> impl Iterator<Item = &Arc<ActiveKey>> {
    entry.current().into_iter().chain(entry.previous())
}

fn status(running: &Running, identity: [u8; 32], time_ms: u64) -> Answer {
    let entries = running.desk.keyring.entries();
    let served = entries.iter().flat_map(|entry| entry.served());
    let keys = served.map(|key| KeyStatus {
        epoch: key.package.epoch(),
        index: key.share.index(),
        attempt: key.result.attempt,
        members: u16::try_from(key.members.len()).unwrap(),
        threshold: key.package.threshold(),
        public_key: *key.package.public_key().as_bytes(),
    });
    Answer::Status {
        keys: keys.collect(),
        time_ms,
        identity,
        software: "simulated".to_owned(),
    }
}
