//! What a plan says of the arguments, for the search of inputs and for builders.

use super::*;

#[test]
fn a_question_for_headers_is_seen_in_every_argument() {
    let check = |command: &str, expect| {
        let mut world = World::new(&[
            ("outer", "-O1 @inner"),
            ("inner", "'-DHAS(x)=A && __has_include(x)'"),
            ("plain", "-DHAS=1"),
        ]);
        let verdict = verdict_in(&mut world, command);
        let Verdict::Distribute(plan) = verdict else {
            panic!("{command}: {verdict:?}")
        };
        assert_eq!(plan.mentions_probe, expect, "{command}");
    };
    for compiler in ["gcc", "clang"] {
        check(
            &format!("{compiler} -c a.c -DHAS=1 -D__hppa=__hash -DA=__has1 -DB=__h @plain"),
            false,
        );
        for arguments in [
            "-DHAS=__has_include",
            "-D HAS=__has_embed",
            "-Wp,-DHAS=__has_include_next",
            "-DP=__has_",
            "-DP=__has",
            "@outer",
        ] {
            check(&format!("{compiler} -c a.c {arguments}"), true);
        }
    }
}

#[test]
fn definitions_are_collected_however_they_are_given() {
    for compiler in ["gcc", "clang"] {
        let command = format!(
            "{compiler} -c a.c -DA -D B=\"b.h\" @rsp -Wp,-DD=1,-D,E --define-macro=F --define-macro G \
             -Xpreprocessor -DH=h -UA"
        );
        let verdict = verdict_in(&mut World::new(&[("rsp", "'-DC=<c d>'")]), &command);
        let Verdict::Distribute(plan) = verdict else {
            panic!("{command}: {verdict:?}")
        };
        let mut definitions: Vec<_> = plan.definitions.iter().map(|operand| text(operand)).collect();
        definitions.sort_unstable();
        assert_eq!(
            definitions,
            ["A", "B=\"b.h\"", "C=<c d>", "D=1", "E", "F", "G", "H=h"],
            "{command}"
        );
    }
}

#[test]
fn time_macros_among_the_arguments_are_seen() {
    use TimeMacro::{AsBuiltIn, Mentioned, Redefined};
    let check = |command: &str, clock: TimeMacro, file_time: TimeMacro| {
        let plan = planned(command);
        assert_eq!(
            (plan.clock_macros, plan.file_time_macro),
            (clock, file_time),
            "{command}"
        );
    };
    check("gcc -c a.c -DX=1 -DY -U__DATE__", AsBuiltIn, AsBuiltIn);
    check("gcc -c a.c -DX=__DATE__", Mentioned, AsBuiltIn);
    check("gcc -c a.c -D X(a)=\"at\"__TIME__", Mentioned, AsBuiltIn);
    check("clang -c a.c -Wp,-DX=__TIMESTAMP__", AsBuiltIn, Mentioned);
    check("gcc -c a.c -DX\t__DATE__", Mentioned, AsBuiltIn);
    // As Bazel and Chromium do.
    check(
        "gcc -c a.c -D__DATE__=\"redacted\" -D __TIME__= -D__TIMESTAMP__",
        Redefined,
        Redefined,
    );
    check("gcc -c a.c -D__DATE__=", AsBuiltIn, AsBuiltIn);
    check("gcc -c a.c -D__DATE__(x)= -D__TIME__=", AsBuiltIn, AsBuiltIn);
    check("gcc -c a.c -D__DATE__=__TIME__ -D__TIME__=", Mentioned, AsBuiltIn);
}

#[test]
fn precompiled_headers_loaded_by_name_are_inputs() {
    for command in [
        "clang -c a.c -include-pch d/x.pch -include x.h -fpch-instantiate-templates -Winvalid-pch",
        "clang -c a.c -Xclang -include-pch -Xclang d/x.pch -Xclang -include -Xclang x.h",
    ] {
        let plan = planned(command);
        assert!(plan.loads_precompiled, "{command}");
        assert_eq!(joined(&plan.input_files), "d/x.pch", "{command}");
        assert_eq!(joined(&plan.forced_includes), "x.h", "{command}");
        assert_eq!(joined(&plan.search_arguments), "", "{command}");
        let dependencies = joined(&plan.dependency_arguments);
        assert!(dependencies.contains("d/x.pch"), "{command}");
    }
    assert!(!planned("clang -c a.c -include x.h").loads_precompiled);
}

#[test]
fn a_profile_that_clang_reads_is_an_input() {
    let mut world = World::new(&[("d/p", "")]);
    for flag in [
        "-fprofile-use",
        "-fprofile-instr-use",
        "-fprofile-sample-use",
        "-fauto-profile",
    ] {
        let mut check = |file: &str, expect: &str| {
            let verdict = verdict_in(&mut world, &format!("clang -c a.c {flag}={file}"));
            let got = match &verdict {
                Verdict::Distribute(plan) => joined(&plan.input_files),
                other => summary(other),
            };
            assert_eq!(got, expect, "{flag}={file}");
        };
        check("d/p", "d/p");
        check("absent", "profile");
        check("", "profile");
    }
    let gcc = verdict_in(&mut world, "gcc -c a.c -fprofile-use=d/p");
    assert_eq!(summary(&gcc), "profile");
}

