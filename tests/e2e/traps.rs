//! What makes a compiler read one file instead of another: every trap that once cost somebody a wrong object,
//! against both compilers, and still remote.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::symlink;

use crate::support::{Summary, World};

/// `both FLAGS SOURCE` compiles with gcc and with clang; every object and dep file has a name of its own.
const BOTH: &str = "n=0\nboth() { for c in gcc clang; do n=$((n+1)); $c -MD \"$@\" -o $n.o || echo \"$c $* fails\"; done; }\n";

/// Runs lines of compiles both ways. All must be remote but `local` of them.
fn check(world: &World, lines: &str, local: u64) -> Summary {
    let script = BOTH.to_owned() + lines;
    let summary = world.compare("rm -f *.o *.d", &script);
    assert_eq!(
        (summary.local(), summary.fallbacks()),
        (local, 0),
        "{summary:?}\n{}",
        world.agent_log()
    );
    assert!(summary.remote() > 0, "{summary:?}");
    summary
}

/// A world with the header `which.h` in each of `directories`; each defines another value.
fn choice(directories: &[&str]) -> World {
    let world = World::new();
    for directory in directories {
        let text = format!("const char *which = \"{directory}\";\n");
        world.write(&format!("{directory}/which.h"), &text);
    }
    world.write("angle.c", "#include <which.h>\n");
    world.write("quote.c", "#include \"which.h\"\n");
    world
}

#[test]
fn directories_are_searched_in_the_compilers_order() {
    let world = choice(&["q", "i", "s", "a", "p/w", "p/b", "c"]);
    let mut lines = String::new();
    for flags in [
        "-iquote q -I i -isystem s -idirafter a",
        "-idirafter a -isystem s -I i",
        "-idirafter a -isystem s",
        "-idirafter a",
        "-I none -idirafter a -iprefix p/ -iwithprefix w",
        "-iprefix p/ -iwithprefixbefore b -I i",
        "-iprefix p/ -iwithprefix w -isystem s",
        // A directory of both kinds counts where the system's stands.
        "-I s -I i -isystem s",
        "-I i -I i/. -I s",
        "-nostdinc -I s",
    ] {
        lines += &format!("both {flags} -c angle.c; both {flags} -c quote.c\n");
    }
    check(&world, &lines, 0);
}

#[test]
fn variables_of_the_search_path_are_obeyed() {
    let world = choice(&[".", "i", "c", "d"]);
    let lines = "CPATH=c both -c angle.c; CPATH=c both -I i -c angle.c\n\
        CPATH= both -c angle.c 2>/dev/null; CPATH=:c both -c angle.c; CPATH=c: both -c angle.c\n\
        CPATH=none::c both -c angle.c; C_INCLUDE_PATH=d both -c angle.c\n\
        C_INCLUDE_PATH=d: CPATH=none both -c angle.c; C_INCLUDE_PATH=d both -isystem c -c angle.c\n";
    let script = BOTH.to_owned() + lines;
    let summary = world.compare("rm -f *.o *.d", &script);
    assert_eq!(summary.fallbacks(), 0, "{summary:?}\n{}", world.agent_log());
    // Without the header clang's words are not believed, gcc's are.
    assert_eq!(summary.remote(), 17, "{summary:?}");
}

#[test]
fn variables_that_move_the_prefix_of_a_gcc_are_obeyed() {
    let world = choice(&["stays"]);
    let plant = "d=$(gcc -print-file-name=include); p=${d%/lib/gcc/*}; v=$(gcc -dumpversion)\n\
        plant() { mkdir -p $1 && echo \"const char *which = \\\"$2\\\";\" >$1/which.h; }\n\
        plant c${d#\"$p\"} moved-c; plant cxx/include/c++/$v moved-cxx";
    assert!(world.local(plant).status.success());
    let lines = "compile() { env \"$@\" -idirafter stays -c angle.c; }\n\
        compile gcc -o 1.o; compile GCC_ROOT=$PWD/c gcc -o 2.o; compile GCC_ROOT=/none gcc -o 3.o\n\
        compile G++_ROOT=$PWD/cxx g++ -o 4.o; compile G++_ROOT=cxx g++ -o 5.o\n\
        compile BINUTILS_ROOT=$PWD/c gcc -o 6.o";
    let summary = world.compare("rm -f *.o", lines);
    assert_eq!(
        (summary.remote(), summary.reason("environment-programs")),
        (5, 1),
        "{summary:?}\n{}",
        world.agent_log()
    );
    let is_moved = |object: &str, to: &str| {
        let text = [to.as_bytes(), b"\0"].concat();
        world
            .read(object)
            .windows(text.len())
            .any(|window| window == text)
    };
    assert!(is_moved("2.o", "moved-c") && is_moved("4.o", "moved-cxx") && is_moved("5.o", "moved-cxx"));
    assert!(is_moved("1.o", "stays") && is_moved("3.o", "stays"));
}

