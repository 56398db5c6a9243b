//! Key generation among the members of a cluster (protocol.md, section 8), as machines without I/O.
//!
//! n nodes make a key Y = x·G of which each holds a share x_j, so that any t of them can use it and fewer learn nothing.
//! Nobody ever knows x. This crate holds no socket, no clock, no file and no generator of randomness: the driver passes
//! messages, the time in seconds since the Unix epoch, and an rng in; it gets answers and the state to write back.
//!
//! # The exchange
//!
//! One member leads. It asks, the others answer; its own node takes part as a member too.
//!
//! ```text
//!  leader ── propose ─────────────▶ member    the operator decides; then a fresh encryption key N_j, signed
//!         ◀───────────── accepted ──
//!         ── begin (all N_j) ─────▶           step 1: a polynomial, its shares encrypted to every N_j
//!         ◀──────────────── dealt ──
//!         ── deals, their sums ───▶           step 2: every proof and signature checked, and the share of the sum
//!         ◀───────── acknowledged ──
//!         ── acknowledgements ────▶           step 3: the share checked against the sums, stored, sealed for recovery
//!         ◀──────────── confirmed ──
//!         ── certificate ─────────▶           step 4: all have confirmed; the key is in use
//!         ◀──────────── activated ──
//! ```
//!
//! The leader is trusted with neither secrecy nor correctness. A member that cheats fails the attempt with its name,
//! and the next goes on without it where the proposal allows that ([`Exclusion`]). Bytes
//! and steps are in `docs/protocol/key-generation.md`.
//!
//! With the key in use, t members sign under Y itself who the members are ([`KeyCertificate`]), so that a client that knows
//! only the 32 bytes of Y can check it: [`SigningSession`] asks, [`Signer`] answers.
//!
//! # Handing a key on
//!
//! A proposal with a [`Base`] is a *reshare*: t of the old members deal their shares of Y to the new members, by the same steps, and
//! everybody who takes part confirms. Members, n, t and the policy may change, or nothing but the shares. [`Proposal::seats`] are all
//! who take part. [`verify_reshare`] verifies the outcome for whoever knows Y alone.
//!
//! # Driving a member
//!
//! For each message that arrives from a peer of which TLS established the identity:
//!
//! 1. [`Message::from_bytes`]; [`Message::ceremony`] finds the stored machine ([`Member::restore`]), or
//!    [`Member::new`] for an id not known yet;
//! 2. [`Member::handle`]; if [`Member::base_of`] names a base, [`Member::handle_reshare`] with what the node holds of it
//!    ([`Holding`]). An error changes nothing, and is answered with [`Message::refusal`];
//! 3. write [`MemberOutput::persist`] (sealed), [`MemberOutput::activated`], [`MemberOutput::confirmed`] and
//!    [`MemberOutput::retired`] in one durable transaction;
//! 4. send [`MemberOutput::reply`]. If the process dies before this, the leader asks again.
//!
//! After a `propose`, when the configuration accepts this proposer by itself, call [`Member::accept`] at once and answer with
//! its reply instead; otherwise the operator's command calls it later, and the leader learns of it when it asks again.
//! Call [`Member::expire`] for stored ceremonies now and then. Keep a finished machine's state at least until its proposal
//! expires: it is what keeps the same proposal from being played twice.
//!
//! # Driving a leader
//!
//! [`Leader::poll`] after [`Leader::new`] or [`Leader::restore`], and whenever [`Leader::next_poll`] has come. Carry out its
//! effects in order: write `Persist`, deliver `Send` (to the own node without a network), and feed the outcome back with
//! [`Leader::handle_reply`] or [`Leader::unreachable`].
//!
//! Any member may have to lead: when [`Member::takes_over_at`] has come and no leader of this ceremony runs here, make one with
//! [`Leader::take_over`]. When [`Member::led_by`] names another while one runs, call [`Leader::stand_aside`]. After a restart tell the member
//! by [`Member::take_lead`] that its node still leads.
//!
//! ```
//! use dkg::{Leader, LeaderEffect, LocalNode, Member, MemberIdentity, Proposal, RecoveryPhrase, Terms};
//!
//! let (mut rng, now) = (rand::rng(), 1_700_000_000);
//! let keys = RecoveryPhrase::generate(&mut rng).node_keys();
//! let identity = keys.identity.verifying_key().to_bytes();
//! let card = MemberIdentity {
//!     name: "alice".to_owned(),
//!     identity,
//!     recovery_public: *keys.recovery_public.as_bytes(),
//!     address: "alice.example:7700".to_owned(),
//! };
//! let terms = Terms {
//!     threshold: 1,
//!     policy_hash: [7; 32],
//!     members: vec![card],
//!     base: None,
//!     leader: identity,
//!     created: now,
//!     expires: now + 3600,
//!     may_be_absent: 0,
//!     allow_few_members: false,
//!     software: "example 1.0".to_owned(),
//! };
//! let mut leader = Leader::new(Proposal::new(terms, &mut rng)?, &keys.identity, now)?;
//! let mut member = Member::new(LocalNode {
//!     identity: keys.identity.clone().into(),
//!     recovery_public: keys.recovery_public,
//!     policy_hash: [7; 32],
//! });
//!
//! let (mut queue, mut key) = (leader.poll(now), None);
//! while !queue.is_empty() {
//!     for effect in std::mem::take(&mut queue) {
//!         match effect {
//!             LeaderEffect::Send { to, message } => {
//!                 let mut output = member.handle(&identity, message, now, &mut rng)?;
//!                 if member.stage() == dkg::MemberStage::Proposed {
//!                     output = member.accept(now, &mut rng)?;
//!                 }
//!                 // Here the driver writes output.persist and output.activated.
//!                 key = output.activated.or(key);
//!                 queue.extend(leader.handle_reply(&to, &output.reply, now));
//!             }
//!             LeaderEffect::Completed { public_key, .. } => {
//!                 assert_eq!(key.as_ref().map(|key| key.share.public_key()), Some(public_key));
//!             }
//!             _ => {}
//!         }
//!     }
//! }
//! assert!(key.is_some());
//! # Ok::<(), dkg::Fault>(())
//! ```

