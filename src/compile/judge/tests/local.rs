//! Command lines that stay here, and why.

use super::*;

#[test]
fn commented_assembly_of_gcc_tells_of_the_machine() {
    check("gcc -fverbose-asm -S a.c", "compiler-report");
    check("clang -fverbose-asm -S a.c", "c a.s");
    check_both("-fverbose-asm -c a.c", "c a.o");
}

#[test]
fn what_compiles_nothing_is_not_counted() {
    for arguments in [
        "",
        "--version",
        "-v",
        "-dumpmachine",
        "-print-prog-name=as",
        "-dumpversion -c a.c",
        "--help",
    ] {
        check_both(arguments.trim(), "not a compile");
    }
    check_both("a.o b.o -o prog -lm", "not a compile");
    check_both("-shared -o lib.so @missing", "not a compile");
    check_both("-c noext", "not a compile");
    assert_eq!(
        judge(
            &Invocation {
                argv: vec![],
                cwd: vec![],
                env: vec![]
            },
            Dialect::Gcc,
            &mut World::new(&[])
        ),
        Verdict::NotACompile
    );
}

#[test]
fn other_actions_stay_local() {
    check_both("a.c -o prog", "linking");
    check_both("-E a.c", "preprocess-only");
    check("cpp a.c", "preprocess-only");
    check_both("-M a.c", "dependency-only");
    check_both("-MM -MG a.c", "dependency-only");
    check_both("-fsyntax-only a.c", "no-object");
    check_both("-v -c a.c", "verbose");
    check_both("-### -c a.c", "verbose");
    check_both("-c a.c b.c", "several-sources");
    check_both("-c a.c b.o", "linker-input");
    check_both("a.c b.o -o prog", "linking");
    check_both("-c a.c @missing", "linker-input");
    check_both("-c -x c -", "stdin-source");
    check_both("-E -", "preprocess-only");
    check_both("-c -x c /dev/null -o x.o", "special-file");
    check_both("-c -x c /dev/fd/3", "special-file");
    check("clang -emit-llvm -c a.c", "unsupported-action");
    check("clang --analyze a.c", "unsupported-action");
    check_both("-c a.h", "precompiled-header");
    check_both("-x c++-header -c a.h", "precompiled-header");
    check_both("-x c++-header -S a.h -o a.pch", "precompiled-header");
    check_both("-c a.m", "unsupported-language");
    check_both("-c a.f90", "unsupported-language");
    check_both("-x ada -c a.x", "unsupported-language");
    check("clang -c a.cu", "offload");
    check("clang -c a.cppm", "modules");
}

#[test]
fn odd_outputs_stay_local() {
    for output in ["-", "/dev/null", "/dev/stdout", "out/", ".", "a.c"] {
        check_both(&format!("-c a.c -o {output}"), "odd-output");
    }
    check_both("-MD -MF - -c a.c", "odd-output");
    check_both("-MD -MF /dev/stdout -c a.c", "odd-output");
    check_both("-MD -c a.c -o a.d", "odd-output");
    check_both("-Wp,-MD,/dev/null -c a.c", "odd-output");
    check("gcc -c a.c -dumpdir x", "odd-output");
}

#[test]
fn flags_that_need_this_machine_stay_local_and_are_named() {
    let check = |arguments: &str, dialects: &[&str], cause: Cause, subject: &str| {
        for driver in dialects {
            let got = verdict(&format!("{driver} -c a.c {arguments}"));
            assert_eq!(
                got,
                Verdict::Local(Reason::new(cause, subject.as_bytes())),
                "{driver} {arguments}"
            );
        }
    };
    let both = &["gcc", "clang"];
    let named = |flag: &str, cause| check(flag, both, cause, flag.split(' ').next().unwrap());
    check(
        "-Xclang -target-cpu -Xclang native",
        &["clang"],
        Cause::NativeTarget,
        "-target-cpu",
    );
    for flag in [
        "-fprofile-use",
        "-fprofile-instr-use",
        "-fprofile-new-use",
        "-fbranch-probabilities",
    ] {
        named(flag, Cause::Profile);
    }
    check("-fprofile-use=x", &["gcc"], Cause::Profile, "-fprofile-use=x");
    check("-fprofile-use=x", &["clang"], Cause::Profile, "x");
    check("-fauto-profile=x", &["gcc"], Cause::Profile, "-fauto-profile=x");
    check("-fprofile-note=x", &["gcc"], Cause::Profile, "-fprofile-note=x");
    named("-flto-report", Cause::LinkTimeOptimization);
    check(
        "-fthinlto-index=x",
        &["clang"],
        Cause::LinkTimeOptimization,
        "-fthinlto-index=x",
    );
    named("-fmodules-ts", Cause::Modules);
    named("-fplugin=x.so", Cause::Plugin);
    named("-fpass-plugin=x.so", Cause::Plugin);
    for flag in [
        "-save-temps",
        "-save-temps=obj",
        "-fdump-tree-all",
        "-foptimization-record-passes=x",
        "-dD",
    ] {
        named(flag, Cause::ExtraOutput);
    }
    check(
        "-fsave-optimization-record",
        &["gcc"],
        Cause::ExtraOutput,
        "-fsave-optimization-record",
    );
    check("-MJ x.json", &["clang"], Cause::ExtraOutput, "-MJ");
    named("-fpch-preprocess", Cause::PrecompiledHeader);
    named("-specs=x", Cause::ProgramSelection);
    named("-wrapper gdb,--args", Cause::ProgramSelection);
    named("-B /x", Cause::ProgramSelection);
    named("-B/x", Cause::ProgramSelection);
    for flag in [
        "--config x.cfg",
        "--gcc-toolchain=/x",
        "-resource-dir /x",
        "-ccc-gcc-name x",
    ] {
        check(
            flag,
            &["clang"],
            Cause::ProgramSelection,
            flag.split(' ').next().unwrap(),
        );
    }
    named("-ftime-report", Cause::CompilerReport);
    named("-ftime-trace", Cause::CompilerReport);
    named("-traditional-cpp", Cause::PreprocessorMode);
    named("-finput-charset=latin1", Cause::CharacterSet);
    named("-F dir", Cause::UnsupportedSearch);
    named("-I-", Cause::UnsupportedSearch);
    check("-include /dev/stdin", both, Cause::SpecialFile, "/dev/stdin");
}

