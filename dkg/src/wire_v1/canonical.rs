//! Values in their one encoding: what the reader takes, the writer writes again to the same bytes.

use serde::Serialize;
use serde::de::DeserializeOwned;

use super::{WireError, truncate};

/// The canonical CBOR of a value.
pub(crate) fn encode<T: Serialize>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    encode_into(value, &mut bytes);
    bytes
}

pub(crate) fn encode_into<T: Serialize>(value: &T, bytes: &mut Vec<u8>) {
    #[allow(
        clippy::expect_used,
        reason = "writing into memory cannot fail, and the types here have no maps or floats"
    )]
    ciborium::into_writer(value, bytes).expect("CBOR into memory");
}

/// Reads a value of at most `most` bytes in its one encoding.
pub(crate) fn decode<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    most: usize,
) -> Result<T, WireError> {
    if bytes.len() > most {
        return Err(WireError::TooLong {
            length: bytes.len(),
            most,
        });
    }
    let value: T = ciborium::from_reader(bytes)
        .map_err(|error| WireError::Malformed(truncate(error.to_string(), 200)))?;
    if encode(&value) != bytes {
        return Err(WireError::NotCanonical);
    }
    Ok(value)
}

/// Reads some fields of a value of at most `most` bytes, in whatever encoding: what is read so is to be [decoded](decode) before it counts.
pub(crate) fn peek<T: DeserializeOwned>(bytes: &[u8], most: usize) -> Option<T> {
    if bytes.len() > most {
        return None;
    }
    ciborium::from_reader(bytes).ok()
}
