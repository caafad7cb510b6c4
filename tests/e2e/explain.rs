//! `quicc stats` and `quicc explain`: what became of units that went, stayed and failed.

use std::process::Output;

use serde_json::Value;

use crate::support::World;

fn text(output: &Output) -> String {
    String::from_utf8_lossy(&output.stdout).into_owned()
}

/// The last unit of a source, after `quicc explain --json`.
fn last(world: &World, source: &str) -> Value {
    let output = world.quicc(&["explain", "--json", source]);
    let document: Value =
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", world.explain(&output)));
    document["units"][0].clone()
}

fn stats(world: &World) -> Value {
    let output = world.quicc(&["stats", "--json"]);
    serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", world.explain(&output)))
}

fn world() -> World {
    let world = World::new();
    world.write("a.h", "#define A 7\n");
    world.write("lib/a.c", "#include \"../a.h\"\nint a = A;\n");
    world.write("b.c", "#define HEADER() \"a.h\"\n#include HEADER()\nint b = A;\n");
    world.write("wrong.c", "#include \"a.h\"\nint wrong = B;\n");
    world
}

#[test]
fn what_became_of_a_unit_is_told() {
    let world = world();
    let script = "gcc -c lib/a.c -o a.o && gcc -c b.c; gcc -c wrong.c; gcc -E b.c -o b.i; gcc -c --new-flag b.c -o c.o";
    let (output, summary) = world.run(script);
    assert_eq!(
        (summary.remote(), summary.local()),
        (3, 2),
        "{}",
        world.explain(&output)
    );

    let remote = last(&world, "lib/../lib/a.c");
    assert_eq!(remote["verdict"], "remote", "{remote}");
    assert_eq!(remote["exit_code"], 0);
    assert_eq!(remote["reason"], Value::Null);
    assert_eq!(remote["output"], "a.o");
    assert_eq!(remote["command"], "gcc -c lib/a.c -o a.o");
    assert_eq!(remote["attempts"], 1);
    assert!(remote["builder"].is_string());
    let inputs = &remote["inputs"];
    assert_eq!(inputs["found"], "scanned");
    for count in ["files", "directories", "bytes", "absent"] {
        assert!(inputs[count].as_u64().unwrap() > 0, "{count}: {inputs}");
    }
    assert!(remote["bytes_up"].as_u64().unwrap() > 0 && remote["bytes_down"].as_u64().unwrap() > 0);

    let failed = last(&world, "wrong.c");
    assert_eq!(
        (&failed["verdict"], &failed["exit_code"]),
        (&"remote".into(), &1.into()),
        "{failed}"
    );

    // Of b.c three command lines are known, the newest first.
    let answer = world.quicc(&["explain", "--json", "b.c"]);
    let document: Value = serde_json::from_slice(&answer.stdout).unwrap();
    let units = document["units"].as_array().unwrap();
    let reasons: Vec<_> = units.iter().map(|unit| unit["reason"].as_str()).collect();
    assert_eq!(
        reasons,
        [Some("unknown-flag"), Some("preprocess-only"), None],
        "{document}"
    );
    let because = units[0]["explanation"].as_str().unwrap();
    assert!(because.contains("--new-flag"), "{because}");
    assert_eq!(units[2]["inputs"]["found"], "dependencies", "{document}");

    let words = text(&world.quicc(&["explain", "b.c"]));
    for line in [
        "  verdict:      local",
        "  reason:       unknown-flag",
        "  verdict:      remote",
    ] {
        assert!(words.lines().any(|other| other == line), "{words}");
    }

    let counted = stats(&world);
    assert_eq!(
        (&counted["remote"], &counted["fallbacks"]),
        (&3.into(), &0.into()),
        "{counted}"
    );
    assert_eq!(
        counted["local"],
        serde_json::json!({"preprocess-only": 1, "unknown-flag": 1})
    );
    assert_eq!(
        ["remembered", "scanned", "dependencies", "repairs"].map(|tier| counted[tier].as_u64().unwrap()),
        [0, 2, 1, 0],
        "{counted}"
    );
    let table = text(&world.quicc(&["stats"]));
    let row = |name: &str| {
        table
            .lines()
            .find_map(|line| line.strip_prefix(name))
            .map(str::trim)
            .map(str::to_owned)
    };
    assert_eq!(row("units remote").as_deref(), Some("3"), "{table}");
    assert_eq!(row("  unknown-flag").as_deref(), Some("1"), "{table}");
}

#[test]
fn a_remembered_unit_and_one_by_another_name_are_known() {
    let world = world();
    world.run("gcc -c lib/a.c -o a.o && gcc -c lib/a.c -o a.o");
    std::os::unix::fs::symlink("lib", world.at("link")).unwrap();
    let again = last(&world, "link/a.c");
    assert_eq!(again["inputs"]["found"], "remembered", "{again}");
    let counted = stats(&world);
    assert_eq!(
        (&counted["scanned"], &counted["remembered"]),
        (&1.into(), &1.into()),
        "{counted}"
    );
}

