//! A disk that forgets what was not synced.
//!
//! It stands below the very store and log of a node ([`cryptonode::disk::Disk`], and a backend of redb's). What a process wrote is
//! seen at once, and durable when it was synced: file by file for contents, folder by folder for names. A *fuse* cuts the power in
//! the middle of any operation: from then on everything fails. What is there after the power is back is up to the [`Tear`]: of what was
//! not synced, all, nothing, or any part, down to sectors of 512 bytes.

use std::collections::BTreeMap;
use std::io;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, MutexGuard};

use cryptonode::disk::{CACHE, Disk, DiskFile};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

const SECTOR: usize = 512;

/// What becomes of writes that were not synced when the power went.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tear {
    /// All are there: the process was killed, and the system was not.
    Kept,
    /// None is there.
    Lost,
    /// Each whole, in part, or not at all.
    Torn,
}

#[derive(Debug, Clone)]
enum Write {
    Bytes { offset: usize, bytes: Vec<u8> },
    Length(usize),
}

#[derive(Debug, Clone, Default)]
struct File {
    seen: Vec<u8>,
    durable: Vec<u8>,
    pending: Vec<Write>,
}

#[derive(Debug, Clone)]
enum Naming {
    Name(PathBuf, u64),
    Unname(PathBuf),
}

#[derive(Debug, Clone, Default)]
struct State {
    files: BTreeMap<u64, File>,
    next: u64,
    seen: BTreeMap<PathBuf, u64>,
    durable: BTreeMap<PathBuf, u64>,
    /// Names that were made or taken away since the last sync of a folder.
    pending: Vec<Naming>,
    /// Operations until the power goes.
    fuse: Option<u64>,
    off: bool,
    /// What it comes back with after a loss of power, whatever it has confirmed since: a cache that was never emptied.
    stale: Option<Box<State>>,
}

/// A disk. Clones are the same disk.
#[derive(Debug, Clone, Default)]
pub struct SimDisk(Arc<Mutex<State>>);

fn no_power() -> io::Error {
    io::Error::other("there is no power")
}

/// Zeros up to this length; far faster than `resize` where nothing is optimised.
fn fill(bytes: &mut Vec<u8>, length: usize) {
    if bytes.len() < length {
        bytes.extend_from_slice(&vec![0; length - bytes.len()]);
    }
}

impl Write {
    fn apply(&self, to: &mut Vec<u8>) {
        match self {
            Self::Length(length) => {
                to.truncate(*length);
                fill(to, *length);
            }
            Self::Bytes { offset, bytes } => {
                let end = offset + bytes.len();
                fill(to, end);
                to[*offset..end].copy_from_slice(bytes);
            }
        }
    }

    /// Some of its sectors.
    fn apply_in_part(&self, to: &mut Vec<u8>, rng: &mut StdRng) {
        let Self::Bytes { offset, bytes } = self else {
            return self.apply(to);
        };
        let share = rng.random_range(0.0..1.0);
        let mut at = 0;
        while at < bytes.len() {
            let end = (SECTOR - (offset + at) % SECTOR + at).min(bytes.len());
            if rng.random_bool(share) {
                let part = Self::Bytes {
                    offset: offset + at,
                    bytes: bytes[at..end].to_vec(),
                };
                part.apply(to);
            }
            at = end;
        }
    }
}

impl State {
    /// Before an operation that changes something: whether there is power.
    fn spend(&mut self) -> io::Result<()> {
        self.look()?;
        if let Some(fuse) = &mut self.fuse {
            if *fuse == 0 {
                self.off = true;
                return Err(no_power());
            }
            *fuse -= 1;
        }
        Ok(())
    }

    fn look(&self) -> io::Result<()> {
        if self.off { Err(no_power()) } else { Ok(()) }
    }

    fn file(&self, path: &Path) -> io::Result<u64> {
        self.look()?;
        let id = self.seen.get(path).copied();
        id.ok_or_else(|| io::ErrorKind::NotFound.into())
    }

    /// The write is on its way when the power goes.
    fn write(&mut self, id: u64, write: Write) -> io::Result<()> {
        let spent = self.spend();
        if spent.is_err() && self.fuse != Some(0) {
            return spent;
        }
        self.fuse = self.fuse.filter(|_| spent.is_ok());
        let file = self.files.entry(id).or_default();
        write.apply(&mut file.seen);
        file.pending.push(write);
        spent
    }

