//! The trace that a request belongs to, as W3C Trace Context (version 00) writes it: `00-<trace>-<span>-<flags>`.
//!
//! It is for whoever looks at spans. Nothing is decided by it: no proof, no approval and no audit record has it.

use std::fmt;

use serde::{Deserialize, Deserializer, Serialize, Serializer};

use crate::randomness;

/// Length of a `traceparent` of version 00 in bytes.
pub const TRACEPARENT: usize = 55;

/// A span of a trace, by name: the parent of what is done for it. Its ids are never zero.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TraceParent {
    trace: [u8; 16],
    span: [u8; 8],
    flags: u8,
}

/// The flag by which the caller says that it records the trace.
const SAMPLED: u8 = 1;

impl TraceParent {
    /// A span without a parent, in a trace of its own that is recorded.
    #[must_use]
    pub fn begin() -> Self {
        Self {
            trace: nonzero(),
            span: nonzero(),
            flags: SAMPLED,
        }
    }

    /// Another span of the same trace.
    #[must_use]
    pub fn sibling(&self) -> Self {
        Self {
            span: nonzero(),
            ..*self
        }
    }

    /// Reads the one form of version 00: 55 characters, lower-case hexadecimal, ids that are not zero.
    #[must_use]
    pub fn parse(text: &str) -> Option<Self> {
        let rest = text
            .strip_prefix("00-")
            .filter(|_| text.len() == TRACEPARENT)?;
        let (trace, rest) = rest.split_once('-')?;
        let (span, flags) = rest.split_once('-')?;
        let [flags] = lower_hex(flags)?;
        let (trace, span) = (lower_hex(trace)?, lower_hex(span)?);
        (trace != [0; 16] && span != [0; 8]).then_some(Self { trace, span, flags })
    }

    /// Reads an HTTP header, which may be of a later version: what version 00 knows stands at its beginning.
    #[must_use]
    pub fn from_header(text: &str) -> Option<Self> {
        let head = text.trim().get(..TRACEPARENT)?;
        let tail = text.trim().get(TRACEPARENT..)?;
        let (version, rest) = head.split_once('-')?;
        let [number]: [u8; 1] = lower_hex(version)?;
        let fits = match number {
            0 => tail.is_empty(),
            0xff => false,
            _ => tail.is_empty() || tail.starts_with('-'),
        };
        Self::parse(&format!("00-{rest}")).filter(|_| fits)
    }

    /// The trace's id.
    #[must_use]
    pub fn trace(&self) -> [u8; 16] {
        self.trace
    }

    /// The span's id.
    #[must_use]
    pub fn span(&self) -> [u8; 8] {
        self.span
    }

    /// Whether the caller records the trace.
    #[must_use]
    pub fn is_sampled(&self) -> bool {
        self.flags & SAMPLED != 0
    }
}

fn nonzero<const N: usize>() -> [u8; N] {
    loop {
        let id = randomness::public();
        if id != [0; N] {
            return id;
        }
    }
}

fn lower_hex<const N: usize>(text: &str) -> Option<[u8; N]> {
    let lower = |byte: u8| byte.is_ascii_digit() || (b'a'..=b'f').contains(&byte);
    let mut bytes = [0; N];
    hex::decode_to_slice(text, &mut bytes)
        .ok()
        .filter(|()| text.bytes().all(lower))?;
    Some(bytes)
}

impl fmt::Display for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (trace, span) = (hex::encode(self.trace), hex::encode(self.span));
        write!(f, "00-{trace}-{span}-{:02x}", self.flags)
    }
}

impl Serialize for TraceParent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for TraceParent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct Text;

        impl serde::de::Visitor<'_> for Text {
            type Value = TraceParent;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("a traceparent of version 00")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<TraceParent, E> {
                // What is not one is not repeated: it is a peer's text.
                TraceParent::parse(text)
                    .ok_or_else(|| E::custom("it is no traceparent of version 00"))
            }
        }

        deserializer.deserialize_str(Text)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, missing_docs)]

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn only_the_one_form_is_read() {
        let parsed = TraceParent::parse(GOOD).unwrap();
        assert_eq!(parsed.to_string(), GOOD);
        assert!(parsed.is_sampled());
        let sibling = parsed.sibling();
        assert_eq!(sibling.trace(), parsed.trace());
        assert_ne!(sibling.span(), parsed.span());
        for bad in [
            "",
            "00-4BF92F3577B34DA6A3CE929D0E0E4736-00f067aa0ba902b7-01",
            "00-00000000000000000000000000000000-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-0000000000000000-01",
            "01-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01-",
            "00-4bf92f3577b34da6a3ce929d0e0e473-600f067aa0ba902b7-01",
            "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-0x",
            "00-4bf92f3577b34da6a3ce929d0e0e47\u{e9}-00f067aa0ba902b7-01",
        ] {
            assert_eq!(TraceParent::parse(bad), None, "{bad}");
        }
    }

    #[test]
    fn a_header_may_be_of_a_later_version() {
        let parsed = TraceParent::parse(GOOD);
        let later = format!("cc{}", &GOOD[2..]);
        for text in [
            GOOD,
            &format!(" {GOOD} "),
            &later,
            &format!("{later}-what-comes"),
        ] {
            assert_eq!(TraceParent::from_header(text), parsed, "{text}");
        }
        for text in [
            format!("{GOOD}-more"),
            format!("{later}x"),
            format!("ff{}", &GOOD[2..]),
        ] {
            assert_eq!(TraceParent::from_header(&text), None, "{text}");
        }
    }
}