#[test]
fn the_producer_that_an_llvm_is_told_is_written() {
    let world = World::new();
    world.write("a.c", "int value;\n");
    let lines = "clang -flto -c a.c -o 1.o; LLVM_OVERRIDE_PRODUCER=other clang -flto -c a.c -o 2.o";
    let summary = world.compare("rm -f *.o", lines);
    assert_eq!((summary.remote(), summary.local()), (2, 0), "{summary:?}");
    assert!(world.read("1.o") != world.read("2.o"));
}

#[test]
fn include_next_goes_on_where_the_header_was_found() {
    let world = World::new();
    for (directory, next) in [("a", "b"), ("b", "c"), ("c", "d")] {
        world.write(
            &format!("{directory}/n.h"),
            &format!(
                "int in_{directory};\n#if __has_include_next(<n.h>)\n#include_next <n.h>\n#else\nint last_{next};\n#endif\n"
            ),
        );
    }
    world.write("b/m.h", "#include \"n.h\"\n#include_next \"n.h\"\n");
    world.write("limits.h", "#include_next <limits.h>\n");
    world.write("chain.c", "#include <n.h>\n");
    world.write("middle.c", "#include <m.h>\n");
    world.write("main.c", "#include_next <n.h>\n");
    world.write("system.c", "#include \"limits.h\"\nint most = INT_MAX;\n");
    let lines = "for order in '-Ia -Ib -Ic' '-Ic -Ib -Ia' '-Ib -isystem a -iquote c' '-iquote a -iquote b -idirafter c'; do\n\
        for source in chain middle main; do both $order -w -c $source.c 2>/dev/null; done; done\n\
        both -c system.c; both -I. -c system.c\n";
    let script = BOTH.to_owned() + lines;
    let summary = world.compare("rm -f *.o *.d", &script);
    assert_eq!(summary.fallbacks(), 0, "{summary:?}\n{}", world.agent_log());
    assert!(summary.remote() >= 24, "{summary:?}");
}

#[test]
fn a_header_is_once_only_by_the_compilers_own_identity() {
    let world = World::new();
    let mut lines = String::new();
    // Equal bytes: gcc compares seconds of mtime, size and bytes; clang device and inode.
    let links = ["cp a/x.h b/x.h", "ln a/x.h b/x.h", "ln -s ../a/x.h b/x.h"];
    let times = [
        "touch -d 2001-01-01 a/x.h b/x.h",
        "touch -d 2001-01-01 a/x.h; touch -d '2001-01-01 00:00:01' b/x.h",
        "touch -d 2001-01-01T00:00:00.1 a/x.h; touch -d 2001-01-01T00:00:00.2 b/x.h",
    ];
    for (case, (link, times)) in links
        .iter()
        .flat_map(|link| times.map(|times| (link, times)))
        .enumerate()
    {
        let at = |name: &str| format!("{case}/{name}");
        world.write(
            &at("a/x.h"),
            "#pragma once\n#include \"own.h\"\nextern int declared;\n",
        );
        world.write(&at("a/own.h"), "int own_a;\n");
        world.write(&at("b/own.h"), "int own_b;\n");
        world.write(&at("twice.c"), "#include \"a/x.h\"\n#include \"b/x.h\"\n");
        world.write(&at("import.c"), "#import \"a/x.h\"\n#import \"b/x.h\"\n");
        world.write(&at("mixed.c"), "#import \"a/x.h\"\n#include \"b/x.h\"\n");
        assert!(
            world
                .local(&format!("cd {case} && {link} && {times}"))
                .status
                .success()
        );
        for source in ["twice", "import", "mixed"] {
            lines += &format!("both -g -w -c {case}/{source}.c\n");
        }
    }
    let summary = check(&world, &lines, 0);
    assert_eq!(summary.remote(), 54, "{summary:?}");
}

