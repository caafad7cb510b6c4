//! Command lines that are distributed, and the outputs they declare.

use super::*;

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