mod acknowledge;
mod attempt;
mod base;
mod certificate;
mod confirm;
#[cfg(feature = "constant-time")]
pub mod constant_time;
pub mod custody;
mod deal;
mod dealers;
mod exclusion;
mod fault;
mod frost;
mod hex;
mod key_certificate;
mod knowledge;
mod known;
mod leader;
mod member;
mod merkle;
mod pairs;
mod phrase;
mod proposal;
mod sealed_share;
mod shares;
mod signature;
mod signing;
mod sums;
mod tags;
pub mod wire_v1;
mod words;

pub use crate::acknowledge::{Acknowledgement, Complaint, Complaints};
pub use crate::attempt::{Acceptance, FIRST_ATTEMPT};
pub use crate::base::{
    Base, BaseName, BaseTerms, ConfirmedAttempt, Holding, MAX_ATTEMPTS_AHEAD, ResultName,
    RetiredKey,
};
pub use crate::certificate::{
    CertificateError, CertifiedKey, RestoredKey, read_own_certificate, restore_key,
    verify_certificate, verify_reshare,
};
pub use crate::confirm::Confirmation;
pub use crate::deal::{Deal, DealExcerpt, DealHeader, RelayedDeal};
pub use crate::exclusion::{Accused, Exclusion, Grounds, TwoAcceptances, TwoDeals};
pub use crate::fault::{DealFault, Fault};
pub use crate::frost::{NonceCommitments, Ristretto255Sha512, RistrettoGroup, ScalarField};
pub use crate::leader::{
    DEFAULT_PATIENCE_S, Leader, LeaderEffect, LeaderPhase, LeaderProgress, MAX_IN_FLIGHT, Waiting,
    WaitingFor,
};
pub use crate::member::{
    ActivatedKey, LocalNode, Member, MemberOutput, MemberStage, StateError, Waits,
};
pub use crate::phrase::{NodeKeys, PHRASE_WORDS, PhraseError, RecoveryPhrase};
pub use crate::proposal::{
    DEFAULT_LIFETIME_S, Kind, KnownIdentities, MAX_ADDRESS, MAX_LIFETIME_S, MAX_MEMBERS, MAX_NAME,
    MemberIdentity, OldSeat, PROTOCOL_VERSION, Proposal, ProposalError, SignedProposal, Terms,
};
pub use crate::sealed_share::SEALED_SHARE;
pub use crate::signing::{
    Signer, SigningEffect, SigningError, SigningSession, check_key_certificate,
};
pub use crate::wire_v1::{About, MAX_MESSAGE, Message, WireError};
pub use crate::words::COMPARISON_WORDS;
pub use reencrypt::{CertifiedMember, KeyCertificate, KeyCertificateError};
