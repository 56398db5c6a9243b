//! Documents: write, read, list.

use std::os::unix::fs::MetadataExt as _;
use std::path::{Path, PathBuf};

use clap::Args;
use indicatif::ProgressBar;
use serde_json::json;

use super::output::{field, table};
use super::{Connect, Failure, Output, audit, block_on, datasets, exit, output};
use crate::client::{GetOptions, Got, OnProgress, PartsOptions, PutOptions};
use crate::envelope::hash_items;
use crate::platform::{ByteRange, ReadReport};
use crate::record::Identifier;

/// Arguments of `put`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  coordinator put designs bridge bridge.pdf --content-type application/pdf
  tar c drawings | coordinator put designs drawings -")]
pub(super) struct Put {
    /// The dataset.
    #[arg(value_name = "DATASET")]
    dataset: Identifier,
    /// The document; a new version if it exists.
    #[arg(value_name = "DOCUMENT")]
    document: Identifier,
    /// The file, or - for standard input.
    #[arg(value_name = "FILE")]
    file: PathBuf,
    /// The version that must come next: refuse if somebody else wrote meanwhile.
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// Media type. It is public on the record: leave it out where it tells too much.
    #[arg(long, value_name = "TYPE")]
    content_type: Option<String>,
    /// Send it in parts whatever its size: what has arrived is not sent again after an interruption. Files of 64 MiB and more always
    /// are, and the same command goes on with them.
    #[arg(long)]
    in_parts: bool,
}

/// Bytes from which on a file is sent in parts.
const LARGE: u64 = 64 * 1024 * 1024;

/// Arguments of `get`.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  coordinator get designs bridge --out bridge.pdf
  coordinator get designs bridge --version 1 --out - | less
  coordinator get designs film --range 1048576- --out film.rest
  coordinator get designs bridge --end-to-end --keys verifiers.txt")]
pub(super) struct Get {
    /// The dataset.
    #[arg(value_name = "DATASET")]
    dataset: Identifier,
    /// The document.
    #[arg(value_name = "DOCUMENT")]
    document: Identifier,
    /// The version; the latest if not given.
    #[arg(long, value_name = "N")]
    version: Option<u64>,
    /// Only these bytes: FIRST-LAST, FIRST- or -COUNT, counted from 0.
    #[arg(long, value_name = "BYTES", allow_hyphen_values = true)]
    range: Option<ByteRange>,
    /// The file to write, or - for standard output; the document's name in this folder if not given.
    #[arg(long, short, value_name = "FILE")]
    out: Option<PathBuf>,
    /// The tenant that the dataset belongs to, if it is another one's that is open to the user.
    #[arg(long, value_name = "TENANT")]
    of_tenant: Option<Identifier>,
    /// Decrypt the document here: the platform gets neither its keys nor its plaintext, and all that it passes on is checked against the
    /// record.
    #[arg(long)]
    end_to_end: bool,
    /// With --end-to-end: file with the organisations' verifier keys, one in each line, got from the organisations themselves; that of
    /// the profile if not given.
    #[arg(long, value_name = "FILE", requires = "end_to_end")]
    keys: Option<PathBuf>,
    /// With --end-to-end: ask the crypto nodes from here, and not through the platform.
    #[arg(long, requires = "end_to_end")]
    ask_nodes: bool,
    /// With --ask-nodes: PEM file with the TLS key to ask them with, where the tenant reads by bound clients alone (`pki bind-client`); one that is drawn
    /// for this read if not given.
    #[arg(long, value_name = "FILE", requires = "ask_nodes")]
    client_key: Option<PathBuf>,
}

/// Arguments of `ls`.
#[derive(Debug, Args)]
pub(super) struct Ls {
    /// The dataset whose documents are listed; all datasets if not given.
    #[arg(value_name = "DATASET")]
    dataset: Option<Identifier>,
    /// The document whose versions are listed.
    #[arg(value_name = "DOCUMENT", requires = "dataset")]
    document: Option<Identifier>,
    /// The tenant that the dataset belongs to, if it is another one's that is open to the user.
    #[arg(long, value_name = "TENANT", requires = "dataset")]
    of_tenant: Option<Identifier>,
}

fn on_progress(bar: &ProgressBar) -> OnProgress {
    let bar = bar.clone();
    Box::new(move |bytes| bar.inc(bytes))
}

