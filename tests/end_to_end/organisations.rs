//! The secrets of organisations that run their peers themselves. A peer signs heads and issues approvals, so those two keys are in
//! its memory while it runs, and what its API wants to be shown; nothing else of its organisation is, and nothing at all of another
//! one's. No log, page or panic has any of it, with every process at `trace`.

use std::path::Path;

use coordinator::folder::Folder;
use coordinator::master_key::{Passphrase, SealedMasterKey};
use coordinator::organisations;
use coordinator::peer::run::read_token;
use ed25519_dalek::SigningKey;
use ed25519_dalek::pkcs8::DecodePrivateKey as _;
use testkit::memory::core_file_bounds;
use testkit::secrets::Secrets;
use threshold_exchange::site::{Exchange, Layout, Program, RecordEngine, Site, SitePlan};

use super::memory::{LETTER, Memory, page};
use super::running::{file, place};
use super::secrets::{documents_keys, line, operators, said_by_a_panic};

/// What an organisation holds, as it is in its peer's folder. Gives what a panic says of it.
fn organisation(site: &Path, name: &str, secrets: &mut Secrets) -> Vec<String> {
    let folder = Folder::open_peer(&site.join("peers").join(name)).unwrap();
    let passphrase = line(&site.join(format!("secrets/{name}.passphrase")));
    secrets.add_text(&format!("{name}'s passphrase"), &passphrase);
    let passphrase = Passphrase::new(&passphrase);
    let master = SealedMasterKey::open(&folder.master_key(), &passphrase).unwrap();
    let id = name.parse().unwrap();
    let operator = organisations::signing_key(&folder, &master, &id, "operator").unwrap();
    secrets.add_bytes(&format!("{name}'s operator key"), operator.as_bytes());
    let keys = organisations::peer(&folder, &master, &id).unwrap();
    secrets.add_bytes(&format!("{name}'s head key"), keys.head_key.as_bytes());
    let pem = keys.issuer.key_pem();
    let authority = SigningKey::from_pkcs8_pem(&pem).unwrap();
    secrets.add_bytes(&format!("{name}'s authority"), authority.as_bytes());
    let body: String = pem.lines().filter(|line| !line.contains('-')).collect();
    secrets.add_text(&format!("{name}'s authority as it is kept"), &body);
    let token = read_token(&folder).unwrap();
    secrets.add_text(&format!("{name}'s token"), &token);
    vec![
        said_by_a_panic(&keys),
        said_by_a_panic(&keys.issuer),
        said_by_a_panic(&operator),
    ]
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_of_an_organisation_is_anywhere_but_in_its_own_peer_at_work() {
    let (dir, place) = place();
    let trace = "trace,coordinator=trace";
    let program = Program::at(env!("CARGO_BIN_EXE_threshold-exchange"), trace);
    let layout = Layout::create(&place).unwrap();
    let site = Site::new(layout, program, SitePlan::default());
    let mut site = site.ordered_by(RecordEngine::Simplex);
    site.init_platform().await.unwrap();
    site.init_nodes().await.unwrap();
    site.start_nodes().await.unwrap();
    site.generate_key().await.unwrap();
    site.start_platform().await.unwrap();
    let exchange = Exchange::enrol(&site, site.public_key().unwrap());
    let exchange = exchange.await.unwrap();
    let (letter, into) = (file(&dir, "letter.txt", LETTER), dir.path().join("read"));
    exchange.write("letter.txt", &letter).await.unwrap();
    exchange.read("letter.txt", &into).await.unwrap();
    assert_eq!(std::fs::read(&into).unwrap(), LETTER);
    exchange.export(&place.join("record.jsonl")).await.unwrap();

    let names = site.plan().organisation_names();
    let (mut secrets, mut panics) = (Secrets::new(), Vec::new());
    for name in &names {
        panics.extend(organisation(&place, name, &mut secrets));
    }
    let mut pages = Vec::new();
    let mut memories = Vec::new();
    let none = ("0".to_owned(), "0".to_owned());
    for (index, peer) in site.peers().iter().enumerate() {
        let pid = site.peer_pid(index).unwrap();
        assert_eq!(core_file_bounds(pid).unwrap(), none, "{}", peer.name);
        let address = peer.url.strip_prefix("http://").unwrap();
        let token = line(&peer.token_file());
        let shown = format!("authorization: Bearer {token}\r\n");
        let wrong = format!("authorization: Bearer {}\r\n", &token[1..]);
        for path in ["/healthz", "/v1/status", "/v1/head", "/v1/blocks?from=1"] {
            for more in ["", shown.as_str(), wrong.as_str()] {
                pages.push(page(address, path, more));
            }
        }
        let memory = Memory::of(pid, dir.path().join(&peer.name));
        memories.push((peer.name.clone(), memory));
    }
    let pid = site.platform_pid().unwrap();
    let platform = Memory::of(pid, dir.path().join("platform"));
    assert_eq!(site.stop().await.unwrap(), Vec::<String>::new());

    // What the others hold, who had nothing to do with the peers' processes.
    let (shares, package) = operators(&place, &mut secrets);
    documents_keys(&place, &shares, &package, "letter.txt", &mut secrets);
    secrets.add_bytes("what alice wrote", LETTER);

    for (name, memory) in &memories {
        let found = memory.holds(&secrets);
        let at_work = ["authority", "authority as it is kept", "head key", "token"];
        let at_work = at_work.map(|what| format!("{name}'s {what}"));
        let elsewhere: Vec<_> = found.iter().filter(|it| !at_work.contains(it)).collect();
        assert_eq!(elsewhere, Vec::<&String>::new(), "in the memory of {name}");
        // The search finds what there is.
        assert!(found.contains(&at_work[2]), "{name}: {found:?}");
    }
    // The platform shows each peer its token, and has nothing else of theirs.
    let tokens: Vec<String> = names.iter().map(|it| format!("{it}'s token")).collect();
    assert_eq!(platform.holds(&secrets), tokens);

    for page in &pages {
        assert_eq!(secrets.search(Path::new("a page"), page), []);
    }
    let told = |words: &[u8]| {
        let in_page = |page: &Vec<u8>| page.windows(words.len()).any(|window| window == words);
        pages.iter().any(in_page)
    };
    assert!(told(b"\"votes\":true") && told(b"401 Unauthorized"));
    for said in &panics {
        assert_eq!(secrets.search(Path::new("a panic"), said.as_bytes()), []);
    }
    let (leaks, _) = secrets.search_below(&place.join("logs")).unwrap();
    assert_eq!(leaks, []);
    for name in &names {
        let log = std::fs::read_to_string(place.join(format!("logs/{name}.log"))).unwrap();
        assert!(log.contains("TRACE"), "the log of {name} is not at trace");
    }
}
