//! Whether a peer has a place in the order still: what the others say about a key, signed, to whoever holds it.
//!
//! Whom nobody lets in any more cannot learn from the order that its organisation was removed or was given other keys. It asks the others over TLS, under that key, and each says
//! what its record says:
//!
//! ```text
//! coordinator/v1/standing in the order of LEDGER-ID-IN-HEX
//! ORGANISATION KEY-IN-HEX has no place from epoch E on
//!
//! — OTHER-ORGANISATION SIGNATURE                         by its head key; the text is that of no head
//! ```
//!
//! It is so when f + 1 of the organisations on the asker's own record have signed the same: one of them is honest, if the asker's record was right when it was cut off.

use crate::record::{
    identifier::Identifier,
    peer::{Orderer, Orderers},
    signed::LedgerId,
};
use certs::note::{NoteError, NoteKey, SignedNote};
use ed25519_dalek::SigningKey;
use std::collections::{BTreeMap, BTreeSet};

/// That a key has no place in the order any more.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Departure {
    /// The organisation that had it.
    pub organisation: Identifier,
    /// The key.
    pub key: [u8; 32],
    /// The first epoch without it.
    pub epoch: u64,
}

impl Departure {
    /// The departure of a key that ordered once, if it has no place now; `now` would order if an epoch began.
    #[must_use]
    pub fn of(key: &[u8; 32], orderers: &Orderers, now: &[Orderer]) -> Option<Self> {
        let has = |roll: &[Orderer]| roll.iter().any(|orderer| orderer.key == *key);
        if has(now) {
            return None;
        }
        let (last, roll) = orderers
            .iter()
            .rev()
            .find(|(_, roll)| has(roll.as_slice()))?;
        // Who leaves has its place until the epoch ends.
        let (epoch, _) = orderers.range(last + 1..).next()?;
        let orderer = roll.iter().find(|orderer| orderer.key == *key)?;
        Some(Self {
            organisation: orderer.organisation.clone(),
            key: *key,
            epoch: *epoch,
        })
    }

    fn text(&self, ledger: &LedgerId) -> String {
        format!(
            "coordinator/v1/standing in the order of {}\n{} {} has no place from epoch {} on\n",
            hex::encode(ledger),
            self.organisation,
            hex::encode(self.key),
            self.epoch
        )
    }

    /// A note that says so.
    ///
    /// # Errors
    /// [`NoteError`] for a name that cannot stand in one.
    pub fn sign(
        &self,
        ledger: &LedgerId,
        by: &Identifier,
        key: &SigningKey,
    ) -> Result<String, NoteError> {
        Ok(SignedNote::sign(&self.text(ledger), by.as_str(), key)?.to_string())
    }
}

/// What the others said about one key, each note verified.
#[derive(Debug)]
pub struct Statements {
    ledger: LedgerId,
    organisation: Identifier,
    key: [u8; 32],
    /// Who said so, by the epoch.
    by: BTreeMap<u64, BTreeSet<Identifier>>,
}

impl Statements {
    /// None yet.
    #[must_use]
    pub fn about(ledger: LedgerId, organisation: Identifier, key: [u8; 32]) -> Self {
        Self {
            ledger,
            organisation,
            key,
            by: BTreeMap::new(),
        }
    }

    /// Takes what an organisation said, if its key signed just that; says whether it did.
    pub fn hear(&mut self, by: &Identifier, signed: &NoteKey, epoch: u64, note: &str) -> bool {
        let departure = self.departure(epoch);
        let verified = SignedNote::parse(note).is_ok_and(|note| {
            note.verify(std::slice::from_ref(signed), 1)
                .is_ok_and(|text| text == departure.text(&self.ledger))
        });
        verified && self.by.entry(epoch).or_default().insert(by.clone())
    }

    fn departure(&self, epoch: u64) -> Departure {
        Departure {
            organisation: self.organisation.clone(),
            key: self.key,
            epoch,
        }
    }

    /// The departure that so many organisations have signed, and who.
    #[must_use]
    pub fn agreed(&self, needed: usize) -> Option<(Departure, Vec<Identifier>)> {
        let (epoch, by) = self.by.iter().find(|(_, by)| by.len() >= needed)?;
        Some((self.departure(*epoch), by.iter().cloned().collect()))
    }
}

#[cfg(test)]
#[allow(clippy::unwrap_used, clippy::indexing_slicing)]
mod tests {
    use super::*;

    fn orderer(name: &str, key: u8) -> Orderer {
        Orderer {
            organisation: name.parse().unwrap(),
            key: [key; 32],
        }
    }

    #[test]
    fn a_key_departs_with_the_epoch_after_the_last_one_that_had_it() {
        let all = vec![orderer("alder", 1), orderer("birch", 2)];
        let without = vec![orderer("birch", 2)];
        let again = vec![orderer("alder", 3), orderer("birch", 2)];
        let mut orderers = Orderers::from([(0, all.clone())]);
        assert_eq!(Departure::of(&[1; 32], &orderers, &all), None);
        assert_eq!(Departure::of(&[9; 32], &orderers, &all), None);
        // Decided, and the epoch has not ended.
        assert_eq!(Departure::of(&[1; 32], &orderers, &without), None);
        orderers.insert(4, without.clone());
        orderers.insert(7, again.clone());
        let departure = Departure::of(&[1; 32], &orderers, &again).unwrap();
        assert_eq!((departure.epoch, departure.key), (4, [1; 32]));
        assert_eq!(Departure::of(&[3; 32], &orderers, &again), None);
    }

    #[test]
    fn only_what_the_right_key_signed_about_this_key_and_ledger_counts() {
        let names: Vec<Identifier> = ["birch", "cedar"].map(|it| it.parse().unwrap()).into();
        let keys = [2, 3].map(|it| SigningKey::from_bytes(&[it; 32]));
        let known = |at: usize| NoteKey::new(names[at].as_str(), keys[at].verifying_key()).unwrap();
        let departure = |key: u8, epoch| Departure {
            organisation: "alder".parse().unwrap(),
            key: [key; 32],
            epoch,
        };
        let ledger = [8; 32];
        let mut heard = Statements::about(ledger, "alder".parse().unwrap(), [1; 32]);
        let said =
            |it: Departure, ledger, at: usize| it.sign(ledger, &names[at], &keys[at]).unwrap();

        let right = said(departure(1, 4), &ledger, 0);
        assert!(heard.hear(&names[0], &known(0), 4, &right));
        // Twice is once; another epoch, key, ledger or signer is nothing.
        assert!(!heard.hear(&names[0], &known(0), 4, &right));
        assert!(!heard.hear(&names[1], &known(1), 4, &right));
        for wrong in [
            said(departure(1, 5), &ledger, 1),
            said(departure(2, 4), &ledger, 1),
            said(departure(1, 4), &[9; 32], 1),
            String::new(),
        ] {
            assert!(!heard.hear(&names[1], &known(1), 4, &wrong));
        }
        assert_eq!(heard.agreed(2), None);
        let second = said(departure(1, 4), &ledger, 1);
        assert!(heard.hear(&names[1], &known(1), 4, &second));
        let (agreed, by) = heard.agreed(2).unwrap();
        assert_eq!((agreed, by), (departure(1, 4), names));
    }
}
