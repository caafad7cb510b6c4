//! Flags beyond the everyday ones: what they make the compilers write and read is the same remotely.

use crate::support::{QUICC, Summary, World};

const C: &str = "#include <stdio.h>\n#include \"a.h\"\n\
static int twice(int x) { return x * A; }\n\
int f(int x) { for (int i = 0; i < x; i++) if (i & 1) printf(\"%d\\n\", twice(i)); return x; }\n";
const CXX: &str = "#include <string>\n#include <vector>\n#include \"a.h\"\n\
int f(const std::string &text) { std::vector<std::string> all(A, text); return (int)all.size(); }\n";

fn world() -> World {
    let world = World::new();
    world.write("a.h", "#define A 7\n");
    world.write("a.c", C);
    world.write("a.cc", CXX);
    world.write("sub/q.r.c", C);
    world.write("sub/a.h", "#define A 8\n");
    std::fs::create_dir(world.at("out")).unwrap();
    world
}

/// Compiles each command line here and remotely, and compares; every unit must have been remote.
#[track_caller]
fn all_remote(world: &World, clean: &str, commands: &[String]) -> Summary {
    let script: String = commands
        .iter()
        .map(|command| format!("{command} || exit\n"))
        .collect();
    assert!(world.local(clean).status.success());
    let summary = world.compare(clean, &script);
    assert_eq!(
        (summary.remote(), summary.local()),
        (commands.len() as u64, 0),
        "{summary:?} {}",
        world.agent_log()
    );
    summary
}

/// `flags` of the compiler and its C++ driver, on a C and a C++ source, numbered outputs in `out`.
fn lines(compiler: &str, flags: &[&str]) -> Vec<String> {
    let cxx = if compiler == "gcc" { "g++" } else { "clang++" };
    let line = |(number, flags): (usize, &&str)| {
        [(compiler, "a.c"), (cxx, "a.cc")]
            .map(|(driver, source)| format!("{driver} {flags} -c {source} -o out/{driver}{number}.o"))
    };
    flags.iter().enumerate().flat_map(line).collect()
}

const CLEAN: &str = "rm -rf out/* out/.[!.]* *.o *.gcno *.dwo *.su *.ci *.opt.yaml *.d *.s *.dia .hid*";

#[test]
fn link_time_optimisation_gives_the_local_bytes() {
    let world = world();
    let mut commands = lines(
        "clang",
        &[
            "-O2 -flto",
            "-O2 -flto=thin -g",
            "-flto=auto -fno-lto",
            "-flto -fsplit-lto-unit -fvisibility=hidden -fwhole-program-vtables",
        ],
    );
    commands.extend(lines(
        "gcc",
        &[
            "-O2 -flto -frandom-seed=x",
            "-O2 -flto=auto -ffat-lto-objects -g -frandom-seed=/a/b.o",
            "-flto=jobserver -fno-fat-lto-objects -frandom-seed=x",
            "-flto=4 -flto-partition=none -flto-compression-level=3 -frandom-seed=x",
            "-O2 -flto -fno-lto -frandom-seed=x",
        ],
    ));
    all_remote(&world, CLEAN, &commands);
}

/// The object without the number that gcc draws for the names of its sections.
fn without_random_names(mut object: Vec<u8>) -> Vec<u8> {
    const MARK: &[u8] = b".gnu.lto_.symtab.";
    let start = object
        .windows(MARK.len())
        .position(|window| window == MARK)
        .unwrap()
        + MARK.len();
    let length = object[start..].iter().position(|byte| *byte == 0).unwrap();
    let number = object[start..start + length].to_vec();
    let mut at = 0;
    while at + length <= object.len() {
        if object[at..at + length] == number[..] {
            object[at..at + length].fill(b'x');
        }
        at += 1;
    }
    object
}

