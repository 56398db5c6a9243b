//! What needs no network: wrapping, preparing, approving, opening.

use certs::{Approval, Issuer};
use reencrypt::{EphemeralSecret, Opening, Progress, SecretBytes};
use serde_json::json;
use sha2::{Digest, Sha256};

use super::super::output::field;
use super::files::{self, file};
use super::{Approve, Failure, Open, Output, Prepare, Wrap, cluster, exit};
use crate::client::ClientIdentity;
use crate::client::handover::{ReadDescription, Shares};
use crate::daemon::clock_s;
use crate::store::write_private;

/// How far an approval's beginning lies before now, in seconds: the nodes' clocks may be behind.
const BEFORE_S: u64 = 5;

pub(super) fn wrap(command: &Wrap, output: &mut Output) -> Result<(), Failure> {
    let cluster = cluster::known(&command.cluster)?;
    let secret = files::bytes(&command.secret)?;
    let public_key = cluster.package().public_key();
    let label = command.label.as_bytes();
    let wrapped = reencrypt::wrap(
        &public_key,
        label,
        &secret,
        &mut crate::randomness::system(),
    )
    .map_err(|error| Failure::new(exit::USAGE, "wrap", error.to_string()))?;
    write_private(&command.out, wrapped.as_bytes(), false)?;
    let (public_key, write_id) = (
        hex::encode(public_key.as_bytes()),
        hex::encode(wrapped.write_id()),
    );
    output.result(
        &json!({ "public_key": public_key, "write_id": write_id, "out": command.out }),
        &[
            field("under the key", public_key),
            field("write id", write_id),
            field("written", command.out.display()),
        ],
    )
}

pub(super) fn prepare(command: &Prepare, output: &mut Output) -> Result<(), Failure> {
    let wrapped = files::wrapped_key(&command.wrapped_key)?;
    let client = if command.client_key.exists() {
        files::client_key(&command.client_key)?
    } else {
        let client = ClientIdentity::generate()
            .map_err(|error| Failure::new(exit::FAILED, "client-key", error.to_string()))?;
        write_private(&command.client_key, client.to_pem().as_bytes(), false)?;
        output.note(&format!(
            "made the client key {}",
            command.client_key.display()
        ));
        client
    };
    let secret = EphemeralSecret::new(&wrapped, &mut crate::randomness::system());
    write_private(
        &command.ephemeral_secret,
        secret.to_bytes().as_slice(),
        false,
    )?;
    if let Some(path) = &command.ephemeral_key {
        write_private(path, secret.public().as_bytes(), false)?;
    }
    let read = ReadDescription {
        version: 1,
        public_key: *wrapped.public_key().as_bytes(),
        write_id: wrapped.write_id(),
        label: crate::wire::v1::presentable(&String::from_utf8_lossy(wrapped.label()), 256),
        ephemeral_point: *secret.public().point().as_bytes(),
        client_spki: client.spki().to_vec(),
        client: Sha256::digest(client.spki()).into(),
    };
    let Some(path) = &command.out else {
        let mut text = serde_json::to_string_pretty(&read).map_err(std::io::Error::from)?;
        text.push('\n');
        return output.raw(text.as_bytes());
    };
    let text = serde_json::to_vec_pretty(&read).map_err(std::io::Error::from)?;
    write_private(path, &text, false)?;
    let lines = [
        field("write id", hex::encode(read.write_id)),
        field("ephemeral point", hex::encode(read.ephemeral_point)),
        field("client", hex::encode(read.client)),
        field("for the organisations", path.display()),
    ];
    output.result(&read, &lines)
}

pub(super) fn approve(command: &Approve, output: &mut Output) -> Result<(), Failure> {
    let read = files::handed_over(&command.read, ReadDescription::from_json)?;
    let issuer = Issuer::from_pem(
        &files::text(&command.issuer)?,
        &files::text(&command.issuer_key)?,
    )
    .map_err(|error| file(&command.issuer, error.code(), error))?;
    let not_before = clock_s().saturating_sub(BEFORE_S);
    let not_after = not_before.saturating_add(command.lifetime_s);
    let approval = Approval {
        write_id: read.write_id,
        ephemeral_point: read.ephemeral_point,
        approval_id: command.id.clone(),
        client_spki: read.client_spki,
        not_before,
        not_after,
    };
    let approval = issuer
        .issue(&approval)
        .map_err(|error| Failure::new(exit::FAILED, error.code(), error.to_string()))?;
    write_private(&command.out, &approval, false)?;
    let value = json!({
        "write_id": hex::encode(read.write_id), "id": command.id, "not_before": not_before, "not_after": not_after,
        "out": command.out,
    });
    let lines = [
        field("approved", hex::encode(read.write_id)),
        field("for", format!("{} s", command.lifetime_s)),
        field("written", command.out.display()),
    ];
    output.result(&value, &lines)
}

pub(super) fn open(command: &Open, output: &mut Output) -> Result<(), Failure> {
    let cluster = cluster::known(&command.cluster)?;
    let wrapped = files::wrapped_key(&command.wrapped_key)?;
    let secret = files::ephemeral_secret(&command.ephemeral_secret, &wrapped)?;
    let shares = files::handed_over(&command.shares, Shares::from_json)?;
    let decoded = shares.of_read(&wrapped, &secret.public().point());
    let decoded = decoded.map_err(|error| file(&command.shares, error.code(), error))?;
    let result = cluster.descriptor().version_of_result();
    if (shares.epoch, shares.attempt) != (result.epoch, result.attempt) {
        let reason = format!(
            "its shares are of epoch {}, attempt {}, and the cluster's description is of {result}: export the key again",
            shares.epoch, shares.attempt
        );
        return Err(file(&command.shares, "other-result", reason));
    }
    let opening = Opening::new(wrapped, secret, cluster.package().clone())
        .map_err(|error| Failure::new(exit::FAILED, error.code(), error.to_string()))?;
    let key = combine(opening, &decoded)?;
    write_private(&command.out, key.expose(), false)?;
    output.result(
        &json!({ "opened": true, "bytes": key.len(), "out": command.out }),
        &[
            field("opened", format!("{} bytes", key.len())),
            field("written", command.out.display()),
        ],
    )
}

/// Opens with shares that each begin with their index.
pub(super) fn combine(mut opening: Opening, shares: &[Vec<u8>]) -> Result<SecretBytes, Failure> {
    for share in shares {
        let index = share
            .first_chunk()
            .map_or(0, |index| u16::from_le_bytes(*index));
        match opening.add(index, share) {
            Progress::Opened(secret) => return Ok(secret),
            Progress::InvalidWrappedKey => {
                let error = crate::client::ClusterError::InvalidWrappedKey;
                return Err(Failure::new(exit::CLUSTER, error.code(), error.to_string()));
            }
            Progress::Need(_) | Progress::Finished => {}
        }
    }
    let culprits = opening.culprits().iter();
    let reasons: Vec<String> = culprits
        .map(|culprit| format!("the one of index {}: {}", culprit.index, culprit.reason))
        .collect();
    let message = format!(
        "the {} shares do not open the key; {}",
        shares.len(),
        if reasons.is_empty() {
            "they are too few: ask the cluster again".to_owned()
        } else {
            reasons.join("; ")
        }
    );
    Err(Failure::new(exit::CLUSTER, "too-few-shares", message))
}
