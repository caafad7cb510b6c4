//! quicc beside other programs that stand in for compilers or run builds: ccache, cargo, make in make, quicc in
//! quicc; and command lines and names that such chains carry.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::process::{Command, Output, Stdio};
use std::time::Instant;

use crate::support::{FarmFiles, LONG, QUICC, World, await_event, without_summary};

fn world() -> World {
    let world = World::new();
    world.write("a.h", "#define A 7\n");
    world.write("a.c", "#include \"a.h\"\nint a(void) { return A; }\n");
    world.write(
        "b.c",
        "#include <string.h>\nint b(const char *text) { return (int)strlen(text); }\n",
    );
    world
}

fn executable(world: &World, path: &str, text: &str) {
    world.write(path, text);
    std::fs::set_permissions(world.at(path), PermissionsExt::from_mode(0o755)).unwrap();
}

/// The script's output; it must end, and well.
fn ends(world: &World, mut command: Command) -> Output {
    let started = Instant::now();
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", world.explain(&output));
    assert!(started.elapsed() < LONG, "{:?}", started.elapsed());
    output
}

fn shell(world: &World, script: &str) -> Command {
    let mut command = world.command("timeout");
    // A chain that never ends must fail the test, not hang it.
    command.args(["--kill-after=1", &LONG.as_secs().to_string(), "sh", "-c", script]);
    command
}

fn same_as_local(world: &World, flags: &str, names: &[&str]) {
    for name in names {
        let script =
            format!("gcc {flags} -c {name}.c -o expected.o && cmp expected.o {name}.o && rm expected.o");
        let output = world.local(&script);
        assert!(output.status.success(), "{name}: {}", world.explain(&output));
    }
}

#[test]
fn ccache_in_front_sends_its_misses_and_answers_its_hits() {
    let version = Command::new("ccache").arg("--version").output();
    assert!(version.is_ok(), "apt-get install ccache");
    let world = world();
    let directory = Path::new(QUICC).parent().unwrap().display();
    let build = format!(
        "export CCACHE_PREFIX=quicc CCACHE_DIR=$HOME/ccache PATH=$PATH:{directory}; \
         for name in a b; do ccache gcc -O1 -g -c $name.c -o $name.o || exit; done; ccache --print-stats"
    );
    let counter = |output: &Output, name: &str| -> u64 {
        let text = String::from_utf8_lossy(&output.stdout).into_owned();
        let value = |line: &str| line.strip_prefix(name)?.trim().parse().ok();
        text.lines()
            .find_map(value)
            .unwrap_or_else(|| panic!("{name} in {text}"))
    };
    let hits =
        |output: &Output| counter(output, "direct_cache_hit\t") + counter(output, "preprocessed_cache_hit\t");
    let (first, summary) = world.run(&build);
    assert!(first.status.success(), "{}", world.explain(&first));
    assert_eq!(
        (summary.remote(), summary.fallbacks(), hits(&first)),
        (2, 0, 0),
        "{summary:?} {}",
        world.agent_log()
    );
    same_as_local(&world, "-O1 -g", &["a", "b"]);
    assert!(world.local("rm *.o").status.success());
    let (second, summary) = world.run(&build);
    assert_eq!((summary.remote(), hits(&second)), (0, 2), "{summary:?}");
    same_as_local(&world, "-O1 -g", &["a", "b"]);
}

#[test]
fn cargo_builds_with_quicc_as_its_rustc_wrapper() {
    let world = World::new();
    let manifest = "[package]\nname = 'tiny'\nversion = '0.1.0'\nedition = '2021'\n[workspace]\n";
    world.write("Cargo.toml", manifest);
    world.write("src/main.rs", "fn main() { println!(\"built\"); }\n");
    let cargo = Path::new(env!("CARGO"));
    let tools = cargo.parent().unwrap().display();
    let script = format!(
        "PATH={tools}:$PATH CARGO_HOME=$HOME/cargo RUSTC_WRAPPER={QUICC} {QUICC} run -- \
         {} build --offline --quiet && target/debug/tiny",
        cargo.display()
    );
    let output = ends(&world, shell(&world, &script));
    assert_eq!(String::from_utf8_lossy(&output.stdout), "built\n");
    let local = &world.status()["local"];
    assert!(
        local["unknown-compiler"].as_u64() > Some(0),
        "rustc came to the agent: {local}"
    );
}

