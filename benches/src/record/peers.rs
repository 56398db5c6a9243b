//! The record itself: organisations' peers, a process each, made and started with the operator's commands.

use std::net::SocketAddr;
use std::path::Path;
use std::sync::Arc;

use coordinator::folder::Folder;
use coordinator::master_key::{Passphrase, SealedMasterKey};
use coordinator::organisations;
use coordinator::peer::{ask::AskedPeer, run::read_token, setup};
use coordinator::platform::now_ms;
use coordinator::record::{
    Author, Body, DatasetCreate, Encryption, Identifier, KeyWrapping, LedgerId, SignedTransaction,
    Storage, TenantRegister, Transaction, UnsignedTransaction, UserName, Write, wire::Submitted,
};
use ed25519_dalek::SigningKey;
use serde_json::{Value, json};
use sha2::{Digest as _, Sha256};
use threshold_exchange::site::{Process, Program, Tool};

use super::load::{Measured, closed_loop};

const PASSPHRASE: &str = "measured";
const LIFETIME_MS: u64 = 600_000;

/// The peers, and who writes.
pub(super) struct Peers {
    processes: Vec<Process>,
    asked: Vec<AskedPeer>,
    author: Arc<Writer>,
}

/// Signs what is measured.
struct Writer {
    ledger: LedgerId,
    user: UserName,
    key: SigningKey,
    dataset: Identifier,
    /// Tells one point's documents from another's.
    run: std::sync::atomic::AtomicU64,
}

fn text(path: &Path) -> String {
    path.to_string_lossy().into_owned()
}

fn said<E: std::fmt::Display>(error: E) -> String {
    error.to_string()
}

impl Peers {
    /// Starts them; each listens at the first of its addresses, and is reached at the second.
    pub(super) async fn start(
        folder: &Path,
        addresses: &[(SocketAddr, SocketAddr)],
    ) -> Result<Self, String> {
        let program = Program::current("warn").map_err(said)?;
        let passphrase = folder.join("passphrase");
        std::fs::write(&passphrase, PASSPHRASE).map_err(said)?;
        let (exchange, passphrase) = (folder.join("exchange"), text(&passphrase));
        let mut found = vec![
            "peer".to_owned(),
            "found".to_owned(),
            "--approvals".to_owned(),
        ];
        // Nothing is read: approvals play no part.
        found.extend(["1".to_owned(), "--minority-may-approve".to_owned()]);
        found.extend(["--out".to_owned(), text(&exchange)]);
        let mut members = serde_json::Map::new();
        let mut names = Vec::new();
        for (number, (listen, front)) in addresses.iter().enumerate() {
            let name = format!("organisation-{number:02}");
            let dir = text(&folder.join(&name));
            let (listen, front) = (listen.to_string(), front.to_string());
            let init = [
                "peer",
                "init",
                "--dir",
                &dir,
                "--organisation",
                &name,
                "--listen",
                &listen,
                "--api",
                "127.0.0.1:0",
                "--passphrase-file",
                &passphrase,
            ];
            program.run(Tool::Coordinator, &init).await.map_err(said)?;
            found.push(format!("{dir}/organisation.json"));
            members.insert(name.clone(), Value::from(front));
            names.push(name);
        }
        program.run(Tool::Coordinator, &found).await.map_err(said)?;
        std::fs::write(exchange.join("members.json"), json!(members).to_string()).map_err(said)?;
        let (mut processes, mut asked) = (Vec::new(), Vec::new());
        for name in &names {
            let dir = text(&folder.join(name));
            let join = [
                "peer",
                "join",
                "--dir",
                &dir,
                "--exchange",
                &text(&exchange),
            ];
            program.run(Tool::Coordinator, &join).await.map_err(said)?;
            let run = [
                "peer",
                "run",
                "--dir",
                &dir,
                "--passphrase-file",
                &passphrase,
            ];
            let log = folder.join(format!("{name}.log"));
            let (process, ready) = program
                .start(name, Tool::Coordinator, &run, &log)
                .await
                .map_err(said)?;
            let url = ready.get("url").and_then(Value::as_str).unwrap_or_default();
            let own = Folder::open_peer(&folder.join(name)).map_err(said)?;
            asked.push(AskedPeer::new(url, read_token(&own).map_err(said)?).map_err(said)?);
            processes.push(process);
        }
        let ledger = setup::read_genesis(&exchange.join("genesis.cbor"))
            .map_err(said)?
            .id();
        let first = names.first().ok_or("there are no organisations")?;
        let own = Folder::open_peer(&folder.join(first)).map_err(said)?;
        let author = Arc::new(register(&own, first, ledger, asked.first()).await?);
        Ok(Self {
            processes,
            asked,
            author,
        })
    }

