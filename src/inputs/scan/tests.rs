//! Tables of spellings, and the property the module stands for: no context hides a directive.

use proptest::prelude::*;

use super::*;

/// The names found, as `kind form spelling`.
fn names(text: &[u8]) -> Vec<String> {
    let found = scan(text).includes;
    found
        .iter()
        .map(|reference| {
            let spelling = String::from_utf8_lossy(&reference.spelling).into_owned();
            match reference.form {
                Form::Quote => format!("{:?} \"{spelling}\"", reference.kind),
                Form::Angle => format!("{:?} <{spelling}>", reference.kind),
            }
        })
        .collect()
}

fn check(text: &str, expected: &[&str]) {
    assert_eq!(names(text.as_bytes()), expected, "{text:?}");
}

#[test]
fn every_spelling_of_an_include() {
    for text in [
        "#include <x.h>",
        "  #  include\t<x.h>",
        "%:include <x.h>",
        "??=include <x.h>",
        "#/**/include/* two\nlines */<x.h>",
        "#inc\\\nlude <x.h>",
        "#inc??/\nlude <x.h>",
        "#inc\\  \r\nlude <x\\\n.h>",
        "%\\\n:include <x.h>",
        "#include<x.h>",
        "#\0include <x.h>",
        "# /*a*/ /\\\n*b*\\\n/ include <x.h>",
        "#__include_macros <x.h>",
        "/* #include <x.h> */",
        "\"#include <x.h>\"",
        "R\"(\n#include <x.h>\n)\"",
        "#if 0\n#include <x.h>\n#endif",
        "int a; #include <x.h>",
        "\u{feff}#include <x.h>",
        "#pragma GCC dependency <x.h>",
        "_Pragma(\"GCC dependency <x.h>\")",
        "__pragma(GCC dependency <x.h>)",
    ] {
        check(text, &["Include <x.h>"]);
    }
}

#[test]
fn every_kind_of_reference() {
    check("#include \"a b.h\" // why", &["Include \"a b.h\""]);
    check("#include_next <x.h>", &["Next <x.h>"]);
    check("#import \"x.h\"", &["Import \"x.h\""]);
    check("#embed <x.bin> limit(4)", &["Embed <x.bin>"]);
    check("#if __has_include(<x.h>)", &["HasInclude <x.h>"]);
    check("#if __has_include \"x.h\"", &["HasInclude \"x.h\""]);
    check("#if __has_include__ ( \"x.h\" )", &["HasInclude \"x.h\""]);
    check("#if __has_inc\\\nlude_next(<x.h>)", &["HasIncludeNext <x.h>"]);
    check("#if __has_embed(\"x\" limit(1))", &["HasEmbed \"x\""]);
    check("#line 3 \"gram.y\"", &["Line \"gram.y\""]);
    check("# 3 \"dir\\\\gr\\\"am.y\" 1 3", &["Line \"dir\\gr\"am.y\""]);
    check("#line 3 \"\\x67r\\141m\\0561.y\"", &["Line \"gram.1.y\""]);
    check("_Pragma(\"GCC dependency \\\"x.h\\\"\")", &["Include \"x.h\""]);
    check(
        "#include \"a.h\"\n#include \"a.h\"\n#include <a.h>",
        &["Include \"a.h\"", "Include <a.h>"],
    );
}

#[test]
fn names_compilers_read_differently_are_both_kept() {
    check(
        "#include \"a??=b.h\"",
        &["Include \"a#b.h\"", "Include \"a??=b.h\""],
    );
    check(
        "#include \"a\\\"b.h\"",
        &["Include \"a\\\"", "Include \"a\\\"b.h\""],
    );
}

#[test]
fn what_is_no_reference() {
    for text in [
        "#includes <x.h>",
        "#include <x.h",
        "#include \"x.h\n\"",
        "#include",
        "#define include x",
        "# define S(include) #include",
        "include <x.h>",
        "#line 3",
        "# 3",
        "#ifdef __has_include",
        "#pragma once",
    ] {
        check(text, &[]);
    }
    check(&format!("#include \"{}\"", "x".repeat(bounds::NAME + 1)), &[]);
}

