//! A platform that lies to a reader who opens documents itself: whatever it exchanges is found out, and nothing is released.
//!
//! Something stands between reader and platform and changes what passes, as a platform could that is in somebody else's hands.

use std::sync::{Arc, Mutex};

use axum::Router;
use axum::body::{Body, to_bytes};
use axum::extract::{Request, State};
use axum::http::{Response, header};
use coordinator::client::{ClientError, GetOptions};
use coordinator::platform::ByteRange;
use coordinator::record::{KeyWrapping, SignedTransaction, Transaction, UnsignedTransaction};
use ed25519_dalek::SigningKey;
use reencrypt::{EphemeralSecret, WrappedKey};
use serde_json::Value;

use crate::cluster::Cluster;
use crate::end_to_end::{bridge, exchange, reader_at};
use crate::site::{Site, id};

/// Where something passes.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum At {
    Proof,
    /// What the reader sends to have a read prepared.
    Asking,
    Prepared,
    Shares,
    SealedBody,
}

/// What has passed.
type Noted = Arc<Mutex<Vec<(At, Vec<u8>)>>>;

type Lie = Arc<dyn Fn(At, Vec<u8>) -> Vec<u8> + Send + Sync>;

/// What stands in between.
#[derive(Clone)]
struct Between {
    url: String,
    http: reqwest::Client,
    lie: Arc<Mutex<Lie>>,
}

fn honest() -> Lie {
    Arc::new(|_, bytes| bytes)
}

impl Between {
    async fn start(site: &Site) -> (Self, String) {
        let between = Self {
            url: site.url.clone(),
            http: reqwest::Client::new(),
            lie: Arc::new(Mutex::new(honest())),
        };
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await.unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(pass).with_state(between.clone());
        tokio::spawn(async move { axum::serve(listener, router).await });
        (between, url)
    }

    fn tell(&self, lie: impl Fn(At, Vec<u8>) -> Vec<u8> + Send + Sync + 'static) {
        *self.lie.lock().unwrap() = Arc::new(lie);
    }
}

async fn pass(State(between): State<Between>, request: Request) -> Response<Body> {
    let lie = between.lie.lock().unwrap().clone();
    let (parts, body) = request.into_parts();
    let path = parts.uri.path().to_owned();
    let url = format!("{}{}", between.url, parts.uri);
    let asking = path.ends_with("/bridge/reads");
    let mut sent = to_bytes(body, usize::MAX).await.unwrap().to_vec();
    if asking {
        sent = lie(At::Asking, sent);
    }
    let mut forward = between.http.request(parts.method, url).body(sent);
    for (name, value) in &parts.headers {
        if !matches!(*name, header::HOST | header::CONTENT_LENGTH) {
            forward = forward.header(name, value);
        }
    }
    let answer = forward.send().await.unwrap();
    let (status, headers) = (answer.status(), answer.headers().clone());
    let mut bytes = answer.bytes().await.unwrap().to_vec();
    let at = match &path {
        path if path.ends_with("/proof") => Some(At::Proof),
        path if path.ends_with("/shares") => Some(At::Shares),
        path if path.ends_with("/body") => Some(At::SealedBody),
        _ if asking => Some(At::Prepared),
        _ => None,
    };
    if let Some(at) = at.filter(|_| status.is_success()) {
        bytes = lie(at, bytes);
    }
    let mut response = Response::builder().status(status);
    for (name, value) in &headers {
        if !matches!(*name, header::CONTENT_LENGTH | header::TRANSFER_ENCODING) {
            response = response.header(name, value);
        }
    }
    response.body(Body::from(bytes)).unwrap()
}

/// Changes JSON.
fn json(bytes: Vec<u8>, change: impl FnOnce(&mut Value)) -> Vec<u8> {
    let mut value = serde_json::from_slice(&bytes).unwrap();
    change(&mut value);
    serde_json::to_vec(&value).unwrap()
}