    /// Has clients write documents at all peers in turn.
    pub(super) async fn measure(
        &self,
        clients: usize,
        payload: usize,
        seconds: f64,
    ) -> Result<Measured, String> {
        let (asked, author) = (self.asked.clone(), self.author.clone());
        author
            .run
            .fetch_add(1, std::sync::atomic::Ordering::Relaxed);
        closed_loop(clients, seconds, move |client, number| {
            let place = client.checked_rem(asked.len()).unwrap_or_default();
            let peer = asked.get(place).cloned();
            let transaction = author.write(client, number, payload);
            async move { recorded(&peer.ok_or("there are no peers")?, &transaction?).await }
        })
        .await
    }

    /// Bytes of one signed transaction with such a payload.
    pub(super) fn transaction_bytes(&self, payload: usize) -> Result<usize, String> {
        Ok(self.author.write(0, 0, payload)?.as_bytes().len())
    }

    pub(super) async fn stop(self) {
        for process in self.processes {
            let _ = process.stop().await;
        }
    }
}

async fn recorded(peer: &AskedPeer, transaction: &SignedTransaction) -> Result<(), String> {
    match peer.submit(transaction).await.map_err(said)? {
        Submitted::Recorded { .. } => Ok(()),
        Submitted::Refused { message, .. } => Err(message),
    }
}

/// A tenant with an administrator, who has a dataset whose bodies lie on the record.
async fn register(
    folder: &Folder,
    organisation: &str,
    ledger: LedgerId,
    first: Option<&AskedPeer>,
) -> Result<Writer, String> {
    let first = first.ok_or("there are no peers")?;
    let organisation: Identifier = organisation.parse().map_err(said)?;
    let passphrase = Passphrase::new(PASSPHRASE);
    let master = SealedMasterKey::open(&folder.master_key(), &passphrase).map_err(said)?;
    let operator = organisations::signing_key(folder, &master, &organisation, "operator");
    let (tenant, name): (Identifier, Identifier) = (
        "measured".parse().map_err(said)?,
        "writer".parse().map_err(said)?,
    );
    let writer = Writer {
        ledger,
        user: UserName {
            tenant: tenant.clone(),
            user: name.clone(),
        },
        key: SigningKey::from_bytes(&rand::random()),
        dataset: "documents".parse().map_err(said)?,
        run: Default::default(),
    };
    let registration = Transaction::TenantRegister(TenantRegister {
        tenant: tenant.clone(),
        administrator: name,
        public_key: writer.key.verifying_key().to_bytes(),
    });
    let registration = unsigned(ledger, Author::Organisation(organisation), registration);
    recorded(first, &registration.sign(&operator.map_err(said)?)).await?;
    let create = Transaction::DatasetCreate(DatasetCreate {
        tenant,
        dataset: writer.dataset.clone(),
        encryption: Encryption::None,
        storage: Storage::Ledger,
    });
    recorded(first, &writer.sign(create)).await?;
    Ok(writer)
}

fn unsigned(ledger: LedgerId, author: Author, transaction: Transaction) -> UnsignedTransaction {
    UnsignedTransaction {
        ledger,
        author,
        nonce: rand::random(),
        expires_ms: now_ms() + LIFETIME_MS,
        transaction,
    }
}

impl Writer {
    fn sign(&self, transaction: Transaction) -> SignedTransaction {
        unsigned(self.ledger, Author::User(self.user.clone()), transaction).sign(&self.key)
    }

    fn write(
        &self,
        client: usize,
        number: u64,
        payload: usize,
    ) -> Result<SignedTransaction, String> {
        let run = self.run.load(std::sync::atomic::Ordering::Relaxed);
        let document = format!("d-{run}-{client}-{number}").parse().map_err(said)?;
        let content = vec![0x5a; payload];
        Ok(self.sign(Transaction::Write(Write {
            tenant: self.user.tenant.clone(),
            dataset: self.dataset.clone(),
            document,
            version: 1,
            content_type: None,
            length: payload as u64,
            checksum: Sha256::digest(&content).into(),
            wrapped_dek1: Vec::new(),
            key: KeyWrapping::None,
            body: Body::OnLedger(content),
        })))
    }
}