#[test]
fn a_directive_is_found_however_it_is_written() {
    let world = World::new();
    for name in ["a", "b", "c", "d", "e", "f", "g", "h"] {
        world.write(&format!("i/{name}.h"), &format!("int from_{name};\n"));
    }
    world.write(
        "odd.c",
        "%:include <a.h>\n#/* */include/**/<b.h>\n  #  \t include \"c.h\"\n#inc\\\nlude <d.h>\n\
         /* */ # /* a\n b */ include <e.h>\n#include \\\n<f.h>\n#include <g.h> // <none.h>\n# \\\ninclude_next <h.h>\n",
    );
    world.write(
        "trigraph.c",
        "??=include <a.h>\n#inc??/\nlude <b.h>\nconst char *question = \"??=include <none.h>\";\n",
    );
    world.write(
        "hidden.c",
        "const char *text = \"/*\";\n#include <a.h>\nconst char *end = \"*/\"; // \\\n#include <none.h>\n\
         #include <b.h>\nchar quote = '\"'; /* '\n#include <none.h>\n */\n#include <c.h>\n\
         #if 0\n#include <none.h>\n'\n#include <none.h>\n#endif\n#include <d.h>\n",
    );
    world.write(
        "raw.cc",
        "const char *text = R\"(\n#include <none.h>\n/* )\";\n#include <a.h>\nconst char *other = R\"x( )\" //\n)x\";\n\
         #include <b.h>\nint digits = 1'000'000;\n#include <c.h>\n",
    );
    world.write(
        "crlf.c",
        "#include <a.h>\r\n#include \"b.h\"\r\n#inc\\\r\nlude <c.h>\r\n",
    );
    world.write("mark.c", "\u{feff}#include <a.h>\n#include <b.h>");
    let lines = "both -Ii -w -c odd.c; both -Ii -std=c99 -w -c trigraph.c; both -Ii -trigraphs -c trigraph.c\n\
        both -Ii -w -c hidden.c; both -Ii -std=c++17 -c raw.cc; both -Ii -w -c crlf.c; both -Ii -c mark.c\n";
    check(&world, lines, 0);
}

#[test]
fn odd_names_of_headers_are_found_and_written_to_dep_files() {
    let world = World::new();
    let names: [&[u8]; 9] = [
        b"a b.h",
        b"a,b.h",
        b"a#b.h",
        b"a$b.h",
        b"a'b.h",
        b"a;b&c.h",
        b"a%b:c.h",
        b"a\xff\xfe.h",
        b"\xc3\xa4.h",
    ];
    let mut text = Vec::new();
    for (n, name) in names.iter().enumerate() {
        text.extend([b"#include \"", *name, b"\"\n"].concat());
        std::fs::write(
            world.at("").join(OsStr::from_bytes(name)),
            format!("int odd_{n};\n"),
        )
        .unwrap();
    }
    std::fs::write(world.at("odd.c"), &text).unwrap();
    for name in [&b"so urce.c"[..], b"so#urce$x,y.c", b"so\xffurce.c"] {
        std::fs::write(world.at("").join(OsStr::from_bytes(name)), &text).unwrap();
    }
    let lines = "both -g -c odd.c; for source in so*; do both -g -c \"$source\"; both -g -MP -c \"./$source\"; done\n";
    check(&world, lines, 0);
}

