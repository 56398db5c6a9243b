//! The clients: each its own connection, its own sequence of operations, and a memory of what was acknowledged to it.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use coordinator::client::profile::Profile;
use coordinator::client::{Client, ClientError, PutOptions, Signer, user_key};
use coordinator::record::Identifier;
use rand::rngs::StdRng;
use rand::{Rng as _, RngExt as _, SeedableRng as _};
use sha2::{Digest as _, Sha256};
use threshold_exchange::site::{DATASET, READER, Site, WRITER};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::Arguments;

/// Longest document, in bytes.
const LONGEST: usize = 64 * 1024;
/// How long a client waits before it tries again.
const PAUSE_MS: std::ops::Range<u64> = 100..1_000;
/// How long a client tries one operation.
const PATIENCE: Duration = Duration::from_secs(90);
/// How many read at once when everything is read back.
const READERS: usize = 32;

/// Whether a client may try the same again after this: the platform says so by its status (408, 429, 503), or the connection broke. Nobody else
/// writes to a client's documents: if a later try finds its version taken, an earlier one is on the record although the answer was lost, and
/// the next try writes the next version.
pub(crate) fn is_retryable(error: &ClientError, tries: u32) -> bool {
    match error {
        ClientError::Problem { code, .. } if code == "version" => tries > 1,
        ClientError::Problem { status, .. } => matches!(status, 408 | 429 | 503),
        ClientError::Unreachable { .. } | ClientError::BrokenOff { .. } => true,
        _ => false,
    }
}

/// A write that was acknowledged.
#[derive(Debug, Clone)]
pub(crate) struct Promise {
    document: Identifier,
    version: u64,
    length: u64,
    digest: [u8; 32],
}

/// What happened, of all clients.
#[derive(Default)]
pub(crate) struct Tally {
    inner: Mutex<Inner>,
}

#[derive(Default)]
pub(crate) struct Inner {
    pub(crate) promises: Vec<Promise>,
    /// Milliseconds of operations that succeeded at once, by kind.
    pub(crate) took_ms: BTreeMap<&'static str, Vec<f64>>,
    /// Operations that succeeded after having been tried again, by kind.
    pub(crate) after_retries: BTreeMap<&'static str, u64>,
    /// Failures after which was tried again, by code.
    pub(crate) retried: BTreeMap<String, u64>,
    /// Operations that were not finished, although one may try again.
    pub(crate) given_up: BTreeMap<String, u64>,
    /// Failures after which nobody may try again.
    pub(crate) failed: BTreeMap<String, u64>,
    /// Documents that came back with other bytes.
    pub(crate) wrong: Vec<String>,
    pub(crate) bytes_written: u64,
    pub(crate) bytes_read: u64,
}

impl Tally {
    pub(crate) fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// All clients of a run.
pub(crate) struct Crowd {
    members: Vec<Member>,
    running: JoinSet<()>,
    stop: watch::Sender<bool>,
    reader: Arc<Client>,
    tally: Arc<Tally>,
    dataset: Identifier,
}

struct Member {
    number: u16,
    writer: Client,
    reader: Client,
    rng: StdRng,
    writes: u8,
    dataset: Identifier,
    tally: Arc<Tally>,
    stopped: watch::Receiver<bool>,
}

/// Clients of one of the people of the site.
struct Door {
    url: String,
    tenant: Identifier,
    api_key: String,
    user: Identifier,
    key: std::path::PathBuf,
}

impl Door {
    fn of(site: &Site, person: &str) -> Result<Self, String> {
        let said = |error: ClientError| error.to_string();
        let profile = Profile::read(&site.layout().client_profile()).map_err(said)?;
        let (Some(tenant), Some(api_key)) = (profile.tenant, profile.api_key) else {
            return Err("the platform's profile has no tenant or no API key".to_owned());
        };
        Ok(Self {
            url: site.url().to_owned(),
            tenant,
            api_key: api_key.expose().to_owned(),
            user: name(person)?,
            key: site.layout().users().join(format!("{person}.pem")),
        })
    }

