//! What another process has in its memory: what a core dump would put on the disk.

use std::fs::File;
use std::io::{BufWriter, Read, Seek, SeekFrom, Write};
use std::os::unix::fs::MetadataExt;
use std::path::Path;

/// Bytes that are looked at together: those that are all zero are left out.
const PAGE: usize = 4096;

/// A process's memory in a file.
#[derive(Debug)]
pub struct Dump {
    /// Bytes in the file.
    pub bytes: u64,
    /// Where in the file each region begins, and the system's words for it.
    regions: Vec<(u64, String)>,
}

impl Dump {
    /// The region that a byte of the file was in, such as `7f…-7f… rw-p … [stack]`.
    #[must_use]
    pub fn region(&self, offset: usize) -> &str {
        let after = self
            .regions
            .partition_point(|(start, _)| *start <= offset as u64);
        self.regions
            .get(after.wrapping_sub(1))
            .map_or("", |(_, words)| words)
    }
}

/// Writes the private, writable memory of a process into one file: heap, stacks, and what else it has mapped for itself.
/// Needs the rights of a debugger: the process is a child of ours, or we are root.
///
/// # Errors
/// If the process is gone or may not be looked at.
pub fn dump(pid: u32, into: &Path) -> std::io::Result<Dump> {
    let maps = std::fs::read_to_string(format!("/proc/{pid}/maps"))?;
    let mut memory = File::open(format!("/proc/{pid}/mem"))?;
    let mut out = BufWriter::new(File::create(into)?);
    let (mut written, mut regions) = (0, Vec::new());
    for line in maps.lines() {
        let Some((start, end)) = region(line) else {
            continue;
        };
        regions.push((written, line.to_owned()));
        memory.seek(SeekFrom::Start(start))?;
        let mut bytes = Vec::new();
        // A region may shrink while we look.
        let _ = Read::by_ref(&mut memory)
            .take(end - start)
            .read_to_end(&mut bytes);
        // Most of what is mapped was never used, and reads as zeros.
        for page in bytes.chunks(PAGE) {
            if page.iter().any(|byte| *byte != 0) {
                out.write_all(page)?;
                written += page.len() as u64;
            }
        }
    }
    out.flush()?;
    Ok(Dump {
        bytes: written,
        regions,
    })
}

/// Start and end of a region that is private and writable.
fn region(line: &str) -> Option<(u64, u64)> {
    let mut fields = line.split_whitespace();
    let (start, end) = fields.next()?.split_once('-')?;
    let rights = fields.next()?;
    if !(rights.starts_with("rw") && rights.ends_with('p')) {
        return None;
    }
    let number = |text: &str| u64::from_str_radix(text, 16).ok();
    Some((number(start)?, number(end)?))
}

/// Whether the system would write a process's memory out at all, for a core file or for a debugger of the same user: then what
/// is in `/proc` about it belongs to its user, else to root. Of a process of root that cannot be told.
///
/// # Errors
/// If the process is gone.
pub fn is_dumpable(pid: u32) -> std::io::Result<Option<bool>> {
    let user = std::fs::metadata(format!("/proc/{pid}"))?.uid();
    let owner = std::fs::metadata(format!("/proc/{pid}/environ"))?.uid();
    Ok((user != 0).then_some(owner == user))
}

/// The soft and hard bound on core files of a process, as the system words them: `0` means that there will be none.
///
/// # Errors
/// If the process is gone.
pub fn core_file_bounds(pid: u32) -> std::io::Result<(String, String)> {
    let limits = std::fs::read_to_string(format!("/proc/{pid}/limits"))?;
    let line = limits
        .lines()
        .find_map(|line| line.strip_prefix("Max core file size"));
    let mut fields = line
        .unwrap_or_default()
        .split_whitespace()
        .map(str::to_owned);
    Ok((
        fields.next().unwrap_or_default(),
        fields.next().unwrap_or_default(),
    ))
}
