//! What a user does not notice, or hardly: parts that are killed, stopped or starved in the middle of a build.

use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use crate::support::{QUICC, World, without_summary};

/// Bound on what should take a second; only tells slow from never on a loaded machine.
const LONG: Duration = Duration::from_secs(60);

/// A unit that keeps the compiler busy for minutes: a loop evaluated at compile time.
const ENDLESS: &str = "constexpr long spin() { long sum = 0; for (long n = 0; n < 4000000000; ++n) sum += n; return sum; }\n\
constexpr long value = spin();\nlong f() { return value; }\n";
const ENDLESS_FLAGS: &str = "-std=c++17 -fconstexpr-ops-limit=90000000000 -fconstexpr-loop-limit=2000000000";

/// The same for clang.
const CLANG_ENDLESS_FLAGS: &str = "-std=c++17 -fconstexpr-steps=4294967295";

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
    programs("cc1", mark)
}

/// Processes of programs whose name begins with `name` and whose command line holds `mark`.
fn programs(name: &str, mark: &str) -> Vec<i32> {
    let processes = std::fs::read_dir("/proc").unwrap().flatten();
    processes
        .filter_map(|entry| {
            let pid = entry.file_name().to_str()?.parse().ok()?;
            let line = std::fs::read(entry.path().join("cmdline")).ok()?;
            let line = String::from_utf8_lossy(&line).into_owned();
            // A wrapper has the compiler's name and another program.
            let program = std::fs::read_link(entry.path().join("exe")).ok()?;
            let program = program.file_name()?.to_str()?.to_owned();
            (line.contains(mark) && program.starts_with(name)).then_some(pid)
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

/// The compiler proper of gcc is a program of its own, and clang's only on request.
#[test]
fn a_killed_remote_compiler_leaves_a_local_compile() {
    let apart = format!("{CLANG_ENDLESS_FLAGS} -fno-integrated-cc1");
    let world = world();
    // Endless for the builder and not for whoever comes later.
    world.write("endless.cc", &ENDLESS.replace("4000000000", "LIMIT"));
    for (number, (compiler, flags, name)) in [
        ("g++", ENDLESS_FLAGS, "cc1plus"),
        ("clang++", CLANG_ENDLESS_FLAGS, "clang"),
        ("clang++", &apart, "clang"),
    ]
    .into_iter()
    .enumerate()
    {
        let mark = format!("SHOT_{number}_{}", std::process::id());
        let unit = format!(
            "{compiler} {flags} -D{mark} -include limit.h -c endless.cc -o endless.o; echo \"code $?\""
        );
        world.write("limit.h", "#define LIMIT 4\n");
        let local = world.local(&unit);
        let expected = world.read("endless.o");
        std::fs::remove_file(world.at("endless.o")).unwrap();
        world.write("limit.h", "#define LIMIT 4000000000\n");
        let (output, summary) = std::thread::scope(|scope| {
            let build = scope.spawn(|| world.run(&unit));
            let is_proper = |pid: &i32| {
                let line = std::fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
                flags != apart || line.split(|byte| *byte == 0).nth(1) == Some(b"-cc1")
            };
            let remote = await_event("the compiler", || {
                programs(name, &mark).into_iter().find(is_proper)
            });
            world.write("limit.h", "#define LIMIT 4\n");
            signal(remote, nix::sys::signal::Signal::SIGKILL);
            build.join().unwrap()
        });
        let what = format!("{compiler} {flags}: {}", world.explain(&output));
        assert_eq!(
            (summary.remote(), summary.reason("compile-failed")),
            (0, 1),
            "{what}"
        );
        assert_eq!(local.stdout, output.stdout, "{what}");
        assert_eq!(
            String::from_utf8_lossy(&local.stderr),
            without_summary(&output.stderr),
            "{what}"
        );
        assert!(expected == world.read("endless.o"), "{what}");
    }
}

/// It tells where it left what it was given and how it was called.
#[test]
fn a_clang_that_crashes_leaves_what_it_leaves_locally() {
    // A stack trace has other addresses each time, and the files other names.
    let shape = |stderr: &str, files: &[String]| {
        let mut text = stderr.to_owned();
        for file in files {
            text = text.replace(file, "FILE");
        }
        let traced = |line: &&str| !line.trim_start().starts_with('#');
        let shape: Vec<_> = text.lines().filter(traced).map(str::to_owned).collect();
        shape
    };
    let world = World::new();
    let temporary = world.at("temporary");
    std::fs::create_dir(&temporary).unwrap();
    let left = || {
        let names = std::fs::read_dir(&temporary).unwrap().flatten();
        let mut paths: Vec<_> = names.map(|entry| entry.path().display().to_string()).collect();
        paths.sort();
        paths
    };
    for pragma in ["crash", "parser_crash"] {
        for flags in ["", "-fno-integrated-cc1"] {
            world.write(
                "a.c",
                &format!("int a;\n#pragma clang __debug {pragma}\nint f(void) {{ return a; }}\n"),
            );
            let unit = format!("TMPDIR=$PWD/temporary clang {flags} -c a.c -o a.o; echo \"code $?\"");
            let local = world.local(&unit);
            let files = left();
            let expected = shape(&String::from_utf8_lossy(&local.stderr), &files);
            files.iter().for_each(|file| std::fs::remove_file(file).unwrap());
            let (output, summary) = world.run(&unit);
            let what = format!("{pragma} {flags}");
            assert_eq!(
                (summary.remote(), summary.reason("compile-failed")),
                (0, 1),
                "{what}: {}",
                world.explain(&output)
            );
            assert_eq!(local.stdout, output.stdout, "{what}");
            let again = left();
            assert_eq!(
                expected,
                shape(&without_summary(&output.stderr), &again),
                "{what}"
            );
            let endings = |files: &[String]| -> Vec<_> {
                files
                    .iter()
                    .map(|file| file.rsplit('.').next().map(str::to_owned))
                    .collect()
            };
            assert!(!files.is_empty(), "{what}: {}", world.explain(&local));
            assert_eq!(endings(&files), endings(&again), "{what}");
            assert!(!world.exists("a.o"), "{what}");
            again.iter().for_each(|file| std::fs::remove_file(file).unwrap());
        }
    }
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
