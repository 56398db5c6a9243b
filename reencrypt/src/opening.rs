//! Combination and opening (section 6), by the reader who holds `x_c`.
//!
//! From any t shares of one epoch with distinct indices, λ_i their Lagrange coefficients at 0:
//!
//! ```text
//! D = Σ λ_i·D_i = x·(U + X);      S = D − x_c·Y        (since x·X = x_c·Y and x·U = r·Y)
//! ```
//!
//! The body of the wrapped key commits to the key that follows from `S`, so an [`Opening`] is optimistic: it combines the
//! first t answers unverified, and only if the commitment does not match verifies their proofs, drops and names the
//! nodes that cheated, and goes on with the next answers. t honest answers are always enough, whatever the others send.
//! If t *verified* shares do not open, the writer made an invalid wrapped key: the opening stops and blames no node.
//!
//! A commitment that matches shows that `S` is what the writer meant, and not that every share was true: a writer in league with
//! a node can commit to an `S` that only that node's false share leads to, and then one reader opens what another is told is
//! invalid. With an honest writer the result is the same for everybody; whoever needs that of any writer compares a
//! checksum that the writer could not change afterwards.
//!
//! It does no I/O. The caller makes one with [`Opening::begin`], sends the request, has the mask `x_c·Y` computed while the nodes
//! are at work ([`Opening::prepare`]), feeds each node's answer to [`Opening::add`], and asks further nodes as long as it
//! hears [`Progress::Need`].

use std::fmt;

use zeroize::Zeroizing;

use curve25519_dalek::ristretto::RistrettoPoint;

use crate::body::{self, OpenError};
use crate::ephemeral_key::{EphemeralSecret, VerifiedEphemeralKey};
use crate::error::{RequestError, ShareError};
use crate::group;
use crate::lagrange;
use crate::public_key_package::PublicKeyPackage;
use crate::request::Exchange;
use crate::secret::SecretBytes;
use crate::share::Share;
use crate::wrapped_key::VerifiedWrappedKey;

/// What an answer led to.
#[derive(Debug)]
pub enum Progress {
    /// So many good answers are still missing, as far as is known now.
    Need(usize),
    /// The secret. The opening is finished.
    Opened(SecretBytes),
    /// The shares are right and the wrapped key does not open: its writer made it so. The opening is finished, and asking
    /// further nodes is of no use.
    InvalidWrappedKey,
    /// The opening was finished before: the answer was not looked at.
    Finished,
}

/// A node that answered wrongly, and what was wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Culprit {
    /// The node's index: the one that the caller asked, not one that an answer claims.
    pub index: u16,
    /// What was wrong. [`ShareError::is_misbehaviour`] says whether an honest node may have answered so.
    pub reason: ShareError,
}

/// The opening of one wrapped key with one ephemeral key.
pub struct Opening {
    wrapped: VerifiedWrappedKey,
    package: PublicKeyPackage,
    ephemeral: VerifiedEphemeralKey,
    /// `x_c`, until the mask is computed; then it is gone.
    secret: Option<EphemeralSecret>,
    /// `x_c·Y`, once it is computed.
    mask: Zeroizing<RistrettoPoint>,
    /// At most t: as soon as there are t of them, they open or some of them are dropped.
    candidates: Vec<Candidate>,
    culprits: Vec<Culprit>,
    finished: bool,
}

struct Candidate {
    share: Share,
    verified: bool,
}

impl Opening {
    /// Starts an opening, with all that can be computed before an answer is there.
    ///
    /// # Errors
    /// [`RequestError`], if wrapped key, ephemeral key and package do not belong together.
    pub fn new(
        wrapped: VerifiedWrappedKey,
        ephemeral: EphemeralSecret,
        package: PublicKeyPackage,
    ) -> Result<Self, RequestError> {
        let mut opening = Self::begin(wrapped, ephemeral, package)?;
        opening.prepare();
        Ok(opening)
    }

    /// [`Opening::new`] without the arithmetic, for who sends the request first and has [`Opening::prepare`] run while the nodes
    /// are at work.
    ///
    /// # Errors
    /// As [`Opening::new`].
    pub fn begin(
        wrapped: VerifiedWrappedKey,
        ephemeral: EphemeralSecret,
        package: PublicKeyPackage,
    ) -> Result<Self, RequestError> {
        Exchange::check(&wrapped, ephemeral.public())?;
        check_key(&wrapped, &package)?;
        Ok(Opening {
            candidates: Vec::with_capacity(package.threshold().into()),
            wrapped,
            package,
            ephemeral: *ephemeral.public(),
            secret: Some(ephemeral),
            mask: Zeroizing::default(),
            culprits: Vec::new(),
            finished: false,
        })
    }

    /// Computes `x_c·Y`, in constant time, and wipes `x_c`, unless that was done before. Who does not call it has the last answer
    /// wait for it.
    pub fn prepare(&mut self) {
        if let Some(ephemeral) = self.secret.take() {
            let secret = ephemeral.secret().expose();
            *self.mask = group::multiply(secret, &self.wrapped.public_key());
        }
    }

