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

# arithmetic, certificates, key generation and envelope, timed
bench *ARGS:
    cargo bench --workspace {{ ARGS }}

# what a key generation costs a member, 5 to 256 members, beside frost-core's
bench-ceremony *ARGS="--sweep":
    cargo run --release -p benches --bin ceremony -- {{ ARGS }}

# a key generation of 64 real nodes on this machine: 64 processes, over QUIC
ceremony-64 *ARGS:
    cargo run --release -p benches --bin ceremony -- --members 64 --real {{ ARGS }}

# what the continuous integration runs, on a clean checkout
ci:
    bash .ci/run
