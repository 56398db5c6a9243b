//! The fuzzer: libFuzzer on the target that the environment variable `FUZZ_TARGET` names. Started by `fuzz/run`.
#![no_main]

use std::sync::LazyLock;

use fuzz::Target;

static TARGET: LazyLock<Target> = LazyLock::new(|| {
    let name = std::env::var("FUZZ_TARGET").unwrap_or_default();
    #[allow(clippy::panic, reason = "there is nothing to fuzz")]
    fuzz::target(&name).unwrap_or_else(|| panic!("FUZZ_TARGET={name}: no such target"))
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = (TARGET.run)(data);
});