    fn sync(&mut self, id: u64) -> io::Result<()> {
        self.spend()?;
        let file = self.files.entry(id).or_default();
        for write in std::mem::take(&mut file.pending) {
            write.apply(&mut file.durable);
        }
        Ok(())
    }

    fn name(&mut self, naming: Naming) -> io::Result<()> {
        self.spend()?;
        match &naming {
            Naming::Name(path, id) => drop(self.seen.insert(path.clone(), *id)),
            Naming::Unname(path) => drop(self.seen.remove(path)),
        }
        self.pending.push(naming);
        Ok(())
    }

    fn sync_names(&mut self) -> io::Result<()> {
        self.spend()?;
        self.settle_names(usize::MAX);
        Ok(())
    }

    /// Names become durable in the order in which they were made: that is what journals of file systems do.
    fn settle_names(&mut self, so_many: usize) {
        for naming in self.pending.drain(..).take(so_many) {
            match naming {
                Naming::Name(path, id) => drop(self.durable.insert(path, id)),
                Naming::Unname(path) => drop(self.durable.remove(&path)),
            }
        }
    }
}

impl SimDisk {
    fn lock(&self) -> MutexGuard<'_, State> {
        self.0
            .lock()
            .unwrap_or_else(std::sync::PoisonError::into_inner)
    }

    /// Another disk with the same contents, durably.
    pub fn copy(&self) -> Self {
        let state = self.lock();
        let mut copy = State {
            next: state.next,
            ..State::default()
        };
        for (path, id) in &state.seen {
            let seen = state.files[id].seen.clone();
            copy.files.insert(
                *id,
                File {
                    durable: seen.clone(),
                    seen,
                    pending: Vec::new(),
                },
            );
            copy.seen.insert(path.clone(), *id);
        }
        copy.durable = copy.seen.clone();
        Self(Arc::new(Mutex::new(copy)))
    }

    /// Puts a file there, durably.
    pub fn put(&self, path: &Path, contents: Vec<u8>) {
        let mut state = self.lock();
        let id = state.next;
        state.next += 1;
        state.files.insert(
            id,
            File {
                seen: contents.clone(),
                durable: contents,
                pending: Vec::new(),
            },
        );
        state.seen.insert(path.to_owned(), id);
        state.durable.insert(path.to_owned(), id);
    }

    /// The power goes after so many more operations.
    pub fn set_fuse(&self, operations: u64) {
        self.lock().fuse = Some(operations);
    }

    /// The power goes.
    pub fn cut(&self) {
        self.lock().off = true;
    }

    pub fn is_off(&self) -> bool {
        self.lock().off
    }

    /// From now on it confirms what it will have forgotten when the power is back.
    pub fn lie(&self) {
        let mut state = self.lock();
        state.stale = Some(Box::new(state.clone()));
    }

    /// The power is back, and with it what survived.
    pub fn restore(&self, tear: Tear, seed: u64) {
        let mut state = self.lock();
        if let Some(stale) = state.stale.take() {
            *state = *stale;
            return;
        }
        let rng = &mut StdRng::seed_from_u64(seed);
        let names = match tear {
            Tear::Kept => usize::MAX,
            Tear::Lost => 0,
            Tear::Torn => rng.random_range(0..=state.pending.len()),
        };
        state.settle_names(names);
        state.seen = state.durable.clone();
        for file in state.files.values_mut() {
            for write in std::mem::take(&mut file.pending) {
                match tear {
                    Tear::Kept => write.apply(&mut file.durable),
                    Tear::Lost => {}
                    Tear::Torn => match rng.random_range(0..3) {
                        0 => {}
                        1 => write.apply(&mut file.durable),
                        _ => write.apply_in_part(&mut file.durable, rng),
                    },
                }
            }
            file.seen = file.durable.clone();
        }
        (state.fuse, state.off) = (None, false);
    }

    /// Whether these bytes are in a durable file of this folder: what a loss of power now would leave.
    pub fn holds_durably(&self, folder: &Path, bytes: &[u8]) -> bool {
        let state = self.lock();
        let files = state.durable.iter();
        files
            .filter(|(path, _)| path.starts_with(folder))
            .any(|(_, id)| memchr::memmem::find(&state.files[id].durable, bytes).is_some())
    }
}

impl Disk for SimDisk {
    fn make_folder(&self, _: &Path) -> io::Result<()> {
        self.lock().look()
    }

    fn list(&self, folder: &Path) -> io::Result<Vec<PathBuf>> {
        let state = self.lock();
        state.look()?;
        let paths = state.seen.keys();
        Ok(paths
            .filter(|path| path.parent() == Some(folder))
            .cloned()
            .collect())
    }

