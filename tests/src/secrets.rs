//! The search for secrets where none may be.
//!
//! A secret leaks in many forms: raw, in hexadecimal, in base64, or as the list of numbers that a derived `Debug` prints.
//! [`Secrets`] holds what must not be seen and looks for every form of it.

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD_NO_PAD, URL_SAFE_NO_PAD};
use zeroize::Zeroizing;

/// The shortest secret that is looked for: shorter ones are found by chance.
const SHORTEST: usize = 12;

struct Needle {
    name: String,
    form: &'static str,
    bytes: Zeroizing<Vec<u8>>,
}

/// Secrets to look for, each in all its forms.
#[derive(Default)]
pub struct Secrets {
    needles: Vec<Needle>,
    count: usize,
}

/// A secret where it must not be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Leak {
    /// What it is, as it was named when it was added. The secret itself is not repeated.
    pub secret: String,
    /// In which form it was found.
    pub form: &'static str,
    /// The file.
    pub file: PathBuf,
    /// At which byte.
    pub offset: usize,
}

impl Secrets {
    /// Nothing to look for yet.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// How many secrets were added.
    #[must_use]
    pub fn count(&self) -> usize {
        self.count
    }

    /// Adds a secret of bytes, such as a key: raw, in hexadecimal of both cases, in base64, and as a list of numbers.
    ///
    /// # Panics
    /// If it is shorter than 12 bytes, which would be found by chance.
    pub fn add_bytes(&mut self, name: &str, secret: &[u8]) {
        assert!(
            secret.len() >= SHORTEST,
            "{name} is too short to be looked for"
        );
        self.count += 1;
        self.add(name, "raw", secret.to_vec());
        self.add(name, "hexadecimal", hex::encode(secret).into_bytes());
        self.add(
            name,
            "upper-case hexadecimal",
            hex::encode_upper(secret).into_bytes(),
        );
        let numbers: Vec<String> = secret.iter().map(u8::to_string).collect();
        self.add(name, "list of numbers", numbers.join(", ").into_bytes());
        self.add(name, "base64", STANDARD_NO_PAD.encode(secret).into_bytes());
        self.add(
            name,
            "URL-safe base64",
            URL_SAFE_NO_PAD.encode(secret).into_bytes(),
        );
    }

    /// Adds a secret of text, such as a passphrase: as it is, and as bytes.
    ///
    /// # Panics
    /// As [`Secrets::add_bytes`].
    pub fn add_text(&mut self, name: &str, secret: &str) {
        self.add_bytes(name, secret.as_bytes());
    }

    fn add(&mut self, name: &str, form: &'static str, bytes: Vec<u8>) {
        self.needles.push(Needle {
            name: name.to_owned(),
            form,
            bytes: Zeroizing::new(bytes),
        });
    }

    /// Looks through one text or memory image, once for all secrets: images are large, and secrets are many.
    #[must_use]
    pub fn search(&self, file: &Path, haystack: &[u8]) -> Vec<Leak> {
        let mut by_start: HashMap<[u8; 2], Vec<usize>> = HashMap::new();
        let mut starts = vec![false; 1 << 16];
        for (number, needle) in self.needles.iter().enumerate() {
            if let Some(start) = needle.bytes.first_chunk::<2>() {
                by_start.entry(*start).or_default().push(number);
                if let Some(one) = starts.get_mut(usize::from(u16::from_be_bytes(*start))) {
                    *one = true;
                }
            }
        }
        let mut found: BTreeMap<usize, usize> = BTreeMap::new();
        for (offset, pair) in haystack.array_windows::<2>().enumerate() {
            if !starts
                .get(usize::from(u16::from_be_bytes(*pair)))
                .is_some_and(|it| *it)
            {
                continue;
            }
            let rest = haystack.get(offset..).unwrap_or_default();
            for number in by_start.get(pair).into_iter().flatten() {
                let needle = self.needles.get(*number);
                if needle.is_some_and(|needle| rest.starts_with(&needle.bytes)) {
                    found.entry(*number).or_insert(offset);
                }
            }
        }
        let leak = |(number, offset): (usize, usize)| {
            let needle = self.needles.get(number)?;
            Some(Leak {
                secret: needle.name.clone(),
                form: needle.form,
                file: file.to_owned(),
                offset,
            })
        };
        found.into_iter().filter_map(leak).collect()
    }

    /// Looks through all files below a folder. Gives what was found, and how many bytes were read.
    ///
    /// # Errors
    /// If a file cannot be read.
    pub fn search_below(&self, folder: &Path) -> std::io::Result<(Vec<Leak>, u64)> {
        let (mut leaks, mut read) = (Vec::new(), 0);
        let mut folders = vec![folder.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder)? {
                let path = entry?.path();
                if path.is_dir() {
                    folders.push(path);
                } else {
                    let bytes = std::fs::read(&path)?;
                    read += bytes.len() as u64;
                    leaks.extend(self.search(&path, &bytes));
                }
            }
        }
        Ok((leaks, read))
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_form_is_found_and_nothing_else() {
        let key = *b"\x00\x01thirty-two bytes of a secret\xfe\xff";
        let mut secrets = Secrets::new();
        secrets.add_bytes("key", &key);
        let dir = tempfile::tempdir().unwrap();
        let texts = [
            key.to_vec(),
            format!("x={key:?}").into_bytes(),
            format!("key {} leaked", hex::encode(key)).into_bytes(),
            hex::encode_upper(key).into_bytes(),
            base64::engine::general_purpose::STANDARD
                .encode(key)
                .into_bytes(),
        ];
        std::fs::create_dir(dir.path().join("below")).unwrap();
        for (number, text) in texts.iter().enumerate() {
            std::fs::write(dir.path().join("below").join(number.to_string()), text).unwrap();
        }
        std::fs::write(dir.path().join("harmless"), hex::encode([7; 64])).unwrap();
        let (leaks, read) = secrets.search_below(dir.path()).unwrap();
        let mut files: Vec<_> = leaks
            .iter()
            .map(|leak| leak.file.file_name().unwrap().to_owned())
            .collect();
        files.sort();
        files.dedup();
        assert_eq!(files, ["0", "1", "2", "3", "4"]);
        assert!(read > 400);
    }
}
