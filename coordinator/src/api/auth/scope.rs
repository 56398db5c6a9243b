//! What an API key may be used for.
//!
//! A scope opens routes; what a user may do behind them is still the record's decision, on that user's signature. So a key that
//! leaks from a program that only reads can neither write nor make other keys, whatever user keys lie beside it.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::record::Transaction;

/// One thing that an API key may be used for.
#[derive(
    Debug,
    Clone,
    Copy,
    PartialEq,
    Eq,
    PartialOrd,
    Ord,
    Hash,
    Serialize,
    Deserialize,
    clap::ValueEnum,
)]
#[serde(rename_all = "kebab-case")]
pub enum Scope {
    /// See datasets, documents, links and users, read documents, ask for access.
    Read,
    /// Write documents and links, erase.
    Write,
    /// Change users, datasets and permissions.
    Manage,
    /// Fetch heads, proofs and exports of the record.
    Audit,
    /// Make, list, rotate and revoke API keys.
    Keys,
}

impl Scope {
    /// All of them, in order.
    pub const ALL: [Self; 5] = [
        Self::Read,
        Self::Write,
        Self::Manage,
        Self::Audit,
        Self::Keys,
    ];

    /// Its name, as in `--scope`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
            Self::Manage => "manage",
            Self::Audit => "audit",
            Self::Keys => "keys",
        }
    }

    /// What submitting such a transaction needs.
    #[must_use]
    pub fn of(transaction: &Transaction) -> Self {
        match transaction {
            Transaction::Read(_) | Transaction::AccessRequest(_) => Self::Read,
            Transaction::Write(_) | Transaction::Link(_) | Transaction::Erase(_) => Self::Write,
            _ => Self::Manage,
        }
    }

    const fn bit(self) -> u8 {
        1 << self as u8
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.name())
    }
}

/// A set of scopes; never empty. As text: the names in order, with commas between them.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "Vec<Scope>", into = "Vec<Scope>")]
pub struct Scopes(u8);

/// A list that is no set of scopes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("a key needs at least one scope of: read, write, manage, audit, keys")]
pub struct NoScopes;

impl Scopes {
    /// Everything.
    #[must_use]
    pub fn all() -> Self {
        Self(Scope::ALL.iter().fold(0, |all, scope| all | scope.bit()))
    }

    /// Whether this scope is among them.
    #[must_use]
    pub fn contains(self, scope: Scope) -> bool {
        self.0 & scope.bit() != 0
    }

    /// Whether all of `others` are among them: a key makes no key that may do more than itself.
    #[must_use]
    pub fn include(self, others: Self) -> bool {
        self.0 & others.0 == others.0
    }

    /// They, in order.
    pub fn iter(self) -> impl Iterator<Item = Scope> {
        Scope::ALL
            .into_iter()
            .filter(move |scope| self.contains(*scope))
    }
}

impl TryFrom<Vec<Scope>> for Scopes {
    type Error = NoScopes;

    fn try_from(scopes: Vec<Scope>) -> Result<Self, NoScopes> {
        match scopes.iter().fold(0, |all, scope| all | scope.bit()) {
            0 => Err(NoScopes),
            bits => Ok(Self(bits)),
        }
    }
}

impl From<Scopes> for Vec<Scope> {
    fn from(scopes: Scopes) -> Self {
        scopes.iter().collect()
    }
}

impl fmt::Display for Scopes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (place, scope) in self.iter().enumerate() {
            let comma = if place == 0 { "" } else { "," };
            write!(f, "{comma}{scope}")?;
        }
        Ok(())
    }
}

impl FromStr for Scopes {
    type Err = NoScopes;

    fn from_str(text: &str) -> Result<Self, NoScopes> {
        let named = |name: &str| Scope::ALL.into_iter().find(|scope| scope.name() == name);
        let scopes: Option<Vec<Scope>> = text.split(',').map(named).collect();
        Self::try_from(scopes.ok_or(NoScopes)?)
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn scopes_have_one_text_form_and_are_never_empty() {
        assert_eq!(Scopes::all().to_string(), "read,write,manage,audit,keys");
        let some: Scopes = "keys,read".parse().unwrap();
        assert_eq!(some.to_string(), "read,keys");
        assert_eq!("read,keys".parse::<Scopes>(), Ok(some));
        assert!(Scopes::all().include(some) && !some.include(Scopes::all()));
        assert!(some.contains(Scope::Keys) && !some.contains(Scope::Write));
        for bad in ["", ",", "read,", "root", "Read"] {
            assert_eq!(bad.parse::<Scopes>(), Err(NoScopes), "{bad}");
        }
        assert!(serde_json::from_str::<Scopes>("[]").is_err());
        assert_eq!(serde_json::to_string(&some).unwrap(), r#"["read","keys"]"#);
    }
}