#[test]
fn without_a_seed_gcc_differs_by_its_random_number_alone() {
    let world = world();
    let script = "gcc -O2 -g -flto -c a.c -o out/slim.o && gcc -flto -ffat-lto-objects -c a.c -o out/fat.o";
    assert!(world.local(script).status.success());
    let local = ["out/slim.o", "out/fat.o"].map(|path| without_random_names(world.read(path)));
    let (output, summary) = world.run(script);
    assert!(output.status.success(), "{}", world.explain(&output));
    assert_eq!((summary.remote(), summary.local()), (2, 0), "{summary:?}");
    let remote = ["out/slim.o", "out/fat.o"].map(|path| without_random_names(world.read(path)));
    for (local, remote) in local.iter().zip(&remote) {
        // The number has as many digits as it needs.
        assert!(local == remote || local.len() != remote.len());
    }
    world.write("m.c", "int f(int); int main(void) { return f(3) - 3; }\n");
    let link =
        "gcc -O2 -flto=auto -c m.c -o out/m.o && gcc -O2 -flto=auto out/m.o out/slim.o -o out/m && out/m";
    let (output, summary) = world.run(link);
    assert_eq!(
        String::from_utf8_lossy(&output.stdout),
        "7\n",
        "{}",
        world.explain(&output)
    );
    assert_eq!(summary.remote(), 1, "{summary:?}");
}

#[test]
fn instrumented_units_give_the_local_bytes() {
    let world = world();
    world.write("list.txt", "[clang]\n!fun:f\n");
    let mut commands = lines(
        "clang",
        &[
            "--coverage",
            "-fprofile-arcs -O2",
            "-ftest-coverage -g",
            "--coverage -fprofile-dir=/p -fprofile-update=atomic",
            "-fprofile-generate -O2",
            "-fprofile-generate=/p -g",
            "-fprofile-instr-generate -fcoverage-mapping",
            "-fprofile-instr-generate=x.profraw -fcoverage-mapping -O2 -g",
            "-fmemory-profile",
            "-fprofile-instr-generate -fprofile-list=list.txt",
        ],
    );
    commands.extend(lines(
        "gcc",
        &[
            "--coverage -frandom-seed=x",
            "-fprofile-arcs -O2 -frandom-seed=x",
            "-ftest-coverage -g -frandom-seed=x",
            "-fprofile-arcs -fprofile-dir=/p -fprofile-update=atomic -frandom-seed=x",
            "-fprofile-generate -O2 -frandom-seed=x",
            "-fprofile-generate=/p -fprofile-abs-path -frandom-seed=x",
            "--coverage -fprofile-abs-path -fprofile-exclude-files=/usr/.* -frandom-seed=x",
        ],
    ));
    all_remote(&world, CLEAN, &commands);
}

#[test]
fn without_a_seed_gcc_coverage_counts_as_locally() {
    let world = world();
    world.write("m.c", "int f(int); int main(void) { return f(3) - 3; }\n");
    let script = "gcc --coverage -c a.c -o out/a.o && gcc --coverage -c m.c -o out/m.o && \
                  gcc --coverage out/a.o out/m.o -o out/m && out/m && gcov -b -t out/a.gcno out/m.gcno; rm out/*";
    let local = world.local(script);
    let (remote, summary) = world.run(script);
    assert_eq!((summary.remote(), summary.local()), (2, 0), "{summary:?}");
    let text = String::from_utf8_lossy(&local.stdout);
    assert!(text.contains("branch  0 taken"), "{text}");
    assert_eq!(
        text,
        String::from_utf8_lossy(&remote.stdout),
        "{}",
        world.explain(&remote)
    );
}

#[test]
fn counts_that_gcc_deletes_are_deleted() {
    let world = world();
    world.write("out/a.gcda", "");
    let summary = world.compare(
        "rm -f out/*; touch out/a.gcda",
        "gcc --coverage -frandom-seed=x -c a.c -o out/a.o",
    );
    assert_eq!((summary.remote(), summary.local()), (0, 1), "{summary:?}");
    assert!(!world.exists("out/a.gcda"));
}

#[test]
fn every_further_output_comes_back_under_its_name() {
    let world = world();
    let gcc = "gcc -O2 -g -gsplit-dwarf -MD --coverage -frandom-seed=x -fstack-usage -fcallgraph-info=su,da";
    let clang = "clang -O2 -g -gsplit-dwarf -MD --coverage -fstack-usage -fsave-optimization-record";
    let mut commands = Vec::new();
    for compiler in [gcc, clang] {
        for (number, output) in ["foo", "x.y.o", "out/x.y", "a.obj", "x.", "..o", ".o", "out/.hid"]
            .iter()
            .enumerate()
        {
            // Their files would overwrite each other's.
            let directory = format!("out/{}{number}", &compiler[..3]);
            commands.push(format!(
                "mkdir -p {directory}/out && {compiler} -c a.c -o {directory}/{output}"
            ));
        }
        for (number, arguments) in [
            "-c ../../sub/q.r.c",
            "-S ../../sub/q.r.c",
            "-S ../../a.c -o foo.x",
        ]
        .iter()
        .enumerate()
        {
            let directory = format!("out/{}{}", &compiler[..3], number + 20);
            commands.push(format!(
                "mkdir -p {directory} && (cd {directory} && {compiler} {arguments})"
            ));
        }
    }
    all_remote(&world, CLEAN, &commands);
}