#[test]
fn paths_are_walked_as_the_kernel_walks_them() {
    let world = World::new();
    world.write("x.h", "int top;\n");
    world.write("far/x.h", "int far;\n");
    world.write("i/y.h", "int y;\n");
    for directory in ["sub", "far/dir", "empty", "i/sub"] {
        std::fs::create_dir_all(world.at(directory)).unwrap();
    }
    symlink("far/dir", world.at("link")).unwrap();
    symlink(world.at("i"), world.at("same")).unwrap();
    symlink("loop", world.at("loop")).unwrap();
    symlink("nowhere", world.at("dangling.h")).unwrap();
    world.write("sub.c", "#include \"sub/../x.h\"\n#include <sub/../y.h>\n");
    world.write(
        "link.c",
        "#include \"link/../x.h\"\n#include \"sub/.././link/../x.h\"\n",
    );
    world.write("none.c", "#if __has_include(\"none/../x.h\") || __has_include(\"dangling.h\")\nint wrong;\n#endif\n#if __has_include(\"sub/../x.h\")\nint right;\n#endif\n#if __has_include(\"sub\") || __has_include(<sub>)\nint directory;\n#endif\n");
    world.write(
        "absolute.c",
        &format!(
            "#include \"{}\"\n#include <{0}>\n",
            world.at("i/../x.h").display()
        ),
    );
    world.write("plain.c", "#include <y.h>\n");
    world.write("loop.c", "#if __has_include(\"loop/x.h\")\n#endif\n");
    // gcc writes the real path of a system header where that is shorter.
    std::fs::create_dir_all(world.at("long/name")).unwrap();
    symlink("../../i", world.at("long/name/link")).unwrap();
    world.write("file", "");
    let lines = "both -Ii -c sub.c; both -c link.c; both -Ii -c none.c; both -g -c absolute.c\n\
        both -Ii -Iempty -Wmissing-include-dirs -Werror -c plain.c\n\
        both -Ii -Inone -Wmissing-include-dirs -c plain.c\n\
        both -Ifile -Ii -c plain.c; both -Ii -Isame -g -c plain.c; both -Isame -Ii -g -c plain.c\n\
        both -isystem long/name/link -g -c plain.c; both -isystem $PWD/long/name/link -g -c plain.c\n\
        both -Ii -g -fdebug-prefix-map=$PWD=/build -ffile-prefix-map=i=elsewhere -c plain.c\n\
        both -I./i/ -I$PWD/i/sub/.. -g -c plain.c; both -Isub/../i -g -c ./sub/.././plain.c\n\
        (cd sub && both -I../i -g -c ../plain.c); (cd / && both -g -I$OLDPWD/i -c $OLDPWD/plain.c 2>/dev/null)\n";
    let script = BOTH.replace("-o $n.o", "-o $where/$n.o");
    let summary = world.compare("rm -f *.o *.d", &format!("where=$PWD\n{script}{lines}"));
    assert_eq!(
        (summary.local(), summary.fallbacks()),
        (0, 0),
        "{summary:?}\n{}",
        world.agent_log()
    );
    assert!(world.local("rm -f *.o *.d").status.success());
    // A link to itself is a failure to the compilers, not a missing name.
    let failing = "both -Ii -c loop.c; both -Iloop -Ii -c plain.c\n";
    let summary = world.compare("rm -f *.o *.d", &(BOTH.to_owned() + failing));
    assert_eq!(summary.fallbacks(), 0, "{summary:?}");
}

#[test]
fn computed_includes_are_followed() {
    let world = World::new();
    world.write("p/value.h", "int value;\n");
    world.write("p/linux.h", "int system;\n");
    world.write(
        "p/iterate.h",
        "#ifndef LIMITS\n#error\n#endif\n#define DEPTH 1\n#include <p/step.h>\n#include <p/step.h>\n",
    );
    world.write("p/step.h", "#if DEPTH == 1\n#undef DEPTH\n#define DEPTH 2\nint first;\n#include FILE_OF(2)\n#else\nint second;\n#endif\n");
    world.write(
        "p/own2.h",
        "#ifndef OWN\n#define OWN\n#include __FILE__\nint own;\n#endif\n",
    );
    world.write(
        "plain.c",
        "#define NAME <p/value.h>\n#include NAME\n#define Q \"p/linux.h\"\n#include Q\n",
    );
    world.write(
        "paste.c",
        "#define STR2(x) #x\n#define STR(x) STR2(x)\n#define NAME(x) STR(p/x.h)\n#include NAME(value)\n\
         #define ANGLE(x) <p/x.h>\n#include ANGLE(other)\n",
    );
    world.write("p/other.h", "int other;\n");
    world.write(
        "iterate.c",
        "#define STR2(x) #x\n#define STR(x) STR2(x)\n#define FILE_OF(n) STR(p/own##n.h)\n#define LIMITS (1, 2)\n\
         #define ITERATE() <p/iterate.h>\n#include ITERATE()\n",
    );
    world.write(
        "self.c",
        "#ifndef COUNT\n#define COUNT 1\n#include __FILE__\n#include __FILE__\n#elif COUNT == 1\n#undef COUNT\n\
         #define COUNT 2\nint one;\n#include __BASE_FILE__\n#elif COUNT == 2\n#undef COUNT\n#define COUNT 3\nint two;\n#endif\n",
    );
    world.write(
        "asked.c",
        "#define H <p/value.h>\n#define NONE <p/none.h>\n#if __has_include(H)\nint has;\n#endif\n\
         #if __has_include(NONE)\nint wrong;\n#endif\n#ifdef CONFIG\n#include CONFIG\n#endif\n",
    );
    let lines = "for source in plain paste iterate self asked; do both -I. -w -c $source.c; done\n\
        both -I. '-DCONFIG=<p/value.h>' -c asked.c; both -I. '-DCONFIG=\"p/other.h\"' -c asked.c\n";
    check(&world, lines, 0);
}