    fn client(&self) -> Result<Client, String> {
        let said = |error: ClientError| error.to_string();
        let made = Client::new(&self.url, self.tenant.clone(), self.api_key.clone());
        let mut client = made.map_err(said)?;
        let key = user_key::read(&self.key).map_err(said)?;
        client.sign_as(Signer::new(self.user.clone(), key));
        Ok(client)
    }
}

fn name(text: &str) -> Result<Identifier, String> {
    text.parse().map_err(|_| format!("{text:?} is no name"))
}

impl Crowd {
    /// Makes the clients; none does anything yet.
    pub(crate) fn gather(
        site: &Site,
        arguments: &Arguments,
        tally: Arc<Tally>,
    ) -> Result<Self, String> {
        let (writer, reader) = (Door::of(site, WRITER)?, Door::of(site, READER)?);
        let (stop, stopped) = watch::channel(false);
        let dataset = name(DATASET)?;
        let member = |number: u16| -> Result<Member, String> {
            Ok(Member {
                number,
                writer: writer.client()?,
                reader: reader.client()?,
                rng: StdRng::seed_from_u64(arguments.seed ^ (u64::from(number) << 32)),
                writes: arguments.writes,
                dataset: dataset.clone(),
                tally: tally.clone(),
                stopped: stopped.clone(),
            })
        };
        let members = (0..arguments.clients).map(member);
        Ok(Self {
            members: members.collect::<Result<_, _>>()?,
            running: JoinSet::new(),
            stop,
            reader: Arc::new(reader.client()?),
            tally,
            dataset,
        })
    }

    /// Lets them go.
    pub(crate) fn begin(&mut self) {
        for member in std::mem::take(&mut self.members) {
            self.running.spawn(member.work());
        }
    }

    /// Lets them finish what is under way.
    pub(crate) async fn end(&mut self) -> Result<(), String> {
        let _ = self.stop.send(true);
        while let Some(ended) = self.running.join_next().await {
            ended.map_err(|error| format!("a client ended badly: {error}"))?;
        }
        Ok(())
    }

    /// A client for those who look on.
    pub(crate) fn client(&self) -> &Client {
        &self.reader
    }

    /// Reads every acknowledged write; those that are not there as they were acknowledged.
    pub(crate) async fn read_everything_back(&self) -> Result<Vec<String>, String> {
        let promises = self.tally.lock().promises.clone();
        let mut left = promises.into_iter();
        let (mut reading, mut lost) = (JoinSet::new(), Vec::new());
        loop {
            while reading.len() < READERS {
                let Some(promise) = left.next() else { break };
                let (client, dataset) = (self.reader.clone(), self.dataset.clone());
                reading.spawn(async move { is_there(&client, &dataset, promise).await });
            }
            let Some(ended) = reading.join_next().await else {
                return Ok(lost);
            };
            if let Some(seen) = ended.map_err(|error| error.to_string())? {
                lost.push(seen);
            }
        }
    }
}

/// What is wrong with an acknowledged write, if something is.
async fn is_there(client: &Client, dataset: &Identifier, promise: Promise) -> Option<String> {
    let subject = format!("{}/{}", promise.document, promise.version);
    let until = Instant::now() + PATIENCE;
    loop {
        match read(client, dataset, &promise).await {
            Ok(true) => return None,
            Ok(false) => return Some(format!("{subject} came back with other bytes")),
            Err(error) if is_retryable(&error, 1) && Instant::now() < until => {
                tokio::time::sleep(Duration::from_millis(PAUSE_MS.start)).await;
            }
            Err(error) => return Some(format!("{subject}: {}: {error}", error.code())),
        }
    }
}

/// Whether a version comes back as it was acknowledged.
async fn read(
    client: &Client,
    dataset: &Identifier,
    promise: &Promise,
) -> Result<bool, ClientError> {
    let mut bytes = Vec::new();
    let version = Some(promise.version);
    client
        .get(dataset, &promise.document, version, &mut bytes, None)
        .await?;
    let digest: [u8; 32] = Sha256::digest(&bytes).into();
    Ok(bytes.len() as u64 == promise.length && digest == promise.digest)
}

impl Member {
    async fn work(mut self) {
        let mut written = 0_u32;
        while !*self.stopped.borrow() {
            let promise = self.promise_of_anybody();
            match promise {
                Some(promise) if self.rng.random_range(0..100) >= self.writes => {
                    self.read(promise).await;
                }
                _ => {
                    // A third are new versions of what it wrote before.
                    if written == 0 || self.rng.random_range(0..3) > 0 {
                        written += 1;
                    }
                    self.write(written).await;
                }
            }
        }
    }

