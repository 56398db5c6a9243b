//! A company's own certificates: the authorities that a tenant stands by, their revocation lists, and users bound to certificates.

use std::path::{Path, PathBuf};

use certs::chain::{certificates_from_pem, sign_statement};
use clap::{Args, Subcommand};
use serde_bytes::ByteBuf;
use serde_json::json;

use super::output::{field, instant, table};
use super::{Connect, Failure, Output, block_on, exit};
use crate::folder;
use crate::record::{
    Certification, Identifier, MAX_REVOCATION_LIST, RevocationsPublish, TenantAuthorities,
    Transaction, UserCertify, certificate_statement,
};

const MAX_CERTIFICATES: u64 = 256 * 1024;
const MAX_KEY: u64 = 16 * 1024;

/// Commands about a tenant's public-key infrastructure.
#[derive(Debug, Subcommand)]
pub(super) enum PkiCommand {
    /// Register the authorities whose certificates users may be bound to, all of them; an administrator signs. Those not named are taken back, and
    /// the users below them may sign nothing any more.
    #[command(after_help = "\
Examples:
  coordinator pki set root.pem
  coordinator pki set root.pem root-2027.pem
  coordinator pki set --none")]
    Set {
        /// PEM files with the authorities' certificates.
        #[arg(value_name = "FILE", required_unless_present = "none")]
        files: Vec<PathBuf>,
        /// Take all of them back.
        #[arg(long, conflicts_with = "files")]
        none: bool,
    },
    /// Publish an authority's revocation list: users whose certificates are in it sign nothing any more, and get no approval.
    #[command(after_help = "\
Examples:
  coordinator pki publish root.crl
  coordinator pki publish people.crl --chain people-ca.pem")]
    Publish {
        /// The list, PEM or DER.
        #[arg(value_name = "FILE")]
        list: PathBuf,
        /// PEM file with the certificates from the list's authority up to one that a registered authority issued; not needed for a registered
        /// authority's own list.
        #[arg(long, value_name = "FILE")]
        chain: Option<PathBuf>,
    },
    /// List the authorities and their revocation lists.
    Ls,
}

/// Arguments of `user bind`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  coordinator user bind alice --chain alice-chain.pem \\
    --certificate-key alice-certificate.key
With a key that is on a card or in a module:
  coordinator user bind alice --statement-out statement
  openssl dgst -sha256 -sign KEY -out proof statement
  coordinator user bind alice --chain alice-chain.pem --proof proof")]
pub(super) struct Bind {
    /// The user.
    #[arg(value_name = "USER")]
    name: Identifier,
    /// PEM file with the certificates, the user's first, up to one that a registered authority issued.
    #[arg(long, value_name = "FILE", required_unless_present = "statement_out")]
    chain: Option<PathBuf>,
    /// PEM file with the key of the user's certificate; it is used once, and goes nowhere.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["proof", "statement_out"], conflicts_with = "proof")]
    certificate_key: Option<PathBuf>,
    /// File with a signature that was made elsewhere over the statement.
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// Write what the certificate's key is to sign into this file, and do nothing else.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["chain", "certificate_key", "proof"])]
    statement_out: Option<PathBuf>,
}

fn certificates(path: &Path) -> Result<Vec<ByteBuf>, Failure> {
    let bytes = folder::read_limited(path, MAX_CERTIFICATES)?;
    let found = certificates_from_pem(&bytes).map_err(|_| {
        let message = format!(
            "{} has no certificates in PEM, or something else beside them",
            path.display()
        );
        Failure::new(exit::CONFIGURATION, "certificate-file", message)
    })?;
    Ok(found.into_iter().map(ByteBuf::from).collect())
}

