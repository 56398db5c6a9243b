//! The label of a wrapped key (protocol section 7): the write that it belongs to, without telling the nodes its name.
//!
//! A wrapped key can be copied word for word into somebody else's document. Its label is under its proof, so a copy keeps the label
//! of the original, and the record refuses a write whose label is not that of the very write.

use super::{
    hash,
    identifier::{UserName, VersionName},
};

/// SHA-256 over the canonical encoding of
/// `["coordinator/v1/wrapped-key-label", [tenant, dataset, document, version, writer's tenant, writer]]`.
#[must_use]
pub fn wrapped_key_label(version: &VersionName, writer: &UserName) -> [u8; 32] {
    let name = (
        &version.tenant,
        &version.dataset,
        &version.document,
        version.version,
        &writer.tenant,
        &writer.user,
    );
    hash::tagged(hash::LABEL, &name)
}