#[test]
fn quicc_in_quicc_wraps_once() {
    let world = world();
    world.write(
        "Makefile",
        &format!("all:\n\t{QUICC} run -- $(MAKE) -s -f inner.mk\n"),
    );
    world.write(
        "inner.mk",
        &format!(
            "all: a.o b.o\n\t$(CC) -E a.c -o /dev/null\n\
             %.o: %.c\n\t{QUICC} {QUICC} $(CC) -O1 -c $< -o $@\n"
        ),
    );
    let output = ends(&world, shell(&world, &format!("{QUICC} run -- make -s -j4")));
    let status = world.status();
    assert_eq!(
        (&status["remote"], &status["local"]),
        (
            &serde_json::json!(2),
            &serde_json::json!({ "preprocess-only": 1 })
        ),
        "{}",
        world.explain(&output)
    );
    same_as_local(&world, "-O1", &["a", "b"]);
}

#[test]
fn a_compiler_that_calls_our_link_again_is_left_behind() {
    let world = world();
    // Links are made by the first run.
    assert!(world.run("true").0.status.success());
    let link = world.home().join("state/links/gcc");
    let script = format!("#!/bin/sh\necho called >&2\nexec {} \"$@\"\n", link.display());
    executable(&world, "script/gcc", &script);
    // Unlike a script it looks like a compiler, and is asked about itself.
    world.write(
        "program.c",
        &format!(
            "#include <unistd.h>\nint main(int count, char **arguments) {{\n\
             if (write(2, \"called\\n\", 7) != 7) return count;\n\
             execv(\"{}\", arguments);\nreturn count; }}\n",
            link.display()
        ),
    );
    let compiled = world.local("mkdir program && gcc program.c -o program/gcc");
    assert!(compiled.status.success(), "{}", world.explain(&compiled));
    for (kind, disabled) in [("script", ""), ("program", ""), ("script", "QUICC_DISABLE=1 ")] {
        let script = format!(
            "rm -f a.o; export PATH=$PWD/{kind}:$PATH; {disabled}{QUICC} run -- gcc -O1 -c a.c -o a.o"
        );
        let output = ends(&world, shell(&world, &script));
        assert_eq!(without_summary(&output.stderr), "called\n", "{kind} {disabled}");
        same_as_local(&world, "-O1", &["a"]);
    }
}

#[test]
fn a_jobserver_reaches_through_quicc_in_both_directions() {
    let world = World::new();
    world.write(
        "Makefile",
        &format!(
            "parts = one two three\nall: $(parts)\n$(parts):\n\t+{QUICC} run -- $(MAKE) -s -C $@\n.PHONY: $(parts)\n"
        ),
    );
    for part in ["one", "two", "three"] {
        world.write(
            &format!("{part}/Makefile"),
            "all: sub a.o b.o\nsub:\n\t+$(MAKE) -s -C . c.o\n.PHONY: sub\n",
        );
        for unit in ["a", "b", "c"] {
            world.write(
                &format!("{part}/{unit}.c"),
                &format!("int {part}_{unit} = {};\n", part.len()),
            );
        }
    }
    let output = ends(&world, shell(&world, &format!("{QUICC} run -- make -s -j4")));
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert!(!said.contains("jobserver"), "{said}");
    assert_eq!(world.status()["remote"], 9, "{said}");
    for part in ["one", "two", "three"] {
        let [a, b, c] = ["a", "b", "c"].map(|unit| format!("{part}/{unit}"));
        same_as_local(&world, "", &[&a, &b, &c]);
    }
}

#[test]
fn long_command_lines_travel() {
    let world = world();
    // Few and long: gcc hands all its options to its programs in one variable, which the kernel bounds by 128 kB.
    let value = "v".repeat(240);
    let definitions: String = (0..400)
        .map(|number| format!("-DNAME_{number}={value}{number} "))
        .collect();
    assert!(definitions.len() > 100_000);
    world.write("definitions", &definitions);
    world.write(
        "use.c",
        "#define TEXT(x) #x\n#define SHOW(x) TEXT(x)\nconst char *text = SHOW(NAME_0) SHOW(NAME_399);\n",
    );
    world.write("include dir/deep.h", "#define DEEP 1\n");
    world.write(
        "nested",
        "-I \"include dir\" '-DQUOTED=\"a b\"' -DESCAPED=a\\ b -include deep.h",
    );
    world.write("arguments", "-O1 @nested @definitions\n");
    let summary = world.compare(
        "rm -f *.o",
        "for c in gcc clang; do $c -O1 $(cat definitions) -c use.c -o $c-argv.o; \
         $c @arguments -c use.c -o $c-file.o; $c -x c @definitions -c use.c -g -o $c-g.o; done",
    );
    assert_eq!(
        (summary.remote(), summary.local()),
        (6, 0),
        "{summary:?} {}",
        world.agent_log()
    );
}

