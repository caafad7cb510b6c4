//! Every construct that names a file, on small trees.

use std::os::unix::fs::symlink;

use super::*;
use crate::inputs::tree::as_path;

/// The closure's names below the root of a tree of `files`, searched along `angle`.
fn check(angle: &[&str], files: &[(&str, &str)], expected: &[&str]) {
    let fixture = Fixture::new(angle);
    for (name, text) in files {
        fixture.write(name, text);
    }
    assert_eq!(fixture.discover().names(&fixture), expected, "{files:?}");
}

#[test]
fn quoted_names_are_searched_beside_their_includer_first() {
    check(
        &["i"],
        &[
            ("a.c", "#include \"s/x.h\"\n"),
            ("s/x.h", "#include \"y.h\""),
            ("s/y.h", ""),
            ("i/y.h", ""),
        ],
        &["a.c", "i/", "s/", "s/x.h", "s/y.h"],
    );
    check(
        &["i"],
        &[("a.c", "#include <y.h>\n"), ("y.h", ""), ("i/y.h", "")],
        &["a.c", "i/", "i/y.h"],
    );
}

#[test]
fn the_first_match_of_the_list_wins_and_directories_are_passed_over() {
    check(
        &["i", "j", "k"],
        &[
            ("a.c", "#include <y.h>\n"),
            ("i/y.h/z", ""),
            ("j/y.h", ""),
            ("k/y.h", ""),
        ],
        &["a.c", "i/", "i/y.h/", "j/", "j/y.h", "k/"],
    );
}

#[test]
fn include_next_takes_every_match() {
    for text in [
        "#include_next <y.h>",
        "#if __has_include_next(<y.h>)\n#endif",
        "#include_next \"y.h\"",
    ] {
        check(
            &["i", "j", "k"],
            &[
                ("a.c", "#include <y.h>\n"),
                ("i/y.h", text),
                ("j/y.h", ""),
                ("k/y.h", ""),
            ],
            &["a.c", "i/", "i/y.h", "j/", "j/y.h", "k/", "k/y.h"],
        );
    }
}

#[test]
fn a_time_macro_is_pasted_of_what_several_files_and_flags_have() {
    for (definition, flag, expected) in [
        ("#define P(x) __##x##__\n", "", true),
        ("", "P(x)=__##x##__", true),
        ("#define P(x) x##__\n", "", false),
        ("#define P(x) CAT(Q, ME__)\n", "Q=__TI", true),
        ("", "__TIME__=0", false),
    ] {
        let mut fixture = Fixture::new(&["i"]);
        fixture.write("a.c", "#include <p.h>\nconst char *time = P(TIME);\n");
        fixture.write("i/p.h", definition);
        fixture.search.predefined = Some(Vec::new());
        let given: Vec<_> = [flag]
            .into_iter()
            .filter(|flag| !flag.is_empty())
            .map(|flag| flag.as_bytes().to_vec())
            .collect();
        let closure = fixture.discover_with(|request| request.definitions = Some(&given));
        assert_eq!(closure.time_macros.date_or_time, expected, "{definition} {flag}");
    }
}

#[test]
fn include_next_goes_on_among_the_directories_for_quoted_names() {
    for (file, text) in [
        ("q/y.h", "#include_next <y.h>"),
        ("y.h", "#include_next <y.h>"),
        ("q/y.h", "#if __has_include_next(<y.h>)\n#endif"),
    ] {
        let mut fixture = Fixture::new(&["i"]);
        fixture.search.quote = vec![b"q".to_vec(), b"r".to_vec()];
        fixture.write("a.c", "#include \"y.h\"\n");
        for name in ["r/y.h", "i/y.h"] {
            fixture.write(name, "");
        }
        fixture.write(file, text);
        let names = fixture.discover().names(&fixture);
        assert!(names.contains(&"r/y.h".to_owned()), "{file} {text}: {names:?}");
    }
}

