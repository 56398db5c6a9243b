//! The one encoding of everything that is signed, hashed or stored: deterministic CBOR (RFC 8949 §4.2).
//!
//! Definite lengths, shortest integers, maps with text keys in the bytewise order of their encodings, absent optional
//! fields left out, no floats, no tags. Whatever is decoded is encoded again and must give the same bytes, so that a value has
//! exactly one encoding and an unknown field, a second key or a trailing byte is refused.

use ciborium::Value;
use serde::{Serialize, de::DeserializeOwned};

/// How deep arrays and maps may be nested in what is decoded. Nothing of ours is deeper than 8.
const MAX_DEPTH: usize = 16;

/// Why bytes are not the canonical encoding of what they should be.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Longer than any value of this kind.
    #[error("{found} bytes are too many: the limit is {limit}")]
    TooLong {
        /// Bytes given.
        found: usize,
        /// Bytes allowed.
        limit: usize,
    },
    /// Not CBOR, or not of this kind, or with a field out of its bounds.
    #[error("not a well-formed value: {0}")]
    Malformed(String),
    /// Well-formed, but not the one encoding of this value.
    #[error("not the canonical encoding of its value")]
    NotCanonical,
}

/// The canonical encoding of `value`.
pub(crate) fn to_bytes<T: Serialize + ?Sized>(value: &T) -> Vec<u8> {
    #[allow(
        clippy::expect_used,
        reason = "types of this module have neither foreign Serialize nor failing ones"
    )]
    let mut value = Value::serialized(value).expect("own types serialise");
    sort(&mut value);
    let mut bytes = Vec::with_capacity(256);
    #[allow(clippy::expect_used, reason = "a vector takes every write")]
    ciborium::into_writer(&value, &mut bytes).expect("vectors take every write");
    bytes
}

/// Decodes at most `limit` bytes, and demands that they are the canonical encoding.
pub(crate) fn from_bytes<T: Serialize + DeserializeOwned>(
    bytes: &[u8],
    limit: usize,
) -> Result<T, DecodeError> {
    if bytes.len() > limit {
        return Err(DecodeError::TooLong {
            found: bytes.len(),
            limit,
        });
    }
    let value: T = ciborium::de::from_reader_with_recursion_limit(bytes, MAX_DEPTH)
        .map_err(|error| DecodeError::Malformed(error.to_string()))?;
    if to_bytes(&value) != bytes {
        return Err(DecodeError::NotCanonical);
    }
    Ok(value)
}

/// Text keys in RFC 8949's order: the head of a text encodes its length, so shorter keys come first.
fn sort(value: &mut Value) {
    match value {
        Value::Map(entries) => {
            entries.iter_mut().for_each(|(_, value)| sort(value));
            entries.sort_by(|(a, _), (b, _)| match (a, b) {
                (Value::Text(a), Value::Text(b)) => {
                    (a.len(), a.as_bytes()).cmp(&(b.len(), b.as_bytes()))
                }
                _ => std::cmp::Ordering::Equal,
            });
        }
        Value::Array(items) => items.iter_mut().for_each(sort),
        _ => {}
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, PartialEq, Serialize, Deserialize)]
    struct Example {
        longer: u64,
        #[serde(default, skip_serializing_if = "Option::is_none")]
        bb: Option<bool>,
        aa: String,
    }

    #[test]
    fn keys_are_sorted_and_other_encodings_refused() {
        let example = Example {
            longer: 1,
            bb: Some(true),
            aa: "x".into(),
        };
        let bytes = to_bytes(&example);
        assert_eq!(hex::encode(&bytes), "a36261616178626262f5666c6f6e67657201");
        assert_eq!(from_bytes::<Example>(&bytes, 64).unwrap(), example);
        let too_long = DecodeError::TooLong {
            found: bytes.len(),
            limit: 3,
        };
        assert_eq!(from_bytes::<Example>(&bytes, 3), Err(too_long));

        for other in [
            "a3666c6f6e676572016261616178626262f5", // keys in another order
            "a36261616178626262f5666c6f6e6765721801", // an integer longer than need be
            "a362616178016178626262f5666c6f6e67657201", // a text longer than need be
            "bf6261616178626262f5666c6f6e67657201ff", // a map of indefinite length
            "a462616161786262620bf5666c6f6e67657201", // another type
            "a46261616178626262f5656f7468657200666c6f6e67657201", // an unknown field
        ] {
            assert!(
                from_bytes::<Example>(&hex::decode(other).unwrap(), 64).is_err(),
                "{other}"
            );
        }
        let absent = Example {
            bb: None,
            ..example
        };
        assert_eq!(
            hex::encode(to_bytes(&absent)),
            "a2626161617866 6c6f6e67657201".replace(' ', "")
        );
        let null = hex::decode("a36261616178626262f6666c6f6e67657201").unwrap();
        assert_eq!(
            from_bytes::<Example>(&null, 64),
            Err(DecodeError::NotCanonical)
        );
        let mut trailing = bytes.clone();
        trailing.push(0);
        assert!(from_bytes::<Example>(&trailing, 64).is_err());
    }
}
