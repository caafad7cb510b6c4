//! Machines that allow less, played by user namespaces of their own.

use std::path::Path;

use quicc::host::process;
use quicc::sandbox::{End, Obstacle, SandboxError, job_uid, probe};

use crate::world::{World, as_each_user, quicc, runtime};

/// Set in a process that runs on such a machine.
const MACHINE: &str = "QUICC_TEST_MACHINE";

/// Runs the test called `name` as root of a user namespace that has no other user, after `preparation`.
#[expect(clippy::unwrap_used, reason = "clippy sees tests only in test functions")]
fn on_a_machine(name: &str, preparation: &str) {
    let script = format!("{preparation} exec \"$0\" --exact {name} --nocapture");
    let output = process::command(Path::new("/usr/bin/unshare"), Path::new("/"))
        .args([
            "--user",
            "--map-root-user",
            "--mount",
            "/bin/sh",
            "-e",
            "-c",
            &script,
        ])
        .arg(std::env::current_exe().unwrap())
        .env("PATH", "/usr/bin:/bin")
        .env(MACHINE, name)
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("1 passed"),
        "{said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

#[expect(
    clippy::disallowed_methods,
    reason = "this process plays a part for another of the same test"
)]
fn is_on_a_machine() -> bool {
    std::env::var_os(MACHINE).is_some()
}

fn check(name: &str, preparation: &str, expected: Obstacle) {
    if !is_on_a_machine() {
        as_each_user(name, |_| async { on_a_machine(name, preparation) });
        return;
    }
    match runtime().block_on(probe(&quicc())) {
        Err(SandboxError::Unsupported { obstacle, .. }) => assert_eq!(obstacle, expected),
        other => panic!("{other:?}"),
    }
}

#[test]
fn a_limit_of_no_namespaces() {
    let preparation = "echo 0 > /proc/sys/user/max_user_namespaces;";
    check(
        "obstacles::a_limit_of_no_namespaces",
        preparation,
        Obstacle::NamespaceLimit,
    );
}

#[test]
fn a_masked_proc() {
    check(
        "obstacles::a_masked_proc",
        "mount -t tmpfs none /proc/fs;",
        Obstacle::MaskedProc,
    );
}

#[test]
fn root_without_other_users() {
    let name = "obstacles::root_without_other_users";
    if !is_on_a_machine() {
        as_each_user(name, |_| async { on_a_machine(name, "") });
        return;
    }
    assert_eq!(job_uid(), None);
    let report = runtime().block_on(World::new().run("id -u"));
    assert_eq!((report.end, report.stdout), (End::Exited(0), b"1000\n".to_vec()));
}
