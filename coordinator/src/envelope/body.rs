//! The encrypted body: AES-256-GCM in the STREAM construction of Hoang, Reyhanitabar, Rogaway and Vizár (*Online
//! Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance*, CRYPTO 2015), in blocks of 64 KiB.
//!
//! ```text
//! header(16) ‖ block 0 ‖ … ‖ block k−1        block i = ciphertext(≤ 65,536) ‖ tag(16)
//! header     = "DXEB"(4) ‖ version 1 ‖ algorithm 1 ‖ log2(block size) 16 ‖ nonce prefix(7) ‖ zero(2)
//! nonce i    = nonce prefix(7) ‖ i as 4 bytes big-endian ‖ 1 for the last block, else 0
//! associated = header ‖ SHA-256 of the version's name
//! ```
//!
//! Every block but the last is full; the last may be shorter, and is empty only if the body is. So a plaintext length
//! has exactly one encrypted length, and any block can be read and verified on its own.

use aws_lc_rs::aead::{Aad, LessSafeKey, NONCE_LEN, Nonce};
use aws_lc_rs::digest;
use rand_core::CryptoRng;
use std::ops::Range;
use zeroize::Zeroizing;

use super::{BodyKey, EnvelopeError};
use crate::record::VersionName;

/// Bytes of plaintext in every block but the last.
pub const BLOCK_SIZE: usize = 64 * 1024;
/// Bytes of the header in front of the first block.
pub const HEADER_SIZE: usize = 16;
/// Bytes of the tag behind each block.
pub const TAG_SIZE: usize = 16;
/// Bytes of plaintext that one body holds at most: 2³² blocks.
pub const MAX_BODY: u64 = (BLOCK_SIZE as u64) << 32;

const MAGIC_AND_PARAMETERS: &[u8; 7] = b"DXEB\x01\x01\x10";
const PREFIX_SIZE: usize = 7;
const NAME_TAG: &str = "coordinator/v1/body";
const SEALED_BLOCK: usize = BLOCK_SIZE + TAG_SIZE;

/// How many blocks a body of `length` bytes has: at least one.
pub fn block_count(length: u64) -> u64 {
    length.div_ceil(BLOCK_SIZE as u64).max(1)
}

/// Bytes of the encrypted body of a plaintext of `length` bytes.
pub fn encrypted_length(length: u64) -> u64 {
    length
        .saturating_add(block_count(length) * TAG_SIZE as u64)
        .saturating_add(HEADER_SIZE as u64)
}

/// Where block `index` of a body of `length` bytes lies in the encrypted body, its tag included; `None` if it has no
/// such block.
pub fn block_range(index: u64, length: u64) -> Option<Range<u64>> {
    if index >= block_count(length) {
        return None;
    }
    let start = (HEADER_SIZE as u64).checked_add(index.checked_mul(SEALED_BLOCK as u64)?)?;
    Some(start..(start + SEALED_BLOCK as u64).min(encrypted_length(length)))
}

/// What the record keeps about a stored body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SealedBody {
    /// SHA-256 over the encrypted body (over the plain one where a dataset has no encryption).
    pub checksum: [u8; 32],
    /// Bytes of plaintext.
    pub length: u64,
}

struct Stream {
    cipher: LessSafeKey,
    prefix: [u8; PREFIX_SIZE],
    associated: [u8; HEADER_SIZE + 32],
}

impl Stream {
    fn new(
        key: &BodyKey,
        name: &VersionName,
        header: [u8; HEADER_SIZE],
    ) -> Result<Self, EnvelopeError> {
        let rest = header
            .strip_prefix(MAGIC_AND_PARAMETERS)
            .ok_or(EnvelopeError::Header)?;
        let (&prefix, reserved) = rest.split_first_chunk().ok_or(EnvelopeError::Header)?;
        if reserved != [0; 2] {
            return Err(EnvelopeError::Header);
        }
        let mut associated = [0; HEADER_SIZE + 32];
        let (front, back) = associated.split_at_mut(HEADER_SIZE);
        front.copy_from_slice(&header);
        back.copy_from_slice(&super::name::digest(name, NAME_TAG));
        Ok(Self {
            cipher: key.cipher()?,
            prefix,
            associated,
        })
    }

