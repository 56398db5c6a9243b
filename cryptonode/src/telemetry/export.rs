//! The thread that makes spans of what is in the queue, and sends them.

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::Duration;

use opentelemetry::trace::{
    SpanContext, SpanId, SpanKind, Status, TraceFlags, TraceId, TraceState,
};
use opentelemetry::{InstrumentationScope, KeyValue};
use opentelemetry_otlp::{Protocol, WithExportConfig, WithHttpConfig};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{SpanData, SpanEvents, SpanExporter, SpanLinks};
use tokio::sync::{mpsc, oneshot};
use tokio::time::Instant;

use super::{Counts, Finished, Kind, Message, Part, TelemetryError};

/// Requests in one batch.
const BATCH: usize = 64;
/// How long the first one of a batch waits for others.
const LINGER: Duration = Duration::from_millis(500);
/// For the collector to take a batch.
const SEND_WITHIN: Duration = Duration::from_secs(5);

/// Starts the thread. It ends when nobody can hand over anything any more.
pub(super) fn start(
    endpoint: &str,
    service: &'static str,
    instance: &str,
    messages: mpsc::Receiver<Message>,
    counts: Arc<Counts>,
) -> Result<(), TelemetryError> {
    let refused = |reason: String| TelemetryError::Refused { reason };
    let client = reqwest::Client::builder()
        .timeout(SEND_WITHIN)
        .redirect(reqwest::redirect::Policy::none())
        .build()
        .map_err(|error| refused(error.to_string()))?;
    let mut exporter = opentelemetry_otlp::SpanExporter::builder()
        .with_http()
        .with_http_client(client)
        .with_protocol(Protocol::HttpBinary)
        .with_endpoint(endpoint)
        .with_timeout(SEND_WITHIN)
        .build()
        .map_err(|error| refused(error.to_string()))?;
    let resource = Resource::builder_empty()
        .with_service_name(service)
        .with_attributes([
            KeyValue::new("service.instance.id", instance.to_owned()),
            KeyValue::new("service.version", env!("CARGO_PKG_VERSION")),
        ])
        .build();
    exporter.set_resource(&resource);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|error| refused(error.to_string()))?;
    std::thread::Builder::new()
        .name("telemetry".to_owned())
        .spawn(move || runtime.block_on(run(&exporter, messages, &counts)))
        .map_err(|error| refused(error.to_string()))?;
    Ok(())
}

async fn run(
    exporter: &opentelemetry_otlp::SpanExporter,
    mut messages: mpsc::Receiver<Message>,
    counts: &Counts,
) {
    let scope = InstrumentationScope::builder("cryptonode")
        .with_version(env!("CARGO_PKG_VERSION"))
        .build();
    let mut failing = false;
    let mut open = true;
    while open {
        let (mut spans, mut flushed): (Vec<SpanData>, Option<oneshot::Sender<()>>) =
            (Vec::new(), None);
        let mut until = None;
        for _ in 0..BATCH {
            let next = match until {
                None => messages.recv().await,
                Some(until) => match tokio::time::timeout_at(until, messages.recv()).await {
                    Ok(next) => next,
                    Err(_) => break,
                },
            };
            until.get_or_insert_with(|| Instant::now() + LINGER);
            match next {
                Some(Message::Span(span)) => spans.extend(span_data(*span, &scope)),
                Some(Message::Flush(done)) => {
                    flushed = Some(done);
                    break;
                }
                None => {
                    open = false;
                    break;
                }
            }
        }
        if !spans.is_empty() {
            let count = spans.len() as u64;
            let sent = exporter.export(spans).await;
            let counter = if sent.is_ok() {
                &counts.exported
            } else {
                &counts.failed
            };
            counter.fetch_add(count, Ordering::Relaxed);
            if let (Err(error), false) = (&sent, failing) {
                tracing::warn!(%error, "spans are lost: the collector does not take them");
            }
            failing = sent.is_err();
        }
        if let Some(done) = flushed {
            // Nobody may be waiting any more.
            let _ = done.send(());
        }
    }
}

fn span_data(span: Finished, scope: &InstrumentationScope) -> Vec<SpanData> {
    let own_id = SpanId::from_bytes(span.context.span());
    let parent = span
        .parent
        .map_or(SpanId::INVALID, |parent| SpanId::from_bytes(parent.span()));
    let mut all = vec![one(&span, &span.own, parent, span.parent.is_some(), scope)];
    all.extend(
        span.parts
            .iter()
            .map(|part| one(&span, part, own_id, false, scope)),
    );
    all
}

fn one(
    span: &Finished,
    part: &Part,
    parent_span_id: SpanId,
    parent_span_is_remote: bool,
    scope: &InstrumentationScope,
) -> SpanData {
    let attributes = part.attributes.iter();
    SpanData {
        span_context: SpanContext::new(
            TraceId::from_bytes(part.context.trace()),
            SpanId::from_bytes(part.context.span()),
            TraceFlags::SAMPLED,
            false,
            TraceState::default(),
        ),
        parent_span_id,
        parent_span_is_remote,
        span_kind: match part.kind {
            Kind::Server => SpanKind::Server,
            Kind::Client => SpanKind::Client,
            Kind::Internal => SpanKind::Internal,
        },
        name: part.name.into(),
        start_time: span.at(part.start),
        end_time: span.at(part.end),
        attributes: attributes
            .map(|(name, value)| KeyValue::new(*name, value.clone()))
            .collect(),
        dropped_attributes_count: 0,
        events: SpanEvents::default(),
        links: SpanLinks::default(),
        status: match &part.failure {
            Some(code) => Status::error(code.clone()),
            None => Status::Unset,
        },
        instrumentation_scope: scope.clone(),
    }
}
