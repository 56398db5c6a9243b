//! Nodes as operators run them: the program `cryptonode` in processes of its own, in folders of its own, on loopback.

pub mod load;
pub mod reads;

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

pub const PASSPHRASE: &str = "correct horse battery staple";

/// A folder with a passphrase file, a policy, and nodes.
pub struct Site {
    pub dir: tempfile::TempDir,
    /// The one organisation that approves.
    pub issuer: certs::Issuer,
}

/// A running node; killed when it is dropped.
pub struct Running {
    child: Child,
    stdin: Option<ChildStdin>,
    stdout: BufReader<ChildStdout>,
    pub ready: Value,
}

pub fn cryptonode() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_cryptonode"));
    command
        .env_remove("CRYPTONODE_DIR")
        .env_remove("CREDENTIALS_DIRECTORY")
        .env_remove("OTEL_EXPORTER_OTLP_ENDPOINT")
        .env_remove("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT")
        .env_remove("TRACEPARENT")
        .stdin(Stdio::null());
    command
}

/// Runs to the end, and gives the JSON that it printed if it succeeded.
#[track_caller]
pub fn json(command: &mut Command) -> Value {
    let output = command.arg("--json").output().unwrap();
    assert!(
        output.status.success(),
        "{command:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    let text = String::from_utf8(output.stdout).unwrap();
    serde_json::from_str(text.lines().last().unwrap()).unwrap()
}

/// Runs to the end, expects the exit status, and gives the one sentence on standard error.
#[track_caller]
pub fn refused(command: &mut Command, status: i32) -> String {
    let Output {
        status: found,
        stderr,
        ..
    } = command.output().unwrap();
    let text = String::from_utf8(stderr).unwrap();
    assert_eq!(found.code(), Some(status), "{command:?}: {text}");
    let sentences: Vec<&str> = text
        .lines()
        .filter(|line| line.contains("cryptonode: "))
        .collect();
    assert_eq!(sentences.len(), 1, "one sentence: {text}");
    assert!(!text.contains("panicked"), "{text}");
    sentences[0].to_owned()
}

impl Site {
    pub fn new() -> Self {
        let dir = tempfile::tempdir().unwrap();
        write_private(&dir.path().join("pass"), &format!("{PASSPHRASE}\n"));
        let issuer = certs::Issuer::generate(
            "Hospital",
            certs::Algorithm::Ed25519,
            1_700_000_000,
            4_000_000_000,
        )
        .unwrap();
        let policy = format!(
            "approvals_needed = 1\n[[organisations]]\nname = \"Hospital\"\nissuers = ['''{}''']\n",
            issuer.certificate_pem()
        );
        std::fs::write(dir.path().join("policy.toml"), policy).unwrap();
        Self { dir, issuer }
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.dir.path().join(name)
    }

    /// A command on the node `name`.
    pub fn on(&self, name: &str, words: &[&str]) -> Command {
        let mut command = cryptonode();
        command.args(words).arg("--dir").arg(self.path(name));
        command
    }

    /// Makes a node on a free port of loopback.
    pub fn init(&self, name: &str) -> Value {
        let address = testkit::ports::udp().unwrap().to_string();
        let made = json(
            self.on(
                name,
                &[
                    "init",
                    "--name",
                    name,
                    "--listen",
                    &address,
                    "--argon2-memory-kib",
                    "8",
                ],
            )
            .arg("--passphrase-file")
            .arg(self.path("pass"))
            .arg("--phrase-out")
            .arg(self.path(&format!("{name}.words"))),
        );
        self.configure(name, |text| {
            let (before, after) = text.split_once("[health]").unwrap();
            let (_, after) = after.split_once("\nlisten = ").unwrap();
            let (_, after) = after.split_once('\n').unwrap();
            format!("{before}[health]\nlisten = \"127.0.0.1:0\"\n{after}")
        });
        made
    }

    /// Changes a node's configuration.
    pub fn configure(&self, name: &str, change: impl FnOnce(&str) -> String) {
        let config = self.path(name).join("config.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        std::fs::write(&config, change(&text)).unwrap();
    }

    /// Makes nodes that know each other and have the policy; each accepts the first one's proposals by itself.
    pub fn cluster(&self, names: &[&str]) {
        let cards: Vec<PathBuf> = names
            .iter()
            .map(|name| {
                self.init(name);
                let card = json(&mut self.on(name, &["card"]));
                let path = self.path(&format!("{name}.card"));
                std::fs::write(&path, card.to_string()).unwrap();
                path
            })
            .collect();
        let first: Value =
            serde_json::from_str(&std::fs::read_to_string(&cards[0]).unwrap()).unwrap();
        for name in names {
            let added = json(self.on(name, &["member", "add"]).args(&cards));
            assert_eq!(added["added"].as_array().unwrap().len(), names.len() - 1);
            json(
                self.on(name, &["policy", "set"])
                    .arg(self.path("policy.toml")),
            );
            let config = self.path(name).join("config.toml");
            let text = std::fs::read_to_string(&config).unwrap();
            let accept = format!("accept_from = [{}]", first["identity"]);
            std::fs::write(
                &config,
                text.replace("\naccept_from = []", &format!("\n{accept}")),
            )
            .unwrap();
            json(&mut self.on(name, &["config", "check"]));
        }
    }

    /// Has a node look after its keys every second, and keep old shares for `overlap_s` seconds.
    pub fn hurry(&self, name: &str, overlap_s: u64) {
        let config = self.path(name).join("config.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let text = text
            .replace("\noverlap_s = 600", &format!("\noverlap_s = {overlap_s}"))
            .replace("\nask_every_s = 60", "\nask_every_s = 1");
        std::fs::write(&config, text).unwrap();
    }

    /// Asks a node's command until its answer is as wished for.
    pub fn until(&self, name: &str, words: &[&str], enough: impl Fn(&Value) -> bool) -> Value {
        let deadline = std::time::Instant::now() + std::time::Duration::from_secs(90);
        loop {
            let value = json(&mut self.on(name, words));
            if enough(&value) {
                return value;
            }
            assert!(
                std::time::Instant::now() < deadline,
                "{name}: {value}\n{}",
                self.log(name)
            );
            std::thread::sleep(std::time::Duration::from_millis(100));
        }
    }

    /// Makes a key with `leader` in the lead, and waits until it is there.
    pub fn make_key(&self, leader: &str, threshold: u16) -> String {
        let threshold = threshold.to_string();
        json(&mut self.on(leader, &["ceremony", "propose", "--threshold", &threshold]));
        let done = json(&mut self.on(leader, &["ceremony", "status", "--wait"]));
        done["public_key"].as_str().unwrap().to_owned()
    }

    /// Starts a node, and waits until it says that it serves.
    pub fn run(&self, name: &str) -> Running {
        self.run_with(name, |command| command)
    }

    /// The same with a command that was changed.
    pub fn run_with(&self, name: &str, change: impl FnOnce(Command) -> Command) -> Running {
        let mut command = self.on(name, &["run", "--exit-with-stdin", "--json"]);
        command.arg("--passphrase-file").arg(self.path("pass"));
        command.env("CRYPTONODE_LOG", "cryptonode=debug");
        self.start(name, change(command))
    }

    /// Starts a node by any command, and waits for the first line that it says.
    pub fn start(&self, name: &str, mut command: Command) -> Running {
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(&format!("{name}.log")))
            .unwrap();
        let mut child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let stdin = child.stdin.take();
        let mut stdout = BufReader::new(child.stdout.take().unwrap());
        let mut line = String::new();
        stdout.read_line(&mut line).unwrap();
        let ready: Value =
            serde_json::from_str(&line).unwrap_or_else(|_| panic!("{name}: {}", self.log(name)));
        // A node that cannot start says so in JSON as well.
        assert!(
            ready["event"].is_string(),
            "{name}: {line}{}",
            self.log(name)
        );
        Running {
            child,
            stdin,
            stdout,
            ready,
        }
    }

    pub fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.path(&format!("{name}.log"))).unwrap_or_default()
    }

    /// Follows a ceremony on the node `name` until `enough` says so of a view.
    pub fn follow(&self, name: &str, enough: impl FnMut(&Value) -> bool) -> Value {
        self.follow_by(name, &["ceremony", "status", "--wait", "--json"], enough)
    }

    /// [`Site::follow`] for the ceremony `id`, as soon as the node knows it.
    pub fn follow_one(&self, name: &str, id: &str, enough: impl FnMut(&Value) -> bool) -> Value {
        loop {
            let listed = json(&mut self.on(name, &["ceremony", "list"]));
            let known = listed.as_array().unwrap().iter();
            if known.into_iter().any(|view| view["id"] == id) {
                break;
            }
        }
        self.follow_by(
            name,
            &["ceremony", "status", id, "--wait", "--json"],
            enough,
        )
    }

    fn follow_by(
        &self,
        name: &str,
        words: &[&str],
        mut enough: impl FnMut(&Value) -> bool,
    ) -> Value {
        let mut command = self.on(name, words);
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let lines = BufReader::new(child.stdout.take().unwrap()).lines();
        let mut found = None;
        for line in lines {
            let value: Value = serde_json::from_str(&line.unwrap()).unwrap();
            let view = if value["event"] == "ceremony" {
                value["ceremony"].clone()
            } else {
                value
            };
            if enough(&view) {
                found = Some(view);
                break;
            }
        }
        let _ = child.kill();
        let _ = child.wait();
        found.unwrap_or_else(|| {
            panic!(
                "the ceremony ended before that; log of {name}:\n{}",
                self.log(name)
            )
        })
    }
}

