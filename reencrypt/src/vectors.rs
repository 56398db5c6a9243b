//! The vectors of an independent implementation (on libsodium): good ones are reproduced byte for byte from the nonces
//! that they give, bad ones are refused for the reason that they give.
//!
//! They lie in `vectors/`; the environment variable `VECTORS` names another folder, from the working directory or from
//! the root of the repository. This is the only place that chooses nonces, which is why it lives inside the crate: no
//! feature and no public function lets anybody else do so.

#![allow(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic
)]

mod group_json;
mod read_json;
mod wrapped_key_json;

use std::path::{Path, PathBuf};

use curve25519_dalek::scalar::Scalar;
use serde::Deserialize;
use serde::de::DeserializeOwned;

use crate::error::*;
use crate::wrapped_key::wrap_with_nonces;
use crate::*;

#[derive(Clone, Deserialize)]
#[serde(transparent)]
struct Bytes(#[serde(with = "hex::serde")] Vec<u8>);

impl Bytes {
    fn array<const N: usize>(&self) -> [u8; N] {
        self.0.as_slice().try_into().expect("the right length")
    }

    fn point(&self) -> Point {
        Point::from_slice(&self.0).unwrap()
    }

    fn secret(&self) -> SecretScalar {
        SecretScalar::from_canonical_bytes(&self.array()).unwrap()
    }
}

fn load<T: DeserializeOwned>(name: &str) -> T {
    let crate_folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let folder = match std::env::var_os("VECTORS").map(PathBuf::from) {
        Some(folder) if folder.is_dir() => folder,
        Some(folder) => crate_folder.join("..").join(folder),
        None => crate_folder.join("vectors"),
    };
    let path = folder.join(name);
    let text = std::fs::read_to_string(&path)
        .unwrap_or_else(|error| panic!("cannot read {}: {error}", path.display()));
    serde_json::from_str(&text).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// Holds a refusal against the reason that the vector gives. Of a reason not known here only the refusal is asked.
fn assert_refused<T, E: std::fmt::Debug + PartialEq>(
    why: &str,
    outcome: Result<T, E>,
    expected: Option<E>,
) {
    match (outcome, expected) {
        (Ok(_), _) => panic!("accepted, although: {why}"),
        (Err(error), Some(expected)) => assert_eq!(error, expected, "{why}"),
        (Err(_), None) => {}
    }
}
