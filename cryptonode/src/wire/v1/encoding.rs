//! The one encoding of a message, and the bounds that are checked around it.

use serde::de::{DeserializeOwned, Error as _, SeqAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};

use super::{MAX_CODE, WireError};

/// `text` with control characters replaced and cut to `limit` bytes at a character boundary: what may be shown of text
/// that somebody else had a hand in, and what fits a refusal's message.
#[must_use]
pub fn presentable(text: &str, limit: usize) -> String {
    let mut shown = String::with_capacity(text.len().min(limit));
    for character in text.chars() {
        let character = if character.is_control() {
            ' '
        } else {
            character
        };
        if shown.len() + character.len_utf8() > limit {
            break;
        }
        shown.push(character);
    }
    shown
}

pub(super) fn encode<T: Serialize>(message: &T) -> Result<Vec<u8>, WireError> {
    let mut bytes = Vec::with_capacity(4096);
    ciborium::into_writer(message, &mut bytes).map_err(|error| WireError::Shape {
        reason: error.to_string(),
    })?;
    Ok(bytes)
}

pub(super) fn decode<T: Serialize + DeserializeOwned>(bytes: &[u8]) -> Result<T, WireError> {
    // The messages nest four deep; the decoder's default of 256 would only let a peer grow the stack.
    let message: T =
        ciborium::de::from_reader_with_recursion_limit(bytes, 16).map_err(|error| match error {
            ciborium::de::Error::Io(_) => WireError::Truncated,
            ciborium::de::Error::Syntax(offset) => WireError::NotCbor { offset },
            ciborium::de::Error::Semantic(_, reason) => WireError::Shape {
                reason: presentable(&reason, 200),
            },
            ciborium::de::Error::RecursionLimitExceeded => WireError::Shape {
                reason: "nested too deep".to_owned(),
            },
        })?;
    let mut rest = Matching(bytes);
    match ciborium::into_writer(&message, &mut rest) {
        Ok(()) if rest.0.is_empty() => Ok(message),
        Ok(()) | Err(ciborium::ser::Error::Io(_)) => Err(WireError::NotCanonical),
        Err(ciborium::ser::Error::Value(reason)) => Err(WireError::Shape { reason }),
    }
}

/// Takes only what it holds: the bytes that are still to come. So an encoding is compared, and never written.
struct Matching<'a>(&'a [u8]);

impl std::io::Write for Matching<'_> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let rest = self.0.strip_prefix(bytes);
        self.0 = rest.ok_or(std::io::ErrorKind::InvalidData)?;
        Ok(bytes.len())
    }

    fn flush(&mut self) -> std::io::Result<()> {
        Ok(())
    }
}

pub(super) fn within(length: usize, limit: usize) -> Result<(), WireError> {
    if length > limit {
        Err(WireError::TooLong { limit })
    } else {
        Ok(())
    }
}

pub(super) fn field_at_most(
    field: &'static str,
    length: usize,
    bound: usize,
) -> Result<(), WireError> {
    if length > bound {
        Err(WireError::FieldLength {
            field,
            length,
            bound,
        })
    } else {
        Ok(())
    }
}

pub(super) fn field_exactly(
    field: &'static str,
    length: usize,
    bound: usize,
) -> Result<(), WireError> {
    if length == bound {
        Ok(())
    } else {
        Err(WireError::FieldLength {
            field,
            length,
            bound,
        })
    }
}

pub(super) fn printable(field: &'static str, text: &str) -> Result<(), WireError> {
    if text.chars().any(char::is_control) {
        Err(WireError::FieldText { field })
    } else {
        Ok(())
    }
}

/// Codes are what programs compare.
pub(super) fn is_code(field: &'static str, code: &str) -> Result<(), WireError> {
    field_at_most(field, code.len(), MAX_CODE)?;
    let mut bytes = code.bytes();
    if !code.is_empty() && bytes.all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
    {
        Ok(())
    } else {
        Err(WireError::FieldText { field })
    }
}

/// Decodes a list, and stops at the first item too many.
pub(super) fn at_most<'de, D, T, const MAX: usize>(deserializer: D) -> Result<Vec<T>, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de>,
{
    struct AtMost<T, const MAX: usize>(std::marker::PhantomData<T>);

    impl<'de, T: Deserialize<'de>, const MAX: usize> Visitor<'de> for AtMost<T, MAX> {
        type Value = Vec<T>;

        fn expecting(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
            write!(f, "a list of at most {MAX} items")
        }

        fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<Self::Value, A::Error> {
            let mut list = Vec::new();
            while let Some(item) = items.next_element()? {
                if list.len() == MAX {
                    return Err(A::Error::custom(format_args!(
                        "a list of more than {MAX} items"
                    )));
                }
                list.push(item);
            }
            Ok(list)
        }
    }

    deserializer.deserialize_seq(AtMost::<T, MAX>(std::marker::PhantomData))
}