/// The compiler is asked for its `-M` only where a macro's value takes a preprocessor.
#[test]
fn macros_with_several_values_are_followed_to_all_of_them() {
    let world = World::new();
    for name in ["one", "two", "i/three", "i/linux", "i/1", "i/sub/one"] {
        let value = name.replace('/', "_");
        world.write(&format!("{name}.h"), &format!("int in_{value};\n"));
    }
    world.write(
        "pick.h",
        "#ifdef TWO\n#define PICKED \"two.h\"\n#elif defined ALIAS\n#define PICKED ALIAS\n\
                 #else\n#define PICKED \"one.h\"\n#endif\n",
    );
    world.write("pick.c", "#include \"pick.h\"\n#include PICKED\n");
    world.write(
        "again.c",
        "#define H \"one.h\"\n#pragma push_macro(\"H\")\n#undef H\n#define H <three.h>\n#include H\n\
         #pragma pop_macro(\"H\")\n#include H\n",
    );
    world.write("i/user.h", "#define USER \"one.h\"\n");
    world.write(
        "user.c",
        "#if __has_include(<user.h>)\n#include <user.h>\n#endif\n#ifdef USER\n#include USER\n\
                 #else\nint no_user;\n#endif\n",
    );
    world.write("sub/by.c", "#include NAME\n");
    world.write("sub/one.h", "int in_sub;\n#include_next NEXT\n");
    world.write("null.c", "//#define H \"/dev/zero\"\n#define H \"/dev/null\"\n#include H\n#if __has_include(</dev/null>)\nint yes;\n#endif\n");
    world.write("system.c", "#define H <linux.h>\n#include H\n");
    let lines = "both -Ii -c pick.c; both -Ii -DTWO -c pick.c; both -Ii '-DALIAS=<three.h>' -c pick.c\n\
        both -Ii -DALIAS=OTHER '-DOTHER=\"i/three.h\"' -c pick.c; both -Ii -c again.c; both -Ii -c user.c\n\
        both -c user.c; both -Ii '-DNAME=\"one.h\"' '-DNEXT=\"two.h\"' -I. -c sub/by.c\n\
        both -Ii -Wp,-DNAME=NEXT -D NEXT='<three.h>' -c sub/by.c\n\
        both -Ii '-DNAME=<sub/one.h>' -I. '-DNEXT=\"one.h\"' -c sub/by.c\n\
        both -Ii -imacros pick.h -DNAME=PICKED -DNEXT=PICKED -I. -c sub/by.c; both -Ii -std=c99 -c system.c\n";
    check(&world, lines, 0);
    assert_eq!(world.status()["dependencies"], 0);
    assert!(world.local("rm -f *.o *.d").status.success());
    // Without `-std` the name of the system is a macro: <1.h>. A device that is not meant is no obstacle.
    check(
        &world,
        "both -Ii -c system.c; both -include /dev/null -g -c null.c\n",
        0,
    );
    assert_eq!(world.status()["dependencies"], 4);
}

