//! Reading a file of lines of JSON that are each in one form.

use super::AuditError;
use serde::{Serialize, de::DeserializeOwned};
use std::{
    fs::File,
    io::{BufRead as _, BufReader, Read as _},
    path::Path,
};

/// The lines of an export, one at a time.
pub(super) struct Lines<'a> {
    reader: BufReader<File>,
    path: &'a Path,
    limit: u64,
    line: u64,
}

impl<'a> Lines<'a> {
    /// Opens a file of which no line has more than so many bytes.
    pub(super) fn open(path: &'a Path, limit: u64) -> Result<Self, AuditError> {
        let file = File::open(path).map_err(|error| AuditError::File {
            path: path.display().to_string(),
            reason: error.to_string(),
        })?;
        Ok(Self {
            reader: BufReader::new(file),
            path,
            limit,
            line: 0,
        })
    }

    /// Number of the line that was read last, from 1.
    pub(super) fn number(&self) -> u64 {
        self.line
    }

    /// The next line, without its end.
    pub(super) fn next(&mut self) -> Result<Option<String>, AuditError> {
        self.line += 1;
        let mut bytes = Vec::new();
        self.reader
            .by_ref()
            .take(self.limit + 1)
            .read_until(b'\n', &mut bytes)
            .map_err(|error| AuditError::File {
                path: self.path.display().to_string(),
                reason: error.to_string(),
            })?;
        if bytes.is_empty() {
            return Ok(None);
        }
        if bytes.pop() != Some(b'\n') {
            return Err(self.wrong("it does not end, or is longer than any line of an export"));
        }
        String::from_utf8(bytes)
            .map(Some)
            .map_err(|_| self.wrong("it is not text"))
    }

    /// What a line says, if it is in its one form.
    pub(super) fn parse<T: Serialize + DeserializeOwned>(
        &self,
        text: &str,
    ) -> Result<T, AuditError> {
        let value: T = serde_json::from_str(text).map_err(|error| self.wrong(error))?;
        let again = serde_json::to_string(&value).map_err(|error| self.wrong(error))?;
        if again != text {
            return Err(self.wrong("it is not written as an export writes it"));
        }
        Ok(value)
    }

    /// That the line which was read last is not in order.
    pub(super) fn wrong(&self, reason: impl ToString) -> AuditError {
        AuditError::Line {
            line: self.line,
            reason: reason.to_string(),
        }
    }
}