#[test]
fn outputs_that_link_time_optimisation_leaves_out_keep_what_was_there() {
    let world = world();
    let side = "-g -gsplit-dwarf --coverage -fstack-usage -MD";
    let commands: Vec<_> = [
        format!("gcc -O2 -flto -frandom-seed=x {side} -fcallgraph-info -c a.c -o out/a.o"),
        format!("clang -O2 -flto {side} -fsave-optimization-record -c a.c -o out/a.o"),
        "clang -flto -S a.c -o out/a.s".to_owned(),
        "clang -flto -fembed-bitcode -c a.c -o out/b.o".to_owned(),
    ]
    .into();
    all_remote(
        &world,
        "rm -f out/*; echo old > out/a.su; echo old > out/a.dwo",
        &commands,
    );
    assert_eq!(world.read("out/a.su"), b"old\n");
}

#[test]
fn records_and_diagnostics_of_clang_come_back() {
    let world = world();
    world.write(
        "w.c",
        "#include \"a.h\"\nint f(int x) { int unused; if (x = A) return 1; return 0; }\n",
    );
    all_remote(
        &world,
        CLEAN,
        &[
            "clang -O2 -fsave-optimization-record -foptimization-record-file=out/r.yaml -c a.c -o out/a.o"
                .to_owned(),
            "clang -Wall --serialize-diagnostics out/w.dia -c w.c -o out/w.o".to_owned(),
            "clang -Wall -serialize-diagnostics w.dia -MD -c w.c -o out/v.o".to_owned(),
        ],
    );
}

#[test]
fn units_that_use_a_precompiled_header_give_the_local_bytes() {
    let world = world();
    world.write("inc/y.h", "#define Y 3\n");
    world.write(
        "inc/x.h",
        "#ifndef X\n#define X\n#include <stdio.h>\n#include \"y.h\"\n\
         static inline int hidden(int a) { printf(\"%d\\n\", a); return a + Y; }\n#endif\n",
    );
    world.write(
        "first.c",
        "#include \"x.h\"\nint f(int a) { return hidden(a); }\n",
    );
    world.write("bare.c", "int f(int a) { return hidden(a); }\n");
    let make = "rm -f inc/*.?ch inc/*.ast && gcc -O2 -g -x c-header inc/x.h -o inc/x.h.gch && \
                clang -O2 -g -x c-header inc/x.h -o inc/x.h.pch && cp -p inc/x.h.pch inc/x.ast";
    assert!(world.local(make).status.success());
    let absolute = world.at("inc/x.h").display().to_string();
    let commands: Vec<_> = [
        "gcc -O2 -g -Winvalid-pch -MD -Iinc -c first.c -o out/1.o",
        "gcc -O2 -g -Winvalid-pch -MD -Iinc -include x.h -c bare.c -o out/2.o",
        &format!("gcc -O2 -g -Winvalid-pch -include {absolute} -c bare.c -o out/3.o"),
        // Not valid for these flags: the header is read.
        "gcc -O0 -Iinc -c first.c -o out/4.o",
        "clang -O2 -g -MD -include inc/x.h -c bare.c -o out/5.o",
        &format!("clang -O2 -g -MD -include {absolute} -c bare.c -o out/6.o"),
        "clang -O2 -g -MD -include-pch inc/x.ast -c bare.c -o out/7.o",
        "clang -O2 -g -Xclang -include-pch -Xclang inc/x.h.pch -Xclang -include -Xclang inc/x.h -c bare.c -o out/8.o",
        // clang looks for none here.
        "clang -O2 -g -Iinc -c first.c -o out/9.o",
    ]
    .map(str::to_owned)
    .into();
    all_remote(&world, CLEAN, &commands);
    // The precompiled header is what gcc reads, older than its header or not.
    world.write("inc/y.h", "#define Y 4\n");
    all_remote(
        &world,
        CLEAN,
        &["gcc -O2 -g -Winvalid-pch -MD -Iinc -c first.c -o out/1.o".to_owned()],
    );
    let local = world.local("gcc -O2 -g -H -Iinc -c first.c -o out/1.o");
    let text = String::from_utf8_lossy(&local.stderr).into_owned();
    assert!(text.starts_with("! inc/x.h.gch\n"), "{text}");
    // clang refuses one made of other headers.
    assert!(world.local(CLEAN).status.success());
    let summary = world.compare(
        CLEAN,
        "clang -O2 -g -include inc/x.h -c bare.c -o out/5.o; echo $?",
    );
    assert_eq!((summary.remote(), summary.fallbacks()), (0, 0), "{summary:?}");
    // A new one is seen.
    assert!(world.local(make).status.success());
    all_remote(&world, CLEAN, &commands);
}