#[test]
fn what_the_assembler_reads_is_there() {
    let world = World::new();
    for directory in ["", "i/", "sub/"] {
        world.write(
            &format!("{directory}data.bin"),
            &format!("bytes of '{directory}'"),
        );
        world.write(
            &format!("{directory}part.inc"),
            &format!(".ascii \"part of {directory}\"\n"),
        );
    }
    world.write("i/only.bin", "only");
    world.write(
        "inline.c",
        "__asm__(\".data\\n.incbin \\\"data.bin\\\"\\n.incbin\\t\\\"only.bin\\\",1,2\\n.text\\n\");\n",
    );
    world.write(
        "sub/inline.c",
        "__asm__(\".data\\n.incbin \\\"data.bin\\\"\\n.include \\\"part.inc\\\"\\n.text\\n\");\n",
    );
    world.write(
        "a.S",
        "#include \"i/sizes.h\"\n.data\n.include \"part.inc\"\n.incbin \"data.bin\", SKIP\n.incbin \"only.bin\"\n",
    );
    world.write("i/sizes.h", "#define SKIP 2\n");
    world.write(
        "macro.c",
        "#define STR2(x) #x\n#define STR(x) STR2(x)\n__asm__(\".data\\n.incbin \" STR(FILE_NAME) \"\\n.text\\n\");\n",
    );
    let lines = "both -Ii -c inline.c; both -c sub/inline.c; both -Isub -Ii -c sub/inline.c; both -Ii -c a.S\n\
        both -Ii -c i/../a.S; both '-DFILE_NAME=\"data.bin\"' -c macro.c\n";
    let summary = check(&world, lines, 2);
    assert_eq!(summary.remote(), 10, "{summary:?}");
}

/// An assembler passes over a file that it cannot read and takes that of a later directory.
#[test]
fn what_an_assembler_would_pass_over_is_compiled_here() {
    let world = World::new();
    for (directory, words) in [("d1", "first"), ("d2", "second")] {
        world.write(&format!("{directory}/x.bin"), words);
        world.write(&format!("{directory}/x.inc"), &format!(".ascii \"{words}\"\n"));
    }
    // The second directory's are told by this one, and the first's are not.
    world.write(
        "tells.c",
        "__asm__(\".data\\n.incbin \\\"d2/x.bin\\\"\\n.include \\\"d2/x.inc\\\"\\n.text\\n\");\n",
    );
    for (name, text) in [
        ("name", ".macro go f\n.incbin \"\\f\"\n.endm\n.data\ngo x.bin\n"),
        (
            "part",
            ".macro go f\n.include \"\\f\\().inc\"\n.endm\n.data\ngo x\n",
        ),
        ("word", ".macro go d\n.inc\\d \"x.bin\"\n.endm\n.data\ngo bin\n"),
        (
            "whole",
            ".macro go op, f\n\\op \"x\\f\"\n.endm\n.data\ngo .incbin .bin\n",
        ),
        ("escape", ".data\n.incbin \"\\170.bin\"\n"),
        (
            "paste",
            "#define CAT(a,b) a##b\n.data\nCAT(.inc,bin) \"x.bin\"\nCAT(.,include) \"x.inc\"\n",
        ),
    ] {
        world.write(&format!("{name}.S"), text);
    }
    world.write(
        "string.c",
        "__asm__(\".data\\n.inc\" \"bin \\\"x.bin\\\"\\n.text\\n\");\n",
    );
    world.write(
        "octal.c",
        "__asm__(\".data\\n\\056incbin \\\"x.bin\\\"\\n.text\\n\");\n",
    );
    world.write(
        "given.c",
        "__asm__(\".data\\n\" OP \" \\\"x.bin\\\"\\n.text\\n\");\n",
    );
    let mut lines = "both -c tells.c; both -Id1 -Id2 '-DOP=\".incbin\"' -c given.c\n".to_owned();
    let sources = "name.S part.S word.S whole.S escape.S string.c paste.S octal.c";
    for source in sources.split(' ') {
        lines += &format!("both -Id1 -Id2 -c {source}\n");
    }
    let summary = check(&world, &lines, 18);
    assert_eq!(
        (summary.remote(), summary.reason("computed-incbin")),
        (2, 18),
        "{summary:?}"
    );
}

#[test]
fn no_directory_of_a_builder_is_named_in_an_object() {
    let world = World::new();
    world.write("none.S", "#ifdef OTHER_ARCHITECTURE\n.text\nnop\n#endif\n");
    world.write("some.S", "#ifndef OTHER_ARCHITECTURE\n.text\nnop\n#endif\n");
    let lines = "both -g -c none.S; both -g -c some.S; TMPDIR=$PWD both -g -c none.S; both -c none.S\n";
    let summary = check(&world, lines, 2);
    // clang names the directory of its temporary files where no code says which file it came from.
    assert_eq!(summary.reason("scratch-path"), 2, "{summary:?}");
}

