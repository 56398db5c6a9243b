//! A platform that has one wrapped key opened by a cluster, with all that it needs for that, and what it says if nothing comes of it.
//!
//! ```sh
//! cargo run -p cryptonode --example read -- cluster.json letter.wrapped hospital.pem hospital.key > letter.key
//! ```
//!
//! The files are those of `cryptonode request --help`. A real platform has no issuer's key: it sends what is to be approved to the organisations,
//! and gets approvals back (`approve` stands for that here).

use std::error::Error;
use std::io::Write;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use cryptonode::client::{
    Client, ClientIdentity, ClientOptions, ClusterDescriptor, ClusterError, NodeOutcome,
};
use reencrypt::{EphemeralSecret, SecretBytes, WrappedKey};

/// One client for each cluster, made once and shared by all tasks: its connections to the nodes stay open, and it follows the key
/// when that is reshared.
pub(crate) fn connect(cluster_json: &str, client_key_pem: &str) -> Result<Client, Box<dyn Error>> {
    // `check` holds everything in the description against everything else. That it is the right one, its giver answers for.
    let cluster = ClusterDescriptor::from_json(cluster_json)?.check()?;
    // Approvals are for this key, so it is kept as other secrets are.
    let identity = ClientIdentity::from_pem(client_key_pem)?;
    let options = ClientOptions {
        // Another node is asked as well when one takes longer than this.
        hedge_after: Duration::from_millis(50),
        // For the whole read, whatever the nodes do.
        deadline: Duration::from_secs(10),
        ..ClientOptions::default()
    };
    Ok(Client::new(cluster, identity, options)?)
}

/// What came of a read, and what each node did.
pub(crate) struct Read {
    pub(crate) secret: Result<SecretBytes, ClusterError>,
    pub(crate) nodes: Vec<NodeOutcome>,
}

/// One read. `approve` gets what the organisations are to approve and gives their certificates (DER).
///
/// Dropping the future cancels the read. A read that failed may be tried again with the same approvals as long as they are valid: a node that
/// gives a share twice has given nothing more.
pub(crate) async fn read(
    client: &Client,
    wrapped_key: &[u8],
    approve: impl AsyncFnOnce(certs::Approval) -> Result<Vec<Vec<u8>>, Box<dyn Error>>,
) -> Result<Read, Box<dyn Error>> {
    let mut rng = rand::rng();
    // What a storage gives is verified before anything is done with it.
    let wrapped = WrappedKey::parse(wrapped_key)?.verify(&mut rng)?;
    // For this one read. Nobody but its holder can open what the nodes send.
    let ephemeral = EphemeralSecret::new(&wrapped, &mut rng);
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_secs();
    let approvals = approve(certs::Approval {
        write_id: wrapped.write_id(),
        ephemeral_point: *ephemeral.public().point().as_bytes(),
        approval_id: "read-1".to_owned(),
        client_spki: client.spki().to_vec(),
        not_before: now - 5,
        not_after: now + 120,
    })
    .await?;
    let opened = client.open(wrapped, ephemeral, approvals).await;
    Ok(Read {
        secret: opened.result,
        nodes: opened.nodes,
    })
}

#[tokio::main]
async fn main() -> Result<(), Box<dyn Error>> {
    let files: Vec<String> = std::env::args().skip(1).collect();
    let [cluster, wrapped, issuer, issuer_key] = files.as_slice() else {
        return Err("usage: read CLUSTER.json WRAPPED-KEY ISSUER.pem ISSUER.key".into());
    };
    let key = ClientIdentity::generate()?;
    let client = connect(&std::fs::read_to_string(cluster)?, key.to_pem())?;
    let issuer = certs::Issuer::from_pem(
        &std::fs::read_to_string(issuer)?,
        &std::fs::read_to_string(issuer_key)?,
    )?;
    let done = read(&client, &std::fs::read(wrapped)?, async |approval| {
        Ok(vec![issuer.issue(&approval)?])
    })
    .await?;
    // A line for each node: who answered, and who was slow, away, refused or cheated, with the reason.
    for node in &done.nodes {
        eprintln!("{node}");
    }
    client.close().await;
    match done.secret {
        Ok(secret) => Ok(std::io::stdout().write_all(secret.expose())?),
        // Too many reads at once here, or too few good answers for now: a moment later it may go well. The code is stable.
        Err(error) => Err(format!("{}: {error}", error.code()).into()),
    }
}
