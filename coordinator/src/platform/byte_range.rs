//! One range of bytes, as in the header `Range` (RFC 9110 section 14.1.2).

use std::ops::Range;
use std::str::FromStr;

/// Which bytes of a document, before its length is known.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ByteRange {
    /// From this byte on, to the last one given, or to the end.
    From {
        /// The first byte, from 0.
        first: u64,
        /// The last byte, which belongs to it.
        last: Option<u64>,
    },
    /// So many bytes at the end.
    Last(u64),
}

/// A text that is no range of bytes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no range of bytes: give FIRST-LAST, FIRST- or -COUNT, one range only")]
pub struct NoRange(String);

impl ByteRange {
    /// The bytes of a document of this length that it means; `None` if there are none.
    #[must_use]
    pub fn within(self, length: u64) -> Option<Range<u64>> {
        let range = match self {
            Self::From { first, last } => {
                let end = last.map_or(length, |last| last.saturating_add(1).min(length));
                first..end
            }
            Self::Last(count) => length.saturating_sub(count)..length,
        };
        (range.start < range.end).then_some(range)
    }

    /// As the header's value.
    #[must_use]
    pub fn header(self) -> String {
        match self {
            Self::From { first, last: None } => format!("bytes={first}-"),
            Self::From {
                first,
                last: Some(last),
            } => format!("bytes={first}-{last}"),
            Self::Last(count) => format!("bytes=-{count}"),
        }
    }
}

impl FromStr for ByteRange {
    type Err = NoRange;

    /// Reads `0-99`, `100-` or `-100`, with or without `bytes=` in front.
    fn from_str(text: &str) -> Result<Self, NoRange> {
        let refused = || NoRange(text.to_owned());
        let number = |digits: &str| {
            let plain = !digits.is_empty() && digits.bytes().all(|b| b.is_ascii_digit());
            digits
                .parse::<u64>()
                .ok()
                .filter(|_| plain)
                .ok_or_else(refused)
        };
        let range = text.strip_prefix("bytes=").unwrap_or(text).trim();
        let (first, last) = range.split_once('-').ok_or_else(refused)?;
        if first.is_empty() {
            return Ok(Self::Last(number(last)?));
        }
        let first = number(first)?;
        let last = if last.is_empty() {
            None
        } else {
            Some(number(last)?)
        };
        match last {
            Some(last) if last < first => Err(refused()),
            last => Ok(Self::From { first, last }),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ranges_mean_the_bytes_that_there_are() {
        let within = |text: &str, length| text.parse::<ByteRange>().unwrap().within(length);
        assert_eq!(within("bytes=0-99", 1000), Some(0..100));
        assert_eq!(within("0-99", 50), Some(0..50));
        assert_eq!(within("50-", 1000), Some(50..1000));
        assert_eq!(within("999-999", 1000), Some(999..1000));
        assert_eq!(within("1000-", 1000), None);
        assert_eq!(within("-100", 1000), Some(900..1000));
        assert_eq!(within("-100", 10), Some(0..10));
        assert_eq!(within("-0", 10), None);
        assert_eq!(within("0-", 0), None);
        assert_eq!(within("0-18446744073709551615", 7), Some(0..7));
        for bad in [
            "",
            "-",
            "1",
            "2-1",
            "a-b",
            "+1-2",
            "0-1,3-4",
            "bytes=0-1, 3-4",
            "lines=0-1",
            "0--1",
            "0-18446744073709551616",
        ] {
            assert!(bad.parse::<ByteRange>().is_err(), "{bad}");
        }
        for text in ["bytes=0-99", "bytes=5-", "bytes=-7"] {
            assert_eq!(text.parse::<ByteRange>().unwrap().header(), text);
        }
    }
}
