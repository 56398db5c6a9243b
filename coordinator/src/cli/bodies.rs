//! The body store, seen from the platform's folder.

use std::time::Duration;

use clap::Subcommand;
use serde_json::json;

use super::operator::Dir;
use super::output::{field, table};
use super::{Failure, Output, block_on};
use crate::body_store::BodyStore;
use crate::config::Config;
use crate::platform::{PlatformError, piece_pointers};

/// Commands about the body store.
#[derive(Debug, Subcommand)]
pub(super) enum BodiesCommand {
    /// Find objects of the store that nothing speaks of, and remove them if asked to; the platform may run meanwhile.
    #[command(after_help = "\
There should be none: the platform removes what was never committed when it starts, and what is erased at once. There are some when
bodies.sqlite or parts.sqlite was lost. Do not remove them while those are lost, nor where another platform uses the same bucket with
the same prefix: its bodies look like orphans from here.

Examples:
  coordinator bodies orphans --dir D
  coordinator bodies orphans --dir D --remove")]
    Orphans {
        #[command(flatten)]
        dir: Dir,
        /// Remove them.
        #[arg(long)]
        remove: bool,
        /// Only what has lain there for so many hours.
        #[arg(long, value_name = "HOURS", default_value_t = 24)]
        hours: u32,
    },
}

pub(super) fn run(command: &BodiesCommand, output: &Output) -> Result<(), Failure> {
    let BodiesCommand::Orphans { dir, remove, hours } = command;
    let folder = dir.open()?;
    let config = Config::read(&folder.config())?;
    let failed = |e: PlatformError| {
        let (code, message) = (e.code(), e.to_string());
        Failure::new(super::exit::FAILED, code, message)
    };
    let found = block_on(async {
        let find = async {
            let store = BodyStore::open(&config.bodies, &folder.bodies(), &folder.uploads())?
                .with_index(&folder.body_index())?;
            let age = Duration::from_secs(u64::from(*hours) * 3600);
            let pieces = || piece_pointers(&folder.parts());
            let found = store.orphans(age, pieces).await?;
            if *remove {
                for orphan in &found.orphans {
                    store.remove_orphan(orphan).await?;
                }
            }
            Ok::<_, PlatformError>(found)
        };
        find.await.map_err(failed)
    })?;
    let bytes: u64 = found.orphans.iter().map(|it| it.bytes).sum();
    let rows: Vec<Vec<String>> = found
        .orphans
        .iter()
        .map(|it| vec![it.object.clone(), it.bytes.to_string()])
        .collect();
    let mut lines = vec![
        field("objects", found.objects),
        field("orphans", format!("{}, {bytes} bytes", rows.len())),
    ];
    if !rows.is_empty() {
        lines.extend(table(&["object", "bytes"], &rows));
        lines.push(if *remove {
            "they are removed".to_owned()
        } else {
            "say --remove to remove them".to_owned()
        });
    }
    let value = json!({ "objects": found.objects, "orphans": found.orphans, "removed": remove });
    output.result(&value, &lines)
}
