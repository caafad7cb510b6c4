//! Whole command lines and their verdicts. What a row expects of a compiler was tried with gcc 12.2 and
//! clang 14.0.6.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::compile::{Role, TimeMacro};

/// Files below `/w`, the directory all invocations here are made in.
struct World(BTreeMap<Vec<u8>, Vec<u8>>);

impl World {
    fn new(files: &[(&str, &str)]) -> Self {
        let entry =
            |(name, text): &(&str, &str)| (format!("/w/{name}").into_bytes(), text.as_bytes().to_vec());
        Self(files.iter().map(entry).collect())
    }
}

impl Surroundings for World {
    fn read_response_file(&mut self, path: &[u8]) -> Option<Vec<u8>> {
        self.0.get(path).cloned()
    }

    fn exists(&mut self, path: &[u8]) -> bool {
        self.0.contains_key(path)
    }
}

fn words(text: &str) -> Vec<Vec<u8>> {
    text.split(' ').map(|word| word.as_bytes().to_vec()).collect()
}

fn dialect_of(command: &str) -> Dialect {
    let driver = command.split(' ').next().unwrap();
    if driver.contains("clang") {
        Dialect::Clang
    } else {
        Dialect::Gcc
    }
}

fn verdict_in(world: &mut World, command: &str) -> Verdict {
    let invocation = Invocation {
        argv: words(command),
        cwd: b"/w".to_vec(),
        env: Vec::new(),
    };
    judge(&invocation, dialect_of(command), world)
}

fn verdict(command: &str) -> Verdict {
    verdict_in(&mut World::new(&[]), command)
}

