//! Files that change while a build runs or between builds: the easy designs make a wrong object here.

use crate::support::{Summary, World};

const USE: &str = "#include \"value.h\"\nint value = VALUE;\n";

fn world() -> World {
    let world = World::new();
    world.write("use.c", USE);
    for (directory, value) in [("second", "2"), ("third", "3")] {
        world.write(
            &format!("{directory}/value.h"),
            &format!("#define VALUE {value}\n"),
        );
    }
    std::fs::create_dir(world.at("first")).unwrap();
    world
}

/// Compiles `use.c` between steps of a script, all in one run, and compares with the same steps done locally.
fn check(steps: &[&str]) -> Summary {
    let mut script = String::new();
    for (index, step) in steps.iter().enumerate() {
        script +=
            &format!("{step}\ngcc -Ifirst -Isecond -Ithird -c use.c -o {index}.o || echo failed {index}\n");
    }
    let world = world();
    let reset = "rm -rf *.o first second third; mkdir first second third; \
                 echo '#define VALUE 2' > second/value.h; echo '#define VALUE 3' > third/value.h";
    assert!(world.local(reset).status.success());
    let summary = world.compare(reset, &script);
    assert_eq!(summary.fallbacks(), 0, "{summary:?}");
    summary
}

#[test]
fn a_header_that_appears_earlier_in_the_path_is_found() {
    let summary = check(&[
        "",
        "echo '#define VALUE 1' > first/value.h",
        "rm first/value.h",
        "rm second/value.h",
    ]);
    assert_eq!(summary.remote(), 4, "{summary:?}");
}

#[test]
fn a_renamed_header_is_found_or_missed_as_locally() {
    let summary = check(&[
        "",
        "mv second/value.h first/value.h",
        "mv first first.old",
        "rm -r first.old third",
    ]);
    assert_eq!(
        summary.remote(),
        4,
        "the last fails for want of a header: {summary:?}"
    );
}

#[test]
fn an_edit_within_one_clock_tick_and_with_old_times_is_seen() {
    check(&[
        "",
        "echo '#define VALUE 7' > second/value.h",
        "touch -d '2001-01-01' second/value.h",
        "echo '#define VALUE 8' > second/value.h; touch -d '2001-01-01' second/value.h",
        "echo '#define VALUE 9' > new.h; touch -r second/value.h new.h; mv new.h second/value.h",
    ]);
}

#[test]
fn a_symlink_that_turns_is_followed() {
    check(&[
        "echo '#define VALUE 5' > five.h; echo '#define VALUE 6' > six.h; ln -s ../five.h first/value.h",
        "ln -sf ../six.h first/value.h",
        "rm first/value.h; mkdir first/value.h",
        "rmdir first first 2>/dev/null; rmdir first/value.h first; ln -s third first",
    ]);
}

/// Where names may be read but not looked up, a compiler takes none of them for absent.
#[test]
fn a_directory_that_shuts_ends_a_compile_as_locally() {
    let world = World::of_user(64_322);
    world.write("use.c", USE);
    let compile = |compiler: &str, step: usize| {
        format!(
            "{compiler} -Ifirst -Isecond -c use.c -o {step}.o || echo failed {step}\n\
             {compiler} -DANEW={step} -Ifirst -Isecond -c use.c -o {step}-anew.o || echo failed {step} anew\n"
        )
    };
    for compiler in ["gcc", "clang"] {
        let script = format!(
            "mkdir first second; echo '#define VALUE 2' > second/value.h\n{}chmod 600 first\n{}chmod 700 first\n{}",
            compile(compiler, 0),
            compile(compiler, 1),
            compile(compiler, 2)
        );
        let summary = world.compare("rm -rf *.o first second", &script);
        assert_eq!((summary.remote(), summary.fallbacks()), (4, 0), "{summary:?}");
        assert!(world.local("rm -rf *.o first second").status.success());
    }
}

