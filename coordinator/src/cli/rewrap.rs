//! Rewrapping, and the master keys that it is about.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Args, Subcommand};
use indicatif::ProgressBar;
use serde_json::json;

use super::operator::PassphraseSource;
use super::output::{field, instant, table};
use super::{Connect, Failure, Output, block_on, exit};
use crate::client::{Client, ClientError};
use crate::folder::Folder;
use crate::master_key::{KeyInfo, MasterKey as _, SealedMasterKey};
use crate::platform::{MasterKeysView, now_ms};
use crate::record::Identifier;

/// How often a running platform is asked how far it is.
const ASK_EVERY: Duration = Duration::from_millis(250);

/// Commands about the master key.
#[derive(Debug, Subcommand)]
pub(super) enum MasterCommand {
    /// The master keys, what is under them, and how far the rewrapping is.
    Show,
    /// Make a new master key, wrap everything under it, and destroy the old one.
    #[command(after_help = "\
With an operator's API key in the profile the running platform does it, in the background; this waits for the end, and can
be broken off. With --dir it is done in the folder of a platform, or a peer, that does not run.

Examples:
  coordinator --profile D/client.toml key master rotate
  coordinator key master rotate --dir D --passphrase-file pass")]
    Rotate {
        /// Do not wait until everything is wrapped anew.
        #[arg(long)]
        detach: bool,
        /// Work in the folder of a platform or a peer that does not run.
        #[arg(long, value_name = "DIR", conflicts_with = "detach")]
        dir: Option<PathBuf>,
        #[command(flatten)]
        passphrase: PassphraseSource,
    },
}

/// Commands that wrap keys anew.
#[derive(Debug, Subcommand)]
pub(super) enum RewrapCommand {
    /// Wait until everything is under the platform's present master key.
    Platform,
    /// Wrap the keys of all versions of a dataset under the cluster key that it has now.
    #[command(after_help = "\
The user who signs must be an owner. Each version that is under another cluster key is read by the platform (approved and recorded as
any other read, but the body is not fetched) and wrapped anew. It can be broken off and run again: what is done is on the record.

Example, to move a dataset to another cluster:
  coordinator dataset configure designs --cluster 77aa…
  coordinator rewrap cluster designs")]
    Cluster(ClusterRewrap),
    /// How far a dataset is on its way to its present cluster key.
    Status {
        /// The dataset.
        #[arg(value_name = "DATASET")]
        dataset: Identifier,
    },
}

/// Arguments of `rewrap cluster`.
#[derive(Debug, Args)]
pub(super) struct ClusterRewrap {
    /// The dataset.
    #[arg(value_name = "DATASET")]
    dataset: Identifier,
}

pub(super) fn master(
    command: &MasterCommand,
    connect: &Connect,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        MasterCommand::Show => {
            let (client, key) = (connect.client()?, connect.operator_key()?);
            let keys = block_on(async { Ok(client.master_keys(key.expose()).await?) })?;
            output.result(&keys, &told(&keys))
        }
        MasterCommand::Rotate {
            dir: Some(dir),
            passphrase,
            ..
        } => rotate_in(dir, passphrase, output),
        MasterCommand::Rotate { detach, .. } => {
            let (client, key) = (connect.client()?, connect.operator_key()?);
            let keys = block_on(async {
                let keys = client.rotate_master_key(key.expose()).await?;
                match detach {
                    true => Ok(keys),
                    false => wait(&client, key.expose(), output).await,
                }
            })?;
            output.result(&keys, &told(&keys))
        }
    }
}

/// In a folder that nobody uses.
fn rotate_in(dir: &Path, passphrase: &PassphraseSource, output: &Output) -> Result<(), Failure> {
    let (folder, is_peer) = match Folder::open(dir) {
        Ok(folder) => (folder, false),
        Err(e) => (Folder::open_peer(dir).map_err(|_| e)?, true),
    };
    let _lock = folder.lock()?;
    let master = SealedMasterKey::open(&folder.master_key(), &passphrase.obtain(false)?)?;
    let made = block_on(async { Ok(master.rotate(now_ms()).await?) })?;
    let sealed = master.reseal(&folder.secrets())?;
    if is_peer {
        // A peer has nothing else under it.
        block_on(async {
            for old in master.keys().into_iter().skip(1) {
                master.retire(old.id).await?;
            }
            Ok(())
        })?;
    }
    let older: Vec<String> = master.keys().iter().skip(1).map(name).collect();
    let mut lines = vec![
        field("present master key", name(&made)),
        field("secrets wrapped anew", sealed),
    ];
    if !older.is_empty() {
        lines.push(field("older keys", older.join(", ")));
        lines.push("the version keys are wrapped anew when the platform runs; the older keys are destroyed then".to_owned());
    }
    let value = json!({ "present": name(&made), "secrets": sealed, "older": older });
    output.result(&value, &lines)
}

fn name(key: &KeyInfo) -> String {
    hex::encode(key.id)
}

