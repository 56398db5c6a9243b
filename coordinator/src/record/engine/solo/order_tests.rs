//! The orderer among peers that lie, are silent, or fail. One is a real peer; what the others report is made up.

use super::{Orderer, Request};
use crate::record::{
    ApprovalTerms, Author, Genesis, Header, Identifier, Organisation, PeerKeys, RecordError,
    TenantRegister, Transaction, UnsignedTransaction,
    engine::{
        PeerStatus,
        solo::{
            Roster,
            member::{Command, Report},
        },
    },
    peer::{Execution, Peer, PeerError},
};
use ed25519_dalek::SigningKey;
use std::{
    sync::{Arc, Mutex, mpsc},
    thread,
    time::Duration,
};
use tokio::sync::oneshot;

const NAMES: [&str; 4] = ["alpha", "beta", "delta", "gamma"];
const NOW_MS: u64 = 1_800_000_000_000;

fn id(name: &str) -> Identifier {
    Identifier::new(name).unwrap()
}

fn key(seed: u8) -> SigningKey {
    SigningKey::from_bytes(&[seed; 32])
}

/// What a member does with what it executed.
#[derive(Clone, Copy, PartialEq)]
enum Manner {
    Honest,
    /// Reports another state than the one that comes out.
    Lies,
    /// Reports that nothing was accepted.
    Denies,
    /// Says that it failed.
    Fails,
    /// Says nothing.
    Silent,
}

struct Scene {
    requests: mpsc::SyncSender<Request>,
    roster: Arc<Roster>,
    genesis: Genesis,
    finalised: Arc<Mutex<Vec<(usize, u64)>>>,
    _folder: tempfile::TempDir,
}

fn scene(manners: [Manner; 4]) -> Scene {
    let issuers: Vec<_> = NAMES
        .iter()
        .map(|name| {
            let (from, until) = (NOW_MS / 1000 - 10, NOW_MS / 1000 + 10_000);
            certs::Issuer::generate(name, certs::Algorithm::Ed25519, from, until).unwrap()
        })
        .collect();
    let organisations = NAMES
        .iter()
        .zip(&issuers)
        .zip(1..)
        .map(|((name, issuer), seed)| Organisation {
            name: id(name),
            operator_key: key(seed).verifying_key().to_bytes(),
            head_key: key(100 + seed).verifying_key().to_bytes(),
            issuers: vec![serde_bytes::ByteBuf::from(
                issuer.certificate_der().to_vec(),
            )],
        });
    let organisations = organisations.collect();
    let genesis = Genesis {
        name: id("test"),
        nonce: [0; 32],
        time_ms: NOW_MS,
        organisations,
        epoch_batches: None,
    };
    let folder = tempfile::tempdir().unwrap();

    let statuses = NAMES
        .iter()
        .map(|name| PeerStatus {
            organisation: id(name),
            height: 0,
            fault: None,
        })
        .collect();
    let roster = Arc::new(Roster::new(statuses));
    let finalised = Arc::new(Mutex::new(Vec::new()));
    let (report, reports) = mpsc::channel();
    let (mut members, mut replicas) = (Vec::new(), Vec::new());
    let everybody = NAMES
        .iter()
        .zip(issuers)
        .zip(101..)
        .zip(manners)
        .enumerate();
    for (member, (((name, issuer), seed), manner)) in everybody {
        let keys = PeerKeys {
            organisation: id(name),
            head_key: key(seed),
            issuer,
        };
        let path = folder.path().join(name);
        let peer = Peer::open(&path, &genesis, keys, ApprovalTerms::default()).unwrap();
        replicas.push(peer.replica());
        let (commands, told) = mpsc::channel();
        members.push(commands);
        let (report, finalised) = (report.clone(), finalised.clone());
        thread::spawn(move || behave(member, peer, manner, &told, &report, &finalised));
    }
    let (requests, asked) = mpsc::sync_channel(16);
    let orderer = Orderer {
        requests: asked,
        reports,
        members,
        replicas,
        roster: roster.clone(),
        clock: Arc::new(|| NOW_MS),
        patience: Duration::from_secs(3),
        tip: (0, genesis.id(), NOW_MS),
        sequence: 0,
        held: None,
        halted: None,
    };
    thread::spawn(move || orderer.run());
    Scene {
        requests,
        roster,
        genesis,
        finalised,
        _folder: folder,
    }
}

