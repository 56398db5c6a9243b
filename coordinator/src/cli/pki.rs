//! A company's own certificates: the authorities that a tenant stands by, their revocation lists, and users and clients bound to certificates.

use std::path::{Path, PathBuf};

use certs::chain::{certificates_from_pem, sign_statement};
use clap::{Args, Subcommand};
use serde_bytes::ByteBuf;
use serde_json::json;
use zeroize::Zeroizing;

use super::operator::PassphraseSource;
use super::output::{field, instant, table};
use super::{Connect, Failure, Output, block_on, exit};
use crate::api::ReceiptView;
use crate::client::Client;
use crate::folder::{self, Folder};
use crate::master_key::SealedMasterKey;
use crate::organisations;
use crate::record::{
    Author, Certification, ClientCertify, ClientName, Identifier, MAX_REVOCATION_LIST,
    RevocationsPublish, TenantAuthorities, Transaction, UserCertify, certificate_statement,
    client_statement,
};

const MAX_CERTIFICATES: u64 = 256 * 1024;
const MAX_KEY: u64 = 16 * 1024;

/// Commands about a tenant's public-key infrastructure.
#[derive(Debug, Subcommand)]
pub(super) enum PkiCommand {
    /// Register the authorities whose certificates users and clients may be bound to, all of them; an administrator signs. Those not named are taken back, and
    /// the users below them may sign nothing any more. Once somebody is bound, another authority is registered by the tenant's organisation alone.
    #[command(after_help = "\
Examples:
  coordinator pki set root.pem
  coordinator pki set root.pem --bound-clients
  coordinator pki set root.pem root-2027.pem --organisation alder --dir D
  coordinator pki set --none")]
    Set {
        #[command(flatten)]
        authorities: AuthorityFiles,
        #[command(flatten)]
        signs: AsOrganisation,
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
    /// Bind a client, by whose TLS key the tenant's users read from the crypto nodes, to a certificate of the company; an administrator signs, and the
    /// certificate's key.
    #[command(after_help = "\
The platform's own client is in `coordinator status`; that of a reader who asks
the nodes from its own machine is what `cryptonode request prepare` says.

Examples:
  coordinator pki bind-client HEX --chain platform.pem \\
    --certificate-key platform.key
  coordinator pki bind-client HEX --statement-out statement")]
    BindClient {
        /// The client: SHA-256 of its TLS key's SubjectPublicKeyInfo, 64 hexadecimal digits.
        #[arg(value_name = "CLIENT", value_parser = client_name)]
        client: [u8; 32],
        #[command(flatten)]
        certified: Certified,
    },
    /// Take a client's binding to a certificate away; an administrator signs.
    UnbindClient {
        /// The client.
        #[arg(value_name = "CLIENT", value_parser = client_name)]
        client: [u8; 32],
    },
    /// List the clients that are bound.
    Clients,
}

/// All authorities that a tenant stands by.
#[derive(Debug, Args)]
pub(super) struct AuthorityFiles {
    /// PEM files with the authorities' certificates.
    #[arg(value_name = "FILE", required_unless_present = "none")]
    files: Vec<PathBuf>,
    /// Take all of them back.
    #[arg(long, conflicts_with = "files")]
    none: bool,
    /// Reads of what is under a cluster key go to clients that are bound to a certificate, and to no others. Without it, to any.
    #[arg(long)]
    bound_clients: bool,
}

impl AuthorityFiles {
    /// As the record has them.
    pub(super) fn of(&self, tenant: Identifier) -> Result<TenantAuthorities, Failure> {
        let mut authorities = Vec::new();
        for file in &self.files {
            authorities.extend(certificates(file)?);
        }
        authorities.sort();
        authorities.dedup();
        Ok(TenantAuthorities {
            tenant,
            authorities,
            bound_clients: self.bound_clients,
        })
    }
}

fn client_name(text: &str) -> Result<[u8; 32], String> {
    let mut client = [0; 32];
    let wrong = |_| "a client has 64 hexadecimal digits".to_owned();
    hex::decode_to_slice(text, &mut client).map_err(wrong)?;
    Ok(client)
}

/// Who signs, where it is the organisation that answers for the tenant.
#[derive(Debug, Args)]
pub(super) struct AsOrganisation {
    /// The organisation that answers for the tenant signs, and not the profile's user: its operator's key is in the platform's folder. Where the organisations have
    /// their keys elsewhere: `coordinator peer tenant`.
    #[arg(long, value_name = "NAME")]
    organisation: Option<Identifier>,
    /// With --organisation: the platform's folder.
    #[arg(long, value_name = "DIR", env = "COORDINATOR_DIR")]
    dir: Option<PathBuf>,
    #[command(flatten)]
    passphrase: PassphraseSource,
}

impl AsOrganisation {
    fn submit(&self, client: &Client, transaction: Transaction) -> Result<ReceiptView, Failure> {
        let Some(organisation) = &self.organisation else {
            return block_on(async { Ok(client.submit(transaction).await?) });
        };
        let dir = self.dir.as_ref().ok_or_else(|| {
            let message = "give --dir, the platform's folder, in which the organisation's key is";
            Failure::new(exit::USAGE, "usage", message)
        })?;
        let folder = Folder::open(dir)?;
        let master = SealedMasterKey::open(&folder.master_key(), &self.passphrase.obtain(false)?)?;
        let operator = organisations::signing_key(&folder, &master, organisation, "operator")?;
        let author = Author::Organisation(organisation.clone());
        block_on(async { Ok(client.submit_as(author, &operator, transaction).await?) })
    }
}

/// A certificate, and its key's signature.
#[derive(Debug, Args)]
pub(super) struct Certified {
    /// PEM file with the certificates, the holder's first, up to one that a registered authority issued.
    #[arg(long, value_name = "FILE", required_unless_present = "statement_out")]
    chain: Option<PathBuf>,
    /// PEM file with the key of the holder's certificate; it is used once, and goes nowhere.
    #[arg(long, value_name = "FILE", required_unless_present_any = ["proof", "statement_out"], conflicts_with = "proof")]
    certificate_key: Option<PathBuf>,
    /// File with a signature that was made elsewhere over the statement.
    #[arg(long, value_name = "FILE")]
    proof: Option<PathBuf>,
    /// Write what the certificate's key is to sign into this file, and do nothing else.
    #[arg(long, value_name = "FILE", conflicts_with_all = ["chain", "certificate_key", "proof"])]
    statement_out: Option<PathBuf>,
}

impl Certified {
    /// The certificate with the signature over this statement; none, if the statement was to be written, which is done then.
    fn read(&self, statement: &[u8], output: &Output) -> Result<Option<Certification>, Failure> {
        if let Some(path) = &self.statement_out {
            folder::write_private(path, statement)?;
            let next = "sign it with the certificate's key, then give --chain and --proof";
            let value = json!({ "statement": path, "bytes": statement.len() });
            let lines = [field("statement", path.display()), next.to_owned()];
            output.result(&value, &lines)?;
            return Ok(None);
        }
        let proof = match (&self.certificate_key, &self.proof) {
            (Some(key), _) => {
                let text = pem(key, "certificate-key")?;
                sign_statement(&text, statement).map_err(|e| {
                    let message = format!("{}: {e}", key.display());
                    Failure::new(exit::CONFIGURATION, "certificate-key", message)
                })?
            }
            (None, Some(proof)) => folder::read_limited(proof, MAX_KEY)?.to_vec(),
            (None, None) => {
                let message = "give --certificate-key or --proof";
                return Err(Failure::new(exit::USAGE, "usage", message));
            }
        };
        let chain = self.chain.as_deref().map(certificates).transpose()?;
        Ok(Some(Certification {
            chain: chain.unwrap_or_default(),
            proof,
        }))
    }
}

/// A private key in PEM.
fn pem(path: &Path, code: &'static str) -> Result<Zeroizing<String>, Failure> {
    let bytes = folder::read_secret(path, MAX_KEY)?;
    let text = std::str::from_utf8(&bytes).map_err(|_| {
        let message = format!("{}: it is not PEM", path.display());
        Failure::new(exit::CONFIGURATION, code, message)
    })?;
    Ok(Zeroizing::new(text.to_owned()))
}

/// The TLS key of a client of the crypto nodes.
pub(super) fn client_key(path: &Path) -> Result<Zeroizing<String>, Failure> {
    pem(path, "client-key")
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
    #[command(flatten)]
    certified: Certified,
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
        PkiCommand::Set { authorities, signs } => {
            let all = authorities.of(tenant)?;
            let (count, bound_clients) = (all.authorities.len(), all.bound_clients);
            let receipt = signs.submit(&client, Transaction::TenantAuthorities(all))?;
            let line = format!("{count}, block {}", receipt.height);
            let value =
                json!({ "authorities": count, "bound_clients": bound_clients, "receipt": receipt });
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
        PkiCommand::BindClient {
            client: name,
            certified,
        } => {
            let ledger = block_on(async { Ok(client.ledger().await?) })?;
            let name = ClientName {
                tenant,
                client: *name,
            };
            let statement = client_statement(&ledger, &name);
            match certified.read(&statement, output)? {
                Some(certificate) => certify(&client, &name, Some(certificate), output),
                None => Ok(()),
            }
        }
        PkiCommand::UnbindClient { client: name } => {
            let name = ClientName {
                tenant,
                client: *name,
            };
            certify(&client, &name, None, output)
        }
        PkiCommand::Clients => {
            let clients = block_on(async { Ok(client.clients().await?) })?;
            let rows: Vec<Vec<String>> = clients
                .items
                .iter()
                .map(|it| {
                    let stands = || "stands".to_owned();
                    let state = it.certificate.fault.clone().unwrap_or_else(stands);
                    let until = it.certificate.not_after_s.saturating_mul(1000);
                    vec![it.client.clone(), state, instant(until)]
                })
                .collect();
            let mut lines = table(&["client", "certificate", "valid to"], &rows);
            lines.push(if clients.bound_clients {
                "reads go to these alone".to_owned()
            } else {
                "reads may go to others, too (`pki set --bound-clients` ends that)".to_owned()
            });
            output.result(&clients, &lines)
        }
    }
}

fn certify(
    client: &Client,
    name: &ClientName,
    certificate: Option<Certification>,
    output: &Output,
) -> Result<(), Failure> {
    let state = if certificate.is_some() {
        "bound"
    } else {
        "unbound"
    };
    let transaction = Transaction::ClientCertify(ClientCertify {
        tenant: name.tenant.clone(),
        client: name.client,
        certificate,
    });
    let receipt = block_on(async { Ok(client.submit(transaction).await?) })?;
    let value = json!({ "client": hex::encode(name.client), "state": state, "receipt": receipt });
    let line = format!("{name} is {state}, block {}", receipt.height);
    output.result(&value, &[line])
}

/// Takes a user's binding away.
pub(super) fn unbind(
    user: &Identifier,
    signs: &AsOrganisation,
    connect: &Connect,
    output: &Output,
) -> Result<(), Failure> {
    let client = connect.client()?;
    let transaction = Transaction::UserCertify(UserCertify {
        tenant: client.tenant().clone(),
        user: user.clone(),
        certificate: None,
    });
    let receipt = signs.submit(&client, transaction)?;
    let line = format!("{user} is unbound, block {}", receipt.height);
    let value = json!({ "user": user, "state": "unbound", "receipt": receipt });
    output.result(&value, &[line])
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
    let Some(certificate) = command.certified.read(&statement, output)? else {
        return Ok(());
    };
    let transaction = Transaction::UserCertify(UserCertify {
        tenant,
        user,
        certificate: Some(certificate),
    });
    let receipt = block_on(async { Ok(client.submit(transaction).await?) })?;
    let line = format!("{name} is bound, block {}", receipt.height);
    output.result(
        &json!({ "user": command.name, "state": "bound", "receipt": receipt }),
        &[line],
    )
}
