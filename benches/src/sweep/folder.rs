//! The folder of a sweep.
//!
//! ```text
//! DIR/experiment.toml                     the experiment, as it was given
//! DIR/environment.json                    machine and build at the first start; whether it was --quick
//! DIR/points/POINT/REPETITION/            one measurement:
//!     measurement.json                    settings, when, build, load average before and after
//!     result.json                         the instrument's own document
//!     records.jsonl                       one line for each request
//!     log.txt                             what it said meanwhile
//! DIR/failed/POINT,REPETITION/            the latest failure of a measurement that failed
//! DIR/summary.csv  DIR/report.html
//! ```
//!
//! A measurement is made in `points/.unfinished-…` and renamed when all its files are on the disk. So whatever has its name
//! is complete, and a sweep that was killed at any moment has lost the measurement under way and nothing else. The name is another one each time:
//! an instrument that outlives a killed sweep for a moment finds its folder gone, and writes nothing into the next measurement.

use std::fs::{self, File};
use std::io::Write;
use std::path::{Path, PathBuf};

use rustix::fs::{FlockOperation, flock};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};

use super::environment::Environment;
use super::experiment::{Experiment, Settings};
use super::failure::Failure;
use crate::build::Build;

/// How the names of measurements begin that are under way, or never ended.
const UNFINISHED: &str = ".unfinished-";

/// What was begun in a folder.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Begun {
    pub(super) begun: String,
    pub(super) quick: bool,
    #[serde(flatten)]
    pub(super) environment: Environment,
}

/// What is known of one measurement beside its results.
#[derive(Clone, Debug, Serialize, Deserialize)]
pub(super) struct Measurement {
    pub(super) settings: Settings,
    pub(super) repetition: u32,
    pub(super) command: Vec<String>,
    pub(super) started: String,
    pub(super) seconds: f64,
    pub(super) load_average: (Option<f64>, Option<f64>),
    /// The part of the processors' time that the hypervisor gave to others meanwhile.
    #[serde(default)]
    pub(super) steal_share: Option<f64>,
    pub(super) build: Build,
}

/// A sweep's folder.
#[derive(Debug)]
pub(super) struct Folder {
    root: PathBuf,
    /// Held while measuring.
    _lock: Option<File>,
}

impl Folder {
    /// The folder of a sweep that was begun, to read.
    pub(super) fn open(root: &Path) -> Self {
        Self {
            root: root.to_owned(),
            _lock: None,
        }
    }

    /// The folder to measure into: a new one, or one in which this experiment was begun.
    pub(super) fn begin(
        root: &Path,
        experiment: &Experiment,
        environment: &Environment,
        mix_builds: bool,
    ) -> Result<Self, Failure> {
        let shown = root.display().to_string();
        let points = root.join("points");
        fs::create_dir_all(&points).map_err(Failure::io(format!("make {}", points.display())))?;
        let lock = File::create(root.join(".lock")).map_err(Failure::io("make the lock file"))?;
        if flock(&lock, FlockOperation::NonBlockingLockExclusive).is_err() {
            return Err(Failure::Busy(shown));
        }
        let folder = Self {
            root: root.to_owned(),
            _lock: Some(lock),
        };
        if folder.root.join("environment.json").exists() {
            let begun = folder.begun()?;
            let same_text = folder.text("experiment.toml")? == experiment.text;
            if !same_text || begun.quick != experiment.quick {
                return Err(Failure::OtherExperiment {
                    folder: shown,
                    reason: if same_text {
                        "with or without --quick"
                    } else {
                        "another file"
                    }
                    .to_owned(),
                });
            }
            let (then, now) = (&begun.environment.build, &environment.build);
            if then.executable_sha256 != now.executable_sha256 && !mix_builds {
                return Err(Failure::OtherBuild {
                    folder: shown,
                    reason: format!(
                        "commit {} then, {} now",
                        then.commit_text(),
                        now.commit_text()
                    ),
                });
            }
        } else {
            write_whole(&root.join("experiment.toml"), experiment.text.as_bytes())?;
            // The last one: with it the folder is begun.
            write_json(
                &root.join("environment.json"),
                &Begun {
                    begun: super::environment::now(),
                    quick: experiment.quick,
                    environment: environment.clone(),
                },
            )?;
        }
        Ok(folder)
    }

    /// Where it is.
    pub(super) fn root(&self) -> &Path {
        &self.root
    }

    /// What was begun here.
    pub(super) fn begun(&self) -> Result<Begun, Failure> {
        read_json(&self.root.join("environment.json"))
    }

    /// The experiment that was begun here.
    pub(super) fn experiment(&self) -> Result<Experiment, Failure> {
        if !self.root.join("environment.json").exists() {
            return Err(Failure::Nothing(self.root.display().to_string()));
        }
        let file = self.root.join("experiment.toml").display().to_string();
        Experiment::of(&file, &self.text("experiment.toml")?, self.begun()?.quick)
    }

    fn text(&self, name: &str) -> Result<String, Failure> {
        let path = self.root.join(name);
        fs::read_to_string(&path).map_err(Failure::io(format!("read {}", path.display())))
    }

    /// Where a measurement is when it is finished.
    pub(super) fn measurement(&self, slug: &str, repetition: u32) -> PathBuf {
        self.root
            .join("points")
            .join(slug)
            .join(repetition.to_string())
    }

