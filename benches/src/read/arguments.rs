//! The command line of `read`.

use std::path::PathBuf;

use clap::Parser;
use threshold_exchange::site::RecordEngine;

const EXAMPLES: &str = "\
Examples:
  sweep instrument read                                   3 of 5 nodes, 3 of 4 organisations, a document of 16 KiB
  sweep instrument read --organisations 8 --approvals 5   more to agree
  sweep instrument read --engine simplex                  the organisations' peers agree by consensus
  sweep instrument read --bytes 16777216 --requests 20    a document of 16 MiB";

/// Where the time of a whole read goes: golden record, approvals, cluster, body.
///
/// It starts a whole site as `demo` does, writes a document, reads it again and again, one read after the other, and prints the
/// platform's own account of each.
#[derive(Parser, Clone, Debug)]
#[command(name = "read", version, after_help = EXAMPLES)]
pub struct Arguments {
    /// Crypto nodes, n
    #[arg(long, default_value_t = 5, value_name = "N")]
    pub members: u16,
    /// How many of them re-encrypt together, t
    #[arg(long, default_value_t = 3, value_name = "T")]
    pub threshold: u16,
    /// Organisations that keep the golden record, each with a peer of its own
    #[arg(long, default_value_t = 4, value_name = "COUNT")]
    pub organisations: u16,
    /// How many of them must approve a read
    #[arg(long, default_value_t = 3, value_name = "M")]
    pub approvals: u16,
    /// What orders the golden record: solo, in the platform's process, or simplex, each organisation's peer a process of its own
    #[arg(long, value_enum, default_value_t = RecordEngine::Solo)]
    pub engine: RecordEngine,
    /// Length of the document
    #[arg(long, default_value_t = 16_384, value_name = "BYTES")]
    pub bytes: u64,
    /// Reads
    #[arg(long, default_value_t = 200, value_name = "COUNT")]
    pub requests: u32,
    /// Reads before them that are not counted
    #[arg(long, default_value_t = 20, value_name = "COUNT")]
    pub warm_up: u32,
    /// Write a line of JSON for each read to this file
    #[arg(long, value_name = "FILE")]
    pub records: Option<PathBuf>,
    /// Leave the site's folder in place when done
    #[arg(long)]
    pub keep: bool,
    /// How much the processes write to their logs: error, warn, info, debug, trace
    #[arg(long, value_name = "LEVEL", default_value = "info")]
    pub log: String,
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub json: bool,
}