/// A message with poison's words is taken for poison: then `-M` is asked, and nothing was missed.
#[test]
fn a_unit_prepared_again_with_dependencies_is_counted() {
    let world = World::new();
    world.write("a.c", "_Static_assert(0, \"Permission denied\");\n");
    world.run("gcc -c a.c");
    let unit = last(&world, "a.c");
    assert_eq!(
        (&unit["verdict"], &unit["reason"]),
        (&"local".into(), &"compile-failed".into()),
        "{unit}"
    );
    assert_eq!(
        (&unit["attempts"], &unit["repaired"]["learned"]),
        (&2.into(), &0.into()),
        "{unit}"
    );
    assert_eq!(unit["inputs"]["found"], "dependencies", "{unit}");
    let counted = stats(&world);
    assert_eq!(
        (&counted["repairs"], &counted["dependencies"]),
        (&1.into(), &1.into()),
        "{counted}"
    );
}

/// Without its closing bracket the operand is no header's name but words, which macros may complete.
#[test]
fn an_include_that_the_scan_misses_is_repaired_with_dependencies() {
    for compiler in ["gcc", "clang"] {
        let world = World::new();
        world.write("inc/hidden.h", "int hidden = 7;\n");
        for name in ["one", "two"] {
            let text =
                format!("#define REST hidden.h>\n#include <REST\nint {name}(void) {{ return hidden; }}\n");
            world.write(&format!("{name}.c"), &text);
        }
        let compile = |source: &str| format!("{compiler} -Iinc -c {source}.c -o {source}.o");
        let clean = "rm -f *.o; echo 'int hidden = 7;' > inc/hidden.h";

        let summary = world.compare(clean, &compile("one"));
        let unit = last(&world, "one.c");
        assert_eq!((summary.remote(), summary.local()), (1, 0), "{compiler}: {unit}");
        assert_eq!(
            (&unit["attempts"], &unit["inputs"]["found"]),
            (&2.into(), &"dependencies".into()),
            "{compiler}: {unit}"
        );
        assert!(
            unit["repaired"]["learned"].as_u64().unwrap() >= 1,
            "{compiler}: {unit}"
        );
        let header = world.at("inc/hidden.h").canonicalize().unwrap();
        let paths = unit["repaired"]["paths"].as_array().unwrap();
        assert!(
            paths.iter().any(|path| path.as_str() == header.to_str()),
            "{compiler}: {unit}"
        );
        assert_eq!(stats(&world)["repairs"], 1, "{compiler}");

        // The agent knows now what this call reads.
        let object = world.read("one.o");
        let (output, _) = world.run(&compile("one"));
        assert!(
            object == world.read("one.o"),
            "{compiler}: {}",
            world.explain(&output)
        );
        let again = last(&world, "one.c");
        assert_eq!(
            (&again["attempts"], &again["inputs"]["found"]),
            (&1.into(), &"remembered".into()),
            "{compiler}: {again}"
        );

        // The builder has the header for others that miss it.
        let summary = world.compare("rm -f *.o", &format!("rm -f *.o; {}", compile("two")));
        let other = last(&world, "two.c");
        assert_eq!((summary.remote(), summary.local()), (1, 0), "{compiler}: {other}");
        assert_eq!(
            (&other["attempts"], &other["inputs"]["found"]),
            (&1.into(), &"scanned".into()),
            "{compiler}: {other}"
        );
        assert_eq!(stats(&world)["repairs"], 1, "{compiler}");

        // Missed or not, it is never read as it was, however soon after it changed.
        let (mut script, mut count) = (String::new(), 0);
        for value in 1..5 {
            for (source, edit) in [
                ("one", format!("echo 'int hidden = {value};' > inc/hidden.h")),
                ("two", format!("echo 'int hidden = 1{value};' > inc/hidden.h")),
                (
                    "two",
                    format!("echo 'int hidden = 2{value};' > inc/new; mv inc/new inc/hidden.h"),
                ),
            ] {
                count += 1;
                script += &format!("{edit}; {}; cp {source}.o {source}{count}.o\n", compile(source));
            }
        }
        let summary = world.compare(clean, &script);
        assert_eq!((summary.remote(), summary.local()), (count, 0), "{compiler}");
    }
}

#[test]
fn of_an_unknown_source_it_is_said_how_to_know() {
    let world = world();
    let nobody = world.quicc(&["explain", "b.c"]);
    let words = String::from_utf8_lossy(&nobody.stderr).into_owned();
    assert!(
        !nobody.status.success() && words.contains("no agent is running"),
        "{words}"
    );

    world.run("gcc -c lib/a.c -o a.o");
    let unknown = world.quicc(&["explain", "b.c"]);
    let words = String::from_utf8_lossy(&unknown.stderr).into_owned();
    assert_eq!(unknown.status.code(), Some(1));
    let file = world.at("b.c").canonicalize().unwrap();
    assert!(
        words.contains(&format!("nothing is known of {}", file.display())),
        "{words}"
    );
    assert!(words.contains("compile it once more"), "{words}");
    assert!(last(&world, "b.c").is_null());
}