#[test]
fn headers_that_clang_precompiles_are_the_local_ones() {
    let world = world();
    world.write("inc/y.h", "#define Y 3\n");
    world.write(
        "inc/x.h",
        "#include <stdio.h>\n#include \"y.h\"\nstatic inline int hidden(int a) { return a + Y; }\n",
    );
    world.write("inc/v.hh", "#include <vector>\n#include \"x.h\"\n");
    world.write("bare.c", "int f(int a) { return hidden(a); }\n");
    world.write("p.c", "");
    let make = "clang -O2 -g -MD -x c-header inc/x.h -o out/x.pch".to_owned();
    let commands = [
        make.clone(),
        "clang++ -O2 -c inc/v.hh -o out/v.pch".to_owned(),
        "clang -Wall -Xclang -emit-pch -Xclang -include -Xclang inc/x.h -x c-header -c p.c -o out/e.pch"
            .to_owned(),
        "clang -O2 -march=native -x c-header inc/x.h -o out/n.pch".to_owned(),
    ];
    all_remote(&world, CLEAN, &commands);
    // It records when its files were written last: clang refuses one that is older than they are.
    let later = "touch -d '2 hours' inc/y.h";
    assert!(world.local(later).status.success());
    all_remote(&world, CLEAN, std::slice::from_ref(&make));
    let used = "clang -O2 -g -include-pch out/x.pch -c bare.c -o out/bare.o".to_owned();
    all_remote(&world, CLEAN, &[make, used]);
    // Made beside its header, and again.
    let beside = "clang -O2 -x c-header inc/x.h -o inc/x.h.pch".to_owned();
    all_remote(&world, ": keep", &[beside]);
    // No name, or made of another one.
    for local in [
        "cd out && clang -x c-header ../inc/x.h",
        "clang -O2 -x c-header inc/x.h -o inc/x.h.pch && touch -d @1 inc/x.h.pch && \
         clang -O2 -include inc/x.h -x c-header a.h -o out/c.pch",
    ] {
        let clean = "rm -rf out/* inc/*.?ch";
        assert!(world.local(clean).status.success());
        let summary = world.compare(clean, local);
        let decided = (summary.reason("precompiled-header"), summary.fallbacks());
        assert_eq!(decided, (1, 0), "{local} {summary:?}");
    }
    let wrong = "clang -x c-header bad.h -o out/bad.pch; echo $?";
    world.write("bad.h", "#include \"y.h\"\nint f(void) { return nope; }\n");
    assert!(world.local(CLEAN).status.success());
    let summary = world.compare(CLEAN, wrong);
    assert_eq!(summary.fallbacks(), 0, "{summary:?}");
}

