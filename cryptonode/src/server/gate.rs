//! What the operator has forbidden or bounded, all of it changeable while the node serves.

use super::clients::Clients;

/// The operator's word on who is served and what. The default forbids nothing.
#[derive(Debug, Default)]
pub struct Gate {
    /// Clients by their keys.
    pub clients: Clients,
}
