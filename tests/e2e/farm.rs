//! A real farm as README describes it: its commands and files, word for word, in two network namespaces; and what
//! happens when parts of it break.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::atomic::{AtomicU32, Ordering};

use crate::support::{QUICC, Role, World};

static NUMBER: AtomicU32 = AtomicU32::new(0);

/// Two hosts joined by one link: `farm.example` and the client's. Removed with all that runs in them.
pub(crate) struct Network {
    pub(crate) farm: String,
    pub(crate) client: String,
}

/// `ip ARGUMENTS`, which must succeed.
pub(crate) fn tool(arguments: &[&str]) {
    let output = Command::new("ip")
        .args(arguments)
        .output()
        .expect("apt-get install iproute2");
    assert!(
        output.status.success(),
        "ip {arguments:?}: {}",
        String::from_utf8_lossy(&output.stderr)
    );
}

impl Network {
    pub(crate) fn new() -> Self {
        let number = NUMBER.fetch_add(1, Ordering::Relaxed);
        let name = |role: &str| format!("q{role}{}-{number}", std::process::id());
        let network = Self {
            farm: name("f"),
            client: name("c"),
        };
        let (farm, client) = (network.farm.as_str(), network.client.as_str());
        for host in [farm, client] {
            tool(&["netns", "add", host]);
            tool(&["-n", host, "link", "set", "lo", "up"]);
            // Bound over /etc/hosts by `ip netns exec`: names work as README writes them.
            let directory = Path::new("/etc/netns").join(host);
            std::fs::create_dir_all(&directory).unwrap();
            std::fs::write(
                directory.join("hosts"),
                "127.0.0.1 localhost\n10.77.0.1 farm.example\n",
            )
            .unwrap();
        }
        tool(&[
            "-n", farm, "link", "add", "link0", "type", "veth", "peer", "name", "link0", "netns", client,
        ]);
        for (host, address) in [(farm, "10.77.0.1/24"), (client, "10.77.0.2/24")] {
            tool(&["-n", host, "addr", "add", address, "dev", "link0"]);
            tool(&["-n", host, "link", "set", "link0", "up"]);
        }
        network
    }

    /// A command of `world` run on a host, with a private `/var/cache`.
    pub(crate) fn command(world: &World, host: &str, script: &str) -> Command {
        let mut command = world.command("ip");
        let script = format!(
            "mount -t tmpfs none /var/cache && PATH={}:$PATH && {script}",
            program_directory()
        );
        command.args(["netns", "exec", host, "unshare", "--mount", "sh", "-c", &script]);
        command
    }

    fn cut(&self) {
        tool(&["-n", &self.farm, "link", "set", "link0", "down"]);
    }
}

impl Drop for Network {
    fn drop(&mut self) {
        for host in [&self.farm, &self.client] {
            if let Ok(output) = Command::new("ip").args(["netns", "pids", host]).output() {
                for pid in String::from_utf8_lossy(&output.stdout).split_whitespace() {
                    let _ = Command::new("kill").args(["-9", pid]).status();
                }
            }
            let _ = Command::new("ip").args(["netns", "del", host]).status();
            let _ = std::fs::remove_dir_all(Path::new("/etc/netns").join(host));
        }
    }
}

fn program_directory() -> String {
    Path::new(QUICC).parent().unwrap().display().to_string()
}

/// README's section on a real farm: its files by the name in the sentence before them, and its commands.
struct Section {
    files: BTreeMap<String, String>,
    commands: Vec<String>,
}

fn readme() -> Section {
    let text = std::fs::read_to_string(Path::new(env!("CARGO_MANIFEST_DIR")).join("README.md")).unwrap();
    let section = text
        .split("\n## ")
        .find(|part| part.starts_with("A farm of two hosts"))
        .unwrap();
    let parts: Vec<_> = section.split("```").collect();
    let mut found = Section {
        files: BTreeMap::new(),
        commands: Vec::new(),
    };
    for pair in parts.windows(2).step_by(2) {
        let [before, block] = pair else { continue };
        match block.strip_prefix("toml\n") {
            Some(file) => {
                let name = before.rsplit('`').nth(1).unwrap();
                found.files.insert(name.to_owned(), file.to_owned());
            }
            None => found.commands.extend(
                block
                    .lines()
                    .filter_map(|line| line.strip_prefix("$ "))
                    .map(str::to_owned),
            ),
        }
    }
    found
}

/// The farm of README with both its builders.
struct Farm {
    network: Network,
    world: World,
    scheduler: Role,
    builders: Vec<Role>,
}

