//! What an organisation's operator does about a tenant that it answers for, and the tenant's administrators may not.

use clap::{Args, Subcommand};

use super::operator::PassphraseSource;
use super::output::field;
use super::peer::{recorded, submit};
use super::peer_arguments::PeerDir;
use super::{Failure, Output, pki};
use crate::folder::Folder;
use crate::record::{Identifier, Transaction, UserCertify};

/// Commands about a tenant.
#[derive(Debug, Subcommand)]
pub(super) enum PeerTenantCommand {
    /// Register the authorities of the tenant's company, all of them: those not named are taken back.
    #[command(after_help = "\
Example:
  coordinator peer tenant authorities acme root.pem root-2027.pem --dir A")]
    Authorities {
        /// The tenant.
        #[arg(value_name = "TENANT")]
        name: Identifier,
        #[command(flatten)]
        authorities: pki::AuthorityFiles,
        #[command(flatten)]
        by: Operator,
    },
    /// Take a user's binding to a certificate away; also an administrator's.
    #[command(after_help = "Example:\n  coordinator peer tenant unbind acme ada --dir A")]
    Unbind {
        /// The tenant.
        #[arg(value_name = "TENANT")]
        name: Identifier,
        /// The user.
        #[arg(value_name = "USER")]
        who: Identifier,
        #[command(flatten)]
        by: Operator,
    },
}

/// The organisation that signs.
#[derive(Debug, Args)]
pub(super) struct Operator {
    #[command(flatten)]
    dir: PeerDir,
    /// Where the peer's API answers, if not where peer.toml says.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    #[command(flatten)]
    passphrase: PassphraseSource,
}

impl Operator {
    fn sign(
        self,
        transaction: Transaction,
        output: &Output,
        line: impl FnOnce(u64) -> String,
    ) -> Result<(), Failure> {
        let folder = Folder::open_peer(&self.dir.dir)?;
        let submitted = submit(&folder, self.url, &self.passphrase, transaction)?;
        recorded(&submitted, output, line)
    }
}

pub(super) fn run(command: PeerTenantCommand, output: &Output) -> Result<(), Failure> {
    match command {
        PeerTenantCommand::Authorities {
            name: tenant,
            authorities,
            by,
        } => {
            let all = authorities.of(tenant)?;
            let count = all.authorities.len();
            let transaction = Transaction::TenantAuthorities(all);
            let line = |height| field("authorities", format!("{count}, block {height}"));
            by.sign(transaction, output, line)
        }
        PeerTenantCommand::Unbind {
            name: tenant,
            who: user,
            by,
        } => {
            let line = format!("{tenant}/{user} is unbound");
            let transaction = Transaction::UserCertify(UserCertify {
                tenant,
                user,
                certificate: None,
            });
            by.sign(transaction, output, |height| {
                format!("{line}, block {height}")
            })
        }
    }
}
