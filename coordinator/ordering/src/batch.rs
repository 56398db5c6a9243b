//! A batch: what is agreed on in one go.
//!
//! ```text
//! parent (32) | height (varint) | time, milliseconds (varint) | number of items (varint) | each: length (varint), bytes
//! ```
//!
//! Its digest is SHA-256 over a label and this encoding. Varints are minimal and no byte may be left over, so a batch has one encoding.

use bytes::{BufMut, Bytes};
use commonware_codec::{
    Buf, EncodeSize, Error, FixedSize as _, MaxEncodeSize as _, RangeCfg, Read, ReadExt as _,
    Write, varint::UInt,
};
use commonware_consensus::{Block, BoundedBlock, Heightable, types::Height};
use commonware_cryptography::{Digestible, Hasher as _, Sha256, sha256::Digest};

/// Items in one batch.
pub const MAX_BATCH_ITEMS: usize = 1024;
/// Bytes of the items in one batch.
pub const MAX_BATCH_BYTES: usize = 4 * 1024 * 1024;
/// Bytes of one item.
pub const MAX_ITEM: usize = 96 * 1024;
const LABEL: &[u8] = b"coordinator/v1/ordered-batch";
const MAX_VARINT: usize = 10;

/// A batch.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Batch {
    pub(crate) parent: Digest,
    pub(crate) height: Height,
    pub(crate) time_ms: u64,
    pub(crate) items: Vec<Bytes>,
}

impl Batch {
    /// What the first batch is built on: the beginning of one ledger, and of no other.
    pub(crate) fn genesis(namespace: &[u8], time_ms: u64) -> Self {
        Self {
            parent: Sha256::hash(&[LABEL, namespace]),
            height: Height::zero(),
            time_ms,
            items: Vec::new(),
        }
    }
}

impl Write for Batch {
    fn write(&self, buffer: &mut impl BufMut) {
        self.parent.write(buffer);
        self.height.write(buffer);
        UInt(self.time_ms).write(buffer);
        UInt(self.items.len() as u64).write(buffer);
        for item in &self.items {
            UInt(item.len() as u64).write(buffer);
            buffer.put_slice(item);
        }
    }
}

impl EncodeSize for Batch {
    fn encode_size(&self) -> usize {
        let items = self
            .items
            .iter()
            .map(|item| UInt(item.len() as u64).encode_size() + item.len());
        Digest::SIZE
            + self.height.encode_size()
            + UInt(self.time_ms).encode_size()
            + UInt(self.items.len() as u64).encode_size()
            + items.sum::<usize>()
    }
}

impl Read for Batch {
    type Cfg = ();

    fn read_cfg(buffer: &mut impl Buf, (): &()) -> Result<Self, Error> {
        let parent = Digest::read(buffer)?;
        let height = Height::read(buffer)?;
        let time_ms = UInt::read(buffer)?.into();
        let number: u64 = UInt::read(buffer)?.into();
        if number > MAX_BATCH_ITEMS as u64 {
            return Err(Error::Invalid("Batch", "more items than a batch may have"));
        }
        let mut items = Vec::new();
        let mut total = 0;
        for _ in 0..number {
            let item = Bytes::read_cfg(buffer, &RangeCfg::new(1..=MAX_ITEM))?;
            total += item.len();
            if total > MAX_BATCH_BYTES {
                return Err(Error::Invalid("Batch", "more bytes than a batch may have"));
            }
            items.push(item);
        }
        Ok(Self {
            parent,
            height,
            time_ms,
            items,
        })
    }
}

impl Digestible for Batch {
    type Digest = Digest;

    fn digest(&self) -> Digest {
        let mut encoding = Vec::with_capacity(self.encode_size());
        self.write(&mut encoding);
        Sha256::hash(&[LABEL, &encoding])
    }
}

impl Heightable for Batch {
    fn height(&self) -> Height {
        self.height
    }
}

impl Block for Batch {
    fn parent(&self) -> Digest {
        self.parent
    }
}

impl BoundedBlock for Batch {
    fn max_encode_size((): &()) -> usize {
        Digest::SIZE
            + Height::MAX_ENCODE_SIZE
            + 2 * MAX_VARINT
            + MAX_BATCH_ITEMS * MAX_VARINT
            + MAX_BATCH_BYTES
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;
    use commonware_codec::{DecodeExt as _, Encode as _};

    fn batch(items: &[&'static [u8]]) -> Batch {
        Batch {
            parent: Sha256::hash(&[b"parent"]),
            height: Height::new(300),
            time_ms: 1_700_000_000_000,
            items: items.iter().map(|item| Bytes::from_static(item)).collect(),
        }
    }

    #[test]
    fn a_batch_has_one_encoding() {
        let batch = batch(&[b"one", b"two"]);
        let encoding = batch.encode();
        assert_eq!(Batch::decode(encoding.clone()).unwrap(), batch);
        let mut longer = encoding.to_vec();
        longer.push(0);
        assert!(Batch::decode(Bytes::from(longer)).is_err());
        for end in 0..encoding.len() {
            assert!(Batch::decode(encoding.slice(..end)).is_err(), "{end}");
        }
        // The number of items as a varint that is longer than it need be.
        let at = encoding.len() - "one".len() - "two".len() - 3;
        let mut padded = encoding.to_vec();
        padded.splice(at..=at, [0x82, 0x00]);
        assert!(Batch::decode(Bytes::from(padded)).is_err());
    }

    #[test]
    fn bounds_hold_while_decoding() {
        let empty = batch(&[b""]);
        assert!(Batch::decode(empty.encode()).is_err());
        let mut many = batch(&[]);
        many.items = vec![Bytes::from_static(b"x"); MAX_BATCH_ITEMS + 1];
        assert!(Batch::decode(many.encode()).is_err());
        let mut large = batch(&[]);
        large.items = vec![Bytes::from(vec![0; MAX_ITEM]); MAX_BATCH_BYTES / MAX_ITEM + 1];
        assert!(Batch::decode(large.encode()).is_err());
        large.items.pop();
        assert!(large.encode_size() <= Batch::max_encode_size(&()));
        assert_eq!(Batch::decode(large.encode()).unwrap(), large);
    }

    #[test]
    fn another_beginning_is_another_ledger() {
        let one = Batch::genesis(b"one", 0).digest();
        assert_ne!(one, Batch::genesis(b"two", 0).digest());
        assert_ne!(one, Batch::genesis(b"one", 1).digest());
    }
}
