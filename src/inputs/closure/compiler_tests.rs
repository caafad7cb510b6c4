//! The closure against the real compilers: nothing they read may be missing.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::process::Output;

use super::*;
use crate::host::process;
use crate::inputs::kept::Kept;
use crate::inputs::scan::TimeMacros;
use crate::inputs::tree::as_path;
use crate::inputs::{dependencies, search_list, validate};

const C: &str = "#include <stdio.h>\n#include <stdlib.h>\n#include <string.h>\n#include <sys/socket.h>\n\
    #include <netinet/in.h>\n#include <signal.h>\n#include <limits.h>\n#include <math.h>\n#include <pthread.h>\n\
    #include <sys/stat.h>\n#include <fcntl.h>\n#include <stdatomic.h>\n#include <linux/perf_event.h>\n\
    #include <immintrin.h>\n";
const CPP: &str = "#include <vector>\n#include <map>\n#include <iostream>\n#include <regex>\n#include <future>\n\
    #include <filesystem>\n#include <cmath>\n#include <random>\n#include <unordered_map>\n";

fn run(fixture: &Fixture, compiler: &str, arguments: &[&str]) -> Output {
    let program = Path::new("/usr/bin").join(compiler);
    let mut command = process::command(&program, &fixture.os_path("."));
    command.args(arguments).env("LC_ALL", "C");
    let output = command.output().unwrap_or_else(|error| {
        panic!(
            "cannot run {}: {error}; apt-get install gcc g++ clang",
            program.display()
        )
    });
    assert!(
        output.status.success(),
        "{compiler} {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    output
}

/// What the agent asks of a compiler.
pub(super) fn search_list_of(
    fixture: &Fixture,
    compiler: &str,
    language: &str,
    flags: &[&str],
) -> SearchList {
    let ask = [flags, &["-v", "-E", "-dM", "-x", language, "/dev/null"]].concat();
    let answer = run(fixture, compiler, &ask);
    SearchList {
        predefined: search_list::predefined(&answer.stdout),
        ..search_list::parse(&answer.stderr).unwrap()
    }
}

/// Compares for one compiler, language and set of flags, and returns the closure.
fn check(fixture: &mut Fixture, compiler: &str, language: &str, flags: &[&str]) -> Closure {
    fixture.search = search_list_of(fixture, compiler, language, flags);
    let rules = run(
        fixture,
        compiler,
        &[flags, &["-M", "-x", language, "a.c"]].concat(),
    )
    .stdout;
    let read = dependencies::parse(&rules);
    assert!(read.len() > 5, "{compiler} names {} files", read.len());
    let closure = fixture.discover();
    for name in &read {
        let path = fixture.os_path(".").join(as_path(name)).canonicalize().unwrap();
        let object = closure.get(path.as_os_str().as_bytes());
        assert!(
            matches!(object, Some(Object::File { .. })),
            "{compiler} reads {}",
            path.display()
        );
    }
    assert_eq!(
        validate::validate(&fixture.tree, &Kept::new(&fixture.tree, closure.clone())),
        validate::Validity::Unchanged { proof: None }
    );
    closure
}

#[test]
fn nothing_a_compiler_reads_is_missing() {
    for (compiler, language, text) in [
        ("gcc", "c", C),
        ("clang", "c", C),
        ("g++", "c++", CPP),
        ("clang++", "c++", CPP),
        ("gcc", "c++", C),
    ] {
        for standard in if language == "c" {
            ["-std=gnu11", "-std=c99"]
        } else {
            ["-std=gnu++17", "-std=c++20"]
        } {
            let mut fixture = Fixture::new(&[]);
            fixture.write("a.c", text);
            let closure = check(&mut fixture, compiler, language, &[standard]);
            // System headers alone must not cost a tier or send a compile home.
            assert!(
                !closure.macro_incbin && !closure.modules && !closure.precompiled,
                "{compiler} {standard}"
            );
            assert!(
                !closure.computed && closure.time_macros == TimeMacros::default(),
                "{compiler} {standard}"
            );
        }
    }
}

#[test]
fn nothing_of_a_project_is_missing() {
    for (compiler, language) in [("gcc", "c"), ("clang", "c"), ("g++", "c++"), ("clang++", "c++")] {
        let mut fixture = Fixture::new(&[]);
        fixture.write(
            "a.c",
            "#inc\\\nlude \"s/x.h\"\n%:include <lnk/../up.h>\n#/**/include <n.h>\n#include <sub/../i.h>\n\
             #include <a b$c#d.h>\n#if __has_include(<probe.h>)\n#include <probe.h>\n#endif\n",
        );
        fixture.write("s/x.h", "#include \"y.h\"\n#include \"../i/i.h\"\n");
        fixture.write("s/y.h", "");
        fixture.write("i/n.h", "#include_next <n.h>\n");
        fixture.write("j/n.h", "#include_next <n.h>\n");
        fixture.write("k/n.h", "");
        fixture.write("i/i.h", "#include <stddef.h>\n");
        fixture.write("i/a b$c#d.h", "");
        fixture.write("j/probe.h", "");
        fixture.write("far/up.h", "");
        fixture.directory("far/dir");
        fixture.directory("i/sub");
        fixture.directory("empty");
        std::os::unix::fs::symlink("../far/dir", fixture.os_path("j/lnk")).unwrap();
        let flags = [
            "-iquote",
            "empty",
            "-Ii",
            "-Ij",
            "-isystem",
            "k",
            "-Inone",
            "-idirafter",
            "empty",
        ];
        let closure = check(&mut fixture, compiler, language, &flags);
        let names = closure.names(&fixture);
        for expected in [
            "far/up.h",
            "j/lnk -> ../far/dir",
            "k/n.h",
            "i/sub/",
            "i/a b$c#d.h",
            "j/probe.h",
        ] {
            assert!(
                names.iter().any(|name| name == expected),
                "{compiler}: {expected} in {names:?}"
            );
        }
        assert!(fixture.search.ignored.contains(&b"none".to_vec()), "{compiler}");
    }
}
