//! A platform in a folder and a process of its own.

use std::io::{BufRead as _, BufReader, Read as _};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};

use coordinator::client::profile::Profile;
use coordinator::client::{Client, Signer, user_key};
use coordinator::record::Identifier;
use serde_json::Value;

pub(crate) const PASSPHRASE: &str = "a passphrase for tests, seen nowhere else";
const BINARY: &str = env!("CARGO_BIN_EXE_coordinator");

pub(crate) fn id(name: &str) -> Identifier {
    name.parse().unwrap()
}

/// A platform: a folder, and a process while it runs.
pub(crate) struct Site {
    pub(crate) base: tempfile::TempDir,
    child: Option<Child>,
    pub(crate) url: String,
}

impl Site {
    /// Three organisations, two approvals; not running.
    pub(crate) fn init() -> Self {
        Self::init_with(&[])
    }

    /// The same with more options of `init`.
    pub(crate) fn init_with(more: &[&str]) -> Self {
        let base = tempfile::tempdir().unwrap();
        let site = Self {
            base,
            child: None,
            url: String::new(),
        };
        std::fs::write(site.passphrase(), format!("{PASSPHRASE}\n")).unwrap();
        let mut init = vec!["init", "--listen", "127.0.0.1:0", "--approvals", "2"];
        for organisation in ["alder", "birch", "cedar"] {
            init.extend(["--organisation", organisation]);
        }
        init.extend(more);
        site.operator(&init);
        site
    }

    /// The same, running.
    pub(crate) fn start() -> Self {
        let mut site = Self::init();
        site.run();
        site
    }

    pub(crate) fn dir(&self) -> PathBuf {
        self.base.path().join("platform")
    }

    pub(crate) fn passphrase(&self) -> PathBuf {
        self.base.path().join("passphrase")
    }

    pub(crate) fn file(&self, name: &str) -> PathBuf {
        self.base.path().join(name)
    }

    pub(crate) fn log(&self) -> String {
        std::fs::read_to_string(self.file("log")).unwrap()
    }

    /// Starts the process and waits until it says that it serves.
    pub(crate) fn run(&mut self) {
        let log = std::fs::File::options()
            .create(true)
            .append(true)
            .open(self.file("log"))
            .unwrap();
        let mut child = Command::new(BINARY)
            .args(["run", "--json", "--exit-with-stdin", "--dir"])
            .arg(self.dir())
            .arg("--passphrase-file")
            .arg(self.passphrase())
            .env("COORDINATOR_LOG", "trace")
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(log)
            .spawn()
            .unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        self.child = Some(child);
        let ready: Value = serde_json::from_str(&line)
            .unwrap_or_else(|_| panic!("no ready line: {line:?}; log: {}", self.log()));
        assert_eq!(ready["event"], "ready");
        self.url = ready["url"].as_str().unwrap().to_owned();
    }

    pub(crate) fn pid(&self) -> u32 {
        self.child.as_ref().unwrap().id()
    }

    /// Stops it in order, by the end of its standard input.
    pub(crate) fn stop(&mut self) {
        let mut child = self.child.take().unwrap();
        drop(child.stdin.take());
        let status = child.wait().unwrap();
        assert!(status.success(), "{status}: {}", self.log());
    }

    /// Waits until it ends by itself.
    pub(crate) fn ended(&mut self) -> std::process::ExitStatus {
        let mut child = self.child.take().unwrap();
        // Its end would be a stop in order.
        let _input = child.stdin.take();
        child.wait().unwrap()
    }

    /// Ends it as a loss of power would.
    pub(crate) fn kill(&mut self) {
        let mut child = self.child.take().unwrap();
        child.kill().unwrap();
        child.wait().unwrap();
    }

    fn command(&self, arguments: &[&str]) -> Command {
        let mut command = Command::new(BINARY);
        command
            .args(arguments)
            .arg("--json")
            .env_remove("COORDINATOR_PROFILE")
            .stdin(Stdio::null());
        command
    }

    /// An operator's command in the folder, with the passphrase; must succeed.
    pub(crate) fn operator(&self, arguments: &[&str]) -> Value {
        let mut command = self.command(arguments);
        command.arg("--dir").arg(self.dir());
        if !matches!(arguments, ["bodies" | "cluster" | "config", ..]) {
            command.arg("--passphrase-file").arg(self.passphrase());
        }
        success(command.output().unwrap())
    }