/// Changes one thing, and leaves the others as they are.
fn only(
    at: At,
    change: impl Fn(&mut Value) + Send + Sync + 'static,
) -> impl Fn(At, Vec<u8>) -> Vec<u8> + Send + Sync {
    move |here, bytes| match here == at {
        true => json(bytes, &change),
        false => bytes,
    }
}

fn flipped(text: &Value, at: usize) -> Value {
    let mut bytes = hex::decode(text.as_str().unwrap()).unwrap();
    bytes[at] ^= 1;
    hex::encode(bytes).into()
}

fn write_in(proof: &Value) -> SignedTransaction {
    let bytes = hex::decode(proof["transaction"].as_str().unwrap()).unwrap();
    SignedTransaction::from_bytes(&bytes).unwrap()
}

/// An ephemeral key of the platform's own, right in every way but that it is not the reader's.
fn own_ephemeral_key(proof: &Value) -> String {
    let signed = write_in(proof);
    let Transaction::Write(write) = signed.transaction() else {
        panic!("{proof}")
    };
    let KeyWrapping::Threshold { wrapped_key } = &write.key else {
        panic!("{proof}")
    };
    let rng = &mut rand::rng();
    let wrapped = WrappedKey::parse(wrapped_key).unwrap().verify(rng).unwrap();
    hex::encode(EphemeralSecret::new(&wrapped, rng).public().as_bytes())
}

