//! A sealed body, fetched, held against the record, and decrypted here.
//!
//! Whatever comes is verified before it is released: the whole body by its checksum and by the tag of each block, a range by the tags. So
//! it does not matter who sends it, and a transfer that breaks off goes on where it was.

use std::io::SeekFrom;
use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use reqwest::{Method, Response, StatusCode, header};
use sha2::{Digest as _, Sha256};
use subtle::ConstantTimeEq as _;
use tokio::fs::File;
use tokio::io::{AsyncReadExt as _, AsyncSeekExt as _, AsyncWrite, AsyncWriteExt as _};
use zeroize::Zeroizing;

use super::transfer::{Counted, OnProgress};
use super::{Client, ClientError};
use crate::api::end_to_end::BODY_POINTER;
use crate::envelope::{
    BLOCK_SIZE, BodyKey, BodyOpener, BodyReader, EnvelopeError, HEADER_SIZE, SealedBody,
    block_range, encrypted_length,
};
use crate::record::VersionName;

/// Bytes that are decrypted at once.
const PART: usize = 256 * 1024;
/// How often a transfer is taken up again without a byte in between.
const MOST_TRIES: u32 = 5;
/// Before the first try again; then twice as long each time.
const PAUSE: Duration = Duration::from_millis(200);

/// Where the sealed bytes are.
pub(super) enum Stored {
    /// In the version's write.
    OnRecord(Vec<u8>),
    /// In the platform's body store.
    AtPlatform {
        /// The read's transaction, hexadecimal.
        read: String,
        /// Where there, hexadecimal.
        pointer: String,
    },
}

/// A sealed body with its key.
pub(super) struct Sealed {
    stored: Stored,
    key: BodyKey,
    name: VersionName,
    body: SealedBody,
}

impl Sealed {
    pub(super) fn new(stored: Stored, key: BodyKey, name: VersionName, body: SealedBody) -> Self {
        Self {
            stored,
            key,
            name,
            body,
        }
    }

    /// All of it, released after all of it was held against the checksum; until then it lies, sealed, in a temporary file.
    pub(super) async fn checked(
        &self,
        client: &Client,
        to: &mut (impl AsyncWrite + Unpin),
        counted: &mut Counted,
        on_progress: Option<&OnProgress>,
    ) -> Result<(), ClientError> {
        let failed = |source| ClientError::Io {
            action: "keep the sealed body in a temporary file".into(),
            source,
        };
        let mut spool = File::from_std(tempfile::tempfile().map_err(failed)?);
        self.whole(client, on_progress, async |part| {
            spool.write_all(part).await.map_err(failed)
        })
        .await?;
        spool.flush().await.map_err(failed)?;
        spool.seek(SeekFrom::Start(0)).await.map_err(failed)?;
        let mut opening = self.reader()?;
        let mut part = vec![0; PART];
        loop {
            let read = spool.read(&mut part).await.map_err(failed)?;
            let Some(read) = part.get(..read).filter(|read| !read.is_empty()) else {
                break;
            };
            opening.push(read, to, counted).await?;
        }
        opening.finish(to).await
    }

    /// All of it, decrypted as it comes, into what nobody sees unless this succeeds.
    pub(super) async fn unreleased(
        &self,
        client: &Client,
        to: &mut (impl AsyncWrite + Unpin),
        counted: &mut Counted,
        on_progress: Option<&OnProgress>,
    ) -> Result<(), ClientError> {
        let mut opening = self.reader()?;
        self.whole(client, on_progress, async |part| {
            opening.push(part, to, counted).await
        })
        .await?;
        opening.finish(to).await
    }