    fn nonce(&self, index: u32, last: bool) -> Nonce {
        let mut nonce = [0; NONCE_LEN];
        let (prefix, rest) = nonce.split_at_mut(PREFIX_SIZE);
        prefix.copy_from_slice(&self.prefix);
        let (counter, flag) = rest.split_at_mut(4);
        counter.copy_from_slice(&index.to_be_bytes());
        flag.fill(u8::from(last));
        Nonce::assume_unique_for_key(nonce)
    }
}

/// Encrypts a body as it arrives. Needs one block of memory, whatever the body's length.
pub struct BodySealer {
    stream: Stream,
    /// Plaintext of a block that may turn out to be the last.
    pending: Zeroizing<Vec<u8>>,
    index: u64,
    length: u64,
    digest: digest::Context,
}

impl BodySealer {
    /// Starts a body and appends its header to `out`.
    pub fn new(
        key: &BodyKey,
        name: &VersionName,
        rng: &mut impl CryptoRng,
        out: &mut Vec<u8>,
    ) -> Result<Self, EnvelopeError> {
        let mut header = [0; HEADER_SIZE];
        let (fixed, rest) = header.split_at_mut(MAGIC_AND_PARAMETERS.len());
        fixed.copy_from_slice(MAGIC_AND_PARAMETERS);
        rng.fill_bytes(rest.split_at_mut(PREFIX_SIZE).0);
        let mut digest = digest::Context::new(&digest::SHA256);
        digest.update(&header);
        out.extend_from_slice(&header);
        let stream = Stream::new(key, name, header)?;
        Ok(Self {
            stream,
            pending: Zeroizing::new(Vec::with_capacity(BLOCK_SIZE)),
            index: 0,
            length: 0,
            digest,
        })
    }

    /// Bytes of plaintext so far.
    pub fn length(&self) -> u64 {
        self.length
    }

    /// Encrypts some more plaintext and appends whatever blocks are complete to `out`.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError::TooLong`] beyond [`MAX_BODY`] bytes.
    pub fn push(&mut self, mut plaintext: &[u8], out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        self.length = self
            .length
            .checked_add(plaintext.len() as u64)
            .ok_or(EnvelopeError::TooLong)?;
        if self.length > MAX_BODY {
            return Err(EnvelopeError::TooLong);
        }
        // A block is sealed only once a byte beyond it is there: until then it may be the last.
        while self.pending.len() + plaintext.len() > BLOCK_SIZE {
            let (filling, rest) = plaintext.split_at(BLOCK_SIZE - self.pending.len());
            self.fill(filling);
            self.seal(false, out)?;
            plaintext = rest;
        }
        self.fill(plaintext);
        Ok(())
    }

    /// Seals the last block, appends it to `out`, and gives the checksum and the length.
    pub fn finish(mut self, out: &mut Vec<u8>) -> Result<SealedBody, EnvelopeError> {
        self.seal(true, out)?;
        let mut checksum = [0; 32];
        checksum.copy_from_slice(self.digest.finish().as_ref());
        Ok(SealedBody {
            checksum,
            length: self.length,
        })
    }

    fn fill(&mut self, plaintext: &[u8]) {
        // Room for the whole block at once: a buffer that grows leaves copies of the plaintext behind.
        let room = (BLOCK_SIZE + TAG_SIZE).saturating_sub(self.pending.len());
        self.pending.reserve(room);
        self.pending.extend_from_slice(plaintext);
    }

    /// Seals the pending block where it is, and hands its buffer over if `out` has nothing in it.
    fn seal(&mut self, last: bool, out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        let index = u32::try_from(self.index).map_err(|_| EnvelopeError::TooLong)?;
        let nonce = self.stream.nonce(index, last);
        let associated = Aad::from(&self.stream.associated);
        let tag = self
            .stream
            .cipher
            .seal_in_place_separate_tag(nonce, associated, &mut self.pending)
            .map_err(|_| EnvelopeError::Cipher)?;
        self.pending.extend_from_slice(tag.as_ref());
        self.digest.update(&self.pending);
        self.index += 1;
        if out.is_empty() {
            std::mem::swap(out, &mut self.pending);
        } else {
            out.extend_from_slice(&self.pending);
            self.pending.clear();
        }
        Ok(())
    }
}

/// Decrypts the blocks of one body, in any order.
pub struct BodyOpener {
    stream: Stream,
    length: u64,
}

