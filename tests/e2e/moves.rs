//! A client's machine that is carried about: its address changes while it builds, or it sleeps.

use std::fs::File;
use std::net::Ipv4Addr;
use std::path::PathBuf;
use std::process::{Command, Stdio};

use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;

use crate::farm::{Network, tool};
use crate::support::{FarmFiles, QUICC, Role, World, await_event};

const SHORT: &str = "#include <stdio.h>\nint f(void) { return puts(\"a\"); }\n";
/// Takes a compiler seconds.
const LONG: &str = "#define A(x) x x x x x x x x\n\
unsigned f(unsigned n) { unsigned s = n; A(A(A(A(A(s += s * n ^ s >> 3;))))) return s; }\n";

fn signal(process: u32, signal: Signal) -> bool {
    kill(Pid::from_raw(i32::try_from(process).unwrap()), signal).is_ok()
}

/// The compiler proper that runs with `argument`, wherever that is.
fn compiler_with(argument: &str) -> Option<u32> {
    std::fs::read_dir("/proc").unwrap().flatten().find_map(|entry| {
        let process = entry.file_name().to_str()?.parse().ok()?;
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let mut arguments = line.split(|byte| *byte == 0);
        let is_compiler = arguments.next()?.ends_with(b"/cc1");
        (is_compiler && arguments.any(|other| other == argument.as_bytes())).then_some(process)
    })
}

fn is_stopped(process: u32) -> bool {
    let status = std::fs::read_to_string(format!("/proc/{process}/status")).unwrap_or_default();
    status.lines().any(|line| line.starts_with("State:\tT"))
}

/// Namespaces tell a compiler in a builder's sandbox from one that runs at the client.
fn network_of(process: u32) -> PathBuf {
    std::fs::read_link(format!("/proc/{process}/ns/net")).unwrap()
}

/// From Wi-Fi to a phone: the address a build began with is gone, the farm is reached by another network.
fn carry_away(network: &Network) {
    let (farm, client) = (&network.farm, &network.client);
    tool(&["-n", farm, "addr", "add", "10.78.0.1/24", "dev", "link0"]);
    tool(&["-n", client, "addr", "del", "10.77.0.2/24", "dev", "link0"]);
    tool(&["-n", client, "addr", "add", "10.78.0.2/24", "dev", "link0"]);
    tool(&["-n", client, "route", "add", "10.77.0.1", "via", "10.78.0.1"]);
}

/// Whether the farm has sent something to the client's second address.
fn was_answered(network: &Network) -> bool {
    let output = Command::new("ip")
        .args(["-n", &network.farm, "neigh", "show", "10.78.0.2"])
        .output()
        .unwrap();
    String::from_utf8_lossy(&output.stdout).contains("lladdr")
}

#[test]
fn a_unit_that_runs_while_the_clients_address_changes_ends_where_it_began() {
    let (network, world) = (Network::new(), World::new());
    let files = FarmFiles::at(Ipv4Addr::new(10, 77, 0, 1));
    files.join(&world);
    let start = |role: &str| {
        let script = format!("exec {QUICC} {role} --config {role}.conf");
        let mut command = Network::command(files.world(), &network.farm, &script);
        command.stderr(Stdio::null());
        Role::start(command)
    };
    let (_scheduler, _builder) = (start("scheduler"), start("builder"));
    world.write("short.c", SHORT);
    world.write("long.c", LONG);
    let mark = format!("LONG_{}", std::process::id());
    let build = format!(
        "gcc -O2 -c short.c -o 1.o && gcc -D {mark} -c long.c -o 2.o && gcc -O2 -DX -c short.c -o 3.o"
    );
    let script = format!("{QUICC} run -- sh -c '{build}'; end=$?; {QUICC} agent stop; exit $end");
    let mut client = Network::command(&world, &network.client, &script);
    let building = client
        .stdout(Stdio::null())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let compiler = await_event("the long unit", || compiler_with(&mark));
    let is_here = network_of(compiler) == network_of(building.id());
    assert!(signal(compiler, Signal::SIGSTOP));
    await_event("its pause", || is_stopped(compiler).then_some(()));
    carry_away(&network);
    await_event("an answer", || was_answered(&network).then_some(()));
    assert!(is_stopped(compiler), "the unit was given up");
    assert!(signal(compiler, Signal::SIGCONT));
    let output = building.wait_with_output().unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    let log = world.agent_log();
    assert!(!is_here, "the unit is not remote: {said}\n{log}");
    assert!(
        output.status.success() && said.contains("quicc: 3 units remote, 0 local"),
        "{said}\n{log}"
    );
    assert!(!log.contains("an attempt failed"), "{log}");
    let remote = [1, 2, 3].map(|number| world.read(&format!("{number}.o")));
    assert!(world.local(&build).status.success());
    assert!(remote == [1, 2, 3].map(|number| world.read(&format!("{number}.o"))));
}

/// Wakes a process, also when a test fails: nothing could end it asleep.
struct Asleep(u32);

impl Drop for Asleep {
    fn drop(&mut self) {
        signal(self.0, Signal::SIGCONT);
    }
}

/// The agent's process sleeps while things happen that it hears of only when it wakes.
fn sleep_through(world: &World, meanwhile: impl FnOnce()) {
    let agent = u32::try_from(world.status()["pid"].as_u64().unwrap()).unwrap();
    assert!(signal(agent, Signal::SIGSTOP));
    let _asleep = Asleep(agent);
    await_event("sleep", || is_stopped(agent).then_some(()));
    meanwhile();
}

fn unit(world: &World, number: u32) {
    let script = format!("gcc -D N={number} -c short.c -o short.o");
    let summary = world.compare("rm short.o", &script);
    assert_eq!(summary.remote(), 1, "{summary:?} {}", world.agent_log());
}

#[test]
fn a_client_that_slept_until_its_connections_were_given_up_is_remote_at_its_first_try() {
    let (files, world) = (FarmFiles::new(), World::new());
    let logs = ["scheduler", "builder"].map(|role| files.world().at(&format!("{role}.log")));
    let start = |role: &str| {
        let mut command = files.world().command(QUICC);
        let log = File::create(files.world().at(&format!("{role}.log"))).unwrap();
        command.args([role, "--config", &format!("{role}.conf")]);
        command.env("QUICC_LOG", "debug").stderr(log);
        Role::start(command)
    };
    let (_scheduler, _builder) = (start("scheduler"), start("builder"));
    files.join(&world);
    world.write("short.c", SHORT);
    unit(&world, 1);
    sleep_through(&world, || {
        for log in &logs {
            await_event("the loss", || {
                let text = std::fs::read_to_string(log).unwrap();
                text.lines()
                    .any(|line| is_end_of(line, "client/me"))
                    .then_some(())
            });
        }
    });
    unit(&world, 2);
    assert!(
        !world.agent_log().contains("an attempt failed"),
        "{}",
        world.agent_log()
    );
}

/// Whether a line of a role's log says that a connection of `who` is over.
fn is_end_of(line: &str, who: &str) -> bool {
    line.contains(who)
        && ["disconnected", "connection ended", "connection closed"]
            .iter()
            .any(|end| line.contains(end))
}
