//! Spans for an OpenTelemetry collector: where the time of a request went, in the trace of whoever asked.
//!
//! A platform that records a trace sends its `traceparent` with the request; each node adds its own span below it, with one for each
//! phase. Nodes begin no trace by themselves, so what is recorded is the platform's choice, request by request.
//!
//! **Nothing waits for a collector.** A request that is over is put into a bounded queue, and if that is full it is dropped and
//! counted; a thread of its own makes spans of it and sends them, in batches, by OTLP over HTTP. What is not traced costs one
//! comparison.
//!
//! Spans are made of what a request measures anyway, once it is over, and not by a layer of `tracing`: the log's filter does not
//! decide on them, and a request that is not traced makes none.
//!
//! **What a span says**: names and times of phases, the outcome and a refusal's stable code. No document, no reader, no client, no
//! key, and no text that a peer sent.
//!
//! Without the feature `telemetry` there is no exporter, and a configured collector is an error.

#![cfg_attr(
    not(feature = "telemetry"),
    allow(dead_code, reason = "there is no exporter")
)]

#[cfg(feature = "telemetry")]
mod export;

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant, SystemTime};

use tokio::sync::{mpsc, oneshot};

use crate::wire::v1::TraceParent;

/// Requests that wait to be sent.
const QUEUE: usize = 1_024;
/// Where spans go if only a host is given (OTLP/HTTP).
const TRACES: &str = "/v1/traces";

/// Why there is no exporter.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum TelemetryError {
    /// Not an address.
    #[error("{endpoint:?} is no collector's address; write one such as \"http://127.0.0.1:4318\"")]
    Endpoint {
        /// What was written.
        endpoint: String,
    },
    /// The program has none.
    #[error(
        "this program was built without telemetry: remove the setting, or build it with the feature `telemetry`"
    )]
    NotBuilt,
    /// The library or the system refused.
    #[error("spans cannot be exported: {reason}")]
    Refused {
        /// Why.
        reason: String,
    },
}

/// The collector's full address: what was configured, else `OTEL_EXPORTER_OTLP_TRACES_ENDPOINT`, else
/// `OTEL_EXPORTER_OTLP_ENDPOINT`; `None` if there is none.
///
/// # Errors
/// [`TelemetryError::Endpoint`] if what was found is no address.
pub fn endpoint(configured: Option<&str>) -> Result<Option<String>, TelemetryError> {
    let set = |name| std::env::var(name).ok().filter(|text| !text.is_empty());
    if configured.is_none() && set("OTEL_SDK_DISABLED").is_some_and(|text| text == "true") {
        return Ok(None);
    }
    let (found, whole) = match configured {
        Some(text) => (Some(text.to_owned()), text.ends_with(TRACES)),
        None => match set("OTEL_EXPORTER_OTLP_TRACES_ENDPOINT") {
            Some(text) => (Some(text), true),
            None => (set("OTEL_EXPORTER_OTLP_ENDPOINT"), false),
        },
    };
    let Some(text) = found else { return Ok(None) };
    let host = text
        .strip_prefix("http://")
        .or(text.strip_prefix("https://"));
    let host = host.and_then(|rest| rest.split('/').next());
    let unfit = |c: char| c.is_control() || c.is_whitespace();
    if host.is_none_or(str::is_empty) || text.contains(unfit) || text.contains('@') {
        return Err(TelemetryError::Endpoint { endpoint: text });
    }
    Ok(Some(if whole {
        text
    } else {
        format!("{}{TRACES}", text.trim_end_matches('/'))
    }))
}

/// The span that this process was started in, as programs hand it on to those that they start: the environment's `TRACEPARENT`. What
/// is none is passed over.
#[must_use]
pub fn of_process() -> Option<TraceParent> {
    TraceParent::from_header(&std::env::var("TRACEPARENT").ok()?)
}

/// Where spans are handed over. Cheap to clone; the default hands nothing over.
#[derive(Debug, Clone, Default)]
pub struct Telemetry(Option<Arc<Exporter>>);

#[derive(Debug)]
struct Exporter {
    queue: mpsc::Sender<Message>,
    counts: Arc<Counts>,
}

#[derive(Debug)]
enum Message {
    Span(Box<Finished>),
    /// Everything before this is sent when it is answered.
    Flush(oneshot::Sender<()>),
}