#[test]
fn assembler_names() {
    let check = |text: &str, expected: &[&str], macro_incbin| {
        assert_eq!(names(text.as_bytes()), expected, "{text:?}");
        assert_eq!(scan(text.as_bytes()).macro_incbin, macro_incbin, "{text:?}");
    };
    check(".incbin \"x.bin\", 4", &["Incbin \"x.bin\""], false);
    check("\t.INCBIN\t\"x.bin\"", &["Incbin \"x.bin\""], false);
    check(".inc\\\nbin \"x.bin\"", &["Incbin \"x.bin\""], false);
    check("asm(\".incbin \\\"x.bin\\\"\\n\");", &["Incbin \"x.bin\""], false);
    check(
        "asm(\"\\t.incbin\\t\\\"x.bin\\\"\");",
        &["Incbin \"x.bin\""],
        false,
    );
    check("asm(R\"(\n.incbin \"x.bin\"\n)\");", &["Incbin \"x.bin\""], false);
    check(
        "asm(\".include \\\"m.inc\\\"\");",
        &["AssemblerInclude \"m.inc\""],
        false,
    );
    check("asm(\".incbin \\\"\" FILE \"\\\"\");", &[], true);
    check("asm(\".incbin \" STRING(x));", &[], true);
    check("asm(\".incbin %0\" :: \"i\"(x));", &[], true);
    check(".incbin FILE", &[], true);
    check(".include FILE", &[], true);
    check("x.include = 1; y.includes; z.include(3);", &[], false);
    check("asm(\".incbin \" FILE \", 4\");", &["Incbin \" FILE \""], true);
}

#[test]
fn assembler_names_that_are_made() {
    let is_made = |text: &str| scan(text.as_bytes()).macro_incbin;
    for name in [
        "\\f",
        "\\f\\().bin",
        "&f&.bin",
        "\\170.bin",
        "%c0.bin",
        "{a|b}.bin",
    ] {
        assert!(is_made(&format!(".incbin \"{name}\"\n")), "{name}");
        assert!(is_made(&format!("asm(\".include \\\"{name}\\\"\");")), "{name}");
    }
    for statement in [
        "go .incbin\n\\op \"x\"",
        "go .include\n\\op \"x\"",
        "go .include, y\n\\op \"\\f\"",
        "go .include; \\op \"\\f\"",
        "go .incbin \"x\"\n\\op \"d/\\f\"",
        "go y,.include \"x\"\n",
        ".inc\\d \"x\"",
        ".INC\\d \"x\"",
        ".\\d \"x\"",
        ".\\(d) \"x\"",
        ".inc&d \"x\"",
        "go .inc bin\n\\a\\b \"x\"",
    ] {
        for macros in [".macro go a, b", ".MACRO go", ".irp d, bin"] {
            assert!(
                is_made(&format!("{macros}\n{statement}\n")),
                "{macros} {statement}"
            );
        }
    }
    assert!(is_made("asm(\".macro go d\\n.inc\\\\d \\\"x\\\"\\n.endm\");"));
    assert!(is_made("asm(\".inc\" \"bin \\\"x\\\"\");"));
    assert!(is_made("asm(\".\"\n    \"incbin \\\"x\\\"\");"));
    assert!(is_made("asm(\".inc\" BIN);"));
    assert!(is_made(".altmacro\n.macro go f\n.incbin \"x\"\n"));
    for text in [
        "asm(\".inc%c0 \\\"x\\\"\" :: \"i\"(bin));",
        "extern char incbin[]; asm(\".%c0 \\\"x\\\"\" :: \"i\"(incbin));",
        "asm(\".inc{bin|lude} \\\"x\\\"\" :);",
        "asm(\"\\x2eincbin \\\"x\\\"\");",
        "asm(\"\\056incbin \\\"x\\\"\");",
        "asm(\"\\x2eIncBin \\\"x\\\"\");",
        "asm(\"\\56INclude \\\"x\\\"\");",
        "asm(\"\\x2einclude \\\"x\\\"\");",
        "asm(\".inc\\142in \\\"x\\\"\");",
        "asm(\".\\151ncbin \\\"x\\\"\");",
        "asm(\".\\x49nclude \\\"x\\\"\");",
        "asm(\".mac\" \"ro go d\\n.inc\\\\d \\\"x\\\"\\n.endm\");",
        "CAT(.inc, bin) \"x\"",
        "CAT(., incbin) \"x\"",
        "CAT(. ,include) \"x\"",
        "#define P(x) .inc##x\nP(bin) \"x\"",
        "#define P .##include\nP \"x\"",
        "go .inc, bin, x.bin\n",
        "asm(STR(.inc) \"bin \\\"x\\\"\");",
        "asm(R\"(\n.inc)\" R\"(bin \"x\")\");",
        "asm(R\"(.)\" \"incbin \\\"x\\\"\\n\");",
        "asm(\".\" \"\" \"incbin \\\"x\\\"\");",
        "asm(\".inc\" \"\" \"bin \\\"x\\\"\");",
        "asm(\"\\n.inc\" // rest\n \"bin \\\"x\\\"\");",
        "asm(\".inc\"\n\n\n\n\n\n\n\n\n\n\n \"bin \\\"x\\\"\");",
        "asm(\".inc\"\n#if 1\n\"bin \\\"x\\\"\"\n#endif\n);",
        "#define B \"bin\"\nasm(\".inc\"\n B \" \\\"x\\\"\");",
        "#define B \".inc\"\nasm(B \"bin \\\"x\\\"\");",
        "#define D \".\"\nasm(D \"incbin \\\"x\\\"\");",
        "#define D \".\"\nasm(D \"include \\\"x\\\"\");",
    ] {
        assert!(is_made(text), "{text}");
    }
    for text in [
        "puts(\"a.\\033[0m\"); puts(\"%d.%d\"); puts(\"x.i%d\");",
        "#include \"x.inc\"\n#include \"y.inc\"\n\"z\";",
        "#include <incbin.h>\nint my_incbin(int); // #include \"x\"\n",
        "const char *suffixes[] = { \".h\", \".inc\", \".i\" }; f(\"include\", \"a.inc\");",
        "/* *.inc, (x.inc) and e.g. .h, .i, include \"x\" */",
        "s = (struct s){ .inc = 1, .i = 2 };",
        ".macro go f\n.incbin \"x.bin\"\nl: .include \"y\"; .include \"z\"\n",
        "asm(\".macro go\\n\\t.incbin \\\"x\\\"\\n\");",
        ".macro go op\n\\op %eax\n.if 1\n.int 3\n.irp r, a\n",
        "puts(\"done.\\n\"); puts(\"..\\\\dir\"); x.i = y.i & 1; f(\"a.i\", \"n.inc\");",
        "puts(\"One.\"\n  \"Two.\");",
        ".macro go x\n// x[i...i+7]\n",
        "a.include;\nb().include, c[1].include\n{ .include = 1 }",
    ] {
        assert!(!is_made(text), "{text}");
    }
}

