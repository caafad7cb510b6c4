//! `native` as a processor: what the client's driver would run is run remotely, with the same bytes.

use crate::support::World;

/// What vectors, caches and scheduling of a processor show in.
const C: &str = "#include <stddef.h>\n#include \"a.h\"\n#ifndef TEXT\n#define TEXT \"\"\n#endif\nconst char *text = TEXT;\n\
float sum(const float *a, const float *b, size_t n) {\n  float s = A;\n\
  for (size_t i = 0; i < n; i++) s += a[i] * b[i];\n  return s;\n}\n\
void copy(double *to, const int *from, size_t n) { for (size_t i = 0; i < n; i++) to[i] = from[i] << 3; }\n\
static int unused;\n";

fn world() -> World {
    let world = World::new();
    world.write("a.h", "#define A 7\n");
    world.write("a.c", C);
    world.write(
        "a.cc",
        &format!("#include <vector>\n{C}std::vector<float> v(A);\n"),
    );
    world.write(
        "s.S",
        "#include \"a.h\"\n#ifdef __AVX2__\n.byte 2\n#endif\n.text\nf: mov $A, %eax\nret\n",
    );
    world.write("rsp", "-march=native -I. '-DTEXT=\"of a file\"'\n");
    world.write(
        "bad.c",
        "#include \"a.h\"\nint f(void) { return undeclared + A; }\n",
    );
    world
}

const DRIVERS: [(&str, &str); 4] = [
    ("gcc", "a.c"),
    ("clang", "a.c"),
    ("g++", "a.cc"),
    ("clang++", "a.cc"),
];

/// A script of `lines`, where each one stands for a compile by a driver; how many there are.
fn script(compiles: &[(&str, &str, &str)]) -> (String, u64) {
    let mut script = String::new();
    for (number, (driver, source, flags)) in compiles.iter().enumerate() {
        let (action, suffix) = if flags.starts_with("-S ") {
            ("", "s")
        } else {
            ("-c", "o")
        };
        script += &format!("{driver} {action} {flags} {source} -o {driver}{number}.{suffix} || exit\n");
    }
    (script, compiles.len() as u64)
}

#[track_caller]
fn check(world: &World, compiles: &[(&str, &str, &str)]) {
    let (script, count) = script(compiles);
    let summary = world.compare("rm -f *.o *.s *.d *.dwo", &script);
    assert_eq!(
        (summary.remote(), summary.local()),
        (count, 0),
        "{summary:?} {}",
        world.agent_log()
    );
}

#[test]
fn every_compiler_gives_the_local_bytes_for_this_processor() {
    let mut compiles = Vec::new();
    for (driver, source) in DRIVERS {
        for flags in [
            "-O2 -g -march=native",
            "-O3 -march=native -mtune=znver2 -Wall -Wextra",
            "-O2 -g -mtune=native -gsplit-dwarf",
            "-O1 -march=native -MD -MF x.d -MT 'odd target' -MP",
            "-S -O3 -march=native -MMD",
        ] {
            compiles.push((driver, source, flags));
        }
    }
    check(&world(), &compiles);
}

#[test]
fn odd_ways_to_say_it_are_exact_too() {
    let compiles = [
        ("gcc", "a.c", "-O2 -g -march=native -pipe -MD"),
        ("gcc", "a.c", "-O2 -g @rsp -fopenmp"),
        (
            "gcc",
            "a.c",
            "-O2 -g -march=native -frecord-gcc-switches -fstack-usage",
        ),
        ("gcc", "a.c", "-g -march=native '-DTEXT=\"q $ \\\\ a\"'"),
        ("gcc", "s.S", "-g -march=native -MD"),
        ("g++", "a.cc", "-O2 -march=native -Wa,-mrelax-relocations=no"),
        ("clang", "a.c", "-O2 -g @rsp"),
        ("clang", "a.c", "-O2 -g -march=native -grecord-command-line"),
        ("clang", "a.c", "-O2 -march=native -frecord-command-line"),
        ("clang", "a.c", "-O2 -g -march=native -fno-integrated-as"),
        ("clang", "a.c", "-g -march=native '-DTEXT=\"q $ \\\\ a\"'"),
        ("clang", "s.S", "-g -march=native -MD"),
    ];
    check(&world(), &compiles);
}

#[test]
fn what_only_the_driver_can_say_is_said_by_the_driver_here() {
    let world = world();
    for driver in ["gcc", "clang"] {
        let failing = format!("{driver} -c -march=native bad.c -MD -o bad.o");
        let summary = world.compare("rm -f bad.o bad.d", &failing);
        assert_eq!(summary.reason("compile-failed"), 1, "{driver}: {summary:?}");
    }
    let warned = world.compare("rm -f a.o", "clang -c -march=native -stdlib=libc++ a.c -o a.o");
    assert_eq!(warned.reason("native-target"), 1, "{warned:?}");
}
