//! The canonical encoding of a policy, and its only one.
//!
//! Nodes whose operators configured different policies must not make a key together, so the policy's hash is part of the
//! key generation. It must not depend on the order in which an operator lists things:
//!
//! ```text
//! "cryptonode/v1/policy" ‖ 0x01 ‖ LE16(m) ‖ LE32(max_lifetime_s) ‖ LE32(tolerance_s) ‖ LE16(#organisations)
//!   for each organisation, by the bytes of its name, ascending:
//!     LE16(|name|) ‖ name (UTF-8) ‖ LE16(#issuers)
//!     for each issuer, by its bytes, ascending:  LE16(|certificate|) ‖ certificate (DER)
//! hash = SHA-256(encoding)
//! ```

use crate::policy::{MAX_ISSUERS, MAX_ORGANISATIONS, Organisation, PolicyConfig};

const ENCODING_TAG: &[u8] = b"cryptonode/v1/policy\x01";

/// Lengths fit: names, certificates and counts were all bounded below 65,536 before.
pub(super) fn encode(config: &PolicyConfig) -> Vec<u8> {
    fn put_len(out: &mut Vec<u8>, length: usize) {
        out.extend(u16::try_from(length).unwrap_or(u16::MAX).to_le_bytes());
    }
    let mut out = ENCODING_TAG.to_vec();
    out.extend(config.approvals_needed.to_le_bytes());
    out.extend(config.max_lifetime_s.to_le_bytes());
    out.extend(config.tolerance_s.to_le_bytes());
    put_len(&mut out, config.organisations.len());
    for organisation in &config.organisations {
        put_len(&mut out, organisation.name.len());
        out.extend(organisation.name.as_bytes());
        put_len(&mut out, organisation.issuers.len());
        for issuer in &organisation.issuers {
            put_len(&mut out, issuer.len());
            out.extend(issuer);
        }
    }
    out
}

pub(super) fn decode(bytes: &[u8]) -> Option<PolicyConfig> {
    fn take<'a>(rest: &mut &'a [u8], length: usize) -> Option<&'a [u8]> {
        let (taken, after) = rest.split_at_checked(length)?;
        *rest = after;
        Some(taken)
    }
    fn take_u16(rest: &mut &[u8]) -> Option<u16> {
        Some(u16::from_le_bytes(take(rest, 2)?.try_into().ok()?))
    }
    fn take_u32(rest: &mut &[u8]) -> Option<u32> {
        Some(u32::from_le_bytes(take(rest, 4)?.try_into().ok()?))
    }
    let rest = &mut bytes.strip_prefix(ENCODING_TAG)?;
    let approvals_needed = take_u16(rest)?;
    let max_lifetime_s = take_u32(rest)?;
    let tolerance_s = take_u32(rest)?;
    let mut organisations = Vec::new();
    let count = usize::from(take_u16(rest)?);
    if count > MAX_ORGANISATIONS {
        return None;
    }
    for _ in 0..count {
        let length = take_u16(rest)?.into();
        let name = core::str::from_utf8(take(rest, length)?).ok()?.to_owned();
        let mut issuers = Vec::new();
        let count = usize::from(take_u16(rest)?);
        if count > MAX_ISSUERS {
            return None;
        }
        for _ in 0..count {
            let length = take_u16(rest)?.into();
            issuers.push(take(rest, length)?.to_vec());
        }
        organisations.push(Organisation { name, issuers });
    }
    rest.is_empty().then_some(PolicyConfig {
        approvals_needed,
        organisations,
        max_lifetime_s,
        tolerance_s,
    })
}
