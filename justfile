# Every command of the project. `just` alone lists them; `just ci` is what the continuous integration runs.

# list the commands
default:
    @just --list --unsorted

# the whole idea on a file of your own
demo *FILES:
    cargo run --release -- demo {{ FILES }}

# the tests that need nothing but cargo and openssl
test:
    cargo test --workspace

# the tests that need more: Python peers, network namespaces, an S3 server (installs what is missing)
test-system:
    bash tests/system/run

# a site of real processes under load and a schedule of faults: killed, stopped, cut off, disks full, clocks off, stores damaged, reshares;
# as root on machines of its own (`just soak 600 --seed 7`). A dev build: overflow checks and assertions are part of it
soak SECONDS="600" *ARGS:
    tests/soak/run {{ SECONDS }} {{ ARGS }}

# the same site for some minutes, with processes alone made to fail, as a test
soak-short:
    cargo test --workspace --test short --test load -- --include-ignored

# 500 clients that write and read for a minute, while two crypto nodes and an organisation's peer are killed and started again: `just load --clients 100`
load *ARGS:
    cargo run --quiet --package soak --bin load -- {{ ARGS }}

# format, lints, layers, licences
check: layers deny
    cargo fmt --all --check
    cargo clippy --workspace --all-targets -- -D warnings

# who may depend on whom
layers:
    bash .ci/layers

# licences, sources and banned crates, as far as it works offline
deny:
    cargo fetch --quiet --locked
    cargo deny --offline check licenses bans sources

# no branch and no address depends on a secret: under valgrind, and by measuring
constant-time:
    tests/constant_time/run

# what stands behind the binaries: unsafe code, crates, the list of components
supply-chain:
    .ci/supply-chain

# what deploy/ says, by the tools that will read it (`.ci/deploy install` gets them)
deploy-check:
    .ci/deploy

# every decoder and machine against hostile input, so many seconds each
fuzz SECONDS="5" *TARGETS:
    KEEP=no fuzz/run {{ SECONDS }} {{ TARGETS }}

# the whole system in a simulated world, so many histories; SIMULATE_LOG=… plays one again that failed
simulate SEEDS="20000":
    SIMULATE_SEEDS={{ SEEDS }} cargo test --workspace --test simulation -- --nocapture

# what takes hours: every fuzz target for minutes (what is new is kept in fuzz/corpus), constant time, 20,000 histories, an hour of faults;
# `just long 2 60 200` is the same in small. What fails stops nothing that comes after it, and is named at the end
long FUZZ="180" SOAK="3600" SEEDS="20000":
    #!/usr/bin/env bash
    set -uo pipefail
    failed=()
    part() {
        echo "== $*"
        SECONDS=0
        "$@" || failed+=("$*")
        echo "== $1: $SECONDS s"
    }
    part fuzz/run {{ FUZZ }}
    part tests/constant_time/run
    part just simulate {{ SEEDS }}
    part tests/soak/run {{ SOAK }}
    for one in "${failed[@]}"; do echo "failed: $one" >&2; done
    [ "${#failed[@]}" = 0 ]

# arithmetic, certificates, key generation and envelope, timed
bench *ARGS:
    cargo bench --workspace {{ ARGS }}

# what a key generation costs a member, 5 to 256 members, beside frost-core's
bench-ceremony *ARGS="--sweep":
    cargo run --release -p benches --bin ceremony -- {{ ARGS }}

# a key generation of 64 real nodes on this machine: 64 processes, over QUIC
ceremony-64 *ARGS:
    cargo run --release -p benches --bin ceremony -- --members 64 --real {{ ARGS }}

# a document of 10 GiB goes up in parts and comes back, in bounded memory; needs twice as much room on the disk
large BYTES="10737418240":
    LARGE_BYTES={{ BYTES }} cargo test --release -p coordinator --test system -- --ignored --nocapture very_large

# what a golden record of a million transactions takes
growth *ARGS:
    cargo run --release -p growth -- {{ ARGS }}

# instructions of the hot functions beside the committed baseline; `just bench-check --write` makes a new one
bench-check *ARGS:
    cargo run --quiet --release -p instructions -- check {{ ARGS }}

# experiments from a file to a report: `just sweep --list`, `just sweep run throughput --out DIR`
sweep *ARGS:
    cargo run --release -p benches --bin sweep -- {{ ARGS }}

# what the continuous integration runs, on a clean checkout
ci:
    bash .ci/run
