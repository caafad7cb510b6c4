//! Includes of macros: which files they bring in, and what is left to a preprocessor.

use super::*;

/// What a closure is of `a.c` among `files`, with `-I i` and the arguments `-D definitions`.
fn closure(files: &[(&str, &str)], definitions: &[&str]) -> (Fixture, Closure) {
    let fixture = Fixture::new(&["i"]);
    for name in ["x.h", "y.h", "i/x.h", "i/z.h", "i/linux.h"] {
        fixture.write(name, "");
    }
    for (name, text) in files {
        fixture.write(name, text);
    }
    let definitions: Vec<_> = definitions.iter().map(|text| text.as_bytes().to_vec()).collect();
    let closure = fixture.discover_with(|request| request.definitions = Some(&definitions));
    drop(definitions);
    (fixture, closure)
}

/// The closure holds exactly `expected` besides `a.c`, and nothing is computed.
#[track_caller]
fn check_defined(files: &[(&str, &str)], definitions: &[&str], expected: &[&str]) {
    let (fixture, closure) = closure(files, definitions);
    assert!(!closure.computed && !closure.computed_probe, "{files:?}");
    let names = closure.names(&fixture);
    let found: Vec<_> = names
        .iter()
        .filter(|name| *name != "a.c" && *name != "i/")
        .collect();
    assert_eq!(found, expected, "{files:?}");
}

#[track_caller]
fn check(text: &str, expected: &[&str]) {
    check_defined(&[("a.c", text)], &[], expected);
}

#[track_caller]
fn check_computed(text: &str, definitions: &[&str]) {
    let (_, closure) = closure(&[("a.c", text)], definitions);
    assert!(closure.computed, "{text:?} {definitions:?}");
    assert_eq!(closure.computed_probe, text.contains("__has_include"), "{text:?}");
}

#[test]
fn a_macro_is_followed_to_all_it_may_stand_for() {
    check("#define H \"x.h\"\n#include H\n", &["x.h"]);
    check("#define H <x.h>\n#include H\n", &["i/x.h"]);
    check("#include H\n#define H <x.h>\n", &["i/x.h"]);
    check(
        "#define H \"x.h\"\n#define H \"y.h\"\n#include H\n",
        &["x.h", "y.h"],
    );
    check(
        "#define H A\n#define A B\n#define B <z.h>\n#define A \"y.h\"\n#include H\n",
        &["i/z.h", "y.h"],
    );
    check("#define H H\n#define H \"x.h\"\n#include H\n", &["x.h"]);
    check("#define H \"x.h\"\n#include_next H\n", &["i/x.h", "x.h"]);
    check("#define H \"none.h\"\n#include H\n", &[]);
    check("#if __has_include(H)\n#endif\n#define H <z.h>\n", &["i/z.h"]);
    check("#define H \"linux.h\"\n#include H\n", &["i/linux.h"]);
    // Never defined: an error, or in a dead branch.
    check("#ifdef H\n#include H\n#endif\n", &[]);
    check("#define H 1\n#include H\n", &[]);
    check("#define H(x) STRING(x)\n#include H\n", &[]);
    check(
        "#define H <z.h>\n#define z(x) y\n#define h() y\n#include H\n",
        &["i/z.h"],
    );
}

#[test]
fn definitions_count_wherever_they_are() {
    let include = ("a.c", "#include H\n#include \"first.h\"\n");
    let define = |text| ("second.h", text);
    let first = ("first.h", "#include \"second.h\"\n");
    check_defined(
        &[include, first, define("#define H \"y.h\"\n")],
        &["H=<x.h>", "H=\"none.h\""],
        &["first.h", "i/x.h", "second.h", "y.h"],
    );
    // A file that is found by a macro defines what another stands for.
    check_defined(
        &[
            ("a.c", "#include H\n#include I\n#define H J\n"),
            ("x.h", "#define I <z.h>\n"),
            ("i/z.h", "#define J \"y.h\"\n#if __has_include(K)\n#endif\n"),
            ("y.h", "#define K <linux_2.h>\n"),
            ("i/linux_2.h", ""),
        ],
        &["J=\"x.h\""],
        &["i/linux_2.h", "i/z.h", "x.h", "y.h"],
    );
    // One macro is searched from each place that includes it.
    check_defined(
        &[
            (
                "a.c",
                "#define H \"n.h\"\n#include \"s/s.h\"\n#include \"t/t.h\"\n",
            ),
            ("s/s.h", "#include H\n"),
            ("s/n.h", ""),
            ("t/t.h", "#include H\n"),
            ("t/n.h", ""),
        ],
        &[],
        &["s/", "s/n.h", "s/s.h", "t/", "t/n.h", "t/t.h"],
    );
    check_defined(&[("a.c", "#include H\n")], &["H"], &[]);
    let forced = [b"y.h".to_vec()];
    let fixture = Fixture::new(&[]);
    fixture.write("a.c", "#include H\n");
    fixture.write("y.h", "#define H \"x.h\"\n");
    fixture.write("x.h", "");
    let closure = fixture.discover_with(|request| request.forced_includes = &forced);
    assert_eq!(closure.names(&fixture), ["a.c", "x.h", "y.h"]);
    assert_eq!(closure.expanded, BTreeSet::from([b"H".to_vec()]));
}

