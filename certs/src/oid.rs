//! Object identifiers: this profile's own, and those of RFC 5280 that it uses.
//!
//! Everything of our own hangs under one constant, [`ARC`]: the arc that RFC 5612 sets aside for documentation. When an
//! arc of its own is registered, that line changes and nothing else. Identifiers are compared as their DER contents
//! octets, which are unique for an identifier once [`Oid::from_contents`] has refused the padded forms.

use core::fmt;

/// `ARC`, 1.3.6.1.4.1.32473.1: the arc of this profile.
pub const ARC: [u64; 8] = [1, 3, 6, 1, 4, 1, 32473, 1];

/// extKeyUsage, 2.5.29.37, as arcs: the library that issues needs them so.
pub(crate) const EXTENDED_KEY_USAGE_ARCS: [u64; 4] = [2, 5, 29, 37];

/// `ARC.1.1`: extension with the `write_id` of the wrapped key.
pub const WRITE_ID_ARCS: [u64; 10] = under_arc([1, 1]);
/// `ARC.1.2`: extension with the ephemeral point X.
pub const EPHEMERAL_POINT_ARCS: [u64; 10] = under_arc([1, 2]);
/// `ARC.1.3`: extension with the ledger's approval id.
pub const APPROVAL_ID_ARCS: [u64; 10] = under_arc([1, 3]);
/// `ARC.2.1`: extended key usage of an approval.
pub const APPROVAL_USAGE_ARCS: [u64; 10] = under_arc([2, 1]);

const WRITE_ID_CONTENTS: [u8; 11] = contents(&WRITE_ID_ARCS);
const EPHEMERAL_POINT_CONTENTS: [u8; 11] = contents(&EPHEMERAL_POINT_ARCS);
const APPROVAL_ID_CONTENTS: [u8; 11] = contents(&APPROVAL_ID_ARCS);
const APPROVAL_USAGE_CONTENTS: [u8; 11] = contents(&APPROVAL_USAGE_ARCS);

/// `ARC.1.1`
pub const WRITE_ID: Oid<'static> = Oid(&WRITE_ID_CONTENTS);
/// `ARC.1.2`
pub const EPHEMERAL_POINT: Oid<'static> = Oid(&EPHEMERAL_POINT_CONTENTS);
/// `ARC.1.3`
pub const APPROVAL_ID: Oid<'static> = Oid(&APPROVAL_ID_CONTENTS);
/// `ARC.2.1`
pub const APPROVAL_USAGE: Oid<'static> = Oid(&APPROVAL_USAGE_CONTENTS);
/// basicConstraints, 2.5.29.19 (RFC 5280 section 4.2.1.9)
pub const BASIC_CONSTRAINTS: Oid<'static> = Oid(&[0x55, 0x1d, 0x13]);
/// keyUsage, 2.5.29.15 (RFC 5280 section 4.2.1.3)
pub const KEY_USAGE: Oid<'static> = Oid(&[0x55, 0x1d, 0x0f]);
/// cRLNumber
pub const CRL_NUMBER: Oid<'static> = Oid(&[0x55, 0x1d, 0x14]);
/// extKeyUsage, 2.5.29.37 (RFC 5280 section 4.2.1.12)
pub const EXTENDED_KEY_USAGE: Oid<'static> = Oid(&[0x55, 0x1d, 0x25]);

/// An object identifier, as the contents octets of its DER encoding.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Oid<'a>(&'a [u8]);

impl<'a> Oid<'a> {
    /// Takes the contents octets (X.690 section 8.19): at least one, every subidentifier complete and without padding.
    #[must_use]
    pub fn from_contents(bytes: &'a [u8]) -> Option<Self> {
        let last = bytes.last()?;
        let mut first_of_subidentifier = true;
        for byte in bytes {
            if first_of_subidentifier && *byte == 0x80 {
                return None;
            }
            first_of_subidentifier = byte & 0x80 == 0;
        }
        (last & 0x80 == 0).then_some(Self(bytes))
    }

    /// The contents octets.
    #[must_use]
    pub fn as_contents(&self) -> &'a [u8] {
        self.0
    }
}

/// Dotted decimal. A subidentifier beyond 128 bits, which no registry gives out, is shown as `…`.
impl fmt::Display for Oid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut value: Option<u128> = Some(0);
        let mut first = true;
        for byte in self.0 {
            value = value
                .filter(|v| *v <= u128::MAX >> 7)
                .map(|v| v << 7 | u128::from(byte & 0x7f));
            if byte & 0x80 != 0 {
                continue;
            }
            match value {
                // The first subidentifier holds the first two arcs: 40·a + b, with a at most 2.
                Some(v) if first => {
                    let root = (v / 40).min(2);
                    write!(f, "{root}.{}", v - 40 * root)?;
                }
                Some(v) => write!(f, ".{v}")?,
                None => write!(f, ".…")?,
            }
            first = false;
            value = Some(0);
        }
        Ok(())
    }
}

impl fmt::Debug for Oid<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{self}")
    }
}

#[allow(clippy::indexing_slicing, reason = "evaluated by the compiler")]
const fn under_arc(tail: [u64; 2]) -> [u64; 10] {
    let mut arcs = [0; 10];
    let mut i = 0;
    while i < ARC.len() {
        arcs[i] = ARC[i];
        i += 1;
    }
    arcs[8] = tail[0];
    arcs[9] = tail[1];
    arcs
}

#[allow(
    clippy::indexing_slicing,
    reason = "evaluated by the compiler, which refuses a wrong N"
)]
const fn contents<const N: usize>(arcs: &[u64]) -> [u8; N] {
    let mut out = [0u8; N];
    out[0] = (40 * arcs[0] + arcs[1]) as u8;
    let mut at = 1;
    let mut i = 2;
    while i < arcs.len() {
        let mut groups = 1;
        while groups < 9 && arcs[i] >> (7 * groups) != 0 {
            groups += 1;
        }
        while groups > 0 {
            groups -= 1;
            let more = if groups == 0 { 0 } else { 0x80 };
            out[at] = (arcs[i] >> (7 * groups)) as u8 & 0x7f | more;
            at += 1;
        }
        i += 1;
    }
    assert!(at == N);
    out
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn own_identifiers_have_the_bytes_of_the_specification() {
        assert_eq!(WRITE_ID.to_string(), "1.3.6.1.4.1.32473.1.1.1");
        assert_eq!(EPHEMERAL_POINT.to_string(), "1.3.6.1.4.1.32473.1.1.2");
        assert_eq!(APPROVAL_ID.to_string(), "1.3.6.1.4.1.32473.1.1.3");
        assert_eq!(APPROVAL_USAGE.to_string(), "1.3.6.1.4.1.32473.1.2.1");
        assert_eq!(
            hex::encode(WRITE_ID.as_contents()),
            "2b0601040181fd59010101"
        );
        assert_eq!(BASIC_CONSTRAINTS.to_string(), "2.5.29.19");
    }

    #[test]
    fn padded_and_cut_identifiers_are_refused() {
        assert!(Oid::from_contents(&[]).is_none());
        assert!(Oid::from_contents(&[0x2b, 0x80, 0x01]).is_none());
        assert!(Oid::from_contents(&[0x2b, 0x81]).is_none());
        assert_eq!(
            Oid::from_contents(&[0x88, 0x37, 0x03]).unwrap().to_string(),
            "2.999.3"
        );
    }
}
