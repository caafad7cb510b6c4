//! How a job ends, and that nothing of it stays.

use std::fs;
use std::path::Path;
use std::process::Stdio;
use std::time::Duration;

use nix::libc::{EACCES, ENOENT, ENOEXEC};
use nix::sys::signal::{Signal, kill};
use quicc::host::process;
use quicc::sandbox::{End, Limit, SandboxError, Step, probe, run, run_until};

use crate::world::{BEAT, GENEROUS, World, as_each_user, left_over, quicc, runtime, shell, supervisors};

/// Names the world that the test executable uses when it plays the builder.
const BUILDER_WORLD: &str = "QUICC_TEST_BUILDER_WORLD";

/// Runs whose traces would add up.
const MANY: usize = 200;

#[test]
fn this_machine_makes_sandboxes() {
    as_each_user("ends::this_machine_makes_sandboxes", |_| async {
        let support = probe(&quicc()).await.unwrap();
        assert_eq!(support.job_uid, quicc::sandbox::job_uid());
    });
}

#[test]
fn exit_codes_and_signals_pass() {
    as_each_user("ends::exit_codes_and_signals_pass", |world| async move {
        for code in [0, 1, 127, 255] {
            assert_eq!(world.run(&format!("exit {code}")).await.end, End::Exited(code));
        }
        for signal in [2, 9, 11, 13] {
            assert_eq!(
                world.run(&format!("kill -{signal} $$")).await.end,
                End::Signaled(signal)
            );
        }
    });
}

#[test]
fn steps_follow_each_other_until_one_fails() {
    as_each_user(
        "ends::steps_follow_each_other_until_one_fails",
        |world| async move {
            let run = async |scripts: &[&str]| {
                let mut plan = world.plan("");
                plan.steps = scripts.iter().map(|script| shell(script)).collect();
                plan.limits.output_bytes = 100;
                world.try_run(&plan).await.unwrap()
            };
            let report = run(&["echo one; echo said >&2; echo kept >/scratch/t", "cat /scratch/t"]).await;
            assert_eq!(
                (report.stdout, report.stderr),
                (b"one\nkept\n".into(), b"said\n".into())
            );
            assert_eq!(report.end, End::Exited(0));
            let report = run(&["echo one", "exit 3", "echo never"]).await;
            assert_eq!((report.end, report.stdout), (End::Exited(3), b"one\n".into()));
            let report = run(&["kill -9 $$", "echo never"]).await;
            assert_eq!((report.end, report.stdout), (End::Signaled(9), Vec::new()));
            // What a step leaves running ends with the last one.
            let report = run(&["sleep 1000 & echo one", "echo two"]).await;
            assert_eq!(
                (report.end, report.stdout),
                (End::Exited(0), b"one\ntwo\n".into())
            );
            let much = "echo 0123456789012345678901234567890123456789012345678901234567890123456789";
            let report = run(&[much, "true", much]).await;
            assert_eq!(report.end, End::LimitExceeded(Limit::Output), "one limit for all");
        },
    );
}

#[test]
fn what_is_run_is_what_was_asked_for() {
    as_each_user("ends::what_is_run_is_what_was_asked_for", |world| async move {
        let mut plan = world.plan("");
        plan.steps[0].argv = vec![
            b"odd name".to_vec(),
            b"-c".to_vec(),
            b"echo \"$0 $PWD $A $(umask)\"; cat".to_vec(),
        ];
        plan.env.push((b"A".to_vec(), vec![b'x', 0xff, b' ']));
        plan.umask = 0o27;
        let report = world.try_run(&plan).await.unwrap();
        assert_eq!(report.stdout, b"odd name /build x\xff  0027\n");
        assert_eq!((report.end, report.stderr), (End::Exited(0), Vec::new()));
    });
}