#[track_caller]
fn planned(command: &str) -> Plan {
    match verdict(command) {
        Verdict::Distribute(plan) => *plan,
        other => panic!("{command}: {other:?}"),
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}

fn joined(list: &[Vec<u8>]) -> String {
    text(&list.join(&b' '))
}

/// `language outputs` for a plan, the code of a reason, or `not a compile`.
fn summary(verdict: &Verdict) -> String {
    match verdict {
        Verdict::Distribute(plan) => {
            let outputs: Vec<String> = plan.outputs.iter().map(|output| text(&output.path)).collect();
            format!("{} {}", plan.language.name(), outputs.join(" "))
        }
        Verdict::Local(reason) => reason.code().to_owned(),
        Verdict::NotACompile => "not a compile".to_owned(),
    }
}

#[track_caller]
fn check(command: &str, expect: &str) {
    assert_eq!(summary(&verdict(command)), expect, "{command}");
}

/// The same arguments under gcc and clang.
#[track_caller]
fn check_both(arguments: &str, expect: &str) {
    check(&format!("gcc {arguments}"), expect);
    check(&format!("clang {arguments}"), expect);
}

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
        check(&format!("{compiler} -c a.c -DHAS=1 @plain"), false);
        for arguments in [
            "-DHAS=__has_include",
            "-D HAS=__has_embed",
            "-Wp,-DHAS=__has_include_next",
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
fn ordinary_compiles_are_distributed() {
    check_both("-c a.c", "c a.o");
    check_both("-c dir/a.b.c", "c a.b.o");
    check_both("-c a.c -o out/x.o", "c out/x.o");
    check_both("-oout/x.o -c a.c", "c out/x.o");
    check_both("-c a.c -o a.o -o b.o", "c b.o");
    check_both("-c a.c --output=b.o", "c b.o");
    check_both("-c a.c --output b.o", "c b.o");
    check_both("-S dir/a.c", "c a.s");
    check_both("-S -c a.c", "c a.s");
    check_both("-c -S a.c", "c a.s");
    check_both("-c a.S -o a.o", "assembler-with-cpp a.o");
    check_both("-c a.s -o a.o", "assembler a.o");
    check_both(
        "-c a.cc -std=c++20 -O2 -g3 -Wall -Werror=format -fPIC -pthread -m64 -pipe",
        "c++ a.o",
    );
    check_both(
        "-c a.c -fsanitize=address,undefined -fvisibility=hidden -mcmodel=kernel",
        "c a.o",
    );
    check_both(
        "-c a.c -ffile-prefix-map=/a/b=/c -fdebug-prefix-map=/x=. -fmacro-prefix-map=/y=",
        "c a.o",
    );
    check_both(
        "-c a.c -Wa,--noexecstack -Wa,-mrelax-relocations=no,-I,asm -Xassembler --gdwarf-5",
        "c a.o",
    );
    check_both(
        "-c a.c -L/usr/lib -lm -Wl,-z,now -Wl,-O1 -shared -Xlinker --foo -fuse-ld=lld",
        "c a.o",
    );
    check_both(
        "-c a.c --sysroot=/s --sysroot /s -isysroot /t --param x=1 --param=y=2",
        "c a.o",
    );
    check_both(
        "-c a.c -finput-charset=UTF-8 -fexec-charset=utf-8 -fabi-version=2.5 -falign-loops=16",
        "c a.o",
    );
    check(
        "clang -c -Qunused-arguments --target=aarch64-linux-gnu -target x86_64-linux-gnu -stdlib=libc++ a.cc",
        "c++ a.o",
    );
    check(
        "clang -c a.c -Xclang -target-feature -Xclang +avx2 -mllvm -asan-stack=0",
        "c a.o",
    );
    check("clang -c -- a.c", "c a.o");
}

#[test]
fn the_language_follows_x_suffix_and_driver() {
    check_both("-x c++ -c a.c", "c++ a.o");
    check_both("-xc++ -c noext", "c++ noext.o");
    check_both("-c a.c -x c++", "c a.o");
    check_both("-x c++ -x none -c a.c", "c a.o");
    check_both("-x assembler-with-cpp -c entry.x", "assembler-with-cpp entry.o");
    check_both("-c a.i", "cpp-output a.o");
    check("g++ -c a.c", "c++ a.o");
    check("clang++-14 -c a.i", "c++-cpp-output a.o");
    check("/usr/bin/x86_64-linux-gnu-g++-12 -x c -c a.cc", "c a.o");
    check("clang --driver-mode=g++ -c a.c", "c++ a.o");
    check("clang --driver-mode=cl -c a.c", "foreign-driver");
}

#[test]
fn dep_files_are_declared_where_the_compilers_write_them() {
    check_both("-MD -c a.c", "c a.o a.d");
    check_both("-MMD -c sub/q.r.c", "c q.r.o q.r.d");
    check_both("-MD -c a.c -o foo", "c foo foo.d");
    check_both("-MD -c a.c -o out/x.y.o", "c out/x.y.o out/x.y.d");
    check_both(
        "-MD -MT t -MQ q -MP -MF out/f.d -c a.c -o o/x.o",
        "c o/x.o out/f.d",
    );
    check_both("-MFf.d -MTt -MMD -c a.c", "c a.o f.d");
    check_both("-MD -MF f.d -MF g.d -c a.c", "c a.o g.d");
    check_both("-S -MD a.c", "c a.s a.d");
    check_both("-Wp,-MD,o/.f.o.d -c a.c -o o/f.o", "c o/f.o o/.f.o.d");
    check_both("-Wp,-MMD,f.d -nostdinc -c a.c", "c a.o f.d");
    check_both("-MD -c a.s", "assembler a.o");
    check_both("-Wp,-MD,f.d -c a.S", "assembler-with-cpp a.o f.d");
    check("gcc -Wp,-MMD,f.d,-MT,zz,-MP,-DX -c a.c", "c a.o f.d");
    check("gcc -Wp,-MD -Wp,f.d -c a.c", "c a.o f.d");
    check("clang -Wp,-MMD,f.d,-MT,zz -c a.c", "odd-dependency-flags");
    check("clang -Wp,-MD -c a.c", "odd-dependency-flags");
    check_both("-MD -Wp,-MD,f.d -c a.c", "odd-dependency-flags");
    check_both("-MF f.d -c a.c", "odd-dependency-flags");
}

#[test]
fn further_outputs_are_declared() {
    check_both("-g -gsplit-dwarf -c a.c -o out/x.y.o", "c out/x.y.o out/x.y.dwo");
    check_both("-gsplit-dwarf -gno-split-dwarf -c a.c", "c a.o");
    check("clang -g -gsplit-dwarf=split -c a.c", "c a.o a.dwo");
    check("clang -g -gsplit-dwarf=single -c a.c", "c a.o");
    check_both("-fstack-usage -MD -c a.c -o foo", "c foo foo.d foo.su");
    check("gcc -fcallgraph-info=su,da -c a.c", "c a.o a.ci");
    check_both("--coverage -c a.c -o out/x.y.o", "c out/x.y.o out/x.y.gcno");
    check_both("-coverage -S sub/q.r.c", "c q.r.s q.r.gcno");
    check_both(
        "-ftest-coverage -fprofile-arcs -fprofile-update=atomic -c a.c",
        "c a.o a.gcno",
    );
    check_both("--coverage -c a.S", "assembler-with-cpp a.o");
    check_both(
        "-fprofile-arcs -fprofile-generate -fprofile-generate=/d -c a.c",
        "c a.o",
    );
    check(
        "clang -fsave-optimization-record -c sub/q.r.c",
        "c q.r.o q.opt.yaml",
    );
    check(
        "clang -fsave-optimization-record=bitstream -c a.c -o o/x.o",
        "c o/x.o o/x.opt.bitstream",
    );
    check(
        "clang -fsave-optimization-record -foptimization-record-file=r/x -c a.c",
        "c a.o r/x",
    );
    check(
        "clang --serialize-diagnostics d/x.dia -serialize-diagnostics y.dia -c a.c",
        "c a.o y.dia",
    );
    check("clang --serialize-diagnostics - -c a.c", "odd-output");
    let plan = planned("gcc -MD -gsplit-dwarf -fstack-usage -fcallgraph-info -c a.c");
    let roles: Vec<Role> = plan.outputs.iter().map(|output| output.role).collect();
    assert_eq!(
        roles,
        [
            Role::Object,
            Role::DepFile,
            Role::SplitDwarf,
            Role::StackUsage,
            Role::CallGraph
        ]
    );
}

#[test]
fn link_time_optimisation_and_instrumentation_are_distributed() {
    check_both("-flto -O2 -c a.c", "c a.o");
    check_both("-flto=auto -ffat-lto-objects -c a.c", "c a.o");
    check_both("-flto=jobserver -flto=4 -fno-fat-lto-objects -c a.c", "c a.o");
    check_both(
        "-flto -fno-lto -flto-partition=none -flto-compression-level=1 -c a.c",
        "c a.o",
    );
    check("clang -flto=thin -fwhole-program-vtables -c a.c", "c a.o");
    check(
        "clang -fprofile-instr-generate=/x.profraw -fcoverage-mapping -fcs-profile-generate -c a.c",
        "c a.o",
    );
    check_both(
        "-fprofile-arcs -fprofile-filter-files=a/.* -fprofile-abs-path -c a.c",
        "c a.o",
    );
}

#[test]
fn counts_that_gcc_would_delete_keep_the_compile_local() {
    let check = |command: &str, expect: &str| {
        let mut world = World::new(&[("o/a.gcda", "")]);
        assert_eq!(summary(&verdict_in(&mut world, command)), expect, "{command}");
    };
    check("gcc --coverage -frandom-seed=x -c a.c -o o/a.o", "profile");
    check("gcc --coverage -frandom-seed=x -c a.c -o a.o", "c a.o a.gcno");
    check(
        "gcc --coverage -frandom-seed=x -fprofile-dir=d -c a.c -o a.o",
        "profile",
    );
    check("gcc --coverage -c a.c -o o/a.o", "c o/a.o o/a.gcno");
    check("gcc -fprofile-arcs -frandom-seed=x -c a.c -o o/a.o", "c o/a.o");
    check(
        "clang --coverage -frandom-seed=x -c a.c -o o/a.o",
        "c o/a.o o/a.gcno",
    );
}

#[test]
fn flags_seen_in_large_builds_are_distributed() {
    for arguments in [
        // The Linux kernel.
        "-Wp,-D_FORTIFY_SOURCE=2 -Wp,-U_FORTIFY_SOURCE -Wa,--noexecstack -Wa,-gdwarf-2 -Wa,--fatal-warnings",
        "-Wa,-mrelax-relocations=no -Wa,--compress-debug-sections -Wa,-march=armv7-a -Wa,-mimplicit-it=always",
        "-Wa,--debug-prefix-map,/a=/b -Wa,--defsym=X=1 -Wa,-Iinc -Wa,--trap -Wa,-n",
        "-Xassembler --keep-locals -Xpreprocessor -fopenmp -Xpreprocessor -DX",
        "-Wp,-MMD,.a.o.d -nostdinc -include ./kconfig.h -D__KERNEL__ -fmacro-prefix-map=./= -fshort-wchar -mno-sse \
         -falign-jumps=1 -mcmodel=kernel -mfunction-return=thunk-extern -fpatchable-function-entry=16,16 \
         -ftrivial-auto-var-init=zero -fstrict-flex-arrays=3 -Wframe-larger-than=2048 -pg -mrecord-mcount -mfentry \
         -DKBUILD_MODFILE=\"kernel/a\"",
        // The same by their long names.
        "--include-directory=inc --define-macro X=1 --undefine-macro=Y --optimize=2 --debug --all-warnings --pedantic",
        "-fprofile-values -fprofile-correction -fprofile-reorder-functions -fverbose-asm",
    ] {
        let dep_file = if arguments.contains("-MMD") { " .a.o.d" } else { "" };
        check_both(&format!("{arguments} -c a.c"), &format!("c a.o{dep_file}"));
    }
    check_both("-c a.c --write-dependencies", "c a.o a.d");
    check("gcc -pass-exit-codes -c a.c", "c a.o");
    for arguments in [
        "-Rpass=inline -Rpass-missed=.* --system-header-prefix=a/ -canonical-prefixes -nostdlibinc",
        "--start-no-unused-arguments -lm --end-no-unused-arguments -static-openmp",
        "-Xclang -fno-pch-timestamp -Xclang -target-feature -Xclang +avx2 -Xclang -debug-info-kind=limited",
        "-Xclang -mllvm -Xclang -instcombine-lower-dbg-declare=0 -Xclang -disable-noundef-analysis",
        // Chromium.
        "-fcolor-diagnostics -fcrash-diagnostics-dir=../../crashreports -mllvm -split-threshold-for-reg-with-hint=0 \
         -fcomplete-member-pointers -D__DATE__= -D__TIME__= -D__TIMESTAMP__= -Xclang -fdebug-compilation-dir -Xclang .",
        "-mllvm -inline-threshold=500 -mllvm -enable-gvn-hoist -mllvm -x86-pad-max-prefix-size=5",
    ] {
        check(&format!("clang {arguments} -c a.c"), "c a.o");
    }
    check(
        "clang -Xclang -mllvm -Xclang -stats -c a.c",
        "unknown-forwarded-flag",
    );
    check("clang -save-stats -c a.c", "extra-output");
}

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
        "-fprofile-use=x",
        "-fprofile-new-use",
        "-fprofile-sample-use=x",
        "-fbranch-probabilities",
    ] {
        named(flag, Cause::Profile);
    }
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

#[test]
fn a_long_command_line_is_judged_in_one_pass() {
    let command = format!("gcc -c a.c{}", " -DX=1 -Iinc -Wfoo -fbar".repeat(25_000));
    let plan = planned(&command);
    assert_eq!(plan.include_directories.len(), 25_000);
}

/// Arguments made of pieces that mean something, and arbitrary bytes.
fn argument() -> impl Strategy<Value = Vec<u8>> {
    let known = prop::sample::select(vec![
        "-c",
        "-S",
        "-o",
        "-x",
        "c",
        "none",
        "a.c",
        "b.cc",
        ".c",
        "-",
        "--",
        "-MD",
        "-MF",
        "-MT",
        "-Wp,-MD",
        "-Wp,",
        "-Wa,",
        "-Xclang",
        "-target-cpu",
        "native",
        "-Xpreprocessor",
        "-mllvm",
        "-I",
        "-include",
        "@r",
        "@",
        "-f",
        "-fx=",
        "-W",
        "-gsplit-dwarf",
        "-fstack-usage",
        "--driver-mode=g++",
        "/",
        "/dev/null",
        "",
    ]);
    prop_oneof![
        4 => known.prop_map(|word| word.as_bytes().to_vec()),
        1 => prop::collection::vec(any::<u8>(), 0..12),
        1 => prop::collection::vec(any::<u8>(), 0..6).prop_map(|tail| [b"-", tail.as_slice()].concat()),
    ]
}

proptest! {
    #[test]
    fn any_bytes_give_a_verdict_and_a_plan_keeps_its_promises(
        argv in prop::collection::vec(argument(), 0..16),
        response in prop::collection::vec(any::<u8>(), 0..24),
        clang in any::<bool>(),
    ) {
        let dialect = if clang { Dialect::Clang } else { Dialect::Gcc };
        let mut world = World(BTreeMap::from([(b"/w/r".to_vec(), response)]));
        let invocation = Invocation { argv, cwd: b"/w".to_vec(), env: vec![] };
        match judge(&invocation, dialect, &mut world) {
            Verdict::Distribute(plan) => {
                prop_assert!(matches!(plan.outputs[0].role, Role::Object | Role::Assembly));
                let paths: BTreeSet<&[u8]> = plan.outputs.iter().map(|output| output.path.as_slice()).collect();
                prop_assert_eq!(paths.len(), plan.outputs.len());
                prop_assert!(!paths.contains(plan.source.as_slice()));
                prop_assert!(plan.dependency_arguments.contains(&plan.source));
                prop_assert!(!plan.search_arguments.contains(&plan.source));
            }
            Verdict::Local(reason) => prop_assert!(!reason.explanation().is_empty()),
            Verdict::NotACompile => {}
        }
    }

    #[test]
    fn compiles_of_plain_flags_are_distributed(
        flags in prop::collection::vec("-(DX=[a-z]{1,4}|I[a-z/]{1,6}|W[a-z]{1,6}|O[0-3]|g[0-3]?|fno-[a-z]{4,9})", 0..12)
    ) {
        let command = format!("gcc -c a.c {}", flags.join(" "));
        prop_assume!(!flags.iter().any(|flag| flag.starts_with("-Wa") || flag.starts_with("-Wp")));
        prop_assert_eq!(summary(&verdict(command.trim())), "c a.o");
    }
}
