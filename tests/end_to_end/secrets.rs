//! No secret in any log at any level.
//!
//! The demo runs with every process at `trace`, the libraries below them included. Afterwards the test, which has the passphrases, opens the nodes' stores,
//! takes their shares out, opens the documents' keys with them as t colluding nodes could, and looks for all of that, and
//! for what was written, in everything that the processes logged and printed.

use std::path::Path;

use certs::checkpoint::NoteKey;
use coordinator::client::user_key;
use coordinator::envelope::{DocumentKey, SealedBody};
use coordinator::record::audit::verify_export;
use coordinator::record::{KeyWrapping, VersionName};
use cryptonode::store::{Passphrase, Store};
use dkg::RecoveryPhrase;
use reencrypt::{EphemeralSecret, KeyShare, Opening, Progress, PublicKeyPackage, WrappedKey};
use testkit::secrets::Secrets;

use super::running::{document, file, place, run};

const LETTER: &[u8] = b"The combination of the safe is 17-4-93, and nobody but bob may know it.";

pub(crate) fn line(path: &Path) -> String {
    std::fs::read_to_string(path).unwrap().trim().to_owned()
}

/// What the operators hold: passphrases, recovery phrases, and what their stores keep. Gives the nodes' shares.
pub(crate) fn operators(site: &Path, secrets: &mut Secrets) -> (Vec<KeyShare>, PublicKeyPackage) {
    secrets.add_text(
        "the platform's passphrase",
        &line(&site.join("secrets/platform.passphrase")),
    );
    let (mut shares, mut package) = (Vec::new(), None);
    for number in 1..=5 {
        let name = format!("node-{number}");
        let passphrase = line(&site.join(format!("secrets/{name}.passphrase")));
        secrets.add_text(&format!("{name}'s passphrase"), &passphrase);
        let phrase = line(&site.join(format!("secrets/{name}.phrase")));
        secrets.add_text(&format!("{name}'s recovery phrase"), &phrase);
        let words: Vec<&str> = phrase.split_whitespace().collect();
        assert_eq!(words.len(), 24);
        // Three of the shortest would be too short to be looked for.
        for (at, four) in words.windows(4).enumerate() {
            secrets.add_text(
                &format!("words {at} to {} of {name}'s recovery phrase", at + 3),
                &four.join(" "),
            );
        }
        let store = Store::open(
            &site.join("nodes").join(&name),
            &Passphrase::new(&passphrase).unwrap(),
        )
        .unwrap();
        secrets.add_bytes(
            &format!("{name}'s identity"),
            store.identity().unwrap().signing.as_bytes(),
        );
        let key = store.active_keys().unwrap().pop().unwrap();
        secrets.add_bytes(&format!("{name}'s share"), &*key.share.secret().to_bytes());
        shares.push(key.share);
        package = Some(key.package);
    }
    (shares, package.unwrap())
}

/// What the users and the platform hold.
fn users(site: &Path, secrets: &mut Secrets) {
    for user in ["alice", "bob", "mallory"] {
        let key = user_key::read(&site.join(format!("users/{user}.pem"))).unwrap();
        secrets.add_bytes(&format!("{user}'s key"), key.as_bytes());
    }
    let profile = std::fs::read_to_string(site.join("platform/client.toml")).unwrap();
    let mut found = 0;
    for entry in profile
        .lines()
        .filter(|line| line.starts_with("api_key") || line.starts_with("operator_key"))
    {
        let key = entry.split('"').nth(1).unwrap();
        secrets.add_text("an API key", key);
        secrets.add_text(
            "the secret part of an API key",
            key.rsplit('.').next().unwrap(),
        );
        found += 1;
    }
    assert_eq!(found, 2, "the profile has an API key and an operator's key");
}

/// What t colluding nodes could open: the keys of a document.
pub(crate) fn documents_keys(
    site: &Path,
    shares: &[KeyShare],
    package: &PublicKeyPackage,
    document: &str,
    secrets: &mut Secrets,
) {
    let keys: Vec<NoteKey> = line(&site.join("platform/verifiers.txt"))
        .lines()
        .filter(|line| !line.starts_with('#'))
        .map(|line| line.parse().unwrap())
        .collect();
    let record = verify_export(&site.join("record.jsonl"), &keys).unwrap();
    let name = VersionName {
        tenant: "main".parse().unwrap(),
        dataset: "demo".parse().unwrap(),
        document: document.parse().unwrap(),
        version: 1,
    };
    let version = record.state.version(&name).unwrap();
    let content = version.content.as_ref().unwrap();
    let KeyWrapping::Threshold { wrapped_key } = &content.key else {
        panic!("not under the cluster's key")
    };

    let rng = &mut rand::rng();
    let wrapped = WrappedKey::parse(wrapped_key).unwrap().verify(rng).unwrap();
    let ephemeral = EphemeralSecret::new(&wrapped, rng);
    let answers: Vec<_> = shares[..3]
        .iter()
        .map(|share| {
            (
                share.index(),
                share
                    .reencrypt(&wrapped, ephemeral.public(), rng)
                    .unwrap()
                    .to_bytes(),
            )
        })
        .collect();
    let mut opening = Opening::new(wrapped, ephemeral, package.clone()).unwrap();
    let opened = answers
        .iter()
        .find_map(|(index, answer)| match opening.add(*index, answer) {
            Progress::Opened(key) => Some(key),
            _ => None,
        });
    let opened = opened.unwrap();
    secrets.add_bytes(&format!("the document key of {document}"), opened.expose());
    let body = SealedBody {
        length: version.length,
        checksum: version.checksum,
    };
    let body_key = DocumentKey::from_slice(opened.expose())
        .unwrap()
        .unwrap_body_key(&content.wrapped_dek1, &name, &body)
        .unwrap();
    secrets.add_bytes(
        &format!("the body key of {document}"),
        body_key.body_key.expose(),
    );
}