    /// A user's command with the administrator's profile; must succeed.
    pub(crate) fn cli(&self, arguments: &[&str]) -> Value {
        success(self.try_cli(arguments))
    }

    pub(crate) fn try_cli(&self, arguments: &[&str]) -> Output {
        self.command(arguments)
            .env("COORDINATOR_PROFILE", self.profile())
            .output()
            .unwrap()
    }

    /// A command that must fail: its exit status and its one sentence.
    pub(crate) fn fails(&self, arguments: &[&str]) -> (i32, String, Value) {
        failure(self.try_cli(arguments))
    }

    pub(crate) fn profile(&self) -> PathBuf {
        self.dir().join("client.toml")
    }

    /// Registers a user with a fresh key.
    pub(crate) fn add_user(&self, name: &str) {
        let key = self.file(&format!("{name}.pem"));
        self.cli(&["user", "add", name, "--new-key", key.to_str().unwrap()]);
    }

    /// A user takes its key into its own hands: it is given a fresh one, with which [`Site::client`] signs.
    pub(crate) fn keeps_its_own_key(&self, user: &str) {
        let key = self.file(&format!("{user}.pem"));
        let rotate = ["--user", user, "user", "rotate", "--new-key"];
        self.cli(&[&rotate[..], &[key.to_str().unwrap()]].concat());
    }

    /// The administrator's client.
    pub(crate) fn administrator(&self) -> Client {
        let profile = Profile::read(&self.profile()).unwrap();
        self.client_of(profile.user.unwrap(), &profile.key.unwrap())
    }

    /// The client of a user whom [`Site::add_user`] added.
    pub(crate) fn client(&self, user: &str) -> Client {
        self.client_of(id(user), &self.file(&format!("{user}.pem")))
    }

    fn client_of(&self, user: Identifier, key: &Path) -> Client {
        let profile = Profile::read(&self.profile()).unwrap();
        let api_key = profile.api_key.unwrap().expose().to_owned();
        let mut client = Client::new(&self.url, profile.tenant.unwrap(), api_key).unwrap();
        client.sign_as(Signer::new(user, user_key::read(key).unwrap()));
        client
    }

    /// All files in the body store.
    pub(crate) fn bodies(&self) -> Vec<PathBuf> {
        let mut found = Vec::new();
        for tenant in std::fs::read_dir(self.dir().join("bodies"))
            .into_iter()
            .flatten()
        {
            found.extend(
                std::fs::read_dir(tenant.unwrap().path())
                    .unwrap()
                    .map(|entry| entry.unwrap().path()),
            );
        }
        found.sort();
        found
    }
}

/// A folder and everything below it.
pub(crate) fn everything_in(folder: PathBuf) -> Vec<PathBuf> {
    let mut found = vec![folder];
    let mut next = 0;
    while let Some(path) = found.get(next).cloned() {
        if path.is_dir() {
            let entries = std::fs::read_dir(&path).unwrap();
            found.extend(entries.map(|entry| entry.unwrap().path()));
        }
        next += 1;
    }
    found
}

/// The files in a folder and below it.
pub(crate) fn files_in(folder: PathBuf) -> Vec<PathBuf> {
    let mut found = everything_in(folder);
    found.retain(|path| path.is_file());
    found
}

impl Drop for Site {
    fn drop(&mut self) {
        if let Some(mut child) = self.child.take() {
            let _ = child.kill();
            let _ = child.wait();
        }
    }
}

pub(crate) fn success(output: Output) -> Value {
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).unwrap()
}

pub(crate) fn failure(output: Output) -> (i32, String, Value) {
    let said = String::from_utf8(output.stderr).unwrap();
    assert!(!output.status.success());
    assert!(!said.contains("panicked"), "{said}");
    let mut json = String::new();
    output.stdout.as_slice().read_to_string(&mut json).unwrap();
    (
        output.status.code().unwrap(),
        said,
        serde_json::from_str(&json).unwrap_or(Value::Null),
    )
}

/// A command without any platform.
pub(crate) fn bare(arguments: &[&str]) -> Output {
    Command::new(BINARY)
        .args(arguments)
        .env_remove("COORDINATOR_PROFILE")
        .stdin(Stdio::null())
        .output()
        .unwrap()
}

/// Text that does not repeat soon.
pub(crate) fn plaintext(length: usize) -> Vec<u8> {
    (0..length).map(|i| (i * 31 + i / 251) as u8).collect()
}