fn behave(
    member: usize,
    mut peer: Peer,
    manner: Manner,
    told: &mpsc::Receiver<Command>,
    report: &mpsc::Sender<Report>,
    finalised: &Mutex<Vec<(usize, u64)>>,
) {
    while let Ok(command) = told.recv() {
        match command {
            Command::Execute { sequence, proposal } => {
                let execution = peer.execute(&proposal).unwrap();
                let lie = |header: Header| Header {
                    state_root: [9; 32],
                    ..header
                };
                let result = match manner {
                    Manner::Honest => Ok(execution),
                    Manner::Lies => Ok(Execution {
                        block: execution.block.map(lie),
                        ..execution
                    }),
                    Manner::Denies => Ok(Execution {
                        block: None,
                        ..execution
                    }),
                    Manner::Fails => Err(PeerError::Stopped),
                    Manner::Silent => continue,
                };
                report
                    .send(Report {
                        member,
                        sequence,
                        result,
                    })
                    .unwrap();
            }
            Command::Finalise { height, .. } => finalised.lock().unwrap().push((member, height)),
            _ => {}
        }
    }
}

impl Scene {
    async fn register(&self, tenant: &str) -> Result<u64, RecordError> {
        let transaction = Transaction::TenantRegister(TenantRegister {
            tenant: id(tenant),
            administrator: id("root"),
            public_key: key(50).verifying_key().to_bytes(),
        });
        let author = Author::Organisation(id("alpha"));
        let expires_ms = NOW_MS + 1000;
        let ledger = self.genesis.id();
        let content = UnsignedTransaction {
            ledger,
            author,
            nonce: rand::random(),
            expires_ms,
            transaction,
        };
        let (answer, answered) = oneshot::channel();
        self.requests
            .send(Request::Submit {
                transaction: content.sign(&key(1)),
                answer,
            })
            .unwrap();
        answered.await.unwrap().map(|receipt| receipt.height)
    }

    /// Who was accused, once the orderer has gone on to the next thing.
    async fn accused(&self) -> Vec<String> {
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::Heads { answer }).unwrap();
        drop(answered.await.unwrap());
        let faulty = self
            .roster
            .statuses()
            .into_iter()
            .filter(|status| status.fault.is_some());
        faulty
            .map(|status| status.organisation.to_string())
            .collect()
    }
}

#[tokio::test]
async fn one_of_four_is_named_whatever_it_does_and_the_others_go_on() {
    for manner in [Manner::Lies, Manner::Denies, Manner::Fails, Manner::Silent] {
        for culprit in [0, 2] {
            let mut manners = [Manner::Honest; 4];
            manners[culprit] = manner;
            let scene = scene(manners);
            assert_eq!(scene.register("one").await.unwrap(), 1);
            assert_eq!(scene.accused().await, [NAMES[culprit]]);
            assert_eq!(scene.register("two").await.unwrap(), 2);
            assert_eq!(
                scene.register("two").await.unwrap_err().code(),
                "tenant-exists"
            );
            assert_eq!(scene.accused().await, [NAMES[culprit]]);
        }
    }
}

#[tokio::test]
async fn two_of_four_stop_the_record_and_nothing_is_said_to_be_final() {
    for manners in [
        [Manner::Honest, Manner::Lies, Manner::Honest, Manner::Lies],
        [
            Manner::Fails,
            Manner::Honest,
            Manner::Silent,
            Manner::Honest,
        ],
        [
            Manner::Denies,
            Manner::Denies,
            Manner::Honest,
            Manner::Honest,
        ],
    ] {
        let scene = scene(manners);
        assert_eq!(
            scene.register("one").await.unwrap_err().code(),
            "record-halted"
        );
        assert_eq!(
            scene.register("two").await.unwrap_err().code(),
            "record-halted"
        );
        assert!(scene.finalised.lock().unwrap().is_empty());
    }
}