    /// Some bytes of the plaintext; not none, and within its length. Only the blocks that have them are fetched.
    pub(super) async fn range(
        &self,
        client: &Client,
        range: Range<u64>,
        to: &mut (impl AsyncWrite + Unpin),
        counted: &mut Counted,
        on_progress: Option<&OnProgress>,
    ) -> Result<(), ClientError> {
        let mut header = Vec::new();
        let mut fetch = self.fetch(client, 0..HEADER_SIZE as u64);
        while let Some(part) = fetch.next().await? {
            header.extend_from_slice(&part);
        }
        let header = header.try_into().map_err(|_| EnvelopeError::Header)?;
        let length = self.body.length;
        let opener = BodyOpener::new(&self.key, &self.name, header, length)?;

        let size = BLOCK_SIZE as u64;
        let (first, behind) = (range.start / size, range.end.div_ceil(size));
        let at = |index| block_range(index, length).ok_or(EnvelopeError::Block { index });
        let (start, end) = (at(first)?.start, at(behind.saturating_sub(1))?.end);
        let mut fetch = self.fetch(client, start..end);
        let (mut pending, mut index) = (Vec::new(), first);
        while let Some(part) = fetch.next().await? {
            if let Some(on_progress) = on_progress {
                on_progress(part.len() as u64);
            }
            pending.extend_from_slice(&part);
            while index < behind {
                let block = at(index)?;
                let length = usize::try_from(block.end - block.start).unwrap_or(usize::MAX);
                let Some(sealed) = pending.get(..length) else {
                    break;
                };
                let mut plain = Zeroizing::new(Vec::with_capacity(BLOCK_SIZE));
                opener.open_block(index, sealed, &mut plain)?;
                let from = range.start.saturating_sub(index * size).min(size);
                let to_here = range
                    .end
                    .saturating_sub(index * size)
                    .min(plain.len() as u64);
                let cut = usize::try_from(from)
                    .ok()
                    .zip(usize::try_from(to_here).ok());
                let wanted = cut.and_then(|(from, until)| plain.get(from..until));
                write(wanted.unwrap_or_default(), to, counted).await?;
                pending.drain(..length);
                index += 1;
            }
        }
        if index < behind {
            return Err(EnvelopeError::Block { index }.into());
        }
        to.flush().await.map_err(unwritten)
    }

    /// Has all of it taken, part by part, and holds it against size and checksum.
    async fn whole(
        &self,
        client: &Client,
        on_progress: Option<&OnProgress>,
        mut take: impl AsyncFnMut(&[u8]) -> Result<(), ClientError>,
    ) -> Result<(), ClientError> {
        let mut digest = Sha256::new();
        let mut fetch = self.fetch(client, 0..encrypted_length(self.body.length));
        while let Some(part) = fetch.next().await? {
            digest.update(&part);
            take(&part).await?;
            if let Some(on_progress) = on_progress {
                on_progress(part.len() as u64);
            }
        }
        let same: bool = digest
            .finalize()
            .as_slice()
            .ct_eq(&self.body.checksum)
            .into();
        if same {
            Ok(())
        } else {
            Err(EnvelopeError::Checksum.into())
        }
    }

    fn reader(&self) -> Result<Opening, ClientError> {
        let key = BodyKey::from_slice(self.key.expose()).ok_or(EnvelopeError::WrappedBodyKey)?;
        Ok(Opening {
            reader: BodyReader::new(key, self.name.clone(), self.body.length),
            plain: Zeroizing::new(Vec::with_capacity(PART + BLOCK_SIZE)),
        })
    }

    fn fetch<'c>(&'c self, client: &'c Client, range: Range<u64>) -> Fetch<'c> {
        Fetch {
            client,
            stored: &self.stored,
            at: range.start,
            end: range.end,
            response: None,
            tries: 0,
        }
    }
}

/// Plaintext on its way out.
struct Opening {
    reader: BodyReader,
    plain: Zeroizing<Vec<u8>>,
}

impl Opening {
    async fn push(
        &mut self,
        sealed: &[u8],
        to: &mut (impl AsyncWrite + Unpin),
        counted: &mut Counted,
    ) -> Result<(), ClientError> {
        for part in sealed.chunks(PART) {
            self.plain.clear();
            self.reader.push(part, &mut self.plain)?;
            write(&self.plain, to, counted).await?;
        }
        Ok(())
    }

