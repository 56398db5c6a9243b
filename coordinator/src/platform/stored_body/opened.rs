//! A stored body, or a range of it, that may be released.

use std::ops::Range;
use std::time::Duration;

use bytes::Bytes;
use tokio::sync::mpsc;

use super::{Place, PlatformError, SealedPart, Times, VerifiedBody};
use crate::envelope::{BodyKey, BodyReader, SealedBody, encrypted_length};
use crate::record::VersionName;

/// A body, or a range of it, that may be released.
pub(in crate::platform) enum Opened {
    /// All of it, with what decrypts it if it is encrypted.
    Whole(VerifiedBody, Option<BodyReader>),
    /// Of a body that is not encrypted.
    Plain(VerifiedBody, Range<u64>),
    /// Of one that is.
    Sealed(Box<SealedPart>),
}

impl Opened {
    /// Sends it; the last part is withheld until all has been verified, and `before_last` called just before.
    ///
    /// # Errors
    ///
    /// What is refused; nothing of it was sent.
    pub(in crate::platform) async fn stream(
        self,
        to: &mpsc::Sender<Bytes>,
        idle: Duration,
        times: &mut Times,
        before_last: impl FnOnce(&Times),
    ) -> Result<(), PlatformError> {
        match self {
            Self::Whole(body, reader) => body.stream(reader, to, idle, times, before_last).await,
            Self::Plain(body, range) => {
                body.stream_range(range, to, idle, times, before_last).await
            }
            Self::Sealed(part) => part.stream(to, idle, times, before_last).await,
        }
    }
}

/// Verifies a body before anything of it is released. Of an encrypted one only the blocks of a range are looked at; what is not
/// encrypted has no tags, and is verified as a whole.
///
/// # Errors
///
/// If it is not what the record says, or could not be fetched.
pub(in crate::platform) async fn verified(
    place: Place,
    key: Option<BodyKey>,
    name: VersionName,
    body: SealedBody,
    range: Option<Range<u64>>,
    times: &mut Times,
) -> Result<Opened, PlatformError> {
    match (key, range) {
        (Some(key), Some(range)) => {
            let part = SealedPart::open(place, &key, &name, body.length, range, times).await?;
            Ok(Opened::Sealed(Box::new(part)))
        }
        (Some(key), None) => {
            let stored = encrypted_length(body.length);
            let verified = VerifiedBody::verify(place, body, stored, times).await?;
            let reader = BodyReader::new(key, name, body.length);
            Ok(Opened::Whole(verified, Some(reader)))
        }
        (None, range) => {
            let verified = VerifiedBody::verify(place, body, body.length, times).await?;
            Ok(match range {
                Some(range) => Opened::Plain(verified, range),
                None => Opened::Whole(verified, None),
            })
        }
    }
}