    fn promise_of_anybody(&mut self) -> Option<Promise> {
        let inner = self.tally.lock();
        if inner.promises.is_empty() {
            return None;
        }
        let at = self.rng.random_range(0..inner.promises.len());
        inner.promises.get(at).cloned()
    }

    async fn write(&mut self, document: u32) {
        let Ok(document) = name(&format!("c{}-{document}", self.number)) else {
            return;
        };
        // Small ones are many, as everywhere.
        let length = LONGEST >> self.rng.random_range(0..10_u32);
        let length = self.rng.random_range(1..=length);
        let mut bytes = vec![0; length];
        self.rng.fill_bytes(&mut bytes);
        let digest: [u8; 32] = Sha256::digest(&bytes).into();
        let (begun, mut tries) = (Instant::now(), 0);
        loop {
            tries += 1;
            let source = std::io::Cursor::new(bytes.clone());
            let options = PutOptions::default();
            match self
                .writer
                .put(&self.dataset, &document, source, options)
                .await
            {
                Ok(written) => {
                    let promise = Promise {
                        document,
                        version: written.version,
                        length: length as u64,
                        digest,
                    };
                    self.done("write", begun, tries);
                    let mut inner = self.tally.lock();
                    inner.bytes_written += promise.length;
                    if written.sha256 != hex::encode(digest) {
                        let seen = format!("{}: another digest was acknowledged", promise.document);
                        inner.wrong.push(seen);
                    }
                    inner.promises.push(promise);
                    return;
                }
                Err(error) => {
                    if !self.again("write", &error, begun, tries).await {
                        return;
                    }
                }
            }
        }
    }

    async fn read(&mut self, promise: Promise) {
        let (begun, mut tries) = (Instant::now(), 0);
        loop {
            tries += 1;
            match read(&self.reader, &self.dataset, &promise).await {
                Ok(same) => {
                    self.done("read", begun, tries);
                    let mut inner = self.tally.lock();
                    inner.bytes_read += promise.length;
                    if !same {
                        let seen = format!("{}/{}", promise.document, promise.version);
                        inner.wrong.push(seen);
                    }
                    return;
                }
                Err(error) => {
                    if !self.again("read", &error, begun, tries).await {
                        return;
                    }
                }
            }
        }
    }

    fn done(&self, kind: &'static str, begun: Instant, tries: u32) {
        let mut inner = self.tally.lock();
        if tries == 1 {
            let took = begun.elapsed().as_secs_f64() * 1e3;
            inner.took_ms.entry(kind).or_default().push(took);
        } else {
            *inner.after_retries.entry(kind).or_default() += 1;
        }
    }

    /// Notes a failure, and waits if the same is to be tried again.
    async fn again(&mut self, kind: &str, error: &ClientError, begun: Instant, tries: u32) -> bool {
        let code = format!("{kind}: {}", error.code());
        {
            let mut inner = self.tally.lock();
            if !is_retryable(error, tries) {
                let said = format!("{code}: {error}");
                *inner.failed.entry(said).or_default() += 1;
                return false;
            }
            if begun.elapsed() >= PATIENCE || *self.stopped.borrow() {
                *inner.given_up.entry(code).or_default() += 1;
                return false;
            }
            *inner.retried.entry(code).or_default() += 1;
        }
        let pause = Duration::from_millis(self.rng.random_range(PAUSE_MS));
        tokio::time::sleep(pause).await;
        true
    }
}
