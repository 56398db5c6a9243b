//! Which nodes are asked: by the cluster's description, or by the key's certificate and addresses.

use std::path::Path;

use reencrypt::KeyCertificate;

use super::files::{self, file};
use super::{ClusterArguments, Failure, exit};
use crate::client::{Cluster, ClusterDescriptor, NOWHERE, describe};

fn usage(code: &str, message: String) -> Failure {
    Failure::new(exit::USAGE, code, message)
}

/// The cluster whose nodes are to be called.
pub(super) fn reachable(arguments: &ClusterArguments) -> Result<Cluster, Failure> {
    let cluster = known(arguments)?;
    let members = cluster.members().iter();
    let places = members.filter(|member| member.address != NOWHERE).count();
    let needed = usize::from(cluster.package().threshold());
    if places >= needed {
        return Ok(cluster);
    }
    let message = format!(
        "the addresses of {places} nodes are known, and {needed} must answer: the key's certificate has none, add --node NAME=HOST:PORT"
    );
    Err(usage("node-address", message))
}

/// The cluster that the command line names, checked. Nobody knows whether its nodes can be called.
pub(super) fn known(arguments: &ClusterArguments) -> Result<Cluster, Failure> {
    let mut descriptor = match (&arguments.cluster, &arguments.key_certificate) {
        (Some(path), _) => ClusterDescriptor::from_json(&files::text(path)?)
            .map_err(|error| file(path, error.code(), error))?,
        (None, Some(path)) => certified(path, arguments.public_key.as_deref().unwrap_or_default())?,
        // The command line demands one of the two.
        (None, None) => {
            return Err(usage(
                "cluster",
                "name the cluster: --cluster FILE".to_owned(),
            ));
        }
    };
    for place in &arguments.nodes {
        let found = place.split_once('=').and_then(|(name, address)| {
            let mut members = descriptor.members.iter_mut();
            let member = members.find(|member| member.name == name)?;
            Some((member, address))
        });
        let Some((member, address)) = found else {
            let names = descriptor.members.iter().map(|member| member.name.as_str());
            let names: Vec<&str> = names.collect();
            let message = format!(
                "--node {place:?} is not NAME=HOST:PORT of a member: they are {}",
                names.join(", ")
            );
            return Err(usage("node-address", message));
        };
        member.address = address.to_owned();
    }
    descriptor
        .check()
        .map_err(|error| Failure::new(exit::FAILED, error.code(), error.to_string()))
}

/// What a certificate says, once it is verified under the key.
fn certified(path: &Path, public_key: &str) -> Result<ClusterDescriptor, Failure> {
    let public_key: [u8; 32] = hex::decode(public_key)
        .ok()
        .and_then(|bytes| bytes.try_into().ok())
        .ok_or_else(|| {
            let message = "the public key must be 64 hexadecimal digits".to_owned();
            usage("public-key", message)
        })?;
    let certificate = KeyCertificate::verify(&files::bytes(path)?, &public_key)
        .map_err(|error| file(path, error.code(), error))?;
    let nowhere = vec![Vec::new(); certificate.members().len()];
    Ok(describe(&certificate, &nowhere))
}
