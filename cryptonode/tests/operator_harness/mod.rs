//! Nodes as operators run them: the program `cryptonode` in processes of its own, in folders of its own, on loopback.

use std::io::{BufRead, BufReader};
use std::net::UdpSocket;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Output, Stdio};

use serde_json::Value;

pub const PASSPHRASE: &str = "correct horse battery staple";

/// A folder with a passphrase file, a policy, and nodes.
pub struct Site {
    pub dir: tempfile::TempDir,
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
        std::fs::write(dir.path().join("pass"), format!("{PASSPHRASE}\n")).unwrap();
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
        Self { dir }
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
        let address = UdpSocket::bind("127.0.0.1:0")
            .unwrap()
            .local_addr()
            .unwrap()
            .to_string();
        json(
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
        )
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

    /// Starts a node, and waits until it says that it serves.
    pub fn run(&self, name: &str) -> Running {
        let mut command = self.on(name, &["run", "--exit-with-stdin", "--json"]);
        command.arg("--passphrase-file").arg(self.path("pass"));
        let log = std::fs::OpenOptions::new()
            .create(true)
            .append(true)
            .open(self.path(&format!("{name}.log")))
            .unwrap();
        command.env("CRYPTONODE_LOG", "cryptonode=debug");
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
        assert_eq!(ready["event"], "ready", "{line}");
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

    /// Closes standard input, as a supervisor does that dies.
    pub fn abandon(mut self) -> i32 {
        drop(self.stdin.take());
        self.child.wait().unwrap().code().unwrap_or(-1)
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

pub fn mode(path: &Path) -> u32 {
    use std::os::unix::fs::PermissionsExt;
    std::fs::metadata(path).unwrap().permissions().mode() & 0o777
}
