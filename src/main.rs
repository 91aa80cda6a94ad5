//! The daemon and its command line: `camunda_backupd::main`.

fn main() -> std::process::ExitCode {
    camunda_backupd::main()
}
