//! Every limit ends the run and says which it was.

use std::time::Duration;

use quicc::sandbox::{End, Limit, Limits};

use crate::world::{World, as_each_user, left_over};

#[expect(clippy::unwrap_used, reason = "clippy sees tests only in test functions")]
async fn check(world: &World, script: &str, limit: Limit, lower: impl FnOnce(&mut Limits)) {
    let mut plan = world.plan(script);
    lower(&mut plan.limits);
    let report = world.try_run(&plan).await.unwrap();
    assert_eq!(report.end, End::LimitExceeded(limit), "{script}");
    assert!((report.stdout.len() + report.stderr.len()) as u64 <= plan.limits.output_bytes);
    assert_eq!(left_over(world), Vec::<String>::new(), "{script}");
}

#[test]
fn wall() {
    as_each_user("limits::wall", |world| async move {
        let wall = Duration::from_millis(200);
        check(&world, "sleep 1000", Limit::Wall, |limits| limits.wall = wall).await;
        check(&world, "exec >&- 2>&-; sleep 1000", Limit::Wall, |limits| {
            limits.wall = wall
        })
        .await;
        check(&world, "kill -STOP $$", Limit::Wall, |limits| limits.wall = wall).await;
    });
}

#[test]
fn cpu() {
    as_each_user("limits::cpu", |world| async move {
        let cpu = Duration::from_millis(300);
        check(&world, "while :; do :; done", Limit::Cpu, |limits| {
            limits.cpu = cpu
        })
        .await;
        check(&world, "while :; do true; (true); done", Limit::Cpu, |limits| {
            limits.cpu = cpu
        })
        .await;
        check(&world, "exit 1", Limit::Cpu, |limits| limits.cpu = Duration::ZERO).await;
    });
}

#[test]
fn memory() {
    as_each_user("limits::memory", |world| async move {
        check(&world, "tail /dev/zero", Limit::Memory, |limits| {
            limits.memory_bytes = 64 << 20
        })
        .await;
    });
}

#[test]
fn processes() {
    as_each_user("limits::processes", |world| async move {
        let lower = |limits: &mut Limits| limits.processes = 20;
        check(&world, "while :; do sleep 1000 & done", Limit::Processes, lower).await;
    });
}

#[test]
fn output() {
    as_each_user("limits::output", |world| async move {
        let lower = |limits: &mut Limits| limits.output_bytes = 1 << 20;
        check(&world, "cat /dev/zero", Limit::Output, lower).await;
        check(&world, "cat /dev/zero >&2", Limit::Output, lower).await;
        check(&world, "head -c 1048577 /dev/zero", Limit::Output, lower).await;
    });
}

#[test]
fn file() {
    as_each_user("limits::file", |world| async move {
        let lower = |limits: &mut Limits| limits.file_bytes = 1000;
        check(
            &world,
            "exec head -c 1001 /dev/zero > /out/large",
            Limit::File,
            lower,
        )
        .await;
    });
}
