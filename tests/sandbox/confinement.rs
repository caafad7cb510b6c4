//! What a job can reach of the machine and of its own sandbox.

use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::MetadataExt;

use nix::unistd::{Gid, geteuid, setgroups};
use quicc::sandbox::End;

use crate::world::as_each_user;

#[test]
fn a_job_is_nobody_and_may_nothing() {
    as_each_user(
        "confinement::a_job_is_nobody_and_may_nothing",
        |world| async move {
            if geteuid().is_root() {
                setgroups(&[Gid::from_raw(4242)]).unwrap();
            }
            let report = world.run("id -u; id -g; cat /proc/self/status").await;
            let stdout = String::from_utf8(report.stdout).unwrap();
            assert!(stdout.starts_with("1000\n1000\n"), "{stdout}");
            for line in ["CapInh", "CapPrm", "CapEff", "CapAmb"] {
                assert!(
                    stdout.contains(&format!("{line}:\t0000000000000000\n")),
                    "{stdout}"
                );
            }
            assert!(stdout.contains("NoNewPrivs:\t1\n"), "{stdout}");
            // Only root can drop the groups it was started with.
            assert!(
                !geteuid().is_root() || stdout.contains("Groups:\t \n"),
                "{stdout}"
            );
            for line in ["SigIgn:\t", "SigBlk:\t"] {
                let value = stdout.split_once(line).unwrap().1.split_once('\n').unwrap().0;
                // Those from 32 on are the C library's own, and glibc's posix_spawn leaves two ignored.
                assert_eq!(
                    u64::from_str_radix(value, 16).unwrap() & 0x7fff_ffff,
                    0,
                    "{stdout}"
                );
            }
        },
    );
}

#[test]
fn further_namespaces_are_refused() {
    as_each_user(
        "confinement::further_namespaces_are_refused",
        |world| async move {
            let report = world.run("unshare --user true || unshare --net true").await;
            let stderr = String::from_utf8(report.stderr).unwrap();
            assert_eq!(stderr.matches("unshare failed").count(), 2, "{stderr}");
        },
    );
}

#[test]
fn every_namespace_is_its_own() {
    as_each_user("confinement::every_namespace_is_its_own", |world| async move {
        let report = world
            .run("cd /proc/self/ns; for n in user mnt pid net ipc uts; do stat -L -c \"$n %i\" $n; done")
            .await;
        let stdout = String::from_utf8(report.stdout).unwrap();
        assert_eq!(stdout.lines().count(), 6, "{stdout}");
        for line in stdout.lines() {
            let (name, inode) = line.split_once(' ').unwrap();
            let ours = std::fs::metadata(format!("/proc/self/ns/{name}")).unwrap().ino();
            assert_ne!(inode, ours.to_string(), "{name}");
        }
    });
}

#[test]
fn there_is_no_network() {
    as_each_user("confinement::there_is_no_network", |world| async move {
        let report = world
            .run("cat /proc/net/dev; cat /proc/net/if_inet6 /proc/net/route")
            .await;
        let stdout = String::from_utf8(report.stdout).unwrap();
        let devices: Vec<&str> = stdout
            .lines()
            .filter_map(|line| line.split_once(':'))
            .map(|(name, _)| name)
            .collect();
        assert_eq!(devices, ["    lo"], "{stdout}");
        // A loopback that is up has the address ::1.
        assert!(!stdout.contains("00000000000000000000000000000001"), "{stdout}");
    });
}

#[test]
fn only_its_own_processes_exist() {
    as_each_user("confinement::only_its_own_processes_exist", |world| async move {
        let report = world.run("cd /proc; echo [0-9]*; cat sys/kernel/hostname").await;
        assert_eq!(String::from_utf8_lossy(&report.stdout), "1 2\nquicc\n");
        let report = world
            .run("(echo x >/proc/1/fd/1); cat /proc/1/environ; kill -9 1; kill -19 1; exit 5")
            .await;
        let stderr = String::from_utf8(report.stderr).unwrap();
        assert_eq!(stderr.matches("Permission denied").count(), 2, "{stderr}");
        assert_eq!(report.end, End::Exited(5));
    });
}

#[test]
fn descriptors_of_the_builder_stay_with_it() {
    as_each_user(
        "confinement::descriptors_of_the_builder_stay_with_it",
        |world| async move {
            let leak = std::fs::File::open("/").unwrap();
            // A duplicate by dup(2) is not closed on exec, as what a careless parent leaves open.
            let leaked = nix::unistd::dup(leak.as_fd()).unwrap();
            let number = leaked.as_raw_fd();
            let script = format!("for fd in 2 {number}; do test -e /proc/self/fd/$fd && echo $fd; done");
            let report = world.run(&script).await;
            assert_eq!(String::from_utf8_lossy(&report.stdout), "2\n");
        },
    );
}

#[test]
fn devices_are_the_harmless_ones() {
    as_each_user("confinement::devices_are_the_harmless_ones", |world| async move {
        let report = world
            .run("ls /dev; echo x > /dev/null; head -c 3 /dev/urandom | head -c 0; echo y > /dev/stdout; echo z > /dev/new")
            .await;
        let stdout = String::from_utf8(report.stdout).unwrap();
        let expected = "fd\nfull\nnull\nrandom\nstderr\nstdin\nstdout\nurandom\nzero\ny\n";
        assert_eq!(stdout, expected);
        let stderr = String::from_utf8(report.stderr).unwrap();
        assert!(
            stderr.lines().count() == 1 && stderr.contains("/dev/new: Read-only file system"),
            "{stderr}"
        );
    });
}
