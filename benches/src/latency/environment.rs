//! The machine that the numbers are of.

use std::fs::{self, File};
use std::io::Write;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use super::distribution::Distribution;
use super::outcome::Failure;
use crate::build::Build;

/// How often the disk is tried.
const TRIES: usize = 50;

/// What a reader must know of the machine to compare the numbers with others.
#[derive(Clone, Debug, Serialize)]
pub(super) struct Environment {
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) avx512_ifma: bool,
    pub(super) kernel: String,
    pub(super) software: &'static str,
    /// What was compiled, and how: commit, compiler, flags.
    pub(super) build: Build,
    /// Milliseconds of one `fdatasync` after 512 appended bytes, in the nodes' folder: an audit record costs one at least.
    pub(super) disk_sync_ms: Distribution,
}

impl Environment {
    /// Looks at the machine, and tries the disk below `folder`.
    ///
    /// # Errors
    /// [`Failure`] if this program's own file cannot be read.
    pub(super) fn look(folder: &Path) -> Result<Self, Failure> {
        let processors = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
        let field = |name: &str| {
            processors
                .lines()
                .find_map(|line| line.strip_prefix(name)?.split_once(':'))
                .map(|(_, value)| value.trim())
        };
        Ok(Self {
            build: Build::look().map_err(|error| Failure::Client(error.to_string()))?,
            processor: field("model name").unwrap_or("unknown").to_owned(),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            avx512_ifma: field("flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "avx512ifma")),
            kernel: fs::read_to_string("/proc/sys/kernel/osrelease")
                .map_or_else(|_| "unknown".to_owned(), |text| text.trim().to_owned()),
            software: env!("CARGO_PKG_VERSION"),
            disk_sync_ms: Distribution::of(sync_times(folder).unwrap_or_default()),
        })
    }
}

/// The load average of the last minute: others' work beside ours.
pub(super) fn load_average() -> f64 {
    fs::read_to_string("/proc/loadavg")
        .ok()
        .and_then(|text| text.split_whitespace().next()?.parse().ok())
        .unwrap_or(f64::NAN)
}

fn sync_times(folder: &Path) -> std::io::Result<Vec<f64>> {
    let path = folder.join("disk-probe");
    let mut file = File::options().create(true).append(true).open(&path)?;
    let mut times = Vec::with_capacity(TRIES);
    for _ in 0..TRIES {
        let started = Instant::now();
        file.write_all(&[0; 512])?;
        file.sync_data()?;
        times.push(started.elapsed().as_secs_f64() * 1e3);
    }
    fs::remove_file(path)?;
    Ok(times)
}
