//! What a member or the leader of a ceremony does that it should not, word by word of the one vocabulary (`testkit::misbehaviour`), to real
//! nodes over QUIC.
//!
//! The test sits at a node's place on the network, with that node's identity. As a member it is asked by a real node that leads, and answers
//! what its honest machine would, but for the one thing; as a leader (`leaders`) it is the impostor of `ceremonies`. Whatever it does, the
//! other three have a key in the end, the same one, and what can be proved of the cheat is proved.

use std::path::Path;
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use cryptonode::config::{Config, read_policy};
use cryptonode::store::{NodeIdentity, Passphrase, Store};
use cryptonode::wire::v1::{Answer, ByteBuf, MAX_ANSWER, Request};
use curve25519_dalek::Scalar;
use dkg::{Acceptance, Exclusion, Fault, Grounds, LocalNode, Member, MemberStage, Message};
use reencrypt::Point;
use serde_json::Value;
use testkit::misbehaviour::Misbehaviour;
use testkit::seat;
use threshold_exchange::site::{Site, Tool};
use tokio::runtime::Runtime;

use crate::cluster::now;
use crate::dealer::{Dealer, encryption_secret, params};
use crate::false_complaint::false_complaint;
use crate::impostor::four_nodes;

/// The seat of the member that misbehaves; the first one leads.
const CHEAT: usize = 3;
/// How long the others wait for somebody who is silent.
const PATIENCE_S: &str = "6";
/// How long a key may take to be at all its members once it is made.
const SERVED_WITHIN: Duration = Duration::from_secs(60);

/// A member as its machine has it, and what it remembers to lie with.
struct Cheat {
    word: Misbehaviour,
    local: LocalNode,
    member: Member,
    /// n of its acceptance.
    secret: Option<Scalar>,
    begun: Option<(u32, Vec<Acceptance>)>,
    earlier: Option<Message>,
    /// How often it has lied.
    lies: usize,
}

impl Cheat {
    fn new(word: Misbehaviour, folder: &Path, identity: &NodeIdentity) -> Self {
        let config = Config::load(folder).unwrap();
        let local = LocalNode {
            identity: identity.signing.clone().into(),
            recovery_public: Point::from_bytes(&identity.recovery_public).unwrap(),
            policy_hash: read_policy(&config.policy).unwrap().hash(),
        };
        Self {
            word,
            member: Member::new(local.clone()),
            local,
            secret: None,
            begun: None,
            earlier: None,
            lies: 0,
        }
    }

    fn now(&self) -> u64 {
        match self.word {
            Misbehaviour::WrongClock(ahead_s) => now().saturating_add_signed(ahead_s),
            _ => now(),
        }
    }

    /// The bytes that it answers with; nothing, if it keeps silent.
    fn answer(&mut self, from: &[u8; 32], request: &[u8]) -> Option<Vec<u8>> {
        let message = match Request::from_bytes(request) {
            Ok(Request::Ceremony { message }) => message,
            other => return self.aside(&other.ok()?).to_bytes().ok(),
        };
        let question = Message::from_bytes(&message).unwrap();
        let honest = self.honest(from, &question);
        let said = self.lie(&question, honest.clone());
        self.lies += usize::from(said.as_ref() != Some(&honest));
        let message = ByteBuf::from(said?.to_bytes());
        let bytes = Answer::Ceremony { message }.to_bytes().unwrap();
        // It takes part first: who never accepts is nobody to wait for.
        let is_asked = matches!(question, Message::Propose { .. });
        let sent = match is_asked {
            true => bytes.clone(),
            false => self.word.frame(bytes.clone(), MAX_ANSWER),
        };
        self.lies += usize::from(sent != bytes);
        if let (false, Misbehaviour::Late(by)) = (is_asked, self.word) {
            std::thread::sleep(by);
            self.lies += 1;
        }
        Some(sent)
    }