#[derive(Debug, Default)]
struct Counts {
    exported: AtomicU64,
    dropped: AtomicU64,
    failed: AtomicU64,
}

/// What became of spans, since the start.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct SpanCounts {
    /// The collector took them.
    pub exported: u64,
    /// The queue was full.
    pub dropped: u64,
    /// The collector could not be reached, or refused them.
    pub failed: u64,
}

/// What a span is of (OpenTelemetry's span kinds).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// A request that was answered.
    Server,
    /// A request that was made.
    Client,
    /// Something in between.
    Internal,
}

/// A span that is over, with its parts.
#[derive(Debug)]
struct Finished {
    context: TraceParent,
    parent: Option<TraceParent>,
    own: Part,
    parts: Vec<Part>,
    /// The same moment by both clocks.
    anchor: (Instant, SystemTime),
}

#[derive(Debug)]
struct Part {
    context: TraceParent,
    name: &'static str,
    kind: Kind,
    start: Instant,
    end: Instant,
    attributes: Vec<(&'static str, String)>,
    /// The stable code of what went wrong.
    failure: Option<String>,
}

impl Finished {
    fn count(&self) -> u64 {
        self.parts.len() as u64 + 1
    }

    fn at(&self, moment: Instant) -> SystemTime {
        let (instant, wall) = self.anchor;
        match moment.checked_duration_since(instant) {
            Some(later) => wall + later,
            None => wall - instant.duration_since(moment),
        }
    }
}

impl Telemetry {
    /// Spans of `service`, in its instance of this name, go to the collector at the full address `endpoint`.
    ///
    /// # Errors
    /// [`TelemetryError`] if the program has no exporter, or it cannot be made.
    #[cfg_attr(
        not(feature = "telemetry"),
        allow(unused_variables, reason = "there is no exporter")
    )]
    pub fn start(
        endpoint: &str,
        service: &'static str,
        instance: &str,
    ) -> Result<Self, TelemetryError> {
        #[cfg(feature = "telemetry")]
        {
            let (queue, messages) = mpsc::channel(QUEUE);
            let counts = Arc::new(Counts::default());
            export::start(endpoint, service, instance, messages, Arc::clone(&counts))?;
            Ok(Self(Some(Arc::new(Exporter { queue, counts }))))
        }
        #[cfg(not(feature = "telemetry"))]
        Err(TelemetryError::NotBuilt)
    }

    /// A span below `parent`, if there is an exporter and the parent is recorded.
    #[must_use]
    pub fn below(
        &self,
        name: &'static str,
        kind: Kind,
        parent: &TraceParent,
        start: Instant,
    ) -> Option<Span> {
        let recorded = self.0.is_some() && parent.is_sampled();
        recorded.then(|| Span::new(self.clone(), name, kind, Some(*parent), start))
    }

    /// A span that begins a trace, if there is an exporter.
    #[must_use]
    pub fn root(&self, name: &'static str, kind: Kind, start: Instant) -> Option<Span> {
        let on = self.0.is_some();
        on.then(|| Span::new(self.clone(), name, kind, None, start))
    }

    /// What became of the spans so far.
    #[must_use]
    pub fn counts(&self) -> SpanCounts {
        let Some(exporter) = &self.0 else {
            return SpanCounts::default();
        };
        let read = |counter: &AtomicU64| counter.load(Ordering::Relaxed);
        SpanCounts {
            exported: read(&exporter.counts.exported),
            dropped: read(&exporter.counts.dropped),
            failed: read(&exporter.counts.failed),
        }
    }

    /// Sends what is in the queue, for as long as `within`.
    pub async fn flush(&self, within: Duration) {
        let Some(exporter) = &self.0 else { return };
        let flush = async {
            let (done, answered) = oneshot::channel();
            exporter.queue.send(Message::Flush(done)).await.ok()?;
            answered.await.ok()
        };
        let _ = tokio::time::timeout(within, flush).await;
    }

    fn hand_over(&self, span: Finished) {
        let Some(exporter) = &self.0 else { return };
        let count = span.count();
        if exporter
            .queue
            .try_send(Message::Span(Box::new(span)))
            .is_err()
        {
            exporter.counts.dropped.fetch_add(count, Ordering::Relaxed);
        }
    }
}