#[test]
fn two_equal_files_stay_two_inodes() {
    let world = World::new();
    for (directory, value) in [("a", 1), ("b", 2)] {
        world.write(&format!("{directory}/same.h"), "#include \"r.h\"\n");
        world.write(&format!("{directory}/r.h"), &format!("int r{value} = {value};\n"));
    }
    world.write("u.c", "#include \"a/same.h\"\n#include \"b/same.h\"\n");
    let script = "touch -d 2001-01-01 a/same.h b/same.h; for c in gcc clang; do $c -g -c u.c -o $c.o; done";
    let summary = world.compare("rm -f *.o", script);
    assert_eq!(summary.remote(), 2, "{summary:?}");
    let linked = "rm b/same.h; ln a/same.h b/same.h; for c in gcc clang; do $c -g -c u.c -o $c.o; done";
    world.compare("rm -f *.o", linked);
}

#[test]
fn a_computed_question_for_a_header_gets_the_local_answer() {
    let world = World::new();
    world.write("quoted/foo.h", "");
    world.write(
        "dir/cfg.h",
        "#define NEXT <dir/extra.h>\n#if __has_include(NEXT)\nint extra = 1;\n#endif\n",
    );
    world.write("dir/extra.h", "");
    world.write(
        "a.c",
        "#define H \"foo.h\"\n#if __has_include(H)\nint x = 1;\n#else\nint x = 2;\n#endif\n",
    );
    world.write("b.c", "#define C <dir/cfg.h>\n#include C\n");
    let script =
        "gcc -iquote quoted -c a.c -o a.o; gcc -I. -c b.c -o b.o; clang -iquote quoted -c a.c -o c.o";
    world.compare("rm -f *.o", script);
}

/// gcc's `-M` names no file that is only probed for, and the file may be in a directory nobody listed.
#[test]
fn a_computed_question_beyond_the_listed_directories_gets_the_local_answer() {
    let world = World::new();
    world.write("config.h", "");
    world.write("obj/gen.h", "");
    let absolute = world.at("config.h");
    let absolute = format!("\"{}\"", absolute.display());
    for (name, operand) in [
        ("sub/above", "\"../config.h\""),
        ("sub/absolute", &absolute),
        ("below", "\"obj/gen.h\""),
        ("made", "\"gen.inc\""),
    ] {
        let question = |definition: &str, asked: &str| {
            format!(
                "#define {definition} {operand}\n#if __has_include({asked})\nint yes;\n#else\nint no;\n#endif\n"
            )
        };
        world.write(&format!("{name}.c"), &question("H(x)", "H(1)"));
        // All that such a macro may stand for is known.
        world.write(&format!("{name}-plain.c"), &question("H", "H"));
    }
    world.write("gen.c", "int gen;\n");
    let script = "for cc in gcc clang; do for u in sub/above sub/absolute below; do for v in $u $u-plain; do \
                  $cc -c $v.c -o obj/$(basename $v)-$cc.o; done; done; done; gcc -c made-plain.c -o none.o; \
                  gcc -S gen.c -o gen.inc; for u in made made-plain; do gcc -c $u.c -o $u.o; done";
    let summary = world.compare("rm -f obj/*.o gen.inc *.o", script);
    assert_eq!(summary.reason("computed-probe"), 7, "{summary:?}");
    assert_eq!(summary.remote(), 9, "{summary:?}");
}

