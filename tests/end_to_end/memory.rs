//! Secrets are gone from the processes' memory when they have been used.
//!
//! A site writes and reads documents. Then the memory of every process is written out, as a core dump would have it. The
//! nodes are stopped, and the test, which has the operators' passphrases, learns what the secrets were and looks for them: there, and
//! on the pages of health and metrics, which nobody has to say who he is for.

use std::io::{Read as _, Write as _};
use std::net::TcpStream;
use std::path::{Path, PathBuf};

use cryptonode::admin::{self, Command, NodeStatus};
use testkit::memory::{Dump, core_file_bounds, dump};
use testkit::secrets::Secrets;
use threshold_exchange::site::{Exchange, Layout, Program, Site, SitePlan};

use super::running::{file, place};
use super::secrets::{documents_keys, operators};

pub(crate) const LETTER: &[u8] =
    b"Nobody but bob may know that the key of the cellar lies under the fourth stone.";

/// So many that a copy which the process overwrites now and then by chance is found all the same.
const DOCUMENTS: usize = 6;

/// A process's memory, and what it was written into.
pub(crate) struct Memory {
    file: PathBuf,
    dump: Dump,
}

impl Memory {
    /// Of a process that runs, written into a file of this name.
    pub(crate) fn of(pid: u32, file: PathBuf) -> Self {
        let dump = dump(pid, &file).unwrap();
        assert!(dump.bytes > 1_000_000, "only {} bytes", dump.bytes);
        Self { file, dump }
    }

    /// The names of the secrets that are in it. Where each is goes to the test's output.
    pub(crate) fn holds(&self, secrets: &Secrets) -> Vec<String> {
        let mut names = Vec::new();
        for leak in secrets.search(&self.file, &std::fs::read(&self.file).unwrap()) {
            let region = self.dump.region(leak.offset);
            eprintln!("{} ({}) in {region}", leak.secret, leak.form);
            names.push(leak.secret);
        }
        names.sort_unstable();
        names.dedup();
        names
    }
}

/// The pages of a node that serves, with their heads.
fn pages(folder: &Path) -> Vec<(&'static str, Vec<u8>)> {
    let status = admin::request(folder, &Command::Status {}, |_| {}).unwrap();
    let status: NodeStatus = serde_json::from_value(status).unwrap();
    let address = status.health.expect("its port may be taken: try again");
    ["/metrics", "/healthz", "/readyz", "/nothing"]
        .map(|path| (path, page(&address, path, "")))
        .to_vec()
}

/// A page with its head, asked for with these lines more.
pub(crate) fn page(address: &str, path: &str, more: &str) -> Vec<u8> {
    let mut stream = TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: localhost\r\n{more}connection: close\r\n\r\n"
    )
    .unwrap();
    let mut page = Vec::new();
    stream.read_to_end(&mut page).unwrap();
    page
}

#[tokio::test(flavor = "multi_thread")]
async fn no_secret_outlives_its_use_in_any_process() {
    let (dir, place) = place();
    let program = Program::at(env!("CARGO_BIN_EXE_threshold-exchange"), "info");
    let layout = Layout::create(&place).unwrap();
    let mut site = Site::new(layout, program, SitePlan::default());
    site.init_platform().await.unwrap();
    site.init_nodes().await.unwrap();
    site.start_nodes().await.unwrap();
    site.generate_key().await.unwrap();
    site.start_platform().await.unwrap();
    let exchange = Exchange::enrol(&site, site.public_key().unwrap())
        .await
        .unwrap();
    let letter = file(&dir, "letter.txt", LETTER);
    let documents: Vec<String> = (1..=DOCUMENTS)
        .map(|number| format!("{number}-letter.txt"))
        .collect();
    for document in &documents {
        exchange.write(document, &letter).await.unwrap();
        let into = dir.path().join(document).with_extension("read");
        exchange.read(document, &into).await.unwrap();
        assert_eq!(std::fs::read(&into).unwrap(), LETTER);
    }
    exchange.export(&place.join("record.jsonl")).await.unwrap();

    // The platform first, then the nodes.
    let mut memories: Vec<Memory> = Vec::new();
    for (number, pid) in site.pids().into_iter().enumerate() {
        let none = ("0".to_owned(), "0".to_owned());
        assert_eq!(core_file_bounds(pid).unwrap(), none, "process {number}");
        let file = dir.path().join(format!("memory-{number}"));
        memories.push(Memory::of(pid, file));
    }
    let pages: Vec<_> = site
        .nodes()
        .iter()
        .flat_map(|node| pages(&node.folder))
        .collect();
    assert_eq!(site.stop().await.unwrap(), Vec::<String>::new());

    let mut secrets = Secrets::new();
    let (shares, package) = operators(&place, &mut secrets);
    for document in &documents {
        documents_keys(&place, &shares, &package, document, &mut secrets);
    }
    secrets.add_bytes("what alice wrote", LETTER);

    for (path, page) in &pages {
        assert_eq!(secrets.search(Path::new(path), page), []);
    }
    // They are the pages, and tell of the read.
    let told = |words: &[u8]| {
        pages
            .iter()
            .any(|(_, page)| page.windows(words.len()).any(|window| window == words))
    };
    assert!(told(b"cryptonode_ready 1") && told(b"outcome=\"share\""));

    let (platform, nodes) = memories.split_first().unwrap();
    assert_eq!(platform.holds(&secrets), Vec::<String>::new());
    for (number, memory) in (1..).zip(nodes) {
        // What a node works with is there while it runs, which also shows that the search finds what there is. Nothing else
        // is: no passphrase, no phrase, nothing of another node's, no document's key.
        let own = [
            format!("node-{number}'s identity"),
            format!("node-{number}'s share"),
        ];
        assert_eq!(memory.holds(&secrets), own);
    }
}
