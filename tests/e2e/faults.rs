//! What a user does not notice, or hardly: parts that are killed, stopped or starved in the middle of a build.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{QUICC, World};

/// Bound on what should take a second; only tells slow from never on a loaded machine.
const LONG: Duration = Duration::from_secs(60);

/// A unit that keeps the compiler busy for minutes: a loop evaluated at compile time.
const ENDLESS: &str = "constexpr long spin() { long sum = 0; for (long n = 0; n < 4000000000; ++n) sum += n; return sum; }\n\
constexpr long value = spin();\nlong f() { return value; }\n";
const ENDLESS_FLAGS: &str = "-std=c++17 -fconstexpr-ops-limit=90000000000 -fconstexpr-loop-limit=2000000000";

fn world() -> World {
    let world = World::new();
    world.write("a.c", "#include <stdio.h>\nint f(void) { return puts(\"a\"); }\n");
    world.write("endless.cc", ENDLESS);
    world
}

/// Looks again and again until `look` finds something.
fn await_event<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < LONG, "{what} did not come");
        std::thread::yield_now();
    }
}

/// Processes whose command line holds `mark`, other than wrappers and shells.
fn compilers(mark: &str) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            let program = line.split('\0').next()?.rsplit('/').next()?.to_owned();
            (line.contains(mark) && program.starts_with("cc1")).then_some(pid)
        })
        .collect()
}

fn start_endless(world: &World, mark: &str) -> Child {
    let arguments: Vec<_> = ENDLESS_FLAGS.split(' ').collect();
    let mut command = world.command(QUICC);
    command
        .arg("g++")
        .args(arguments)
        .arg(format!("-D{mark}"))
        .args(["-c", "endless.cc", "-o", "endless.o"]);
    command.stdout(Stdio::null()).stderr(Stdio::null());
    command.spawn().unwrap()
}

