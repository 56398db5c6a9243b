//! Planted bugs: one party that counts as honest and is not, for each invariant. They show that the invariant would find such a bug.

use std::sync::Arc;

use cryptonode::keyring::{ActiveKey, KeyEntry};
use reencrypt::{KeyShare, PublicKeyPackage, SecretScalar};

use crate::node::Host;
use crate::world::World;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Plant {
    /// A node serves another result than the others under the same name.
    OtherResult,
    /// A node is content with one organisation less.
    FewerOrganisations,
    /// A node's share is in what it sends.
    LeaksShare,
    /// A node's disk confirms what it has not written.
    LyingDisk,
    /// A peer comes back with an older copy of its record.
    ForgetfulPeer,
    /// Too many nodes say nothing, with nothing wrong with them.
    Mute,
    /// A node sends its share, and writes its record afterwards.
    AnswersFirst,
    /// A reader's client blames whom it likes.
    BlamesAnybody,
}

fn scalar(share: &KeyShare) -> SecretScalar {
    SecretScalar::from_canonical_bytes(&share.secret().to_bytes()).unwrap()
}

/// The same key on the same node, with something altered.
fn altered(key: &ActiveKey, policy: certs::Policy) -> ActiveKey {
    let share = &key.share;
    ActiveKey {
        share: KeyShare::new(
            share.index(),
            share.epoch(),
            share.public_key(),
            scalar(share),
        )
        .unwrap(),
        package: key.package.clone(),
        result: key.result,
        policy,
        members: key.members.clone(),
        certificate: key.certificate.clone(),
    }
}

/// A key of its own, under the name of the others' result.
fn own_key(key: &ActiveKey) -> ActiveKey {
    let secret = SecretScalar::random(&mut rand::rng());
    let public = secret.public();
    let members = key.package.members();
    let package = PublicKeyPackage::new(
        public,
        key.package.epoch(),
        1,
        vec![public; usize::from(members)],
    );
    ActiveKey {
        share: KeyShare::new(key.share.index(), key.share.epoch(), public, secret).unwrap(),
        package: package.unwrap(),
        result: key.result,
        policy: key.policy.clone(),
        members: key.members.clone(),
        certificate: key.certificate.clone(),
    }
}

impl Plant {
    /// Before the nodes start.
    pub fn sow(self, world: &mut World) {
        world.plant = Some(self);
        let members = world.nodes.len();
        match self {
            Self::LyingDisk => world.nodes[0].disk.lie(),
            Self::ForgetfulPeer => world.peers[0].forgets = true,
            Self::Mute => {
                for node in &mut world.nodes[..members - 1] {
                    node.plant = Some(self);
                }
            }
            _ => world.nodes[0].plant = Some(self),
        }
    }
}

impl Host {
    /// What a planted bug makes of a node that has just started.
    pub fn corrupt(&mut self) {
        let (Some(plant), Some(running)) = (self.plant, &self.running) else {
            return;
        };
        let keyring = &running.desk.keyring;
        for key in keyring.all() {
            let public_key = *key.package.public_key().as_bytes();
            match plant {
                Plant::OtherResult => drop(keyring.insert(own_key(&key)).unwrap()),
                Plant::FewerOrganisations => {
                    let one_less =
                        crate::template::founders().policy(key.policy.approvals_needed() - 1);
                    let state = keyring.entry(&public_key).unwrap().state().clone();
                    let shares = vec![Arc::new(altered(&key, one_less))];
                    keyring.put(KeyEntry::stored(public_key, shares, state));
                }
                _ => {}
            }
        }
    }
}
