//! Somebody on the network with a TLS key and everything that is public, who asks the nodes directly.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use certs::{Algorithm, Approval, Issuer};
use cryptonode::client::{ClientIdentity, Cluster, ClusterDescriptor, Dialer, PeerOptions};
use cryptonode::wire::v1::{Answer, ByteBuf, Request};
use rand::RngExt;
use rand::rngs::StdRng;
use reencrypt::{EphemeralSecret, wrap};
use sha2::{Digest, Sha256};

/// What a node said.
pub(crate) enum Said {
    /// It gave a share: that must never be.
    Share,
    /// It refused, with this code.
    Refused(String),
    /// It said nothing; the client's code.
    Nothing(String),
}

/// The intruder.
pub(crate) struct Intruder {
    cluster: Cluster,
    dialer: Arc<Dialer>,
    /// Authorities of his own making, by the names of true organisations.
    authorities: Vec<Issuer>,
}

impl Intruder {
    /// With the cluster's public description.
    ///
    /// # Errors
    /// If that does not hold, or no key can be made.
    pub(crate) fn new(cluster: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(cluster).map_err(|error| error.to_string())?;
        let cluster = ClusterDescriptor::from_json(&text)
            .and_then(|descriptor| descriptor.check())
            .map_err(|error| error.to_string())?;
        let identity = ClientIdentity::generate().map_err(|error| error.to_string())?;
        let options = PeerOptions {
            connect_timeout: Duration::from_secs(5),
            request_timeout: Duration::from_secs(20),
            ..PeerOptions::default()
        };
        let now = now_s();
        let names = ["alder", "birch", "cedar", "dogwood"];
        let authorities = names
            .iter()
            .map(|name| Issuer::generate(name, Algorithm::Ed25519, now - 3_600, now + 86_400))
            .collect::<Result<_, _>>()
            .map_err(|error| error.to_string())?;
        Ok(Self {
            cluster,
            dialer: Dialer::new(identity, options),
            authorities,
        })
    }

    /// Asks one node to re-encrypt to himself: without approvals, or with those of his own authorities.
    pub(crate) async fn ask(&self, rng: &mut StdRng) -> (String, Said) {
        let members = self.cluster.members();
        let Some(member) = members.get(rng.random_range(0..members.len())) else {
            return ("nobody".to_owned(), Said::Nothing("node".to_owned()));
        };
        let said = |code: &str| (member.name.clone(), Said::Nothing(code.to_owned()));
        let y = self.cluster.package().public_key();
        let secret: [u8; 32] = rng.random();
        let Ok(wrapped) = wrap(&y, b"soak", &secret, &mut rand::rng()) else {
            return said("wrap");
        };
        let ephemeral = EphemeralSecret::new(&wrapped, &mut rand::rng());
        let now = now_s();
        let approval = Approval {
            write_id: Sha256::digest(wrapped.as_bytes()).into(),
            ephemeral_point: *ephemeral.public().point().as_bytes(),
            approval_id: hex::encode(secret),
            client_spki: self.dialer.identity().spki().to_vec(),
            not_before: now.saturating_sub(5),
            not_after: now + 200,
        };
        let forged = self.authorities.iter().take(match rng.random::<bool>() {
            true => self.authorities.len(),
            false => 0,
        });
        let request = Request::Reencrypt {
            result: None,
            approvals: forged
                .filter_map(|issuer| issuer.issue(&approval).ok())
                .map(ByteBuf::from)
                .collect(),
            wrapped_key: ByteBuf::from(wrapped.as_bytes()),
            ephemeral_key: ByteBuf::from(ephemeral.public().as_bytes().as_slice()),
            traceparent: None,
        };
        let peer = match self.dialer.peer(&member.address, &member.identity) {
            Ok(peer) => peer,
            Err(_) => return said("tls"),
        };
        let answer = match peer.call(&request).await {
            Ok(Answer::Share { .. }) => Said::Share,
            Ok(Answer::Refused { code, .. }) => Said::Refused(code),
            Ok(_) => Said::Nothing("another kind of answer".to_owned()),
            Err(error) => Said::Nothing(error.code().to_owned()),
        };
        (member.name.clone(), answer)
    }
}

/// The time of day, in seconds since the Unix epoch.
pub(crate) fn now_s() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .map_or(0, |since| since.as_secs())
}