/// What a macro stands for may change with any file that defines it.
#[test]
fn an_edited_definition_includes_another_file() {
    let world = World::new();
    for name in ["one", "two"] {
        world.write(&format!("{name}.h"), &format!("int in_{name};\n"));
    }
    world.write("a.c", "#include \"config.h\"\n#ifdef H\n#include H\n#endif\n");
    world.write(
        "b.c",
        "#include \"config.h\"\n#ifdef H\n#if __has_include(H)\nint yes;\n#endif\n#endif\n",
    );
    let far = world.root().join("far.h");
    std::fs::write(&far, "int far;\n").unwrap();
    let far = format!("#define H \"{}\"", far.display());
    let mut script = String::new();
    let configs = [
        "",
        "#define H \"one.h\"",
        "#define H \"two.h\"",
        "#define H I",
        "#define H I\n#define I <two.h>",
        &far,
        "#define H \"none.h\"",
        "#undef H",
    ];
    for (number, config) in configs.iter().enumerate() {
        script += &format!("printf '%s\\n' '{config}' > config.h\n");
        for unit in ["a", "b"] {
            script +=
                &format!("gcc -I. -c {unit}.c -o {unit}.o && mv {unit}.o {unit}{number}.o || echo failed\n");
        }
    }
    let summary = world.compare("rm -f *.o", &script);
    assert_eq!((summary.local(), summary.fallbacks()), (0, 0), "{summary:?}");
}

/// `xxhash.h` has such a macro, and with it much of the world.
#[test]
fn what_is_asked_through_a_macro_for_the_operator_is_answered_as_locally() {
    let world = World::new();
    world.write("config.h", "");
    world.write(
        "has.h",
        "#ifdef __has_include\n#define HAS __has_include\n#define HAS1(x) __has_include(x)\n#endif\n",
    );
    world.write(
        "sub/a.c",
        "#include \"../has.h\"\n#if HAS(\"../config.h\")\nint yes;\n#else\nint no;\n#endif\n",
    );
    world.write(
        "sub/b.c",
        "#include \"../has.h\"\n#if HAS1(<none.h>) || !HAS1(\"../config.h\")\nint no;\n#endif\n",
    );
    world.write(
        "c.c",
        "#include \"has.h\"\n#define H \"config.h\"\n#if HAS(H)\nint yes;\n#endif\n",
    );
    let script = "for cc in gcc clang; do for u in sub/a sub/b c; do $cc -c $u.c -o $(basename $u)-$cc.o; done; done\n\
                  echo '#if HAS(\"../far/gen.h\")' >> has.h; echo 'int far;' >> has.h; echo '#endif' >> has.h\n\
                  mkdir far; : > far/gen.h; gcc -c sub/a.c -o edited.o; mv edited.o 1.o; gcc -c sub/a.c -o edited.o";
    assert!(world.local("cp has.h has.saved").status.success());
    let summary = world.compare("rm -rf *.o far; cp has.saved has.h", script);
    assert_eq!(summary.reason("computed-probe"), 2, "{summary:?}");
    assert_eq!((summary.remote(), summary.fallbacks()), (6, 0), "{summary:?}");
}

/// Such a macro may come from the command line as well, however deep in its response files.
#[test]
fn what_is_asked_through_a_macro_of_a_response_file_is_answered_as_locally() {
    let world = World::new();
    let far = world.root().join("far");
    std::fs::create_dir(&far).unwrap();
    std::fs::write(far.join("x.h"), "").unwrap();
    world.write("inner.rsp", "'-DHAS=__has_include'\n");
    world.write("outer.rsp", "-O1 @inner.rsp\n");
    let question = format!(
        "#if HAS(\"{}\")\nint yes;\n#else\nint no;\n#endif\n",
        far.join("x.h").display()
    );
    world.write("a.c", &question);
    world.write("b.c", "int b;\n");
    let script = "for cc in gcc clang; do $cc -DHAS=__has_include -c a.c -o 1$cc.o; $cc @inner.rsp -c a.c -o 2$cc.o; \
                  $cc @outer.rsp -c a.c -o 3$cc.o; done; gcc -c b.c -o b.o";
    let summary = world.compare("rm -f *.o", script);
    assert_eq!(
        (summary.reason("computed-probe"), summary.remote()),
        (6, 1),
        "{summary:?}"
    );
}

