//! What a job sees of files, and which it can change.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, symlink};

use nix::unistd::{getegid, geteuid};
use quicc::sandbox::{Bind, End, job_uid};

use crate::world::as_each_user;

#[test]
fn the_root_is_read_only_and_holds_nothing_of_the_host() {
    as_each_user(
        "files::the_root_is_read_only_and_holds_nothing_of_the_host",
        |world| async move {
            fs::set_permissions(world.root(), Permissions::from_mode(0o777)).unwrap();
            let report = world
                .run("echo x > /new; rm /bin/true; chmod 777 /build; ls /; ls /etc /tmp /home")
                .await;
            let stderr = String::from_utf8(report.stderr).unwrap();
            assert_eq!(stderr.matches("Read-only file system").count(), 3, "{stderr}");
            assert_eq!(stderr.matches("No such file or directory").count(), 3, "{stderr}");
            assert!(world.root().join("bin/true").exists());
            let mut expected: Vec<_> = fs::read_dir(world.root())
                .unwrap()
                .map(|entry| entry.unwrap().file_name())
                .collect();
            expected.sort();
            let listed: Vec<_> = String::from_utf8(report.stdout)
                .unwrap()
                .lines()
                .map(std::ffi::OsString::from)
                .collect();
            assert_eq!(listed, expected);
        },
    );
}

#[test]
fn outputs_land_on_the_host_as_the_jobs_user() {
    as_each_user(
        "files::outputs_land_on_the_host_as_the_jobs_user",
        |world| async move {
            let report = world
                .run("echo object > /out/a.o; echo $TMPDIR > /scratch/t")
                .await;
            assert_eq!((report.end, report.stderr), (End::Exited(0), Vec::new()));
            let output = world.host("out").join("a.o");
            assert_eq!(fs::read(&output).unwrap(), b"object\n");
            let metadata = fs::metadata(&output).unwrap();
            let expected = job_uid().unwrap_or((geteuid().as_raw(), getegid().as_raw()));
            assert_eq!(
                (metadata.uid(), metadata.gid(), metadata.mode() & 0o777),
                (expected.0, expected.1, 0o644)
            );
            assert!(world.host("scratch").join("t").exists());
            assert!(!world.root().join("out/a.o").exists());
        },
    );
}

#[test]
fn a_protected_file_is_the_mirrors_own_and_stays() {
    as_each_user(
        "files::a_protected_file_is_the_mirrors_own_and_stays",
        |world| async move {
            let shipped = world.root().join("out/shipped.h");
            fs::write(&shipped, "shipped").unwrap();
            fs::set_permissions(&shipped, Permissions::from_mode(0o666)).unwrap();
            fs::create_dir_all(world.root().join("out/sub")).unwrap();
            fs::write(world.host("out").join("shipped.h"), "").unwrap();
            let _ = world.host("out/sub");
            let mut plan = world.plan(
                "cat /out/shipped.h; stat -c ' %i' /out/shipped.h /out/sub
             echo x > /out/shipped.h; rm -f /out/shipped.h; mv /out/shipped.h /out/x; echo x > /out/sub/x",
            );
            for name in ["shipped.h", "sub"] {
                let inside = format!("/out/{name}");
                plan.protected.push(Bind {
                    source: world.root().join(&inside[1..]),
                    target: inside.into(),
                });
            }
            let report = world.try_run(&plan).await.unwrap();
            let inode = |path| fs::metadata(world.root().join(path)).unwrap().ino();
            let expected = format!("shipped {}\n {}\n", inode("out/shipped.h"), inode("out/sub"));
            assert_eq!(String::from_utf8_lossy(&report.stdout), expected);
            let stderr = String::from_utf8(report.stderr).unwrap();
            assert_eq!(stderr.lines().count(), 4, "{stderr}");
            assert_eq!(fs::read(&shipped).unwrap(), b"shipped");
            assert!(!world.root().join("out/sub/x").exists());
        },
    );
}

#[test]
fn links_of_the_mirror_lead_nowhere_else() {
    as_each_user(
        "files::links_of_the_mirror_lead_nowhere_else",
        |world| async move {
            let secret = world.host("secret");
            fs::write(secret.join("key"), "secret").unwrap();
            symlink("/out", world.root().join("build/link")).unwrap();
            symlink(&secret, world.root().join("outside")).unwrap();
            let mut plan = world.plan("echo x > /out/through_the_link");
            plan.output_directories[0].target = "/build/link".into();
            assert_eq!(world.try_run(&plan).await.unwrap().end, End::Exited(0));
            assert!(world.host("out").join("through_the_link").exists());

            let mut plan = world.plan("cat /build/key");
            fs::write(world.root().join("build/key"), "").unwrap();
            plan.protected = vec![Bind {
                source: world.root().join("outside/key"),
                target: "/build/key".into(),
            }];
            let error = world.try_run(&plan).await.unwrap_err().to_string();
            assert!(error.ends_with("/root/outside/key in a sandbox"), "{error}");
        },
    );
}

#[test]
fn poison_is_loud() {
    as_each_user("files::poison_is_loud", |world| async move {
        let closed = world.root().join("build/closed");
        fs::create_dir(&closed).unwrap();
        fs::write(closed.join("a.h"), "a").unwrap();
        fs::set_permissions(&closed, Permissions::from_mode(0o444)).unwrap();
        symlink("loop.h", world.root().join("build/loop.h")).unwrap();
        let report = world
            .run("cat closed/a.h; cat loop.h; ls closed >/dev/null 2>&1; exit 7")
            .await;
        fs::set_permissions(&closed, Permissions::from_mode(0o755)).unwrap();
        let stderr = String::from_utf8(report.stderr).unwrap();
        let expected = "cat: closed/a.h: Permission denied\ncat: loop.h: Too many levels of symbolic links\n";
        assert_eq!((stderr.as_str(), report.end), (expected, End::Exited(7)));
    });
}

#[test]
fn a_mirror_without_proc_and_dev_is_none_the_worse() {
    as_each_user(
        "files::a_mirror_without_proc_and_dev_is_none_the_worse",
        |world| async move {
            fs::remove_dir(world.root().join("proc")).unwrap();
            fs::remove_dir(world.root().join("dev")).unwrap();
            let report = world.run("cat; ls /proc /dev; sleep 0.2; exit 4").await;
            let stderr = String::from_utf8(report.stderr).unwrap();
            assert_eq!(stderr.matches("No such file or directory").count(), 2, "{stderr}");
            assert_eq!(report.end, End::Exited(4));
        },
    );
}
