//! What members and leaders of ceremonies do that misbehave: they hold true identities and true shares, and lie.
//!
//! The key generation's own histories (`dkg/tests/machines/simulation`), where one ceremony is all that there is, have the same lies, told by
//! machines to machines.

use cryptonode::store::Table;
use dkg::{Acceptance, Exclusion, Fault, Grounds, Message};
use rand::RngExt;
use reencrypt::Scalar;

use super::*;
use crate::dealer::{Dealer, encryption_secret, params};
use crate::false_complaint::false_complaint;
use crate::node::PATIENCE_S;

/// The ways of a member that does not lead.
pub const DEALINGS: [Misbehaviour; 6] = [
    Misbehaviour::WrongShare,
    Misbehaviour::Equivocation,
    Misbehaviour::FalseProgress,
    Misbehaviour::FalseRefusal,
    Misbehaviour::FalseComplaint,
    Misbehaviour::EndlessDeals,
];
/// The ways of one that leads.
pub const LEADINGS: [Misbehaviour; 5] = [
    Misbehaviour::Exclusion,
    Misbehaviour::Stalling,
    Misbehaviour::FalseSums,
    Misbehaviour::WithheldCertificate,
    Misbehaviour::CallingBack,
];
/// Commitments of a deal without end.
const ENDLESS: usize = 1_000;
/// For longer than this nobody waits, milliseconds.
const SILENT_MS: u64 = 1_000 * (PATIENCE_S as u64 + 5);

/// The attempt without a member who is there and has done nothing.
fn without(
    mut acceptances: Vec<Acceptance>,
    victim: usize,
    own: u16,
) -> (Vec<Acceptance>, Vec<Exclusion>) {
    let place = victim % acceptances.len().max(1);
    let place = acceptances
        .iter()
        .cycle()
        .skip(place)
        .take(acceptances.len())
        .position(|one| one.index != own)
        .map(|further| (place + further) % acceptances.len());
    let Some(place) = place else {
        return (acceptances, Vec::new());
    };
    let member = acceptances.remove(place).index;
    let grounds = Grounds::Silent;
    (acceptances, vec![Exclusion { member, grounds }])
}

impl World {
    /// What a member that misbehaves makes of its answer to `from`; `None` for none.
    pub(super) fn answer_falsely(
        &mut self,
        at: usize,
        from: Option<[u8; 32]>,
        question: &[u8],
        answer: Answer,
    ) -> Option<Answer> {
        let Some(conduct) = self.nodes[at].conduct else {
            return Some(answer);
        };
        let Answer::Ceremony { message } = &answer else {
            return Some(answer);
        };
        let own = self.nodes[at].identity();
        let question = match Request::from_bytes(question) {
            Ok(Request::Ceremony { message }) => Message::from_bytes(&message).ok(),
            _ => None,
        };
        let (Some(question), Ok(reply)) = (question, Message::from_bytes(message)) else {
            return Some(answer);
        };
        if from == Some(own) {
            return Some(answer);
        }
        let said = match (conduct, question, reply) {
            (
                Misbehaviour::WrongShare | Misbehaviour::Equivocation | Misbehaviour::EndlessDeals,
                Message::Begin { acceptances, .. },
                Message::Dealt {
                    deal,
                    attempt,
                    ceremony,
                },
            ) => {
                let index = deal.header.index;
                let deal = self.false_deal(at, ceremony, attempt, index, &acceptances);
                let deal = Box::new(deal?);
                Message::Dealt {
                    deal,
                    attempt,
                    ceremony,
                }
            }
            // It finds its own deal altered, and does not say so.
            (
                Misbehaviour::WrongShare | Misbehaviour::Equivocation | Misbehaviour::EndlessDeals,
                _,
                Message::Refused { .. },
            ) => {
                return None;
            }
            (
                Misbehaviour::FalseComplaint,
                Message::Begin {
                    acceptances,
                    attempt,
                    ceremony,
                    ..
                },
                _,
            ) => {
                self.begun.insert((at, ceremony), (attempt, acceptances));
                return Some(answer);
            }
            (
                Misbehaviour::FalseComplaint,
                Message::Deals {
                    attempt, ceremony, ..
                },
                _,
            ) => Message::DealsWanted { attempt, ceremony },
            (
                Misbehaviour::FalseComplaint,
                Message::WholeDeals {
                    deals,
                    attempt,
                    ceremony,
                },
                _,
            ) => match self.complain(at, (ceremony, attempt), &deals) {
                Some(complaints) => Message::Complained {
                    attempt,
                    ceremony,
                    complaints,
                },
                None => return Some(answer),
            },
            (
                Misbehaviour::FalseProgress,
                Message::Begin {
                    acceptances,
                    attempt,
                    ceremony,
                    ..
                },
                _,
            ) if self.rng.random_bool(0.7) => {
                let victim = self.rng.random_range(0..64);
                let (acceptances, excluded) = without(acceptances, victim, 0);
                Message::Begun {
                    attempt: attempt + self.rng.random_range(0..4),
                    ceremony,
                    excluded,
                    acceptances,
                }
            }
            (
                Misbehaviour::FalseRefusal,
                question @ (Message::Deals { .. } | Message::Acknowledgements { .. }),
                _,
            ) if self.rng.random_bool(0.5) => Message::refusal(question.about(), &Fault::FalseSums),
            _ => return Some(answer),
        };
        self.monitor.lies += 1;
        Some(Answer::Ceremony {
            message: ByteBuf::from(said.to_bytes()),
        })
    }