pub(super) fn run(command: &PkiCommand, connect: &Connect, output: &Output) -> Result<(), Failure> {
    let client = connect.client()?;
    let tenant = client.tenant().clone();
    match command {
        PkiCommand::Set { files, .. } => {
            let mut authorities = Vec::new();
            for file in files {
                authorities.extend(certificates(file)?);
            }
            authorities.sort();
            authorities.dedup();
            let count = authorities.len();
            let transaction = Transaction::TenantAuthorities(TenantAuthorities {
                tenant,
                authorities,
            });
            let receipt = block_on(async { Ok(client.submit(transaction).await?) })?;
            let line = format!("{count}, block {}", receipt.height);
            let value = json!({ "authorities": count, "receipt": receipt });
            output.result(&value, &[field("authorities", line)])
        }
        PkiCommand::Publish { list, chain } => {
            let limit = 2 * MAX_REVOCATION_LIST as u64;
            let bytes = folder::read_limited(list, limit)?;
            let list = if bytes.starts_with(b"-----BEGIN") {
                certs::revocation_list_from_pem(&bytes)
                    .map_err(|e| Failure::new(exit::CONFIGURATION, e.code(), e.to_string()))?
            } else {
                bytes.to_vec()
            };
            let chain = match chain {
                Some(path) => certificates(path)?,
                None => Vec::new(),
            };
            let transaction = Transaction::RevocationsPublish(RevocationsPublish {
                tenant,
                chain,
                list,
            });
            let receipt = block_on(async { Ok(client.submit(transaction).await?) })?;
            let line = format!("published, block {}", receipt.height);
            output.result(
                &json!({ "published": true, "receipt": receipt }),
                &[field("revocation list", line)],
            )
        }
        PkiCommand::Ls => {
            let authorities = block_on(async { Ok(client.authorities().await?) })?;
            let ms = |seconds: u64| seconds.saturating_mul(1000);
            let rows: Vec<Vec<String>> = authorities
                .iter()
                .map(|it| {
                    let (list, next) = it.revocations.as_ref().map_or_else(
                        || ("none".to_owned(), "none".to_owned()),
                        |list| (list.revoked.to_string(), instant(ms(list.next_update_s))),
                    );
                    vec![it.key.clone(), instant(ms(it.not_after_s)), list, next]
                })
                .collect();
            let heading = ["key", "valid to", "revoked", "next list"];
            output.result(&authorities, &table(&heading, &rows))
        }
    }
}

pub(super) fn bind(command: &Bind, connect: &Connect, output: &Output) -> Result<(), Failure> {
    let client = connect.client()?;
    let (tenant, user) = (client.tenant().clone(), command.name.clone());
    let name = crate::record::UserName {
        tenant: tenant.clone(),
        user: user.clone(),
    };
    let (ledger, users) = block_on(async { Ok((client.ledger().await?, client.users().await?)) })?;
    let mut public_key = [0; 32];
    users
        .iter()
        .find(|it| it.user == user)
        .and_then(|it| hex::decode_to_slice(&it.public_key, &mut public_key).ok())
        .ok_or_else(|| {
            let message = format!("there is no user {name}; register it first");
            Failure::new(exit::REFUSED, "unknown-user", message)
        })?;
    let statement = certificate_statement(&ledger, &name, &public_key);
    if let Some(path) = &command.statement_out {
        folder::write_private(path, &statement)?;
        let next = "sign it with the certificate's key, then give --chain and --proof".to_owned();
        let value = json!({ "statement": path, "bytes": statement.len() });
        return output.result(&value, &[field("statement", path.display()), next]);
    }
    let proof = match (&command.certificate_key, &command.proof) {
        (Some(key), _) => {
            let pem = folder::read_secret(key, MAX_KEY)?;
            let wrong = |reason: String| {
                let message = format!("{}: {reason}", key.display());
                Failure::new(exit::CONFIGURATION, "certificate-key", message)
            };
            let text = std::str::from_utf8(&pem).map_err(|_| wrong("it is not PEM".to_owned()))?;
            sign_statement(text, &statement).map_err(|e| wrong(e.to_string()))?
        }
        (None, Some(proof)) => folder::read_limited(proof, MAX_KEY)?.to_vec(),
        (None, None) => {
            let message = "give --certificate-key or --proof";
            return Err(Failure::new(exit::USAGE, "usage", message));
        }
    };
    let chain = command.chain.as_deref().map(certificates).transpose()?;
    let transaction = Transaction::UserCertify(UserCertify {
        tenant,
        user,
        certificate: Some(Certification {
            chain: chain.unwrap_or_default(),
            proof,
        }),
    });
    let receipt = block_on(async { Ok(client.submit(transaction).await?) })?;
    let line = format!("{name} is bound, block {}", receipt.height);
    output.result(
        &json!({ "user": command.name, "state": "bound", "receipt": receipt }),
        &[line],
    )
}
