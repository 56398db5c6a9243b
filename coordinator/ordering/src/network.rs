//! Authenticated connections among the members.
//!
//! The keys that sign here may sign other things elsewhere: an organisation's peer signs the heads of the record with the same. Nothing that is signed
//! for one can be taken for the other. A vote is signed over the namespace's length as a varint, the namespace, and the vote; the namespace having at least
//! 128 bytes, the first byte is 0x80 or more. A handshake is signed over a hash after one byte 0. A text begins with neither.

use crate::{Member, Settings, StartError, application::Scheme, batch::Batch, gossip::MAX_MESSAGE};
use commonware_codec::{Copying, DecodeExt as _};
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
    Address, AddressableManager as _,
    authenticated::lookup::{self, Network, Oracle},
    max_message_size,
};
use commonware_runtime::{Quota, Supervisor as _, tokio::Context};
use commonware_stream::{
    cups::{self, Cups},
    sake::{self, Sake},
};
use commonware_utils::ordered::Map;
use std::{
    num::{NonZeroU32, NonZeroUsize},
    time::Duration,
};

pub(crate) type Upgrade = Cups<Sake<PrivateKey>, ChaCha20Poly1305>;

/// Clocks of two members may differ so much that they still speak to each other.
const CLOCKS: Duration = Duration::from_secs(60);
const MAILBOX: NonZeroUsize = NonZeroUsize::new(1024).unwrap();

/// A member's key in the library's type.
pub(crate) fn public_key(member: &Member) -> Result<PublicKey, StartError> {
    PublicKey::decode(Copying(member.key.as_slice())).map_err(|_| StartError::Key)
}

/// Messages of one kind a second, from each member and to each.
pub(crate) fn quota(a_second: u32) -> Quota {
    Quota::per_second(NonZeroU32::new(a_second).unwrap_or(NonZeroU32::MIN))
}

/// The network, not started yet, and what manages it.
pub(crate) fn network(
    context: &Context,
    settings: &Settings,
    key: PrivateKey,
    members: &[(PublicKey, Member)],
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
    let number = u32::try_from(members.len()).unwrap_or(u32::MAX);
    let largest = max_message_size(&[
        marshal::max_payload_size::<Standard<Batch>, Scheme>(number, &()),
        simplex::max_payload_size::<Scheme, Digest>(number),
        MAX_MESSAGE,
    ]);
    let most = NonZeroUsize::new(members.len()).unwrap_or(NonZeroUsize::MIN);
    let mut config = lookup::Config::local(
        handshake,
        &settings.namespace,
        settings.listen,
        most,
        largest,
        MAILBOX,
    );
    // Who someone is says the key, not the address from which a connection comes.
    config.bypass_ip_check = true;
    config.tracked_peer_sets = NonZeroUsize::MIN;
    config.dial_frequency = Duration::from_millis(250);
    config.dial_timeout = Duration::from_secs(5);
    config.peer_connection_cooldown = Duration::from_millis(500);
    let (network, mut oracle) = Network::new(context.child("network"), config);
    let addresses: Map<PublicKey, Address> = Map::from_iter_dedup(
        members
            .iter()
            .map(|(key, member)| (key.clone(), Address::Symmetric(member.address))),
    );
    let _ = oracle.track(0, addresses);
    (network, oracle)
}
