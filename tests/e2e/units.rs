//! Single units and small builds: the same bytes as locally, and remote.

use std::os::unix::fs::PermissionsExt;

use crate::support::World;

const C: &str = "#include <stdio.h>\n#include <string.h>\n#include \"a.h\"\n\
int f(const char *text) { printf(\"%d\\n\", A); return (int)strlen(text); }\n";
const CXX: &str = "#include <map>\n#include <string>\n#include <vector>\n#include \"a.h\"\n\
int f(const std::string &text) { std::map<int, std::vector<std::string>> map; map[A].push_back(text); return (int)map.size(); }\n";

fn world() -> World {
    let world = World::new();
    world.write("a.h", "#define A 7\n");
    world.write("a.c", C);
    world.write("a.cc", CXX);
    world
}

#[test]
fn every_compiler_gives_the_local_bytes() {
    let world = world();
    let mut script = String::new();
    for (compiler, source) in [
        ("gcc", "a.c"),
        ("clang", "a.c"),
        ("g++", "a.cc"),
        ("clang++", "a.cc"),
    ] {
        for (flags, name) in [("-O2", "o2"), ("-O0 -g -Wall -Wextra", "g")] {
            script += &format!("{compiler} {flags} -MD -c {source} -o {compiler}-{name}.o || exit\n");
        }
    }
    let summary = world.compare("rm -f *.o *.d", &script);
    assert_eq!(
        (summary.remote(), summary.local()),
        (8, 0),
        "{summary:?} {}",
        world.agent_log()
    );
}

#[test]
fn a_header_edited_between_builds_is_seen() {
    let world = world();
    let script = "gcc -O1 -c a.c -o a.o";
    world.compare("rm -f a.o", script);
    let before = world.read("a.o");
    world.write("a.h", "#define A 8\n");
    let summary = world.compare("rm -f a.o", script);
    assert_eq!(summary.remote(), 1, "{summary:?}");
    assert_ne!(world.read("a.o"), before);
}

#[test]
fn outputs_that_exist_are_treated_as_the_compiler_does() {
    let world = world();
    for compiler in ["gcc", "clang"] {
        for path in ["a.o", "a.d"] {
            world.write(path, "old");
        }
        std::fs::set_permissions(world.at("a.o"), PermissionsExt::from_mode(0o444)).unwrap();
        let (output, summary) = world.run(&format!("{compiler} -MD -c a.c -o a.o"));
        assert!(output.status.success(), "{}", world.explain(&output));
        assert_eq!(summary.remote(), 1, "{summary:?}");
        let object = world.read("a.o");
        let mode = std::fs::metadata(world.at("a.o")).unwrap().permissions().mode();
        assert_eq!(mode & 0o777, 0o644, "a new file with the umask's mode");
        assert!(
            world
                .local(&format!("rm a.o; {compiler} -MD -c a.c -o a.o"))
                .status
                .success()
        );
        assert!(object == world.read("a.o"), "{compiler}");
    }
}

#[test]
fn errors_leave_what_the_compiler_leaves() {
    let world = world();
    world.write(
        "bad.c",
        "#include \"a.h\"\nint f(void) { return undeclared + A; }\n",
    );
    for compiler in ["gcc", "clang"] {
        let clean = "rm -f bad.*o bad.d; echo old > bad.o; echo old > bad.d";
        assert!(world.local(clean).status.success());
        let summary = world.compare(clean, &format!("{compiler} -MD -c bad.c -o bad.o"));
        assert_eq!((summary.remote(), summary.local()), (1, 0), "{summary:?}");
    }
}

#[test]
fn a_symlinked_tree_keeps_its_spelling() {
    let world = world();
    std::fs::create_dir(world.at("real")).unwrap();
    world.write(
        "real/b.c",
        "#include \"../a.h\"\nconst char *file = __FILE__; int a = A;\n",
    );
    std::os::unix::fs::symlink("real", world.at("link")).unwrap();
    let script = "cd link && gcc -g -MD -c b.c -o b.o && clang -g -c $PWD/b.c -o c.o";
    let summary = world.compare("rm -f real/*.o real/*.d", script);
    assert_eq!(summary.remote(), 2, "{summary:?} {}", world.agent_log());
}

/// gcc reads specs along `LIBRARY_PATH`.
#[test]
fn specs_that_the_environment_leads_to_are_heeded() {
    let world = world();
    std::fs::create_dir_all(world.at("specs.d")).unwrap();
    world.write("specs.d/specs", "*cc1:\n+ -fshort-enums\n\n");
    world.write("beside/specs", "*cc1:\n+ -fshort-enums\n\n");
    world.write("e.c", "enum e { A } e; int size = sizeof e;\n");
    world.write("beside/e.c", "enum e { A } e; int size = sizeof e;\n");
    // Known without the variable first.
    let script = "gcc -c e.c -o 1.o; LIBRARY_PATH=$PWD/specs.d gcc -c e.c -o 2.o; LIBRARY_PATH=/opt: gcc -c e.c -o 3.o
        cd beside; LIBRARY_PATH=/opt: gcc -c e.c -o 4.o; gcc -c e.c -o 5.o; LIBRARY_PATH=/opt: gcc -c e.c -o 4.o";
    let summary = world.compare("rm -f *.o beside/*.o", script);
    let objects =
        ["1.o", "2.o", "3.o", "beside/4.o", "beside/5.o"].map(|name| std::fs::read(world.at(name)).unwrap());
    assert!(objects[0] != objects[1] && objects[0] == objects[2] && objects[3] != objects[4]);
    assert_eq!((summary.remote(), summary.local()), (4, 2), "{summary:?}");
}

#[test]
fn a_harmless_library_path_changes_nothing() {
    let world = world();
    let script = "export LD_LIBRARY_PATH=$PWD; gcc -O2 -c a.c -o a.o";
    let summary = world.compare("rm -f a.o", script);
    assert_eq!((summary.remote(), summary.local()), (1, 0), "{summary:?}");
}

#[test]
fn a_library_that_appears_along_the_library_path_is_met() {
    let world = world();
    let broken = "echo broken >lib/libz.so.1; echo broken >libz.so.1";
    // `:` is the working directory.
    for list in ["$PWD/lib", ":"] {
        let compile = format!("LD_LIBRARY_PATH={list} gcc -O2 -c a.c -o a.o");
        let script =
            format!("mkdir lib; {compile}; {compile}; {broken}; {compile}; rm lib/* libz.so.1; {compile}");
        let summary = world.compare("rm -rf lib a.o", &script);
        let remote = if list == ":" { 0 } else { 3 };
        assert_eq!(
            (summary.remote(), summary.local()),
            (remote, 4 - remote),
            "{list} {summary:?}"
        );
        assert!(world.local("rm -rf lib a.o").status.success());
    }
}
