//! `coordinator.toml`: the settings of the process. Unknown names are refused, so that a misspelt one is not silently
//! without effect.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};

use cryptonode::telemetry::TelemetryError;
use serde::{Deserialize, Serialize};

use crate::body_store::Bucket;
use crate::folder::{self, FolderError};

mod peers;
pub use peers::{EngineName, PeerConfig, PeerKey, RecordConfig};

const MAX_FILE: u64 = 64 * 1024;

/// A reason for which the settings are refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// The file is not TOML, or has an unknown or missing name, or a value of the wrong kind.
    #[error("{} is not right: {reason}", path.display())]
    Syntax {
        /// The file.
        path: PathBuf,
        /// What is wrong, and on which line.
        reason: String,
    },
    /// A value that cannot work.
    #[error("{}: {name} {reason}", path.display())]
    Value {
        /// The file.
        path: PathBuf,
        /// The setting.
        name: &'static str,
        /// What is wrong, and what is allowed.
        reason: String,
    },
    /// The file cannot be read.
    #[error(transparent)]
    Folder(#[from] FolderError),
}

impl ConfigError {
    /// A stable name of the reason, for programs.
    pub fn code(&self) -> &'static str {
        match self {
            Self::Syntax { .. } => "config-syntax",
            Self::Value { .. } => "config-value",
            Self::Folder(e) => e.code(),
        }
    }
}

/// The settings.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Config {
    /// Where the HTTP API listens: a loopback address; port 0 takes a free one.
    pub listen: SocketAddr,
    /// Limits on what one process takes on.
    #[serde(default)]
    pub limits: Limits,
    /// How the cluster of crypto nodes is asked.
    #[serde(default)]
    pub cluster: ClusterConfig,
    /// Who orders the record, and where its peers are.
    #[serde(default)]
    pub record: RecordConfig,
    /// Where the bodies of documents lie.
    #[serde(default)]
    pub bodies: BodiesConfig,
    /// Where spans of reads go.
    #[serde(default)]
    pub telemetry: TelemetryConfig,
}

/// Where spans of reads go, and of how many.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct TelemetryConfig {
    /// The collector (OTLP over HTTP). Without it, the one that `OTEL_EXPORTER_OTLP_ENDPOINT` names; `off` for none.
    pub endpoint: Option<String>,
    /// How many of the reads that come without a trace of their own begin one: 0 none, 1 all.
    pub sample_ratio: f64,
}

impl Default for TelemetryConfig {
    fn default() -> Self {
        Self {
            endpoint: None,
            sample_ratio: 1.0,
        }
    }
}

impl TelemetryConfig {
    /// The collector's full address.
    ///
    /// # Errors
    /// The sentence that says what is wrong.
    pub fn collector(&self) -> Result<Option<String>, TelemetryError> {
        match self.endpoint.as_deref() {
            Some("off") => Ok(None),
            written => cryptonode::telemetry::endpoint(written),
        }
    }
}

/// Where the bodies of documents lie: in the folder `bodies/`, unless a bucket is named.
///
/// Credentials of the bucket are not here: they come from the environment, as with the services' own tools, or from the machine's role:
/// `AWS_ACCESS_KEY_ID`, `AWS_SECRET_ACCESS_KEY`, `AWS_SESSION_TOKEN`; `GOOGLE_APPLICATION_CREDENTIALS` or `GOOGLE_SERVICE_ACCOUNT` (a file);
/// `AZURE_STORAGE_ACCOUNT_NAME` with `AZURE_STORAGE_ACCOUNT_KEY`, or `AZURE_CLIENT_ID`, `AZURE_TENANT_ID` and `AZURE_CLIENT_SECRET`.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct BodiesConfig {
    /// The bucket: `s3://BUCKET/PREFIX`, `gs://BUCKET/PREFIX` or `az://CONTAINER/PREFIX`; the prefix can be left out.
    pub url: Option<String>,
    /// The bucket of an S3 service, in place of `url`.
    pub bucket: Option<String>,
    /// What the names of all objects in it begin with.
    pub prefix: Option<String>,
    /// The bucket's region.
    pub region: Option<String>,
    /// URL of the service, where it is not Amazon's. `http://` is allowed on loopback alone.
    pub endpoint: Option<String>,
    /// Seconds that one request to a bucket may take, 8 MiB at most; 30 if absent. Then it is tried again.
    pub request_s: Option<u64>,
    /// Seconds for which a request is tried again, ten times at most; 180 if absent. Then its upload or read fails, with 503.
    pub retry_s: Option<u64>,
}

