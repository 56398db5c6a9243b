//! `cryptonode certificate`: a certificate over the node's identity key from an authority of its operator.

use std::path::{Path, PathBuf};

use clap::Subcommand;
use serde_json::Value;

use super::ceremony::ask;
use super::output::field;
use super::{Dir, Failure, Output};
use crate::admin::Command;
use crate::store::write_private;

/// `cryptonode certificate`.
#[derive(Debug, Subcommand)]
pub(super) enum CertificateCommand {
    /// Write what the authority is to sign (PKCS #10). The running node signs it with its identity.
    #[command(after_help = "\
Members and clients know the node by its key, whatever certificate it presents. What the authority issues goes into the node's folder, and \
its name into config.toml; the node presents it from the next connection on, and another one when that file changes.

Example:
  cryptonode certificate request --dir n1 --out n1.csr
  openssl x509 -req -in n1.csr -CA ca.pem -CAkey ca.key -copy_extensions copy -days 90 -out n1/node.pem
  printf '[tls]\\ncertificate = \"node.pem\"\\n' >> n1/config.toml")]
    Request {
        #[command(flatten)]
        dir: Dir,
        /// The file to write; standard output if absent.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
}

pub(super) fn run(command: &CertificateCommand, output: &mut Output) -> Result<(), Failure> {
    let CertificateCommand::Request { dir, out } = command;
    request(&dir.dir, out.as_deref(), output)
}

fn request(dir: &Path, out: Option<&Path>, output: &mut Output) -> Result<(), Failure> {
    let answer: Value = ask(dir, &Command::CertificateRequest {})?;
    let text = answer
        .get("request")
        .and_then(Value::as_str)
        .unwrap_or_default();
    match out {
        Some(path) => {
            write_private(path, text.as_bytes(), true)?;
            output.result(&answer, &[field("written", path.display())])
        }
        None if output.is_json() => output.result(&answer, &[] as &[String]),
        None => output.raw(text.as_bytes()),
    }
}
