//! What gcc 12.2 and clang 14.0.6 print, shortened, on machines that are not this one, and what becomes of it.

use proptest::prelude::*;

use super::*;

/// gcc on a processor of AMD's.
const GCC: &str = r#"Using built-in specs.
COLLECT_GCC=gcc
OFFLOAD_TARGET_NAMES=nvptx-none:amdgcn-amdhsa
OFFLOAD_TARGET_DEFAULT=1
Target: x86_64-linux-gnu
Configured with: ../src/configure -v --with-pkgversion='Debian 12.2.0-14+deb12u1'
Thread model: posix
Supported LTO compression algorithms: zlib zstd
gcc version 12.2.0 (Debian 12.2.0-14+deb12u1) 
COLLECT_GCC_OPTIONS='-g' '-march=native' '-c' '-o' 'a.o' '-D' 'X="q $ \ '\''"'
 /usr/lib/gcc/x86_64-linux-gnu/12/cc1 -quiet -D "X=\"q \$ \\ '\"" "a b.c" "-march=znver3" -mno-avx512f --param "l1-cache-size=32" "-mtune=znver3" -g "" -o /tmp/ccAEAcve.s
COLLECT_GCC_OPTIONS='-g' '-march=native' '-c' '-o' 'a.o' '-D' 'X="q $ \ '\''"'
 as --gdwarf-5 --64 -o a.o /tmp/ccAEAcve.s
COMPILER_PATH=/usr/lib/gcc/x86_64-linux-gnu/12/
LIBRARY_PATH=/usr/lib/gcc/x86_64-linux-gnu/12/
COLLECT_GCC_OPTIONS='-g' '-march=native' '-c' '-o' 'a.o' '-dumpdir' 'a.'
"#;

/// clang on a processor of Intel's.
const CLANG: &str = r#"Debian clang version 14.0.6
Target: x86_64-pc-linux-gnu
Thread model: posix
InstalledDir: /usr/bin
 (in-process)
 "/usr/lib/llvm-14/bin/clang" "-cc1" "-main-file-name" "a b.c" "-target-cpu" "tigerlake" "-target-feature" "+avx512f" "-D" "X=\"q \$ \\ '\"" "-D" "Y=
 z" "-dwarf-debug-flags" "/usr/lib/llvm-14/bin/clang -### -c a.c -D X= -### " "-o" "a.o" "-x" "c" "a b.c"
"#;

/// The programs of `printed`, words joined by `|`, or why there are none. `a.o` and `a.s` are outputs.
fn programs(printed: &str, dialect: Dialect) -> Result<Vec<String>, DriverStepsError> {
    let read = read_driver_steps(printed.as_bytes(), dialect, &[b"a.o", b"a.s"], b"/scratch/t.s")?;
    let join = |words: &Vec<Vec<u8>>| String::from_utf8(words.join(&b'|')).unwrap();
    Ok(read.programs.iter().map(join).collect())
}

#[test]
fn gcc_hands_its_assembler_a_file_of_ours() {
    let expected = [
        "/usr/lib/gcc/x86_64-linux-gnu/12/cc1|-quiet|-D|X=\"q $ \\ '\"|a b.c|-march=znver3|-mno-avx512f|\
         --param|l1-cache-size=32|-mtune=znver3|-g||-o|/scratch/t.s",
        "as|--gdwarf-5|--64|-o|a.o|/scratch/t.s",
    ];
    assert_eq!(programs(GCC, Dialect::Gcc).unwrap(), expected);
}