/// Limits on what one process takes on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct Limits {
    /// Bodies that stream in or out at the same time, three quarters of them one tenant's at most; each takes some 20 MiB of memory at most.
    pub transfers: usize,
    /// Bytes of the longest body.
    pub body_bytes: u64,
    /// Writes, and reads, that are prepared and wait for their signature at the same time; one tenant's are a quarter of them at most.
    pub prepared: usize,
    /// Seconds after which a prepared write or read is given up.
    pub prepared_s: u64,
    /// Seconds after which a transfer, or an answer, that moves no byte is given up. An upload must bring 4 KiB a second on average, too.
    pub idle_s: u64,
    /// Bytes of the local disk that no body may take: the record needs room on the same disk, and stops when it has none.
    pub free_bytes: u64,
    /// Requests a second that one tenant may make on average.
    pub tenant_requests_s: u32,
    /// Requests that one tenant may make at once, if it has made fewer before.
    pub tenant_burst: u32,
    /// Seconds for which the answer to a request with an `Idempotency-Key` is remembered.
    pub idempotency_s: u64,
    /// Keys a second that are wrapped anew after a rotation of the master key, so that readers and writers have the machine.
    pub rewrap_s: u32,
    /// Uploads in parts that one tenant may have at the same time.
    pub tenant_parts: u32,
    /// Bytes that all uploads in parts of one tenant may have together.
    pub tenant_parts_bytes: u64,
    /// Seconds after which an upload in parts is given up to which nobody sends.
    pub parts_s: u64,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            transfers: 64,
            body_bytes: 1 << 40,
            prepared: 4096,
            prepared_s: 120,
            idle_s: 60,
            free_bytes: 1 << 30,
            tenant_requests_s: 2000,
            tenant_burst: 4000,
            idempotency_s: 86_400,
            rewrap_s: 2000,
            tenant_parts: 64,
            tenant_parts_bytes: 1 << 40,
            parts_s: 86_400,
        }
    }
}

/// How the cluster of crypto nodes is asked.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct ClusterConfig {
    /// Milliseconds to connect to a node.
    pub connect_timeout_ms: u64,
    /// Milliseconds for a node's answer.
    pub request_timeout_ms: u64,
    /// Milliseconds after which another node is asked as well.
    pub hedge_after_ms: u64,
}

impl Default for ClusterConfig {
    fn default() -> Self {
        Self {
            connect_timeout_ms: 1000,
            request_timeout_ms: 5000,
            hedge_after_ms: 50,
        }
    }
}

