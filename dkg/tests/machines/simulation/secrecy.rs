//! *No secret is opened by fewer than t*: what the cheats of a history know together, as values, and whether a secret comes of it.
//!
//! They know what honest dealers have dealt them, in every attempt; what they were given as shares of results; in a reshare, what they held
//! of the base. Whatever lies on one polynomial of degree t − 1 gives it away from t places on. So each point that they learn is tried
//! with all others that are said to have nothing to do with it: those that the same dealer has dealt in other attempts, and those of other results
//! of the key. At the end the shares of everybody are tried too: t of one result open it, whichever honest members' they are; t − 1 of it
//! do not, nor t − 1 of it with some of another.

use std::collections::{BTreeMap, BTreeSet};

use curve25519_dalek::ristretto::CompressedRistretto;
use curve25519_dalek::{RistrettoPoint, Scalar};
use dkg::{Acceptance, Deal, Message};
use reencrypt::Point;

use super::World;
use crate::dealer;
use crate::world::interpolate;

/// The most points that are tried with a new one, the latest: a history may have dozens of attempts.
const TRIED: usize = 14;

/// Points that should have nothing to do with each other, and secrets that should not come of them.
#[derive(Default)]
pub struct Pool {
    points: Vec<(u16, Scalar)>,
    /// As secret·G.
    secrets: BTreeSet<[u8; 32]>,
}

impl Pool {
    pub fn guard(&mut self, secret: &[u8; 32]) {
        self.secrets.insert(*secret);
    }

    /// Takes a point. Gives the places from which a secret comes, if one comes of up to `most` points, this one among them.
    pub fn add(&mut self, point: (u16, Scalar), most: usize) -> Option<Vec<u16>> {
        if self.points.contains(&point) {
            return None;
        }
        let known: Vec<(u16, Scalar)> = self.points.iter().rev().take(TRIED).copied().collect();
        self.points.push(point);
        (0..most)
            .flat_map(|others| subsets(&known, others))
            .map(|others| [others.as_slice(), &[point]].concat())
            .find(|some| self.opens(some))
            .map(|some| some.iter().map(|(place, _)| *place).collect())
    }

    fn opens(&self, some: &[(u16, Scalar)]) -> bool {
        let places: BTreeSet<u16> = some.iter().map(|(place, _)| *place).collect();
        places.len() == some.len() && self.secrets.contains(&public(&interpolate(some)))
    }
}

fn public(secret: &Scalar) -> [u8; 32] {
    RistrettoPoint::mul_base(secret).compress().to_bytes()
}

/// All choices of so many.
pub fn subsets<T: Copy>(all: &[T], count: usize) -> Vec<Vec<T>> {
    let Some(fewer) = count.checked_sub(1) else {
        return vec![Vec::new()];
    };
    let with = |(place, one): (usize, &T)| -> Vec<Vec<T>> {
        let rest = subsets(&all[place + 1..], fewer).into_iter();
        rest.map(|some| [&[*one], some.as_slice()].concat())
            .collect()
    };
    all.iter().enumerate().flat_map(with).collect()
}

/// What the cheats know.
#[derive(Default)]
pub struct Adversary {
    /// By the place of the dealer.
    dealt: BTreeMap<usize, Pool>,
    /// Shares of all results of all keys, those of the base among them.
    shares: Pool,
    /// Deals that have been looked at, by the dealer's signature.
    seen: BTreeSet<[u8; 64]>,
    /// The attempt that each honest member was last led into.
    acceptances: BTreeMap<usize, (u32, Vec<Acceptance>)>,
}

impl World {
    fn threshold(&self) -> usize {
        let base = self.proposal.base().map_or(0, dkg::Base::threshold);
        usize::from(self.proposal.threshold().max(base))
    }

    /// What they hold from before.
    pub(super) fn begin_adversary(&mut self) {
        for place in 0..self.players.len() {
            if let Some(base) = &self.players[place].base {
                let share = (base.share.index(), *base.share.secret().expose());
                let public_key = base.package.public_key();
                self.hold(place, share, &public_key);
            }
        }
    }

