//! The user's files: checked before anything starts, compared when they come back.

use std::fs::File;
use std::io::{BufReader, Read};
use std::path::{Path, PathBuf};

/// A file to write and read back.
#[derive(Clone, Debug)]
pub struct Document {
    /// Where it is.
    pub file: PathBuf,
    /// Its name on the record: its place in the command line and its file name, in the characters a name may have.
    pub name: String,
    /// Its length in bytes when the demo began.
    pub length: u64,
}

/// A file that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum DocumentError {
    /// It cannot be opened.
    #[error("cannot read {}: {source}; name a file that exists and that you may read", .file.display())]
    Unreadable {
        /// The file.
        file: PathBuf,
        /// Why not.
        source: std::io::Error,
    },
    /// It is a folder, a device, a pipe.
    #[error("{} is not a regular file; name a file", .0.display())]
    NotAFile(PathBuf),
}

impl Document {
    /// Opens every file once, so that a wrong one is found before anything starts.
    ///
    /// # Errors
    /// [`DocumentError`] for the first that cannot be used.
    pub fn open_all(files: &[PathBuf]) -> Result<Vec<Self>, DocumentError> {
        (1..)
            .zip(files)
            .map(|(number, file)| Self::open(number, file))
            .collect()
    }

    fn open(number: usize, file: &Path) -> Result<Self, DocumentError> {
        let unreadable = |source| DocumentError::Unreadable {
            file: file.to_owned(),
            source,
        };
        // Looked at before it is opened: opening a pipe would wait for its other end.
        let metadata = std::fs::metadata(file).map_err(unreadable)?;
        if !metadata.is_file() {
            return Err(DocumentError::NotAFile(file.to_owned()));
        }
        File::open(file).map_err(unreadable)?;
        let stem: String = file
            .file_name()
            .map(|name| name.to_string_lossy())
            .unwrap_or_default()
            .chars()
            .map(|c| {
                if c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-') {
                    c
                } else {
                    '-'
                }
            })
            .take(100)
            .collect();
        Ok(Self {
            file: file.to_owned(),
            name: format!("{number}-{stem}"),
            length: metadata.len(),
        })
    }

    /// Whether another file has the same bytes as this one.
    ///
    /// # Errors
    /// What reading either of them says.
    pub fn is_same_as(&self, other: &Path) -> std::io::Result<bool> {
        let mut ours = BufReader::with_capacity(1 << 20, File::open(&self.file)?);
        let mut theirs = BufReader::with_capacity(1 << 20, File::open(other)?);
        let (mut a, mut b) = (vec![0; 1 << 16], vec![0; 1 << 16]);
        loop {
            let read = ours.read(&mut a)?;
            if read == 0 {
                return Ok(theirs.read(&mut b)? == 0);
            }
            let (Some(a), Some(b)) = (a.get(..read), b.get_mut(..read)) else {
                return Ok(false);
            };
            match theirs.read_exact(b) {
                Ok(()) if a == b => {}
                Ok(()) => return Ok(false),
                Err(error) if error.kind() == std::io::ErrorKind::UnexpectedEof => {
                    return Ok(false);
                }
                Err(error) => return Err(error),
            }
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::indexing_slicing)]
    use super::*;

    #[test]
    fn names_are_names_of_the_record_and_differ() {
        let dir = tempfile::tempdir().unwrap();
        let file = dir.path().join("März & co.txt");
        std::fs::write(&file, b"abc").unwrap();
        let documents = Document::open_all(&[file.clone(), file]).unwrap();
        let names: Vec<&str> = documents.iter().map(|d| d.name.as_str()).collect();
        assert_eq!(names, ["1-M-rz---co.txt", "2-M-rz---co.txt"]);
        assert!(
            names
                .iter()
                .all(|name| coordinator::record::Identifier::new(name).is_ok())
        );
    }

    #[test]
    fn a_missing_file_a_folder_and_a_pipe_are_refused_by_name() {
        let dir = tempfile::tempdir().unwrap();
        let missing = dir.path().join("missing");
        assert!(
            Document::open_all(&[missing])
                .unwrap_err()
                .to_string()
                .contains("missing")
        );
        let folder = Document::open_all(&[dir.path().to_owned()]);
        assert!(matches!(folder, Err(DocumentError::NotAFile(_))));
    }

    #[test]
    fn comparison_sees_every_difference() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            path
        };
        let long = vec![7; 200_000];
        let document = Document::open(1, &write("a", &long)).unwrap();
        assert!(document.is_same_as(&write("same", &long)).unwrap());
        assert!(
            !document
                .is_same_as(&write("short", &long[..199_999]))
                .unwrap()
        );
        assert!(
            !document
                .is_same_as(&write("long", &[long.clone(), vec![7]].concat()))
                .unwrap()
        );
        let mut other = long;
        other[150_000] = 8;
        assert!(!document.is_same_as(&write("other", &other)).unwrap());
    }
}