#[test]
fn assembler_names_on_command_lines() {
    for (given, has_name) in [
        ("OP=.incbin", true),
        ("OP=\".incbin\"", true),
        ("OP=incbin", true),
        ("DATA=\".incbin \\\"x\\\"\"", true),
        ("DATA=\".include \\\"x\\\"\"", true),
        ("HEADER=<x/include.h>", false),
        ("PREFIX=\"/usr/include\"", false),
        ("VERSION=\"1.2.incomplete\"", false),
        ("NDEBUG", false),
    ] {
        assert_eq!(has_assembler_name(given.as_bytes()), has_name, "{given}");
    }
}

/// The operands that are one macro, as `kind name`.
fn operands(text: &[u8]) -> Vec<String> {
    let found = scan(text).operands;
    let show = |operand: &Operand| format!("{:?} {}", operand.kind, String::from_utf8_lossy(&operand.name));
    found.iter().map(show).collect()
}

#[test]
fn operands_that_are_one_macro() {
    let check = |text: &str, expected: &[&str]| {
        assert_eq!(operands(text.as_bytes()), expected, "{text:?}");
        assert!(!scan(text.as_bytes()).computed, "{text:?}");
    };
    check("#include MACRO", &["Include MACRO"]);
    check("\t#\tinclude_next MACRO_9 // why\n", &["Next MACRO_9"]);
    check("/* x */ #include/**/MA\\\nCRO /* why */\n", &["Include MACRO"]);
    check("/* x *\\\n/ #include MACRO", &["Include MACRO"]);
    check("\\\n#include MACRO\r\n", &["Include MACRO"]);
    check("\u{feff}#include MACRO", &["Include MACRO"]);
    check("%:embed MACRO", &["Embed MACRO"]);
    check("#import MACRO", &["Import MACRO"]);
    check(
        "#if __has_include(MACRO) && __has_include_next( OTHER /**/ )",
        &["HasInclude MACRO", "HasIncludeNext OTHER"],
    );
    check(
        "#ifdef X\n# elif 1 && \\\n __has_embed(MACRO)\n",
        &["HasEmbed MACRO"],
    );
    check("// we #include things", &[]);
    check(" * #include things", &[]);
    check("#include <x.h>", &[]);
    check("#include \"x.h\"", &[]);
}

