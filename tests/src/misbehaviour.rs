//! One vocabulary of misbehaviour: what a faulty node does, by the same names in benchmarks, tests and simulations.
//!
//! A node that is *crashed*, has a *slow processor* or a *wrong clock* is honest and unlucky; the others deviate from the protocol while
//! they hold a true identity and a true share. Who carries it out is another matter: `faulty_node` and `faulty_client` (feature of the first
//! name) for nodes and clients over QUIC; who takes a node's `seat` for members of a ceremony with real nodes (`tests/adversaries/members.rs`,
//! `leaders.rs`); the simulation of the whole system (`tests/simulation`) for its nodes, members and strangers; and the tests of the key
//! generation's machines for members of a ceremony (`dkg/tests/machines`). [`Misbehaviour::concerns`] says who does what, and each of them has
//! a test that all that concerns it is played.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a party does that it should not. Written as `wrong-share`, `late=200` (milliseconds), `slow-cpu=8` (times), `wrong-clock=-600`
/// (seconds); the same in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Misbehaviour {
    /// A share of another secret, with a proof that holds for that secret: well formed, and false. In a ceremony: a share that does
    /// not lie on the dealer's polynomial.
    WrongShare,
    /// The true D_i with a proof that does not hold. A reader who combines first never notices; one who verifies does.
    WrongProof,
    /// Now the truth, now something else, to whoever asks. In a ceremony: another deal for everybody.
    Equivocation,
    /// Nothing: the connection stays alive, and the request is never answered. In a ceremony: it keeps its messages to itself.
    NoAnswer,
    /// In a ceremony: it leads, and keeps the certificate to itself for a while.
    WithheldCertificate,
    /// In a ceremony: it complains of who has dealt well.
    FalseComplaint,
    /// In a ceremony: it says that it is in an attempt that nobody has begun.
    FalseProgress,
    /// In a ceremony: it leads, and leaves out whom it likes.
    Exclusion,
    /// In a ceremony: it leads, and does nothing but keep the lead.
    Stalling,
    /// In a ceremony: it deals without end, and tells everybody of it.
    EndlessDeals,
    /// In a ceremony: it leads, and tells false sums and the whole deals by turns.
    FalseSums,
    /// In a ceremony: it leads, keeps silent for longer than anybody's patience, and then calls all back.
    CallingBack,
    /// In a ceremony: it says that it was told what it was not.
    FalseRefusal,
    /// What it answered before, to another question.
    Replay,
    /// A share that is said to be of another epoch.
    OtherEpoch,
    /// The first certificate of the key that it ever had, whatever came since.
    StaleCertificate,
    /// More bytes than any answer may have.
    OversizedFrame,
    /// An answer that ends in the middle.
    TruncatedFrame,
    /// It takes what it is sent, and gives what it sends, a little at a time.
    SlowReader,
    /// Connections without end, and nothing asked on them.
    ConnectionFlood,
    /// It judges validity, and tells the time, by a clock that is so many seconds ahead.
    WrongClock(i64),
    /// The true answer, this much later.
    Late(Duration),
    /// A refusal of each request, at once.
    Refusal,
    /// No process at all.
    Crashed,
    /// The true answer, with so many times the arithmetic.
    SlowProcessor(u32),
}

/// Who can misbehave in a certain way.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Concerns {
    /// A node that is asked for shares.
    pub reads: bool,
    /// A member of a ceremony.
    pub ceremonies: bool,
    /// A client of a node, a stranger among them.
    pub clients: bool,
}

/// What is no name of a misbehaviour.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no misbehaviour: give wrong-share, wrong-proof, equivocation, no-answer, withheld-certificate, false-complaint, false-progress, exclusion, stalling, endless-deals, false-sums, calling-back, false-refusal, replay, other-epoch, stale-certificate, oversized-frame, truncated-frame, slow-reader, connection-flood, wrong-clock=SECONDS, late=MILLISECONDS, refusal, crashed or slow-cpu=TIMES"
)]
pub struct UnknownMisbehaviour(String);

