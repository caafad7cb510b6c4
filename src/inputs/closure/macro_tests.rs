//! Includes of macros against the real compilers: whatever they read of random trees and definitions is found.

use std::os::unix::ffi::OsStrExt;
use std::path::Path;

use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestRng, TestRunner};

use super::compiler_tests::search_list_of;
use super::*;
use crate::host::process;
use crate::inputs::dependencies;
use crate::inputs::tree::as_path;

/// Headers of a random tree, each in one or two directories.
const HEADERS: [&str; 9] = [
    "a0.h",
    "a1.h",
    "i/a1.h",
    "i/a2.h",
    "i/linux.h",
    "j/a2.h",
    "j/a0.h",
    "i/s/a1.h",
    "j/only.h",
];
/// How deep its headers include each other.
const DEPTH: usize = 4;

/// A line that defines, takes back or includes.
fn line() -> impl Strategy<Value = String> {
    // Now and then one that is also a word of a header's name.
    let name = || {
        prop_oneof![
            80 => prop::sample::select(vec!["A", "B", "C"]),
            1 => prop::sample::select(vec!["a1", "h"]),
        ]
    };
    let header = || prop::sample::select(vec!["a0.h", "a1.h", "a2.h", "linux.h", "s/a1.h", "none.h"]);
    let includes = |name: &str, next: &str| {
        format!("#ifdef {name}\n#if __has_include{next}({name})\n#include{next} {name}\n#endif\n#endif\n")
    };
    prop_oneof![
        3 => (name(), header()).prop_map(|(name, header)| format!("#undef {name}\n#define {name} \"{header}\"\n")),
        2 => (name(), header()).prop_map(|(name, header)| format!("#undef {name}\n#define {name} <{header}>\n")),
        2 => (name(), name()).prop_map(|(name, other)| format!("#ifdef {other}\n#undef {name}\n#define {name} {other}\n#endif\n")),
        1 => name().prop_map(|name| format!("#pragma push_macro(\"{name}\")\n#undef {name}\n")),
        1 => name().prop_map(|name| format!("#pragma pop_macro(\"{name}\")\n")),
        8 => name().prop_map(move |name| includes(name, "")),
        1 => name().prop_map(move |name| includes(name, "_next")),
        2 => header().prop_map(|header| format!("#if __has_include(\"{header}\")\n#include \"{header}\"\n#endif\n")),
    ]
}

/// The texts of `a.c` and of [`HEADERS`].
fn trees() -> impl Strategy<Value = Vec<String>> {
    prop::collection::vec(
        prop::collection::vec(line(), 2..7).prop_map(|lines| lines.concat()),
        HEADERS.len() + 1,
    )
}

#[test]
fn nothing_a_macro_may_stand_for_is_missing() {
    let algorithm = RngAlgorithm::ChaCha;
    let config = Config {
        cases: 120,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(algorithm));
    let compared = std::cell::Cell::new(0);
    let empty = Fixture::new(&[]);
    empty.directory("i");
    empty.directory("j");
    let compilers = [
        ("gcc", ["-Ii", "-Ij", "-DC=\"only.h\"", "-DB=C"]),
        ("clang", ["-Ij", "-Ii", "-DB=<a1.h>", "-DA=\"only.h\""]),
    ];
    // Relative directories are the same in every tree.
    let compilers = compilers.map(|(compiler, flags)| {
        (
            compiler,
            flags,
            search_list_of(&empty, compiler, "c", &flags[..2]),
        )
    });
    let result = runner.run(&trees(), |texts| {
        let mut fixture = Fixture::new(&[]);
        let limited = |text: &str| format!("#if __INCLUDE_LEVEL__ < {DEPTH}\n{text}#endif\n");
        fixture.write("a.c", &texts[0]);
        for (name, text) in HEADERS.iter().zip(&texts[1..]) {
            fixture.write(name, &limited(text));
        }
        for (compiler, flags, search) in &compilers {
            fixture.search = search.clone();
            let definitions = [flags[2], flags[3]].map(|flag| flag.as_bytes()[2..].to_vec());
            let closure = fixture.discover_with(|request| request.definitions = Some(&definitions));
            let mut command = process::command(&Path::new("/usr/bin").join(compiler), &fixture.os_path("."));
            command.args(flags).args(["-w", "-M", "a.c"]).env("LC_ALL", "C");
            let output = command.output().unwrap();
            if closure.computed || !output.status.success() {
                continue;
            }
            for name in dependencies::parse(&output.stdout) {
                let path = fixture.os_path(".").join(as_path(&name)).canonicalize().unwrap();
                let is_known = closure.get(path.as_os_str().as_bytes()).is_some();
                prop_assert!(is_known, "{compiler} reads {}", path.display());
                compared.set(compared.get() + 1);
            }
        }
        Ok(())
    });
    result.unwrap();
    assert!(compared.get() > 100, "compared {} files", compared.get());
}

/// Text that a definition's value, or the place before it, may be made of.
const PIECES: [&str; 22] = [
    "\"", "<", ">", "x", ".h", "/", "\\\n", "\\ \n", "??/\n", "/*c*/", "/*\n*/", " ", "//", "1", "A", "-",
    "\\", "??=", "$", ".", "\"x.h\"", "<x.h>",
];

#[test]
fn odd_definitions_are_read_as_the_compilers_do() {
    let config = Config {
        cases: 120,
        failure_persistence: None,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let pieces = || prop::collection::vec(prop::sample::select(PIECES.to_vec()), 0..2);
    let core = prop::sample::select(vec!["\"x.h\"", "<x.h>", "A", "x", "\"", "<"]);
    let named = std::cell::Cell::new(0);
    let result = runner.run(
        &(pieces(), pieces(), core, pieces(), pieces()),
        |(before, first, core, last, after)| {
            let fixture = Fixture::new(&["i"]);
            fixture.directory("i");
            let [before, first, last, after] = [before, first, last, after].map(|pieces| pieces.concat());
            let text =
                format!("#define A \"a.h\"\n#define H{before} {first}{core}{last}\n#include H{after}\n");
            fixture.write("a.c", &text);
            let closure = fixture.discover();
            if closure.computed {
                return Ok(());
            }
            for (compiler, standard) in [("gcc", "-std=gnu11"), ("gcc", "-std=c11"), ("clang", "-std=c11")] {
                let mut command =
                    process::command(&Path::new("/usr/bin").join(compiler), &fixture.os_path("."));
                let output = command
                    .args([standard, "-w", "-E", "a.c"])
                    .env("LC_ALL", "C")
                    .output()
                    .unwrap();
                let message = String::from_utf8_lossy(&output.stderr).into_owned();
                let message = message
                    .replace("' file not found", ": No such file or directory")
                    .replace('\'', "");
                let missing = message.lines().find_map(|line| {
                    let name = line
                        .split_once("fatal error: ")?
                        .1
                        .strip_suffix(": No such file or directory")?;
                    name.split('/').find(|part| !matches!(*part, "" | "."))
                });
                let Some(missing) = missing else { continue };
                named.set(named.get() + 1);
                let is_looked_for = closure
                    .absent
                    .values()
                    .any(|names| names.contains(missing.as_bytes()));
                prop_assert!(
                    is_looked_for,
                    "{compiler} {standard} looks for {missing} in {text:?}"
                );
            }
            Ok(())
        },
    );
    result.unwrap();
    assert!(named.get() >= 20, "{} names", named.get());
}
