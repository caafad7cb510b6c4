//! Parses the command line far enough to know which part of quicc is meant.

fn main() -> std::process::ExitCode {
    match std::env::args_os().nth(1) {
        Some(command) if command == quicc::sandbox::INIT_COMMAND => quicc::sandbox::init_main(),
        Some(command) if command == quicc::sandbox::SUPERVISE_COMMAND => quicc::sandbox::supervise_main(),
        _ => std::process::ExitCode::FAILURE,
    }
}
