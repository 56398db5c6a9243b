//! Reads through clients that follow their cluster, without a pause: none may fail, whatever is done to the nodes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use certs::Approval;
use cryptonode::client::{Client, ClientIdentity, ClientOptions, ClusterDescriptor};
use reencrypt::{EphemeralSecret, wrap};

use super::Site;
use super::reads::now;

pub const SECRET: &[u8] = b"the data encryption key of a document";

/// Who approves reads: the certificates for an approval.
pub type Approve = Arc<dyn Fn(&Approval) -> Vec<Vec<u8>> + Send + Sync>;

/// The cluster as the node `name` exports it.
pub fn descriptor(site: &Site, name: &str) -> ClusterDescriptor {
    let output = site.on(name, &["key", "export"]).output().unwrap();
    assert!(output.status.success());
    ClusterDescriptor::from_json(&String::from_utf8(output.stdout).unwrap()).unwrap()
}

/// Clients that read at the same time, each finding the cluster by itself.
const CLIENTS: usize = 2;

/// Reads without a pause; no read may fail.
pub struct Load {
    runtime: tokio::runtime::Runtime,
    approvers: Approve,
    stop: Arc<AtomicBool>,
    readers: Vec<Reader>,
}

struct Reader {
    client: Arc<Client>,
    reads: Arc<AtomicU64>,
    task: tokio::task::JoinHandle<()>,
}

impl Reader {
    fn start(
        runtime: &tokio::runtime::Runtime,
        approvers: &Approve,
        descriptor: &ClusterDescriptor,
        stop: &Arc<AtomicBool>,
    ) -> Self {
        let (client, reads) = (new_client(descriptor), Arc::<AtomicU64>::default());
        let task = {
            let (approvers, client) = (Arc::clone(approvers), Arc::clone(&client));
            let (stop, reads) = (Arc::clone(stop), Arc::clone(&reads));
            runtime.spawn(async move {
                while !stop.load(Ordering::SeqCst) {
                    if let Err(error) = read(&approvers, &client).await {
                        panic!("a read failed: {error}");
                    }
                    reads.fetch_add(1, Ordering::SeqCst);
                    // The nodes share two processors with them.
                    tokio::time::sleep(Duration::from_millis(10 * CLIENTS as u64)).await;
                }
            })
        };
        Self {
            client,
            reads,
            task,
        }
    }
}

/// Reads a new document once.
pub async fn read(approvers: &Approve, client: &Client) -> Result<(), String> {
    let (wrapped, ephemeral, approvals) = {
        let mut rng = rand::rng();
        let public_key = client.cluster().package().public_key();
        let wrapped = wrap(&public_key, b"label", SECRET, &mut rng).unwrap();
        let ephemeral = EphemeralSecret::new(&wrapped, &mut rng);
        let id = wrapped.write_id();
        let approvals = approve(approvers, client.spki(), &id, ephemeral.public());
        (wrapped, ephemeral, approvals)
    };
    let opened = client.open(wrapped, ephemeral, approvals).await;
    match opened.result {
        Ok(secret) if secret.ct_eq(SECRET) => Ok(()),
        Ok(_) => Err("another secret".to_owned()),
        Err(error) => Err(error.to_string()),
    }
}

/// Approvals of a read for the client with this key.
pub fn approve(
    approvers: &Approve,
    spki: &[u8],
    write_id: &[u8; 32],
    ephemeral: &reencrypt::VerifiedEphemeralKey,
) -> Vec<Vec<u8>> {
    approvers(&Approval {
        write_id: *write_id,
        ephemeral_point: *ephemeral.point().as_bytes(),
        approval_id: "read-1".to_owned(),
        client_spki: spki.to_vec(),
        not_before: now() - 5,
        not_after: now() + 200,
    })
}

impl Load {
    pub fn start(approvers: Approve, descriptor: &ClusterDescriptor) -> Self {
        let runtime = tokio::runtime::Runtime::new().unwrap();
        let stop = Arc::<AtomicBool>::default();
        let readers = (0..CLIENTS)
            .map(|_| Reader::start(&runtime, &approvers, descriptor, &stop))
            .collect();
        Self {
            runtime,
            approvers,
            stop,
            readers,
        }
    }

    /// Some more reads of each client come to their end, none in failure.
    #[track_caller]
    pub fn goes_on(&self) {
        let reads = |reader: &Reader| reader.reads.load(Ordering::SeqCst);
        let until: Vec<u64> = self
            .readers
            .iter()
            .map(|reader| reads(reader) + 3)
            .collect();
        for (reader, until) in self.readers.iter().zip(until) {
            while reads(reader) < until {
                assert!(!reader.task.is_finished(), "a read failed");
                std::thread::sleep(Duration::from_millis(10));
            }
        }
    }

    /// Stops; all clients have followed to where one gets that has only the first descriptor. Gives the reads of the laziest client.
    pub fn finish(self, first: &ClusterDescriptor) -> (u64, Arc<Client>) {
        self.stop.store(true, Ordering::SeqCst);
        let late = new_client(first);
        let outcome = self.runtime.block_on(read(&self.approvers, &late));
        assert_eq!(outcome, Ok(()));
        let newest = late.cluster().descriptor().version_of_result();
        let mut fewest = u64::MAX;
        for reader in self.readers {
            self.runtime.block_on(reader.task).unwrap();
            let found = reader.client.cluster().descriptor().version_of_result();
            assert_eq!(found, newest);
            fewest = fewest.min(reader.reads.load(Ordering::SeqCst));
        }
        (fewest, late)
    }
}

/// A client that knows no more than this of the cluster.
pub fn new_client(descriptor: &ClusterDescriptor) -> Arc<Client> {
    let cluster = descriptor.clone().check().unwrap();
    let options = ClientOptions {
        connect_timeout: Duration::from_secs(10),
        request_timeout: Duration::from_secs(10),
        deadline: Duration::from_secs(60),
        ..ClientOptions::default()
    };
    Arc::new(Client::new(cluster, ClientIdentity::generate().unwrap(), options).unwrap())
}