#[test]
fn computed_operands() {
    let check = |text: &str, computed| {
        assert_eq!(scan(text.as_bytes()).computed, computed, "{text:?}");
        assert_eq!(operands(text.as_bytes()), [""; 0], "{text:?}");
    };
    check("#include BOOST_PP_ITERATE()", true);
    check("#include A B", true);
    check("#include A <x.h>", true);
    check("#include A$", true);
    check("#include \u{e9}", true);
    check("#include A\\u00e9", true);
    check("#include A??/\nB", true);
    check(&format!("#include {}", "A".repeat(bounds::MACRO + 1)), true);
    check("#embed MACRO limit(4)", true);
    // A macro for the operator is reported as such.
    check("#if __has_include(MACRO(1))", true);
    check("#if __has_include(MACRO \"x\")", true);
    check("int x = __has_include(MACRO);", true);
    check("#define HAS(x, y) A && __has_include(x)", true);
    check("#define HAS(x, y) /*\n#if */ __has_include(x)", true);
    check("#define HAS(x, y) /*\n#if *\\\n/ __has_include(x)", true);
    check("#define HAS(x, y) R\"(\n#if )\" __has_include(x)", true);
    check(
        &format!("#if {}__has_include(MACRO)", " ".repeat(bounds::LOOK_BACK)),
        true,
    );
    check("#define HAS(x) __has_include(x)", false);
    check("#define HAS __has_include", false);
    check("#define HAS \\\n  __has_include", true);
    check("#define HAS \\\0\n  1", true);
    check("#pragma include_alias(\"a\", \"b\")", true);
    check("#pragma GCC dependency MACRO", true);
    check(
        &format!("#{}include <x.h>", "/**/".repeat(bounds::COMMENTS_IN_TRIVIA + 1)),
        true,
    );
    check("#ifdef __has_include", false);
    check("#if defined(__has_include)", false);
    check("#if defined __has_include && __has_include(<x.h>)", false);
    check("#define HAS defined(__has_include)", false);
    check("# define __has_include(x) 0", false);
    check("/* uses __has_include */", false);
    check("#define __has_include 1", false);
}

#[test]
fn computed_probes() {
    let check = |text: &str, probe| {
        assert_eq!(scan(text.as_bytes()).computed_probe, probe, "{text:?}");
    };
    check("#if __has_include(MACRO())", true);
    check("#if __has_include(MACRO)", false);
    check("#define HAS(x) __has_include(x)", false);
    check("#define HAS __has_include", false);
    check("#include MACRO()", false);
    check("#if __has_include(<x.h>)", false);
    check(
        &format!("#{}include <x.h>", "/**/".repeat(bounds::COMMENTS_IN_TRIVIA + 1)),
        true,
    );
}

/// Macros' parameters that may be taken for operands by whoever reads a line end otherwise than the compiler.
#[test]
fn a_condition_begins_its_line_for_every_compiler() {
    let check = |text: &str, probe| {
        assert_eq!(scan(text.as_bytes()).computed_probe, probe, "{text:?}");
    };
    for line_end in [
        "//??/\n".to_owned(),
        "??/ \n".to_owned(),
        "\\\0\n".to_owned(),
        "\\ \0 \r\n".to_owned(),
        "\\\r\r\n".to_owned(),
        "\r".to_owned(),
        format!("\\{}\n", " ".repeat(bounds::SPLICE_BLANKS + 1)),
    ] {
        check(
            &format!("#if 1 {line_end}#define ASK(x, y) __has_include(x)\n"),
            true,
        );
        check(
            &format!("#define ASK(x, y) {line_end}#if __has_include(x)\n"),
            true,
        );
    }
    check("#if 1\r#define ASK(x) __has_include(x)\r#endif", true);
    check("#define A \\\n#define ASK __has_include\n", true);
    check("#if 1 \\\n && __has_include(MACRO)\n", false);
    check("#if 1 \\ \t\r\n && __has_include(MACRO)\r\n", false);
    check("#if 0\r\n# elif __has_include(MACRO)\r\n", false);
}