#[test]
fn odd_names_travel() {
    let world = World::new();
    let odd: [&[u8]; 7] = [b"a b", b"a,b", b"a#b", b"caf\xe9", b"a$b", b"a'b", b"-dash:colon"];
    for name in odd {
        let directory = world.source().join(OsStr::from_bytes(&[b"dir ", name].concat()));
        std::fs::create_dir(&directory).unwrap();
        let file = |extension: &[u8]| directory.join(OsStr::from_bytes(&[name, extension].concat()));
        std::fs::write(file(b".h"), "#define VALUE 3\n").unwrap();
        let include = [b"#include \"", name, b".h\"\n"].concat();
        let text = [&include[..], b"int value = 1;\nconst char *file = __FILE__;\n"].concat();
        std::fs::write(file(b".c"), text).unwrap();
    }
    let summary = world.compare(
        "find . -name '*.[od]' -delete",
        "for f in dir*/*.c; do for c in gcc clang; do \
         $c -g -MD -c \"$f\" -o \"$f.$c.o\" || exit; \
         (cd \"${f%/*}\" && $c -include \"./$(basename \"$f\" .c).h\" -c \"./${f##*/}\" -o \"in $c.o\") || exit; \
         done; done",
    );
    assert_eq!(
        (summary.remote(), summary.local()),
        (4 * odd.len() as u64, 0),
        "{summary:?} {}",
        world.agent_log()
    );
}

/// Whether a process runs; one that ended and was not waited for does not.
fn runs(pid: &str) -> bool {
    std::fs::read(format!("/proc/{pid}/cmdline")).is_ok_and(|line| !line.is_empty())
}

#[test]
fn roles_detach_holding_nothing_of_their_caller() {
    let files = FarmFiles::new();
    let world = files.world();
    let mut pids = Vec::new();
    for role in ["scheduler", "builder"] {
        // A pipe as standard output, standard error and descriptor 7: `cat` ends when all copies are closed.
        let script = format!(
            "{{ {QUICC} {role} --daemon --log $HOME/{role}.log --config {role}.conf; }} 7>&1 2>&1 | cat"
        );
        let output = ends(world, shell(world, &script));
        let said = String::from_utf8_lossy(&output.stdout).into_owned();
        let pid = said
            .strip_prefix(&format!("{role} "))
            .and_then(|rest| rest.strip_suffix(" is running\n"))
            .unwrap_or_else(|| panic!("{said}"))
            .to_owned();
        assert!(runs(&pid), "{role} runs on");
        let cwd = std::fs::read_link(format!("/proc/{pid}/cwd")).unwrap();
        assert_eq!(cwd, Path::new("/"), "a daemon keeps no directory of its caller");
        pids.push(pid);
    }
    let client = self::world();
    files.join(&client);
    let (output, summary) = client.run("gcc -O1 -c a.c -o a.o");
    assert_eq!(summary.remote(), 1, "{}", client.explain(&output));
    client.stop_agent();
    for pid in pids {
        let killed = Command::new("kill")
            .arg(&pid)
            .stderr(Stdio::null())
            .status()
            .unwrap();
        assert!(killed.success());
        await_event("the end of the daemon", || (!runs(&pid)).then_some(()));
    }
}

#[test]
fn pipelines_of_compilers_do_not_wait_for_themselves() {
    let world = world();
    // More than there are processors: were tokens for those who read, none would be left for those who write.
    let count = 2 * std::thread::available_parallelism().map_or(4, std::num::NonZero::get);
    let started = Instant::now();
    let mut readers: Vec<_> = (0..count)
        .map(|number| {
            let mut command = world.command(QUICC);
            command
                .args(["gcc", "-xc", "-c", "-", "-o", &format!("{number}.o")])
                .stdin(Stdio::piped());
            command.spawn().unwrap()
        })
        .collect();
    await_event("the readers' verdicts", || {
        let output = world.quicc(&["agent", "status"]);
        let status: serde_json::Value = serde_json::from_slice(&output.stdout).ok()?;
        (status["local"]["stdin-source"] == count).then_some(())
    });
    let writers: Vec<_> = readers
        .iter_mut()
        .map(|reader| {
            let mut command = world.command(QUICC);
            command
                .args(["gcc", "-E", "a.c"])
                .stdout(reader.stdin.take().unwrap());
            command.spawn().unwrap()
        })
        .collect();
    for mut end in writers.into_iter().chain(readers) {
        assert!(end.wait().unwrap().success());
    }
    assert!(started.elapsed() < LONG, "{:?}", started.elapsed());
    let last = format!("{}.o", count - 1);
    assert!(!world.read(&last).is_empty());
}
