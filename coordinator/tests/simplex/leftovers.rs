//! What a platform's death leaves of uploads, while its copy of the record knows less than was acknowledged.

use super::federation::Federation;
use super::platform::Platform;
use coordinator::api::PreparedView;
use coordinator::client::profile::Profile;
use coordinator::client::user_key;
use coordinator::record::wire::Submitted;
use coordinator::record::{SignedTransaction, UnsignedTransaction};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

const BODY: &[u8] = b"more than fits onto the ledger, if only it were";

fn files(dir: &Path) -> Vec<PathBuf> {
    let entries = std::fs::read_dir(dir).unwrap();
    let mut found: Vec<_> = entries.map(|it| it.unwrap().path()).collect();
    found.sort();
    found
}

impl Platform {
    fn notes(&self) -> Vec<PathBuf> {
        files(&self.dir.join("uploads"))
    }

    fn bodies(&self) -> usize {
        let tenants = files(&self.dir.join("bodies"));
        tenants.iter().map(|it| files(it).len()).sum()
    }

    fn profile(&self) -> Profile {
        Profile::read(&self.dir.join("client.toml")).unwrap()
    }

    async fn post(&self, path: &str, body: Vec<u8>) -> reqwest::Response {
        let profile = self.profile();
        let url = format!("{}/v1/tenants/{}/{path}", self.url, profile.tenant.unwrap());
        let request = reqwest::Client::new().post(url).body(body);
        let request = request.bearer_auth(profile.api_key.unwrap().expose());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 201);
        answer
    }

    /// An upload, its note, and its transaction as its author signs it.
    async fn upload(&self, document: &str) -> (String, PathBuf, SignedTransaction) {
        let before = self.notes();
        let user = self.profile().user.unwrap();
        let path = format!("datasets/designs/documents/{document}/uploads?author={user}");
        let prepared: PreparedView = self.post(&path, BODY.to_vec()).await.json().await.unwrap();
        let mut notes = self.notes();
        notes.retain(|it| !before.contains(it));
        let key = user_key::read(&self.profile().key.unwrap()).unwrap();
        let unsigned = UnsignedTransaction::from_bytes(&prepared.transaction).unwrap();
        let commit = format!("uploads/{}", prepared.id);
        (commit, notes.remove(0), unsigned.sign(&key))
    }
}

async fn until(what: &str, mut holds: impl FnMut() -> bool) {
    let started = Instant::now();
    while !holds() {
        assert!(started.elapsed() < Duration::from_secs(90), "{what}");
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_body_goes_by_what_a_copy_that_lags_does_not_know() {
    let mut federation = Federation::start(4);
    let mut platform = Platform::start(&federation);
    platform.cli(&["dataset", "create", "designs", "--encryption", "platform"]);
    platform.stop();
    let settings = platform.dir.join("coordinator.toml");
    let text = std::fs::read_to_string(&settings).unwrap();
    assert!(text.contains("prepared_s = 120"));
    std::fs::write(
        &settings,
        text.replace("prepared_s = 120", "prepared_s = 30"),
    )
    .unwrap();
    platform.start_again(&federation);

    // One that was acknowledged, just before its note would have gone.
    let (commit, note, signed) = platform.upload("acknowledged").await;
    let content = std::fs::read(&note).unwrap();
    platform.post(&commit, signed.as_bytes().to_vec()).await;
    until("its note goes", || !note.exists()).await;
    // One that nobody ever signs, and one whose transaction is on its way when the platform dies, and final only then.
    let (_, never, _) = platform.upload("never").await;
    let (_, late, signed) = platform.upload("late").await;
    platform.kill();
    let submitted = federation.submit(1, &signed).await;
    assert!(matches!(submitted, Submitted::Recorded { .. }));
    std::fs::write(&note, content).unwrap();

    // The copy of the record is lost, and when the platform starts again no peer is there to show it anything.
    for end in ["", "-wal", "-shm"] {
        let _ = std::fs::remove_file(platform.dir.join(format!("record/mirror.sqlite{end}")));
    }
    for peer in 0..4 {
        federation.stop(peer);
    }
    platform.start_again(&federation);
    assert_eq!((platform.notes().len(), platform.bodies()), (3, 3));

    for peer in 0..4 {
        federation.run(peer);
    }
    until("the two that are on the record are known", || {
        !note.exists() && !late.exists()
    })
    .await;
    // The third could still be in a block that is not here yet: until the record's own time is past its expiry.
    assert_eq!((platform.notes(), platform.bodies()), (vec![never], 3));
    let copy = federation.base.path().join("copy");
    let read = |document: &str| {
        platform.cli(&["get", "designs", document, "-o", copy.to_str().unwrap()]);
        assert_eq!(std::fs::read(&copy).unwrap(), BODY);
        std::fs::remove_file(&copy).unwrap();
    };
    read("late");
    // Every read is a transaction of its own time.
    until("what never came goes", || {
        read("acknowledged");
        platform.bodies() == 2
    })
    .await;
    until("and its note", || platform.notes().is_empty()).await;
    read("late");
}