#[test]
fn white_space_beyond_ascii_may_be_read_over() {
    let check = |text: &str, computed| {
        let found = scan(text.as_bytes());
        assert_eq!(
            (found.computed, found.computed_probe),
            (computed, computed),
            "{text:?}"
        );
    };
    for blank in ["\u{a0}", "\u{85}", "\u{2003}", "\u{3000}"] {
        check(&format!("#define{blank}H \"x.h\"\n"), true);
        check(&format!("#define {blank}H \"x.h\"\n"), true);
        check(&format!("#{blank}define H \"x.h\"\n"), true);
        check(&format!(" # {blank}include MACRO()\n"), true);
        check(&format!("#include{blank}\"x.h\"\n"), true);
        check(&format!("#if __has_include{blank}(\"x.h\")\n"), true);
        check(&format!("#if __has_include({blank}\"x.h\")\n"), true);
        check(&format!("// a #{blank}define in prose\n"), false);
        check(&format!("/* __has_include{blank}(\"x.h\") */\n"), false);
        assert!(scan(format!("{blank}#include MACRO()\n").as_bytes()).computed);
    }
    check("#define \u{e9}t\u{e9} 1\n", false);
    check("#error \u{e9}t\u{e9}\n", false);
}

#[test]
fn a_word_that_only_ends_alike_names_nothing() {
    let check = |text: &str, probe| {
        assert_eq!(scan(text.as_bytes()).computed_probe, probe, "{text:?}");
    };
    check("#define is_defined __has_include  // why\n", true);
    check("#define has_define __has_include(M)\n", true);
    check("#if xdefined(__has_include)\n", true);
    check("#if $defined(__has_include)\n", true);
    check("#if x\\\ndefined(__has_include)\n", true);
    check("#if x??/\ndefined(__has_include)\n", true);
    check("#define X x #define __has_include(M) 0\n", true);
    check("#if A && \\\ndefined(__has_include)\n", false);
    check("#if A && \\\n  !defined ( __has_include ) || 1\n", false);
    check("%: define __has_include(x) 0\n", false);
    check("#elif defined __has_include\n", false);
    check("#ifdef A\ndefined(__has_include)\n", false);
}

#[test]
fn an_operator_handed_on_hides_what_it_is_asked() {
    let check = |text: &str, probe| {
        assert_eq!(scan(text.as_bytes()).computed_probe, probe, "{text:?}");
    };
    for handed in [
        "CAT(__has_, include)(\"x.h\")",
        "CAT(__has_inc, lude)(\"x.h\")",
        "CAT(__has, _embed)(\"x.h\")",
        "CAT(__has_include, )(\"x.h\")",
        "CAT(__has_include, _next)(<x.h>)",
    ] {
        check(&format!("#if {handed}\n"), true);
        check(&format!("  # elif A || \\\n {handed}\n"), true);
        check(&format!("#if A /* \n */ || {handed}\n"), true);
        check(&format!("#if A /* \n *\\\n/ || {handed}\n"), true);
        check(&format!("#def\\\nine ASK {handed}\n"), true);
        check(&format!("%:define ASK {handed}\n"), true);
        check(&format!("%\\\n:define ASK {handed}\n"), true);
        check(&format!("??=define ASK {handed}\n"), true);
        check(&format!("#include {handed}\n"), true);
        check(&format!("#define S R\"(\n)\" {handed}\n"), true);
        check(&format!("int x;\r#if {handed}\r"), true);
        check(&format!("{}#if {handed}\n", " ".repeat(bounds::LOOK_BACK)), true);
        check(&format!("// {handed}\n"), false);
        check(&format!("/* {handed} */\n"), false);
        check(&format!("/* what is asked\n   {handed}, is.  */\n"), false);
        check(&format!("#endif // {handed}\n"), false);
        check(&format!("#if defined(A) // {handed}\n"), false);
        check(&format!("#define A 1 /* {handed} */\n"), false);
    }
    check("#define HAS(x) __has_##x\n", true);
    check("#define HAS(x) my_struct __has_##x\n", true);
    for known in [
        "#if __has_attribute(x)\n",
        "#if __has_cpp_attribute(x)\n",
        "#if defined(__has_builtin)\n",
        "#define A __hash(__h)\n",
        "#define A(T) T::__has_element_type\n",
        "#define A x__has_\n",
        "#define A(N) template<typename> \\\n  struct __has_##N \\\n {};\n",
        "#pragma push_macro(\"__has_include\")\n#undef __has_include\n",
        "#error no __has_include\n",
    ] {
        check(known, false);
    }
}

