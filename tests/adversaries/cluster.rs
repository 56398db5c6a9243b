//! The site that the attacks share, and the organisations that approve on it.

use std::path::PathBuf;
use std::sync::OnceLock;
use std::time::{SystemTime, UNIX_EPOCH};

use certs::{Algorithm, Issuer};
use cryptonode::client::{Cluster, ClusterDescriptor};
use threshold_exchange::site::{Exchange, Layout, Program, Site, SitePlan};
use tokio::runtime::Runtime;

/// Nodes, and how many of them re-encrypt together.
pub(crate) const NODES: u16 = 3;
pub(crate) const THRESHOLD: u16 = 2;
/// Organisations that must approve.
pub(crate) const APPROVALS: u16 = 2;

/// What the attacks share: running nodes and platform, and the test's own organisations in the nodes' policy.
pub(crate) struct Scene {
    pub(crate) runtime: Runtime,
    pub(crate) site: Site,
    pub(crate) exchange: Exchange,
    pub(crate) cluster: Cluster,
    /// In the policy: oak and elder (Ed25519), pine (P-256).
    pub(crate) organisations: Vec<Issuer>,
}

pub(crate) fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

/// An organisation's approval authority.
pub(crate) fn found(name: &str, algorithm: Algorithm) -> Issuer {
    let now = now();
    Issuer::generate(name, algorithm, now - 86_400, now + 86_400).unwrap()
}

/// What stands of an organisation in a policy file.
pub(crate) fn entry(name: &str, issuer: &Issuer) -> String {
    let pem = issuer.certificate_pem();
    format!("\n[[organisations]]\nname = \"{name}\"\nissuers = [\"\"\"\n{pem}\"\"\"]\n")
}

/// A site's folder of this run. The one of the run before it is removed: statics are never dropped.
pub(crate) fn place(name: &str) -> PathBuf {
    let place = PathBuf::from(env!("CARGO_TARGET_TMPDIR"))
        .join("adversaries")
        .join(name);
    if place.exists() {
        std::fs::remove_dir_all(&place).unwrap();
    }
    std::fs::create_dir_all(place.parent().unwrap()).unwrap();
    place
}

pub(crate) fn empty_site(name: &str, plan: SitePlan) -> Site {
    let program = Program::at(env!("CARGO_BIN_EXE_threshold-exchange"), "info");
    Site::new(Layout::create(&place(name)).unwrap(), program, plan)
}

impl Scene {
    /// The one scene of this process.
    pub(crate) fn get() -> &'static Self {
        static SCENE: OnceLock<Scene> = OnceLock::new();
        SCENE.get_or_init(Self::build)
    }

    fn build() -> Self {
        let runtime = Runtime::new().unwrap();
        let plan = SitePlan {
            nodes: NODES,
            threshold: THRESHOLD,
            organisations: 2,
            approvals: APPROVALS,
        };
        let mut site = empty_site("shared", plan);
        let organisations = vec![
            found("oak", Algorithm::Ed25519),
            found("pine", Algorithm::EcdsaP256),
            found("elder", Algorithm::Ed25519),
        ];
        let exchange = runtime.block_on(async {
            site.init_platform().await.unwrap();
            let policy = site.layout().platform().join("policy.toml");
            let mut text = std::fs::read_to_string(&policy).unwrap();
            for (name, issuer) in ["oak", "pine", "elder"].iter().zip(&organisations) {
                text.push_str(&entry(name, issuer));
            }
            std::fs::write(&policy, text).unwrap();
            site.init_nodes().await.unwrap();
            site.start_nodes().await.unwrap();
            site.generate_key().await.unwrap();
            site.start_platform().await.unwrap();
            Exchange::enrol(&site, site.public_key().unwrap())
                .await
                .unwrap()
        });
        let text = std::fs::read_to_string(site.layout().cluster()).unwrap();
        let cluster = ClusterDescriptor::from_json(&text)
            .unwrap()
            .check()
            .unwrap();
        Self {
            runtime,
            site,
            exchange,
            cluster,
            organisations,
        }
    }

    /// Runs a test on the scene's own runtime, which its processes belong to.
    pub(crate) fn run<T>(test: impl AsyncFnOnce(&'static Self) -> T) -> T {
        let scene = Self::get();
        scene.runtime.block_on(test(scene))
    }
}