#[test]
fn lines_of_a_file_named_by_a_macro_are_quoted_as_locally() {
    let world = World::new();
    world.write("gen.y", "one\ntwo\nint unused_here;\n");
    world.write(
        "a.c",
        "#define F \"gen.y\"\n#line 3 F\nstatic int f(void) { int unused; return 0; }\n",
    );
    let summary = world.compare("rm -f *.o", "gcc -Wall -c a.c -o a.o; gcc -c a.c -o b.o");
    assert_eq!(summary.reason("computed-line-name"), 1, "{summary:?}");
    assert_eq!(
        summary.remote(),
        1,
        "what prints nothing quotes nothing: {summary:?}"
    );
}

/// A response file may hold what a header once held: its bytes still decide what a compile means.
#[test]
fn an_edited_response_file_makes_another_command_line() {
    let world = World::new();
    // A header of the same bytes, so that what they refer to is known.
    world.write("empty.h", "\n");
    world.write("near/x.h", "int near_one;\n");
    // Where no listing of a directory on the way would give the mistake away.
    let far = world.root().join("far");
    std::fs::create_dir(&far).unwrap();
    std::fs::write(far.join("x.h"), "int far_one;\n").unwrap();
    world.write("first.c", "#include \"empty.h\"\n");
    world.write("a.c", "#include <x.h>\n");
    // The same command line each time, so that what was found for it before is remembered.
    let step = |flags: &str, number: u32| {
        format!("echo '{flags}' > flags.rsp; gcc @flags.rsp -Inear -g -c a.c -o a.o; mv a.o {number}.o\n")
    };
    let mut script = "gcc -c first.c -o first.o\n".to_owned();
    let flags = ["", "", "-DX=2 -I../far", "-march=native -I../far", ""];
    for (number, flags) in (1..).zip(flags) {
        script += &step(flags, number);
    }
    let summary = world.compare("rm -f *.o", &script);
    assert_eq!((summary.remote(), summary.fallbacks()), (6, 0), "{summary:?}");
}

#[test]
fn a_search_directory_that_appears_is_searched() {
    let world = World::new();
    world.write("second/foo.h", "int x = 2;\n");
    world.write("a.c", "#include <foo.h>\n");
    let script = "export CPATH=$PWD/first; gcc -isystem second -c a.c -o 1.o; mkdir first; \
                  echo 'int x = 1;' > first/foo.h; gcc -isystem second -c a.c -o 2.o";
    let summary = world.compare("rm -rf *.o first", script);
    assert_eq!(summary.fallbacks(), 0, "{summary:?}");
}

#[test]
fn a_deleted_file_is_gone_at_once_by_its_absolute_name_too() {
    let world = World::new();
    let header = world.at("sub/gen.h");
    world.write("sub/gen.h", "");
    world.write(
        "a.c",
        &format!(
            "#if __has_include(\"{}\")\nint x = 1;\n#else\nint x = 2;\n#endif\n",
            header.display()
        ),
    );
    let script = "touch sub/gen.h; gcc -c a.c -o 1.o; rm sub/gen.h; gcc -c a.c -o 2.o";
    world.compare("rm -f *.o; touch sub/gen.h", script);
}

#[test]
fn files_where_a_machine_has_its_own_stay_here() {
    let world = World::new();
    let shared = tempfile::Builder::new()
        .prefix("quicc-test-")
        .tempdir_in("/dev/shm")
        .unwrap();
    std::fs::write(shared.path().join("foo.h"), "int x = 1;\n").unwrap();
    world.write("base/foo.h", "int x = 2;\n");
    world.write("a.c", "#include \"foo.h\"\n");
    let script = format!(
        "gcc -iquote base -c a.c -o 1.o; gcc -iquote {} -iquote base -c a.c -o 2.o",
        shared.path().display()
    );
    let summary = world.compare("rm -f *.o", &script);
    assert_eq!(
        (summary.remote(), summary.reason("special-directory")),
        (1, 1),
        "{summary:?}"
    );
}