#[test]
fn a_definition_changes_no_reference() {
    let check = |before: &str, after: &str, expected: bool| {
        let [one, two] = [before, after].map(|text| scan(text.as_bytes()));
        assert_eq!(one.refers_as(&two), expected, "{before:?} and {after:?}");
    };
    check("#include A\n", "#define B 1\n#include A\n", true);
    check("#include A\n", "#include B\n", false);
    check("#include <a>\n", "#include <b>\n", false);
    check("", "#include A()\n", false);
}

#[test]
fn computed_line_names() {
    let check = |text: &str, computed_line| {
        assert_eq!(scan(text.as_bytes()).computed_line, computed_line, "{text:?}");
    };
    check("#line 3 FILE", true);
    check("#line NUMBER_AND_FILE", true);
    check("%: line 3 /* x */ FILE", true);
    check("#line __LINE__", true);
    check("# 3 FILE", true);
    check(
        &format!("#line 3 {}FILE", "/**/".repeat(bounds::COMMENTS_IN_TRIVIA + 1)),
        true,
    );
    check("#line 3 \"f.y\"", false);
    check("#line __LINE__ \"f.y\"", false);
    check("#line 3\nFILE", false);
    check("# 3", false);
    check("// a #line in prose", false);
}

#[test]
fn time_macros() {
    let check = |text: &str, date_or_time, timestamp| {
        assert_eq!(
            scan(text.as_bytes()).time_macros,
            TimeMacros {
                date_or_time,
                timestamp
            },
            "{text:?}"
        );
    };
    check("x = __DATE__;", true, false);
    check("x = __TI\\\nME__;", true, false);
    check("___TIME__", true, false);
    check("__TIMESTAMP__", false, true);
    check("__DATES__ __TIME __LINE__", false, false);
}

#[test]
fn pasted_time_macros() {
    let check = |texts: &[&str], date_or_time, timestamp| {
        let mut pieces = TimePieces::default();
        let mut macros = TimeMacros::default();
        for text in texts {
            let found = scan(text.as_bytes());
            pieces.unite(found.time_pieces);
            macros.unite(found.time_macros);
        }
        macros.unite(pieces.pasted());
        let expected = TimeMacros {
            date_or_time,
            timestamp,
        };
        assert_eq!(macros, expected, "{texts:?}");
    };
    check(&["#define P(x) __##x##__\n", "P(TIME)"], true, false);
    check(
        &["#define P(x) __ ## x /* */ ## \\\n __", "a P( DATE )"],
        true,
        false,
    );
    check(&["#define P(x) __%:%:x%:%:__\n", "P(TIMESTAMP)"], false, true);
    check(&["#define P(x) __##x\nP(TIMESTAMP__)"], false, true);
    check(&["x = CAT(__, DATE__);"], true, false);
    check(&["x = CAT(CAT(__, DATE), __);"], true, false);
    check(&["#define U __\nx = CAT3(U, TIME, U)"], true, false);
    check(&["#define U __", "CAT3(U, TIME, U)"], true, false);
    check(&["x = CAT(__DA, TE__);"], true, false);
    check(&["x = CAT(__TIMES, TAMP__);"], false, true);
    check(&["#define B __TI\nx = CAT(B, ME__)"], true, true);
    check(&["#define P(x) __TIME##x\nP(__)"], true, true);
    check(&["__CONCAT(__,function)", "TIME DATE"], false, false);
    check(&["a__ b__, c##__\n", "TIME DATE"], false, false);
    check(
        &["P(__##x##__)", "TIMES MTIME TIME_ _TIME xDATE __DATE x"],
        false,
        false,
    );
    check(&["/* __TIME*_T_TYPE */ __time__, __DATAx, __DATA"], false, false);
    check(&["f(__T, __D, __x)"], false, false);
    check(&["#define P(x) __T ## x\nP(IME__)"], true, true);
    check(&["P(__##x##__)", " /*\n * (ID, TIME, X)\n */\n"], false, false);
    check(&["P(__##x##__)", " /*\n */\n * (ID, TIME, X)\n"], true, false);
    check(&["P(__##x##__)", "x /*\n * (ID, TIME, X)\n"], true, false);
    check(&["P(__##x##__)", "/*\n * TIME\n*/ x(TIME)\n"], true, false);
    check(&["#define U __ // a\nx = CAT3(U, TIME, U)"], true, false);
    check(&["P(__##x##__)", "#define W TIME // a\n"], true, false);
    check(&["P(__##x##__)", "#define W(x) /* */ TIME \\\n"], true, false);
    check(&["P(__##x##__)", "CAT3(U, TIME%:%:x, U)"], true, false);
    check(
        &[
            "P(__##x##__)",
            "/* TIME */ \"DATE\", 'x-date:TIMESTAMP, // the TIME of\n{DATE, TIME}; x.DATE, y = DATE)",
        ],
        false,
        false,
    );
}