impl Running {
    pub fn id(&self) -> u32 {
        self.child.id()
    }

    /// SIGKILL: nothing is finished.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// SIGTERM: gives the exit status once the node has stopped.
    pub fn terminate(mut self) -> i32 {
        let pid = rustix::process::Pid::from_child(&self.child);
        rustix::process::kill_process(pid, rustix::process::Signal::TERM).unwrap();
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Waits until it has ended by itself, and gives the exit status.
    pub fn wait(mut self) -> i32 {
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// Closes standard input, as a supervisor does that dies.
    pub fn abandon(mut self) -> i32 {
        drop(self.stdin.take());
        self.child.wait().unwrap().code().unwrap_or(-1)
    }

    /// The next line that it prints.
    pub fn line(&mut self) -> String {
        let mut line = String::new();
        self.stdout.read_line(&mut line).unwrap();
        line
    }

    /// What else it prints until it ends.
    pub fn rest(&mut self) -> String {
        let mut rest = String::new();
        std::io::Read::read_to_string(&mut self.stdout, &mut rest).unwrap();
        rest
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Writes a file that only its owner may read.
pub fn write_private(path: &Path, text: &str) {
    use std::io::Write;
    use std::os::unix::fs::OpenOptionsExt;
    let mut options = std::fs::OpenOptions::new();
    options.write(true).create(true).truncate(true).mode(0o600);
    options
        .open(path)
        .unwrap()
        .write_all(text.as_bytes())
        .unwrap();
}

/// Puts a file in place of another one, whole.
pub fn replace(path: &Path, bytes: &[u8]) {
    let new = path.with_extension("new");
    std::fs::write(&new, bytes).unwrap();
    std::fs::rename(new, path).unwrap();
}

/// What the health page of a node says on a path: the status and the body.
pub fn page(node: &Running, path: &str) -> (u16, String) {
    use std::io::{Read, Write};
    let address = node.ready["health"].as_str().unwrap();
    let mut stream = std::net::TcpStream::connect(address).unwrap();
    write!(
        stream,
        "GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n"
    )
    .unwrap();
    let mut answer = String::new();
    stream.read_to_string(&mut answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

/// The value of a series of the metrics' page: name, and parts that its labels must have.
pub fn metric(page: &str, name: &str, labels: &[&str]) -> Option<f64> {
    page.lines()
        .filter(|line| !line.starts_with('#'))
        .find(|line| {
            let found = line.split(['{', ' ']).next();
            found == Some(name) && labels.iter().all(|label| line.contains(label))
        })
        .map(|line| line.rsplit_once(' ').unwrap().1.parse().unwrap())
}

/// Asks again until the answer is there; for what happens by itself, a while later.
#[track_caller]
pub fn eventually<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let until = std::time::Instant::now() + std::time::Duration::from_secs(60);
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            std::time::Instant::now() < until,
            "it did not happen: {what}"
        );
        std::thread::sleep(std::time::Duration::from_millis(50));
    }
}

pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}

/// Puts the store of `from` in place of that of `to`, with the keys beside it.
pub fn put_store(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    let _ = std::fs::remove_dir_all(to.join("erasable"));
    std::fs::create_dir(to.join("erasable")).unwrap();
    std::fs::copy(from.join("store.redb"), to.join("store.redb")).unwrap();
    // A node that has had no key has none.
    for entry in std::fs::read_dir(from.join("erasable"))
        .into_iter()
        .flatten()
    {
        let entry = entry.unwrap();
        std::fs::copy(entry.path(), to.join("erasable").join(entry.file_name())).unwrap();
    }
}
