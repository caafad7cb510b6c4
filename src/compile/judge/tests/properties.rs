//! What holds for any command line.

use proptest::prelude::*;

use super::*;

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