#[test]
fn modules_and_precompiled_headers() {
    let check = |text: &str, modules| assert_eq!(scan(text.as_bytes()).modules, modules, "{text:?}");
    check("import <vector>;", true);
    check("import \"x.h\" ;", true);
    check("export import a.b:c;", true);
    check("@import Foundation;", true);
    check("export module a;", true);
    check("module a [[x]];", true);
    check("#pragma clang module import x", true);
    check("#import <x.h>", false);
    check("#import \"x.h\";", false);
    check("int import; reimport x; import = 3;", false);
    check("struct module *module;", false);
    check("static struct module a;", false);
    assert!(scan(b"#pragma GCC pch_preprocess \"x.gch\"").pch_pragma);
    assert!(!scan(b"#pragma GCC poison pch_preprocess").pch_pragma);
}

/// A directive of every kind and the reference it must give.
fn directives() -> impl Strategy<Value = (&'static str, ReferenceKind)> {
    prop::sample::select(vec![
        ("#include <needle.h>", ReferenceKind::Include),
        ("%:  include \"needle.h\"", ReferenceKind::Include),
        ("??=inc\\\nlude /*c*/ <needle.h>", ReferenceKind::Include),
        ("#/* \n */include_next <needle.h>", ReferenceKind::Next),
        ("#import <needle.h>", ReferenceKind::Import),
        ("#embed \"needle.h\"", ReferenceKind::Embed),
        ("__has_include(<needle.h>)", ReferenceKind::HasInclude),
        ("__has_include_next( \"needle.h\")", ReferenceKind::HasIncludeNext),
        ("#line 7 \"needle.h\"", ReferenceKind::Line),
        (".incbin \"needle.h\"", ReferenceKind::Incbin),
    ])
}

fn found(text: &[u8], kind: ReferenceKind) -> bool {
    scan(text)
        .includes
        .iter()
        .any(|found| found.kind == kind && found.spelling == b"needle.h")
}

/// Text in which lexers lose their way.
const CONTEXTS: [&str; 10] = [
    "",
    "/* ",
    "\"",
    "// ",
    "R\"x(",
    "'",
    "#if 0\n",
    "#define a \\\n",
    "/*\\\n\"??/\n",
    "1'000 \"\\\" ",
];

#[test]
fn every_pair_of_bytes_by_which_a_rule_begins_is_met() {
    const BEGINNINGS: [&[u8; 2]; 19] = [
        b"%:", b"%\\", b"%?", b"??", b"__", b"_P", b"_\\", b"_?", b".i", b".I", b".\\", b".?", b".\"", b"im",
        b"i\\", b"i?", b"mo", b"m\\", b"m?",
    ];
    for pair in (0..=u16::MAX).map(u16::to_be_bytes) {
        // At places of a block, and behind the last.
        for before in [0, 1, BLOCK - 2, BLOCK - 1, BLOCK] {
            let text = [&vec![b' '; before], &pair[..]].concat();
            let mut met = Vec::new();
            for_each_beginning(&text, |at| met.push(at));
            let is_beginning = pair[0] == b'#' || BEGINNINGS.contains(&&pair);
            let expected: &[usize] = if is_beginning { &[before] } else { &[] };
            assert_eq!(met, expected, "{pair:?} behind {before}");
        }
    }
}