impl BodyOpener {
    /// Takes the body's header and its length of plaintext, which comes from the record.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError::Header`] if it is no header of this format, [`EnvelopeError::TooLong`] beyond [`MAX_BODY`].
    pub fn new(
        key: &BodyKey,
        name: &VersionName,
        header: [u8; HEADER_SIZE],
        length: u64,
    ) -> Result<Self, EnvelopeError> {
        if length > MAX_BODY {
            return Err(EnvelopeError::TooLong);
        }
        Ok(Self {
            stream: Stream::new(key, name, header)?,
            length,
        })
    }

    /// Verifies and decrypts block `index`, its tag included, and appends its plaintext to `out`; appends nothing if it
    /// is refused.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError::Block`] if it is not authentically this block of this body.
    pub fn open_block(
        &self,
        index: u64,
        sealed: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<(), EnvelopeError> {
        let refused = EnvelopeError::Block { index };
        let range = block_range(index, self.length).ok_or_else(|| refused.clone())?;
        let counter = u32::try_from(index).map_err(|_| refused.clone())?;
        if sealed.len() as u64 != range.end - range.start {
            return Err(refused);
        }
        let (ciphertext, tag) = sealed
            .split_at_checked(sealed.len() - TAG_SIZE)
            .ok_or_else(|| refused.clone())?;
        let nonce = self
            .stream
            .nonce(counter, index + 1 == block_count(self.length));
        let start = out.len();
        out.resize(start + ciphertext.len(), 0);
        let (_, plaintext) = out.split_at_mut(start);
        let opened = self.stream.cipher.open_separate_gather(
            nonce,
            Aad::from(&self.stream.associated),
            ciphertext,
            tag,
            plaintext,
        );
        opened.map_err(|_| {
            out.truncate(start);
            refused
        })
    }
}

/// Decrypts a whole body as it arrives. Needs one block of memory.
pub struct BodyReader {
    key: BodyKey,
    name: VersionName,
    length: u64,
    opener: Option<BodyOpener>,
    /// Bytes of a header or a block that is not complete.
    pending: Vec<u8>,
    index: u64,
    seen: u64,
}

impl BodyReader {
    /// Starts at the body's first byte; `length` is its length of plaintext, from the record.
    pub fn new(key: BodyKey, name: VersionName, length: u64) -> Self {
        Self {
            key,
            name,
            length,
            opener: None,
            pending: Vec::new(),
            index: 0,
            seen: 0,
        }
    }

    /// Takes more of the encrypted body and appends the plaintext of every complete block to `out`, each after it was
    /// verified.
    ///
    /// # Errors
    ///
    /// The first block that is refused, or a body that goes on too long. What was appended before is authentic.
    pub fn push(&mut self, mut sealed: &[u8], out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        self.seen = self.seen.saturating_add(sealed.len() as u64);
        let expected = encrypted_length(self.length);
        if self.seen > expected {
            return Err(EnvelopeError::Size {
                expected,
                found: self.seen,
            });
        }
        while let Some(needed) = self.needed() {
            let missing = needed - self.pending.len();
            let Some((filling, rest)) = sealed.split_at_checked(missing) else {
                self.pending.extend_from_slice(sealed);
                return Ok(());
            };
            sealed = rest;
            if self.pending.is_empty() {
                self.take(filling, out)?;
            } else {
                let mut part = std::mem::take(&mut self.pending);
                part.extend_from_slice(filling);
                self.take(&part, out)?;
                part.clear();
                self.pending = part;
            }
        }
        Ok(())
    }

    /// Ends the body.
    ///
    /// # Errors
    ///
    /// [`EnvelopeError::Size`] if blocks are missing.
    pub fn finish(self) -> Result<(), EnvelopeError> {
        match self.needed() {
            None => Ok(()),
            Some(_) => Err(EnvelopeError::Size {
                expected: encrypted_length(self.length),
                found: self.seen,
            }),
        }
    }

    /// Bytes of the next header or block; `None` behind the last block.
    fn needed(&self) -> Option<usize> {
        if self.opener.is_none() {
            return Some(HEADER_SIZE);
        }
        let range = block_range(self.index, self.length)?;
        usize::try_from(range.end - range.start).ok()
    }

    fn take(&mut self, part: &[u8], out: &mut Vec<u8>) -> Result<(), EnvelopeError> {
        if let Some(opener) = &self.opener {
            opener.open_block(self.index, part, out)?;
            self.index += 1;
            return Ok(());
        }
        let header = part.try_into().map_err(|_| EnvelopeError::Header)?;
        self.opener = Some(BodyOpener::new(&self.key, &self.name, header, self.length)?);
        Ok(())
    }
}
