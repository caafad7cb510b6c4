//! What stays here is exactly what it is without quicc: every file, both outputs and the exit code, for its own reason.

use std::collections::BTreeMap;

use crate::support::World;

/// Calls, and the reason each stays here for.
const UNITS: &[(&str, &str)] = &[
    // The first of each compiler: what the agent asks it must not add to the list.
    (
        "DEPENDENCIES_OUTPUT=$PWD/list gcc -c a.c -o a.o",
        "environment-output",
    ),
    (
        "DEPENDENCIES_OUTPUT=$PWD/list clang -c a.c -o a.o",
        "environment-output",
    ),
    (
        "DEPENDENCIES_OUTPUT='list target' gcc -c a.c -o a.o",
        "environment-output",
    ),
    ("SUNPRO_DEPENDENCIES=list gcc -c a.c -o a.o", "environment-output"),
    (
        "CC_PRINT_OPTIONS=1 CC_PRINT_OPTIONS_FILE=list clang -c a.c -o a.o",
        "environment-output",
    ),
    (
        "CCC_OVERRIDE_OPTIONS='# +-DVALUE=6' clang -c a.c -o a.o",
        "environment-flags",
    ),
    ("COMPILER_PATH=bin gcc -c a.c -o a.o", "environment-programs"),
    ("LD_PRELOAD=./pre.so gcc -c which.c -o a.o", "environment-loader"),
    ("COLLECT_GCC=gcc gcc -c a.c -o a.o", "inside-driver"),
    ("gcc -specs=a.specs -c a.c -o a.o", "program-selection"),
    ("gcc -Bbin/ -c a.c -o a.o", "program-selection"),
    ("gcc -wrapper env,CPATH=p -c which.c -o a.o", "program-selection"),
    ("clang --config ./a.cfg -c a.c -o a.o", "program-selection"),
    (
        "SOURCE_DATE_EPOCH=1 g++ -std=c++20 -fmodules-ts -c m.cc",
        "modules",
    ),
    (
        "clang++ -std=c++20 --precompile -x c++-module m.cc -o m.pcm",
        "modules",
    ),
    ("gcc -fplugin=./pre.so -c a.c -o a.o", "plugin"),
    ("clang -c a.m -o a.o", "unsupported-language"),
    ("gcc -c a.m -o a.o", "unsupported-language"),
    ("clang -c a.cu -o a.o", "offload"),
    ("gcc -save-temps -c a.c -o a.o", "extra-output"),
    ("clang -save-temps=obj -c a.c -o a.o", "extra-output"),
    ("gcc -fdump-tree-original -c a.c -o a.o", "extra-output"),
    ("gcc -dD -S a.c -o a.s", "extra-output"),
    ("clang -MJ a.json -c a.c -o a.o", "extra-output"),
    ("gcc -dumpdir x- -c a.c -o a.o", "odd-output"),
    ("gcc -S a.c -o -", "odd-output"),
    ("clang -S a.c -o -", "odd-output"),
    ("gcc -MD -MF - -c a.c -o a.o", "odd-output"),
    ("gcc -c a.c -o out", "odd-output"),
    ("gcc -c a.c -o none/a.o", "output-directory"),
    ("gcc -MM -MG none.c", "dependency-only"),
    ("clang -M a.c -MF a.d", "dependency-only"),
    ("gcc -x c -c - -o a.o <a.c", "stdin-source"),
    ("clang -x c -c - -o a.o <a.c", "stdin-source"),
    ("gcc -x c -c /dev/stdin -o a.o <a.c", "special-file"),
    ("gcc -E a.c -o a.i", "preprocess-only"),
    ("clang -E -dM a.c", "preprocess-only"),
    ("gcc -### -S a.c", "verbose"),
    ("clang -### -c a.c", "verbose"),
    ("gcc -c a.c main.c", "several-sources"),
    ("gcc whole.c -o program && ./program", "linking"),
    ("clang whole.c -o program; ./program", "linking"),
    ("gcc -c a.c none.o", "linker-input"),
    ("gcc -fsyntax-only -Wall main.c", "no-object"),
    ("clang -x c-header a.h", "precompiled-header"),
    ("gcc -fprofile-use -c a.c -o a.o", "profile"),
    ("clang -emit-llvm -c a.c -o a.bc", "unsupported-action"),
    ("gcc -traditional-cpp -c a.c -o a.o", "preprocessor-mode"),
    ("gcc -finput-charset=latin1 -c a.c -o a.o", "character-set"),
    ("gcc -I- -Ip -c which.c -o a.o", "unsupported-search"),
    ("gcc -fverbose-asm -S a.c", "compiler-report"),
    ("gcc -c conftest.c", "configure-probe"),
    ("gcc --frobnicate -c a.c -o a.o", "unknown-flag"),
    ("clang -c a.c -o", "missing-operand"),
    ("gcc -c date.c -o a.o", "time-macros"),
    ("clang -c paste.c -o a.o", "time-macros"),
];