#[test]
fn every_spelling_is_followed() {
    for text in [
        "%:include <y.h>",
        "??=include <y.h>",
        "#inc\\\nlude <y.h>",
        "#/**/include <y.h>",
        "#if __has_include(<y.h>)\n#endif",
        "#import <y.h>",
        "R\"(\n#include <y.h>\n)\"",
        "/*\n#include <y.h>\n*/",
        "#if 0\n#include <y.h>\n#endif",
        "#pragma GCC dependency <y.h>",
    ] {
        check(
            &["i"],
            &[("a.c", text), ("i/y.h", "#include \"z.h\"\n"), ("i/z.h", "")],
            &["a.c", "i/", "i/y.h", "i/z.h"],
        );
    }
}

#[test]
fn files_that_are_not_scanned() {
    let text = "#include \"no.h\"\n";
    check(
        &[],
        &[
            ("a.c", "#line 3 \"g.y\"\n# 4 \"none.y\"\n"),
            ("g.y", text),
            ("no.h", ""),
        ],
        &["a.c", "g.y"],
    );
    check(
        &["i"],
        &[
            ("a.c", "#embed <e>\nasm(\".incbin \\\"b\\\"\");"),
            ("i/e", text),
            ("b", text),
            ("no.h", ""),
        ],
        &["a.c", "b", "i/", "i/e"],
    );
    check(
        &[],
        &[
            ("a.c", ".include \"m.inc\"\n"),
            ("m.inc", ".incbin \"b\"\n"),
            ("b", ""),
        ],
        &["a.c", "b", "m.inc"],
    );
}

#[test]
fn the_assembler_searches_include_directories() {
    let fixture = Fixture::new(&[]);
    fixture.write("a.c", "asm(\".incbin \\\"b\\\"\");");
    fixture.write("i/b", "");
    fixture.write("j/b", "");
    let directories = [b"i".to_vec(), b"j".to_vec()];
    let closure = fixture.discover_with(|request| request.include_directories = &directories);
    assert_eq!(closure.names(&fixture), ["a.c", "i/", "i/b", "j/", "j/b"]);
}

#[test]
fn include_directories_are_kept_whatever_they_are() {
    let fixture = Fixture::new(&[]);
    fixture.write("a.c", "");
    fixture.write("file", "");
    fixture.directory("empty");
    symlink("empty", fixture.os_path("link")).unwrap();
    let directories = ["empty", "file", "link", "none"].map(|name| name.as_bytes().to_vec());
    let closure = fixture.discover_with(|request| request.include_directories = &directories);
    assert_eq!(
        closure.names(&fixture),
        ["a.c", "empty/", "file", "link -> empty"]
    );
    assert!(closure.absent[&fixture.path("")[..fixture.path("").len() - 1]].contains(b"none".as_slice()));
}

#[test]
fn every_component_of_a_name_is_kept() {
    let fixture = Fixture::new(&["i"]);
    fixture.write("a.c", "#include <sub/../x.h>\n");
    fixture.write("i/x.h", "");
    fixture.directory("i/sub");
    assert_eq!(
        fixture.discover().names(&fixture),
        ["a.c", "i/", "i/sub/", "i/x.h"]
    );
    // A file where a directory is needed is ENOTDIR for the client and must not become anything else.
    check(
        &["i"],
        &[("a.c", "#include <f/x.h>\n"), ("i/f", "")],
        &["a.c", "i/", "i/f"],
    );
}

#[test]
fn a_parent_after_a_link_is_the_targets_parent() {
    let fixture = Fixture::new(&["t"]);
    fixture.write("a.c", "#include <lnk/../up.h>\n");
    fixture.write("far/dir/x.h", "");
    fixture.write("far/up.h", "right");
    fixture.write("t/up.h", "wrong");
    symlink("../far/dir", fixture.os_path("t/lnk")).unwrap();
    let closure = fixture.discover();
    assert_eq!(
        closure.names(&fixture),
        ["a.c", "far/", "far/dir/", "far/up.h", "t/", "t/lnk -> ../far/dir"]
    );
    assert!(closure.listed.contains_key(&*fixture.path("far")));
}

