//! One vocabulary of misbehaviour: what a faulty node does, by the same names in benchmarks, tests and simulations.
//!
//! A node that is *crashed* or has a *slow processor* is honest and unlucky; the others deviate from the protocol while
//! they hold a true identity and a true share. Who carries it out is another matter: [`crate::faulty_node`] for a node of a
//! process of its own.

use std::fmt;
use std::str::FromStr;
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// What a faulty node does with a request for a share. Written as `wrong-share`, `late=200` (milliseconds), `slow-cpu=8` (times);
/// the same in JSON.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Misbehaviour {
    /// A share of another secret, with a proof that holds for that secret: well formed, and false.
    WrongShare,
    /// The true D_i with a proof that does not hold. A reader who combines first never notices; one who verifies does.
    WrongProof,
    /// Nothing: the connection stays alive, and the request is never answered.
    NoAnswer,
    /// The true answer, this much later.
    Late(Duration),
    /// A refusal of each request, at once.
    Refusal,
    /// No process at all.
    Crashed,
    /// The true answer, with so many times the arithmetic.
    SlowProcessor(u32),
}

/// What is no name of a misbehaviour.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{0:?} is no misbehaviour: give wrong-share, wrong-proof, no-answer, late=MILLISECONDS, refusal, crashed or slow-cpu=TIMES"
)]
pub struct UnknownMisbehaviour(String);

impl From<&str> for UnknownMisbehaviour {
    fn from(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl fmt::Display for Misbehaviour {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::WrongShare => f.write_str("wrong-share"),
            Self::WrongProof => f.write_str("wrong-proof"),
            Self::NoAnswer => f.write_str("no-answer"),
            Self::Late(delay) => write!(f, "late={}", delay.as_millis()),
            Self::Refusal => f.write_str("refusal"),
            Self::Crashed => f.write_str("crashed"),
            Self::SlowProcessor(times) => write!(f, "slow-cpu={times}"),
        }
    }
}

impl FromStr for Misbehaviour {
    type Err = UnknownMisbehaviour;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let unknown = || UnknownMisbehaviour(text.to_owned());
        let (name, number) = match text.split_once('=') {
            Some((name, number)) => (name, Some(number.parse::<u32>().map_err(|_| unknown())?)),
            None => (text, None),
        };
        match (name, number) {
            ("wrong-share", None) => Ok(Self::WrongShare),
            ("wrong-proof", None) => Ok(Self::WrongProof),
            ("no-answer", None) => Ok(Self::NoAnswer),
            ("late", Some(ms)) => Ok(Self::Late(Duration::from_millis(ms.into()))),
            ("refusal", None) => Ok(Self::Refusal),
            ("crashed", None) => Ok(Self::Crashed),
            ("slow-cpu", Some(times)) if times > 0 => Ok(Self::SlowProcessor(times)),
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
        let all = [
            Misbehaviour::WrongShare,
            Misbehaviour::WrongProof,
            Misbehaviour::NoAnswer,
            Misbehaviour::Late(Duration::from_millis(200)),
            Misbehaviour::Refusal,
            Misbehaviour::Crashed,
            Misbehaviour::SlowProcessor(8),
        ];
        for misbehaviour in all {
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
        for nonsense in ["late", "late=soon", "wrong-share=1", "slow-cpu=0", ""] {
            assert!(nonsense.parse::<Misbehaviour>().is_err(), "{nonsense}");
        }
    }
}
