//! What compilers say of odd and wrong sources: exit code, both streams and every output as locally, and remote
//! wherever it can be told for certain that the text is the source's own.

use std::fmt::Write;

use crate::support::World;

/// Where a unit ends up for gcc and for clang: `-` for a builder, else the reason to be compiled here.
type Fates = [&'static str; 2];

const REMOTE: Fates = ["-", "-"];
const FAILED_HERE: Fates = ["compile-failed", "compile-failed"];
/// clang looks for more than the missing file before it gives up.
const GCC_REMOTE: Fates = ["-", "compile-failed"];

struct Case {
    /// With the extension that chooses the language.
    file: &'static str,
    source: &'static [u8],
    flags: &'static str,
    fates: Fates,
}

const fn case(file: &'static str, flags: &'static str, source: &'static [u8]) -> Case {
    Case {
        file,
        source,
        flags,
        fates: REMOTE,
    }
}

impl Case {
    const fn ending(self, fates: Fates) -> Self {
        Self { fates, ..self }
    }
}

const TEMPLATES: &[u8] = b"#include <algorithm>\n#include <list>\n#include <vector>\nstruct a {};\n\
void f(std::list<a> &l, std::vector<a> &v) { std::sort(l.begin(), l.end()); v.push_back(3); }\n\
template <int N> struct deep { static const int value = deep<N - 1>::value; };\n\
template <> struct deep<0> { static const int value = nope; };\nint x = deep<9>::value;\n";

/// Wrong words and types, macros, and what compilers suggest.
const LANGUAGE: [Case; 21] = [
    case("undeclared.c", "", b"int f(void) { return nope; }\n"),
    case("several.c", "-Wall", b"int f(int a) {\n  int b\n  return a +* nope(b);\n}\nvoid f(void);\n"),
    case("macro.c", "", b"#include \"h.h\"\nint f(int a) { return BAD(a) + MAX(a, \"x\" * 2); }\n"),
    case("command.c", "-DVALUE=nope -DBROKEN='(1 +'", b"int a = VALUE;\nint b = BROKEN;\n"),
    case("fixit.c", "", b"struct s { int color; };\nint f(struct s *p) { return p.color + p->colour; }\n"),
    case("suggest.c", "-Wall", b"int f(const char *t) { return strlen(t) + sizeof(unsinged); }\n"),
    case("header.c", "", b"#include \"wrong.h\"\nint x;\n"),
    case("nested.c", "-Iinclude", b"#include <outer.h>\nint x = INNER;\n"),
    case("assert.c", "", b"_Static_assert(sizeof(int) == 3, \"size\");\n"),
    case("assert.cc", "", b"static_assert(sizeof(int) == 3, \"size\");\n"),
    case("template.cc", "", TEMPLATES),
    case("overload.cc", "", b"void f(int *); void f(char *); struct s { explicit s(int); };\ns g() { f(nullptr); return 1; }\n"),
    case("large.c", "", b"char a[1ul << 63][8];\nint f(void) { return 1 << 99; }\n"),
    case("flow.c", "-O2 -Wall -Wextra -Werror", b"int g(int *);\nint f(int a) { int b; if (a) b = a; return b; }\nint h(void) { int c[2]; return c[5]; }\n"),
    case("section.c", "", b"int a __attribute__((section(\".text\"))) = 1;\nint b __attribute__((section(\".text\"))) = 2; void f(void) __attribute__((section(\".text\"))); void f(void) {}\n"),
    case("pedantic.c", "-std=c99 -pedantic-errors", b"int a[0]; int f() { return ({ 1; }); };\n"),
    case("once.c", "-Wfatal-errors", b"int a = nope; int b = nope;\n"),
    case("most.c", "-fmax-errors=1", b"int a = nope;\nint b = other;\n"),
    case("asm.c", "", b"void f(void) { __asm__(\"bogus %0\" :: \"r\"(1)); }\n"),
    case("constraint.c", "", b"void f(void) { __asm__(\"nop\" :: \"!z\"(1)); }\n"),
    case("bogus.S", "", b"#define WORD bogus\n WORD %eax\n nop nop\n"),
];

/// Directives, and text that is hardly text.
const TEXT: [Case; 26] = [
    case(
        "trigraph.c",
        "-trigraphs -Wall",
        b"??=define N ??( 3 ??)\nint x N = nope; // ??/\nstill a comment\n",
    ),
    case("digraph.c", "", b"%:define X <: 2 :>\nint a X = <% nope %>;\n"),
    case("line.c", "", b"#line 2 \"gram.y\"\nint x = nope;\n"),
    case("marker.c", "", b"# 3 \"gram.y\"\nint x = nope;\n"),
    case("noline.c", "", b"#line 2 \"nowhere.y\"\nint x = nope;\n"),
    case(
        "macroline.c",
        "",
        b"#define FILE \"gram.y\"\n#line 2 FILE\nint x = nope;\n",
    )
    .ending(["computed-line-name", "computed-line-name"]),
    case("error.c", "", b"#error \"some text\"   here\n"),
    case("warning.c", "", b"#warning \"some text\"\nint x;\n"),
    case("strict.c", "-Werror", b"#warning some text\nint x;\n"),
    case(
        "message.c",
        "",
        b"#pragma message \"hello\"\n#pragma message(\"there\")\nint x;\n",
    ),
    case(
        "pragma.c",
        "-Wall",
        b"_Pragma(\"GCC error \\\"no\\\"\") int x;\n#pragma nobody knows\n",
    ),
    case("conditional.c", "", b"#if 1\n#elif\nint x;\n"),
    case(
        "endif.c",
        "",
        b"#endif\n#if 1 +\n#endif\n#define\n#undef 3\n#nothing\n",
    ),
    case(
        "utf8.c",
        "",
        "int é = \"ü\" nope; /* ☃ */ int 変数 = 1 ↦;\n".as_bytes(),
    ),
    case(
        "invalid.c",
        "-Wall",
        b"int x = \xff\xfe nope; /* \xc3\x28 */ const char *t = \"\xf0\x28\";\n",
    ),
    case("crlf.c", "", b"int x = nope;\r\nint y = \"a\\\r\nb;\r\n"),
    case("noend.c", "-Wall -pedantic", b"int x = nope"),
    case("nul.c", "", b"int x\0 = \0nope;\n"),
    case("comment.c", "", b"int x;\n/* without end\n"),
    case("string.c", "", b"const char *t = \"without end;\nint c = 'ab\n"),
    case("tabs.c", "-ftabstop=4", b"\tint\tx =\tnope;\t/* \x0b\x0c */\n"),
    case("bidi.c", "-Wall", "/* \u{202e} */ int x = nope;\n".as_bytes()),
    case("empty.c", "-Wall -pedantic", b""),
    case(
        "warn.c",
        "-Wall -Wextra",
        b"static int f(int a, int b) { int c; return a == 1 & 2; }\n",
    ),
    case(
        "warn.cc",
        "-Wall -Wextra",
        b"struct s { virtual void f(); int a, b; s() : b(1), a(2) {} };\n",
    ),
    case(
        "wrong.cc",
        "-Wall -Werror -g",
        b"#include <string>\nint f(std::string t) { unsigned n = 1; return n < -1; t.nope(); }\n",
    ),
];

/// Files that are not there, or are not files.
const FILES: [Case; 13] = [
    case("missing.c", "", b"#include <nowhere.h>\nint x;\n").ending(GCC_REMOTE),
    case("below.c", "", b"#include \"sub/nowhere.h\"\nint x;\n").ending(GCC_REMOTE),
    case("directory.c", "", b"#include \"sub\"\nint x;\n").ending(GCC_REMOTE),
    case("through.c", "", b"#include \"gram.y/x.h\"\nint x;\n").ending(GCC_REMOTE),
    case("recursion.c", "", b"#include \"recursion.h\"\nint x;\n"),
    case(
        "probe.c",
        "",
        b"#if __has_include(\"nowhere.h\")\n#else\n#error none\n#endif\n",
    ),
    case("incbin.S", "", b".incbin \"nowhere.bin\"\n").ending(FAILED_HERE),
    case("include.s", "", b".include \"nowhere.inc\"\n").ending(FAILED_HERE),
    // The name is there, but nothing refers to it by this spelling: what clang suggests must not fail on it.
    case("blank.c", "", b"#include \" hint.h\"\nint x;\n").ending(["-", "dependencies-failed"]),
    case("angle.c", "", b"#include <hint2.h>\nint x;\n").ending(["-", "dependencies-failed"]),
    case(
        "macroname.S",
        "",
        b".macro take name\n.incbin \"\\name\"\n.endm\ntake data.bin\n",
    )
    .ending(["computed-incbin", "computed-incbin"]),
    case("dirs.c", "-Inowhere -Wmissing-include-dirs -Werror", b"int x;\n").ending(["compile-failed", "-"]),
    case("absent.c", "", b"").ending(["inputs", "inputs"]),
];

/// The same mistakes as a user wants them told.
const STYLES: [Case; 9] = [
    case(
        "json.c",
        "-fdiagnostics-format=json",
        b"int f(void) { return nope; }\n",
    )
    .ending(GCC_REMOTE),
    case(
        "colour.c",
        "-fdiagnostics-color=always",
        b"#include \"h.h\"\nint f(int a) { return BAD(a); }\n",
    ),
    case("colour.cc", "-fdiagnostics-color=always", TEMPLATES),
    case(
        "narrow.c",
        "-fmessage-length=40 -Wall",
        b"int f(const char *t) { return strlen(t) + nope; }\n",
    ),
    case("narrow.cc", "-fmessage-length=40", TEMPLATES),
    case(
        "plain.c",
        "-fno-diagnostics-show-caret",
        b"int f(void) { return nope; }\n",
    )
    .ending(["-", "search-list"]),
    case("column.c", "-fno-show-column", b"int f(void) { return nope; }\n"),
    case(
        "fixits.c",
        "-fdiagnostics-parseable-fixits",
        b"struct s { int color; };\nint f(struct s *p) { return p->colour; }\n",
    ),
    case(
        "every.c",
        "-fdiagnostics-show-option -Wall -Werror",
        b"static int f(void) { return 1; }\n",
    ),
];

fn world() -> World {
    let world = World::new();
    world.write(
        "h.h",
        "#define MAX(a, b) ((a) > (b) ? (a) : (b))\n#define BAD(x) undeclared_##x\n",
    );
    world.write("wrong.h", "// made by a generator\nint broken( {\n");
    world.write("include/outer.h", "#pragma once\n#include \"inner.h\"\n");
    world.write(
        "include/inner.h",
        "#define INNER (1 + nope)\nint inner = INNER;\n",
    );
    world.write("recursion.h", "#include \"recursion.h\"\n");
    world.write("gram.y", "%%\nrule: 'x' { this is line two }\nthe third\n");
    world.write("sub/x.h", "");
    for file in ["hint.h", "hint2.h", "data.bin"] {
        world.write(file, "int hint;\n");
    }
    world
}

/// Compiles every case with both compilers here and through a farm, over outputs that exist, and compares.
fn check(cases: &[Case]) {
    let world = world();
    let mut script = "rm -rf out ../fates; mkdir out ../fates\n".to_owned();
    for case in cases {
        if case.file != "absent.c" {
            std::fs::write(world.at(case.file), case.source).unwrap();
        }
        for compiler in compilers(case) {
            let (file, flags, name) = (case.file, case.flags, format!("{compiler}-{}", case.file));
            let fate = format!("../fates/{name}");
            script += &format!("echo old > out/{name}.o; echo old > out/{name}.d; : > {fate}\n");
            writeln!(
                script,
                "QUICC_LEDGER=$PWD/{fate} {compiler} {flags} -MD -MP -MF out/{name}.d -c {file} -o out/{name}.o \
                 >out/{name}.stdout 2>out/{name}.stderr; echo $? >out/{name}.code"
            )
            .unwrap();
        }
    }
    let local = world.local(&script);
    assert!(local.status.success(), "{local:?}");
    let expected = world.files();
    let (remote, _) = world.run(&script);
    assert!(remote.status.success(), "{}", world.explain(&remote));
    let found = world.files();
    let mut wrong = String::new();
    for (path, bytes) in &expected {
        let there = found.get(path);
        if there != Some(bytes) {
            let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
            let there = there.map_or("nothing".to_owned(), |bytes| text(bytes));
            write!(wrong, "{}:\n{}\n--- but\n{there}\n", path.display(), text(bytes)).unwrap();
        }
    }
    for path in found.keys().filter(|path| !expected.contains_key(*path)) {
        writeln!(wrong, "{} only through the farm", path.display()).unwrap();
    }
    for case in cases {
        for (compiler, expected) in compilers(case).into_iter().zip(case.fates) {
            let fate = world.root().join(format!("fates/{compiler}-{}", case.file));
            let fate = std::fs::read_to_string(fate).unwrap();
            let reason = fate.split(' ').nth(1).unwrap_or_default();
            if reason != expected {
                writeln!(wrong, "{compiler} {}: {fate:?} instead of {expected}", case.file).unwrap();
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong}\n{}", world.agent_log());
}

fn compilers(case: &Case) -> [&'static str; 2] {
    if case.file.ends_with(".cc") {
        ["g++", "clang++"]
    } else {
        ["gcc", "clang"]
    }
}

#[test]
fn mistakes_in_the_language_are_told_as_locally() {
    check(&LANGUAGE);
}

#[test]
fn mistakes_in_the_text_are_told_as_locally() {
    check(&TEXT);
}

#[test]
fn missing_files_are_told_as_locally() {
    check(&FILES);
}

#[test]
fn styles_of_telling_are_kept() {
    check(&STYLES);
}
