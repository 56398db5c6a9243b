//! What the server measures beside its counters: requests by outcome and reason, and approvals. Where the time of a share goes is in [`super::phases`].
//!
//! Label values are constants of the program or names in the operator's own policies, never what a client sent: nobody outside can
//! make the number of series grow.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Instant;

use prometheus_client::encoding::EncodeLabelSet;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::Family;
use prometheus_client::metrics::histogram::{Histogram, exponential_buckets};
use prometheus_client::registry::{Registry, Unit};

/// Which requests, and how they ended.
#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    /// `reencrypt`, `key`, `ceremony` and so on; `unread` if it ended before it was understood.
    request: &'static str,
    /// `share`, `answered`, `refused` or `abandoned`.
    outcome: &'static str,
    /// The refusal's code; empty for what was not refused.
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabel {
    request: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct ReasonLabel {
    reason: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct OrganisationLabel {
    organisation: String,
}

/// 50 µs to 6.5 s, each bucket twice the one before.
fn latency() -> Histogram {
    Histogram::new(exponential_buckets(0.000_05, 2.0, 18))
}

/// Seconds since an approval's notBefore: negative when the issuer's clock is ahead of the node's.
fn age() -> Histogram {
    Histogram::new([
        -30.0, -10.0, -5.0, -2.0, -1.0, 0.0, 1.0, 2.0, 5.0, 10.0, 30.0, 60.0, 120.0, 300.0,
    ])
}

/// Reads how many bytes are held for clients' and for members' requests.
#[derive(Default)]
struct BytesHeld(OnceLock<Box<dyn Fn() -> [usize; 2] + Send + Sync>>);

impl std::fmt::Debug for BytesHeld {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("BytesHeld")
    }
}

/// The server's measurements. Written by the server, read by the metrics' page.
#[derive(Debug)]
pub(crate) struct Measures {
    requests: Family<RequestLabels, Counter>,
    request_seconds: Family<RequestLabel, Histogram, fn() -> Histogram>,
    not_counted: Family<ReasonLabel, Counter>,
    approval_age: Family<OrganisationLabel, Histogram, fn() -> Histogram>,
    bytes: BytesHeld,
    /// Requests that wait for their turn at arithmetic.
    pub(super) waiting: AtomicU64,
    /// Requests in arithmetic.
    pub(super) computing: AtomicU64,
    /// Requests that wait for their audit record to become durable.
    pub(super) recording: AtomicU64,
}

impl Default for Measures {
    fn default() -> Self {
        Self {
            requests: Family::default(),
            request_seconds: Family::new_with_constructor(latency),
            not_counted: Family::default(),
            approval_age: Family::new_with_constructor(age),
            bytes: BytesHeld::default(),
            waiting: AtomicU64::new(0),
            computing: AtomicU64::new(0),
            recording: AtomicU64::new(0),
        }
    }
}

impl Measures {
    /// Puts the measurements on a metrics' page.
    pub(crate) fn register(&self, registry: &mut Registry) {
        registry.register(
            "requests",
            "Requests that ended, by kind, outcome and the refusal's code",
            self.requests.clone(),
        );
        registry.register_with_unit(
            "request_duration",
            "From the opening of a request's stream until the client has the answer",
            Unit::Seconds,
            self.request_seconds.clone(),
        );
        registry.register(
            "approvals_not_counted",
            "Approvals of requests that were not counted, by reason",
            self.not_counted.clone(),
        );
        registry.register_with_unit(
            "approval_age",
            "This node's clock less the notBefore of approvals that were counted; negative if the issuer's clock is ahead",
            Unit::Seconds,
            self.approval_age.clone(),
        );
    }

    /// Requests that wait for their turn, are in arithmetic, and wait for their record.
    pub(crate) fn stages(&self) -> [(&'static str, u64); 3] {
        [
            ("wait", self.waiting.load(Ordering::Relaxed)),
            ("compute", self.computing.load(Ordering::Relaxed)),
            ("record", self.recording.load(Ordering::Relaxed)),
        ]
    }

    /// Where to look for the bytes that are held; the first server that says so counts.
    pub(super) fn watch_bytes(&self, read: impl Fn() -> [usize; 2] + Send + Sync + 'static) {
        let _ = self.bytes.0.set(Box::new(read));
    }

    /// Bytes held for clients' requests and for members'.
    pub(crate) fn bytes_held(&self) -> [(&'static str, u64); 2] {
        let [clients, members] = self.bytes.0.get().map_or([0; 2], |read| read());
        [("clients", clients as u64), ("members", members as u64)]
    }

    /// A request ended.
    pub(super) fn ended(
        &self,
        request: &'static str,
        outcome: &'static str,
        reason: &'static str,
        since: Instant,
    ) {
        self.requests
            .get_or_create(&RequestLabels {
                request,
                outcome,
                reason,
            })
            .inc();
        self.request_seconds
            .get_or_create(&RequestLabel { request })
            .observe(since.elapsed().as_secs_f64());
    }

    /// An approval did not count.
    pub(super) fn approval_not_counted(&self, reason: &'static str) {
        self.not_counted
            .get_or_create(&ReasonLabel { reason })
            .inc();
    }

    /// An approval counted, so many seconds after its notBefore.
    pub(super) fn approval_counted(&self, organisation: &str, age_s: f64) {
        let label = OrganisationLabel {
            organisation: organisation.to_owned(),
        };
        self.approval_age.get_or_create(&label).observe(age_s);
    }
}