    /// What it says to whatever is no part of a ceremony.
    fn aside(&self, request: &Request) -> Answer {
        match request {
            Request::Status {} => Answer::Status {
                keys: Vec::new(),
                time_ms: self.now() * 1000,
                identity: self.local.identity.verifying_key().to_bytes(),
                software: "faulty member".to_owned(),
            },
            _ => Answer::Refused {
                code: "misbehaving".to_owned(),
                message: "This node takes part in ceremonies and in nothing else.".to_owned(),
                retry_after_ms: None,
            },
        }
    }

    fn honest(&mut self, from: &[u8; 32], question: &Message) -> Message {
        let (now, rng) = (self.now(), &mut rand::rng());
        let mut output = self.member.handle(from, question.clone(), now, rng);
        if self.member.stage() == MemberStage::Proposed {
            output = self.member.accept(now, rng);
        }
        match output {
            Ok(output) => {
                if let Some(state) = &output.persist
                    && self.member.stage() == MemberStage::Accepted
                {
                    self.secret = Some(encryption_secret(state));
                }
                output.reply
            }
            Err(fault) => Message::refusal(question.about(), &fault),
        }
    }

    fn index(&self) -> u16 {
        let own = self.local.identity.verifying_key().to_bytes();
        self.member.proposal().unwrap().index_of(&own).unwrap()
    }

    fn lie(&mut self, question: &Message, honest: Message) -> Option<Message> {
        use Misbehaviour as M;
        let deals_falsely = matches!(self.word, M::WrongShare | M::Equivocation | M::EndlessDeals);
        match (self.word, question) {
            (_, Message::Propose { .. }) => Some(honest),
            (M::NoAnswer, _) => None,
            (
                _,
                Message::Begin {
                    acceptances,
                    attempt,
                    ceremony,
                    ..
                },
            ) if deals_falsely && matches!(honest, Message::Dealt { .. }) => Some(Message::Dealt {
                deal: Box::new(self.false_deal(*attempt, acceptances)),
                attempt: *attempt,
                ceremony: *ceremony,
            }),
            // It finds its own deal altered, and does not say so.
            _ if deals_falsely && matches!(honest, Message::Refused { .. }) => None,
            (
                M::FalseProgress,
                Message::Begin {
                    acceptances,
                    attempt,
                    ceremony,
                    ..
                },
            ) => {
                let own = self.index();
                let victim = acceptances.iter().find(|one| one.index != own)?.index;
                let mut left = acceptances.clone();
                left.retain(|one| one.index != victim);
                Some(Message::Begun {
                    attempt: attempt + 1,
                    ceremony: *ceremony,
                    excluded: vec![Exclusion {
                        member: victim,
                        grounds: Grounds::Silent,
                    }],
                    acceptances: left,
                })
            }
            (M::FalseRefusal, Message::Deals { .. } | Message::Acknowledgements { .. }) => {
                Some(Message::refusal(question.about(), &Fault::FalseSums))
            }
            (M::FalseComplaint, _) => Some(self.complain(question).unwrap_or(honest)),
            // What it answered to the question before.
            (M::Replay, _) => Some(self.earlier.replace(honest.clone()).unwrap_or(honest)),
            _ => Some(honest),
        }
    }

    fn false_deal(&self, attempt: u32, acceptances: &[Acceptance]) -> dkg::Deal {
        let index = self.index();
        let (secret, proposal) = (self.secret.unwrap(), self.member.proposal().unwrap());
        let seed = match self.word {
            // Another one for everybody who asks.
            Misbehaviour::Equivocation => rand::random(),
            _ => 1,
        };
        let mut dealer =
            Dealer::with_constant(proposal, attempt, acceptances, index, secret, None, seed);
        match self.word {
            Misbehaviour::WrongShare => {
                let (place, victim) = acceptances
                    .iter()
                    .enumerate()
                    .find(|(_, one)| one.index != index)
                    .unwrap();
                let to = u16::try_from(place + 1).unwrap();
                let wrong = dealer.share(to) + Scalar::ONE;
                dealer.encrypt(to, wrong, &victim.encryption_key);
            }
            Misbehaviour::EndlessDeals => {
                let again = dealer.commitments[1];
                dealer.commitments.resize(8_000, again);
            }
            _ => {}
        }
        dealer.finish(&self.local.identity)
    }