    /// Starts over with the shares of another result of the same key, after the cluster was reshared. Every answer so far is
    /// dropped: shares of two results never combine.
    ///
    /// # Errors
    /// [`RequestError::OtherKey`], if the package is another key's.
    pub fn restart(&mut self, package: PublicKeyPackage) -> Result<(), RequestError> {
        check_key(&self.wrapped, &package)?;
        self.candidates.clear();
        self.culprits.clear();
        self.finished = false;
        self.package = package;
        Ok(())
    }

    /// Takes the answer of node `index`.
    ///
    /// Of several answers of one node the first counts; a node that was found cheating is not listened to any more. Each
    /// share is verified at most once.
    pub fn add(&mut self, index: u16, share: &[u8]) -> Progress {
        if self.finished {
            return Progress::Finished;
        }
        if !self.has_answered(index) {
            match self.check(index, share) {
                Ok(share) => self.candidates.push(Candidate {
                    share,
                    verified: false,
                }),
                Err(reason) => self.culprits.push(Culprit { index, reason }),
            }
        }
        self.advance()
    }

    /// The nodes whose answers were refused, with the reason for each, in the order of discovery.
    #[must_use]
    pub fn culprits(&self) -> &[Culprit] {
        &self.culprits
    }

    /// Whether the answer of `index` is in hand, or the node cheated.
    fn has_answered(&self, index: u16) -> bool {
        let in_hand = self.candidates.iter().any(|c| c.share.index() == index);
        in_hand
            || self
                .culprits
                .iter()
                .any(|culprit| culprit.index == index && culprit.reason.is_misbehaviour())
    }

    /// All that can be checked of an answer without group arithmetic, but for decoding `D`.
    fn check(&self, index: u16, share: &[u8]) -> Result<Share, ShareError> {
        let share = Share::parse(share)?;
        if share.index() != index {
            return Err(ShareError::OtherIndex {
                expected: index,
                got: share.index(),
            });
        }
        share.check_membership(&self.package)?;
        Ok(share)
    }

    fn advance(&mut self) -> Progress {
        let threshold = usize::from(self.package.threshold());
        let missing = threshold - self.candidates.len();
        if missing > 0 {
            return Progress::Need(missing);
        }
        match self.combine() {
            Ok(secret) => self.finish(Progress::Opened(secret)),
            // The key is the committed one: no other shares lead to a better one.
            Err(OpenError::Cipher) => self.finish(Progress::InvalidWrappedKey),
            Err(OpenError::Commitment) => match self.drop_false_shares() {
                0 => self.finish(Progress::InvalidWrappedKey),
                dropped => Progress::Need(dropped),
            },
        }
    }

    fn finish(&mut self, progress: Progress) -> Progress {
        self.finished = true;
        self.candidates.clear();
        progress
    }

    /// `S = D − x_c·Y`, and the body with it.
    fn combine(&mut self) -> Result<SecretBytes, OpenError> {
        let indices: Vec<u16> = self.candidates.iter().map(|c| c.share.index()).collect();
        let points = self.candidates.iter().map(|c| *c.share.d().as_ristretto());
        // Indices are distinct and not 0, by `has_answered` and `Share::parse`.
        let combined =
            lagrange::combine_vartime(&indices, points).map_err(|_| OpenError::Commitment)?;
        self.prepare();
        let shared = Zeroizing::new(combined - *self.mask);
        let wrapped = &self.wrapped;
        body::open(
            &shared,
            &wrapped.public_key(),
            wrapped.u(),
            wrapped.label(),
            wrapped.body(),
        )
    }

    /// Verifies what was not verified yet. Returns how many candidates were dropped and named.
    fn drop_false_shares(&mut self) -> usize {
        // `U + X` is encoded here only: what opens at once never needs it. It was checked when the opening began.
        let Ok(exchange) = Exchange::new(&self.wrapped, &self.ephemeral) else {
            return 0;
        };
        let before = self.candidates.len();
        let package = &self.package;
        let culprits = &mut self.culprits;
        self.candidates.retain_mut(|candidate| {
            if candidate.verified {
                return true;
            }
            match candidate.share.verify_for(package, &exchange) {
                Ok(_) => candidate.verified = true,
                Err(reason) => culprits.push(Culprit {
                    index: candidate.share.index(),
                    reason,
                }),
            }
            candidate.verified
        });
        before - self.candidates.len()
    }
}

/// That the wrapped key belongs to the package's key.
fn check_key(wrapped: &VerifiedWrappedKey, package: &PublicKeyPackage) -> Result<(), RequestError> {
    if wrapped.public_key() == package.public_key() {
        Ok(())
    } else {
        Err(RequestError::OtherKey)
    }
}

impl fmt::Debug for Opening {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Opening")
            .field("wrapped", &self.wrapped)
            .field("answers", &self.candidates.len())
            .field("culprits", &self.culprits)
            .finish_non_exhaustive()
    }
}
