//! An OpenTelemetry collector for tests: it takes spans by OTLP over HTTP with protobuf, and remembers them.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use opentelemetry_proto::tonic::collector::trace::v1::ExportTraceServiceRequest;
use opentelemetry_proto::tonic::common::v1::{KeyValue, any_value};
use prost::Message;

/// Longest body that is read: far more than a batch.
const LONGEST: usize = 16 * 1024 * 1024;

/// A span, as it came.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Span {
    /// `service.name` of its process.
    pub service: String,
    /// `service.instance.id` of its process.
    pub instance: String,
    /// Its name.
    pub name: String,
    /// The trace, hexadecimal.
    pub trace: String,
    /// Its id, hexadecimal.
    pub id: String,
    /// Its parent's id, hexadecimal; empty for the first of a trace.
    pub parent: String,
    /// When it began, in nanoseconds since the Unix epoch.
    pub start_ns: u64,
    /// When it ended.
    pub end_ns: u64,
    /// Names and values.
    pub attributes: Vec<(String, String)>,
    /// The code of what went wrong; empty if nothing did.
    pub failure: String,
}

/// The collector; it listens until the process ends.
#[derive(Debug, Clone)]
pub struct Collector {
    address: SocketAddr,
    spans: Arc<Mutex<Vec<Span>>>,
    /// The bodies as they came: what was sent beside spans is in them too.
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Collector {
    /// Listens on a free port of loopback.
    ///
    /// # Errors
    /// The system's, if there is none.
    pub fn start() -> std::io::Result<Self> {
        let listener = TcpListener::bind("127.0.0.1:0")?;
        let collector = Self {
            address: listener.local_addr()?,
            spans: Arc::default(),
            bodies: Arc::default(),
        };
        let shared = collector.clone();
        std::thread::spawn(move || {
            for stream in listener.incoming().flatten() {
                let shared = shared.clone();
                std::thread::spawn(move || shared.serve(stream));
            }
        });
        Ok(collector)
    }

    /// Its address, as `OTEL_EXPORTER_OTLP_ENDPOINT` has it.
    #[must_use]
    pub fn endpoint(&self) -> String {
        format!("http://{}", self.address)
    }

    /// The spans so far.
    #[must_use]
    pub fn spans(&self) -> Vec<Span> {
        lock(&self.spans).clone()
    }

    /// Everything that was sent, byte for byte.
    #[must_use]
    pub fn bodies(&self) -> Vec<u8> {
        lock(&self.bodies).concat()
    }

    /// Waits until the spans are as wished for, or `None` after that time.
    pub fn until(&self, within: Duration, enough: impl Fn(&[Span]) -> bool) -> Option<Vec<Span>> {
        let end = Instant::now() + within;
        loop {
            let spans = self.spans();
            if enough(&spans) {
                return Some(spans);
            }
            if Instant::now() > end {
                return None;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Requests of one connection, until it ends or something else comes than is expected.
    fn serve(&self, stream: TcpStream) -> Option<()> {
        let mut answers = stream.try_clone().ok()?;
        let mut reader = BufReader::new(stream);
        loop {
            let mut head = Vec::new();
            loop {
                let mut line = String::new();
                if reader.read_line(&mut line).ok()? == 0 {
                    return None;
                }
                let line = line.trim_end().to_ascii_lowercase();
                if line.is_empty() {
                    break;
                }
                head.push(line);
            }
            let length = head
                .iter()
                .find_map(|line| line.strip_prefix("content-length:"));
            let length: usize = length?
                .trim()
                .parse()
                .ok()
                .filter(|length| *length <= LONGEST)?;
            let mut body = vec![0; length];
            reader.read_exact(&mut body).ok()?;
            let protobuf = head
                .iter()
                .any(|line| line == "content-type: application/x-protobuf");
            let traces = head
                .first()
                .is_some_and(|line| line.starts_with("post /v1/traces "));
            let request = ExportTraceServiceRequest::decode(body.as_slice()).ok();
            let Some(request) = request.filter(|_| protobuf && traces) else {
                let _ = answers.write_all(b"HTTP/1.1 400 Bad\r\ncontent-length: 0\r\n\r\n");
                continue;
            };
            lock(&self.bodies).push(body);
            lock(&self.spans).extend(spans_of(request));
            let ok = b"HTTP/1.1 200 OK\r\ncontent-type: application/x-protobuf\r\ncontent-length: 0\r\n\r\n";
            answers.write_all(ok).ok()?;
        }
    }
}

fn spans_of(request: ExportTraceServiceRequest) -> Vec<Span> {
    let mut found = Vec::new();
    for group in request.resource_spans {
        let resource = group.resource.map(|resource| resource.attributes);
        let resource = pairs(&resource.unwrap_or_default());
        let of = |name: &str| {
            let mut named = resource.iter().filter(|(key, _)| key == name);
            named
                .next()
                .map_or_else(String::new, |(_, value)| value.clone())
        };
        for span in group.scope_spans.into_iter().flat_map(|scope| scope.spans) {
            found.push(Span {
                service: of("service.name"),
                instance: of("service.instance.id"),
                attributes: pairs(&span.attributes),
                name: span.name,
                trace: hex::encode(span.trace_id),
                id: hex::encode(span.span_id),
                parent: hex::encode(span.parent_span_id),
                start_ns: span.start_time_unix_nano,
                end_ns: span.end_time_unix_nano,
                failure: span
                    .status
                    .map_or_else(String::new, |status| status.message),
            });
        }
    }
    found
}

fn pairs(attributes: &[KeyValue]) -> Vec<(String, String)> {
    let text = |attribute: &KeyValue| {
        let value = attribute
            .value
            .as_ref()
            .and_then(|value| value.value.clone());
        match value {
            Some(any_value::Value::StringValue(text)) => text,
            other => format!("{other:?}"),
        }
    };
    attributes
        .iter()
        .map(|attribute| (attribute.key.clone(), text(attribute)))
        .collect()
}
