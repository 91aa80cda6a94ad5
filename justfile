# The commands of daily work. Each one is a plain command or script, so that `just` is optional.

export CAMUNDA_BACKUPD := justfile_directory() / "target/release/camunda-backupd"

# List the recipes
default:
    @just --list --unsorted

# Build the release binary
build:
    cargo build --release

# Build the archive that is shipped, with its SHA-256 sums
dist:
    .ci/dist

# Run every test, or those whose name contains FILTER
test *FILTER:
    cargo test {{ FILTER }}

# Check formatting, lints, both settings of the feature `sim`, licences, bans and sources
lint:
    cargo fmt --check
    cargo clippy --all-targets --quiet -- -D warnings
    cargo clippy --no-default-features --quiet -- -D warnings
    cargo deny check licenses bans sources

# Run everything that must pass before a change lands
ci:
    .ci/run

# Run the full counts: crash tests, soak, reproducible builds
long:
    .ci/long

# Run one integration job of tests/jobs against the release binary, for example `just job kill_loop`
job NAME *ARGUMENTS: build
    tests/jobs/{{ NAME }}/run {{ ARGUMENTS }}

# Kill one daemon again and again while it takes backups
kill_loop *ARGUMENTS: (job "kill_loop" ARGUMENTS)

# Kill a daemon that serves a fleet of clusters
kill_fleet *ARGUMENTS: (job "kill_fleet" ARGUMENTS)

# Cut the power of the state file's disk
power_loss *ARGUMENTS: (job "power_loss" ARGUMENTS)

# Run the daemon under systemd
systemd *ARGUMENTS: (job "systemd" ARGUMENTS)

# Call the simulation with Camunda's Python SDK
python_sdk *ARGUMENTS: (job "python_sdk" ARGUMENTS)

# Run the snapshot calls against OpenSearch
opensearch *ARGUMENTS: (job "opensearch" ARGUMENTS)

# Back up, damage and restore a cluster that the caller provides
own_cluster *ARGUMENTS: (job "own_cluster" ARGUMENTS)

# Measure the figures of docs/proof.md
figures *ARGUMENTS: (job "figures" ARGUMENTS)
