//! A member who cheats in a ceremony with real nodes.
//!
//! It sits in the folder of a node that the others know: it has that node's identity and recovery key, and leads the
//! ceremony from this process. Its machines are the honest ones, and everything they say can be altered before it is sent, so
//! an honest run of it is the twin of each attack.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use certs::{Algorithm, Issuer};
use cryptonode::client::{ClientIdentity, Dialer, PeerOptions};
use cryptonode::config::{Config, read_policy};
use cryptonode::store::{Passphrase, Store};
use cryptonode::wire::v1::{Answer, ByteBuf, Request};
use curve25519_dalek::Scalar;
use dkg::{
    Acceptance, Fault, Leader, LeaderEffect, LocalNode, Member, MemberIdentity, MemberStage,
    Message, Proposal, Terms,
};
use reencrypt::Point;
use threshold_exchange::site::{Site, SitePlan, Tool};

use crate::cluster::{empty_site, entry, found, now};
use crate::dealer::encryption_secret;

/// A question to a member or its answer, by the member's index, before it goes on.
pub(crate) enum Step<'a> {
    Question(u16, &'a mut Message),
    Answer(u16, &'a mut Message),
}

#[derive(Debug)]
pub(crate) enum Outcome {
    Completed(Point),
    Failed(Vec<(MemberIdentity, Fault)>),
}

/// The cheating member, and the site of those it cheats.
pub(crate) struct Impostor {
    /// Its processes end with it.
    pub(crate) site: Site,
    terms: Terms,
    pub(crate) proposal: Proposal,
    pub(crate) local: LocalNode,
    member: Member,
    dialer: Arc<Dialer>,
    /// n of its own acceptance, once it has accepted.
    pub(crate) secret: Option<Scalar>,
    /// All members' acceptances, once they are known.
    pub(crate) acceptances: Vec<Acceptance>,
}

/// Four nodes that know each other, of which none runs. The first one and the second one may propose.
pub(crate) async fn four_nodes(name: &str) -> Site {
    let plan = SitePlan {
        nodes: 4,
        threshold: 2,
        organisations: 2,
        approvals: 1,
    };
    let mut site = empty_site(name, plan);
    let platform = site.layout().platform();
    std::fs::create_dir_all(&platform).unwrap();
    let issuer: Issuer = found("oak", Algorithm::Ed25519);
    let policy = format!("approvals_needed = 1\n{}", entry("oak", &issuer));
    std::fs::write(platform.join("policy.toml"), policy).unwrap();
    site.init_nodes().await.unwrap();
    let second = [
        "card",
        "--dir",
        &site.nodes()[1].folder.display().to_string(),
    ];
    let card = site.program().run(Tool::Cryptonode, &second).await.unwrap();
    let second = card["identity"].as_str().unwrap().to_owned();
    for node in &site.nodes()[2..] {
        let config = node.folder.join("config.toml");
        let text = std::fs::read_to_string(&config).unwrap();
        let edited = text.replacen(
            "\naccept_from = [\"",
            &format!("\naccept_from = [\"{second}\", \""),
            1,
        );
        assert_ne!(edited, text);
        std::fs::write(&config, edited).unwrap();
    }
    site
}

impl Impostor {
    /// Four nodes of which three run, and one is this one.
    pub(crate) async fn among_three(name: &str) -> Self {
        let mut site = four_nodes(name).await;
        for node in 1..4 {
            site.start_node(node).await.unwrap();
        }

        let seat = site.nodes()[0].folder.clone();
        let passphrase = std::fs::read_to_string(site.layout().passphrase("node-1")).unwrap();
        let store = Store::open(&seat, &Passphrase::new(passphrase.trim()).unwrap()).unwrap();
        let signing = store.identity().unwrap().signing;
        let config = Config::load(&seat).unwrap();
        let policy_hash = read_policy(&config.policy).unwrap().hash();
        let mut members = config.members.clone();
        let card = ["card", "--dir", &seat.display().to_string()];
        let card = site.program().run(Tool::Cryptonode, &card).await.unwrap();
        let own = cryptonode::config::Card::parse(&card.to_string())
            .unwrap()
            .member()
            .unwrap();
        members.retain(|member| member.identity != own.identity);
        members.push(own.clone());
        let created = now();
        let terms = Terms {
            threshold: 2,
            base: None,
            policy_hash,
            members,
            leader: own.identity,
            created,
            expires: created + 600,
            may_be_absent: 0,
            allow_few_members: false,
            software: "impostor".to_owned(),
        };
        let local = LocalNode {
            identity: signing.clone().into(),
            recovery_public: Point::from_bytes(&own.recovery_public).unwrap(),
            policy_hash,
        };
        let options = PeerOptions {
            connect_timeout: Duration::from_secs(30),
            request_timeout: Duration::from_secs(60),
            ..PeerOptions::default()
        };
        Self {
            proposal: Proposal::new(terms.clone(), &mut rand::rng()).unwrap(),
            terms,
            member: Member::new(local.clone()),
            dialer: Dialer::new(ClientIdentity::from_signing_key(&signing).unwrap(), options),
            local,
            site,
            secret: None,
            acceptances: Vec::new(),
        }
    }

    /// It proposes another key, of whose members so many may be absent.
    pub(crate) fn proposes_anew(&mut self, may_be_absent: u16) {
        let created = now();
        let terms = Terms {
            created,
            expires: created + 600,
            may_be_absent,
            ..self.terms.clone()
        };
        self.proposal = Proposal::new(terms, &mut rand::rng()).unwrap();
        self.member = Member::new(self.local.clone());
        (self.secret, self.acceptances) = (None, Vec::new());
    }

    /// This member's index.
    pub(crate) fn index(&self) -> u16 {
        self.proposal.index_of(self.proposal.leader()).unwrap()
    }

    /// The running members' indices.
    pub(crate) fn others(&self) -> Vec<u16> {
        (1..=4).filter(|index| *index != self.index()).collect()
    }

    /// Asks a member, over QUIC unless it is this one.
    pub(crate) async fn ask(&mut self, index: u16, message: &Message) -> Message {
        let bytes = message.to_bytes();
        if index == self.index() {
            let (from, about) = (*self.proposal.leader(), message.about());
            let message = Message::from_bytes(&bytes).unwrap();
            let rng = &mut rand::rng();
            let mut output = self.member.handle(&from, message, now(), rng);
            if self.member.stage() == MemberStage::Proposed {
                output = self.member.accept(now(), rng);
            }
            let written = output
                .as_ref()
                .ok()
                .and_then(|output| output.persist.as_ref());
            if let Some(state) = written.filter(|_| self.member.stage() == MemberStage::Accepted) {
                self.secret = Some(encryption_secret(state));
            }
            return output.map_or_else(
                |fault| Message::refusal(about, &fault),
                |output| output.reply,
            );
        }
        let member = self.proposal.member(index).unwrap();
        let peer = self.dialer.peer(&member.address, &member.identity).unwrap();
        let request = Request::Ceremony {
            message: ByteBuf::from(bytes),
        };
        match peer.call(&request).await.unwrap() {
            Answer::Ceremony { message } => Message::from_bytes(&message).unwrap(),
            other => panic!("{other:?}"),
        }
    }

    /// Leads the ceremony to its end; `alter` sees and may change each question and each answer.
    pub(crate) async fn lead(&mut self, alter: impl FnMut(&Self, Step<'_>)) -> Outcome {
        self.lead_until(|| false, alter).await.unwrap()
    }

    /// The same, to some moment at the latest.
    pub(crate) async fn lead_until(
        &mut self,
        over: impl Fn() -> bool,
        mut alter: impl FnMut(&Self, Step<'_>),
    ) -> Option<Outcome> {
        let mut leader = Leader::new(self.proposal.clone(), &self.local.identity, now()).unwrap();
        let mut queue: VecDeque<LeaderEffect> = leader.poll(now()).into();
        let mut outcome = None;
        while outcome.is_none() || !queue.is_empty() {
            if over() {
                return outcome;
            }
            let Some(effect) = queue.pop_front() else {
                tokio::time::sleep(Duration::from_millis(200)).await;
                queue.extend(leader.poll(now()));
                continue;
            };
            match effect {
                LeaderEffect::Send { to, mut message } => {
                    let index = self.proposal.index_of(&to).unwrap();
                    if let Message::Begin { acceptances, .. } = &message {
                        self.acceptances.clone_from(acceptances);
                    }
                    alter(self, Step::Question(index, &mut message));
                    let mut answer = self.ask(index, &message).await;
                    alter(self, Step::Answer(index, &mut answer));
                    queue.extend(leader.handle_reply(&to, &answer, now()));
                }
                LeaderEffect::Completed { public_key, .. } => {
                    outcome = Some(Outcome::Completed(public_key));
                }
                LeaderEffect::Failed { culprits } => outcome = Some(Outcome::Failed(culprits)),
                _ => {}
            }
        }
        outcome
    }

    /// The public keys that a running member serves.
    pub(crate) async fn keys_of(&self, index: u16) -> Vec<[u8; 32]> {
        let member = self.proposal.member(index).unwrap();
        let peer = self.dialer.peer(&member.address, &member.identity).unwrap();
        match peer.call(&Request::Status {}).await.unwrap() {
            Answer::Status { keys, .. } => keys.iter().map(|key| key.public_key).collect(),
            other => panic!("{other:?}"),
        }
    }
}