#[test]
fn forced_includes_begin_in_the_working_directory() {
    let world = World::new();
    world.write("pre.h", "#define WHERE 1\n#include \"more.h\"\n");
    world.write("more.h", "int more_top;\n");
    world.write("sub/pre.h", "#define WHERE 2\n#include \"more.h\"\n");
    world.write("sub/more.h", "int more_sub;\n");
    world.write("i/pre.h", "#define WHERE 3\n");
    world.write("i/late.h", "#define LATE 4\nint dropped;\n");
    world.write(
        "sub/a.c",
        "int where = WHERE;\n#ifdef LATE\nint late = LATE;\n#endif\n",
    );
    let lines = "both -include pre.h -c sub/a.c; both -Ii -include pre.h -c sub/a.c\n\
        both -Ii -include sub/pre.h -imacros late.h -c sub/a.c; both -Ii -imacros pre.h -include late.h -c sub/a.c\n\
        both -iquote i -include late.h -include pre.h -c sub/a.c; (cd i && both -include pre.h -c ../sub/a.c)\n";
    let script = BOTH.replace("-o $n.o", "-o $where/$n.o");
    let summary = world.compare("rm -f *.o *.d", &format!("where=$PWD\n{script}{lines}"));
    assert_eq!(
        (summary.remote(), summary.local()),
        (12, 0),
        "{summary:?}\n{}",
        world.agent_log()
    );
}

#[test]
fn messages_quote_the_lines_that_line_directives_name() {
    let world = World::new();
    world.write(
        "gram.y",
        "first line\nsecond line of the grammar\nreturn x; third\n",
    );
    world.write(
        "made.c",
        "#line 3 \"gram.y\"\nint f(void) { int x; return x; }\n# 2 \"gram.y\"\nint g(void) { int unused; return 0; }\n\
         #line 1 \"none.y\"\nint h(void) { int y; return y; }\n\
         #line 2 \"\\x67r\\141m.y\"\nint i(void) { int escaped; return 0; }\n",
    );
    // Preprocessed text names the file its lines came from.
    assert!(world.local("gcc -E made.c -o made.i").status.success());
    let lines = "both -O1 -g -Wall -c made.c; both -Wall -Wextra -fdiagnostics-color=always -c made.c\n\
        both -O1 -g -Wall -c made.i\n";
    check(&world, lines, 0);
}

#[test]
fn messages_are_in_the_callers_locale() {
    let world = World::new();
    world.write(
        "warn.c",
        "int f(int unused) { int x; return x; }\nvoid g(void) { undeclared(); }\n",
    );
    let lines = "for locale in C C.UTF-8 xx_YY.UTF-8 POSIX de_DE.UTF-8; do\n\
        LC_ALL=$locale both -Wall -Wextra -c warn.c; LANG=$locale LANGUAGE=de both -Wall -c warn.c\n\
        LC_CTYPE=$locale LC_MESSAGES=C both -Wall -c warn.c; done\n";
    check(&world, lines, 0);
}

#[test]
fn an_assembler_found_earlier_along_the_path_is_used() {
    let world = World::new();
    world.write(
        "bin/as",
        "#!/bin/sh\nexec /usr/bin/as --defsym planted=42 \"$@\"\n",
    );
    world.write("a.c", "int value;\n");
    assert!(world.local("chmod +x bin/as").status.success());
    let lines = "both -c a.c\nPATH=$PWD/bin:$PATH\nboth -c a.c; clang -fno-integrated-as -c a.c -o last.o\n";
    let script = BOTH.to_owned() + lines;
    let summary = world.compare("rm -f *.o *.d", &script);
    assert_eq!(
        (summary.remote(), summary.reason("unknown-compiler")),
        (4, 1),
        "a script for an assembler is no tool that can be sent: {summary:?}"
    );
    let is_planted = |name: &str| world.read(name).windows(7).any(|bytes| bytes == b"planted");
    assert!(
        !is_planted("1.o") && is_planted("3.o"),
        "gcc looks along the path"
    );
}

#[test]
fn times_in_the_source_are_the_local_ones() {
    let world = World::new();
    world.write("stamp.h", "const char *stamp = __TIMESTAMP__;\n");
    world.write(
        "stamp.c",
        "#include \"stamp.h\"\nconst char *own = __TIMESTAMP__;\n",
    );
    world.write("date.c", "const char *date = __DATE__ __TIME__;\n");
    assert!(
        world
            .local("touch -d 2001-02-03T04:05:06 stamp.h; touch -d 2002-03-04 stamp.c")
            .status
            .success()
    );
    let script = BOTH.to_owned()
        + "export SOURCE_DATE_EPOCH=1000000000\nboth -c stamp.c; TZ=Asia/Tokyo both -c stamp.c\n\
           gcc -c date.c -o date.o; TZ=Asia/Tokyo gcc -c date.c -o tokyo.o\n";
    let summary = world.compare("rm -f *.o *.d", &script);
    assert_eq!(summary.reason("time-macros"), 4, "{summary:?}");
    assert_eq!(
        summary.remote(),
        2,
        "this gcc heeds SOURCE_DATE_EPOCH: {summary:?}"
    );
}

