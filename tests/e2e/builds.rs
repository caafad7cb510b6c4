//! Whole builds by real build tools.

use std::process::Stdio;

use crate::support::World;

const MAKEFILE: &str = "CFLAGS = -O1 -g -MMD -Wall\nobjects = main.o one.o two.o\n\
program: $(objects)\n\t$(CC) -o $@ $(objects)\n-include $(objects:.o=.d)\n";
const CMAKE: &str = "cmake_minimum_required(VERSION 3.18)\nproject(p C CXX)\n\
add_executable(program main.c one.c two.c three.cc)\n";

fn project() -> World {
    fill(World::new())
}

fn fill(world: World) -> World {
    world.write("two.h", "int two(void);\n");
    world.write("main.c", "#include <stdio.h>\n#include \"two.h\"\nint one(void);\nint main(void) { printf(\"%d\\n\", one() + two()); return 0; }\n");
    world.write(
        "one.c",
        "#include \"two.h\"\nint one(void) { int unused; return two(); }\n",
    );
    world.write(
        "two.c",
        "#include \"two.h\"\n#include <string.h>\nint two(void) { return (int)strlen(\"ab\"); }\n",
    );
    world.write(
        "three.cc",
        "#include <vector>\nint three() { return std::vector<int>{1, 2}.size(); }\n",
    );
    world.write("Makefile", MAKEFILE);
    world.write("CMakeLists.txt", CMAKE);
    world
}

#[test]
fn make_builds_in_the_source_directory() {
    let world = project();
    // One job at a time, so that the messages come in one order.
    let summary = world.compare("make -s clean 2>/dev/null; rm -f *.o *.d program", "make -s");
    assert_eq!(
        (summary.remote(), summary.fallbacks()),
        (3, 0),
        "{summary:?} {}",
        world.agent_log()
    );
    world.write("two.h", "int two(void); /* edited */\n");
    let (output, summary) = world.run("make -s -j4 && ./program");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "4\n",
        "{}",
        world.explain(&output)
    );
    assert_eq!(summary.remote(), 3, "{summary:?}");
}

/// Their builder is told of the others' files while each of them runs.
#[test]
fn many_failing_units_at_once_say_what_they_say_here() {
    const UNITS: usize = 48;
    let world = World::new();
    for unit in 0..UNITS {
        let mistake = match unit % 4 {
            0 => "int f(void) { return undeclared; }".to_owned(),
            1 => format!("#include \"missing{unit}.h\""),
            2 => "int f(void) { return 1 +; }".to_owned(),
            _ => format!("#error \"no {unit}\""),
        };
        let header = ["stdio.h", "string.h", "unistd.h", "sys/stat.h", "time.h"][unit % 5];
        let includes = format!("#include <{header}>\n#include \"own{unit}.h\"\n");
        world.write(&format!("{unit}.c"), &format!("{includes}{mistake}\n"));
        world.write(&format!("own{unit}.h"), &format!("int own{unit}(void);\n"));
    }
    let unit = "gcc -c $1.c -o $1.o >logs/$1.out 2>logs/$1.err; echo $? >logs/$1.exit";
    let script = format!(
        "mkdir logs; seq 0 {} | xargs -P 8 -n 1 sh -c '{unit}' unit",
        UNITS - 1
    );
    let summary = world.compare("rm -r logs", &script);
    let here = summary.reason("compile-failed");
    assert_eq!(summary.remote() + here, UNITS as u64, "{summary:?}");
    assert!(here <= 4, "{summary:?} {}", world.agent_log());
    for (what, exit) in [("err", ""), ("exit", "1\n")] {
        let texts = (0..UNITS).map(|unit| world.read(&format!("logs/{unit}.{what}")));
        let mut texts = texts.map(|text| String::from_utf8(text).unwrap());
        assert!(
            texts.all(|text| !text.is_empty() && text.ends_with(exit)),
            "{what}"
        );
    }
}

#[test]
fn an_unprivileged_user_builds_alike() {
    let world = fill(World::of_user(64_322));
    let summary = world.compare("rm -f *.o *.d program", "make -s");
    assert_eq!(
        (summary.remote(), summary.fallbacks()),
        (3, 0),
        "{summary:?} {}",
        world.agent_log()
    );
}

#[test]
fn cmake_and_ninja_build_and_the_tree_works_on_without_quicc() {
    let world = project();
    let (output, summary) =
        world.run("cmake -S . -B build -G Ninja >/dev/null && ninja -C build >/dev/null && build/program");
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "4\n",
        "{}",
        world.explain(&output)
    );
    assert_eq!(
        (summary.remote(), summary.fallbacks()),
        (4, 0),
        "{summary:?} {}",
        world.agent_log()
    );
    world.stop_agent();
    world.write("one.c", "int two(void);\nint one(void) { return 40 + two(); }\n");
    let output = world
        .command("sh")
        .args(["-c", "ninja -C build >/dev/null && build/program"])
        .output()
        .unwrap();
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "44\n",
        "{}",
        world.explain(&output)
    );
}

#[test]
fn a_pipe_ends_with_its_build_though_the_agent_stays() {
    let world = project();
    let mut command = world.command("sh");
    command.args([
        "-c",
        &format!("{} run -- make -s 2>&1 | cat >/dev/null", crate::support::QUICC),
    ]);
    command.stdout(Stdio::piped());
    // `output` waits for the end of every copy of the pipe, an agent's too if it held one.
    assert!(command.output().unwrap().status.success());
    assert!(world.exists("program"));
    assert!(
        world.quicc(&["agent", "status"]).status.success(),
        "the agent outlives the build"
    );
}

#[test]
fn the_exit_code_is_the_commands() {
    let world = project();
    for (script, code) in [
        ("exit 7", Some(7)),
        ("make -s nonsense 2>/dev/null", Some(2)),
        ("kill -9 $$", Some(137)),
    ] {
        let (output, _) = world.run(script);
        assert_eq!(output.status.code(), code, "{script}");
    }
}

/// Units so far whose inputs were remembered; none without an agent.
fn remembered(world: &World) -> u64 {
    let output = world.quicc(&["agent", "status"]);
    let status: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap_or_default();
    status["remembered"].as_u64().unwrap_or(0)
}

/// Every object that is published changes the directory that all units look into.
#[test]
fn a_parallel_build_beside_its_sources_stays_remote() {
    const UNITS: usize = 64;
    /// Of each hundred units built once more, those whose inputs are remembered.
    const REMEMBERED: u64 = 95;
    let world = World::new();
    for n in 0..UNITS {
        world.write(&format!("h{n}.h"), &format!("int f{n}(int);\n"));
        world.write(
            &format!("u{n}.c"),
            &format!("#include \"h{n}.h\"\n#include <stddef.h>\nint u{n}(void) {{ return f{n}({n}); }}\n"),
        );
    }
    world.write(
        "Makefile",
        "all: $(patsubst %.c,%.o,$(wildcard u*.c))\n%.o: %.c\n\t@$(CC) -MD -c $< -o $@\n",
    );
    let script = format!("make -s -j{UNITS}");
    for round in ["first", "again"] {
        let before = remembered(&world);
        let summary = world.compare("rm -f *.o *.d", &script);
        assert_eq!(
            (summary.remote(), summary.local()),
            (UNITS as u64, 0),
            "{round}: {summary:?}"
        );
        let share = (remembered(&world) - before) * 100 / UNITS as u64;
        assert!(round == "first" || share >= REMEMBERED, "{share} % remembered");
        assert!(world.local("rm -f *.o *.d").status.success());
    }
}
