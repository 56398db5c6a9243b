//! Handing a key on that was made before.

use std::collections::{BTreeMap, VecDeque};

use dkg::{
    BaseTerms, CertifiedKey, Fault, Signer, SigningEffect, SigningSession, verify_certificate,
};
use rand::CryptoRng;

use crate::{Ceremony, Failed, NOW, Node};

/// To whom a key is handed on.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum To {
    /// Its members, with new shares.
    Same,
    /// As many others.
    Others,
}

impl Ceremony {
    /// The reshare of the key that was made. t of the old members deal; one of them leads.
    pub fn reshare(self, to: To, threshold: u16, rng: &mut impl CryptoRng) -> Result<Self, Failed> {
        let certificate = self.certify(rng)?;
        let mut nodes = self.nodes;
        let members = nodes.len();
        let base = BaseTerms {
            certificate,
            addresses: {
                let addresses = nodes.iter().map(|node| node.card.address.clone());
                addresses.collect()
            },
            old_may_be_absent: Vec::new(),
            attempts_after: 0,
        };
        if to == To::Others {
            let numbers = members + 1..=2 * members;
            nodes.extend(numbers.map(|number| Node::new(number, rng)));
        }
        Ok(Self::of(nodes, members, threshold, Some(base), rng)?)
    }

    /// Whether the nodes that are to have the key hold shares of one with this Y, 32 bytes.
    pub fn is_of(&self, public_key: &[u8; 32]) -> bool {
        let members = self.proposal.members().iter();
        members.into_iter().all(|member| {
            let holder = self
                .nodes
                .iter()
                .find(|node| node.card.identity == member.identity);
            holder
                .and_then(|node| node.key.as_ref())
                .is_some_and(|key| {
                    key.name.epoch == self.proposal.epoch()
                        && key.package.public_key().as_bytes() == public_key
                        && key.share.check(&key.package).is_ok()
                })
        })
    }

    /// Y of the key that the first node holds, 32 bytes.
    pub fn public_key(&self) -> Option<[u8; 32]> {
        let key = self.nodes.first()?.key.as_ref()?;
        Some(*key.package.public_key().as_bytes())
    }

    /// The members sign under Y who they are.
    fn certify(&self, rng: &mut impl CryptoRng) -> Result<Vec<u8>, Failed> {
        let first = self.nodes.first().ok_or(Failed::Incomplete)?;
        let key = first.key.as_ref().ok_or(Failed::Incomplete)?;
        let pinned: Vec<[u8; 32]> = key.members.iter().map(|member| member.identity).collect();
        let certified: CertifiedKey =
            verify_certificate(&key.certificate, &pinned).map_err(Fault::from)?;
        let mut signers: BTreeMap<[u8; 32], Signer> = BTreeMap::new();
        let mut session = SigningSession::new(certified.clone(), rng);
        let mut queue: VecDeque<SigningEffect> = session.poll(NOW, rng).into();
        while let Some(effect) = queue.pop_front() {
            match effect {
                SigningEffect::Signed { certificate } => return Ok(certificate),
                SigningEffect::Send { to, message } => {
                    let holder = self.nodes.iter().find(|node| node.card.identity == to);
                    let key = holder.and_then(|node| node.key.as_ref());
                    let share = &key.ok_or(Failed::Incomplete)?.share;
                    let signer = signers.entry(to).or_default();
                    let from = &first.card.identity;
                    let reply = signer.handle(from, &message, share, &certified, None, rng)?;
                    queue.extend(session.handle_reply(&to, &message, &reply, NOW, rng));
                }
            }
        }
        Err(Failed::Incomplete)
    }
}
