//! Worlds to begin with: a cluster whose key was made by a real ceremony in calm weather, and a record with documents under it. They
//! are made once, of seeds of their own; every history begins with copies of their disks.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::{Arc, LazyLock, Mutex, OnceLock};

use coordinator::record::peer::Proposal;
use coordinator::record::{Block, Role, Storage, Transaction};
use rand::SeedableRng;
use rand::rngs::StdRng;
use reencrypt::WrappedKey;

use crate::disk::Tear;
use crate::ledger::{Orderer, PeerHost};
use crate::node::Host;
use crate::plan::{DOCUMENTS, Kind, Plan, Shape, Step};
use crate::plants::Plant;
use crate::reader::View;
use crate::record_ledger::{
    Founders, GENESIS_MS, ORGANISATIONS, dataset_create, founding, grant, signed, threshold_write,
    version,
};
use crate::world::{Document, World};

/// Organisations that must approve.
pub const APPROVALS: u16 = 3;

pub fn founders() -> &'static Founders {
    static FOUNDERS: LazyLock<Founders> = LazyLock::new(Founders::four);
    &FOUNDERS
}

struct Template {
    hosts: Mutex<Vec<Host>>,
    view: View,
    documents: Vec<Document>,
    blocks: Vec<Arc<Block>>,
    /// The peers' files.
    record: Vec<(String, Vec<u8>)>,
}

fn template(shape: Shape) -> Arc<Template> {
    type Templates = Mutex<BTreeMap<Shape, Arc<Template>>>;
    static TEMPLATES: OnceLock<Templates> = OnceLock::new();
    let templates = TEMPLATES.get_or_init(Mutex::default);
    let mut templates = templates
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let known = templates
        .entry(shape)
        .or_insert_with(|| Arc::new(Template::make(shape)));
    Arc::clone(known)
}

/// Nodes that have nothing yet. Which they are depends on nothing but how many.
fn hosts(shape: Shape) -> Vec<Host> {
    let policy = founders().policy(APPROVALS);
    let seed = u64::from(shape.threshold) * 1_000 + shape.members as u64 * 10;
    (0..shape.members + shape.spare)
        .map(|at| Host::new(&format!("node{at}"), seed + at as u64, &policy))
        .collect()
}

/// The same from copies: their stores take a while to be made.
fn fresh(shape: Shape) -> Vec<Host> {
    static FRESH: Mutex<BTreeMap<Shape, Vec<Host>>> = Mutex::new(BTreeMap::new());
    let mut made = FRESH
        .lock()
        .unwrap_or_else(std::sync::PoisonError::into_inner);
    let hosts = made.entry(shape).or_insert_with(|| hosts(shape));
    hosts.iter().map(Host::copy).collect()
}

impl Template {
    fn copies(&self) -> Vec<Host> {
        let hosts = self
            .hosts
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner);
        hosts.iter().map(Host::copy).collect()
    }

    fn make(shape: Shape) -> Self {
        let mut world = World::new(1, hosts(shape), founders());
        world.threshold = shape.threshold.into();
        let members: Vec<usize> = (0..shape.members).collect();
        let propose = Step::Propose {
            leader: 0,
            members,
            absent: 0,
        };
        world.play(vec![(10, propose)], 20_000, 60_000).unwrap();
        let newest = world.nodes.iter().find_map(|node| {
            let running = node.running.as_ref()?;
            let entries = running.desk.keyring.entries();
            entries.first()?.state().newest.clone()
        });
        let view = View::of(&newest.expect("a key in calm weather").certificate);
        for host in &mut world.nodes {
            host.kill();
            host.disk.restore(Tear::Kept, 0);
        }
        let (record, blocks, documents) = record(&view);
        Self {
            hosts: Mutex::new(world.nodes),
            view,
            documents,
            blocks,
            record,
        }
    }
}

type Files = Vec<(String, Vec<u8>)>;

