//! One result of a cluster's key as a client sees it: who its members are, and the connections to them.

use std::collections::HashSet;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Instant;

use rand::RngExt as _;
use reencrypt::{KeyCertificate, ResultName};

use super::descriptor::{Cluster, ClusterDescriptor, DescriptorError, MemberDescriptor};
use super::outcome::{NodeOutcome, Outcome};
use super::peer::{Dialer, Peer};
use super::standing::Standing;
use crate::randomness;
use crate::tls::TlsError;
use crate::wire::v1::ResultVersion;

/// Most addresses that are tried for one member.
const MOST_ADDRESSES: usize = 4;
/// Stands for an address that nobody told (RFC 2606: it leads nowhere).
pub(crate) const NOWHERE: &str = "unknown.invalid:7700";

/// A node: connection and record. It outlives a reshare, if the node stays a member.
pub(super) struct Contact {
    identity: [u8; 32],
    addresses: Vec<String>,
    peer: Peer,
    standing: Mutex<Standing>,
}

impl Contact {
    pub(super) fn identity(&self) -> &[u8; 32] {
        &self.identity
    }

    pub(super) fn addresses(&self) -> &[String] {
        &self.addresses
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.peer
    }
}

/// A member of one result.
pub(super) struct Member {
    index: u16,
    name: String,
    contact: Arc<Contact>,
}

impl Member {
    pub(super) fn index(&self) -> u16 {
        self.index
    }

    pub(super) fn name(&self) -> &str {
        &self.name
    }

    pub(super) fn peer(&self) -> &Peer {
        &self.contact.peer
    }

    pub(super) fn standing(&self) -> MutexGuard<'_, Standing> {
        self.contact
            .standing
            .lock()
            .unwrap_or_else(PoisonError::into_inner)
    }
}

/// One result of the key.
pub(super) struct View {
    cluster: Arc<Cluster>,
    /// There if it comes from a certificate.
    result: Option<ResultName>,
    members: Vec<Member>,
}

impl View {
    /// From a descriptor that the operators gave out.
    pub(super) fn of_descriptor(cluster: Cluster, dialer: &Arc<Dialer>) -> Result<Self, TlsError> {
        let addresses: Vec<Vec<String>> = cluster
            .members()
            .iter()
            .map(|member| vec![member.address.clone()])
            .collect();
        Self::new(cluster, None, &addresses, &[], dialer)
    }

    /// From a certificate that was verified under Y. `addresses` has for each member where it may be, the most likely first.
    /// Connections of `known` are kept.
    pub(super) fn of_certificate(
        certificate: &KeyCertificate,
        addresses: &[Vec<String>],
        known: &[Arc<View>],
        dialer: &Arc<Dialer>,
    ) -> Result<Self, ViewError> {
        let cluster = describe(certificate, addresses).check()?;
        let result = Some(*certificate.result());
        Ok(Self::new(cluster, result, addresses, known, dialer)?)
    }

    fn new(
        cluster: Cluster,
        result: Option<ResultName>,
        addresses: &[Vec<String>],
        known: &[Arc<View>],
        dialer: &Arc<Dialer>,
    ) -> Result<Self, TlsError> {
        let members = cluster
            .members()
            .iter()
            .zip(addresses)
            .map(|(member, addresses)| {
                let addresses: Vec<String> =
                    addresses.iter().take(MOST_ADDRESSES).cloned().collect();
                let kept = known
                    .iter()
                    .flat_map(|view| view.contacts())
                    .find(|contact| {
                        contact.identity == member.identity
                            && addresses.iter().all(|one| contact.addresses.contains(one))
                    });
                let contact = match kept {
                    Some(contact) => Arc::clone(contact),
                    None => Arc::new(Contact {
                        identity: member.identity,
                        peer: dialer.peer_at(&addresses, &member.identity)?,
                        addresses,
                        standing: Mutex::default(),
                    }),
                };
                Ok(Member {
                    index: member.index,
                    name: member.name.clone(),
                    contact,
                })
            })
            .collect::<Result<_, TlsError>>()?;
        Ok(Self {
            cluster: Arc::new(cluster),
            result,
            members,
        })
    }