/// The unsigned transaction with its content exchanged.
fn prepared(value: &mut Value, change: impl FnOnce(&mut UnsignedTransaction)) {
    let bytes = hex::decode(value["transaction"].as_str().unwrap()).unwrap();
    let mut unsigned = UnsignedTransaction::from_bytes(&bytes).unwrap();
    change(&mut unsigned);
    value["transaction"] = hex::encode(unsigned.to_bytes()).into();
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_that_a_lying_platform_exchanges_gets_through() {
    let (site, cluster) = exchange().await;
    let (between, url) = Between::start(&site).await;
    let reader = reader_at(&site, &url);
    let (designs, document) = (id("designs"), id("bridge"));
    let to = site.file("out");
    let try_to = async |what: &str, expected: &[&str]| {
        let read = |version| GetOptions {
            version,
            ..GetOptions::default()
        };
        for version in [None, Some(2)] {
            let mut out = Vec::new();
            let got = reader
                .get_end_to_end(&designs, &document, read(version), &mut out)
                .await;
            let code = got.err().unwrap_or_else(|| panic!("{what} got through"));
            assert!(expected.contains(&code.code()), "{what}: {code:?}");
            assert!(out.is_empty(), "{what}: {} bytes were released", out.len());
        }
        let got = reader
            .get_end_to_end_to_file(&designs, &document, read(Some(2)), &to)
            .await;
        let code = got.err().unwrap_or_else(|| panic!("{what} got through"));
        assert!(expected.contains(&code.code()), "{what}: {code:?}");
        assert!(!to.exists(), "{what}: a file is left");
    };

    // Everything that passes honestly, noted for later: a proof, an answer and a body of each version.
    let noted: Noted = Arc::default();
    let note = noted.clone();
    between.tell(move |at, bytes| {
        note.lock().unwrap().push((at, bytes.clone()));
        bytes
    });
    for version in [1, 2] {
        let mut out = Vec::new();
        let options = GetOptions {
            version: Some(u64::from(version)),
            ..GetOptions::default()
        };
        reader
            .get_end_to_end(&designs, &document, options, &mut out)
            .await
            .unwrap();
        assert!(out == bridge(version));
    }
    let first = |at| {
        let noted = noted.lock().unwrap();
        let found = noted.iter().find(|(here, _)| *here == at);
        found.unwrap().1.clone()
    };
    let first_proof: Value = serde_json::from_slice(&first(At::Proof)).unwrap();
    let first_shares: Value = serde_json::from_slice(&first(At::Shares)).unwrap();
    let second_proof = {
        let noted = noted.lock().unwrap();
        let mut proofs = noted.iter().filter(|(at, _)| *at == At::Proof);
        serde_json::from_slice::<Value>(&proofs.next_back().unwrap().1).unwrap()
    };

    // The ephemeral key: in what is asked, and in what is prepared.
    let own = own_ephemeral_key(&second_proof);
    between.tell(only(At::Asking, move |it| {
        it["ephemeral_key"] = own.clone().into()
    }));
    try_to("the platform's own ephemeral key", &["not-what-was-meant"]).await;
    type Change = fn(&mut UnsignedTransaction);
    let changes: [(&str, Change); 6] = [
        ("another document", |it| {
            let Transaction::Read(read) = &mut it.transaction else {
                panic!()
            };
            read.document = id("tunnel");
        }),
        ("another version", |it| {
            let Transaction::Read(read) = &mut it.transaction else {
                panic!()
            };
            read.version = 1;
        }),
        ("another wrapped key", |it| {
            let Transaction::Read(read) = &mut it.transaction else {
                panic!()
            };
            read.reencryption.as_mut().unwrap().write_id = [7; 32];
        }),
        ("no ephemeral key", |it| {
            let Transaction::Read(read) = &mut it.transaction else {
                panic!()
            };
            read.reencryption = None;
        }),
        ("another reader", |it| {
            it.author = coordinator::record::Author::Organisation(id("alder"));
        }),
        ("another ledger", |it| it.ledger = [7; 32]),
    ];
    for (what, change) in changes {
        between.tell(only(At::Prepared, move |it| prepared(it, change)));
        try_to(what, &["not-what-was-meant"]).await;
    }

    // The version and its wrapped key, which are proven.
    let (older, newer) = (first_proof.clone(), second_proof.clone());
    between.tell(only(At::Proof, move |it| *it = older.clone()));
    let mut out = Vec::new();
    let options = GetOptions {
        version: Some(2),
        ..GetOptions::default()
    };
    let old = reader
        .get_end_to_end(&designs, &document, options, &mut out)
        .await;
    assert!(
        matches!(
            old,
            Err(ClientError::NotWhatWasMeant {
                what: "the version",
                ..
            })
        ),
        "{old:?}"
    );
    assert!(out.is_empty());
    between.tell(only(At::Proof, |it| {
        let bytes = hex::decode(it["transaction"].as_str().unwrap()).unwrap();
        it["transaction"] = flipped(&it["transaction"], bytes.len() / 2);
    }));
    try_to("an altered write", &["proof-root", "proof-transaction"]).await;
    // One that the platform makes and signs as if it were the author, with a head of its own: everything holds together.
    between.tell(only(At::Proof, move |it| {
        let signed = write_in(&newer);
        let forged = signed
            .content()
            .clone()
            .sign(&SigningKey::from_bytes(&[7; 32]));
        it["transaction"] = hex::encode(forged.as_bytes()).into();
    }));
    try_to("a write of the platform's own", &["proof-root"]).await;
    let strangers = Site::start();
    let theirs = strangers.cli(&["audit", "checkpoint"])["checkpoint"].clone();
    between.tell(only(At::Proof, move |it| it["checkpoint"] = theirs.clone()));
    try_to("a head that others signed", &["proof-head"]).await;
    between.tell(only(At::Proof, |it| {
        let note = it["checkpoint"].as_str().unwrap();
        let mut lines: Vec<&str> = note.lines().collect();
        lines.truncate(lines.len() - 1);
        it["checkpoint"] = format!("{}\n", lines.join("\n")).into();
    }));
    try_to("a head that two of three signed", &["proof-head"]).await;

    // Which version is the latest: an older one, with nothing about it, and with what was true before.
    let latest = async |expected: &[&str]| {
        let mut out = Vec::new();
        let got = reader.get_end_to_end(&designs, &document, GetOptions::default(), &mut out);
        let code = got.await.unwrap_err();
        assert!(expected.contains(&code.code()), "{code:?}");
        assert!(out.is_empty());
    };
    let older = first_proof.clone();
    between.tell(only(At::Proof, move |it| *it = older.clone()));
    latest(&["not-latest"]).await;
    let (older, shown) = (first_proof.clone(), first_shares["standing"].clone());
    between.tell(move |at, bytes| match at {
        At::Proof => json(bytes, |it| *it = older.clone()),
        At::Shares => json(bytes, |it| it["standing"] = shown.clone()),
        _ => bytes,
    });
    latest(&["proof-range", "proof-root", "proof-length"]).await;
    let older = first_proof.clone();
    between.tell(move |at, bytes| match at {
        At::Proof => json(bytes, |it| *it = older.clone()),
        At::Shares => json(bytes, |it| it["standing"]["latest"] = 1.into()),
        _ => bytes,
    });
    latest(&["proof-state"]).await;
    between.tell(only(At::Shares, |it| it["standing"] = Value::Null));
    latest(&["latest-not-proven"]).await;

    // The shares and the cluster.
    between.tell(only(At::Shares, |it| {
        it["shares"][1] = flipped(&it["shares"][1], 20)
    }));
    try_to("an altered share", &["shares"]).await;
    between.tell(only(At::Shares, |it| {
        it["shares"][1] = it["shares"][0].clone()
    }));
    try_to("one share twice", &["shares"]).await;
    between.tell(only(At::Shares, |it| {
        it["shares"] = Value::Array(Vec::new())
    }));
    try_to("no shares", &["shares"]).await;
    between.tell(only(At::Shares, move |it| {
        it["shares"] = first_shares["shares"].clone()
    }));
    try_to("the shares of another read", &["shares"]).await;
    let other = Cluster::start(2, 3, &site.dir().join("policy.toml")).descriptor;
    let described = hex::encode(other.public_key);
    between.tell(only(At::Shares, move |it| {
        it["cluster"]["public_key"] = described.clone().into()
    }));
    try_to("another cluster's key", &["shares"]).await;
    between.tell(only(At::Shares, |it| {
        it["cluster"]["members"] = Value::Array(Vec::new())
    }));
    try_to("a cluster of nobody", &["shares"]).await;

    // The body.
    let broken = ["envelope-checksum", "envelope-block", "envelope-header"];
    for at in [0, 20, 70_000] {
        between.tell(move |here, mut bytes| {
            if here == At::SealedBody {
                bytes[at] ^= 1;
            }
            bytes
        });
        try_to("an altered body", &broken).await;
    }
    let body = first(At::SealedBody);
    between.tell(move |here, bytes| match here {
        At::SealedBody => body.clone(),
        _ => bytes,
    });
    try_to("the body of another version", &broken).await;
    between.tell(|here, mut bytes| {
        if here == At::SealedBody {
            bytes.push(0);
        }
        bytes
    });
    try_to("a longer body", &["platform-answer"]).await;
    // A block that a range wants, and one that it does not.
    let options = |range: &str| GetOptions {
        range: range.parse::<ByteRange>().ok(),
        ..GetOptions::default()
    };
    between.tell(|here, mut bytes| {
        if here == At::SealedBody && bytes.len() > 16 {
            bytes[100] ^= 1;
        }
        bytes
    });
    let mut out = Vec::new();
    let part = reader.get_end_to_end(&designs, &document, options("70000-70010"), &mut out);
    assert_eq!(part.await.unwrap_err().code(), "envelope-block");
    assert!(out.is_empty());

    // It really was the lies: without them all is well.
    between.tell(|_, bytes| bytes);
    let mut out = Vec::new();
    let honest = reader.get_end_to_end(&designs, &document, GetOptions::default(), &mut out);
    honest.await.unwrap();
    assert!(out == bridge(2));
    drop(cluster);
}
