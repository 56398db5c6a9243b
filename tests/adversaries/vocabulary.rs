//! The one vocabulary of misbehaviour (`testkit::misbehaviour`), word by word, by real nodes and real clients over QUIC. What members of
//! a ceremony do is in `members`, and what its leader does in `leaders`.

use std::net::{IpAddr, Ipv4Addr};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use certs::{Algorithm, Issuer};
use cryptonode::client::{Client, ClientIdentity, ClientOptions, Cluster, ClusterDescriptor};
use cryptonode::client::{NodeOutcome, Outcome};
use cryptonode::wire::v1::{Answer, ByteBuf, Request};
use reencrypt::{EphemeralSecret, wrap};
use testkit::faulty_client::FaultyClient;
use testkit::faulty_node;
use testkit::misbehaviour::Misbehaviour;
use threshold_exchange::site::{Site, SitePlan, Tool};
use tokio::runtime::Runtime;

use crate::asking::{Read, approve};
use crate::cluster::{Scene, empty_site, entry, found};

/// The seat of the node that misbehaves, of three of which two are needed.
const LIAR: usize = 1;
/// Reads after which it must have been asked, by clients that know nothing of any node yet.
const READS: usize = 60;

/// Node `LIAR`, which does what it should not until this is dropped.
struct Liar(Option<Runtime>);

impl Liar {
    fn start(site: &Site, misbehaviour: Misbehaviour) -> Self {
        // No process at all.
        if misbehaviour == Misbehaviour::Crashed {
            return Self(None);
        }
        let runtime = Runtime::new().unwrap();
        let node = &site.nodes()[LIAR];
        let (folder, passphrase) = (node.folder.clone(), site.layout().passphrase(&node.name));
        let (told, serves) = mpsc::channel();
        runtime.spawn(async move {
            let announce = |_| told.send(()).unwrap();
            faulty_node::run(&folder, &passphrase, misbehaviour, announce)
                .await
                .unwrap();
        });
        serves.recv_timeout(Duration::from_secs(60)).unwrap();
        Self(Some(runtime))
    }
}

impl Drop for Liar {
    fn drop(&mut self) {
        // Its sockets and its lock on the folder go with it.
        if let Some(runtime) = self.0.take() {
            runtime.shutdown_timeout(Duration::from_secs(30));
        }
    }
}

/// A read by a client of its own: it opens, and this is what each node did, and the epoch that the client has come to.
async fn read_at(cluster: &Cluster, issuer: &Issuer) -> (Vec<NodeOutcome>, u64) {
    let rng = &mut rand::rng();
    let secret: [u8; 32] = rand::random();
    let wrapped = wrap(&cluster.package().public_key(), b"a label", &secret, rng).unwrap();
    let ephemeral = EphemeralSecret::new(&wrapped, rng);
    let identity = ClientIdentity::generate().unwrap();
    let options = ClientOptions {
        deadline: Duration::from_secs(60),
        connect_timeout: Duration::from_secs(30),
        request_timeout: Duration::from_secs(60),
        ..ClientOptions::default()
    };
    let client = Client::new(cluster.clone(), identity, options).unwrap();
    let x = *ephemeral.public().point().as_bytes();
    let approvals = approve(&[issuer], wrapped.as_bytes(), &x, client.spki());
    let opened = client.open(wrapped, ephemeral, approvals).await;
    let epoch = client.cluster().descriptor().epoch;
    client.close().await;
    let result = opened.result;
    let result = result.unwrap_or_else(|error| panic!("{error}: {:?}", opened.nodes));
    assert_eq!(result.expose(), secret);
    (opened.nodes, epoch)
}

async fn read(cluster: &Cluster, issuer: &Issuer) -> Vec<NodeOutcome> {
    read_at(cluster, issuer).await.0
}

/// Three nodes with a key, of whom the liar's is stopped, and the organisation that approves.
fn three_nodes(name: &str, runtime: &Runtime) -> (Site, Issuer, Cluster) {
    let plan = SitePlan {
        nodes: 3,
        threshold: 2,
        organisations: 2,
        approvals: 1,
    };
    let mut site = empty_site(name, plan);
    let issuer = found("oak", Algorithm::Ed25519);
    let platform = site.layout().platform();
    std::fs::create_dir_all(&platform).unwrap();
    let policy = format!("approvals_needed = 1\n{}", entry("oak", &issuer));
    std::fs::write(platform.join("policy.toml"), policy).unwrap();
    runtime.block_on(async {
        site.init_nodes().await.unwrap();
        for node in site.nodes() {
            // What was handed on is given up soon, so that a test sees it.
            let config = node.folder.join("config.toml");
            let text = std::fs::read_to_string(&config).unwrap();
            let edited = text.replacen("\noverlap_s = 600\n", "\noverlap_s = 2\n", 1);
            assert_ne!(edited, text);
            std::fs::write(&config, edited).unwrap();
        }
        site.start_nodes().await.unwrap();
        site.generate_key().await.unwrap();
        site.kill_node(LIAR).await.unwrap();
    });
    let text = std::fs::read_to_string(site.layout().cluster()).unwrap();
    let cluster = ClusterDescriptor::from_json(&text).unwrap();
    (site, issuer, cluster.check().unwrap())
}

/// Whether no answer of such a node is ever of use.
fn is_useless(misbehaviour: Misbehaviour) -> bool {
    use Misbehaviour as M;
    matches!(
        misbehaviour,
        M::WrongShare | M::OtherEpoch | M::OversizedFrame | M::TruncatedFrame | M::NoAnswer
    ) || matches!(misbehaviour, M::Refusal | M::Crashed | M::WrongClock(_))
}