#[test]
fn what_is_not_understood_is_computed() {
    check_computed("#include H()\n", &[]);
    check_computed("#define H STRING(x)\n#include H\n", &[]);
    check_computed("#define H A\n#define A STRING(x)\n#include H\n", &[]);
    check_computed("#include H\n", &["H=\"a\" \"b\""]);
    check_computed("#include H\n", &["H \"x.h\""]);
    check_computed("#include H\n", &["H==x"]);
    check_computed("#if __has_include(H)\n#endif\n#define H STRING(x)\n", &[]);
    check_computed("#include __FILE__\n", &[]);
    check_computed("#define H __FILE__\n#include H\n", &[]);
    check_computed("#define H _Pragma\n#include H\n", &[]);
    // A word of the name is a macro itself.
    check_computed("#define H <linux.h>\n#include H\n", &[]);
    check_computed("#define H <z.h>\n#include H\n#define z y\n", &[]);
    check_computed("#define H <z.h>\n#include H\n", &["h=hpp"]);
    check_computed("#define H <__z.h>\n#include H\n", &[]);
    let chain: String = (0..1000)
        .map(|number| format!("#define H{number} H{}\n", number + 1))
        .collect();
    check_computed(&format!("{chain}#include H0\n"), &[]);
}

/// mbed TLS shows in a comment how to define a name so.
#[test]
fn the_null_device_is_no_input() {
    check(
        "//#define H \"/dev/null\"\n#define H \"x.h\"\n#include H\n",
        &["x.h"],
    );
    check("#include \"/dev/null\"\n#include </dev/null>\n", &[]);
}

#[test]
fn a_device_that_may_be_meant_is_left_to_a_preprocessor() {
    let text = |device: &str| format!("//#define H \"{device}\"\n#define H \"x.h\"\n#include H\n");
    check_computed(&text("/dev/zero"), &[]);
    let fixture = Fixture::new(&[]);
    fixture.write("a.c", &text("fifo"));
    fixture.write("x.h", "");
    nix::unistd::mkfifo(&fixture.os_path("fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let closure = fixture.discover();
    assert!(closure.computed);
    assert_eq!(closure.names(&fixture), ["a.c", "x.h"]);
}

#[test]
fn macros_from_elsewhere_leave_all_to_a_preprocessor() {
    let fixture = Fixture::new(&["i"]);
    fixture.write("a.c", "#include <x.h>\n#if __has_include(H)\n#endif\n");
    fixture.write("i/x.h", "#define H \"y.h\"\n");
    let is_computed = |closure: &Closure| closure.computed && closure.computed_probe;
    assert!(!is_computed(&fixture.discover()));
    assert!(is_computed(
        &fixture.discover_with(|request| request.definitions = None)
    ));
    let unasked = SearchList {
        predefined: None,
        ..fixture.search.clone()
    };
    assert!(is_computed(
        &fixture.discover_with(|request| request.search = &unasked)
    ));
    fixture.write("i/x.h.gch", "");
    assert!(is_computed(&fixture.discover()), "a precompiled header");
}

/// What a macro that stands for `__has_include` is handed on by, or made of, may be in another file or an argument.
#[test]
fn a_macro_for_the_operator_is_followed_everywhere() {
    let is_probe = |text: &str, definitions: &[&str]| {
        let files = [("a.c", text), ("y.h", "#define HAS __has_include\n")];
        closure(&files, definitions).1.computed_probe
    };
    let text = "#include \"y.h\"\n#if HAS(\"x.h\")\n#endif\n";
    assert!(!is_probe(text, &["ASK=1", "HAS_NOT=0"]));
    assert!(!is_probe(text, &["HAS(x)=0"]), "only defined");
    assert!(is_probe(text, &["ASK=HAS"]));
    assert!(is_probe(text, &["ASK=HAS(\"x.h\")"]));
    assert!(is_probe(text, &["ASK(x)=HAS(x)"]));
    let pasted = "#include \"y.h\"\n#if CAT(HA, X)(\"x.h\")\n#endif\n";
    assert!(!is_probe(pasted, &[]));
    assert!(is_probe(pasted, &["X=S"]));
    assert!(is_probe(
        "#include \"y.h\"\n#if CAT(HA, S)(\"x.h\")\n#endif\n",
        &[]
    ));
    let fixture = Fixture::new(&[]);
    fixture.write("a.c", "#define HAS __has_include\n");
    let unknown = fixture.discover_with(|request| request.definitions = None);
    assert!(unknown.computed_probe, "arguments that were not read");
}

#[test]
fn files_are_read_for_so_many_macros_for_the_operator_and_no_more() {
    for (count, computed) in [(64, false), (65, true)] {
        let mut fixture = Fixture::new(&["i"]);
        fixture.search.predefined = Some(Vec::new());
        fixture.write("a.c", "#include <x.h>\n#include <y.h>\n#include <z.h>\n");
        for (turn, name) in ["i/x.h", "i/y.h", "i/z.h"].into_iter().enumerate() {
            let aliases = (0..count).filter(|index| index % 3 == turn);
            let text: String = aliases
                .map(|index| format!("#define HAS_{index} __has_include\n"))
                .collect();
            fixture.write(name, &text);
        }
        assert_eq!(fixture.discover().computed_probe, computed, "{count}");
    }
}
