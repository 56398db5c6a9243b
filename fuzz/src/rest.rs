//! The REST interface as it runs: a platform in this process, and what somebody sends to it who has a tenant's API key.
//!
//! An input is the text of a request: method and path, headers, an empty line, and the body. What is about the connection itself (lengths,
//! whether it stays open) is put in here, for that is the HTTP library's part. Whatever is asked, an answer comes, never of an internal
//! error, and a refusal says its code.

use std::io::{Read as _, Write as _};
use std::net::{SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::Duration;

use coordinator::api::openapi;
use coordinator::client::profile::Profile;
use coordinator::daemon::{self, RunOptions};
use coordinator::master_key::Passphrase;
use coordinator::setup::{self, InitOptions};
use serde_json::Value;
use tokio::sync::oneshot;

use crate::node::in_memory;
use crate::{Target, Verdict, refused};

/// Longer than any answer to a request of a few kilobytes may take, however busy the machine is.
const ANSWERED_WITHIN: Duration = Duration::from_secs(15);
const LONGEST_ANSWER: u64 = 8 << 20;
/// Headers that are put in here, or that have the library wait for more.
const NOT_TAKEN: [&str; 7] = [
    "authorization",
    "connection",
    "content-length",
    "expect",
    "host",
    "transfer-encoding",
    "upgrade",
];

pub(crate) fn targets() -> Vec<Target> {
    vec![Target {
        name: "rest_request",
        run: rest_request,
        seeds: || {
            let requests = [
                ("ok-status", "GET /v1/tenants/main/status\n\n"),
                (
                    "datasets",
                    "GET /v1/tenants/main/datasets?limit=1&after=a\naccept: */*\n\n",
                ),
                (
                    "dataset",
                    "POST /v1/tenants/main/datasets?author=admin\ncontent-type: application/json\n\n{\"name\":\"designs\"}",
                ),
                (
                    "user",
                    "POST /v1/tenants/main/users?author=admin\ncontent-type: application/json\n\n{\"user\":\"carol\",\"managed\":true,\"role\":\"member\"}",
                ),
                (
                    "key",
                    "POST /v1/tenants/main/keys\ncontent-type: application/json\nidempotency-key: once\n\n{\"name\":\"reports\",\"scopes\":[\"read\"],\"expires_in_s\":60}",
                ),
                (
                    "body",
                    "PUT /v1/tenants/main/datasets/designs/documents/bridge/content?author=admin\nif-none-match: *\n\ncontent",
                ),
                ("transaction", "POST /v1/tenants/main/transactions\n\nnone"),
            ];
            requests
                .map(|(name, text)| (name.to_owned(), text.as_bytes().to_vec()))
                .to_vec()
        },
    }]
}

/// A platform at work, until this is dropped.
struct Site {
    address: SocketAddr,
    key: String,
    stop: Option<oneshot::Sender<()>>,
    thread: Option<JoinHandle<()>>,
    _folder: tempfile::TempDir,
}

impl Site {
    fn start() -> Self {
        let folder = in_memory();
        let (stop, stopped) = oneshot::channel::<()>();
        let (told, ready) = mpsc::channel();
        let dir = folder.path().join("platform");
        let thread = std::thread::spawn(move || {
            let runtime = tokio::runtime::Builder::new_multi_thread()
                .worker_threads(2)
                .enable_all()
                .build()
                .unwrap();
            let passphrase = || Passphrase::new("a passphrase of the fuzzer's");
            let options = InitOptions {
                dir: dir.clone(),
                organisations: vec!["alder".parse().unwrap()],
                approvals: 1,
                tenant: "main".parse().unwrap(),
                administrator: "admin".parse().unwrap(),
                managed_administrator: true,
                listen: SocketAddr::from(([127, 0, 0, 1], 0)),
                exchange: None,
            };
            runtime.block_on(async {
                let made = setup::init(options, &passphrase()).await.unwrap();
                let profile = Profile::read(&made.profile).unwrap();
                let key = profile.api_key.unwrap().expose().to_owned();
                let prepared = daemon::prepare(&dir).unwrap();
                let announce = |it: &daemon::Ready| {
                    let address = it.url.strip_prefix("http://").unwrap();
                    told.send((address.parse().unwrap(), key)).unwrap();
                };
                let runs = daemon::run(prepared, passphrase(), RunOptions::default(), announce);
                tokio::select! {
                    ended = runs => panic!("the platform has ended: {:?}", ended.err()),
                    _ = stopped => {}
                }
            });
            runtime.shutdown_timeout(Duration::from_secs(10));
        });
        let (address, key) = ready.recv().unwrap();
        Self {
            address,
            key,
            stop: Some(stop),
            thread: Some(thread),
            _folder: folder,
        }
    }

    /// Status and body of the answer.
    fn ask(&self, line: &str, headers: &str, body: &[u8]) -> (u16, Vec<u8>) {
        let head = format!(
            "{line} HTTP/1.1\r\nhost: localhost\r\nauthorization: Bearer {}\r\n{headers}content-length: {}\r\nconnection: close\r\n\r\n",
            self.key,
            body.len()
        );
        let mut stream = TcpStream::connect(self.address).unwrap();
        stream.set_read_timeout(Some(ANSWERED_WITHIN)).unwrap();
        // Who is refused early is not listened to any further.
        let _ = stream.write_all(head.as_bytes());
        let _ = stream.write_all(body);
        let mut answer = Vec::new();
        if let Err(error) = stream.take(LONGEST_ANSWER).read_to_end(&mut answer) {
            let waits = [std::io::ErrorKind::WouldBlock, std::io::ErrorKind::TimedOut];
            assert!(!waits.contains(&error.kind()), "no answer to {line}");
        }
        let end = answer.windows(4).position(|it| it == b"\r\n\r\n");
        let status = answer
            .strip_prefix(b"HTTP/1.1 ")
            .and_then(|rest| std::str::from_utf8(rest.get(..3)?).ok()?.parse().ok());
        match (status, end) {
            (Some(status), Some(end)) => (status, answer.split_off(end + 4)),
            // The connection was broken off in the middle of what was sent.
            _ => (0, Vec::new()),
        }
    }
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(stop) = self.stop.take() {
            let _ = stop.send(());
        }
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// A name for every parameter of a path.
fn filled(path: &str) -> String {
    let parts = path.split('/').map(|part| match part {
        "{tenant}" | "{of_tenant}" => "main",
        "{user}" => "admin",
        "{dataset}" => "designs",
        "{document}" => "bridge",
        "{role}" => "reader",
        "{version}" => "1",
        "{id}" | "{read}" | "{request}" => "0190a6a0-0000-7000-8000-000000000000",
        "{transaction}" | "{client}" => {
            "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"
        }
        other if other.starts_with('{') => "some",
        other => other,
    });
    parts.collect::<Vec<_>>().join("/")
}

/// A request of [`rest_request`] for every operation that the interface describes, by its name, with the example that the description gives.
#[must_use]
pub fn operations() -> Vec<(String, Vec<u8>)> {
    let document: Value = serde_json::from_str(openapi::text()).unwrap();
    let mut seeds = Vec::new();
    for (path, described) in document["paths"].as_object().unwrap() {
        for (method, operation) in described.as_object().unwrap() {
            let Some(name) = operation["operationId"].as_str() else {
                continue;
            };
            let content = &operation["requestBody"]["content"];
            let schema = &content["application/json"]["schema"];
            let named = schema["$ref"].as_str().or_else(|| {
                let either = schema["oneOf"].as_array()?;
                either.iter().find_map(|it| it["$ref"].as_str())
            });
            let example = named
                .and_then(|it| it.strip_prefix('#'))
                .and_then(|it| document.pointer(it))
                .map(|schema| schema["example"].clone());
            let body = match (example, content.is_null()) {
                (Some(example), _) if !example.is_null() => example.to_string(),
                (_, true) => String::new(),
                (_, false) => "{}".to_owned(),
            };
            let method = method.to_uppercase();
            let headers = match (method.as_str(), name) {
                ("GET", _) => "",
                // A key's second use is another matter, so only one of them has one.
                (_, "create_key") => "content-type: application/json\nidempotency-key: once\n",
                _ => "content-type: application/json\n",
            };
            // The platform keeps the administrator's key, and signs for it.
            let parameters = operation["parameters"].as_array().into_iter().flatten();
            let author = match parameters.into_iter().any(|it| it["name"] == "author") {
                true => "?author=admin",
                false => "",
            };
            let text = format!("{method} {}{author}\n{headers}\n{body}", filled(path));
            seeds.push((name.replace('_', "-"), text.into_bytes()));
        }
    }
    seeds
}

fn rest_request(bytes: &[u8]) -> Verdict {
    thread_local! {
        static SITE: Site = Site::start();
    }
    let end = bytes.windows(2).position(|it| it == b"\n\n");
    let (head, body) = match end {
        Some(end) => (&bytes[..end], &bytes[end + 2..]),
        None => (bytes, &bytes[bytes.len()..]),
    };
    let Ok(head) = std::str::from_utf8(head) else {
        return refused("not-utf-8");
    };
    let mut lines = head.lines();
    let line = lines.next().unwrap_or_default();
    let visible = |it: &str| !it.is_empty() && it.bytes().all(|byte| (0x21..0x7f).contains(&byte));
    match line.split_once(' ') {
        Some((method, path)) if visible(method) && visible(path) && path.starts_with('/') => {}
        _ => return refused("no-request"),
    }
    let mut headers = String::new();
    for header in lines {
        let Some((name, value)) = header.split_once(':') else {
            return refused("no-header");
        };
        let token = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-';
        let printed = value.bytes().all(|byte| (0x20..0x7f).contains(&byte));
        let own = name.is_empty() || !name.bytes().all(token) || !printed;
        if own || NOT_TAKEN.contains(&name.to_ascii_lowercase().as_str()) {
            return refused("no-header");
        }
        headers.push_str(&format!("{name}:{value}\r\n"));
    }
    let (status, answer) = SITE.with(|site| site.ask(line, &headers, body));
    assert_ne!(status, 500, "{}", String::from_utf8_lossy(&answer));
    if (200..400).contains(&status) {
        return Ok(());
    }
    if answer.is_empty() {
        return refused(status);
    }
    let problem: Value = serde_json::from_slice(&answer)
        .unwrap_or_else(|_| panic!("{status}: {}", String::from_utf8_lossy(&answer)));
    let code = problem["code"].as_str();
    refused(code.unwrap_or_else(|| panic!("{status} without a code: {problem}")))
}
