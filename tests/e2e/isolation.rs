//! Whose files a compile sees: wrappers in other mount namespaces, other homes.

use std::process::Command;

use crate::support::{QUICC, World};

fn world() -> World {
    let world = World::new();
    world.write("inc/value.h", "int value = 1;\n");
    world.write("other/value.h", "int value = 2;\n");
    world.write("use.c", "#include \"inc/value.h\"\n");
    world
}

fn value_of(world: &World, object: &str) -> Vec<u8> {
    let output = Command::new("objdump")
        .args(["-s", "-j", ".data"])
        .arg(world.at(object))
        .output()
        .unwrap();
    assert!(output.status.success());
    output.stdout
}

#[test]
fn a_wrapper_in_another_mount_namespace_compiles_its_own_files() {
    let world = world();
    assert!(
        world
            .quicc(&["gcc", "-c", "use.c", "-o", "one.o"])
            .status
            .success()
    );
    // The agent of the first namespace runs; here the same path holds other bytes.
    let script = format!("mount --bind other inc && {QUICC} gcc -c use.c -o two.o");
    let output = world
        .command("unshare")
        .args(["--mount", "--", "sh", "-c", &script])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", world.explain(&output));
    assert_ne!(
        value_of(&world, "one.o").split_off(60),
        value_of(&world, "two.o").split_off(60),
        "each compile saw the files of its namespace"
    );
}

#[test]
fn nothing_is_left_behind() {
    let world = world();
    let mounts = || std::fs::read_to_string("/proc/self/mountinfo").unwrap();
    let before = mounts();
    let (output, summary) = world.run("for n in 1 2 3 4; do gcc -c use.c -o $n.o || exit; done");
    assert!(
        output.status.success() && summary.remote() == 4,
        "{}",
        world.explain(&output)
    );
    assert_eq!(mounts(), before);
    world.stop_agent();
    let mine = world.root().to_string_lossy().into_owned();
    for entry in std::fs::read_dir("/proc").unwrap().flatten() {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        let environment = std::fs::read(entry.path().join("environ")).unwrap_or_default();
        let text = [command, environment].concat();
        assert!(
            !String::from_utf8_lossy(&text).contains(&mine)
                || entry.file_name() == *std::process::id().to_string(),
            "{} still runs",
            entry.path().display()
        );
    }
    assert!(!world.home().join("state/agent.sock").exists());
    let runs: Vec<_> = std::fs::read_dir(world.home().join("state/runs"))
        .unwrap()
        .collect();
    assert!(runs.is_empty(), "{runs:?}");
}