#[test]
fn diagnostics_beside_a_precompiled_header_are_the_local_ones() {
    let world = world();
    world.write("x.h", "#include \"y.h\"\n");
    world.write(
        "y.h",
        "#define DECLARE int unused\nstatic int idle(void) { return 0; }\n",
    );
    world.write("w.c", "#include \"x.h\"\nint f(void) { DECLARE; return 0; }\n");
    assert!(world.local("gcc -Wall x.h").status.success());
    let check = |script: &str, remote: u64| {
        assert!(world.local("rm -f w.o").status.success());
        let summary = world.compare("rm -f w.o", script);
        assert_eq!(
            (summary.remote(), summary.fallbacks()),
            (remote, 0),
            "{script} {summary:?}"
        );
    };
    check("gcc -Wall -c w.c", 1);
    check("gcc -Wall -fdiagnostics-color=always -c w.c", 0);
    let quoted = "1 | #define DECLARE int unused";
    let local = world.local("gcc -Wall -c w.c");
    assert!(String::from_utf8_lossy(&local.stderr).contains(quoted));
    // Nothing leads to the file that is quoted any more but the precompiled header.
    world.write("x.h", "");
    let local = world.local("gcc -Wall -c w.c");
    assert!(String::from_utf8_lossy(&local.stderr).contains(quoted));
    check("gcc -Wall -c w.c", 0);
    // A directory of several is tried in an order of its own.
    let move_in = "mkdir d && mv x.h.gch d && mv d x.h.gch";
    assert!(world.local(move_in).status.success());
    check("gcc -c w.c", 0);
}

#[test]
fn a_fixed_date_makes_time_macros_travel() {
    let world = world();
    world.write("t.c", "const char *when = __DATE__ \" \" __TIME__;\n");
    world.write("d.c", "const char *when = WHEN;\n");
    world.write("s.c", "const char *when = __TIMESTAMP__;\n");
    let is_remote = |script: &str| {
        assert!(world.local("rm -f *.o").status.success());
        let summary = world.compare("rm -f *.o", script);
        assert_eq!((summary.remote() + summary.local(), summary.fallbacks()), (1, 0));
        summary.remote() == 1
    };
    let fixed = "export SOURCE_DATE_EPOCH=1700000000;";
    assert!(is_remote(&format!("{fixed} gcc -c t.c")));
    assert!(is_remote(&format!("{fixed} gcc -c d.c -DWHEN=__DATE__")));
    assert!(is_remote(&format!("{fixed} TZ=Asia/Tokyo gcc -c t.c")));
    // clang before 16 reads the clock all the same; a newer one does not.
    let heeds = world.local("SOURCE_DATE_EPOCH=0 clang -E t.c | grep -q 'Jan  1 1970'");
    let script = format!("{fixed} clang -DWHEN=1 -Wno-int-conversion -c d.c && : __TIME__");
    assert!(is_remote(&script), "no time macro");
    world.write("t.h", "#define UNUSED __DATE__\n");
    world.write("u.c", "#include \"t.h\"\nint u;\n");
    assert_eq!(
        is_remote(&format!("{fixed} clang -c u.c")),
        heeds.status.success()
    );
    let redacted =
        "-Wno-builtin-macro-redefined -D__DATE__=\\\"d\\\" -D__TIME__=\\\"t\\\" -D__TIMESTAMP__=\\\"s\\\"";
    for compiler in ["gcc", "clang"] {
        for source in ["t.c", "s.c"] {
            assert!(
                is_remote(&format!("{compiler} {redacted} -c {source}")),
                "{compiler} {source}"
            );
        }
    }
    for local in [
        "gcc -c u.c".to_owned(),
        "gcc -DWHEN='\"x\" // __TIME__' -c d.c".to_owned(),
        format!("{fixed} gcc -c s.c"),
        "SOURCE_DATE_EPOCH=x gcc -c u.c; echo $?".to_owned(),
    ] {
        assert!(!is_remote(&local), "{local}");
    }
}

#[test]
fn forwarded_flags_give_the_local_bytes() {
    let world = world();
    let mut commands = Vec::new();
    for (number, flags) in [
        "-Wp,-MMD,out/.k.d -Wp,-D_FORTIFY_SOURCE=2 -O2",
        "-Wp,-MD,out/.l.d -Wa,--noexecstack -g",
        "-g -Wa,--compress-debug-sections -Wa,-mrelax-relocations=no -Wa,--fatal-warnings",
        "-g -Xassembler --noexecstack -Xpreprocessor -DX=1",
        "--optimize=2 --debug --all-warnings --define-macro=Y=2 --include-directory . -fprofile-values",
    ]
    .iter()
    .enumerate()
    {
        for compiler in ["gcc", "clang"] {
            commands.push(format!("{compiler} {flags} -c a.c -o out/{compiler}{number}.o"));
        }
    }
    for (number, flags) in [
        "-O2 -Rpass=.*",
        "-O2 -g -Xclang -target-feature -Xclang +avx2 -Xclang -debug-info-kind=constructor",
        "-O2 -mllvm -inline-threshold=0 -Xclang -mllvm -Xclang -enable-gvn-hoist -Xclang -disable-O0-optnone",
        "-O2 --system-header-prefix=b/ -canonical-prefixes --start-no-unused-arguments -lm --end-no-unused-arguments",
    ]
    .iter()
    .enumerate()
    {
        commands.push(format!("clang {flags} -c a.c -o out/only{number}.o"));
    }
    commands.push("gcc -pass-exit-codes -fverbose-asm -c a.c -o out/codes.o".to_owned());
    all_remote(&world, "rm -rf out/* out/.[!.]*", &commands);
}