#[test]
fn unknown_flags_stay_local() {
    check_both("-c a.c --frobnicate", "unknown-flag");
    check_both("-c a.c -zeta", "unknown-flag");
    check("gcc -c a.c --", "unknown-flag");
    check("gcc -c a.c -Xclang -foo", "unknown-flag");
    check("clang -c -- -a.c", "unknown-flag");
    check_both("-c a.c -fnew-list=/x/list", "unknown-path");
    check_both("-c a.c -fnew-list=list.txt", "unknown-path");
    check_both("-c a.c -Wnew=a/b", "unknown-path");
    check_both("-c a.c -fnew-level=3.5", "c a.o");
    check_both("-c a.c -fnew-choice=fast", "c a.o");
    check_both("-c a.c -Wa,-adhln=a.lst", "unknown-forwarded-flag");
    check_both("-c a.c -Wp,-fplugin", "unknown-forwarded-flag");
    check(
        "clang -c a.c -Xclang -load -Xclang x.so",
        "unknown-forwarded-flag",
    );
    check("clang -c a.c -mllvm -new", "unknown-forwarded-flag");
    check("clang -c a.c -Xclang -target-feature", "missing-operand");
    check_both("-c a.c -o", "missing-operand");
}

#[test]
fn an_unknown_value_that_exists_is_taken_for_a_file() {
    let mut world = World::new(&[("fast", "")]);
    let got = verdict_in(&mut world, "gcc -c a.c -fnew-choice=fast");
    assert_eq!(
        got,
        Verdict::Local(Reason::new(Cause::UnknownPath, b"-fnew-choice=fast"))
    );
    let got = verdict_in(&mut world, "gcc -c a.c -fnew-choice=list=fast");
    assert_eq!(summary(&got), "unknown-path");
}

#[test]
fn probes_stay_local() {
    check_both("-c conftest.c", "configure-probe");
    check_both("-c sub/conftest.cpp -o x.o", "configure-probe");
    check_both(
        "-c /b/CMakeFiles/CMakeScratch/TryCompile-x/src.c -o s.o",
        "configure-probe",
    );
    check_both("-c src.c -o CMakeFiles/CMakeTmp/src.o", "configure-probe");
    check_both("-c meson-private/tmpx/t.c", "configure-probe");
    check_both("-c contest.c", "c contest.o");
    let argv = words("gcc -c CMakeCCompilerId.c");
    let invocation = Invocation {
        argv,
        cwd: b"/b/CMakeFiles/3.25/CompilerIdC".to_vec(),
        env: vec![],
    };
    assert_eq!(
        summary(&judge(&invocation, Dialect::Gcc, &mut World::new(&[]))),
        "configure-probe"
    );
}

#[test]
fn the_environment_may_keep_a_compile_local() {
    let env = vec![(b"COLLECT_GCC".to_vec(), b"gcc".to_vec())];
    let invocation = Invocation {
        argv: words("gcc -c a.c"),
        cwd: b"/w".to_vec(),
        env,
    };
    let got = judge(&invocation, Dialect::Gcc, &mut World::new(&[]));
    assert_eq!(
        got,
        Verdict::Local(Reason::new(Cause::InsideDriver, b"COLLECT_GCC"))
    );
}
