//! Which node misbehaves how.

use std::collections::BTreeMap;
use std::str::FromStr;

use testkit::misbehaviour::{Misbehaviour, UnknownMisbehaviour};

use super::outcome::Failure;

/// A misbehaviour, and the node that it is for: `late=200` or `late=200@2`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FaultArgument {
    misbehaviour: Misbehaviour,
    node: Option<u16>,
}

impl FromStr for FaultArgument {
    type Err = UnknownMisbehaviour;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (name, node) = match text.rsplit_once('@') {
            Some((name, node)) => (name, node.parse().ok()),
            None => (text, None),
        };
        match (name.parse(), node, text.contains('@')) {
            (Ok(misbehaviour), node, at) if node.is_some() == at => Ok(Self { misbehaviour, node }),
            // The sentence names the whole text.
            _ => Err(text
                .parse::<Misbehaviour>()
                .err()
                .unwrap_or_else(|| UnknownMisbehaviour::from(text))),
        }
    }
}

/// Misbehaviours by node, from 1.
pub(super) type Faults = BTreeMap<u16, Misbehaviour>;

/// Gives each its node: those of choice first, the others from the highest number down.
pub(super) fn place(arguments: &[FaultArgument], members: u16) -> Result<Faults, Failure> {
    let mut faults = Faults::new();
    let no_fault = arguments
        .iter()
        .map(|fault| fault.misbehaviour)
        .find(|misbehaviour| !misbehaviour.concerns().reads);
    if let Some(misbehaviour) = no_fault {
        let reads: Vec<String> = Misbehaviour::all()
            .filter(|one| one.concerns().reads)
            .map(|one| one.to_string())
            .collect();
        return Err(Failure::Arguments(format!(
            "--fault {misbehaviour}: a node that is asked for shares does nothing of that kind; there are {}",
            reads.join(", ")
        )));
    }
    for fault in arguments {
        if let Some(node) = fault.node {
            if node == 0 || node > members {
                return Err(Failure::Arguments(format!(
                    "--fault {}@{node}: there are nodes 1 to {members}",
                    fault.misbehaviour
                )));
            }
            if faults.insert(node, fault.misbehaviour).is_some() {
                return Err(Failure::Arguments(format!(
                    "--fault: node {node} can have one fault only"
                )));
            }
        }
    }
    for fault in arguments.iter().filter(|fault| fault.node.is_none()) {
        let Some(node) = (1..=members).rev().find(|node| !faults.contains_key(node)) else {
            return Err(Failure::Arguments(format!(
                "--fault: there are more faults than the {members} nodes"
            )));
        };
        faults.insert(node, fault.misbehaviour);
    }
    Ok(faults)
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, missing_docs)]
    use super::*;

    fn placed(arguments: &[&str]) -> Option<Vec<(u16, String)>> {
        let arguments: Vec<FaultArgument> =
            arguments.iter().map(|text| text.parse().unwrap()).collect();
        let faults = place(&arguments, 5).ok()?;
        Some(
            faults
                .iter()
                .map(|(node, what)| (*node, what.to_string()))
                .collect(),
        )
    }

    #[test]
    fn faults_go_where_they_were_sent_and_the_others_to_the_highest_numbers() {
        let of = |node: u16, what: &str| (node, what.to_owned());
        assert_eq!(
            placed(&["crashed", "late=200@5", "wrong-share"]),
            Some(vec![
                of(3, "wrong-share"),
                of(4, "crashed"),
                of(5, "late=200")
            ])
        );
        assert_eq!(placed(&["crashed@6"]), None);
        assert_eq!(placed(&["crashed@2", "refusal@2"]), None);
        assert_eq!(placed(&["crashed"; 6]), None);
        // What members do in a ceremony, and clients to a node.
        assert_eq!(placed(&["false-sums"]), None);
        assert_eq!(placed(&["connection-flood@1"]), None);
        for nonsense in ["crashed@", "crashed@x", "lying", "@2"] {
            assert!(nonsense.parse::<FaultArgument>().is_err(), "{nonsense}");
        }
    }
}
