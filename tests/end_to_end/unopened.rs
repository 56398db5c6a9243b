//! What the platform knows of a document that its reader opens itself: nothing.
//!
//! A document is written, and the platform started anew, so that its memory knows nothing of it. Then it is read end to end. While
//! half of it has passed, and when all has, the platform's memory is written out and searched for the document's keys and its text; and
//! so are its logs, which are at `trace`. The same search, in the middle of a read that the platform opens, finds what there is.

use std::path::{Path, PathBuf};
use std::sync::Mutex;
use std::sync::mpsc::{Receiver, Sender, channel};

use coordinator::client::profile::Profile;
use coordinator::client::{Client, GetOptions, OnProgress, Signer, user_key};
use testkit::memory::dump;
use testkit::secrets::Secrets;
use threshold_exchange::site::{Exchange, Layout, Program, Site, SitePlan};

use super::running::{file, place};
use super::secrets::{documents_keys, operators};

/// The document is this line, again and again: whatever part of it lies somewhere, the line does.
const LINE: &[u8] = b"Nobody but bob may know that the treasure lies behind the seventh beam.\n";
/// More than what fits into the buffers of a connection, so that the platform is not done when the reader stops.
const LENGTH: usize = 48 << 20;
const DOCUMENT: &str = "map";

/// Bob, who knows the organisations' keys.
fn reader(site: &Site) -> Client {
    let layout = site.layout();
    let profile = Profile::read(&layout.client_profile()).unwrap();
    let api_key = profile.api_key.unwrap().expose().to_owned();
    let mut client = Client::new(site.url(), profile.tenant.unwrap(), api_key).unwrap();
    let key = user_key::read(&layout.users().join("bob.pem")).unwrap();
    client.sign_as(Signer::new("bob".parse().unwrap(), key));
    let keys = std::fs::read_to_string(layout.verifiers()).unwrap();
    let keys = keys.lines().filter(|line| !line.starts_with('#'));
    client.pin_organisations(keys.map(|line| line.parse().unwrap()).collect());
    client
}

/// Stops a transfer when its first bytes have come, until it is told to go on.
struct Stop {
    stopped: Receiver<()>,
    go_on: Sender<()>,
}

fn stop() -> (Stop, OnProgress) {
    let ((say, stopped), (go_on, hear)) = (channel(), channel());
    let once = Mutex::new(Some((say, hear)));
    let on_progress: OnProgress = Box::new(move |_| {
        let once = once.lock().unwrap().take();
        if let Some((say, hear)) = once {
            say.send(()).unwrap();
            // Nothing more is taken off the connection meanwhile.
            tokio::task::block_in_place(|| hear.recv().unwrap());
        }
    });
    (Stop { stopped, go_on }, on_progress)
}

/// Reads the document; in the middle of it the reader waits while `meanwhile` looks at the platform.
async fn read(
    site: &Site,
    end_to_end: bool,
    into: &Path,
    meanwhile: impl FnOnce() + Send + 'static,
) {
    let client = reader(site);
    let (stop, on_progress) = stop();
    let watching = std::thread::spawn(move || {
        stop.stopped.recv().unwrap();
        meanwhile();
        stop.go_on.send(()).unwrap();
    });
    let (dataset, document) = ("demo".parse().unwrap(), DOCUMENT.parse().unwrap());
    let options = GetOptions {
        on_progress: Some(&on_progress),
        ..GetOptions::default()
    };
    let got = match end_to_end {
        true => {
            client
                .get_end_to_end_to_file(&dataset, &document, options, into)
                .await
        }
        false => client.get_to_file(&dataset, &document, options, into).await,
    };
    assert_eq!(got.unwrap().length, LENGTH as u64);
    watching.join().unwrap();
}

fn write_out(pid: u32, memory: &Path) {
    let dumped = dump(pid, memory).unwrap();
    assert!(dumped.bytes > 1_000_000, "only {} bytes", dumped.bytes);
}

fn found(secrets: &Secrets, memory: &Path) -> Vec<String> {
    let leaks = secrets.search(memory, &std::fs::read(memory).unwrap());
    let mut names: Vec<String> = leaks.into_iter().map(|leak| leak.secret).collect();
    names.sort_unstable();
    names.dedup();
    names
}

#[tokio::test(flavor = "multi_thread")]
async fn a_platform_that_passes_a_document_on_knows_nothing_of_it() {
    let (dir, place) = place();
    let level = "trace,coordinator=trace";
    let program = Program::at(env!("CARGO_BIN_EXE_threshold-exchange"), level);
    let mut site = Site::new(
        Layout::create(&place).unwrap(),
        program,
        SitePlan::default(),
    );
    site.init_platform().await.unwrap();
    site.init_nodes().await.unwrap();
    site.start_nodes().await.unwrap();
    site.generate_key().await.unwrap();
    site.start_platform().await.unwrap();
    let exchange = Exchange::enrol(&site, site.public_key().unwrap())
        .await
        .unwrap();
    let text: Vec<u8> = LINE.iter().copied().cycle().take(LENGTH).collect();
    let map = file(&dir, "map", &text);
    exchange.write(DOCUMENT, &map).await.unwrap();
    exchange.export(&place.join("record.jsonl")).await.unwrap();
    site.kill_platform().await.unwrap();
    site.restart_platform().await.unwrap();

    let path = |name: &str| -> PathBuf { dir.path().join(name) };
    let (during, after, managed) = (path("during"), path("after"), path("managed"));
    let pid = site.platform_pid().unwrap();
    let memory = during.clone();
    let once = move || write_out(pid, &memory);
    read(&site, true, &path("opened-here"), once).await;
    write_out(pid, &after);
    assert!(std::fs::read(path("opened-here")).unwrap() == text);
    // When the reader's first bytes come, the platform may be between two blocks: it is looked at until it holds one that it cannot send.
    let memory = managed.clone();
    let until_it_holds_some = move || {
        let mut lines = Secrets::new();
        lines.add_bytes("a line of the document", LINE);
        let lies_there = |_| {
            write_out(pid, &memory);
            !found(&lines, &memory).is_empty()
        };
        assert!((0..100).any(lies_there), "the search never finds a line");
    };
    read(&site, false, &path("opened-there"), until_it_holds_some).await;
    assert!(std::fs::read(path("opened-there")).unwrap() == text);
    assert_eq!(site.stop().await.unwrap(), Vec::<String>::new());

    let mut secrets = Secrets::new();
    let (shares, package) = operators(&place, &mut secrets);
    documents_keys(&place, &shares, &package, DOCUMENT, &mut secrets);
    secrets.add_bytes("a line of the document", LINE);
    let nothing = Vec::<String>::new();
    assert_eq!(found(&secrets, &during), nothing);
    assert_eq!(found(&secrets, &after), nothing);
    let opened = ["a line of the document", "the body key of map"];
    assert_eq!(found(&secrets, &managed), opened);

    let (leaks, read) = secrets.search_below(&place.join("logs")).unwrap();
    assert_eq!(leaks, []);
    let log = std::fs::read_to_string(place.join("logs/platform.log")).unwrap();
    assert!(log.contains("TRACE") && log.contains("/shares") && read > 100_000);
}
