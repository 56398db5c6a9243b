//! Exit statuses, so that scripts need not read sentences.

/// Done.
pub(super) const DONE: u8 = 0;
/// It failed for a reason that none of the others names.
pub(super) const FAILED: u8 = 1;
/// The command line is wrong.
pub(super) const USAGE: u8 = 2;
/// Settings, a profile, a key or a descriptor is wrong.
pub(super) const CONFIGURATION: u8 = 3;
/// No passphrase, or the wrong one.
pub(super) const PASSPHRASE: u8 = 4;
/// Another process works in the folder.
pub(super) const IN_USE: u8 = 5;
/// The platform cannot be reached, or is busy.
pub(super) const UNREACHABLE: u8 = 6;
/// Something was damaged or exchanged.
pub(super) const DAMAGED: u8 = 7;
/// The record, the organisations or the crypto nodes refuse.
pub(super) const REFUSED: u8 = 8;

/// The table and the first steps, for `--help`.
pub(super) const HELP: &str = "\
Exit status: 0 done; 1 failed; 2 wrong command line; 3 wrong settings, profile, key or descriptor; 4 no or wrong \
passphrase; 5 folder in use; 6 platform not reachable or busy; 7 something damaged or exchanged; 8 refused by the \
record, the organisations or the crypto nodes.

A platform:
  coordinator init --dir D --organisation alder --organisation birch \\
    --organisation cedar --approvals 2
  coordinator cluster add --dir D cluster.json
  coordinator run --dir D

Its users:
  export COORDINATOR_PROFILE=D/client.toml
  coordinator user add alice --new-key alice.pem
  coordinator dataset create designs --encryption threshold
  coordinator grant designs reader alice
  coordinator put designs bridge bridge.pdf
  coordinator --user alice --key alice.pem get designs bridge -o copy.pdf
  coordinator audit export --out record.export";