    /// It asks for the whole deals, and complains of a dealer that has dealt well.
    fn complain(&mut self, question: &Message) -> Option<Message> {
        match question {
            Message::Begin {
                acceptances,
                attempt,
                ..
            } => {
                self.begun = Some((*attempt, acceptances.clone()));
                None
            }
            Message::Deals {
                attempt, ceremony, ..
            } => Some(Message::DealsWanted {
                attempt: *attempt,
                ceremony: *ceremony,
            }),
            Message::WholeDeals {
                deals,
                attempt,
                ceremony,
            } => {
                let (_, acceptances) = self.begun.as_ref().filter(|(it, _)| it == attempt)?;
                let params = params(self.member.proposal()?, *attempt, acceptances);
                let author = (self.index(), &*self.local.identity);
                Some(Message::Complained {
                    attempt: *attempt,
                    ceremony: *ceremony,
                    complaints: false_complaint(&params, author, deals, acceptances)?,
                })
            }
            _ => None,
        }
    }
}

/// A cheat at its place, until this is dropped.
struct Seated {
    cheat: Arc<Mutex<Cheat>>,
    runtime: Option<Runtime>,
}

impl Seated {
    fn start(site: &Site, identity: &NodeIdentity, word: Misbehaviour) -> Self {
        let runtime = Runtime::new().unwrap();
        let folder = site.nodes()[CHEAT].folder.clone();
        let cheat = Arc::new(Mutex::new(Cheat::new(word, &folder, identity)));
        let (told, serves) = mpsc::channel();
        let asked = Arc::clone(&cheat);
        let answers =
            move |from: [u8; 32], bytes: Vec<u8>| asked.lock().unwrap().answer(&from, &bytes);
        let identity = NodeIdentity {
            signing: identity.signing.clone(),
            recovery_public: identity.recovery_public,
        };
        runtime.spawn(async move {
            let announce = |_| told.send(()).unwrap();
            let taken = seat::take(&folder, &identity, Arc::new(answers), announce);
            taken.await.unwrap();
        });
        serves.recv_timeout(Duration::from_secs(60)).unwrap();
        Self {
            cheat,
            runtime: Some(runtime),
        }
    }

    fn lies(&self) -> usize {
        self.cheat.lock().unwrap().lies
    }
}

impl Drop for Seated {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.take() {
            runtime.shutdown_timeout(Duration::from_secs(30));
        }
    }
}

fn folder(site: &Site, seat: usize) -> String {
    site.nodes()[seat].folder.display().to_string()
}

/// A node makes a key with the others: with all, of whom one may be left out, or with these.
pub(crate) async fn make_key(site: &Site, leader: usize, members: Option<&[usize]>) -> Value {
    let folder = folder(site, leader);
    let mut propose = vec![
        "ceremony",
        "propose",
        "--dir",
        &folder,
        "--threshold",
        "2",
        "--wait",
    ];
    let names = members.map(|seats| {
        let names: Vec<&str> = seats
            .iter()
            .map(|seat| site.nodes()[*seat].name.as_str())
            .collect();
        names.join(",")
    });
    match &names {
        Some(names) => propose.extend(["--members", names]),
        None => {
            propose.extend(["--may-be-absent", "1", "--patience-s", PATIENCE_S]);
            // Half of it is for everybody to accept.
            propose.extend(["--open-for-s", "60"]);
        }
    }
    let made = site.program().run(Tool::Cryptonode, &propose).await;
    made.unwrap_or_else(|error| panic!("{error}"))
}

/// The keys that a node has a share of.
async fn keys(site: &Site, seat: usize) -> Vec<String> {
    let folder = folder(site, seat);
    let list = ["key", "list", "--dir", &folder];
    let listed = site.program().run(Tool::Cryptonode, &list).await.unwrap();
    let mut keys: Vec<String> = listed
        .as_array()
        .unwrap()
        .iter()
        .map(|key| key["public_key"].as_str().unwrap().to_owned())
        .collect();
    keys.sort_unstable();
    keys
}

