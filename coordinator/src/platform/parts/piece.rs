//! Pieces: what of an upload is durable, each sealed as a body of its own under a key of its own, in the body store.

use bytes::Bytes;
use cryptonode::randomness;
use futures_util::{Stream, stream};
use hkdf::Hkdf;
use sha2::Sha256;
use zeroize::Zeroizing;

use super::list::{Begun, PartsError, Piece};
use super::{PIECE, fresh_pointer, key_name};
use crate::body_store::{BodyStore, Pointer};
use crate::envelope::{BodyKey, BodyReader, BodySealer, encrypted_length};
use crate::platform::{Platform, PlatformError};

const PIECE_INFO: &[u8] = b"coordinator/v1/upload-piece";

/// Takes bytes in and makes pieces of them.
pub(super) struct Taker<'p> {
    platform: &'p Platform,
    begun: &'p Begun,
    key: &'p BodyKey,
    /// Where the pending bytes belong.
    offset: u64,
    pending: Zeroizing<Vec<u8>>,
}

impl<'p> Taker<'p> {
    pub(super) fn new(
        platform: &'p Platform,
        begun: &'p Begun,
        key: &'p BodyKey,
        offset: u64,
    ) -> Self {
        Self {
            platform,
            begun,
            key,
            offset,
            pending: Zeroizing::new(Vec::new()),
        }
    }

    pub(super) async fn push(&mut self, mut bytes: &[u8]) -> Result<(), PlatformError> {
        if self.pending.capacity() == 0 && !bytes.is_empty() {
            // Room for a whole piece at once: a buffer that grows leaves copies of the plaintext behind.
            self.pending.reserve_exact(PIECE);
        }
        while self.pending.len() + bytes.len() >= PIECE {
            let (filling, rest) = bytes.split_at(PIECE - self.pending.len());
            self.pending.extend_from_slice(filling);
            bytes = rest;
            self.store().await?;
        }
        self.pending.extend_from_slice(bytes);
        Ok(())
    }

    /// Stores what is pending, and says where the next bytes belong.
    pub(super) async fn finish(mut self) -> Result<u64, PlatformError> {
        if !self.pending.is_empty() {
            self.store().await?;
        }
        Ok(self.offset)
    }

    async fn store(&mut self) -> Result<(), PlatformError> {
        let limits = &self.platform.limits;
        let length = self.pending.len() as u64;
        if self.offset.saturating_add(length) > limits.body_bytes {
            return Err(PlatformError::TooLong {
                limit: limits.body_bytes,
                what: crate::platform::TOO_LONG_HERE,
            });
        }
        let piece = Piece {
            upload: self.begun.id,
            start: self.offset,
            length,
            pointer: fresh_pointer(),
        };
        let key = piece_key(self.key, &piece.pointer)?;
        let mut sealed = Vec::with_capacity(usize::try_from(encrypted_length(length)).unwrap_or(0));
        let name = key_name(&self.begun.name());
        let mut sealer = BodySealer::new(&key, &name, &mut randomness::system(), &mut sealed)?;
        sealer.push(&self.pending, &mut sealed)?;
        sealer.finish(&mut sealed)?;
        let list = &self.platform.parts.list;
        // It stands in the list before it lies in the store: a start removes what was not stored to its end.
        list.storing(piece, self.begun.tenant.clone(), limits.tenant_parts_bytes)
            .await?;
        let (bodies, tenant) = (&self.platform.bodies, &self.begun.tenant);
        if let Err(e) = bodies.put_piece(tenant, &piece.pointer, sealed).await {
            if bodies.remove_piece(tenant, &piece.pointer).await.is_ok() {
                list.remove_piece(piece.pointer).await?;
            }
            return Err(e.into());
        }
        list.stored(piece.pointer).await?;
        self.offset = self.offset.saturating_add(length);
        self.pending.clear();
        Ok(())
    }
}

fn piece_key(key: &BodyKey, pointer: &Pointer) -> Result<BodyKey, PlatformError> {
    let mut own = Zeroizing::new([0; 32]);
    let info = [PIECE_INFO, pointer.as_bytes()].concat();
    Hkdf::<Sha256>::new(None, key.expose())
        .expand(&info, own.as_mut())
        .map_err(|_| PartsError::Damaged)?;
    Ok(BodyKey::from_slice(own.as_slice()).ok_or(PartsError::Damaged)?)
}

/// The bytes of all pieces, one after the other.
pub(super) fn stream(
    bodies: BodyStore,
    begun: Begun,
    key: BodyKey,
    pieces: Vec<Piece>,
) -> impl Stream<Item = Result<Bytes, PlatformError>> {
    let state = (bodies, begun, key, pieces.into_iter(), false);
    stream::unfold(state, async |(bodies, begun, key, mut pieces, failed)| {
        if failed {
            return None;
        }
        let piece = pieces.next()?;
        let bytes = open(&bodies, &begun, &key, &piece).await;
        let failed = bytes.is_err();
        Some((bytes, (bodies, begun, key, pieces, failed)))
    })
}

async fn open(
    bodies: &BodyStore,
    begun: &Begun,
    key: &BodyKey,
    piece: &Piece,
) -> Result<Bytes, PlatformError> {
    let range = 0..encrypted_length(piece.length);
    let sealed = bodies.read(&begun.tenant, &piece.pointer, range).await?;
    let key = piece_key(key, &piece.pointer)?;
    let length = usize::try_from(piece.length).map_err(|_| PartsError::Damaged)?;
    let mut reader = BodyReader::new(key, key_name(&begun.name()), piece.length);
    let mut plain = Vec::with_capacity(length);
    reader.push(&sealed, &mut plain)?;
    reader.finish()?;
    Ok(Bytes::from(plain))
}
