//! What a node asks of a disk, behind one trait: so that whoever tests what survives a crash can put a disk of his own below the very
//! code that serves ([`crate::store`], [`crate::audit`]).
//!
//! What the callers rely on, and an implementation must keep: what [`DiskFile::sync_data`] has confirmed is there after any crash;
//! [`Disk::replace`] leaves the old contents or the new, never a part; and names that were made are there after a crash once
//! [`Disk::sync_folder`] has confirmed it. Nothing is relied on beyond that: a write that was not confirmed may be there, or not, or
//! in part.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, Write};
use std::os::unix::fs::{DirBuilderExt, FileExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

/// A disk.
pub trait Disk: Send + Sync {
    /// Makes a folder that only its owner may enter, and those above it; it is no fault if it is there.
    ///
    /// # Errors
    /// The system's.
    fn make_folder(&self, path: &Path) -> io::Result<()>;
    /// The paths of what is in a folder, in any order.
    ///
    /// # Errors
    /// The system's.
    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>>;
    /// Length of a file in bytes.
    ///
    /// # Errors
    /// The system's.
    fn length(&self, path: &Path) -> io::Result<u64>;
    /// A whole file.
    ///
    /// # Errors
    /// The system's.
    fn read(&self, path: &Path) -> io::Result<Vec<u8>>;
    /// A part of a file, as long as `buffer`.
    ///
    /// # Errors
    /// The system's; [`io::ErrorKind::UnexpectedEof`] if the file ends before.
    fn read_at(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> io::Result<()>;
    /// Opens a file for writing; `create` makes it, readable by its owner only, if it is missing.
    ///
    /// # Errors
    /// The system's.
    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>>;
    /// Puts a file with these contents in place of the one that is there, if one is: durably, and all of it or nothing.
    ///
    /// # Errors
    /// The system's; the earlier file may be there then, or the new one.
    fn replace(&self, path: &Path, contents: &[u8]) -> io::Result<()>;
    /// Removes a file.
    ///
    /// # Errors
    /// The system's.
    fn remove(&self, path: &Path) -> io::Result<()>;
    /// Makes the names in a folder durable.
    ///
    /// # Errors
    /// The system's.
    fn sync_folder(&self, folder: &Path) -> io::Result<()>;
    /// Opens the database in a file that is there.
    ///
    /// # Errors
    /// redb's.
    fn database(&self, path: &Path) -> Result<redb::Database, redb::DatabaseError>;
}

/// A file that is open for writing.
pub trait DiskFile: Send {
    /// Writes all of `bytes` at `offset`.
    ///
    /// # Errors
    /// The system's.
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()>;
    /// Cuts the file off at `length`, or fills it up with zeros to it.
    ///
    /// # Errors
    /// The system's.
    fn set_len(&self, length: u64) -> io::Result<()>;
    /// Returns when what was written within the file's durable length is durable.
    ///
    /// # Errors
    /// The system's; what is durable is not known then.
    fn sync_data(&self) -> io::Result<()>;
    /// Returns when everything is durable, the length too.
    ///
    /// # Errors
    /// The system's; what is durable is not known then.
    fn sync_all(&self) -> io::Result<()>;
}

/// The disk of the machine.
#[derive(Debug, Clone, Copy, Default)]
pub struct SystemDisk;

impl Disk for SystemDisk {
    fn make_folder(&self, path: &Path) -> io::Result<()> {
        DirBuilder::new().recursive(true).mode(0o700).create(path)
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        fs::read_dir(folder)?
            .map(|entry| Ok(entry?.path()))
            .collect()
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        Ok(fs::metadata(path)?.len())
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        fs::read(path)
    }

    fn read_at(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        File::open(path)?.read_exact_at(buffer, offset)
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.write(true).create(create).truncate(false);
        Ok(Box::new(options.mode(0o600).open(path)?))
    }

    fn replace(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        let folder = path.parent().unwrap_or(Path::new("."));
        // The temporary file has mode 0600, and gets its name only when it is complete.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(contents)?;
        file.as_file().sync_all()?;
        file.persist(path).map_err(|error| error.error)?;
        self.sync_folder(folder)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    fn sync_folder(&self, folder: &Path) -> io::Result<()> {
        File::open(folder)?.sync_all()
    }

    fn database(&self, path: &Path) -> Result<redb::Database, redb::DatabaseError> {
        redb::Database::builder().set_cache_size(CACHE).open(path)
    }
}

/// Bytes of the database's cache: more than a node's whole store mostly has.
pub const CACHE: usize = 4 * 1024 * 1024;

impl DiskFile for File {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        FileExt::write_all_at(self, bytes, offset)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        File::set_len(self, length)
    }

    fn sync_data(&self) -> io::Result<()> {
        File::sync_data(self)
    }

    fn sync_all(&self) -> io::Result<()> {
        File::sync_all(self)
    }
}