/// Questions for a header that hide from whoever does not preprocess. The header lies where nothing else is looked up.
#[test]
fn a_question_that_no_scanner_sees_is_never_answered_wrongly() {
    let world = World::new();
    world.write("o/x.h", "int o;\n");
    let hidden = [
        (
            "",
            "#if 1\r#define ASK(x) __has_include(x)\r#endif\r#if ASK(\"../../o/x.h\")",
        ),
        ("", "#define\u{a0}H \"../../o/x.h\"\n#if __has_include(H)"),
        ("", "#\u{a0}define H \"../../o/x.h\"\n#if __has_include(H)"),
        (
            "",
            "#define is_defined __has_include\n#if is_defined(\"../../o/x.h\")",
        ),
        (
            "",
            "#define xdefined(x) x\n#define HAS __has_include\n#if xdefined(HAS(\"../../o/x.h\"))",
        ),
        (
            "",
            "#define M \"../../o/x.h\"\n#define has_define __has_include(M)\n#if has_define",
        ),
        ("-DASK=HAS", "#define HAS __has_include\n#if ASK(\"../../o/x.h\")"),
        (
            "'-DASK=HAS(\"../../o/x.h\")'",
            "#define HAS __has_include\n#if ASK",
        ),
        (
            "",
            "#define CAT(a,b) a##b\n#if CAT(__has_,include)(\"../../o/x.h\")",
        ),
        (
            "",
            "#define CAT(a,b) a##b\n#define HAS __has_include\n#if CAT(HA,S)(\"../../o/x.h\")",
        ),
        (
            "",
            "#define HAS __has_include\n#define M \"../../o/x.h\"\n// a\r#if HAS(M)",
        ),
        ("", "#if __has_include\u{a0}(\"../../o/x.h\")"),
        ("", "#define HAS __has_include\n#if HAS\u{a0}(\"../../o/x.h\")"),
        ("", "#if __has_include(\"../../o/x.h\")"),
        ("", "#define REST ../../o/x.h>\n#if __has_include(<REST)"),
        ("-I.", "#define REST ../../o/x.h>)\n#if __has_include(<REST"),
    ];
    let mut lines = String::from("cd p/q\n");
    for (number, (flags, question)) in hidden.iter().enumerate() {
        let text = format!("{question}\nint yes;\n#else\nint no;\n#endif\n");
        world.write(&format!("p/q/{number}.c"), &text);
        lines += &format!("both {flags} -c {number}.c\n");
    }
    let script = BOTH.to_owned() + &lines;
    let summary = world.compare("rm -f p/q/*.o p/q/*.d", &script);
    assert_eq!(summary.fallbacks(), 0, "{summary:?}\n{}", world.agent_log());
    assert!(summary.remote() > 0, "{summary:?}");
}

/// clang finds libstdc++ by a gcc installation, which a system root may bring along.
#[test]
fn the_gcc_of_a_system_root_is_found() {
    let world = World::new();
    world.write("root/usr/include/which.h", "#define WHICH 1\n");
    world.write("a.cc", "#include <which.h>\nint which = WHICH;\n");
    let script = "clang++ --sysroot=$PWD/root -c a.cc -o 1.o
        mkdir -p root/usr/lib/gcc/x86_64-linux-gnu/12 root/usr/include/c++/12
        touch root/usr/lib/gcc/x86_64-linux-gnu/12/crtbegin.o
        echo '#define WHICH 2' >root/usr/include/c++/12/which.h
        clang++ -O1 --sysroot=$PWD/root -c a.cc -o 2.o
        clang++ --sysroot=$PWD/root -c a.cc -o 3.o";
    let summary = world.compare("rm -r *.o root/usr/lib root/usr/include/c++", script);
    assert_eq!(
        (summary.remote(), summary.reason("gcc-installation")),
        (1, 2),
        "{summary:?}"
    );
}