#[test]
fn both_streams_arrive_whole_and_apart() {
    as_each_user("ends::both_streams_arrive_whole_and_apart", |world| async move {
        let report = world
            .run("head -c 5000001 /dev/zero >&2 & head -c 3000001 /dev/zero; echo end; wait")
            .await;
        assert_eq!(report.end, End::Exited(0));
        assert_eq!(report.stdout, [&vec![0; 3_000_001][..], b"end\n"].concat());
        assert!(report.stderr == vec![0; 5_000_001], "{}", report.stderr.len());
    });
}

#[test]
fn time_and_memory_are_reported() {
    as_each_user("ends::time_and_memory_are_reported", |world| async move {
        // The time is spent by a process that outlives the job's own.
        let script = "(i=0; while [ $i -lt 200000 ]; do i=$((i+1)); done; kill $$; sleep 1000) & wait";
        let report = world.run(script).await;
        assert_eq!(report.end, End::Signaled(15));
        let expected = Duration::from_millis(20)..report.wall * 2;
        assert!(expected.contains(&report.cpu), "{:?} {expected:?}", report.cpu);
        assert!(
            (100_000..1 << 28).contains(&report.peak_memory_bytes),
            "{}",
            report.peak_memory_bytes
        );
    });
}

#[test]
fn a_program_that_cannot_be_executed_is_no_exit_code() {
    as_each_user(
        "ends::a_program_that_cannot_be_executed_is_no_exit_code",
        |world| async move {
            fs::write(world.root().join("bin/text"), "neither ELF nor script").unwrap();
            let check = async |program: &str, errno| {
                let mut plan = world.plan("");
                plan.steps[0].program = program.into();
                match world.try_run(&plan).await {
                    Err(SandboxError::Exec {
                        program: named,
                        source,
                    }) => {
                        assert_eq!(
                            (named.as_path(), source.raw_os_error()),
                            (Path::new(program), Some(errno))
                        );
                    }
                    other => panic!("{program}: {other:?}"),
                }
            };
            check("/bin/absent", ENOENT).await;
            check("/bin/text", EACCES).await;
            world.make_executable("bin/text");
            check("/bin/text", ENOEXEC).await;
            let mut plan = world.plan("exit 0");
            plan.steps.push(Step {
                program: "/bin/later".into(),
                argv: vec![b"later".to_vec()],
            });
            let error = world.try_run(&plan).await.unwrap_err();
            assert_eq!(error.to_string(), "cannot execute /bin/later in a sandbox");
        },
    );
}

#[test]
fn a_failed_step_names_its_path() {
    as_each_user("ends::a_failed_step_names_its_path", |world| async move {
        let mut plan = world.plan("");
        plan.output_directories[0].target = "/absent".into();
        let error = world.try_run(&plan).await.unwrap_err();
        assert_eq!(error.to_string(), "cannot bind /absent in a sandbox");
        let mut plan = world.plan("");
        plan.cwd = "/nowhere".into();
        let error = world.try_run(&plan).await.unwrap_err();
        assert_eq!(
            error.to_string(),
            "cannot enter the working directory /nowhere in a sandbox"
        );
    });
}

#[test]
fn a_grandchild_left_behind_is_dead_on_return() {
    as_each_user(
        "ends::a_grandchild_left_behind_is_dead_on_return",
        |world| async move {
            let mut pulse = world.pulse();
            let report = world.run(&format!("{BEAT} sleep 1000 & exit 3")).await;
            assert_eq!(report.end, End::Exited(3));
            assert_eq!(left_over(&world), Vec::<String>::new());
            pulse.up().await;
            pulse.gone().await;
        },
    );
}

#[test]
fn dropping_the_future_ends_everything() {
    as_each_user("ends::dropping_the_future_ends_everything", |world| async move {
        let mut pulse = world.pulse();
        let plan = world.plan(&format!("{BEAT} sleep 1000 & sleep 1000"));
        let quicc = world.quicc();
        tokio::select! {
            report = run(&quicc, &plan) => panic!("{report:?}"),
            () = pulse.up() => {}
        }
        pulse.gone().await;
    });
}