    pub(super) fn cluster(&self) -> &Arc<Cluster> {
        &self.cluster
    }

    pub(super) fn members(&self) -> &[Member] {
        &self.members
    }

    pub(super) fn contacts(&self) -> impl Iterator<Item = &Arc<Contact>> {
        self.members.iter().map(|member| &member.contact)
    }

    pub(super) fn version(&self) -> ResultVersion {
        self.cluster.descriptor().version_of_result()
    }

    /// Whether a certificate is of a later result than this.
    pub(super) fn is_before(&self, result: &ResultName) -> bool {
        match &self.result {
            Some(own) => own < result,
            None => self.version() < result.into(),
        }
    }

    /// The members, the most promising first.
    pub(super) fn order(&self) -> Vec<usize> {
        let now = Instant::now();
        // One draw for all: it is a call of the system.
        let seed: u64 = randomness::system().random();
        let mut ranked: Vec<_> = (0_u64..)
            .zip(&self.members)
            .enumerate()
            .map(|(node, (number, member))| {
                let down = member.peer().is_down();
                let rank = member.standing().rank(down, lot(seed, number), now);
                (rank, node)
            })
            .collect();
        ranked.sort_unstable_by(|(a, _), (b, _)| {
            a.0.cmp(&b.0).then(a.1.total_cmp(&b.1)).then(a.2.cmp(&b.2))
        });
        ranked.into_iter().map(|(_, node)| node).collect()
    }

    pub(super) fn nobody_asked(&self) -> Vec<NodeOutcome> {
        let outcome = |member: &Member| NodeOutcome {
            index: member.index(),
            name: member.name().to_owned(),
            what: Outcome::NotAsked,
            millis: None,
        };
        self.members.iter().map(outcome).collect()
    }
}

/// The lot that member `number` draws: the outputs of SplitMix64 (Steele, Lea and Flood, *Fast splittable pseudorandom number
/// generators*, OOPSLA 2014). Who is asked first among equals is no secret.
fn lot(seed: u64, number: u64) -> u32 {
    let mut state = seed.wrapping_add(number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
    state = (state ^ (state >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    state = (state ^ (state >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    ((state ^ (state >> 31)) >> 32) as u32
}

/// Why a certificate's members cannot be called.
#[derive(Debug, thiserror::Error)]
pub(super) enum ViewError {
    #[error(transparent)]
    Descriptor(#[from] DescriptorError),
    #[error(transparent)]
    Tls(#[from] TlsError),
}

/// What a certificate says, as a descriptor. Members that nobody told an address of are listed with one that leads nowhere.
pub(crate) fn describe(
    certificate: &KeyCertificate,
    addresses: &[Vec<String>],
) -> ClusterDescriptor {
    // Two members may have one name; a descriptor tells them apart.
    let mut names = HashSet::new();
    let members = (1_u16..)
        .zip(certificate.members())
        .zip(addresses)
        .map(|((index, member), addresses)| {
            let name = if names.insert(member.name.clone()) {
                member.name.clone()
            } else {
                format!("member {index}")
            };
            MemberDescriptor {
                index,
                name,
                identity: member.identity,
                address: addresses
                    .first()
                    .map_or_else(|| NOWHERE.to_owned(), Clone::clone),
                public_share: member.public_share,
            }
        })
        .collect();
    ClusterDescriptor {
        version: 1,
        public_key: *certificate.package().public_key().as_bytes(),
        epoch: certificate.result().epoch,
        attempt: certificate.result().attempt,
        threshold: certificate.package().threshold(),
        members,
        policy_hash: *certificate.policy_hash(),
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn every_member_is_first_about_equally_often() {
        const MEMBERS: u64 = 8;
        let mut first = [0_u32; MEMBERS as usize];
        for seed in 0..8_000_u64 {
            // Seeds that differ little are no worse than those that the system draws.
            let winner = (0..MEMBERS)
                .min_by_key(|number| lot(seed, *number))
                .unwrap();
            *first.get_mut(usize::try_from(winner).unwrap()).unwrap() += 1;
        }
        assert!(
            first.iter().all(|count| (850..1_150).contains(count)),
            "{first:?}"
        );
    }
}