    /// Whether a measurement is finished.
    pub(super) fn has(&self, slug: &str, repetition: u32) -> bool {
        self.measurement(slug, repetition).is_dir()
    }

    /// An empty folder for the measurement under way. What those before it left is removed.
    pub(super) fn unfinished(&self) -> Result<PathBuf, Failure> {
        let points = self.root.join("points");
        let entries =
            fs::read_dir(&points).map_err(Failure::io(format!("list {}", points.display())))?;
        for entry in entries.flatten() {
            if entry.file_name().to_string_lossy().starts_with(UNFINISHED) {
                // Somebody may still be writing there: the next measurement removes the rest.
                let _ = fs::remove_dir_all(entry.path());
            }
        }
        tempfile::Builder::new()
            .prefix(UNFINISHED)
            .permissions(std::os::unix::fs::PermissionsExt::from_mode(0o755))
            .tempdir_in(&points)
            .map(tempfile::TempDir::keep)
            .map_err(Failure::io(format!(
                "make a folder in {}",
                points.display()
            )))
    }

    /// Gives a finished measurement its name, once its files are on the disk.
    pub(super) fn finish(
        &self,
        unfinished: &Path,
        slug: &str,
        repetition: u32,
        measurement: &Measurement,
    ) -> Result<(), Failure> {
        write_json(&unfinished.join("measurement.json"), measurement)?;
        for entry in fs::read_dir(unfinished).map_err(Failure::io("list the measurement"))? {
            let path = entry.map_err(Failure::io("list the measurement"))?.path();
            sync(&path)?;
        }
        let target = self.measurement(slug, repetition);
        let parent = self.root.join("points").join(slug);
        fs::create_dir_all(&parent).map_err(Failure::io(format!("make {}", parent.display())))?;
        fs::rename(unfinished, &target)
            .map_err(Failure::io(format!("name {}", target.display())))?;
        sync(&parent)
    }

    /// Keeps what a failed measurement left, for a person to look at.
    pub(super) fn keep_failed(
        &self,
        unfinished: &Path,
        slug: &str,
        repetition: u32,
    ) -> Result<PathBuf, Failure> {
        let failed = self.root.join("failed");
        let target = failed.join(format!("{slug},{repetition}"));
        fs::create_dir_all(&failed).map_err(Failure::io(format!("make {}", failed.display())))?;
        // An older failure of the same measurement may be there.
        let _ = fs::remove_dir_all(&target);
        fs::rename(unfinished, &target)
            .map_err(Failure::io(format!("name {}", target.display())))?;
        Ok(target)
    }

    /// Forgets the failure of a measurement that has succeeded since.
    pub(super) fn forget_failed(&self, slug: &str, repetition: u32) {
        let _ = fs::remove_dir_all(
            self.root
                .join("failed")
                .join(format!("{slug},{repetition}")),
        );
    }

    /// What is known of a finished measurement.
    pub(super) fn read_measurement(
        &self,
        slug: &str,
        repetition: u32,
    ) -> Result<Measurement, Failure> {
        read_json(&self.measurement(slug, repetition).join("measurement.json"))
    }

    /// Writes a file of the report, whole or not at all.
    pub(super) fn write(&self, name: &str, content: &str) -> Result<PathBuf, Failure> {
        let path = self.root.join(name);
        write_whole(&path, content.as_bytes())?;
        Ok(path)
    }
}

fn sync(path: &Path) -> Result<(), Failure> {
    File::open(path)
        .and_then(|file| file.sync_all())
        .map_err(Failure::io(format!("put {} on the disk", path.display())))
}

fn write_json(path: &Path, value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string_pretty(value).map_err(|error| Failure::Damaged {
        file: path.display().to_string(),
        reason: error.to_string(),
    })?;
    write_whole(path, format!("{text}\n").as_bytes())
}

/// Writes to a temporary name and renames: no reader sees half a file.
fn write_whole(path: &Path, bytes: &[u8]) -> Result<(), Failure> {
    let folder = path.parent().unwrap_or(Path::new("."));
    let write = || -> std::io::Result<()> {
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file()
            .set_permissions(std::os::unix::fs::PermissionsExt::from_mode(0o644))?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        Ok(())
    };
    write().map_err(Failure::io(format!("write {}", path.display())))
}

fn read_json<T: DeserializeOwned>(path: &Path) -> Result<T, Failure> {
    let text = fs::read_to_string(path).map_err(Failure::io(format!("read {}", path.display())))?;
    serde_json::from_str(&text).map_err(|error| Failure::Damaged {
        file: path.display().to_string(),
        reason: error.to_string(),
    })
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, missing_docs)]
    use super::*;

    #[test]
    fn what_outlives_a_measurement_cannot_write_into_the_next_one() {
        let root = tempfile::tempdir().unwrap();
        fs::create_dir(root.path().join("points")).unwrap();
        let folder = Folder::open(root.path());
        let first = folder.unfinished().unwrap();
        fs::write(first.join("records.jsonl"), "half of a li").unwrap();
        let second = folder.unfinished().unwrap();
        assert_ne!(first, second);
        assert!(fs::write(first.join("records.jsonl"), "the rest").is_err());
        assert_eq!(fs::read_dir(&second).unwrap().count(), 0);
    }
}