impl From<&str> for UnknownMisbehaviour {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

/// Those without a number, by their names.
const PLAIN: [(Misbehaviour, &str); 22] = [
    (Misbehaviour::WrongShare, "wrong-share"),
    (Misbehaviour::WrongProof, "wrong-proof"),
    (Misbehaviour::Equivocation, "equivocation"),
    (Misbehaviour::NoAnswer, "no-answer"),
    (Misbehaviour::WithheldCertificate, "withheld-certificate"),
    (Misbehaviour::FalseComplaint, "false-complaint"),
    (Misbehaviour::FalseProgress, "false-progress"),
    (Misbehaviour::Exclusion, "exclusion"),
    (Misbehaviour::Stalling, "stalling"),
    (Misbehaviour::EndlessDeals, "endless-deals"),
    (Misbehaviour::FalseSums, "false-sums"),
    (Misbehaviour::CallingBack, "calling-back"),
    (Misbehaviour::FalseRefusal, "false-refusal"),
    (Misbehaviour::Replay, "replay"),
    (Misbehaviour::OtherEpoch, "other-epoch"),
    (Misbehaviour::StaleCertificate, "stale-certificate"),
    (Misbehaviour::OversizedFrame, "oversized-frame"),
    (Misbehaviour::TruncatedFrame, "truncated-frame"),
    (Misbehaviour::SlowReader, "slow-reader"),
    (Misbehaviour::ConnectionFlood, "connection-flood"),
    (Misbehaviour::Refusal, "refusal"),
    (Misbehaviour::Crashed, "crashed"),
];

impl Misbehaviour {
    /// Every one, with some number where one is needed.
    pub fn all() -> impl Iterator<Item = Self> {
        let with_numbers = [
            Self::Late(Duration::from_millis(200)),
            Self::SlowProcessor(8),
            Self::WrongClock(600),
        ];
        let plain = PLAIN.iter().map(|(one, _)| *one);
        plain.chain(with_numbers)
    }

    /// Who can do it.
    #[must_use]
    pub fn concerns(self) -> Concerns {
        let (reads, ceremonies, clients) = match self {
            Self::WrongShare | Self::Equivocation | Self::NoAnswer | Self::Late(_) => {
                (true, true, false)
            }
            Self::Crashed | Self::SlowProcessor(_) | Self::WrongClock(_) => (true, true, false),
            Self::Refusal | Self::WrongProof | Self::OtherEpoch => (true, false, false),
            Self::StaleCertificate => (true, false, false),
            Self::WithheldCertificate | Self::FalseComplaint | Self::FalseProgress => {
                (false, true, false)
            }
            Self::Exclusion | Self::Stalling | Self::EndlessDeals => (false, true, false),
            Self::FalseSums | Self::CallingBack | Self::FalseRefusal => (false, true, false),
            Self::Replay | Self::OversizedFrame | Self::TruncatedFrame => (true, true, true),
            Self::SlowReader => (true, false, true),
            Self::ConnectionFlood => (false, false, true),
        };
        Concerns {
            reads,
            ceremonies,
            clients,
        }
    }

    /// What becomes of the bytes of an answer, where that is what it does; `limit` is the longest that the other side reads.
    #[must_use]
    pub fn frame(self, mut bytes: Vec<u8>, limit: usize) -> Vec<u8> {
        match self {
            Self::OversizedFrame => bytes.resize(limit + 1, 0),
            Self::TruncatedFrame => bytes.truncate(bytes.len() / 2),
            _ => {}
        }
        bytes
    }
}

impl fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Late(delay) => write!(f, "late={}", delay.as_millis()),
            Self::SlowProcessor(times) => write!(f, "slow-cpu={times}"),
            Self::WrongClock(seconds) => write!(f, "wrong-clock={seconds}"),
            plain => match PLAIN.iter().find(|(one, _)| one == plain) {
                Some((_, name)) => f.write_str(name),
                None => f.write_str("?"),
            },
        }
    }
}

impl FromStr for Misbehaviour {
    type Err = UnknownMisbehaviour;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownMisbehaviour(text.to_owned());
        let Some((name, number)) = text.split_once('=') else {
            let plain = PLAIN.iter().find(|(_, name)| *name == text);
            return plain.map(|(one, _)| *one).ok_or_else(unknown);
        };
        match name {
            "late" => {
                let ms: u32 = number.parse().map_err(|_| unknown())?;
                Ok(Self::Late(Duration::from_millis(ms.into())))
            }
            "slow-cpu" => match number.parse() {
                Ok(times) if times > 0 => Ok(Self::SlowProcessor(times)),
                _ => Err(unknown()),
            },
            "wrong-clock" => {
                let seconds = number.parse().map_err(|_| unknown())?;
                Ok(Self::WrongClock(seconds))
            }
            _ => Err(unknown()),
        }
    }
}

impl TryFrom<String> for Misbehaviour {
    type Error = UnknownMisbehaviour;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Misbehaviour> for String {
    fn from(misbehaviour: Misbehaviour) -> Self {
        misbehaviour.to_string()
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn each_is_read_as_it_is_written_here_and_in_json() {
        let behind = Misbehaviour::WrongClock(-600);
        for misbehaviour in Misbehaviour::all().chain([behind]) {
            assert_eq!(
                misbehaviour.to_string().parse::<Misbehaviour>().unwrap(),
                misbehaviour
            );
            let json = serde_json::to_string(&misbehaviour).unwrap();
            assert_eq!(
                serde_json::from_str::<Misbehaviour>(&json).unwrap(),
                misbehaviour
            );
        }
        for nonsense in [
            "late",
            "late=soon",
            "wrong-share=1",
            "slow-cpu=0",
            "wrong-clock",
            "?",
            "",
        ] {
            assert!(nonsense.parse::<Misbehaviour>().is_err(), "{nonsense}");
        }
    }
}