pub(super) fn put(command: Put, connect: &Connect, output: &Output) -> Result<(), Failure> {
    let client = connect.client()?;
    let Put {
        dataset,
        document,
        file,
        version,
        content_type,
        in_parts,
    } = command;
    let written = block_on(async {
        let (metadata, source): (_, Box<dyn tokio::io::AsyncRead + Send + Unpin>) =
            if file == Path::new("-") {
                (None, Box::new(tokio::io::stdin()))
            } else {
                let unreadable = |e: std::io::Error| {
                    Failure::new(
                        exit::FAILED,
                        "file-io",
                        format!("cannot read {}: {e}", file.display()),
                    )
                };
                let opened = tokio::fs::File::open(&file).await.map_err(unreadable)?;
                let metadata = opened.metadata().await.map_err(unreadable)?;
                if metadata.is_dir() {
                    let message = format!(
                        "{} is a folder: give a file, or pack it with tar and give -",
                        file.display()
                    );
                    return Err(Failure::new(exit::FAILED, "file-io", message));
                }
                (Some(metadata).filter(|it| it.is_file()), Box::new(opened))
            };
        let length = metadata.as_ref().map(std::fs::Metadata::len);
        let bar = output.progress(document.as_str(), length);
        let written = if in_parts || length.is_some_and(|length| length >= LARGE) {
            let user = client.user()?.to_string();
            let kind = content_type.clone().unwrap_or_default();
            let number = version.map(|it| it.to_string()).unwrap_or_default();
            let what = [dataset.as_str(), document.as_str(), &user, &kind, &number];
            let options = PartsOptions {
                version,
                content_type,
                tag: metadata.map(|it| tag(what, &file, &it)),
                on_progress: Some(on_progress(&bar)),
            };
            client
                .put_in_parts(&dataset, &document, source, options)
                .await
        } else {
            let options = PutOptions {
                version,
                content_type,
                on_progress: Some(on_progress(&bar)),
            };
            client.put(&dataset, &document, source, options).await
        };
        bar.finish_and_clear();
        Ok(written?)
    })?;
    let lines = [
        field(
            "document",
            format!("{dataset}/{document}, version {}", written.version),
        ),
        field("length", format!("{} bytes", written.length)),
        field("SHA-256", &written.sha256),
        field("block", written.receipt.height),
    ];
    let value = json!({ "dataset": dataset, "document": document, "written": written });
    output.result(&value, &lines)
}

/// Names this file as it is now, for what is to be written: another one, or a changed one, is another upload.
fn tag(what: [&str; 5], file: &Path, metadata: &std::fs::Metadata) -> String {
    let path = file.canonicalize().unwrap_or_else(|_| file.to_owned());
    let numbers = [
        metadata.len(),
        metadata.ino(),
        metadata.dev(),
        metadata.mtime().unsigned_abs(),
        metadata.mtime_nsec().unsigned_abs(),
    ];
    let numbers = numbers.map(u64::to_le_bytes).concat();
    let mut items: Vec<&[u8]> = what.iter().map(|it| it.as_bytes()).collect();
    items.extend([path.as_os_str().as_encoded_bytes(), &numbers]);
    hex::encode(hash_items("coordinator/v1/upload-tag", &items))
}

pub(super) fn get(command: &Get, connect: &Connect, output: &Output) -> Result<(), Failure> {
    let mut client = connect.client()?;
    let Get {
        dataset,
        document,
        version,
        range,
        out,
        of_tenant,
        end_to_end,
        keys,
        ask_nodes,
        client_key,
    } = command;
    let client_key = client_key.as_deref().map(super::pki::client_key);
    let client_key = client_key.transpose()?;
    if *end_to_end {
        let keys = match keys {
            Some(keys) => Some(keys.clone()),
            None => connect.verifiers()?,
        };
        if let Some(keys) = keys {
            client.pin_organisations(audit::verifier_keys(&keys)?);
        }
    }
    let named = out
        .clone()
        .unwrap_or_else(|| PathBuf::from(document.as_str()));
    if out.is_none() && named.exists() {
        let message = format!(
            "{} exists here: say with --out where the document should go",
            named.display()
        );
        return Err(Failure::new(exit::FAILED, "file-exists", message));
    }
    let out = named;
    let to_stdout = out == Path::new("-");
    if to_stdout {
        output.take_stdout();
    }
    let got = block_on(async {
        let bar = output.progress(document.as_str(), None);
        let progress = on_progress(&bar);
        let known = bar.clone();
        let on_length: OnProgress = Box::new(move |length| output::of_length(&known, length));
        let options = GetOptions {
            version: *version,
            range: *range,
            of_tenant: of_tenant.as_ref(),
            ask_nodes: *ask_nodes,
            client_key: client_key.as_ref().map(|it| it.as_str()),
            on_length: Some(&on_length),
            on_progress: Some(&progress),
        };
        let mut stdout = tokio::io::stdout();
        let got = match (to_stdout, end_to_end) {
            (true, false) => {
                client
                    .get_with(dataset, document, options, &mut stdout)
                    .await
            }
            (false, false) => client.get_to_file(dataset, document, options, &out).await,
            (true, true) => {
                client
                    .get_end_to_end(dataset, document, options, &mut stdout)
                    .await
            }
            (false, true) => {
                client
                    .get_end_to_end_to_file(dataset, document, options, &out)
                    .await
            }
        };
        bar.finish_and_clear();
        Ok(got?)
    })?;
    let lines = told(&got, dataset, document, &out);
    output.result(
        &json!({ "dataset": dataset, "document": document, "out": out, "got": got }),
        &lines,
    )
}

