//! The command line of `record`.

use clap::Parser;
use std::path::PathBuf;

const EXAMPLES: &str = "\
Examples:
  record                                              4 organisations on loopback
  record --organisations 4,7,10 --clients 1,64        one after the other, and under load
  record --round-trip-ms 0,20,100 --payload 64,2048   between machines that are far apart";

/// How long a transaction takes to become final on the golden record, and how many do in a second, beside the bare order.
///
/// Every organisation's peer is a process of its own; so is every member of the bare order, in the same run on the same machine. The bare order takes the very same number of
/// bytes and does nothing with them. What lies between is what the record does: signatures, rules, state, its own durable store, and HTTP.
#[derive(Parser, Clone, Debug)]
#[command(name = "record", version, after_help = EXAMPLES)]
pub struct Arguments {
    /// Organisations, each with a peer of its own
    #[arg(long, value_delimiter = ',', default_value = "4", value_name = "N")]
    pub organisations: Vec<usize>,
    /// Bytes of the body that a transaction writes onto the record, at most 2048
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "256",
        value_name = "BYTES"
    )]
    pub payload: Vec<usize>,
    /// Round-trip time between any two peers, by relays of this process; 0 for none. Precise to a millisecond
    #[arg(long, value_delimiter = ',', default_value = "0", value_name = "MS")]
    pub round_trip_ms: Vec<u64>,
    /// Clients, each of which submits its next transaction when the last is final
    #[arg(
        long,
        value_delimiter = ',',
        default_value = "1,64",
        value_name = "COUNT"
    )]
    pub clients: Vec<usize>,
    /// How long each point is measured, after a fifth as long that is not
    #[arg(long, default_value_t = 10.0, value_name = "S")]
    pub seconds: f64,
    /// Write a line of JSON for each transaction to this file
    #[arg(long, value_name = "FILE")]
    pub records: Option<PathBuf>,
    /// Leave the peers' folders in place when done
    #[arg(long)]
    pub keep: bool,
    /// Print one JSON document instead of a table
    #[arg(long)]
    pub json: bool,
}