/// A call that compiles nothing.
const UNCOUNTED: &str = "gcc -c a.c -o a.o -dumpmachine; clang --version; gcc -print-prog-name=as";

/// Sources, and what some calls need besides.
fn world() -> World {
    let world = World::new();
    let all = [
        ("a.h", "#ifndef VALUE\n#define VALUE 1\n#endif\n"),
        ("a.c", "#include \"a.h\"\nint f(void) { return VALUE; }\n"),
        (
            "main.c",
            "int f(void); int main(void) { int unused; return f(); }\n",
        ),
        ("whole.c", "#include \"a.h\"\nint main(void) { return VALUE; }\n"),
        ("conftest.c", "int f(void) { return 0; }\n"),
        ("none.c", "#include \"made-later.h\"\n"),
        ("which.c", "#include <which.h>\n"),
        ("p/which.h", "int which;\n"),
        ("date.c", "const char *date = __DATE__;\n"),
        ("paste.h", "#define PASTE(name) __##name##__\n"),
        (
            "paste.c",
            "#include \"paste.h\"\nconst char *date = PASTE(DATE);\n",
        ),
        ("m.cc", "export module m;\nexport int f() { return 1; }\n"),
        (
            "a.m",
            "@interface A\n- (int)value;\n@end\nint f(A *a) { return [a value]; }\n",
        ),
        ("a.cu", "__attribute__((global)) void f(int *x) { *x = 1; }\n"),
        ("a.specs", "*cpp_unique_options:\n+ -DVALUE=5\n\n"),
        ("a.cfg", "-DVALUE=5\n"),
        (
            "bin/as",
            "#!/bin/sh\nexec /usr/bin/as --defsym planted=42 \"$@\"\n",
        ),
        (
            "pre.c",
            "#include <stdlib.h>\n__attribute__((constructor)) static void pre(void) { setenv(\"CPATH\", \"p\", 1); }\n",
        ),
        ("list", "what was there\n"),
        ("out/kept", ""),
    ];
    for (path, text) in all {
        world.write(path, text);
    }
    let ready = "chmod +x bin/as && gcc -shared -fPIC pre.c -o pre.so && cp -a . ../kept";
    assert!(world.local(ready).status.success());
    world
}

/// Brings the sources back to what they were.
const CLEAN: &str = "find . -mindepth 1 -delete && cp -a ../kept/. .";

#[test]
fn local_units_are_exactly_local() {
    let world = world();
    for (unit, reason) in UNITS {
        assert!(world.local(CLEAN).status.success());
        let summary = world.compare(CLEAN, unit);
        let expect: BTreeMap<_, _> = [((*reason).to_owned(), 1)].into();
        assert_eq!(
            (summary.local_reasons(), summary.remote(), summary.fallbacks()),
            (expect, 0, 0),
            "{unit}\n{}",
            world.agent_log()
        );
        if unit.contains("DEPENDENCIES") && unit.contains("gcc") {
            let list = String::from_utf8(world.read("list")).unwrap();
            assert_eq!(list.matches("a.h").count(), 1, "{unit}: {list}");
            assert!(list.starts_with("what was there\n"), "{list}");
        }
    }
    assert!(world.local(CLEAN).status.success());
    let summary = world.compare(CLEAN, UNCOUNTED);
    assert_eq!((summary.remote(), summary.local()), (0, 0));
}