impl Config {
    /// The file that `init` writes, with comments.
    pub fn text(listen: SocketAddr) -> String {
        let (limits, cluster) = (Limits::default(), ClusterConfig::default());
        format!(
            "# Settings of this coordinator. `coordinator config check --dir .` checks them; they count from the next start.\n\
             \n\
             # Where the HTTP API listens. It speaks plain HTTP, so only loopback addresses are allowed: put a proxy with TLS\n\
             # in front of it to reach it from elsewhere. Port 0 takes a free port.\n\
             listen = \"{listen}\"\n\
             \n\
             [limits]\n\
             # Bodies that stream in or out at the same time, three quarters of them one tenant's at most; each takes some 20 MiB of memory at most.\n\
             transfers = {}\n\
             # Bytes of the longest body.\n\
             body_bytes = {}\n\
             # Writes, and reads, that are prepared and wait for their signature (one tenant's: a quarter of them), and for how many seconds they wait.\n\
             prepared = {}\n\
             prepared_s = {}\n\
             # Seconds after which a transfer, or an answer, that moves no byte is given up. An upload must bring 4 KiB a second on average, too.\n\
             idle_s = {}\n\
             # Bytes of the disk that no body may take: the record needs room on the same disk, and stops when it has none.\n\
             free_bytes = {}\n\
             # Requests a second that one tenant may make on average, and at once if it has made fewer before; more are refused with 429.\n\
             tenant_requests_s = {}\n\
             tenant_burst = {}\n\
             # Seconds for which the answer to a request with an Idempotency-Key is remembered.\n\
             idempotency_s = {}\n\
             # Keys a second that are wrapped anew after a rotation of the master key.\n\
             rewrap_s = {}\n\
             # Uploads in parts that one tenant may have at the same time, the bytes that they may have together, and the seconds after\n\
             # which one is given up to which nobody sends. They lie where the bodies lie.\n\
             tenant_parts = {}\n\
             tenant_parts_bytes = {}\n\
             parts_s = {}\n\
             \n\
             [cluster]\n\
             # Milliseconds: to connect to a crypto node, for its answer, and until another node is asked as well.\n\
             connect_timeout_ms = {}\n\
             request_timeout_ms = {}\n\
             hedge_after_ms = {}\n\
             \n\
             # What orders the record: this process with the peers of all organisations in it (\"solo\"), or those peers among\n\
             # themselves, each a process of its own (\"simplex\"; then [[record.peers]] with organisation and url follow, and token_file for http://).\n\
             [record]\n\
             engine = \"solo\"\n\
             \n\
             [bodies]\n\
             # Bodies lie in the folder bodies/, or in a bucket of S3 (s3://), Google Cloud Storage (gs://) or Azure Blob Storage (az://). Its\n\
             # credentials come from the environment (AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, GOOGLE_APPLICATION_CREDENTIALS,\n\
             # AZURE_STORAGE_ACCOUNT_NAME and AZURE_STORAGE_ACCOUNT_KEY). `coordinator run --bodies URL` names another one.\n\
             # url = \"s3://documents/exchange\"\n\
             # The region of an S3 bucket, and the URL of a service that is elsewhere than its maker's.\n\
             # region = \"eu-central-1\"\n\
             # endpoint = \"https://s3.example.org\"\n\
             # Seconds that one request to a bucket may take (it moves 8 MiB at most), and for which one that fails is tried again.\n\
             # request_s = 30\n\
             # retry_s = 180\n\
             \n\
             # Spans of reads go to an OpenTelemetry collector (OTLP over HTTP), and the crypto nodes' join them. Without this, to the\n\
             # one that OTEL_EXPORTER_OTLP_ENDPOINT names, if it is set; \"off\" for none. A read that comes without a trace begins one\n\
             # in so many of all: 0 none, 1 all.\n\
             # [telemetry]\n\
             # endpoint = \"http://127.0.0.1:4318\"\n\
             # sample_ratio = 1.0\n",
            limits.transfers,
            limits.body_bytes,
            limits.prepared,
            limits.prepared_s,
            limits.idle_s,
            limits.free_bytes,
            limits.tenant_requests_s,
            limits.tenant_burst,
            limits.idempotency_s,
            limits.rewrap_s,
            limits.tenant_parts,
            limits.tenant_parts_bytes,
            limits.parts_s,
            cluster.connect_timeout_ms,
            cluster.request_timeout_ms,
            cluster.hedge_after_ms,
        )
    }

    /// The same for a record that the organisations' peers order, with where they answer.
    pub fn text_with_peers(listen: SocketAddr, peers: &[PeerConfig]) -> String {
        let mut text = "engine = \"simplex\"\n".to_owned();
        for peer in peers {
            // A quoted TOML string escapes as JSON does.
            let quoted = |it: &str| serde_json::Value::from(it).to_string();
            let (name, url) = (quoted(peer.organisation.as_str()), quoted(&peer.url));
            text.push_str(&format!(
                "[[record.peers]]\norganisation = {name}\nurl = {url}\n"
            ));
            if let Some(file) = &peer.token_file {
                let file = quoted(&file.to_string_lossy());
                text.push_str(&format!("token_file = {file}\n"));
            }
            if let Some(PeerKey(key)) = peer.key {
                text.push_str(&format!("key = \"{}\"\n", hex::encode(key)));
            }
        }
        Self::text(listen).replacen("engine = \"solo\"\n", &text, 1)
    }

    /// Reads and checks the settings.
    pub fn read(path: &Path) -> Result<Self, ConfigError> {
        let bytes = folder::read_limited(path, MAX_FILE)?;
        let syntax = |reason: String| ConfigError::Syntax {
            path: path.to_owned(),
            reason,
        };
        let text =
            std::str::from_utf8(&bytes).map_err(|_| syntax("it is not UTF-8 text".into()))?;
        let config: Self =
            toml::from_str(text).map_err(|e| syntax(e.to_string().trim().replace('\n', " ")))?;
        config.check(path)?;
        Ok(config)
    }