/// A record with users, a dataset under the key, and documents in it.
fn record(view: &View) -> (Files, Vec<Arc<Block>>, Vec<Document>) {
    let folder = scratch();
    let mut peers: Vec<PeerHost> = ORGANISATIONS
        .iter()
        .map(|name| PeerHost::new(name, folder.path()))
        .collect();
    let y = view.package.public_key();
    let encryption = coordinator::record::Encryption::Threshold {
        public_key: *y.as_bytes(),
    };
    let mut transactions = founding();
    transactions.push((
        dataset_create("acme/data", encryption, Storage::OffChain),
        "acme/ann",
    ));
    transactions.push((grant("acme/data", Role::Writer, "acme/bob"), "acme/ann"));
    transactions.push((grant("acme/data", Role::Reader, "acme/eve"), "acme/ann"));
    let mut documents = Vec::new();
    for number in 0..DOCUMENTS {
        let name = format!("acme/data/doc{number}");
        let write = threshold_write(&name, 1, "acme/bob", &y);
        if let coordinator::record::KeyWrapping::Threshold { wrapped_key } = &write.key {
            let rng = &mut StdRng::seed_from_u64(number as u64);
            let wrapped = WrappedKey::parse(wrapped_key).unwrap().verify(rng).unwrap();
            documents.push(Document {
                name: version(&name, 1),
                wrapped,
                secret: vec![42; 32],
            });
        }
        transactions.push((Transaction::Write(write), "acme/bob"));
    }
    let ledger = founders().genesis.id();
    let mut blocks = Vec::new();
    for peer in &mut peers {
        peer.boot(founders()).unwrap();
    }
    for (number, (transaction, author)) in transactions.into_iter().enumerate() {
        let time_ms = GENESIS_MS + 1_000 * (number as u64 + 1);
        let candidate = signed(&ledger, author, transaction, time_ms);
        let mut last = None;
        for host in &mut peers {
            let peer = host.peer.as_mut().unwrap();
            let (height, parent, _) = peer.tip();
            let proposal = Proposal {
                height: height + 1,
                parent,
                time_ms,
                candidates: vec![candidate.clone()],
            };
            peer.execute(&proposal)
                .unwrap()
                .block
                .expect("it is accepted");
            last = peer.replica().block(height + 1).unwrap();
        }
        blocks.extend(last.map(Arc::new));
    }
    for peer in &mut peers {
        // In order, so that everything is in the file itself.
        peer.peer = None;
    }
    let files = ORGANISATIONS.iter().map(|name| {
        let file = format!("{name}.sqlite");
        let bytes = std::fs::read(folder.path().join(&file)).unwrap();
        (file, bytes)
    });
    (files.collect(), blocks, documents)
}

/// A folder in memory, if there is such a place: the record's files are synced often.
fn scratch() -> tempfile::TempDir {
    let memory = Path::new("/dev/shm");
    let in_memory = memory
        .is_dir()
        .then(|| tempfile::tempdir_in(memory).ok())
        .flatten();
    in_memory.unwrap_or_else(|| tempfile::tempdir().unwrap())
}

/// Nodes alone, without a record: those of a key that is there, or of one that is to be made.
pub fn cluster(seed: u64, shape: Shape, kind: Kind) -> World {
    let view = (kind != Kind::Create).then(|| template(shape).view.clone());
    let hosts = match kind {
        Kind::Create => fresh(shape),
        _ => template(shape).copies(),
    };
    let mut world = World::new(seed, hosts, founders());
    world.threshold = shape.threshold.into();
    world.view = view;
    world
}

/// The world that a plan begins with.
pub fn world(seed: u64, plan: &Plan, plant: Option<Plant>) -> World {
    let shape = plan.shape;
    let mut world = cluster(seed, shape, plan.kind);
    if plan.kind == Kind::Create {
        return world;
    }
    let template = template(shape);
    world.approvals_needed = APPROVALS.into();
    world.documents = template.documents.clone();
    let folder = scratch();
    for (name, bytes) in &template.record {
        std::fs::write(folder.path().join(name), bytes).unwrap();
    }
    let peers = ORGANISATIONS
        .iter()
        .map(|name| PeerHost::new(name, folder.path()));
    let genesis = (founders().genesis.id(), founders().genesis.time_ms);
    let orderer = Orderer::new(template.blocks.clone(), genesis);
    world.with_record(peers.collect(), orderer);
    world.folder = Some(folder);
    if let Some(plant) = plant {
        plant.sow(&mut world);
    }
    world
}