#[test]
fn assembly_finds_what_it_includes() {
    let world = world();
    world.write(
        "s.S",
        "#include \"a.h\"\n.include \"m.inc\"\n.text\n.globl f\nf: answer\n\
         .section .rodata\n.incbin \"blob.bin\", 2, A\n#ifdef D\n.incbin \"inc/b.bin\"\n#endif\n",
    );
    world.write("t.s", ".include \"m.inc\"\n.data\n.incbin \"inc/b.bin\"\n");
    world.write("inc/m.inc", ".include \"n.inc\"\n.macro answer\n nop\n.endm\n");
    world.write("inc/n.inc", ".set unused, 1\n");
    world.write("inc/blob.bin", "0123456789");
    world.write("inc/b.bin", "b");
    world.write(
        "i.c",
        "__asm__(\".section .rodata\\n.incbin \\\"inc/b.bin\\\"\\n.text\"); int i;\n",
    );
    let mut commands = Vec::new();
    for compiler in ["gcc", "clang"] {
        for (number, arguments) in [
            "-Iinc -DD s.S",
            "-g -Iinc -MD s.S",
            "-Wa,-Iinc t.s",
            "-g -Wa,-Iinc,--noexecstack t.s",
            "i.c",
        ]
        .iter()
        .enumerate()
        {
            commands.push(format!("{compiler} -c {arguments} -o out/{compiler}{number}.o"));
        }
    }
    all_remote(&world, "rm -f out/* *.d", &commands);
}

/// `command` gives the local bytes remotely, and after `edit` again, but others.
#[track_caller]
fn follows(world: &World, command: &str, edit: impl FnOnce()) {
    let objects = || {
        world
            .files()
            .into_iter()
            .filter(|(path, _)| path.extension().is_some_and(|end| end == "o"))
    };
    let before: Vec<_> = {
        all_remote(world, CLEAN, &[command.to_owned()]);
        objects().collect()
    };
    edit();
    all_remote(world, CLEAN, &[command.to_owned()]);
    let after: Vec<_> = objects().collect();
    assert!(!before.is_empty() && before != after, "{command}");
}

/// Loads and calls through pointers, which sanitizers instrument; lines of its own for a profile of samples.
const CHECKED: &str = "int g(int);\nint f(int *x, int (*call)(int)) {\n  int sum = 0;\n\
  for (int i = 0; i < *x; i++)\n    if (x[i] & 1)\n      sum += call(x[i]);\n    else\n      sum -= g(i);\n\
  return sum;\n}\n";