/// Until nothing is left under an older key.
async fn wait(client: &Client, key: &str, output: &Output) -> Result<MasterKeysView, Failure> {
    let bar = output.progress_of_items("keys wrapped anew", 0);
    loop {
        let keys = client.master_keys(key).await?;
        bar.set_length(keys.rewrap.total);
        bar.set_position(keys.rewrap.done);
        if let Some(error) = &keys.rewrap.error {
            bar.finish_and_clear();
            let message = format!("the rewrapping broke off, and goes on by itself: {error}");
            return Err(Failure::new(exit::FAILED, "rewrap", message));
        }
        if keys.keys.len() < 2 && !keys.rewrap.running {
            bar.finish_and_clear();
            return Ok(keys);
        }
        tokio::time::sleep(ASK_EVERY).await;
    }
}

fn told(keys: &MasterKeysView) -> Vec<String> {
    let rows: Vec<Vec<String>> = keys
        .keys
        .iter()
        .map(|key| {
            let state = if key.present { "present" } else { "older" };
            vec![
                key.id.clone(),
                instant(key.made_ms),
                key.version_keys.to_string(),
                state.to_owned(),
            ]
        })
        .collect();
    let mut lines = table(&["master key", "made", "version keys", ""], &rows);
    let rewrap = &keys.rewrap;
    if rewrap.running {
        lines.push(field(
            "rewrapping",
            format!("{} of {}", rewrap.done, rewrap.total),
        ));
    }
    if let Some(error) = &rewrap.error {
        lines.push(field("the rewrapping broke off", error));
    }
    lines
}

pub(super) fn run(
    command: &RewrapCommand,
    connect: &Connect,
    output: &Output,
) -> Result<(), Failure> {
    match command {
        RewrapCommand::Platform => {
            let (client, key) = (connect.client()?, connect.operator_key()?);
            let keys = block_on(wait(&client, key.expose(), output))?;
            output.result(&keys, &told(&keys))
        }
        RewrapCommand::Status { dataset } => {
            let client = connect.client()?;
            let view = block_on(async { Ok(client.pending_rewraps(dataset, None).await?) })?;
            let (total, done) = (view.total.unwrap_or(0), view.done.unwrap_or(0));
            let line = match &view.cluster {
                Some(cluster) => format!("{done} of {total} versions are under {cluster}"),
                None => "the dataset is under no cluster key".to_owned(),
            };
            output.result(&view, &[field("rewrapped", line)])
        }
        RewrapCommand::Cluster(it) => {
            let client = connect.client()?;
            block_on(rewrap_dataset(&client, &it.dataset, output))
        }
    }
}

async fn rewrap_dataset(
    client: &Client,
    dataset: &Identifier,
    output: &Output,
) -> Result<(), Failure> {
    let mut part = client.pending_rewraps(dataset, None).await?;
    let Some(cluster) = part.cluster.clone() else {
        let message = format!(
            "{dataset} is under no cluster key: `coordinator dataset configure {dataset} --cluster KEY` first"
        );
        return Err(Failure::new(exit::REFUSED, "encryption-mismatch", message));
    };
    let mut key = [0; 32];
    hex::decode_to_slice(&cluster, &mut key).map_err(|_| {
        Failure::new(
            exit::FAILED,
            "platform-answer",
            "the platform names a cluster key that is none",
        )
    })?;
    let total = part.total.unwrap_or(0);
    let before = part.done.unwrap_or(0);
    let bar = output.progress_of_items("versions wrapped anew", total);
    bar.set_position(before);
    let mut done = 0_u64;
    while let Some(last) = part.pending.last().cloned() {
        for pending in &part.pending {
            let wrapped = client
                .rewrap(dataset, &pending.document, pending.version, &key)
                .await;
            settle(wrapped, &bar, done, total.saturating_sub(before))?;
            done += 1;
            bar.inc(1);
        }
        part = client.pending_rewraps(dataset, Some(&last)).await?;
    }
    bar.finish_and_clear();
    let value = json!({ "dataset": dataset, "cluster": cluster, "rewrapped": done, "before": before, "total": total });
    let line = format!("{done} versions, and {before} before, are under {cluster}");
    output.result(&value, &[field("rewrapped", line)])
}

/// What was erased or wrapped meanwhile is as good as done.
fn settle<T>(
    wrapped: Result<T, ClientError>,
    bar: &ProgressBar,
    done: u64,
    of: u64,
) -> Result<(), Failure> {
    match wrapped {
        Ok(_) => Ok(()),
        Err(ClientError::Problem { code, .. })
            if matches!(code.as_str(), "erased" | "key-replaced") =>
        {
            Ok(())
        }
        Err(e) => {
            bar.finish_and_clear();
            let e = Failure::from(e);
            let message = format!(
                "{} (done so far: {done} of {of}; run it again for the rest)",
                e.message
            );
            Err(Failure::new(e.exit.max(exit::FAILED), e.code, message))
        }
    }
}