#[test]
fn a_linked_header_includes_from_its_names_directory() {
    let fixture = Fixture::new(&["i"]);
    fixture.write("a.c", "#include <x.h>\n#include \"far/x.h\"\n");
    fixture.write("far/x.h", "#include \"y.h\"\n");
    fixture.write("far/y.h", "");
    fixture.write("i/y.h", "");
    symlink("../far/x.h", fixture.os_path("i/x.h")).unwrap();
    let expected = [
        "a.c",
        "far/",
        "far/x.h",
        "far/y.h",
        "i/",
        "i/x.h -> ../far/x.h",
        "i/y.h",
    ];
    assert_eq!(fixture.discover().names(&fixture), expected);
}

#[test]
fn links_that_lead_nowhere_are_kept_and_passed_over() {
    let fixture = Fixture::new(&["i", "j"]);
    fixture.write("a.c", "#include <x.h>\n#include <y.h>\n");
    fixture.directory("i");
    symlink("x.h", fixture.os_path("i/x.h")).unwrap();
    symlink("none", fixture.os_path("i/y.h")).unwrap();
    fixture.write("j/x.h", "");
    fixture.write("j/y.h", "");
    let closure = fixture.discover();
    let expected = [
        "a.c",
        "i/",
        "i/x.h -> x.h",
        "i/y.h -> none",
        "j/",
        "j/x.h",
        "j/y.h",
    ];
    assert_eq!(closure.names(&fixture), expected);
    assert!(closure.absent[&*fixture.path("i")].contains(b"none".as_slice()));
}

#[test]
fn forced_includes_are_searched_in_cwd_then_along_the_list() {
    let fixture = Fixture::new(&["i"]);
    fixture.write("s/b.c", "");
    fixture.write("s/one.h", "");
    fixture.write("one.h", "");
    fixture.write("i/one.h", "");
    fixture.write("i/two.h", "#include <three.h>");
    fixture.write("i/three.h", "");
    let forced = [b"one.h".to_vec(), b"two.h".to_vec()];
    let closure = fixture.discover_with(|request| {
        request.source = b"s/b.c";
        request.forced_includes = &forced;
    });
    assert_eq!(
        closure.names(&fixture),
        ["i/", "i/three.h", "i/two.h", "one.h", "s/", "s/b.c"]
    );
}

#[test]
fn absolute_names_and_their_precompiled_forms() {
    let fixture = Fixture::new(&[]);
    let name = fixture.os_path("d/x.h").display().to_string();
    fixture.write("a.c", &format!("#include \"{name}\"\n"));
    fixture.write("d/x.h", "");
    let closure = fixture.discover();
    assert_eq!(closure.names(&fixture), ["a.c", "d/", "d/x.h"]);
    assert!(!closure.precompiled);
    fixture.write("d/x.h.gch", "__DATE__");
    let closure = fixture.discover();
    assert_eq!(closure.names(&fixture), ["a.c", "d/", "d/x.h", "d/x.h.gch"]);
    assert!(closure.precompiled && !closure.odd_precompiled);
    fixture.remove("d/x.h");
    assert!(fixture.discover().odd_precompiled);
}

#[test]
fn precompiled_headers_are_opaque_inputs_beside_their_headers() {
    #[derive(Debug, PartialEq)]
    enum Seen {
        Input,
        Odd,
        No,
    }
    let check = |name: &str, expected: Seen| {
        let fixture = Fixture::new(&["i", "j"]);
        fixture.write("a.c", "#include <x.h>\n");
        fixture.write("j/x.h", "");
        fixture.write("i/other", "");
        fixture.write(name, "__DATE__ #include <y.h>");
        fixture.write("i/y.h", "");
        let closure = fixture.discover();
        let seen = match (closure.precompiled, closure.odd_precompiled) {
            (true, false) => Seen::Input,
            (false, true) => Seen::Odd,
            _ => Seen::No,
        };
        assert_eq!(seen, expected, "{name}");
        let travels = closure.names(&fixture).iter().any(|travels| travels == name);
        assert!(travels || seen != Seen::Input, "{name}");
        assert!(!closure.time_macros.date_or_time, "{name}");
        assert!(!closure.names(&fixture).iter().any(|name| name == "i/y.h"));
    };
    check("j/x.h.gch", Seen::Input);
    check("j/x.h.pch", Seen::Input);
    check("j/x.h.gch/directory", Seen::Odd);
    check("i/x.h.gch", Seen::Odd);
    check("i/y.h.gch", Seen::No);
    check("j/x.gch", Seen::No);
}