impl Farm {
    fn start() -> Self {
        let (network, world, section) = (Network::new(), World::new(), readme());
        for (name, text) in &section.files {
            let path = name
                .strip_prefix("~/")
                .map_or_else(|| world.at(name), |below| world.root().join(below));
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mut roles = Vec::new();
        for command in &section.commands {
            if command.contains("certgen") || command.starts_with("cp ") {
                let output = Network::command(&world, &network.farm, command).output().unwrap();
                assert!(
                    output.status.success(),
                    "{command}: {}",
                    String::from_utf8_lossy(&output.stderr)
                );
            } else if command.starts_with("quicc scheduler") || command.starts_with("quicc builder") {
                roles.push(Role::start(Network::command(
                    &world,
                    &network.farm,
                    &format!("exec {command}"),
                )));
            }
        }
        let builders = roles.split_off(1);
        assert_eq!(builders.len(), 2, "README starts two builders");
        let scheduler = roles.remove(0);
        world.write("a.c", "#include <stdio.h>\nint f(void) { return puts(\"a\"); }\n");
        Self {
            network,
            world,
            scheduler,
            builders,
        }
    }

    /// Runs a script on the client's host as README does; gives standard error.
    fn run(&self, script: &str) -> (bool, String) {
        let script = format!("unset QUICC_HOME; exec quicc run -- sh -c '{script}'");
        let output = Network::command(&self.world, &self.network.client, &script)
            .output()
            .unwrap();
        (
            output.status.success(),
            String::from_utf8_lossy(&output.stderr).into_owned(),
        )
    }
}

impl Drop for Farm {
    fn drop(&mut self) {
        let script = "unset QUICC_HOME; quicc agent stop";
        let _ = Network::command(&self.world, &self.network.client, script).output();
    }
}

#[test]
fn readme_builds_a_farm_of_two_hosts() {
    let farm = Farm::start();
    let (success, said) = farm.run("for n in 1 2 3 4; do gcc -O2 -c a.c -o $n.o || exit; done");
    assert!(
        success && said.contains("quicc: 4 units remote, 0 local"),
        "{said}"
    );
    assert!(
        farm.world
            .local("gcc -O2 -c a.c -o local.o && for n in 1 2 3 4; do cmp local.o $n.o || exit; done")
            .status
            .success()
    );
}

#[test]
fn a_build_survives_the_loss_of_every_part() {
    let mut farm = Farm::start();
    let build = "for n in 1 2 3 4; do gcc -O2 -c a.c -o $n.o || exit; done";
    let (success, said) = farm.run(build);
    assert!(success && said.contains("4 units remote"), "{said}");
    farm.scheduler.kill();
    let (success, said) = farm.run(build);
    assert!(success, "without the scheduler: {said}");
    farm.builders[0].kill();
    let (success, said) = farm.run(build);
    assert!(success, "without a builder: {said}");
    farm.builders[1].kill();
    let (success, said) = farm.run(build);
    assert!(
        success && said.contains("0 units remote, 4 local"),
        "without a farm: {said}"
    );
}

#[test]
fn a_silent_network_costs_seconds_not_the_build() {
    let farm = Farm::start();
    let (success, said) = farm.run("gcc -O2 -c a.c -o 1.o");
    assert!(success && said.contains("1 units remote"), "{said}");
    farm.network.cut();
    let started = std::time::Instant::now();
    let (success, said) = farm.run("gcc -O2 -c a.c -o 2.o && gcc -O2 -c a.c -o 3.o");
    assert!(success && said.contains("0 units remote, 2 local"), "{said}");
    // DESIGN §9 promises 3 s; the bound here only tells waiting from hanging on a loaded machine.
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}

#[test]
fn a_farm_that_freezes_while_it_is_used_costs_seconds_not_the_build() {
    let farm = Farm::start();
    let roles = farm.builders.iter().chain([&farm.scheduler]);
    let processes: Vec<_> = roles.map(|role| role.id().to_string()).collect();
    let processes = processes.join(" ");
    let script = format!(
        "gcc -O2 -c a.c -o 1.o && kill -STOP {processes} && gcc -O2 -c a.c -o 2.o && \
         gcc -O2 -c a.c -o 3.o; end=$?; kill -CONT {processes}; exit $end"
    );
    let started = std::time::Instant::now();
    let (success, said) = farm.run(&script);
    assert!(success && said.contains("1 units remote, 2 local"), "{said}");
    // DESIGN §9 promises 3 s; the bound here only tells waiting from hanging on a loaded machine.
    assert!(started.elapsed().as_secs() < 20, "{:?}", started.elapsed());
}
