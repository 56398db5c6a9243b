//! The engine for more than one machine or more than one owner: every organisation runs its peer as a process of its own, and a Byzantine-fault-tolerant
//! consensus among them ([`ordering`]) orders. With n = 3f + 1 organisations, f may fail in any way.
//!
//! 1. A transaction is submitted at any peer ([`Member::submit`]), which tells the others.
//! 2. The members order batches of candidates. A batch is final before anybody executes it.
//! 3. Every peer executes every batch on its own state; what the rules refuse is dropped, by all alike. Each makes its block durable, signs the head,
//!    and shows both to whoever may follow.
//! 4. The platform ([`Followed`]) has a copy without keys ([`super::super::peer::Mirror`]). It takes a block when a quorum signed the same head,
//!    executes it itself, and answers the author then. So it believes no single peer, its own organisation's included.
//!
//! Approvals come from each peer's own state, as always. A peer that gives false heads is out of step with the quorum, and named.
//!
//! Who orders is on the record: the organisations that it has after the last batch of an epoch order in the next one ([`crate::record::Genesis::epoch_batches`]). A peer of
//! an organisation that is not among them follows and has no vote.

pub(crate) mod access;
mod executor;
mod follow;
mod follow_peer;
mod judge;
mod member;
pub(crate) mod standing;
pub mod wire;

pub use access::PeerAccess;
pub use executor::Addresses;
pub use follow::{FollowError, FollowOptions, Followed, PeerAddress};
pub use member::{Member, MemberError, MemberOptions, MemberStatus};
