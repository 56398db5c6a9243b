//! Callgrind, called for one operation after the other.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};

use crate::baseline::Failure;
use crate::region;

/// Operation → instructions.
pub(crate) type Counts = BTreeMap<String, u64>;

/// The architecture, and the vector instructions that the arithmetic gets here, at the time of the call.
pub(crate) fn platform() -> String {
    #[cfg(target_arch = "x86_64")]
    let vectors = if std::arch::is_x86_feature_detected!("avx2") {
        "-avx2"
    } else {
        "-serial"
    };
    #[cfg(not(target_arch = "x86_64"))]
    let vectors = "";
    format!("{}{vectors}", std::env::consts::ARCH)
}

/// The same as valgrind lets the program see it.
pub(crate) fn platform_under_valgrind() -> Result<String, Failure> {
    let output = valgrind()
        .arg("--tool=none")
        .arg(own_file()?)
        .arg("platform")
        .output()
        .map_err(Failure::Valgrind)?;
    if !output.status.success() {
        return Err(Failure::Run {
            operation: "platform".to_owned(),
            reason: String::from_utf8_lossy(&output.stderr).into_owned(),
        });
    }
    Ok(String::from_utf8_lossy(&output.stdout).trim().to_owned())
}

/// Counts these operations, on as many processors as there are: counts do not disturb each other.
pub(crate) fn count_all(operations: &[&str]) -> Result<Counts, Failure> {
    let folder = tempfile::tempdir().map_err(Failure::Folder)?;
    let counts = Mutex::new(Ok(Counts::new()));
    let next = AtomicUsize::new(0);
    let worker = || {
        while let Some(operation) = operations.get(next.fetch_add(1, Ordering::Relaxed)) {
            let counted = count(operation, folder.path());
            let Ok(mut all) = counts.lock() else { return };
            match (&mut *all, counted) {
                (Ok(all), Ok(count)) => {
                    all.insert((*operation).to_owned(), count);
                }
                (all @ Ok(_), Err(failure)) => *all = Err(failure),
                (Err(_), _) => {}
            }
        }
    };
    let workers = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| {
        for _ in 0..workers.min(operations.len()) {
            scope.spawn(worker);
        }
    });
    counts
        .into_inner()
        .unwrap_or_else(|poisoned| poisoned.into_inner())
}

fn count(operation: &str, folder: &Path) -> Result<u64, Failure> {
    let failed = |reason: String| Failure::Run {
        operation: operation.to_owned(),
        reason,
    };
    let file = folder.join(operation);
    let output = valgrind()
        .arg("--tool=callgrind")
        .arg(format!("--callgrind-out-file={}", file.display()))
        .arg("--collect-atstart=no")
        .arg(format!("--toggle-collect={}", region::PATTERN))
        .arg(own_file()?)
        .args(["run", operation])
        .output()
        .map_err(Failure::Valgrind)?;
    if !output.status.success() {
        return Err(failed(String::from_utf8_lossy(&output.stderr).into_owned()));
    }
    let text = std::fs::read_to_string(&file).map_err(|error| failed(error.to_string()))?;
    let total = text
        .lines()
        .find_map(|line| {
            line.strip_prefix("totals:")
                .or(line.strip_prefix("summary:"))
        })
        .and_then(|numbers| numbers.split_whitespace().next()?.parse().ok())
        .ok_or_else(|| failed("callgrind's file has no total".to_owned()))?;
    // Zero would be a region that callgrind did not find, and a check that cannot fail.
    if total == 0 {
        return Err(failed(format!(
            "nothing was counted: no function {}",
            region::PATTERN
        )));
    }
    Ok(total)
}

fn valgrind() -> Command {
    let mut command = Command::new("valgrind");
    // The environment's size moves the stack, and with it alignments.
    command.env_clear();
    command.env("PATH", std::env::var_os("PATH").unwrap_or_default());
    command
}

fn own_file() -> Result<std::path::PathBuf, Failure> {
    std::env::current_exe().map_err(Failure::Folder)
}