#[test]
fn a_precompiled_header_among_the_dependencies_is_not_scanned() {
    let fixture = Fixture::new(&[]);
    fixture.write("a.c", "");
    for name in ["named", "x.h.pch"] {
        fixture.write(name, "#include \"y.h\"\n");
    }
    fixture.write("y.h", "");
    let loaded = [b"named".to_vec()];
    let dependencies = [b"named".to_vec(), b"x.h.pch".to_vec()];
    let closure = fixture.discover_with(|request| {
        request.further_files = &loaded;
        request.dependencies = &dependencies;
    });
    assert_eq!(closure.names(&fixture), ["a.c", "named", "x.h.pch"]);
}

#[test]
fn a_precompiled_form_of_the_source_is_odd() {
    let fixture = Fixture::new(&[]);
    fixture.write("a.c", "");
    assert!(!fixture.discover().odd_precompiled);
    fixture.write("a.c.gch", "");
    assert!(fixture.discover().odd_precompiled);
}

#[test]
fn what_files_say_besides_names_is_united() {
    let fixture = Fixture::new(&["i"]);
    fixture.write("a.c", "#include <x.h>\n#include <y.h>\n");
    fixture.write("i/x.h", "#include MACRO()\n__DATE__ import <z>;\n");
    fixture.write(
        "i/y.h",
        "__TIMESTAMP__ .incbin NAME\n#line 3 NAME\n#pragma GCC pch_preprocess \"z\"\n",
    );
    let closure = fixture.discover();
    assert!(closure.computed && closure.macro_incbin && closure.modules && closure.pch_pragma);
    assert!(closure.computed_line);
    assert!(closure.time_macros.date_or_time && closure.time_macros.timestamp);
    assert_eq!(closure.source, fixture.path("a.c"));
    assert_eq!(closure.source_bytes, 30);
}

#[test]
fn lookups_are_listed_and_so_are_passages_of_few_names() {
    let fixture = Fixture::new(&["i", "p/q"]);
    (0..1000).for_each(|number| fixture.write(&format!("tools/t{number}"), ""));
    fixture.write("a.c", "#include <s/x.h>\n#include <t/none.h>\n");
    fixture.write("i/s/x.h", "");
    fixture.write("p/q/t/y.h", "");
    fixture.write("tools/cc1", "");
    let files = [b"tools/cc1".to_vec()];
    let closure = fixture.discover_with(|request| request.further_files = &files);
    let listed = |name: &str| closure.listed.contains_key(&*fixture.path(name));
    for name in ["i", "i/s", "p/q", "p/q/t", "p"] {
        assert!(listed(name), "{name}");
    }
    assert!(!listed("tools"));
    assert!(closure.listed.contains_key(b"/".as_slice()));
    let temporary = std::env::temp_dir();
    assert!(
        !closure
            .listed
            .contains_key(temporary.as_os_str().as_encoded_bytes())
    );
    assert!(closure.absent[&*fixture.path("i")].contains(b"t".as_slice()));
    assert!(closure.absent[&*fixture.path("p/q/t")].contains(b"none.h".as_slice()));
    assert_eq!(
        closure.names(&fixture),
        [
            "a.c",
            "i/",
            "i/s/",
            "i/s/x.h",
            "p/",
            "p/q/",
            "p/q/t/",
            "tools/",
            "tools/cc1"
        ],
    );
}

