//! How fast the golden record makes transactions final: latency and transactions a second, against organisations, payload, distance and clients, beside the
//! bare order in the same run.
//!
//! *Latency* is from submitting at a peer to that peer's answer: ordered, executed there, durable there, head signed; of all that were submitted within the time measured, so that a
//! stall counts. *Transactions a second* are those whose answers came within that time. All processes share the machine, and so its cores and its disk.

mod arguments;
mod bare;
mod delay;
mod load;
mod peers;

use std::ffi::OsString;
use std::fs::File;
use std::io::BufWriter;
use std::net::{SocketAddr, TcpListener};
use std::process::ExitCode;
use std::time::Duration;

use serde::Serialize;
use serde_json::{Value, json};

pub use arguments::Arguments;
use load::Measured;

/// One point, of the record or of the bare order.
#[derive(Clone, Debug, Serialize)]
struct Point {
    what: &'static str,
    organisations: usize,
    round_trip_ms: u64,
    payload: usize,
    transaction_bytes: usize,
    clients: usize,
    transactions: usize,
    per_second: f64,
    p50_ms: f64,
    p99_ms: f64,
}

/// Runs as a member of the bare order, if the first argument says so.
#[must_use]
pub fn run_as_member(arguments: &[OsString]) -> Option<ExitCode> {
    (arguments.first()? == bare::ROLE).then(bare::run)
}

/// Measures and prints. The exit status is 0 only if every transaction became final.
pub async fn run(arguments: &Arguments) -> ExitCode {
    match measure(arguments).await {
        Ok(points) if arguments.json => {
            anstream::println!("{}", document(&points));
            ExitCode::SUCCESS
        }
        Ok(points) => {
            anstream::print!("{}", text(&points));
            ExitCode::SUCCESS
        }
        Err(error) => {
            if arguments.json {
                anstream::println!(
                    "{}",
                    json!({ "error": { "code": "record", "message": error } })
                );
            }
            anstream::eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

/// What a sweep reads: the facts of the one run that a point is, apart for the record and the bare order.
fn document(points: &[Point]) -> Value {
    let run = |it: &Point| json!({ "run": 1, "labels": { "what": it.what }, "requests_per_second": it.per_second });
    json!({ "points": points, "runs": points.iter().map(run).collect::<Vec<_>>() })
}

async fn measure(arguments: &Arguments) -> Result<Vec<Point>, String> {
    let mut records = match &arguments.records {
        Some(path) => Some(BufWriter::new(
            File::create(path).map_err(|e| e.to_string())?,
        )),
        None => None,
    };
    let mut points = Vec::new();
    for organisations in &arguments.organisations {
        for round_trip_ms in &arguments.round_trip_ms {
            let mut made = site(arguments, *organisations, *round_trip_ms).await?;
            for (point, measured) in &made {
                if let Some(records) = &mut records {
                    write(records, point, measured).map_err(|e| e.to_string())?;
                }
            }
            points.extend(made.drain(..).map(|(point, _)| point));
        }
    }
    Ok(points)
}

/// All points of one number of organisations at one distance: the record, then the bare order, one after the other.
async fn site(
    arguments: &Arguments,
    organisations: usize,
    round_trip_ms: u64,
) -> Result<Vec<(Point, Measured)>, String> {
    let mut folder = tempfile::tempdir().map_err(|e| e.to_string())?;
    folder.disable_cleanup(arguments.keep);
    let base = Point {
        what: "record",
        organisations,
        round_trip_ms,
        payload: 0,
        transaction_bytes: 0,
        clients: 0,
        transactions: 0,
        per_second: 0.0,
        p50_ms: 0.0,
        p99_ms: 0.0,
    };
    let mut made = Vec::new();
    let mut sizes = Vec::new();
    let places = addresses(organisations, round_trip_ms).await?;
    let peers = peers::Peers::start(folder.path(), &places).await?;
    for payload in &arguments.payload {
        let transaction_bytes = peers.transaction_bytes(*payload)?;
        sizes.push((*payload, transaction_bytes));
        for clients in &arguments.clients {
            let measured = peers.measure(*clients, *payload, arguments.seconds).await?;
            let base = Point {
                payload: *payload,
                transaction_bytes,
                clients: *clients,
                ..base.clone()
            };
            made.push((point(base, &measured), measured));
        }
    }
    peers.stop().await;
    let places = addresses(organisations, round_trip_ms).await?;
    let mut members = bare::Members::start(folder.path(), &places).await?;
    for (payload, transaction_bytes) in sizes {
        for clients in &arguments.clients {
            let measured = members
                .measure(*clients, transaction_bytes, arguments.seconds)
                .await?;
            let base = Point {
                what: "bare order",
                payload,
                transaction_bytes,
                clients: *clients,
                ..base.clone()
            };
            made.push((point(base, &measured), measured));
        }
    }
    members.stop().await;
    Ok(made)
}

/// For each peer where it listens, and where the others reach it.
async fn addresses(
    number: usize,
    round_trip_ms: u64,
) -> Result<Vec<(SocketAddr, SocketAddr)>, String> {
    let held: Result<Vec<_>, _> = (0..number)
        .map(|_| TcpListener::bind("127.0.0.1:0"))
        .collect();
    let own: Result<Vec<_>, _> = held
        .map_err(|e| e.to_string())?
        .iter()
        .map(TcpListener::local_addr)
        .collect();
    let mut addresses = Vec::new();
    for listen in own.map_err(|e| e.to_string())? {
        let front = match round_trip_ms {
            0 => listen,
            ms => delay::front(listen, Duration::from_millis(ms))
                .await
                .map_err(|e| e.to_string())?,
        };
        addresses.push((listen, front));
    }
    Ok(addresses)
}

fn point(base: Point, measured: &Measured) -> Point {
    let mut sorted = measured.latencies_us.clone();
    sorted.sort_unstable();
    let at = |share: f64| {
        let rank = (sorted.len() as f64 * share).ceil() as usize;
        let value = sorted.get(rank.saturating_sub(1)).copied();
        value.unwrap_or_default() as f64 / 1e3
    };
    Point {
        transactions: measured.within,
        per_second: measured.within as f64 / measured.seconds,
        p50_ms: at(0.5),
        p99_ms: at(0.99),
        ..base
    }
}

fn write(
    file: &mut impl std::io::Write,
    point: &Point,
    measured: &Measured,
) -> std::io::Result<()> {
    for latency_us in &measured.latencies_us {
        let line: Value = json!({
            "run": 1, "what": point.what, "organisations": point.organisations, "round_trip_ms": point.round_trip_ms,
            "payload": point.payload, "clients": point.clients, "latency_ms": *latency_us as f64 / 1e3,
        });
        writeln!(file, "{line}")?;
    }
    file.flush()
}

fn text(points: &[Point]) -> String {
    let mut out = format!(
        "{:<12}{:>14}{:>8}{:>9}{:>9}{:>14}{:>10}{:>10}\n",
        "", "organisations", "RTT ms", "bytes", "clients", "per second", "p50 ms", "p99 ms"
    );
    for it in points {
        out.push_str(&format!(
            "{:<12}{:>14}{:>8}{:>9}{:>9}{:>14.1}{:>10.2}{:>10.2}\n",
            it.what,
            it.organisations,
            it.round_trip_ms,
            it.transaction_bytes,
            it.clients,
            it.per_second,
            it.p50_ms,
            it.p99_ms
        ));
    }
    out
}
