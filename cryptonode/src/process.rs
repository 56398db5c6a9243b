//! What the process does so that its secrets stay in memory: no core dumps, no swapping.

use rustix::mm::{MlockAllFlags, mlockall};
use rustix::process::{
    DumpableBehavior, Resource, Rlimit, getrlimit, set_dumpable_behavior, setrlimit,
};
use rustix::thread::{CapabilitySet, capabilities};

/// Turns core dumps off: they would put the data key and the shares on the disk. The limit alone does not stop a system that hands
/// them to a program (`core_pattern`), nor one that raises it; and other processes of this user cannot look into this one any more.
pub fn forbid_core_dumps() {
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    if let Err(error) = setrlimit(Resource::Core, none) {
        tracing::warn!(%error, "core dumps could not be turned off");
    }
    if let Err(error) = set_dumpable_behavior(DumpableBehavior::NotDumpable) {
        tracing::warn!(%error, "the process could not be kept from being dumped");
    }
}

/// Keeps the process's memory out of swap, if the process is allowed to lock all of it.
///
/// A limit on locked memory that is not infinite would later have allocations fail and the process die: then nothing is
/// locked, and the reason says what to set.
///
/// # Errors
/// Why memory is not locked, in a sentence.
pub fn lock_memory() -> Result<(), String> {
    let limit = getrlimit(Resource::Memlock);
    let privileged =
        capabilities(None).is_ok_and(|sets| sets.effective.contains(CapabilitySet::IPC_LOCK));
    if let (Some(bytes), false) = (limit.current, privileged) {
        return Err(format!(
            "only {} KiB may be locked (LimitMEMLOCK=infinity in the unit lets all of it)",
            bytes / 1024
        ));
    }
    // Pages are locked when they are first used, not all that is reserved.
    let flags = MlockAllFlags::CURRENT | MlockAllFlags::FUTURE | MlockAllFlags::ONFAULT;
    mlockall(flags).map_err(|error| format!("the system refuses to lock it: {error}"))
}
