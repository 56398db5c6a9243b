//! A peer in whose order nothing happens any more asks the others whether it has a place there still.
//!
//! Who was removed while it was away past its last epoch is let in by nobody, and would wait for ever. The others' APIs over TLS answer whoever holds a key that ordered
//! once, and only about that key ([`crate::record::Departure`]). It is told over connections on which both sides are known by their keys, and believes what f + 1 of the organisations on
//! its own record have signed.

use super::{PeerProcessError, ask::AskedPeer};
use crate::record::{
    Departure, Genesis, Identifier, Member, PeerAccess, Statements, wire::StandingView,
};
use certs::checkpoint::NoteKey;
use cryptonode::tls::TlsIdentity;
use futures_util::future::join_all;
use std::{
    collections::BTreeMap,
    net::SocketAddr,
    sync::Arc,
    time::{Duration, Instant},
};

/// The order stands still if it makes no batch for so long; an idle one makes one every 1.2 s.
const STILL: Duration = Duration::from_secs(10);
const LOOK_EVERY: Duration = Duration::from_secs(1);
const ANSWER_WITHIN: Duration = Duration::from_secs(5);

/// Who asks, and where.
pub struct Asker {
    /// The peer's own key.
    pub identity: Arc<TlsIdentity>,
    /// The same, public.
    pub key: [u8; 32],
    /// Where the others answer, as it is known now.
    pub apis: Box<dyn Fn() -> BTreeMap<Identifier, SocketAddr> + Send + Sync>,
}

impl Asker {
    /// Resolves when the others say that this peer has no place any more, and says who of them.
    pub async fn departed(
        &self,
        member: &Member,
        genesis: &Genesis,
    ) -> (Departure, Vec<Identifier>) {
        let mut every = tokio::time::interval(LOOK_EVERY);
        let (mut last, mut since) = (member.status().ordered, Instant::now());
        loop {
            every.tick().await;
            let now = member.status().ordered;
            if now != last || !self.has_place(member) {
                (last, since) = (now, Instant::now());
            } else if since.elapsed() >= STILL {
                if let Some(departed) = self.ask(member, genesis).await {
                    return departed;
                }
                since = Instant::now();
            }
        }
    }

    /// Whether it has one by its own record. Who has executed its own removal needs to ask nobody, and who is not admitted yet has to wait.
    fn has_place(&self, member: &Member) -> bool {
        let on_record = |state: &crate::record::State| {
            let own = state.organisation(member.organisation());
            own.is_some_and(|it| it.head_key == self.key)
        };
        member.replica().with_state(on_record)
    }

    async fn ask(
        &self,
        member: &Member,
        genesis: &Genesis,
    ) -> Option<(Departure, Vec<Identifier>)> {
        let (keys, needed): (Vec<NoteKey>, usize) = member.replica().with_state(|state| {
            let organisations = state.organisations().count();
            let one_honest = organisations.saturating_sub(state.quorum()) + 1;
            (state.head_keys().collect(), one_honest)
        });
        let apis = (self.apis)();
        let own = member.organisation();
        let asked = keys.iter().filter_map(|key| {
            let name: Identifier = key.name().parse().ok()?;
            let at = apis.get(&name).filter(|_| name != *own)?;
            Some(self.ask_one(name, key, *at))
        });
        let mut statements = Statements::about(genesis.id(), own.clone(), self.key);
        for (name, key, answer) in join_all(asked).await {
            match answer {
                Ok(StandingView::Departed { epoch, note }) => {
                    if !statements.hear(&name, key, epoch, &note) {
                        tracing::warn!(organisation = %name, "it says that this peer has no place in the order any more, and did not sign that");
                    }
                }
                Ok(StandingView::Member | StandingView::Unknown) => {}
                Err(error) => {
                    tracing::debug!(organisation = %name, %error, "it does not say whether this peer has a place in the order");
                }
            }
        }
        statements.agreed(needed)
    }

    async fn ask_one<'k>(
        &self,
        name: Identifier,
        key: &'k NoteKey,
        at: SocketAddr,
    ) -> (
        Identifier,
        &'k NoteKey,
        Result<StandingView, PeerProcessError>,
    ) {
        let access = PeerAccess::Keys {
            identity: self.identity.clone(),
            known: vec![key.verifying_key().to_bytes()],
        };
        let answer = async {
            let peer = AskedPeer::reached(format!("https://{at}"), access)?;
            peer.standing().await
        };
        let answer = match tokio::time::timeout(ANSWER_WITHIN, answer).await {
            Ok(answer) => answer,
            Err(_) => Err(PeerProcessError::Refused {
                code: "platform-unreachable".to_owned(),
                message: "it does not answer in time".to_owned(),
            }),
        };
        (name, key, answer)
    }
}
