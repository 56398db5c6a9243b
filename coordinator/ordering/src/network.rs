//! Authenticated connections among the members.
//!
//! The keys that sign here may sign other things elsewhere: an organisation's peer signs the heads of the record with the same. Nothing that is signed
//! for one can be taken for the other. A vote is signed over the namespace's length as a varint, the namespace, and the vote; the namespace having at least
//! 128 bytes, the first byte is 0x80 or more. A handshake is signed over a hash after one byte 0. A text begins with neither.

use crate::{
    MAX_MEMBERS, Member, Settings, application::Scheme, batch::Batch, epochs::Roll,
    epochs::public_key, gossip::MAX_MESSAGE,
};
use commonware_consensus::{
    marshal::{self, standard::Standard},
    simplex,
};
use commonware_cryptography::{
    ChaCha20Poly1305,
    ed25519::{PrivateKey, PublicKey},
    sha256::Digest,
};
use commonware_p2p::{
    Address, AddressableManager as _, AddressableTrackedPeers, Ingress,
    authenticated::lookup::{self, Network, Oracle},
    max_message_size,
    utils::mux,
};
use commonware_runtime::{Quota, Supervisor as _, tokio::Context};
use commonware_stream::{
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::{hostname::Hostname, ordered::Map};
use std::{
    net::{Ipv6Addr, SocketAddr},
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

pub(crate) type Upgrade = Cups<Sake<PrivateKey>, ChaCha20Poly1305>;

/// Clocks of two members may differ so much that they still speak to each other.
const CLOCKS: Duration = Duration::from_secs(60);
const MAILBOX: NonZeroUsize = NonZeroUsize::new(1024).unwrap();
/// Who is let in at a time: the members of an epoch, those of the one before, and newcomers.
const MAX_LET_IN: NonZeroUsize = NonZeroUsize::new(2 * MAX_MEMBERS).unwrap();

/// Messages of one kind a second, from each member and to each.
pub(crate) fn quota(a_second: u32) -> Quota {
    Quota::per_second(NonZeroU32::new(a_second).unwrap_or(NonZeroU32::MIN))
}

/// The network, not started yet, and what manages it. Nobody is let in yet.
pub(crate) fn network(
    context: &Context,
    settings: &Settings,
    key: PrivateKey,
) -> (Network<Context, Upgrade>, Oracle<PublicKey>) {
    let handshake = Cups::new(
        Sake {
            signer: key,
            synchrony_bound: CLOCKS,
            max_handshake_age: CLOCKS,
            version: sake::Version::V1,
        },
        cups::Version::V1,
    );
    // As large as it can get with any members, for it must not shrink when members leave.
    let number = u32::try_from(MAX_MEMBERS).unwrap_or(u32::MAX);
    let largest = max_message_size(&[
        marshal::max_payload_size::<Standard<Batch>, Scheme>(number, &()),
        mux::prefixed(simplex::max_payload_size::<Scheme, Digest>(number)),
        MAX_MESSAGE,
    ]);
    let mut config = lookup::Config::local(
        handshake,
        &settings.namespace,
        settings.listen,
        MAX_LET_IN,
        largest,
        MAILBOX,
    );
    // Who someone is says the key, not the address from which a connection comes.
    config.bypass_ip_check = true;
    config.allow_dns = false;
    config.tracked_peer_sets = NonZeroUsize::MIN;
    config.dial_frequency = Duration::from_millis(250);
    config.dial_timeout = Duration::from_secs(5);
    config.peer_connection_cooldown = Duration::from_millis(500);
    Network::new(context.child("network"), config)
}

/// Lets in the members of an epoch, who help, and some others, and nobody else.
pub(crate) struct Doorkeeper {
    oracle: Oracle<PublicKey>,
    /// Of the next list.
    number: u64,
}

impl Doorkeeper {
    pub(crate) fn new(oracle: Oracle<PublicKey>) -> Self {
        Self { oracle, number: 0 }
    }

    /// Members and helpers are called and call; the others may call.
    pub(crate) fn let_in(&mut self, roll: &Roll, helpers: &[Member], others: &[Member]) {
        let known = |member: &Member| Some((public_key(member).ok()?, address(member)));
        let members = roll
            .members
            .iter()
            .map(|(key, member)| (key.clone(), address(member)));
        // The first of two entries with one key stays.
        let helpers = helpers.iter().filter_map(known).take(MAX_MEMBERS - 1);
        let members: Map<PublicKey, Address> = Map::from_iter_dedup(members.chain(helpers));
        let room = MAX_LET_IN.get().saturating_sub(members.len() + 1);
        let others = others
            .iter()
            .filter_map(known)
            .filter(|(key, _)| members.position(key).is_none());
        let others = Map::from_iter_dedup(others.take(room));
        let peers = AddressableTrackedPeers::new(members, others);
        let _ = self.oracle.track(self.number, peers);
        self.number += 1;
    }
}

/// Where to call a member. One without an address is waited for: names are not dialled here.
fn address(member: &Member) -> Address {
    let unknown = || {
        let host = Hostname::new("unknown").ok()?;
        Some(Address::Asymmetric {
            ingress: Ingress::Dns { host, port: 0 },
            egress: SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)),
        })
    };
    match member.address {
        Some(address) => Address::Symmetric(address),
        None => unknown()
            .unwrap_or_else(|| Address::Symmetric(SocketAddr::from((Ipv6Addr::UNSPECIFIED, 0)))),
    }
}
