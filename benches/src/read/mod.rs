//! A whole read, phase by phase, on a site of real processes: what the golden record costs of it, and what the cluster.
//!
//! The reader's client signs the read; the record orders it, and each organisation's peer decides and issues its approval; the cluster
//! re-encrypts; the body is fetched, checked and decrypted. The platform keeps account of each phase; this reads a document many
//! times, one read after the other, through the platform's client over HTTP, and files the accounts. A read's time is the
//! platform's own, from the signed request to the last byte.

mod arguments;

use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::process::ExitCode;
use std::time::Instant;

use serde::Serialize;
use serde_json::json;
use threshold_exchange::site::{
    Exchange, Home, Program, RecordEngine, Site, SiteError, SitePlan, interruption,
};

pub use arguments::Arguments;

/// The document's name.
const DOCUMENT: &str = "measured";

/// One read, in milliseconds.
#[derive(Clone, Debug, Serialize)]
struct Record {
    run: u32,
    /// When it began, after the first one did.
    at_ms: f64,
    latency_ms: f64,
    record_ms: f64,
    approvals_ms: f64,
    cluster_ms: f64,
    fetch_ms: f64,
    checksum_ms: f64,
    decrypt_ms: f64,
}

/// All reads.
struct Measured {
    records: Vec<Record>,
    seconds: f64,
}

/// Measures and prints. The exit status is 0 only if every read came back.
pub async fn run(arguments: &Arguments) -> ExitCode {
    let measured = tokio::select! {
        measured = measure(arguments) => measured,
        () = interruption() => Err(SiteError::Interrupted),
    };
    match measured {
        Ok(measured) => {
            if arguments.json {
                anstream::println!("{}", document(arguments, &measured));
            } else {
                anstream::print!("{}", text(&measured));
            }
            ExitCode::SUCCESS
        }
        Err(error) => {
            if arguments.json {
                let error = json!({ "code": error.code(), "message": error.to_string() });
                anstream::println!("{}", json!({ "error": error }));
            }
            anstream::eprintln!("{error}");
            ExitCode::from(2)
        }
    }
}

async fn measure(arguments: &Arguments) -> Result<Measured, SiteError> {
    let home = Home::make(None, arguments.keep)?;
    let plan = SitePlan {
        nodes: arguments.members,
        threshold: arguments.threshold,
        organisations: arguments.organisations,
        approvals: arguments.approvals,
    };
    let program = Program::current(&arguments.log)?;
    let mut site = Site::new(home.layout().clone(), program, plan).ordered_by(arguments.engine);
    let measured = on_site(arguments, &mut site).await;
    let stopped = site.stop().await;
    let measured = measured.and_then(|measured| stopped.map(|_| measured));
    home.finish(measured.is_ok());
    let measured = measured?;
    if let Some(path) = &arguments.records {
        write(path, &measured.records)
            .map_err(SiteError::io(format!("write {}", path.display())))?;
    }
    Ok(measured)
}

async fn on_site(arguments: &Arguments, site: &mut Site) -> Result<Measured, SiteError> {
    site.init_platform().await?;
    site.init_nodes().await?;
    site.start_nodes().await?;
    site.generate_key().await?;
    site.start_platform().await?;
    let exchange = Exchange::enrol(site, site.public_key()?).await?;

    let source = site.layout().root().join("document");
    let into = site.layout().root().join("read-back");
    let length = usize::try_from(arguments.bytes).unwrap_or(usize::MAX);
    let content: Vec<u8> = (0..=u8::MAX).cycle().take(length).collect();
    fs::write(&source, &content).map_err(SiteError::io("write the document"))?;
    exchange.write(DOCUMENT, &source).await?;

    for _ in 0..arguments.warm_up {
        read(&exchange, &into).await?;
    }
    let epoch = Instant::now();
    let mut records = Vec::new();
    for _ in 0..arguments.requests {
        let at_ms = epoch.elapsed().as_secs_f64() * 1e3;
        records.push(Record {
            at_ms,
            ..read(&exchange, &into).await?
        });
    }
    let seconds = epoch.elapsed().as_secs_f64();
    if fs::read(&into).map_err(SiteError::io("read what came back"))? != content {
        return Err(SiteError::Unexpected(
            "what came back is not what was written".to_owned(),
        ));
    }
    Ok(Measured { records, seconds })
}