/// Whether a client must come to say what such a node did, and not only do without it.
fn is_named(misbehaviour: Misbehaviour) -> bool {
    let silent = matches!(misbehaviour, Misbehaviour::NoAnswer | Misbehaviour::Crashed);
    let at_times = matches!(
        misbehaviour,
        Misbehaviour::Equivocation | Misbehaviour::Replay
    );
    at_times || (is_useless(misbehaviour) && !silent)
}

#[test]
fn no_misbehaviour_of_a_node_keeps_anybody_from_reading() {
    let runtime = Runtime::new().unwrap();
    let (site, issuer, cluster) = three_nodes("vocabulary", &runtime);

    let name = site.nodes()[LIAR].name.clone();
    let mut played = 0;
    for misbehaviour in Misbehaviour::all().filter(|it| it.concerns().reads) {
        let liar = Liar::start(&site, misbehaviour);
        let met = (0..READS).any(|_| {
            let nodes = runtime.block_on(read(&cluster, &issuer));
            // In the order of their identities, not of their names.
            let (liars, honest): (Vec<_>, Vec<_>) =
                nodes.iter().partition(|node| node.name == name);
            for node in honest {
                let blamed = matches!(node.what, Outcome::Cheated { .. });
                assert!(!blamed, "{misbehaviour}: {node} is blamed");
            }
            let liar = &liars[0].what;
            if is_useless(misbehaviour) {
                assert_ne!(*liar, Outcome::Answered, "{misbehaviour}");
            }
            match liar {
                Outcome::NotAsked => false,
                Outcome::Answered | Outcome::Overtaken => !is_named(misbehaviour),
                _ => true,
            }
        });
        assert!(met, "{misbehaviour} was never met in {READS} reads");
        drop(liar);
        played += 1;
    }
    assert!(played >= 15, "only {played} were played");
}

/// The others have handed the key on without it. It shows the certificate of its time, and gives the shares of it; who knows no more than
/// the members of that time comes to those of now all the same.
#[test]
fn a_node_with_a_stale_certificate_holds_nobody_at_the_old_epoch() {
    let runtime = Runtime::new().unwrap();
    let (site, issuer, cluster) = three_nodes("stale", &runtime);
    let names: Vec<&str> = site.nodes().iter().map(|node| node.name.as_str()).collect();
    let folder = site.nodes()[0].folder.display().to_string();
    let key = hex::encode(cluster.package().public_key().as_bytes());
    let members = format!("{},{}", names[0], names[2]);
    let propose = [
        "ceremony",
        "propose",
        "--dir",
        &folder,
        "--reshare",
        &key,
        "--absent",
        names[LIAR],
        "--members",
        &members,
        "--patience-s",
        "5",
        "--allow-few-members",
        "--wait",
    ];
    let program = site.program();
    let reshared = runtime.block_on(program.run(Tool::Cryptonode, &propose));
    let reshared = reshared.unwrap();
    assert_eq!(reshared["outcome"], "activated", "{reshared}");
    let _liar = Liar::start(&site, Misbehaviour::StaleCertificate);
    let (begun, mut met) = (Instant::now(), false);
    loop {
        let (nodes, epoch) = runtime.block_on(read_at(&cluster, &issuer));
        for node in nodes.iter().filter(|node| node.name != names[LIAR]) {
            let blamed = matches!(node.what, Outcome::Cheated { .. });
            assert!(!blamed, "{node} is blamed");
        }
        met |= nodes
            .iter()
            .any(|node| node.name == names[LIAR] && node.what != Outcome::NotAsked);
        if epoch == 1 && met {
            return;
        }
        assert!(
            begun.elapsed() < Duration::from_secs(120),
            "at epoch {epoch}, the liar was {}asked",
            if met { "" } else { "not " }
        );
    }
}

#[test]
fn no_misbehaviour_of_a_client_gets_a_share_or_keeps_others_from_one() {
    Scene::run(async |scene| {
        let from = IpAddr::V4(Ipv4Addr::new(127, 0, 0, 77));
        let read = Read::new(scene);
        let asked = read.asked(scene);
        let bytes = |parts: &[Vec<u8>]| parts.iter().map(|it| ByteBuf::from(it.clone())).collect();
        let honest = Request::Reencrypt {
            result: None,
            approvals: bytes(&asked.approvals),
            wrapped_key: ByteBuf::from(asked.wrapped_key.clone()),
            ephemeral_key: ByteBuf::from(asked.ephemeral_key.clone()),
            traceparent: None,
        };
        let honest = honest.to_bytes().unwrap();
        let mut played = 0;
        for misbehaviour in Misbehaviour::all().filter(|it| it.concerns().clients) {
            let mut held = Vec::new();
            for member in scene.cluster.members() {
                let place = (member.address.parse().unwrap(), &member.identity);
                let client = FaultyClient::new(from, place, misbehaviour).unwrap();
                if misbehaviour == Misbehaviour::ConnectionFlood {
                    let open = client.flood(10_000).await;
                    assert!(!open.is_empty() && open.len() < 10_000, "{}", open.len());
                    held.push(open);
                    continue;
                }
                match client.send(&honest).await {
                    Ok(Answer::Refused { code, .. }) => assert!(!code.is_empty()),
                    other => panic!("{misbehaviour}: {other:?}"),
                }
            }
            // Meanwhile, and afterwards, an honest client is served by every node.
            let other = Read::new(scene);
            let fine = other.asked(scene);
            other.assert_opens(scene, &fine).await;
            played += 1;
        }
        assert!(played >= 5, "only {played} were played");
        // What the others made of the request has not used it up.
        read.assert_opens(scene, &asked).await;
    });
}