proptest! {
    #[test]
    fn no_place_of_a_rule_is_passed_over(text in "[#%:?_.imoPI\"\\\\ x]{0,300}") {
        let mut met = Vec::new();
        for_each_beginning(text.as_bytes(), |at| met.push(at));
        let pairs = text.as_bytes().windows(2).enumerate();
        let expected = pairs.filter(|(_, pair)| begins_rule(pair[0], pair[1]));
        prop_assert_eq!(met, expected.map(|(at, _)| at).collect::<Vec<_>>());
    }

    #[test]
    fn no_context_hides_a_directive((directive, kind) in directives(), context in 0..CONTEXTS.len()) {
        let text = format!("{}{directive}\n*/ \" )x\" tail", CONTEXTS[context]);
        prop_assert!(found(text.as_bytes(), kind), "{text:?}");
    }

    #[test]
    fn no_bytes_hide_a_directive(
        before in prop::collection::vec(any::<u8>(), 0..80),
        (directive, kind) in directives(),
        after in prop::collection::vec(any::<u8>(), 0..80),
    ) {
        let text = [before.as_slice(), directive.as_bytes(), &after].concat();
        prop_assert!(found(&text, kind), "{:?}", String::from_utf8_lossy(&text));
    }

    #[test]
    fn no_source_like_text_hides_a_directive(
        before in "[#%:?/=\\\\*\"'()<>a_.im \\n]{0,40}",
        (directive, kind) in directives(),
        after in "[#%:?/=\\\\*\"'()<>a_.im \\n]{0,40}",
    ) {
        let text = format!("{before}{directive}{after}");
        prop_assert!(found(text.as_bytes(), kind), "{text:?}");
    }

    #[test]
    fn a_computed_include_on_a_line_of_its_own_is_seen(before in "[#%:?/=\\\\*\"'()<>a_.im \\n]{0,40}") {
        let text = format!("{before}\n#include MACRO()\n");
        prop_assert!(scan(text.as_bytes()).computed, "{text:?}");
        let text = format!("{before}\n#include MACRO\n");
        let found = scan(text.as_bytes());
        prop_assert!(found.computed || !found.operands.is_empty(), "{text:?}");
    }

    #[test]
    fn no_source_like_text_hides_a_definition(
        before in "[#%:?/=\\\\*\"'()<>a_.im \\n]{0,40}",
        after in "[#%:?/=\\\\*\"'()<>a_.im \\n]{0,40}",
    ) {
        let text = format!("{before}\n#define MACRO <x.h>\n{after}");
        prop_assert!(scan(text.as_bytes()).defined.may_hold(b"MACRO"), "{text:?}");
        let expected = Definition::Header(Form::Angle, Box::from(&b"x.h"[..]));
        prop_assert!(definitions(text.as_bytes(), b"MACRO").contains(&expected), "{text:?}");
    }

    #[test]
    fn never_panics(text in "[#%:?/=\\\\*\"'()<>\\x00_.imp \\r\\nincludebhasDATEPragma]{0,200}") {
        scan(text.as_bytes());
    }
}

/// Texts that make a scanner with unbounded looks ahead or back quadratic. Without the bounds this
/// takes minutes.
#[test]
fn hostile_text_is_linear() {
    for pattern in [
        "#/*",
        "#/* #/* */ ",
        "#include <",
        "#include \"",
        ".incbin \"",
        ".inc\" ",
        "#define HEADER",
        "#define HEADER \"",
        "#define /* ",
        "__has_include",
        "__has_include x ",
        "#if __has_include(A",
        "#if CAT(__has_,",
        "#if * HAS HA",
        "\\\n__has_include ",
        "\\\n",
        "_Pragma(\"",
        "*TIME\n",
        "/*TIME\n",
    ] {
        let text = pattern.repeat(200_000 / pattern.len());
        let references = scan(text.as_bytes());
        assert!(references.includes.len() <= 2, "{pattern:?}");
        assert!(definitions(text.as_bytes(), b"HEADER").len() <= bounds::DEFINITIONS);
        assert!(Alias::new(b"HAS").mentions(text.as_bytes()).pieces.len() <= 1);
    }
}
