//! Edits: honest bytes and a list of changes to them, so that a fuzzer gets past the first check.

/// Most edits that are made to one input.
const MOST: usize = 16;

/// Applies edits of five bytes each: what to do, where (two bytes), with what (two bytes). `others` is what pieces are taken from.
pub(crate) fn apply(honest: &[u8], edits: &[u8], others: &[&[u8]]) -> Vec<u8> {
    let mut bytes = honest.to_vec();
    for edit in edits.as_chunks::<5>().0.iter().take(MOST) {
        let [what, a, b, c, d] = *edit;
        let place = usize::from(u16::from_le_bytes([a, b]));
        let value = u16::from_le_bytes([c, d]);
        if bytes.is_empty() {
            bytes.push(c);
            continue;
        }
        let at = place % bytes.len();
        let end = (at + usize::from(value)).min(bytes.len());
        match what % 8 {
            0 => bytes[at] ^= c.max(1),
            1 => bytes[at] = c,
            2 => bytes.insert(at, c),
            3 => drop(bytes.drain(at..end.min(at + 64))),
            4 => bytes.truncate(at),
            // A piece of itself, once more.
            5 => {
                let piece = bytes[at..end.min(at + 256)].to_vec();
                bytes.splice(at..at, piece);
            }
            // A piece of another honest message at the same place.
            6 => {
                if let Some(other) = others.get(usize::from(d) % others.len().max(1)) {
                    let end = (at + 64).min(bytes.len()).min(other.len());
                    if at < end {
                        bytes[at..end].copy_from_slice(&other[at..end]);
                    }
                }
            }
            // Zeros or ones over a whole point or scalar.
            _ => {
                let end = (at + 32).min(bytes.len());
                bytes[at..end].fill(if c & 1 == 0 { 0 } else { 0xff });
            }
        }
    }
    bytes
}