    /// Somebody holds a share of a result of this key.
    pub(super) fn hold(&mut self, place: usize, share: (u16, Scalar), public_key: &Point) {
        self.adversary.shares.guard(public_key.as_bytes());
        if self.is_honest(place) {
            return;
        }
        let most = self.threshold();
        if let Some(places) = self.adversary.shares.add(share, most) {
            self.fail(&format!(
                "fewer than t open the key: the cheats' shares at {places:?} do"
            ));
        }
    }

    /// An honest member has said something, and the cheats see it.
    pub(super) fn overhear(&mut self, place: usize, question: &Message, reply: &Message) {
        if let (
            Message::Begin {
                acceptances,
                attempt,
                ..
            },
            Message::Dealt { .. } | Message::Ready { .. },
        ) = (question, reply)
        {
            let led = (*attempt, acceptances.clone());
            self.adversary.acceptances.insert(place, led);
        }
        match reply {
            Message::Dealt { deal, .. } if !self.cheats.is_empty() => self.look_at(place, deal),
            Message::Complained {
                complaints,
                attempt,
                ..
            } => {
                let led = self.adversary.acceptances.get(&place);
                let Some((_, acceptances)) = led.filter(|(number, _)| number == attempt) else {
                    return;
                };
                let accused: Vec<usize> = complaints
                    .complaints
                    .iter()
                    .filter_map(|one| self.place_of_dealer(one.dealer, acceptances))
                    .collect();
                // It opens what the two have dealt each other.
                if accused.iter().any(|accused| self.is_honest(*accused)) {
                    self.fail("an honest member opens what an honest dealer has dealt it");
                }
            }
            _ => {}
        }
    }

    /// The place of the dealer whose deals carry this index.
    fn place_of_dealer(&self, index: u16, acceptances: &[Acceptance]) -> Option<usize> {
        let seat = match self.proposal.base() {
            None => acceptances.get(usize::from(index) - 1)?.index,
            Some(_) => {
                let mut old = self.proposal.old_seats().iter();
                old.find(|old| old.index == index)?.seat
            }
        };
        Some(usize::from(seat) - 1)
    }

    /// What the cheats are dealt by an honest dealer.
    fn look_at(&mut self, place: usize, deal: &Deal) {
        if !self.adversary.seen.insert(deal.header.signature) {
            return;
        }
        let Some((attempt, acceptances)) = self.adversary.acceptances.get(&place).cloned() else {
            return;
        };
        let params = dealer::params(&self.proposal, attempt, &acceptances);
        let key_of = |place: usize| {
            let mut all = acceptances.iter();
            all.find(|one| usize::from(one.index) == place + 1)
                .map(|one| one.encryption_key)
        };
        let header = &deal.header;
        let Some(dealers_key) = key_of(place) else {
            return;
        };
        let members = self.proposal.members().len();
        let new: Vec<usize> = acceptances
            .iter()
            .map(|one| usize::from(one.index) - 1)
            .filter(|place| *place < members)
            .collect();
        let most = self.threshold();
        for (to, reader) in (1u16..).zip(new) {
            let secret = self.cheats.get(&reader).and_then(|cheat| cheat.secret);
            let (Some(secret), Some(key)) = (secret, key_of(reader)) else {
                continue;
            };
            let shared = (secret * point(&dealers_key)).compress();
            let pad = dealer::pad(
                &params,
                (header.index, to),
                (&header.constant, &header.commitments_hash),
                (&dealers_key, &key),
                shared.as_bytes(),
            );
            let ciphertext = deal.ciphertexts.as_chunks::<32>().0[usize::from(to) - 1];
            let share = Scalar::from_canonical_bytes(ciphertext).unwrap() - pad;
            if public(&share) != expected(deal, to) {
                self.fail("an honest dealer has dealt what is not on its polynomial");
            }
            let pool = self.adversary.dealt.entry(place).or_default();
            pool.guard(&header.constant);
            if let Some(places) = pool.add((to, share), most) {
                self.fail(&format!(
                    "fewer than t open what {place} has dealt: the cheats, who were dealt its values at {places:?}"
                ));
            }
        }
    }