#[test]
fn what_sanitizers_instrument_is_the_same() {
    let world = world();
    world.write("k.c", CHECKED);
    world.write("none.txt", "fun:main\n");
    world.write("all.txt", "fun:f\n");
    world.write("attr.txt", "[always]\nfun:f=arg1\n[never]\nfun:twice\n");
    let mut commands = lines(
        "gcc",
        &["-fsanitize=address,undefined", "-O2 -g -fsanitize=thread"],
    );
    commands.extend(lines(
        "clang",
        &[
            "-fsanitize=address",
            "-g -fsanitize=undefined,address -fsanitize-ignorelist=none.txt -fsanitize-ignorelist=all.txt",
            "-fsanitize=memory -fsanitize-ignorelist=all.txt -fno-sanitize-ignorelist -MD",
            "-fsanitize-coverage=trace-pc-guard -fsanitize-coverage-allowlist=attr.txt",
            "-fxray-instrument -fxray-instruction-threshold=1 -fxray-attr-list=attr.txt",
            "-fxray-instrument -fxray-always-instrument=all.txt -fxray-never-instrument=none.txt",
        ],
    ));
    all_remote(&world, CLEAN, &commands);
    for (flags, list, text) in [
        (
            "-fsanitize=address -fsanitize-ignorelist=none.txt",
            "none.txt",
            "fun:f\n",
        ),
        (
            "-fsanitize=address -fsanitize-blacklist=all.txt",
            "all.txt",
            "fun:g\n",
        ),
        (
            "-fxray-instrument -fxray-attr-list=attr.txt",
            "attr.txt",
            "[never]\nfun:f\n",
        ),
    ] {
        follows(&world, &format!("clang {flags} -c k.c -o out/k.o"), || {
            world.write(list, text);
        });
    }
    let absent = "clang -fsanitize=address -fsanitize-ignorelist=absent.txt -c k.c -o out/k.o; echo $?";
    assert!(world.local(CLEAN).status.success());
    let summary = world.compare(CLEAN, absent);
    assert_eq!((summary.remote(), summary.fallbacks()), (0, 0), "{summary:?}");
}

#[test]
fn the_lists_that_a_clang_brings_along_travel() {
    let world = world();
    world.write("k.c", CHECKED);
    // A clang looks for them beside itself.
    let install = "mkdir -p tc/bin tc/lib/clang && cp -L \"$(command -v clang)\" tc/bin/clang && \
                   version=$(basename \"$(clang -print-resource-dir)\") && mkdir -p tc/lib/clang/$version/share && \
                   ln -s \"$(clang -print-resource-dir)/include\" tc/lib/clang/$version && \
                   mv tc/lib/clang/$version/share share && ln -s ../../../../share tc/lib/clang/$version/share";
    let output = world.local(install);
    assert!(output.status.success(), "{}", world.explain(&output));
    world.write("share/cfi_ignorelist.txt", "[cfi-icall]\nfun:main\n");
    world.write("share/asan_ignorelist.txt", "fun:main\n");
    for (flags, list) in [
        (
            "-O1 -fsanitize=cfi -flto -fvisibility=hidden",
            "share/cfi_ignorelist.txt",
        ),
        ("-fsanitize=address", "share/asan_ignorelist.txt"),
    ] {
        let command = format!("${{QUICC_LEDGER:+{QUICC}}} tc/bin/clang {flags} -c k.c -o out/k.o");
        follows(&world, &command, || world.write(list, "fun:f\n"));
    }
}

#[test]
fn profiles_that_clang_uses_travel() {
    let world = world();
    world.write("k.c", CHECKED);
    // The runtime that would write one need not be installed: the compiler tells the hash that it will ask for.
    let ir = world.local("clang -O2 -fprofile-instr-generate -S -emit-llvm k.c -o -");
    let ir = String::from_utf8(ir.stdout).unwrap();
    let data = ir.split("@__profd_f = ").nth(1).expect(&ir);
    let hash = data
        .split("{ i64 ")
        .nth(1)
        .and_then(|rest| rest.split(", i64 ").nth(1));
    let profile = |path: &str, counts: &str| {
        let text = format!("f\n{}\n3\n{counts}\n", hash.unwrap());
        world.write("counts.txt", &text);
        let made = world.local(&format!("llvm-profdata merge counts.txt -o {path}"));
        assert!(made.status.success(), "{}", world.explain(&made));
    };
    let samples = |counts: &str| world.write("f.samples", &format!("f:9000:10\n{counts}"));
    profile("f.profdata", "1\n1000\n1");
    profile("default.profdata", "1\n1000\n1");
    samples(" 4: 4000\n 6: 4000\n");
    for flag in ["-fprofile-use", "-fprofile-instr-use"] {
        let command = format!("clang -O2 -g -MD {flag}=f.profdata -c k.c -o out/k.o");
        profile("f.profdata", "1\n1000\n1");
        follows(&world, &command, || profile("f.profdata", "1\n1000\n999"));
    }
    for flag in ["-fprofile-sample-use", "-fauto-profile"] {
        let command = format!("clang -O2 -g {flag}=f.samples -c k.c -o out/k.o");
        samples(" 4: 4000\n 6: 4000\n");
        follows(&world, &command, || samples(" 4: 4000\n 6: 1\n"));
    }
    all_remote(
        &world,
        CLEAN,
        &[
            // Stale: the compiler says so.
            "clang -O2 -fprofile-use=$PWD/f.profdata -DK -include a.h -c a.c -o out/a.o".to_owned(),
            "clang -O2 -flto=thin -fprofile-use=f.profdata -c k.c -o out/k.o".to_owned(),
            "clang -O2 -fprofile-use=f.profdata -fcs-profile-generate -c k.c -o out/l.o".to_owned(),
        ],
    );
    // What is no profile, or not there, or a directory with one in it.
    world.write("bad", "no profile\n");
    for file in ["absent", "bad", "."] {
        for flag in ["-fprofile-use", "-fprofile-instr-use", "-fprofile-sample-use"] {
            let command = format!("clang -O2 {flag}={file} -c k.c -o out/k.o; echo $?");
            assert!(world.local(CLEAN).status.success());
            let summary = world.compare(CLEAN, &command);
            assert_eq!(summary.fallbacks(), 0, "{command} {summary:?}");
        }
    }
    assert!(world.local(CLEAN).status.success());
    let gcc = world.compare(CLEAN, "gcc -O2 -fprofile-use=absent -c k.c -o out/k.o");
    assert_eq!(gcc.reason("profile"), 1, "{gcc:?}");
}