fn agent_pid(world: &World) -> i32 {
    let output = world.quicc(&["agent", "status"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    i32::try_from(status["pid"].as_i64().unwrap()).unwrap()
}

fn signal(pid: i32, signal: nix::sys::signal::Signal) {
    nix::sys::signal::kill(nix::unistd::Pid::from_raw(pid), signal).unwrap();
}

#[test]
fn a_killed_wrapper_takes_its_compile_along() {
    let world = world();
    let mark = format!("KILLED_{}", std::process::id());
    let mut wrapper = start_endless(&world, &mark);
    await_event("the compiler", || compilers(&mark).first().copied());
    wrapper.kill().unwrap();
    wrapper.wait().unwrap();
    await_event("the end of the compiler", || {
        compilers(&mark).is_empty().then_some(())
    });
    assert!(!world.exists("endless.o"));
}

#[test]
fn an_agent_killed_in_the_middle_leaves_a_local_compile() {
    let world = world();
    assert!(world.quicc(&["gcc", "-c", "a.c", "-o", "a.o"]).status.success());
    let expected = world.read("a.o");
    let mark = format!("ORPHAN_{}", std::process::id());
    let mut wrapper = start_endless(&world, &mark);
    let remote = await_event("the compiler", || compilers(&mark).first().copied());
    signal(agent_pid(&world), nix::sys::signal::Signal::SIGKILL);
    // The sandbox dies with its farm, and the wrapper becomes the compiler.
    await_event("the local compiler", || {
        compilers(&mark).into_iter().find(|pid| *pid != remote)
    });
    await_event("the end of the sandbox", || {
        (!compilers(&mark).contains(&remote)).then_some(())
    });
    compilers(&mark)
        .into_iter()
        .for_each(|pid| signal(pid, nix::sys::signal::Signal::SIGKILL));
    wrapper.wait().unwrap();
    // A new agent takes over what the killed one left.
    let (output, summary) = world.run("rm a.o; gcc -c a.c -o a.o");
    assert!(
        output.status.success() && summary.remote() == 1,
        "{}",
        world.explain(&output)
    );
    assert!(expected == world.read("a.o"));
}

#[test]
fn a_stopped_agent_does_not_hang_the_build() {
    let world = world();
    assert!(world.quicc(&["gcc", "-c", "a.c", "-o", "a.o"]).status.success());
    let pid = agent_pid(&world);
    signal(pid, nix::sys::signal::Signal::SIGSTOP);
    let started = Instant::now();
    let output = world.quicc(&["gcc", "-c", "a.c", "-o", "b.o"]);
    signal(pid, nix::sys::signal::Signal::SIGCONT);
    assert!(output.status.success() && world.read("a.o") == world.read("b.o"));
    assert!(started.elapsed() < LONG, "{:?}", started.elapsed());
}

#[test]
fn a_stopped_agent_is_remembered_until_it_answers_again() {
    let world = world();
    assert!(world.quicc(&["gcc", "-c", "a.c", "-o", "a.o"]).status.success());
    let pid = agent_pid(&world);
    let mark = world.home().join("state/agent-lost");
    signal(pid, nix::sys::signal::Signal::SIGSTOP);
    assert!(world.quicc(&["gcc", "-c", "a.c", "-o", "b.o"]).status.success());
    signal(pid, nix::sys::signal::Signal::SIGCONT);
    // Those who come now do not ask, though it would answer.
    let ledger = world.at("ledger");
    let compile = || {
        std::fs::write(&ledger, "").unwrap();
        let mut command = world.command(QUICC);
        command.env("QUICC_LEDGER", &ledger);
        let output = command.args(["gcc", "-c", "a.c", "-o", "b.o"]).output().unwrap();
        assert!(output.status.success(), "{}", world.explain(&output));
        std::fs::read_to_string(&ledger).unwrap()
    };
    let fate = compile();
    assert!(fate.starts_with("fallback agent-lost"), "{fate}");
    let long_ago = std::time::SystemTime::now() - Duration::from_secs(3600);
    let file = std::fs::File::options().write(true).open(&mark).unwrap();
    file.set_modified(long_ago).unwrap();
    // Its own farm may have given it up meanwhile.
    let fate = compile();
    assert!(!fate.contains("agent-lost") && !mark.exists(), "{fate}");
}

#[test]
fn whoever_starts_an_agent_and_is_stopped_holds_up_nobody() {
    let world = world();
    let state = world.home().join("state");
    std::fs::create_dir_all(&state).unwrap();
    let file = std::fs::File::create(state.join("agent-start.lock")).unwrap();
    let lock = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusive).unwrap();
    let mut command = world.command("timeout");
    command
        .args([&LONG.as_secs().to_string(), QUICC])
        .args(["gcc", "-c", "a.c", "-o", "a.o"]);
    let output = command.output().unwrap();
    assert!(
        output.status.success() && world.exists("a.o"),
        "{}",
        world.explain(&output)
    );
    drop(lock);
    assert!(!world.socket().exists() && state.join("agent-start-failed").exists());
}

#[test]
fn a_full_disk_under_the_builder_costs_only_speed() {
    let world = world();
    let cache: PathBuf = world.home().join("cache");
    std::fs::create_dir_all(&cache).unwrap();
    let script = format!(
        "mount -t tmpfs -o size=8m none {} && {QUICC} run -- sh -c 'gcc -c a.c -o a.o && g++ -c a.c -o b.o'; code=$?; \
         {QUICC} agent stop >/dev/null; exit $code",
        cache.display()
    );
    let output = world
        .command("unshare")
        .args(["--mount", "sh", "-c", &script])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", world.explain(&output));
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(said.contains("0 units remote, 2 local"), "{said}");
    assert!(world.local("gcc -c a.c -o l.o && cmp l.o a.o").status.success());
}

#[test]
fn without_a_usable_home_the_compiler_just_runs() {
    let world = world();
    for (name, value) in [("QUICC_HOME", "/proc/nowhere"), ("QUICC_DISABLE", "1")] {
        let mut command = world.command(QUICC);
        command.env(name, value).args(["gcc", "-c", "a.c", "-o", "a.o"]);
        let output = command.output().unwrap();
        assert!(
            output.status.success() && output.stderr.is_empty(),
            "{name}: {output:?}"
        );
    }
}

#[test]
fn an_interrupted_build_ends_and_leaves_nothing_running() {
    let world = world();
    let mark = format!("INTERRUPT_{}", std::process::id());
    let script = format!("{QUICC} run -- sh -c 'g++ {ENDLESS_FLAGS} -D{mark} -c endless.cc -o endless.o'");
    let mut command = Command::new("setsid");
    command.args(["--wait", "sh", "-c", &format!("echo $$ > pid; exec {script}")]);
    let prepared = world.command("true");
    for (name, value) in prepared.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let mut build = command
        .current_dir(world.source())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    await_event("the compiler", || compilers(&mark).first().copied());
    let leader: i32 = String::from_utf8(world.read("pid"))
        .unwrap()
        .trim()
        .parse()
        .unwrap();
    nix::sys::signal::killpg(
        nix::unistd::Pid::from_raw(leader),
        nix::sys::signal::Signal::SIGINT,
    )
    .unwrap();
    assert!(!build.wait().unwrap().success());
    await_event("the end of the compiler", || {
        compilers(&mark).is_empty().then_some(())
    });
    assert!(!world.exists("endless.o"));
}