/// What a panic says of a value that somebody unwrapped.
#[allow(
    clippy::unnecessary_literal_unwrap,
    reason = "its panic is what is looked at"
)]
pub(crate) fn said_by_a_panic(value: impl std::fmt::Debug) -> String {
    let unwrapped = std::panic::AssertUnwindSafe(|| Err::<(), _>(value).unwrap());
    let payload = std::panic::catch_unwind(unwrapped).unwrap_err();
    let said = payload.downcast_ref::<String>().unwrap();
    assert!(said.starts_with("called `Result::unwrap()`"), "{said}");
    said.clone()
}

/// A node's process that panics says on standard error what it held in hand: every kind of value of ours that holds a secret, as
/// it is read from a node's own store.
fn panics_say_no_secret(site: &Path, secrets: &Secrets) {
    let folder = site.join("nodes/node-1");
    let secret = |name: &str| line(&site.join("secrets").join(name));
    let passphrase = Passphrase::new(&secret("node-1.passphrase")).unwrap();
    let phrase = RecoveryPhrase::parse(&secret("node-1.phrase")).unwrap();
    let keys = phrase.node_keys();
    let store = Store::open(&folder, &passphrase).unwrap();
    let key = store.active_keys().unwrap().pop().unwrap();
    let bytes = key.share.secret().to_bytes();
    let document_key = DocumentKey::from_slice(&*bytes).unwrap();
    let said = [
        said_by_a_panic(&passphrase),
        said_by_a_panic(&phrase),
        said_by_a_panic(&keys),
        said_by_a_panic(store.identity().unwrap()),
        said_by_a_panic(&key.share),
        said_by_a_panic(key.share.secret()),
        said_by_a_panic(&key),
        said_by_a_panic(document_key),
        said_by_a_panic(&store),
    ];
    for said in said {
        assert_eq!(secrets.search(Path::new(&said), said.as_bytes()), []);
    }
    // The message of a value that hides nothing has it, in a form that is found.
    let open = said_by_a_panic(bytes.to_vec());
    assert_ne!(secrets.search(Path::new("a panic"), open.as_bytes()), []);
}

#[test]
fn no_secret_is_in_any_log_at_any_level() {
    let (dir, site) = place();
    let letter = file(&dir, "letter.txt", LETTER);
    let arguments = [
        "demo".as_ref(),
        letter.as_os_str(),
        "--log".as_ref(),
        "trace,coordinator=trace".as_ref(),
        "--json".as_ref(),
        "--dir".as_ref(),
        site.as_os_str(),
    ];
    let output = run(&arguments);
    assert_eq!(document(&output)["ok"], true);

    let mut secrets = Secrets::new();
    secrets.add_bytes("what alice wrote", LETTER);
    let (shares, package) = operators(&site, &mut secrets);
    users(&site, &mut secrets);
    documents_keys(&site, &shares, &package, "1-letter.txt", &mut secrets);
    assert!(secrets.count() > 130, "{}", secrets.count());

    panics_say_no_secret(&site, &secrets);
    let (leaks, read) = secrets.search_below(&site.join("logs")).unwrap();
    assert_eq!(leaks, []);
    assert_eq!(
        secrets.search(Path::new("standard output"), &output.stdout),
        []
    );
    assert_eq!(
        secrets.search(Path::new("standard error"), &output.stderr),
        []
    );
    // The logs really are at trace: otherwise this test would look at nothing.
    let node = std::fs::read_to_string(site.join("logs/node-1.log")).unwrap();
    let platform = std::fs::read_to_string(site.join("logs/platform.log")).unwrap();
    assert!(node.contains("TRACE") && platform.contains("TRACE"));
    assert!(read > 100_000, "only {read} bytes were logged");

    // The search finds what is there: the stores are sealed, but the users' keys lie open in their folder.
    let (found, _) = secrets.search_below(&site.join("secrets")).unwrap();
    assert!(found.len() >= 11, "{found:?}");
}