#[test]
fn nested_response_files_travel_unexpanded() {
    let world = world();
    world.write("one.rsp", "-O2 @sub/two.rsp -DNAME='\"a b\"'");
    world.write("sub/two.rsp", "-g -I\"inc dir\"\n@three.rsp");
    world.write("three.rsp", "-c a.c");
    let commands: Vec<_> = ["gcc", "clang"]
        .map(|compiler| format!("{compiler} @one.rsp -MD -o out/{compiler}.o"))
        .into();
    all_remote(&world, CLEAN, &commands);
}

#[test]
fn diagnostics_come_in_the_language_of_the_environment() {
    let world = world();
    world.write("w.c", "int f(void) { int unused; return \"\\\"\" == 0; }\n");
    for locale in [
        "LC_ALL=C.UTF-8",
        "LANG=de_DE.UTF-8",
        "LANGUAGE=fr LC_ALL=C.UTF-8",
        "LC_ALL=absent",
    ] {
        all_remote(
            &world,
            "rm -f out/*",
            &[format!("export {locale}; gcc -Wall -Wextra -c w.c -o out/w.o")],
        );
    }
}

#[test]
fn precompiled_headers_made_by_cmake_are_used_remotely() {
    for (compiler, mode) in [("g++", "Release"), ("clang++", "RelWithDebInfo")] {
        let world = world();
        world.write(
            "CMakeLists.txt",
            "cmake_minimum_required(VERSION 3.18)\nproject(p CXX)\nadd_library(p STATIC one.cc two.cc)\n\
             target_precompile_headers(p PRIVATE <vector> <string> own.h)\n",
        );
        world.write(
            "own.h",
            "#pragma once\n#define OWN 3\ninline int own() { return OWN; }\n",
        );
        world.write("one.cc", "int one() { return std::vector<int>(own()).size(); }\n");
        world.write("two.cc", "int two() { return std::string(own(), 'x').size(); }\n");
        let build = format!(
            "cmake -S . -B build -G Ninja -DCMAKE_BUILD_TYPE={mode} -DCMAKE_CXX_COMPILER={compiler} >/dev/null && \
             ninja -C build"
        );
        let (output, summary) = world.run(&build);
        assert!(output.status.success(), "{}", world.explain(&output));
        assert_eq!(
            (summary.remote(), summary.fallbacks()),
            // clang's header too.
            (if compiler == "clang++" { 3 } else { 2 }, 0),
            "{compiler} {summary:?} {}",
            world.agent_log()
        );
        // A gcc would not make the same precompiled header twice, so they stay.
        let again = "cd build && cp -r CMakeFiles/p.dir remote && rm CMakeFiles/p.dir/*.cc.o && \
                     QUICC_DISABLE=1 ninja >&2 && for o in CMakeFiles/p.dir/*.cc.o; do cmp $o remote/${o##*/}; done";
        let output = world.local(again);
        assert!(
            output.status.success() && output.stdout.is_empty(),
            "{compiler} {}",
            world.explain(&output)
        );
    }
}
