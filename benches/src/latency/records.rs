//! The file of raw records.

use std::fs::File;
use std::io::{BufWriter, Write};

use serde::Serialize;

use super::outcome::Failure;
use super::workload::Sample;

/// One line of JSON a request.
pub(super) struct Records {
    path: String,
    file: BufWriter<File>,
}

impl Records {
    pub(super) fn create(path: &std::path::Path) -> Result<Self, Failure> {
        let shown = path.display().to_string();
        match File::create(path) {
            Ok(file) => Ok(Self {
                path: shown,
                file: BufWriter::new(file),
            }),
            Err(reason) => Err(Failure::Records {
                path: shown,
                reason,
            }),
        }
    }

    pub(super) fn write(&mut self, run: u32, samples: &[Sample]) -> Result<(), Failure> {
        #[derive(Serialize)]
        struct Line<'a> {
            run: u32,
            #[serde(flatten)]
            sample: &'a Sample,
        }
        let file = &mut self.file;
        let mut write = || -> std::io::Result<()> {
            for sample in samples {
                serde_json::to_writer(&mut *file, &Line { run, sample })?;
                file.write_all(b"\n")?;
            }
            file.flush()
        };
        write().map_err(|reason| Failure::Records {
            path: self.path.clone(),
            reason,
        })
    }
}
