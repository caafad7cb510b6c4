//! Whose files a compile sees: wrappers in other mount namespaces, other homes.

use std::os::unix::fs::{PermissionsExt, chown};
use std::process::Command;

use nix::fcntl::{Flock, FlockArg};
use quicc::config::paths::Paths;

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

/// Compilers take two paths of a directory for one, and name what they find by the first.
#[test]
fn a_directory_of_two_paths_is_searched_as_locally() {
    let world = world();
    world.write("named.c", "#include \"value.h\"\nconst char *file = __FILE__;\n");
    std::fs::create_dir(world.at("again")).unwrap();
    let calls = [
        "-iquote again -I inc -isystem again",
        "-I again -isystem inc",
        "-I inc -I again -include again/value.h",
    ];
    let compare = |compiler: &str, flags: &str| {
        let compile = |by: &str, to: &str| {
            format!(
                "mkdir o; {by}{compiler} -g -MD {flags} -c named.c -o o/a.o >o/said 2>&1; echo $? >o/code; mv o {to}"
            )
        };
        let (there, here) = (compile("", "there"), compile("/usr/bin/", "here"));
        format!("{there}; {here}; diff -r here there || exit 1; rm -r here there\n")
    };
    let calls_of = |compiler| calls.iter().map(move |flags| compare(compiler, flags));
    let script: String = ["gcc", "clang"].into_iter().flat_map(calls_of).collect();
    let script = format!("mount --bind inc again\n{script}");
    let output = world
        .command("unshare")
        .args(["--mount", "--", QUICC, "run", "--", "sh", "-c", &script])
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", world.explain(&output));
}

#[test]
fn nothing_is_left_behind() {
    let world = world();
    let mine = world.root().to_string_lossy().into_owned();
    // Others may mount something meanwhile.
    let mounts = || {
        let all = std::fs::read_to_string("/proc/self/mountinfo").unwrap();
        let ours = all.lines().filter(|mount| mount.contains(&mine));
        ours.map(str::to_owned).collect::<Vec<_>>()
    };
    let before = mounts();
    let (output, summary) = world.run("for n in 1 2 3 4; do gcc -c use.c -o $n.o || exit; done");
    assert!(
        output.status.success() && summary.remote() == 4,
        "{}",
        world.explain(&output)
    );
    assert_eq!(mounts(), before);
    world.stop_agent();
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

/// A home so long that its socket stands in a directory of its own below `/tmp`.
struct LongHome {
    world: World,
    paths: Paths,
}

impl LongHome {
    fn new() -> Self {
        let world = world();
        let home = world.root().join("long/".repeat(25));
        let variable = |name: &str| (name == "QUICC_HOME").then(|| home.clone().into());
        let paths = Paths::derive(variable, nix::unistd::getuid().as_raw()).unwrap();
        Self { world, paths }
    }

    fn quicc(&self, arguments: &[&str]) -> std::process::Output {
        let mut command = self.world.command(QUICC);
        command.env("QUICC_HOME", self.paths.state.parent().unwrap());
        command.env("QUICC_LEDGER", self.world.at("ledger"));
        command.args(arguments).output().unwrap()
    }

    /// What became of one compile.
    fn compile(&self) -> String {
        self.world.write("ledger", "");
        let output = self.quicc(&["gcc", "-c", "use.c", "-o", "use.o"]);
        assert!(output.status.success(), "{output:?}");
        assert!(self.world.exists("use.o"));
        String::from_utf8(self.world.read("ledger")).unwrap()
    }
}

impl Drop for LongHome {
    fn drop(&mut self) {
        let _ = self.quicc(&["agent", "stop"]);
        if let Ok(file) = std::fs::File::open(self.paths.state.join("agent.running")) {
            let _ = Flock::lock(file, FlockArg::LockExclusive);
        }
    }
}

#[test]
fn a_long_home_has_its_socket_elsewhere_and_takes_it_away() {
    let home = LongHome::new();
    let directory = home.paths.socket_directory().unwrap().to_owned();
    let fate = home.compile();
    assert!(fate.starts_with("remote"), "{fate}");
    let mode = std::fs::metadata(&directory).unwrap().permissions().mode();
    assert_eq!(mode & 0o7777, 0o700);
    drop(home);
    assert!(!directory.exists());
}

#[test]
fn a_socket_directory_of_somebody_else_is_not_entered() {
    let home = LongHome::new();
    let directory = home.paths.socket_directory().unwrap().to_owned();
    std::fs::create_dir(&directory).unwrap();
    chown(&directory, Some(64_322), None).expect("the tests run as root");
    let listener = std::os::unix::net::UnixListener::bind(&home.paths.socket).unwrap();
    listener.set_nonblocking(true).unwrap();
    let fate = home.compile();
    let asked = listener.accept();
    let status = home.quicc(&["agent", "status"]);
    std::fs::remove_dir_all(&directory).unwrap();
    assert!(fate.starts_with("fallback foreign-socket"), "{fate}");
    assert!(asked.is_err(), "nothing was said to it");
    let said = String::from_utf8_lossy(&status.stderr).into_owned();
    assert!(said.contains("another user"), "{said}");
}

#[test]
fn an_agent_of_another_user_is_not_asked() {
    let world = World::of_user(64_322);
    world.write("use.c", "int value;\n");
    world.write("ledger", "");
    let started = world.quicc(&["agent", "start"]);
    assert!(started.status.success(), "{}", world.explain(&started));
    let prepared = world.command("true");
    let mut command = Command::new(QUICC);
    for (name, value) in prepared.get_envs() {
        command.env(name, value.unwrap_or_default());
    }
    let output = command
        .current_dir(world.source())
        .env("QUICC_LEDGER", world.at("ledger"))
        .args(["gcc", "-c", "use.c", "-o", "use.o"])
        .output()
        .unwrap();
    assert!(
        output.status.success() && world.exists("use.o"),
        "{}",
        world.explain(&output)
    );
    let fate = String::from_utf8(world.read("ledger")).unwrap();
    assert!(fate.starts_with("fallback foreign-socket"), "{fate}");
}