#[test]
fn a_cancelled_run_returns_when_nothing_is_left() {
    as_each_user(
        "ends::a_cancelled_run_returns_when_nothing_is_left",
        |world| async move {
            let mut pulse = world.pulse();
            let plan = world.plan(&format!("{BEAT} sleep 1000 & sleep 1000"));
            let result = run_until(&world.quicc(), &plan, pulse.up()).await;
            assert!(matches!(result, Err(SandboxError::Cancelled)), "{result:?}");
            assert_eq!(left_over(&world), Vec::<String>::new());
        },
    );
}

#[test]
fn a_killed_builder_takes_its_job_along() {
    if let Some(directory) = builder_world() {
        let world = World::at(Path::new(&directory));
        let report = runtime().block_on(world.run(&format!("{BEAT} sleep 1000 & sleep 1000")));
        panic!("the job outlived its builder: {report:?}");
    }
    as_each_user("ends::a_killed_builder_takes_its_job_along", |world| async move {
        let mut pulse = world.pulse();
        let mut builder = process::command(&std::env::current_exe().unwrap(), Path::new("/"))
            .args(["--exact", "ends::a_killed_builder_takes_its_job_along"])
            .env(BUILDER_WORLD, world.directory())
            .stdout(Stdio::null())
            .spawn()
            .unwrap();
        pulse.up().await;
        builder.kill().unwrap();
        pulse.gone().await;
        assert!(!builder.wait().unwrap().success());
    });
}

#[expect(
    clippy::disallowed_methods,
    reason = "this process plays a part for another of the same test"
)]
fn builder_world() -> Option<std::ffi::OsString> {
    std::env::var_os(BUILDER_WORLD)
}

#[test]
fn a_sandbox_killed_from_outside_is_no_outcome() {
    as_each_user(
        "ends::a_sandbox_killed_from_outside_is_no_outcome",
        |world| async move {
            let mut pulse = world.pulse();
            let plan = world.plan(&format!("{BEAT} sleep 1000"));
            let kill_when_up = async {
                pulse.up().await;
                for process in supervisors(&world) {
                    kill(process, Signal::SIGKILL).unwrap();
                }
                pulse.gone().await;
            };
            let (result, ()) = tokio::join!(world.try_run(&plan), kill_when_up);
            assert!(matches!(result, Err(SandboxError::Vanished { .. })), "{result:?}");
            assert_eq!(left_over(&world), Vec::<String>::new());
        },
    );
}

#[test]
fn many_runs_leave_no_trace() {
    as_each_user("ends::many_runs_leave_no_trace", |world| async move {
        let mounts = || fs::read_to_string("/proc/self/mountinfo").unwrap();
        let plan = world.plan("sleep 1000 & true");
        world.try_run(&plan).await.unwrap();
        let before = mounts();
        for _ in 0..MANY {
            assert_eq!(world.try_run(&plan).await.unwrap().end, End::Exited(0));
        }
        assert_eq!(mounts(), before);
        assert_eq!(left_over(&world), Vec::<String>::new());
    });
}

#[test]
fn runs_beside_each_other_do_not_meet() {
    as_each_user("ends::runs_beside_each_other_do_not_meet", |world| async move {
        let plans: Vec<_> = (0..16)
            .map(|code| world.plan(&format!("echo {code}; exit {code}")))
            .collect();
        let quicc = world.quicc();
        let runs = plans.iter().map(|plan| run(&quicc, plan));
        let reports = tokio::time::timeout(GENEROUS, crate::world::all(runs))
            .await
            .unwrap();
        for (code, report) in (0u8..).zip(reports) {
            let report = report.unwrap();
            assert_eq!(
                (report.end, report.stdout),
                (End::Exited(code), format!("{code}\n").into_bytes())
            );
        }
    });
}