/// Waits until these nodes have this key.
pub(crate) async fn all_have(site: &Site, seats: &[usize], key: &str, word: Misbehaviour) {
    let begun = Instant::now();
    for seat in seats {
        loop {
            let own = keys(site, *seat).await;
            if own.iter().any(|it| it == key) {
                break;
            }
            assert!(
                begun.elapsed() < SERVED_WITHIN,
                "{word}: node {seat} has {own:?} and not {key}"
            );
        }
    }
}

fn identity_of(site: &Site, seat: usize) -> NodeIdentity {
    let node = &site.nodes()[seat];
    let passphrase = std::fs::read_to_string(site.layout().passphrase(&node.name)).unwrap();
    let passphrase = Passphrase::new(passphrase.trim()).unwrap();
    Store::open(&node.folder, &passphrase)
        .unwrap()
        .identity()
        .unwrap()
}

/// Those who lead, and those who do it by not being there.
pub(crate) fn leads(word: Misbehaviour) -> bool {
    use Misbehaviour as M;
    matches!(
        word,
        M::Exclusion | M::Stalling | M::FalseSums | M::WithheldCertificate | M::CallingBack
    )
}

/// What a member did that the others have proof of, by the code of the evidence.
fn proved(word: Misbehaviour) -> bool {
    matches!(
        word,
        Misbehaviour::WrongShare | Misbehaviour::FalseComplaint
    )
}

/// What keeps nobody from taking part: it is late, and a slow processor is late too.
fn takes_part(word: Misbehaviour) -> bool {
    matches!(word, Misbehaviour::Late(_))
}

#[test]
fn no_misbehaviour_of_a_member_keeps_the_others_from_a_key() {
    let runtime = Runtime::new().unwrap();
    let mut site = runtime.block_on(four_nodes("members"));
    runtime.block_on(async {
        for seat in 0..CHEAT {
            site.start_node(seat).await.unwrap();
        }
    });
    let identity = identity_of(&site, CHEAT);
    let name = site.nodes()[CHEAT].name.clone();
    let concern = Misbehaviour::all().filter(|word| word.concerns().ceremonies && !leads(*word));
    let mut played = 0;
    for word in concern {
        // Who has a slow processor is late.
        if matches!(word, Misbehaviour::SlowProcessor(_)) {
            continue;
        }
        // Nobody is at the place of who has crashed.
        let crashed = word == Misbehaviour::Crashed;
        let seated = (!crashed).then(|| Seated::start(&site, &identity, word));
        let made = runtime.block_on(make_key(&site, 0, None));
        assert_eq!(made["outcome"], "activated", "{word}: {made}");
        if let Some(seated) = &seated
            && !matches!(word, Misbehaviour::WrongClock(_))
        {
            assert!(seated.lies() > 0, "{word} has not come to lie: {made}");
        }
        let left_out = made["excluded"].as_array().unwrap();
        for one in left_out {
            assert_eq!(
                one["member"], name,
                "{word}: an honest member is left out: {made}"
            );
        }
        if takes_part(word) {
            assert!(left_out.is_empty(), "{word}: {made}");
        }
        if proved(word) {
            assert_eq!(left_out[0]["proved"], true, "{word}: {made}");
        }
        let key = made["public_key"].as_str().unwrap();
        runtime.block_on(all_have(&site, &[0, 1, 2], key, word));
        drop(seated);
        played += 1;
    }
    assert!(played >= 12, "only {played} were played");
    // The same keys everywhere, and nothing that one of them has alone.
    let first = runtime.block_on(keys(&site, 0));
    for seat in 1..CHEAT {
        assert_eq!(runtime.block_on(keys(&site, seat)), first, "node {seat}");
    }
    assert_eq!(first.len(), played);
}