/// A span that goes on. It is handed over when it is dropped, whatever became of it.
#[derive(Debug)]
pub struct Span {
    telemetry: Telemetry,
    parent: Option<TraceParent>,
    own: Option<Part>,
    context: TraceParent,
    parts: Vec<Part>,
}

/// A part of a span that goes on.
#[derive(Debug)]
pub struct OpenPart(Part);

impl OpenPart {
    /// Its name for those who do it: what they record is below it.
    #[must_use]
    pub fn context(&self) -> TraceParent {
        self.0.context
    }
}

impl Span {
    fn new(
        telemetry: Telemetry,
        name: &'static str,
        kind: Kind,
        parent: Option<TraceParent>,
        start: Instant,
    ) -> Self {
        let context = parent.map_or_else(TraceParent::begin, |parent| parent.sibling());
        Self {
            telemetry,
            parent,
            own: Some(Part::new(context, name, kind, start)),
            context,
            parts: Vec::new(),
        }
    }

    /// Says something about it: names and values of the program, nothing that somebody sent.
    pub fn say(&mut self, name: &'static str, value: impl Into<String>) {
        if let Some(own) = &mut self.own {
            own.attributes.push((name, value.into()));
        }
    }

    /// It failed, for the reason with this stable code.
    pub fn failed(&mut self, code: &str) {
        if let Some(own) = &mut self.own {
            own.failure = Some(code.to_owned());
        }
    }

    /// A part that is over.
    pub fn part(&mut self, name: &'static str, start: Instant, end: Instant) {
        let mut part = Part::new(self.context.sibling(), name, Kind::Internal, start);
        part.end = end;
        self.parts.push(part);
    }

    /// A part that begins now.
    #[must_use]
    pub fn begin(&self, name: &'static str, kind: Kind) -> OpenPart {
        OpenPart(Part::new(
            self.context.sibling(),
            name,
            kind,
            Instant::now(),
        ))
    }

    /// The part ends now; with the stable code of what went wrong, if something did.
    pub fn end(&mut self, part: OpenPart, failure: Option<String>) {
        let mut part = part.0;
        part.end = Instant::now();
        part.failure = failure;
        self.parts.push(part);
    }
}

impl Drop for Span {
    fn drop(&mut self) {
        let Some(mut own) = self.own.take() else {
            return;
        };
        let anchor = (Instant::now(), SystemTime::now());
        own.end = anchor.0;
        let finished = Finished {
            context: self.context,
            parent: self.parent,
            own,
            parts: std::mem::take(&mut self.parts),
            anchor,
        };
        self.telemetry.hand_over(finished);
    }
}

impl Part {
    fn new(context: TraceParent, name: &'static str, kind: Kind, start: Instant) -> Self {
        Self {
            context,
            name,
            kind,
            start,
            end: start,
            attributes: Vec::new(),
            failure: None,
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, missing_docs)]

    use super::*;

    #[test]
    fn a_collector_is_an_address_with_or_without_the_path() {
        let found = |text| endpoint(Some(text)).unwrap().unwrap();
        assert_eq!(found("http://c:4318"), "http://c:4318/v1/traces");
        assert_eq!(found("https://c/otlp/"), "https://c/otlp/v1/traces");
        assert_eq!(found("http://c/v1/traces"), "http://c/v1/traces");
        for bad in [
            "",
            "c:4318",
            "http://",
            "ftp://c",
            "http://user:word@c",
            "http://c d",
        ] {
            assert!(endpoint(Some(bad)).is_err(), "{bad}");
        }
    }

    #[test]
    fn a_full_queue_drops_and_counts_and_nothing_waits() {
        let (queue, _messages) = mpsc::channel(2);
        let counts = Arc::default();
        let telemetry = Telemetry(Some(Arc::new(Exporter { queue, counts })));
        for _ in 0..5 {
            let start = Instant::now();
            let mut span = telemetry.root("read", Kind::Server, start).unwrap();
            span.part("record", start, start);
        }
        assert_eq!(
            telemetry.counts().dropped,
            6,
            "three times a span and its part"
        );
        let unrecorded = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-00";
        let parent = TraceParent::parse(unrecorded).unwrap();
        let span = telemetry.below("reencrypt", Kind::Server, &parent, Instant::now());
        assert!(span.is_none(), "the caller does not record");
        let off = Telemetry::default();
        assert!(off.root("read", Kind::Server, Instant::now()).is_none());
    }
}
