//! The machine and the build that the numbers are of: `environment.json`.

use std::fs;
use std::path::Path;

use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::format_description::well_known::Rfc3339;

use super::failure::Failure;
use crate::build::Build;

/// What a reader must know to compare the numbers with others, or to measure them again.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Environment {
    pub(super) machine: Machine,
    pub(super) build: Build,
}

/// The machine.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Machine {
    pub(super) processor: String,
    pub(super) cores: usize,
    pub(super) memory_mib: u64,
    pub(super) avx512_ifma: bool,
    /// The clock's policy, as far as the system tells; virtual machines mostly do not.
    pub(super) governor: Option<String>,
    pub(super) kernel: String,
    pub(super) system: String,
}

impl Environment {
    /// Looks.
    pub(super) fn look() -> Result<Self, Failure> {
        Ok(Self {
            machine: Machine::look(),
            build: Build::look().map_err(Failure::io("read this program's own file"))?,
        })
    }
}

impl Machine {
    fn look() -> Self {
        let processors = read("/proc/cpuinfo");
        let field = |name: &str| {
            processors
                .lines()
                .find_map(|line| line.strip_prefix(name)?.split_once(':'))
                .map(|(_, value)| value.trim().to_owned())
        };
        let memory = read("/proc/meminfo");
        let kib: u64 = memory
            .lines()
            .find_map(|line| line.strip_prefix("MemTotal:")?.split_whitespace().next())
            .and_then(|number| number.parse().ok())
            .unwrap_or(0);
        let governor = read("/sys/devices/system/cpu/cpu0/cpufreq/scaling_governor");
        let release = read("/etc/os-release");
        let system = release
            .lines()
            .find_map(|line| line.strip_prefix("PRETTY_NAME="))
            .map_or("unknown", |name| name.trim_matches('"'));
        Self {
            processor: field("model name").unwrap_or_else(|| "unknown".to_owned()),
            cores: std::thread::available_parallelism().map_or(1, usize::from),
            memory_mib: kib / 1024,
            avx512_ifma: field("flags")
                .is_some_and(|flags| flags.split(' ').any(|flag| flag == "avx512ifma")),
            governor: Some(governor.trim().to_owned()).filter(|text| !text.is_empty()),
            kernel: read("/proc/sys/kernel/osrelease").trim().to_owned(),
            system: system.to_owned(),
        }
    }
}

fn read(path: impl AsRef<Path>) -> String {
    fs::read_to_string(path).unwrap_or_default()
}

/// The load average of the last minute: others' work beside ours.
pub(super) fn load_average() -> Option<f64> {
    read("/proc/loadavg")
        .split_whitespace()
        .next()?
        .parse()
        .ok()
}

/// This moment, RFC 3339 in UTC, to the second.
pub(super) fn now() -> String {
    let now = OffsetDateTime::now_utc();
    now.replace_nanosecond(0)
        .unwrap_or(now)
        .format(&Rfc3339)
        .unwrap_or_default()
}