    async fn finish(self, to: &mut (impl AsyncWrite + Unpin)) -> Result<(), ClientError> {
        self.reader.finish()?;
        to.flush().await.map_err(unwritten)
    }
}

fn unwritten(source: std::io::Error) -> ClientError {
    ClientError::Io {
        action: "write the document".into(),
        source,
    }
}

async fn write(
    plain: &[u8],
    to: &mut (impl AsyncWrite + Unpin),
    counted: &mut Counted,
) -> Result<(), ClientError> {
    to.write_all(plain).await.map_err(unwritten)?;
    counted.take(plain);
    Ok(())
}

/// A range of the sealed bytes on its way here. It goes on where it was if the connection breaks.
struct Fetch<'c> {
    client: &'c Client,
    stored: &'c Stored,
    at: u64,
    end: u64,
    response: Option<Response>,
    tries: u32,
}

impl Fetch<'_> {
    /// The next bytes; `None` when all are here.
    async fn next(&mut self) -> Result<Option<Bytes>, ClientError> {
        let (read, pointer) = match self.stored {
            Stored::AtPlatform { read, pointer } => (read, pointer),
            Stored::OnRecord(bytes) => return self.on_record(bytes),
        };
        while self.at < self.end {
            let mut response = match self.response.take() {
                Some(response) => response,
                None => match self.ask(read, pointer).await {
                    Ok(response) => response,
                    Err(ClientError::Unreachable { reason, .. }) => {
                        self.broken(reason).await?;
                        continue;
                    }
                    Err(e) => return Err(e),
                },
            };
            match response.chunk().await {
                Ok(Some(part)) => {
                    let (more, left) = (part.len() as u64, self.end - self.at);
                    if more > left {
                        let reason = "it sends more of a body than was asked for";
                        return Err(self.client.answer(&reason));
                    }
                    self.at += more;
                    self.response = Some(response);
                    if more > 0 {
                        self.tries = 0;
                        return Ok(Some(part));
                    }
                }
                Ok(None) => self.broken("the connection was closed".to_owned()).await?,
                Err(e) => self.broken(super::innermost(&e)).await?,
            }
        }
        Ok(None)
    }

    fn on_record(&mut self, bytes: &[u8]) -> Result<Option<Bytes>, ClientError> {
        let at = usize::try_from(self.at).unwrap_or(usize::MAX);
        let end = usize::try_from(self.end).unwrap_or(usize::MAX);
        if at >= end {
            return Ok(None);
        }
        self.at = self.end;
        let found = bytes.len() as u64;
        let size = EnvelopeError::Size {
            expected: self.end,
            found,
        };
        let part = bytes.get(at..end).ok_or(size)?;
        Ok(Some(Bytes::copy_from_slice(part)))
    }

    async fn ask(&self, read: &str, pointer: &str) -> Result<Response, ClientError> {
        let path = ["recorded-reads", read, "body"];
        let last = self.end.saturating_sub(1);
        let request = self
            .client
            .request(Method::GET, &path)
            .header(BODY_POINTER, pointer)
            .header(header::RANGE, format!("bytes={}-{last}", self.at));
        let response = self.client.send(request).await?;
        // Which bytes they are is found out by checksum and tags.
        if response.status() == StatusCode::PARTIAL_CONTENT {
            return Ok(response);
        }
        Err(self
            .client
            .answer(&"a range of a body was asked for, and something else came"))
    }

    /// Waits a little before the transfer is taken up again; not for ever.
    async fn broken(&mut self, reason: String) -> Result<(), ClientError> {
        self.tries += 1;
        if self.tries > MOST_TRIES {
            return Err(ClientError::BrokenOff {
                received: self.at,
                expected: self.end,
                reason,
            });
        }
        tokio::time::sleep(PAUSE * 2_u32.pow(self.tries - 1)).await;
        Ok(())
    }
}