async fn read(exchange: &Exchange, into: &std::path::Path) -> Result<Record, SiteError> {
    let got = exchange.read(DOCUMENT, into).await?;
    let report = got.report.ok_or_else(|| {
        SiteError::Unexpected("the platform kept no report of the read".to_owned())
    })?;
    let phases = report.phases;
    Ok(Record {
        run: 1,
        at_ms: 0.0,
        latency_ms: phases.total_ms,
        record_ms: phases.record_ms,
        approvals_ms: phases.approvals_ms,
        cluster_ms: phases.cluster_ms,
        fetch_ms: phases.fetch_ms,
        checksum_ms: phases.checksum_ms,
        decrypt_ms: phases.decrypt_ms,
    })
}

fn write(path: &std::path::Path, records: &[Record]) -> std::io::Result<()> {
    let mut file = BufWriter::new(File::create(path)?);
    for record in records {
        serde_json::to_writer(&mut file, record)?;
        file.write_all(b"\n")?;
    }
    file.flush()
}

/// A phase's name, and where it stands in a record.
type Phase = (&'static str, fn(&Record) -> f64);

const PHASES: [Phase; 7] = [
    ("read", |record| record.latency_ms),
    ("record", |record| record.record_ms),
    ("approvals", |record| record.approvals_ms),
    ("cluster", |record| record.cluster_ms),
    ("fetch", |record| record.fetch_ms),
    ("checksum", |record| record.checksum_ms),
    ("decrypt", |record| record.decrypt_ms),
];

fn median_and_mean(measured: &Measured, of: fn(&Record) -> f64) -> (f64, f64) {
    let mut values: Vec<f64> = measured.records.iter().map(of).collect();
    values.sort_by(f64::total_cmp);
    let median = values.get(values.len().div_ceil(2).saturating_sub(1));
    let mean = values.iter().sum::<f64>() / values.len().max(1) as f64;
    (median.copied().unwrap_or_default(), mean)
}

fn document(arguments: &Arguments, measured: &Measured) -> serde_json::Value {
    let phases: serde_json::Map<String, serde_json::Value> = PHASES
        .iter()
        .map(|(name, of)| {
            let (median, mean) = median_and_mean(measured, *of);
            ((*name).to_owned(), json!({ "p50": median, "mean": mean }))
        })
        .collect();
    json!({
        "experiment": {
            "members": arguments.members,
            "threshold": arguments.threshold,
            "organisations": arguments.organisations,
            "approvals": arguments.approvals,
            "engine": match arguments.engine {
                RecordEngine::Solo => "solo",
                RecordEngine::Simplex => "simplex",
            },
            "bytes": arguments.bytes,
            "requests": arguments.requests,
            "warm_up": arguments.warm_up,
        },
        "phases_ms": phases,
        "runs": [{
            "seconds": measured.seconds,
            "requests_per_second": measured.records.len() as f64 / measured.seconds,
        }],
    })
}

fn text(measured: &Measured) -> String {
    let whole = median_and_mean(measured, |record| record.latency_ms).1;
    let mut out = format!(
        "{:<14}{:>10}{:>10}{:>10}\n",
        "milliseconds", "p50", "mean", "share"
    );
    for (name, of) in PHASES {
        let (median, mean) = median_and_mean(measured, of);
        let share = 100.0 * mean / whole;
        out.push_str(&format!(
            "{name:<14}{median:>10.3}{mean:>10.3}{share:>8.1} %\n"
        ));
    }
    out
}