    fn check(&self, path: &Path) -> Result<(), ConfigError> {
        let value = |name, reason: &str| {
            Err(ConfigError::Value {
                path: path.to_owned(),
                name,
                reason: reason.into(),
            })
        };
        let limits = &self.limits;
        if !self.listen.ip().is_loopback() {
            return value(
                "listen",
                "must be a loopback address such as 127.0.0.1:7710, because the API is plain HTTP",
            );
        }
        if !(1..=4096).contains(&limits.transfers) {
            return value("limits.transfers", "must be between 1 and 4096");
        }
        if !(1..=1 << 47).contains(&limits.body_bytes) {
            return value("limits.body_bytes", "must be between 1 and 2^47");
        }
        if !(1..=1_000_000).contains(&limits.prepared) {
            return value("limits.prepared", "must be between 1 and 1000000");
        }
        if !(1..=3600).contains(&limits.prepared_s) || !(1..=3600).contains(&limits.idle_s) {
            return value(
                "limits.prepared_s and limits.idle_s",
                "must be between 1 and 3600 seconds",
            );
        }
        let rates = [limits.tenant_requests_s, limits.tenant_burst];
        if rates.iter().any(|it| !(1..=1_000_000).contains(it)) {
            return value(
                "limits.tenant_requests_s and limits.tenant_burst",
                "must be between 1 and 1000000",
            );
        }
        if !(60..=2_592_000).contains(&limits.idempotency_s) {
            return value(
                "limits.idempotency_s",
                "must be between 60 and 2592000 seconds",
            );
        }
        if !(1..=1_000_000).contains(&limits.rewrap_s) {
            return value("limits.rewrap_s", "must be between 1 and 1000000");
        }
        if !(1..=100_000).contains(&limits.tenant_parts) || limits.tenant_parts_bytes == 0 {
            return value(
                "limits.tenant_parts and limits.tenant_parts_bytes",
                "must be at least 1, and no more than 100000 uploads",
            );
        }
        if !(1..=2_592_000).contains(&limits.parts_s) {
            return value("limits.parts_s", "must be between 1 and 2592000 seconds");
        }
        let cluster = &self.cluster;
        let times = [
            cluster.connect_timeout_ms,
            cluster.request_timeout_ms,
            cluster.hedge_after_ms,
        ];
        if times.iter().any(|ms| !(1..=600_000).contains(ms)) {
            return value(
                "[cluster]",
                "has a time that is not between 1 and 600000 milliseconds",
            );
        }
        let record = &self.record;
        if (record.engine == EngineName::Simplex) == record.peers.is_empty() {
            return value(
                "[record]",
                "needs [[record.peers]] for engine = \"simplex\", and for nothing else",
            );
        }
        if let Some(mistake) = record.peers.iter().find_map(PeerConfig::mistake) {
            return value("record.peers.url", mistake);
        }
        if let Err(error) = self.telemetry.collector() {
            return value("telemetry.endpoint", &format!("cannot be used: {error}"));
        }
        if !(0.0..=1.0).contains(&self.telemetry.sample_ratio) {
            return value("telemetry.sample_ratio", "must be between 0 and 1");
        }
        let bodies = &self.bodies;
        let others = [&bodies.region, &bodies.endpoint, &bodies.prefix];
        let none = bodies.bucket.is_none() && bodies.url.is_none();
        let times = [bodies.request_s, bodies.retry_s];
        let timed = times.iter().any(Option::is_some);
        if none && (timed || others.iter().any(|it| it.is_some())) {
            return value("[bodies]", "names no bucket, so nothing else in it counts");
        }
        if times.iter().flatten().any(|it| !(1..=3600).contains(it)) {
            return value(
                "bodies.request_s and bodies.retry_s",
                "must be between 1 and 3600 seconds",
            );
        }
        if bodies.url.is_some() && (bodies.bucket.is_some() || bodies.prefix.is_some()) {
            return value("[bodies]", "has a url: bucket and prefix are in it");
        }
        if let Some(Err(e)) = bodies.url.as_deref().map(str::parse::<Bucket>) {
            return value("bodies.url", &e.to_string());
        }
        if bodies
            .endpoint
            .as_deref()
            .is_some_and(|it| !is_protected(it))
        {
            return value(
                "bodies.endpoint",
                "must be an https:// URL; http:// is allowed on 127.0.0.1, [::1] and localhost alone",
            );
        }
        Ok(())
    }
}