    /// The shares of all results, the base's among them.
    fn sharings(&self) -> Vec<Sharing> {
        let of = |place: usize, share: &reencrypt::KeyShare| {
            let value = (share.index(), *share.secret().expose());
            (self.is_honest(place), value)
        };
        let mut all = Vec::new();
        if let Some(base) = self.proposal.base() {
            let held = self.players.iter().enumerate();
            all.push(Sharing {
                threshold: base.threshold().into(),
                public_key: *base.certificate().package().public_key().as_bytes(),
                shares: held
                    .filter_map(|(place, player)| Some(of(place, &player.base.as_ref()?.share)))
                    .collect(),
            });
        }
        for certificate in &self.certificates {
            let (mut shares, mut public_key) = (Vec::new(), None);
            for (place, player) in self.players.iter().enumerate() {
                let mut keys = player.keys.values();
                if let Some(key) = keys.find(|key| key.certificate == *certificate) {
                    public_key = Some(*key.package.public_key().as_bytes());
                    shares.push(of(place, &key.share));
                } else {
                    let restored = dkg::restore_key(certificate, &player.node.phrase);
                    shares.extend(restored.ok().map(|key| of(place, &key.share)));
                }
            }
            all.push(Sharing {
                threshold: self.proposal.threshold().into(),
                public_key: public_key.expect("somebody has activated it"),
                shares,
            });
        }
        all
    }

    /// At the end: any t honest members open a result, and fewer than t of one do not, whoever they are and whatever they know of another.
    pub fn check_secrets(&self) {
        let all = self.sharings();
        for sharing in &all {
            let honest = sharing.shares.iter().filter(|one| one.0);
            let honest: Vec<_> = honest.map(|one| one.1).collect();
            for some in subsets(&honest, sharing.threshold) {
                if !sharing.is_opened_by(&some) {
                    self.fail("t honest members' shares do not open the key");
                }
            }
            for few in subsets(&sharing.values(), sharing.threshold - 1) {
                if sharing.is_opened_by(&few) {
                    self.fail("fewer than t open the key: t − 1 shares of one result do");
                }
            }
        }
        for (place, one) in all.iter().enumerate() {
            let later = all.iter().skip(place + 1);
            for other in later.filter(|other| other.public_key == one.public_key) {
                if one.is_opened_with(other) {
                    self.fail(
                        "fewer than t open the key: t − 1 of one result and some of another do",
                    );
                }
            }
        }
    }
}

/// A result, with each share that there is of it, and whether an honest member holds it.
struct Sharing {
    threshold: usize,
    public_key: [u8; 32],
    shares: Vec<(bool, (u16, Scalar))>,
}

impl Sharing {
    fn values(&self) -> Vec<(u16, Scalar)> {
        self.shares.iter().map(|one| one.1).collect()
    }

    fn is_opened_by(&self, some: &[(u16, Scalar)]) -> bool {
        public(&interpolate(some)) == self.public_key
    }

    /// By fewer than t of its shares together with fewer than t of another's, as many as either's t in all.
    fn is_opened_with(&self, other: &Self) -> bool {
        let most = self.threshold.max(other.threshold);
        (1..self.threshold).any(|few| {
            let more = (most - few).min(other.threshold - 1);
            let theirs = subsets(&other.values(), more);
            subsets(&self.values(), few).iter().any(|ours| {
                theirs.iter().any(|theirs| {
                    let mixed = [ours.as_slice(), theirs].concat();
                    let places: BTreeSet<u16> = mixed.iter().map(|(place, _)| *place).collect();
                    places.len() == mixed.len() && self.is_opened_by(&mixed)
                })
            })
        })
    }
}

fn point(bytes: &[u8; 32]) -> RistrettoPoint {
    CompressedRistretto(*bytes).decompress().unwrap()
}

/// Σ j^k·A_k.
fn expected(deal: &Deal, to: u16) -> [u8; 32] {
    let commitments = deal.commitments.as_chunks::<32>().0;
    let all = std::iter::once(&deal.header.constant).chain(commitments);
    let (mut sum, mut power) = (RistrettoPoint::default(), Scalar::ONE);
    for commitment in all {
        sum += power * point(commitment);
        power *= Scalar::from(to);
    }
    sum.compress().to_bytes()
}