#[test]
fn dependencies_are_scanned_and_further_files_are_not() {
    let fixture = Fixture::new(&[]);
    fixture.write("a.c", "#include MACRO()\n");
    fixture.write("d/m.h", "#if __has_include(\"n.h\")\n#endif\n");
    fixture.write("d/n.h", "");
    fixture.write("rsp", "#include \"never.h\"");
    fixture.write("never.h", "");
    let (dependencies, further) = ([b"d/m.h".to_vec(), b"none.h".to_vec()], [b"rsp".to_vec()]);
    let closure = fixture.discover_with(|request| {
        request.dependencies = &dependencies;
        request.further_files = &further;
        request.optional_files = &dependencies;
    });
    assert_eq!(closure.names(&fixture), ["a.c", "d/", "d/m.h", "d/n.h", "rsp"]);
}

#[test]
fn what_belongs_to_the_local_compiler() {
    let fixture = Fixture::new(&["i"]);
    fixture.directory("i");
    fixture.write("a.c", "#include <fifo>\n");
    let missing = |request: &mut Request<'_>| request.source = b"none.c";
    assert!(matches!(
        fixture.try_discover(missing),
        Err(DiscoverError::Missing { .. })
    ));
    let directory = |request: &mut Request<'_>| request.source = b"i";
    assert!(matches!(
        fixture.try_discover(directory),
        Err(DiscoverError::NotRegular { .. })
    ));
    let further = [b"none".to_vec()];
    let error = fixture
        .try_discover(|request| request.further_files = &further)
        .unwrap_err();
    assert_eq!(error.to_string(), "none does not exist");
    nix::unistd::mkfifo(&fixture.os_path("i/fifo"), nix::sys::stat::Mode::S_IRUSR).unwrap();
    let error = fixture.try_discover(|_| {}).unwrap_err();
    assert_eq!(
        error.to_string(),
        format!(
            "{} is not a regular file",
            as_path(&fixture.path("i/fifo")).display()
        )
    );
}

#[test]
fn more_bytes_than_the_bound_are_refused_unread() {
    let fixture = Fixture::new(&[]);
    fixture.write("a.c", "#embed \"big\"\n");
    std::fs::File::create(fixture.os_path("big"))
        .unwrap()
        .set_len(CLOSURE_BYTES)
        .unwrap();
    assert!(matches!(
        fixture.try_discover(|_| {}),
        Err(DiscoverError::TooManyBytes)
    ));
}

#[test]
fn more_objects_than_the_bound_are_refused() {
    let fixture = Fixture::new(&[]);
    let includes: Vec<_> = (0..CLOSURE_FILES)
        .map(|number| format!("#include \"d/{number}\"\n"))
        .collect();
    fixture.write("a.c", &includes.concat());
    fixture.write("d/0", "");
    for number in 1..CLOSURE_FILES {
        std::fs::hard_link(fixture.os_path("d/0"), fixture.os_path(&format!("d/{number}"))).unwrap();
    }
    assert!(matches!(
        fixture.try_discover(|_| {}),
        Err(DiscoverError::TooManyFiles)
    ));
}

#[test]
fn links_are_followed_as_often_as_the_kernel_does() {
    let check = |count: usize, found: bool| {
        let fixture = Fixture::new(&["i"]);
        fixture.write("a.c", "#include <0>\n");
        fixture.write(&format!("i/{count}"), "");
        for number in 0..count {
            symlink((number + 1).to_string(), fixture.os_path(&format!("i/{number}"))).unwrap();
        }
        let exists = fixture.os_path("i/0").exists();
        assert_eq!(exists, found, "the kernel, {count} links");
        let closure = fixture.discover();
        assert_eq!(
            closure.get(&fixture.path(&format!("i/{count}"))).is_some(),
            found,
            "{count} links"
        );
    };
    check(SYMLINKS_FOLLOWED, true);
    check(SYMLINKS_FOLLOWED + 1, false);
}
