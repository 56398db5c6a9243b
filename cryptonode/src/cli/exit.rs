//! Exit statuses, so that scripts need not read sentences.

/// Done.
pub const DONE: u8 = 0;
/// It failed for a reason that none of the others names.
pub const FAILED: u8 = 1;
/// The command line is wrong.
pub const USAGE: u8 = 2;
/// Configuration, policy or a card is wrong.
pub const CONFIGURATION: u8 = 3;
/// No passphrase, or the wrong one.
pub const PASSPHRASE: u8 = 4;
/// Another process works in the folder.
pub const IN_USE: u8 = 5;
/// No node is running there, or there is no node in the folder.
pub const NO_NODE: u8 = 6;
/// The store or the audit log is damaged or was set back.
pub const DAMAGED: u8 = 7;
/// The ceremony failed, or is rejected or abandoned.
pub const CEREMONY: u8 = 8;

/// The doctor has found something that is not in order.
pub const UNWELL: u8 = 9;

/// The cluster gave no result.
pub const CLUSTER: u8 = 10;

/// The table, for `--help`.
pub(super) const HELP: &str = "\
Exit status: 0 done; 1 failed; 2 wrong command line; 3 wrong configuration, policy or card; 4 no or wrong passphrase; \
5 folder in use; 6 no node there, or none running; 7 damaged store or audit log; 8 the ceremony failed; 9 the doctor found something; \
10 the cluster gave no result.

Examples:
  cryptonode init --dir n1 --name n1 --listen 192.0.2.1:7700 --passphrase-file pass --phrase-out words
  cryptonode card --dir n1 > n1.card
  cryptonode member add --dir n1 n2.card n3.card
  cryptonode policy set --dir n1 policy.toml
  cryptonode run --dir n1 --passphrase-file pass
  cryptonode ceremony propose --dir n1 --threshold 2
  cryptonode ceremony status --dir n1 --wait
  cryptonode key export --dir n1 > cluster.json
  cryptonode request send --help";
