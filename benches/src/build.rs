//! The program that measures: what was compiled, and how.

use std::fs;
use std::io;
use std::path::Path;
use std::process::Command;
use std::time::SystemTime;

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

/// The program.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Build {
    pub(crate) version: String,
    /// The commit that is checked out where the program was built; absent outside a repository.
    pub(crate) commit: Option<String>,
    /// Whether files differ from that commit.
    pub(crate) changed: bool,
    /// Whether a source file is newer than the program: then the commit is perhaps not the one that was compiled.
    #[serde(default)]
    pub(crate) outdated: bool,
    /// SHA-256 of the executable: what was really run.
    pub(crate) executable_sha256: String,
    pub(crate) rustc: String,
    pub(crate) target: String,
    pub(crate) profile: String,
    pub(crate) opt_level: String,
    pub(crate) flags: String,
}

impl Build {
    /// Of this very program.
    ///
    /// # Errors
    /// If its own file cannot be read.
    pub(crate) fn look() -> io::Result<Self> {
        let own_file = std::env::current_exe()?;
        let bytes = fs::read(&own_file)?;
        let commit = git(&["rev-parse", "HEAD"]);
        let built = fs::metadata(&own_file)?.modified()?;
        Ok(Self {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            changed: commit.is_some() && git(&["status", "--porcelain"]).is_some(),
            outdated: newest_source().is_some_and(|newest| newest > built),
            commit,
            executable_sha256: hex::encode(Sha256::digest(&bytes)),
            rustc: env!("BUILD_RUSTC").to_owned(),
            target: env!("BUILD_TARGET").to_owned(),
            profile: env!("BUILD_PROFILE").to_owned(),
            opt_level: env!("BUILD_OPT_LEVEL").to_owned(),
            flags: env!("BUILD_FLAGS").to_owned(),
        })
    }

    /// The commit in words.
    pub(crate) fn commit_text(&self) -> String {
        let commit = self.commit.as_deref().unwrap_or("no repository");
        let changes = if self.changed { ", with changes" } else { "" };
        let outdated = if self.outdated {
            ", and sources are newer than the program"
        } else {
            ""
        };
        format!("{commit}{changes}{outdated}")
    }
}

/// When the newest of the files was written that the program is compiled from, as far as they are in the repository.
fn newest_source() -> Option<SystemTime> {
    let root = git(&["rev-parse", "--show-toplevel"])?;
    let compiled = [
        "ls-files",
        "*.rs",
        "*.toml",
        "*.css",
        "*.js",
        "*.html",
        "Cargo.lock",
        ":(exclude)*/tests/*",
        ":(exclude)*/baseline/*",
    ];
    let files = git_at(Path::new(&root), &compiled)?;
    let written = files.lines().filter_map(|file| {
        let metadata = fs::metadata(Path::new(&root).join(file)).ok()?;
        metadata.modified().ok()
    });
    written.max()
}

/// What git says in the source tree, if there is one and it says anything.
fn git(words: &[&str]) -> Option<String> {
    git_at(Path::new(env!("CARGO_MANIFEST_DIR")), words)
}

fn git_at(folder: &Path, words: &[&str]) -> Option<String> {
    let output = Command::new("git")
        .arg("-C")
        .arg(folder)
        .args(words)
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let text = String::from_utf8(output.stdout).ok()?.trim().to_owned();
    (!text.is_empty()).then_some(text)
}