#[test]
fn clang_precompiles_headers_elsewhere() {
    for command in [
        "clang -x c-header a.h -o a.pch",
        "clang -c a.h -o a.pch",
        "clang -Xclang -emit-pch -Xclang -include -Xclang a.h -x c-header -o a.pch -c a.h.c",
    ] {
        let plan = planned(command);
        assert_eq!(plan.language, Language::CHeader, "{command}");
        assert_eq!(text(&plan.outputs[0].path), "a.pch", "{command}");
        assert_eq!(joined(&plan.search_arguments), "", "{command}");
        assert!(!joined(&plan.dependency_arguments).contains("emit"), "{command}");
    }
    for command in [
        "clang -c a.c -o a.pch -Xclang -emit-pch",
        "clang -x c-header a.h -include-pch b.pch -o a.pch",
        "gcc -x c-header a.h -o a.pch",
    ] {
        assert_eq!(summary(&verdict(command)), "precompiled-header", "{command}");
    }
}

#[test]
fn native_asks_the_driver_with_all_expanded_arguments() {
    let mut world = World::new(&[("r", "a.c -march=native"), ("n", "'-DX=\n' -mtune=native")]);
    let mut check = |command: &str, expect: Result<Option<&str>, &str>| {
        let got = match verdict_in(&mut world, command) {
            Verdict::Distribute(plan) => Ok(plan.native_arguments.as_deref().map(joined)),
            other => Err(summary(&other)),
        };
        let expect = expect.map(|arguments| arguments.map(str::to_owned));
        assert_eq!(got, expect.map_err(str::to_owned), "{command}");
    };
    check(
        "gcc -c a.c -march=native -O2",
        Ok(Some("-c a.c -march=native -O2")),
    );
    check("clang -c a.c -mtune=native", Ok(Some("-c a.c -mtune=native")));
    check(
        "clang -c a.c -mcpu=native+crypto",
        Ok(Some("-c a.c -mcpu=native+crypto")),
    );
    check("gcc -c @r -g", Ok(Some("-c a.c -march=native -g")));
    check(
        "gcc -c a.c -march=nativelike -O2",
        Ok(Some("-c a.c -march=nativelike -O2")),
    );
    check("gcc -c a.c -march=x86-64-v3", Ok(None));
    check("gcc -march=native a.c", Err("linking"));
    check("gcc -c a.c @n", Err("native-target"));
    check("gcc -c a.c -march=native -I @absent", Err("native-target"));
}

#[test]
fn response_files_are_expanded_and_are_inputs() {
    let mut world = World::new(&[("r", "-c @s -o 'x y.o'"), ("s", "-I inc a.c")]);
    let Verdict::Distribute(plan) = verdict_in(&mut world, "gcc @r -O2") else {
        panic!("local")
    };
    assert_eq!(joined(&plan.input_files), "r s");
    assert_eq!(text(&plan.outputs[0].path), "x y.o");
    assert_eq!(joined(&plan.include_directories), "inc");
    let mut world = World::new(&[("r", "a.c ''")]);
    assert_eq!(
        summary(&verdict_in(&mut world, "gcc -c @r")),
        "response-file-syntax"
    );
}

#[test]
fn a_plan_lists_what_the_search_for_inputs_needs() {
    let plan = planned(
        "clang -Iinc -I = -isystem sys -iquote q -idirafter last -Wp,-I,wp -Wa,-Iasm -include pre.h -imacros m.h \
         -include /dev/null -fsanitize-ignorelist=list.txt -fsanitize-ignorelist= -c a.c",
    );
    assert_eq!(joined(&plan.forced_includes), "pre.h m.h /dev/null");
    assert_eq!(joined(&plan.input_files), "list.txt");
    assert_eq!(joined(&plan.include_directories), "inc = sys q last wp asm");
    assert_eq!(text(&plan.source), "a.c");
}

#[test]
fn search_arguments_hold_what_decides_target_search_and_macros() {
    let plan = planned(
        "clang -DX -Iinc -x c -O2 -Wall -std=c11 --sysroot /s -g -MD -MF f.d -Wp,-DY,-Iwp -Wa,-k -Xclang -opaque-pointers \
         -mllvm -asan-stack=0 -lm -c a.c -o a.o -include p.h -march=x86-64-v2 -gsplit-dwarf",
    );
    assert_eq!(
        joined(&plan.search_arguments),
        "-Iinc -O2 -std=c11 --sysroot /s -march=x86-64-v2 -Xpreprocessor -Iwp -Xclang -opaque-pointers"
    );
}

#[test]
fn dependency_arguments_preprocess_alike_and_write_nothing_else() {
    let plan = planned(
        "gcc -DX -Iinc -Wall -x c -MD -MF f.d -MT t -MP -Wp,-MT,u,-DY,-Iwp -Wa,-k -fstack-usage -gsplit-dwarf -c a.c \
         -o a.o -include p.h",
    );
    assert_eq!(
        joined(&plan.dependency_arguments),
        "-DX -Iinc -Wall -x c a.c -include p.h -Xpreprocessor -DY -Xpreprocessor -Iwp -M"
    );
    let plan = planned("clang -c -- a.c");
    assert_eq!(joined(&plan.dependency_arguments), "a.c -M");
}