    /// A complaint of a dealer that has dealt well.
    fn complain(
        &self,
        at: usize,
        (ceremony, attempt): ([u8; 16], u32),
        deals: &[dkg::RelayedDeal],
    ) -> Option<dkg::Complaints> {
        let node = &self.nodes[at];
        let proposal = node.running.as_ref()?.seats.get(&ceremony)?.proposal()?;
        let (_, acceptances) = self
            .begun
            .get(&(at, ceremony))
            .filter(|(begun, _)| *begun == attempt)?;
        let index = proposal.index_of(&node.identity())?;
        let params = params(proposal, attempt, acceptances);
        let author = (index, &*node.local.identity);
        false_complaint(&params, author, deals, acceptances)
    }

    /// A deal of another polynomial than its own machine's, with a share that does not lie on it or another one for everybody who
    /// asks; in a reshare it begins, as it must, with the node's true share.
    fn false_deal(
        &mut self,
        at: usize,
        ceremony: [u8; 16],
        attempt: u32,
        index: u16,
        acceptances: &[Acceptance],
    ) -> Option<dkg::Deal> {
        let node = &self.nodes[at];
        let seat = node.running.as_ref()?.seats.get(&ceremony)?;
        let proposal = seat.proposal()?;
        let share: Option<Scalar> = match proposal.base().map(dkg::Base::name) {
            None => None,
            Some(base) => {
                let key = node
                    .held()
                    .into_iter()
                    .find(|key| key.result == base.result)?;
                Some(*key.share.secret().expose())
            }
        };
        // n_i of its acceptance, as its machine has written it; the machine forgets it in the end.
        let state = node
            .running
            .as_ref()?
            .desk
            .store
            .get(Table::Ceremony, &ceremony)
            .ok()??;
        if state.get(1)? & 1 == 0 {
            return None;
        }
        let secret = encryption_secret(&state);
        let equivocates = node.conduct == Some(Misbehaviour::Equivocation);
        let endless = node.conduct == Some(Misbehaviour::EndlessDeals);
        let seed = if equivocates { self.rng.random() } else { 1 };
        let mut dealer =
            Dealer::with_constant(proposal, attempt, acceptances, index, secret, share, seed);
        let members = proposal.members().len();
        let victim = acceptances
            .iter()
            .filter(|one| usize::from(one.index) <= members)
            .enumerate()
            .find(|(_, one)| one.index != index);
        if endless {
            let again = dealer.commitments[1];
            dealer.commitments.resize(ENDLESS, again);
        }
        if let (false, Some((place, victim))) = (equivocates || endless, victim) {
            let to = u16::try_from(place + 1).ok()?;
            let wrong = dealer.share(to) + Scalar::ONE;
            dealer.encrypt(to, wrong, &victim.encryption_key);
        }
        Some(dealer.finish(&node.local.identity))
    }

    /// What a leader that misbehaves sends instead; `None` for nothing.
    pub(super) fn lead_falsely(
        &mut self,
        at: usize,
        to: [u8; 32],
        request: Request,
    ) -> Option<Request> {
        let (Some(conduct), Request::Ceremony { message }) = (self.nodes[at].conduct, &request)
        else {
            return Some(request);
        };
        if to == self.nodes[at].identity() {
            return Some(request);
        }
        let Ok(message) = Message::from_bytes(message) else {
            return Some(request);
        };
        let said = match (conduct, message) {
            (
                Misbehaviour::Exclusion,
                Message::Begin {
                    acceptances,
                    attempt,
                    ceremony,
                    ..
                },
            ) if self.rng.random_bool(0.4) => {
                let own = self.nodes[at].identity();
                let members = self.nodes[at]
                    .running
                    .as_ref()
                    .and_then(|running| running.seats.get(&ceremony)?.proposal())
                    .map(|proposal| proposal.members().to_vec())
                    .unwrap_or_default();
                let place = members.iter().position(|member| member.identity == own);
                let index = place.and_then(|place| u16::try_from(place + 1).ok());
                let victim = self.rng.random_range(0..64);
                let (acceptances, excluded) =
                    without(acceptances, victim, index.unwrap_or_default());
                Message::Begin {
                    attempt: attempt + 1,
                    ceremony,
                    excluded,
                    acceptances,
                }
            }
            (
                Misbehaviour::Stalling,
                message @ (Message::Deals { .. } | Message::Acknowledgements { .. }),
            ) => Message::Leading {
                waiting: Vec::new(),
                attempt: message.attempt()?,
                ceremony: message.ceremony()?,
            },
            (
                Misbehaviour::FalseSums,
                Message::Deals {
                    mut sums,
                    deals,
                    attempt,
                    ceremony,
                },
            ) => {
                sums.reverse();
                Message::Deals {
                    sums,
                    deals,
                    attempt,
                    ceremony,
                }
            }
            // It is silent for longer than anybody waits, and then has all come back to where it was.
            (Misbehaviour::CallingBack, message) if self.calm_since.is_none() => {
                let now = self.now_ms;
                let since = self.silent.entry((at, to)).or_insert(now);
                self.monitor.lies += 1;
                if now < *since + SILENT_MS {
                    return None;
                }
                *since = now;
                let called = Message::Leading {
                    waiting: Vec::new(),
                    attempt: message.attempt().unwrap_or_default(),
                    ceremony: message.ceremony()?,
                };
                return Some(Request::Ceremony {
                    message: ByteBuf::from(called.to_bytes()),
                });
            }
            // It brings the certificate out when nobody counts on it any more.
            (Misbehaviour::WithheldCertificate, Message::Certificate { .. })
                if self.calm_since.is_none() =>
            {
                self.monitor.lies += 1;
                return None;
            }
            _ => return Some(request),
        };
        self.monitor.lies += 1;
        Some(Request::Ceremony {
            message: ByteBuf::from(said.to_bytes()),
        })
    }
}