    fn length(&self, path: &Path) -> io::Result<u64> {
        let state = self.lock();
        let id = state.file(path)?;
        Ok(state.files[&id].seen.len() as u64)
    }

    fn read(&self, path: &Path) -> io::Result<Vec<u8>> {
        let state = self.lock();
        let id = state.file(path)?;
        Ok(state.files[&id].seen.clone())
    }

    fn read_at(&self, path: &Path, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let id = self.lock().file(path)?;
        Handle(self.clone(), id).read(offset, buffer)
    }

    fn open(&self, path: &Path, create: bool) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.lock();
        let id = match state.file(path) {
            Err(error) if create && error.kind() == io::ErrorKind::NotFound => {
                let id = state.next;
                state.next += 1;
                state.files.insert(id, File::default());
                state.name(Naming::Name(path.to_owned(), id))?;
                id
            }
            found => found?,
        };
        Ok(Box::new(Handle(self.clone(), id)))
    }

    fn replace(&self, path: &Path, contents: &[u8]) -> io::Result<()> {
        let mut state = self.lock();
        state.look()?;
        let id = state.next;
        state.next += 1;
        let temporary = path.with_extension(format!("tmp{id}"));
        state.name(Naming::Name(temporary.clone(), id))?;
        let bytes = contents.to_vec();
        state.write(id, Write::Bytes { offset: 0, bytes })?;
        state.sync(id)?;
        // One step of a file system's journal.
        state.name(Naming::Name(path.to_owned(), id))?;
        state.seen.remove(&temporary);
        state.pending.push(Naming::Unname(temporary));
        state.sync_names()
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.lock();
        state.file(path)?;
        state.name(Naming::Unname(path.to_owned()))
    }

    fn sync_folder(&self, _: &Path) -> io::Result<()> {
        self.lock().sync_names()
    }

    fn database(&self, path: &Path) -> Result<redb::Database, redb::DatabaseError> {
        let id = self.lock().file(path).map_err(redb::StorageError::Io)?;
        redb::Database::builder()
            .set_cache_size(CACHE)
            .create_with_backend(Handle(self.clone(), id))
    }
}

/// An open file.
#[derive(Debug)]
struct Handle(SimDisk, u64);

impl Handle {
    fn read(&self, offset: u64, buffer: &mut [u8]) -> io::Result<()> {
        let state = self.0.lock();
        state.look()?;
        let offset = usize::try_from(offset).unwrap_or(usize::MAX);
        let end = offset.saturating_add(buffer.len());
        let bytes = state.files[&self.1].seen.get(offset..end);
        buffer.copy_from_slice(bytes.ok_or(io::ErrorKind::UnexpectedEof)?);
        Ok(())
    }

    fn write(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let write = Write::Bytes {
            offset: usize::try_from(offset).unwrap_or(usize::MAX),
            bytes: bytes.to_vec(),
        };
        self.0.lock().write(self.1, write)
    }

    fn set_length(&self, length: u64) -> io::Result<()> {
        let length = usize::try_from(length).unwrap_or(usize::MAX);
        self.0.lock().write(self.1, Write::Length(length))
    }

    fn sync(&self) -> io::Result<()> {
        self.0.lock().sync(self.1)
    }
}

impl DiskFile for Handle {
    fn write_all_at(&self, bytes: &[u8], offset: u64) -> io::Result<()> {
        self.write(offset, bytes)
    }

    fn set_len(&self, length: u64) -> io::Result<()> {
        self.set_length(length)
    }

    fn sync_data(&self) -> io::Result<()> {
        self.sync()
    }

    fn sync_all(&self) -> io::Result<()> {
        self.sync()
    }
}

impl redb::StorageBackend for Handle {
    fn len(&self) -> Result<u64, io::Error> {
        let state = self.0.lock();
        state.look()?;
        Ok(state.files[&self.1].seen.len() as u64)
    }

    fn read(&self, offset: u64, out: &mut [u8]) -> Result<(), io::Error> {
        Self::read(self, offset, out)
    }

    fn set_len(&self, length: u64) -> Result<(), io::Error> {
        self.set_length(length)
    }

    fn sync_data(&self) -> Result<(), io::Error> {
        self.sync()
    }

    fn write(&self, offset: u64, data: &[u8]) -> Result<(), io::Error> {
        Self::write(self, offset, data)
    }
}