fn told(got: &Got, dataset: &Identifier, document: &Identifier, out: &Path) -> Vec<String> {
    let mut lines = vec![
        field(
            "document",
            format!("{dataset}/{document}, version {}", got.version),
        ),
        field(
            "file",
            match out.to_str() {
                Some("-") => format!("standard output, {} bytes", got.length),
                _ => format!("{}, {} bytes", out.display(), got.length),
            },
        ),
        field("SHA-256", &got.sha256),
    ];
    if let Some(verified) = &got.verified {
        lines.push(field("written by", &verified.writer));
        lines.push(field("opened", "here: the platform could not"));
        let signers = verified.signed_by.join(", ");
        lines.push(field("proven by", format!("heads that {signers} signed")));
    }
    let Some(report) = &got.report else {
        return lines;
    };
    lines.extend(phases(report));
    let node = |node: &crate::platform::NodeReport| {
        let took = node
            .millis
            .map(|ms| format!("{ms:.1} ms"))
            .unwrap_or_default();
        vec![
            node.name.clone(),
            node.outcome.clone(),
            took,
            node.message.clone().unwrap_or_default(),
        ]
    };
    if !report.nodes.is_empty() {
        let rows: Vec<Vec<String>> = report.nodes.iter().map(node).collect();
        lines.extend(table(&["crypto node", "did", "in", ""], &rows));
    }
    lines
}

fn phases(report: &ReadReport) -> Vec<String> {
    let phases = &report.phases;
    let rows: Vec<Vec<String>> = [
        ("permission on the record", phases.record_ms),
        ("approvals of the organisations", phases.approvals_ms),
        ("re-encryption by the crypto nodes", phases.cluster_ms),
        ("the master key", phases.master_key_ms),
        ("fetch of the body", phases.fetch_ms),
        ("checksum", phases.checksum_ms),
        ("decryption", phases.decrypt_ms),
        ("until the first byte", phases.first_byte_ms),
        ("in all", phases.total_ms),
    ]
    .into_iter()
    .map(|(phase, ms)| vec![phase.to_owned(), format!("{ms:.1} ms")])
    .collect();
    table(&["phase", "took"], &rows)
}

pub(super) fn ls(command: &Ls, connect: &Connect, output: &Output) -> Result<(), Failure> {
    let client = connect.client()?;
    let Some(dataset) = &command.dataset else {
        return datasets::ls(&client, output);
    };
    if let Some(document) = &command.document {
        let versions = block_on(async {
            Ok(match &command.of_tenant {
                Some(of) => client.shared_versions(of, dataset, document).await?,
                None => client.versions(dataset, document).await?,
            })
        })?;
        let rows: Vec<Vec<String>> = versions
            .iter()
            .map(|it| {
                vec![
                    it.version.to_string(),
                    it.length.to_string(),
                    it.encryption.clone(),
                    it.writer.clone(),
                ]
            })
            .collect();
        return output.result(
            &versions,
            &table(&["version", "bytes", "encryption", "writer"], &rows),
        );
    }
    let documents = block_on(async {
        Ok(match &command.of_tenant {
            Some(of) => client.shared_documents(of, dataset).await?,
            None => client.documents(dataset).await?,
        })
    })?;
    let rows: Vec<Vec<String>> = documents
        .iter()
        .map(|it| {
            let state = if it.erased { "erased" } else { "" };
            vec![
                it.document.to_string(),
                it.latest.to_string(),
                it.length.to_string(),
                state.to_owned(),
            ]
        })
        .collect();
    output.result(
        &documents,
        &table(&["document", "version", "bytes", ""], &rows),
    )
}
