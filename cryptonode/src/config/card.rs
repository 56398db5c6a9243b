//! A node's public card: what its operator hands to the other operators, as one line of JSON.

use dkg::MemberIdentity;
use serde::{Deserialize, Serialize};

/// Name, keys and address of a node, in hexadecimal where they are bytes.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Card {
    /// What people call the node.
    pub name: String,
    /// Its Ed25519 identity, 64 hexadecimal digits.
    pub identity: String,
    /// Its recovery key R, 64 hexadecimal digits.
    pub recovery_public: String,
    /// `host:port` by which it is reached.
    pub address: String,
}

/// Why a card is not one.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum CardError {
    /// Not a line of JSON with a card's keys.
    #[error(
        "not a node's card: {0}; give the line that `cryptonode card` prints, or a file with it"
    )]
    Syntax(String),
    /// A field that cannot be meant.
    #[error("the card's {field} is wrong: {reason}; ask the node's operator for the card again")]
    Field {
        /// The field.
        field: &'static str,
        /// What is wrong.
        reason: String,
    },
}

impl Card {
    /// The card of a member.
    #[must_use]
    pub fn of(member: &MemberIdentity) -> Self {
        Self {
            name: member.name.clone(),
            identity: hex::encode(member.identity),
            recovery_public: hex::encode(member.recovery_public),
            address: member.address.clone(),
        }
    }

    /// Reads a card and checks it.
    ///
    /// # Errors
    /// [`CardError`] names the field.
    pub fn parse(text: &str) -> Result<Self, CardError> {
        let card: Self = serde_json::from_str(text.trim())
            .map_err(|error| CardError::Syntax(error.to_string()))?;
        card.check()?;
        Ok(card)
    }

    /// Checks every field.
    ///
    /// # Errors
    /// [`CardError::Field`].
    pub fn check(&self) -> Result<(), CardError> {
        self.member().map(|_| ())
    }

    /// The card as the key generation has it.
    ///
    /// # Errors
    /// [`CardError::Field`].
    pub fn member(&self) -> Result<MemberIdentity, CardError> {
        let field = |field| move |reason| CardError::Field { field, reason };
        check_name(&self.name).map_err(field("name"))?;
        check_address(&self.address).map_err(field("address"))?;
        let identity = decode_key(&self.identity).map_err(field("identity"))?;
        ed25519_dalek::VerifyingKey::from_bytes(&identity).map_err(|_| CardError::Field {
            field: "identity",
            reason: "it is no Ed25519 public key".to_owned(),
        })?;
        let recovery_public =
            decode_key(&self.recovery_public).map_err(field("recovery_public"))?;
        reencrypt::Point::from_bytes(&recovery_public).map_err(|error| CardError::Field {
            field: "recovery_public",
            reason: error.to_string(),
        })?;
        Ok(MemberIdentity {
            name: self.name.clone(),
            identity,
            recovery_public,
            address: self.address.clone(),
        })
    }

    /// The one line of JSON.
    #[must_use]
    pub fn to_line(&self) -> String {
        // Four strings always serialise.
        serde_json::to_string(self).unwrap_or_default()
    }

    pub(crate) fn as_toml(&self) -> String {
        let quote = |text: &str| toml::Value::String(text.to_owned()).to_string();
        format!(
            "\n[[members]]\nname = {}\nidentity = {}\nrecovery_public = {}\naddress = {}\n",
            quote(&self.name),
            quote(&self.identity),
            quote(&self.recovery_public),
            quote(&self.address)
        )
    }
}

/// A node's name stands in file formats and in the origin of its log: letters, digits, `-`, `_` and `.`.
pub(crate) fn check_name(name: &str) -> Result<(), String> {
    let fine = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    if (1..=64).contains(&name.len()) && name.chars().all(fine) {
        return Ok(());
    }
    Err(format!(
        "{name:?} is no name; take 1 to 64 letters, digits, hyphens, underscores or dots"
    ))
}

/// `host:port` with a port of its own.
pub(crate) fn check_address(address: &str) -> Result<(), String> {
    let parts = address
        .rsplit_once(':')
        .and_then(|(host, port)| Some((host, port.parse::<u16>().ok()?)));
    match parts {
        Some((host, port))
            if !host.is_empty()
                && address.len() <= 255
                && !address.contains(char::is_whitespace) =>
        {
            if port == 0 {
                return Err(format!(
                    "{address:?} has port 0; write the port by which others reach the node"
                ));
            }
            Ok(())
        }
        _ => Err(format!(
            "{address:?} is not host:port; write one such as \"node1.example:7700\""
        )),
    }
}

pub(crate) fn decode_key(text: &str) -> Result<[u8; 32], String> {
    let mut bytes = [0; 32];
    hex::decode_to_slice(text, &mut bytes).map_err(|_| {
        format!("{text:?} is not 64 hexadecimal digits; copy it from the node's card")
    })?;
    if hex::encode(bytes) != text {
        return Err(format!(
            "{text:?} has capital letters; copy it from the node's card"
        ));
    }
    Ok(bytes)
}
