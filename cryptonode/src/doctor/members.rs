//! The other members, asked over the network.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::{Findings, State};
use crate::admin::KeyHealth;
use crate::client::{ClientIdentity, ClusterDescriptor, Dialer, Peer, PeerOptions};
use crate::config::Config;
use crate::node_files::PublicIdentity;
use crate::probe::{self, Sighting};
use crate::wire::v1::{Answer, Request};

/// Clocks that are further apart than this are told.
const CLOCK_WARN_MS: u64 = 2_000;

/// Asks every configured member who it is, what time it has, and what it knows of the keys.
pub(super) async fn examine(
    findings: &mut Findings,
    config: &Config,
    own: &PublicIdentity,
    keys: &[KeyHealth],
    tolerance_s: u32,
) {
    let identity = match ClientIdentity::generate() {
        Ok(identity) => identity,
        Err(error) => return findings.fail("member", "", error.to_string()),
    };
    let dialer = Dialer::new(identity, PeerOptions::default());
    let mut members = BTreeMap::new();
    for member in &config.members {
        if member.identity != own.identity {
            members.insert(
                member.name.clone(),
                (member.identity, member.address.clone()),
            );
        }
    }
    if members.is_empty() {
        findings.warn("member", "", "no other members are configured");
    }
    let asked = members.iter().map(|(name, (identity, address))| {
        let peer = dialer.peer(address, identity);
        async move {
            let seen = match peer {
                Ok(peer) => {
                    let seen = probe::ask(&peer).await;
                    let known = match &seen {
                        Ok(_) => ask_for_keys(&peer, keys).await,
                        Err(_) => Vec::new(),
                    };
                    seen.map(|seen| (seen, known))
                }
                Err(error) => Err(error.to_string()),
            };
            (name, address, seen)
        }
    });
    for (name, address, seen) in futures_util::future::join_all(asked).await {
        match seen {
            Ok((seen, known)) => {
                let about = format!("{name} at {address}");
                found(findings, name, &about, &seen, tolerance_s);
                for (key, state, message) in known {
                    findings.add("policy", &format!("{name} {key}"), state, message);
                }
            }
            Err(reason) => findings.fail(
                "member",
                name,
                format!("{address} does not answer as its card says: {reason}"),
            ),
        }
    }
    close(dialer).await;
}

async fn close(dialer: Arc<Dialer>) {
    dialer.close().await;
}

fn found(findings: &mut Findings, name: &str, about: &str, seen: &Sighting, tolerance_s: u32) {
    const OWN: &str = concat!("cryptonode ", env!("CARGO_PKG_VERSION"));
    let message = format!("{}, {} ms away", seen.software, seen.round_trip.as_millis());
    if seen.software == OWN {
        findings.ok("member", about, message);
    } else {
        findings.warn("member", about, format!("{message}; this node is {OWN}"));
    }
    let apart_ms = seen.clock_ahead_ms.unsigned_abs();
    let message = format!("its clock is {} ms ahead of this one", seen.clock_ahead_ms);
    if apart_ms > u64::from(tolerance_s) * 1000 {
        let message =
            format!("{message}, more than approvals tolerate: correct the clock that is wrong");
        findings.fail("clock", name, message);
    } else if apart_ms > CLOCK_WARN_MS {
        findings.warn("clock", name, format!("{message}: look after the clocks"));
    } else {
        findings.ok("clock", name, message);
    }
}

/// What a member says of each key: the same policy and epoch, or not.
async fn ask_for_keys(peer: &Peer, keys: &[KeyHealth]) -> Vec<(String, State, String)> {
    let mut said = Vec::new();
    for key in keys {
        let short = key.public_key.get(..16).unwrap_or_default().to_owned();
        let Some(public_key) = hex::decode(&key.public_key)
            .ok()
            .and_then(|bytes| bytes.try_into().ok())
        else {
            continue;
        };
        let (state, message) = match peer.call(&Request::Key { public_key }).await {
            Ok(Answer::Key { descriptor, .. }) => compare(key, &descriptor),
            Ok(Answer::Refused { code, .. }) if code == "unknown-key" => {
                (State::Warning, "it has no share of this key".to_owned())
            }
            Ok(Answer::Refused { message, .. }) => (State::Skipped, message),
            Ok(other) => (State::Failed, format!("it answered with {}", other.name())),
            Err(error) => (State::Failed, error.to_string()),
        };
        said.push((short, state, message));
    }
    said
}

fn compare(key: &KeyHealth, descriptor: &str) -> (State, String) {
    let theirs = match ClusterDescriptor::from_json(descriptor) {
        Ok(theirs) => theirs,
        Err(error) => return (State::Failed, error.to_string()),
    };
    if hex::encode(theirs.policy_hash) != key.policy_hash {
        let message = format!(
            "it holds the key under another policy, {}",
            hex::encode(theirs.policy_hash)
        );
        return (State::Failed, message);
    }
    if theirs.epoch != key.epoch {
        let message = format!(
            "it is at epoch {}, this node at {}",
            theirs.epoch, key.epoch
        );
        return (State::Warning, message);
    }
    (State::Ok, "the same policy and epoch as here".to_owned())
}
