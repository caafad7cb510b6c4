//! A caller's resource limits: a compile that would run into one ends as it does here, and counts as such.

use crate::support::{QUICC, Summary, World};

fn world() -> World {
    let world = World::new();
    world.write("a.c", "int f(int x) { return x + 1; }\n");
    let numbers: Vec<_> = (0..100_000).map(|number| number.to_string()).collect();
    world.write("large.c", &format!("int data[] = {{{}}};\n", numbers.join(",")));
    world
}

/// One unit under `ulimit LIMIT`, here and through quicc. The compilers' words on memory tell how much they had.
fn under(world: &World, limit: &str, unit: &str) -> Summary {
    let script = format!(
        "(ulimit {limit} || exit 99; {unit}) 2>words; echo $?; sed 's/[0-9][0-9]*/N/g' words >&2; rm words"
    );
    let clean = "rm -f *.o *.d";
    assert!(world.local(clean).status.success());
    world.compare(clean, &script)
}

#[test]
fn a_callers_limits_keep_its_units_here() {
    let world = world();
    let only = |reason: &str| [(reason.to_owned(), 1)].into();
    // The first four are met.
    for (limit, unit) in [
        ("-v 60000", "gcc -MD -c large.c -o a.o"),
        ("-v 60000", "clang -MD -c large.c -o a.o"),
        ("-f 1", "gcc -MD -c large.c -o a.o"),
        ("-f 1", "clang -MD -c large.c -o a.o"),
        ("-d 8000000", "gcc -MD -c a.c -o a.o"),
        ("-t 600", "clang -MD -c a.c -o a.o"),
        ("-s 4096", "gcc -MD -c a.c -o a.o"),
    ] {
        let summary = under(&world, limit, unit);
        assert_eq!(
            (summary.local_reasons(), summary.fallbacks()),
            (only("resource-limits"), 0),
            "{limit} {unit} {}",
            world.agent_log()
        );
    }
    // What no compile meets, and what is here for another reason.
    for limit in ["-n 256", "-c 0", "-Ss 16384", "-s 65536", "-l 64"] {
        let summary = under(&world, limit, "gcc -MD -c a.c -o a.o");
        assert_eq!((summary.remote(), summary.local()), (1, 0), "{limit} {summary:?}");
    }
    let summary = under(&world, "-t 600", "gcc -E a.c -o a.d");
    assert_eq!(summary.local_reasons(), only("preprocess-only"));
    let summary = under(&world, "-t 600", "gcc --version");
    assert_eq!((summary.remote(), summary.local()), (0, 0));
}

#[test]
fn a_full_ledger_under_a_limit_ends_no_compile() {
    let world = world();
    let fill = "head -c 600 /dev/zero | tr '\\0' '\\n' >>${QUICC_LEDGER:-/dev/null}";
    // Whoever comes after it under the same limit is not met by a signal of ours.
    let summary = world.compare(
        "true",
        &format!("{fill}; ulimit -f 1; gcc -E a.c; gcc -dumpversion"),
    );
    assert_eq!(
        (summary.remote(), summary.local()),
        (0, 0),
        "it goes uncounted: {summary:?}"
    );
}

#[test]
fn no_agent_is_started_that_would_keep_a_callers_limits() {
    let world = world();
    let program = QUICC;
    let limited = format!("ulimit -t 600; {program} run --summary limited.json -- gcc -c a.c -o a.o");
    let output = world.local(&limited);
    assert!(output.status.success(), "{}", world.explain(&output));
    let counted = String::from_utf8(world.read("limited.json")).unwrap();
    assert!(
        counted.contains(r#""local_reasons":{"resource-limits":1},"fallbacks":0"#),
        "{counted}"
    );
    assert!(!world.socket().exists());
    let (output, summary) = world.run("gcc -c a.c -o a.o");
    assert_eq!(summary.remote(), 1, "{}", world.explain(&output));
}