#[test]
fn the_variables_are_those_of_the_programs() {
    let read = read_driver_steps(GCC.as_bytes(), Dialect::Gcc, &[], b"t").unwrap();
    let names: Vec<_> = read
        .variables
        .iter()
        .map(|(name, _)| String::from_utf8_lossy(name).into_owned())
        .collect();
    let expected = [
        "COLLECT_GCC",
        "OFFLOAD_TARGET_NAMES",
        "OFFLOAD_TARGET_DEFAULT",
        "COLLECT_GCC_OPTIONS",
    ];
    assert_eq!(names, expected);
    assert!(
        read.variables[3].1.ends_with(br#"'X="q $ \ '\''"'"#),
        "not those of a linker"
    );
}

#[test]
fn clang_records_its_command_line_without_the_question() {
    let expected = [
        "/usr/lib/llvm-14/bin/clang|-cc1|-main-file-name|a b.c|-target-cpu|tigerlake|-target-feature|+avx512f|\
         -D|X=\"q $ \\ '\"|-D|Y=\n z|-dwarf-debug-flags|/usr/lib/llvm-14/bin/clang -c a.c -D X= -### |\
         -o|a.o|-x|c|a b.c",
    ];
    assert_eq!(programs(CLANG, Dialect::Clang).unwrap(), expected);
}

#[test]
fn shapes_of_one_compile_are_known_and_others_refused() {
    let check = |dialect, commands: &[&str], expected: Result<&str, DriverStepsError>| {
        let printed: String = commands.iter().map(|command| format!(" {command}\n")).collect();
        let found = programs(&printed, dialect).map(|programs| programs.join(" + "));
        assert_eq!(found, expected.map(str::to_owned), "{commands:?}");
    };
    let gcc = |commands: &[&str], expected| check(Dialect::Gcc, commands, expected);
    let clang = |commands: &[&str], expected| check(Dialect::Clang, commands, expected);
    let shape = || Err(DriverStepsError::Shape);
    gcc(&["cc1 a.c -o a.s -O2"], Ok("cc1|a.c|-o|a.s|-O2"));
    gcc(&["as -o a.o a.s"], Ok("as|-o|a.o|a.s"));
    gcc(
        &["cc1plus a.cc -o - |", "as -o a.o"],
        Ok("cc1plus|a.cc|-o|/scratch/t.s + as|-o|a.o|/scratch/t.s"),
    );
    gcc(
        &[
            "cc1 a.c -o /tmp/x.s",
            "/x/arm-linux-as -o a.o /tmp/x.s",
            "objcopy --extract-dwo a.o a.dwo",
            "objcopy --strip-dwo a.o",
        ],
        Ok("cc1|a.c|-o|/scratch/t.s + /x/arm-linux-as|-o|a.o|/scratch/t.s + \
             objcopy|--extract-dwo|a.o|a.dwo + objcopy|--strip-dwo|a.o"),
    );
    clang(
        &[
            r#""/c/clang" "-cc1" "-E" "-o" "/tmp/s-1.s""#,
            r#""/c/clang" "-cc1as" "-o" "a.o" "/tmp/s-1.s""#,
        ],
        Ok("/c/clang|-cc1|-E|-o|/scratch/t.s + /c/clang|-cc1as|-o|a.o|/scratch/t.s"),
    );
    gcc(&[], shape());
    gcc(&["as -o a.o a.s", "cc1 a.c -o a.s"], shape());
    gcc(&["cc1 -E a.c -o a.i", "cc1 a.i -o a.s", "as -o a.o a.s"], shape());
    gcc(&["cc1 a.c -o /tmp/x.s", "as -o a.o /tmp/y.s"], shape());
    gcc(&["cc1 a.c", "as -o a.o /tmp/y.s"], shape());
    gcc(
        &["cc1 a.c -o /tmp/x.s", "as -o a.o --MD /tmp/x.s.d /tmp/x.s"],
        shape(),
    );
    gcc(&["cc1 a.c -o - |"], shape());
    gcc(&["cc1 a.c -o x |", "as -o a.o x"], shape());
    gcc(
        &["cc1 a.c -o /tmp/x.s", "as -o a.o /tmp/x.s |", "objcopy a.o"],
        shape(),
    );
    let collect = DriverStepsError::Program("/l/collect2".to_owned());
    gcc(&["cc1 a.c -o /tmp/x.s", "/l/collect2 a.o"], Err(collect));
    let other = DriverStepsError::Program("/c/clang".to_owned());
    clang(&[r#""/c/clang" "-dc1" "-o" "a.o""#], Err(other));
}

#[test]
fn what_is_not_understood_is_refused() {
    let message = |text: &str| DriverStepsError::Message(text.to_owned());
    let machine = |text: &str| DriverStepsError::Machine(text.to_owned());
    let check = |dialect, printed: &str, expected: DriverStepsError| {
        assert_eq!(programs(printed, dialect), Err(expected), "{printed}");
    };
    let gcc = |printed: &str, expected| check(Dialect::Gcc, printed, expected);
    let clang = |printed: &str, expected| check(Dialect::Clang, printed, expected);
    let warning = "cc: warning: a.o: linker input file unused";
    gcc(&format!("{warning}\n as -o a.o a.s\n"), message(warning));
    gcc("PATH=/evil\n as -o a.o a.s\n", message("PATH=/evil"));
    let warning = "clang: warning: not a clang version 3 flag";
    clang(&format!("{warning}\n \"as\" \"-o\" \"a.o\"\n"), message(warning));
    clang("COLLECT_GCC=clang\n", message("COLLECT_GCC=clang"));
    gcc(" (in-process)\n", DriverStepsError::Quotation);
    for malformed in [
        " as a=b\n",
        " as \"a\n",
        " as \"a\"b\n",
        " as \"\\n\"\n",
        " as \"$x\"\n",
        " as  a\n",
    ] {
        gcc(malformed, DriverStepsError::Quotation);
    }
    gcc(" cc1 a.c \"-march=native\" -o a.s\n", machine("-march=native"));
    gcc(" cc1 \"@/tmp/ccX\" a.c -o a.s\n", machine("@/tmp/ccX"));
    gcc(" cc1 -iprefix /opt/gcc a.c -o a.s\n", machine("-iprefix"));
    clang(" \"c\" \"-cc1\" \"-tune-cpu\" \"native\"\n", machine("native"));
    clang(
        " \"c\" \"-cc1\" \"-dwarf-debug-flags\" \"c -c\"\n",
        machine("c -c"),
    );
    let two = "COLLECT_GCC=a\n cc1 a.c -o x\nCOLLECT_GCC=b\n as -o a.o x\n";
    gcc(two, DriverStepsError::Shape);
    let late = " cc1 a.c -o x\nCOLLECT_GCC=b\n as -o a.o x\n";
    gcc(late, DriverStepsError::Shape);
}

proptest! {
    /// As the drivers quote: `"` around it, a backslash before `"`, `\` and `$`.
    #[test]
    fn every_word_survives_its_quotation(words in prop::collection::vec("[^\0]{0,12}", 0..6)) {
        let quote = |word: &String| {
            let escaped: String = word
                .chars()
                .flat_map(|each| ['\\', each].into_iter().skip(usize::from(!"\"\\$".contains(each))))
                .collect();
            format!(" \"{escaped}\"")
        };
        let printed: String = words.iter().map(quote).collect();
        let (command, rest) = read_command(printed.as_bytes()).unwrap();
        let read: Vec<_> = command.words.iter().map(|word| String::from_utf8(word.clone()).unwrap()).collect();
        prop_assert_eq!((read, rest), (words, &b""[..]));
    }

    #[test]
    fn no_text_panics(text: Vec<u8>, is_gcc: bool) {
        let dialect = if is_gcc { Dialect::Gcc } else { Dialect::Clang };
        let _ = read_driver_steps(&text, dialect, &[], b"t");
        let _ = read_driver_steps(&[b" ", text.as_slice()].concat(), dialect, &[], b"t");
    }
}
