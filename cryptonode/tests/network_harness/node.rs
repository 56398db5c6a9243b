//! A node of the cluster, served over QUIC.

use super::*;

/// A node of this process.
pub struct Node {
    pub address: SocketAddr,
    pub serving: Arc<Serving>,
    pub audit: Arc<MemoryAudit>,
    pub identity: SigningKey,
    stop: Option<oneshot::Sender<()>>,
    task: JoinHandle<()>,
}

impl Node {
    pub fn start(material: &Material, index: u16, address: SocketAddr, limits: Limits) -> Self {
        Self::start_with(material, index, address, limits, |_| {})
    }

    pub fn start_with(
        material: &Material,
        index: u16,
        address: SocketAddr,
        limits: Limits,
        change: impl FnOnce(&mut Serving),
    ) -> Self {
        let identity = material.identities[usize::from(index) - 1].clone();
        let endpoint = bind(address, &identity, &limits).unwrap();
        let address = endpoint.local_addr().unwrap();
        let keyring = Keyring::new();
        let addresses: Vec<String> = material
            .identities
            .iter()
            .map(|_| address.to_string())
            .collect();
        keyring
            .insert(material.active_key(index, &addresses))
            .unwrap();
        let audit = Arc::new(MemoryAudit::default());
        let mut serving = Serving {
            identity: identity.verifying_key().to_bytes(),
            software: cryptonode::server::SOFTWARE.to_owned(),
            keyring: Arc::new(keyring),
            audit: Arc::clone(&audit) as Arc<dyn AuditSink>,
            ceremony: Arc::new(Echo(
                material
                    .identities
                    .iter()
                    .map(|i| i.verifying_key().to_bytes())
                    .collect(),
            )),
            witness: Arc::new(Alone),
            gate: Arc::default(),
            clock_ms: now_ms,
            counters: Arc::new(Counters::default()),
            telemetry: Telemetry::default(),
        };
        change(&mut serving);
        let serving = Arc::new(serving);
        let (stop, stopped) = oneshot::channel::<()>();
        let task = tokio::spawn(serve(endpoint, Arc::clone(&serving), limits, async {
            let _ = stopped.await;
        }));
        Self {
            address,
            serving,
            audit,
            identity,
            stop: Some(stop),
            task,
        }
    }

    /// Asks the node to stop; returns what resolves when it has.
    pub fn stop(mut self) -> impl Future<Output = ()> {
        let _ = self.stop.take().unwrap().send(());
        async move { self.task.await.unwrap() }
    }

    /// The node activates its share of another result, as a member with this index.
    pub fn activate(&self, material: &Material, index: u16, addresses: &[SocketAddr]) {
        let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        let key = material.active_key(index, &addresses);
        self.serving.keyring.insert(key).unwrap();
    }

    /// The node is shown a certificate, with addresses.
    pub fn learn(&self, material: &Material, addresses: &[SocketAddr]) {
        let addresses: Vec<String> = addresses.iter().map(SocketAddr::to_string).collect();
        let certificate = material.key_certificate();
        let own = self.identity.verifying_key().to_bytes();
        self.change(|entry| {
            entry.learn(&certificate, &addresses, &own, now(), now() + 60);
        });
    }

    pub fn change(&self, step: impl FnOnce(&mut KeyEntry)) {
        let keyring = &self.serving.keyring;
        let [entry] = &keyring.entries()[..] else {
            panic!("not one key")
        };
        let changed: Result<(), ()> = keyring.change(
            entry.public_key(),
            |entry| {
                step(entry);
                Ok(())
            },
            |_, _| Ok(()),
        );
        changed.unwrap();
    }

    pub fn refusals(&self, code: &str) -> u64 {
        self.serving
            .counters
            .snapshot()
            .refused
            .get(code)
            .copied()
            .unwrap_or_default()
    }
}
