//! Namespaces of this bench's own for processes, mounts and files, so that nothing of a run outlives it: whatever ends
//! the bench, be it a panic, Ctrl-C or SIGKILL, ends its first process in there, and with it the kernel ends all.
//!
//! Nothing has a name outside, so there is nothing to sweep: `/tmp` is memory of the run, the networks are namespaces
//! without a name, and TUN devices go with the process that opened them.

use std::process::{Command, ExitCode};

use nix::mount::{MsFlags, mount};
use nix::unistd::Uid;

use crate::support;

/// Set for the bench inside.
const INSIDE: &str = "QUICC_LINK_BENCH_INSIDE";
/// What a run needs, and which package has it.
const PROGRAMS: [(&str, &str); 6] = [
    ("setpriv", "util-linux"),
    ("unshare", "util-linux"),
    ("chrt", "util-linux"),
    ("ip", "iproute2"),
    ("gcc", "gcc"),
    ("g++", "g++"),
];

/// Whether this process is the one inside.
pub fn is_inside() -> bool {
    std::env::var_os(INSIDE).is_some()
}

/// Runs this program inside, with the same arguments, and gives its exit code.
pub fn run_inside() -> Result<ExitCode, String> {
    if !Uid::effective().is_root() {
        return Err("the link bench makes network namespaces and TUN devices: run it as root".to_owned());
    }
    if !std::path::Path::new("/dev/net/tun").exists() {
        return Err("/dev/net/tun is missing: modprobe tun".to_owned());
    }
    if support::QUICC.starts_with("/tmp/") {
        return Err(format!(
            "{} is out of sight in a run, which has its own /tmp",
            support::QUICC
        ));
    }
    for (program, package) in PROGRAMS {
        let found = ["/usr/sbin", "/usr/bin", "/sbin", "/bin"]
            .iter()
            .any(|directory| std::path::Path::new(directory).join(program).exists());
        if !found {
            return Err(format!("{program} is missing: apt-get install {package}"));
        }
    }
    let own = std::env::current_exe().map_err(|error| format!("this program: {error}"))?;
    // The death of this process kills `unshare`, whose death kills the first process inside.
    let status = Command::new("setpriv")
        .args(["--pdeathsig=KILL", "--", "unshare", "--mount", "--pid", "--fork"])
        .args(["--kill-child=KILL", "--mount-proc", "--"])
        .arg(own)
        .args(std::env::args_os().skip(1))
        .env(INSIDE, "1")
        .status()
        .map_err(|error| format!("setpriv: {error}"))?;
    let code = status.code().and_then(|code| u8::try_from(code).ok());
    Ok(ExitCode::from(code.unwrap_or(1)))
}

/// Gives the run a `/tmp` of its own.
pub fn furnish() -> Result<(), String> {
    let no_data: Option<&str> = None;
    mount(
        Some("quicc-link"),
        "/tmp",
        Some("tmpfs"),
        MsFlags::empty(),
        no_data,
    )
    .map_err(|error| format!("a file system in memory at /tmp: {error}"))
}