/// Whether a URL's traffic is encrypted, or stays on this machine.
fn is_protected(url: &str) -> bool {
    let loopback = |rest: &str| {
        let host = rest.split(['/', '?', '#']).next().unwrap_or_default();
        let host = host.rsplit_once(':').map_or(host, |(host, port)| {
            if port.bytes().all(|b| b.is_ascii_digit()) {
                host
            } else {
                rest
            }
        });
        matches!(host, "127.0.0.1" | "localhost" | "[::1]")
    };
    url.starts_with("https://") || url.strip_prefix("http://").is_some_and(loopback)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        let file = tempfile::NamedTempFile::new().unwrap();
        std::fs::write(file.path(), text).unwrap();
        Config::read(file.path())
    }

    #[test]
    fn the_written_file_gives_the_defaults() {
        let listen = "127.0.0.1:7710".parse().unwrap();
        let config = read(&Config::text(listen)).unwrap();
        let expected = Config {
            listen,
            limits: Limits::default(),
            cluster: ClusterConfig::default(),
            record: RecordConfig::default(),
            bodies: BodiesConfig::default(),
            telemetry: TelemetryConfig::default(),
        };
        assert_eq!(config, expected);
    }

    #[test]
    fn peers_are_written_as_they_are_read() {
        let peer = |url: &str| PeerConfig {
            organisation: "alder".parse().unwrap(),
            url: url.to_owned(),
            token_file: (!url.starts_with("https")).then(|| "/a folder/\"token\"".into()),
            key: url.starts_with("https").then_some(PeerKey([7; 32])),
        };
        let listen = "127.0.0.1:7710".parse().unwrap();
        let peers = vec![
            peer("http://127.0.0.1:7730"),
            peer("https://192.0.2.1:7731"),
        ];
        let config = read(&Config::text_with_peers(listen, &peers)).unwrap();
        let expected = RecordConfig {
            engine: EngineName::Simplex,
            peers,
        };
        assert_eq!(config.record, expected);
        let open = [peer("http://192.0.2.1:7730")];
        let error = read(&Config::text_with_peers(listen, &open)).unwrap_err();
        assert!(error.to_string().contains("record.peers.url"));
        for (url, token_file, key) in [
            ("http://127.0.0.1:1", false, false),
            ("http://127.0.0.1:1", true, true),
            ("https://192.0.2.1:1", true, false),
            ("https://192.0.2.1:1/", false, false),
        ] {
            let mut peer = peer(url);
            peer.token_file = token_file.then(|| "/token".into());
            peer.key = key.then_some(PeerKey([7; 32]));
            let error = read(&Config::text_with_peers(listen, &[peer])).unwrap_err();
            assert!(error.to_string().contains("record.peers.url"), "{error}");
        }
        let none = read(&Config::text_with_peers(listen, &[])).unwrap_err();
        assert!(none.to_string().contains("[record]"));
    }

    #[test]
    fn mistakes_are_named() {
        let error = |text: &str| read(text).unwrap_err().to_string();
        assert!(error("listen = \"127.0.0.1:1\"\nlimit = 3\n").contains("limit"));
        assert!(error("listen = \"0.0.0.0:7710\"\n").contains("loopback"));
        let bodies = |text: &str| read(&format!("listen = \"127.0.0.1:1\"\n[bodies]\n{text}"));
        assert!(
            bodies("region = \"x\"\n")
                .unwrap_err()
                .to_string()
                .contains("bucket")
        );
        for (text, fine) in [
            ("url = \"gs://documents/exchange\"\n", true),
            (
                "url = \"az://documents\"\nendpoint = \"http://127.0.0.1:10000/a\"\n",
                true,
            ),
            (
                "url = \"s3://documents\"\nrequest_s = 5\nretry_s = 60\n",
                true,
            ),
            ("url = \"s3://documents\"\nretry_s = 0\n", false),
            ("retry_s = 60\n", false),
            ("url = \"ftp://documents\"\n", false),
            ("url = \"s3://documents\"\nbucket = \"b\"\n", false),
            ("url = \"s3://documents\"\nprefix = \"p\"\n", false),
        ] {
            assert_eq!(bodies(text).is_ok(), fine, "{text}");
        }
        for (endpoint, fine) in [
            ("https://s3.example.org", true),
            ("http://127.0.0.1:9000", true),
            ("http://[::1]:9000/", true),
            ("http://localhost", true),
            ("http://s3.example.org", false),
            ("http://127.0.0.1.example.org", false),
            ("http://localhost:1@example.org", false),
            ("ftp://127.0.0.1", false),
        ] {
            let text = format!("bucket = \"b\"\nendpoint = \"{endpoint}\"\n");
            assert_eq!(bodies(&text).is_ok(), fine, "{endpoint}");
        }
        assert!(error("listen = 7\n").contains("listen"));
        assert!(
            error("listen = \"127.0.0.1:1\"\n[limits]\ntransfers = 0\n")
                .contains("limits.transfers")
        );
        for (text, name) in [
            ("endpoint = \"collector\"", "telemetry.endpoint"),
            ("sample_ratio = 2.0", "telemetry.sample_ratio"),
            ("sample_ratio = nan", "telemetry.sample_ratio"),
        ] {
            let text = format!("listen = \"127.0.0.1:1\"\n[telemetry]\n{text}\n");
            assert!(error(&text).contains(name), "{text}");
        }
        assert!(error("\u{0}").contains("not right"));
    }
}
