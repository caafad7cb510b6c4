//! icecream: its scheduler and a daemon at the farm's end, a daemon that compiles nothing at the client's.

use std::path::{Path, PathBuf};

use crate::client::{Client, Evidence};
use crate::daemon::{Daemon, find, free_port};
use crate::peers::Setting;
use crate::side::Side;
use crate::support::World;
use crate::wire::Wire;

const REMEDY: &str = "apt-get install icecc";
/// What the daemons are, and the name compiles are sent to.
const NETWORK: &str = "quicc-link";
const SERVER: &str = "farm";
/// What daemons log once they can be used, and a server of each compile.
const CONNECTED: &str = "Connected to scheduler";
const COMPILED: &str = "Remote compilation completed with exit code 0";
/// What a client logs that gave up or was not let.
const LOCALLY: &[&str] = &["local build", "locally", "building myself"];
/// The user the daemons become who are root.
const USER: &str = "icecc";

/// Its programs.
#[derive(Debug)]
struct Programs {
    icecc: PathBuf,
    iceccd: PathBuf,
    scheduler: PathBuf,
    packer: PathBuf,
}

impl Programs {
    fn find() -> Result<Self, String> {
        Ok(Self {
            icecc: find("icecc", REMEDY)?,
            iceccd: find("iceccd", REMEDY)?,
            scheduler: find("icecc-scheduler", REMEDY)?,
            packer: find("icecc-create-env", REMEDY)?,
        })
    }
}

/// An error where it is not installed.
pub fn require() -> Result<(), String> {
    Programs::find().map(drop)
}

/// All of it, until it is dropped.
pub struct Icecream<'a> {
    world: &'a World,
    launcher: String,
    environment: Vec<(String, String)>,
    client: Daemon,
    server: Daemon,
    _scheduler: Daemon,
}

impl<'a> Icecream<'a> {
    pub fn start(wire: &Wire, world: &'a World, setting: &Setting) -> Result<Self, String> {
        let programs = Programs::find()?;
        let directory = world.root().join("icecream");
        std::fs::create_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let port = free_port(&wire.farm)?;
        let mut command = world.command(&programs.scheduler);
        command.args(["-n", NETWORK, "-p", &port.to_string()]);
        let scheduler = Daemon::start(&wire.farm, command, &directory.join("scheduler.log"))?;
        let scheduler_at = format!("{}:{port}", wire.farm.address);
        let daemon = |side: &Side, name: &str, further: &[&str]| -> Result<Daemon, String> {
            let (base, socket) = (directory.join(format!("{name}-base")), socket(&directory, name));
            let mut command = world.command(&programs.iceccd);
            command
                .args(["-n", NETWORK, "-s", &scheduler_at, "-N", name, "-u", USER, "-vv"])
                .arg("-p")
                .arg(free_port(side)?.to_string())
                .arg("-b")
                .arg(base)
                .args(further)
                .env("ICECC_TEST_SOCKET", socket);
            Daemon::start(side, command, &directory.join(format!("{name}.log")))
        };
        // Sockets and what a daemon unpacks are made by the user it becomes.
        std::os::unix::fs::chown(&directory, Some(user()?), None)
            .map_err(|error| format!("{}: {error}", directory.display()))?;
        let mut server = daemon(&wire.farm, SERVER, &["-m", &setting.jobs.to_string()])?;
        let mut client = daemon(&wire.client, "client", &["--no-remote"])?;
        server.await_words(CONNECTED)?;
        client.await_words(CONNECTED)?;
        let log = directory.join("icecc.log");
        let variables = [
            ("PATH", setting.search_path()),
            (
                "ICECC_TEST_SOCKET",
                socket(&directory, "client").display().to_string(),
            ),
            ("ICECC_PREFERRED_HOST", SERVER.to_owned()),
            (
                "ICECC_VERSION",
                pack(world, &programs.packer, &directory, setting)?,
            ),
            ("ICECC_DEBUG", "info".to_owned()),
            ("ICECC_LOGFILE", log.display().to_string()),
        ];
        Ok(Self {
            world,
            launcher: programs.icecc.display().to_string(),
            environment: variables.map(|(name, value)| (name.to_owned(), value)).into(),
            client,
            server,
            _scheduler: scheduler,
        })
    }

    /// What is measured.
    pub fn client(&self) -> Client<'a> {
        let log = self.environment.iter().find(|(name, _)| name == "ICECC_LOGFILE");
        let evidence = Evidence::Logs {
            server: self.server.log().to_owned(),
            compiled: COMPILED,
            client: log.map(|(_, path)| PathBuf::from(path)).unwrap_or_default(),
            locally: LOCALLY,
        };
        let called = (self.launcher.as_str(), self.environment.clone());
        Client::peer("icecream", self.world, called, self.client.id(), evidence)
    }
}

fn socket(directory: &Path, name: &str) -> PathBuf {
    directory.join(format!("{name}.sock"))
}

fn user() -> Result<u32, String> {
    let user = nix::unistd::User::from_name(USER).map_err(|error| format!("{USER}: {error}"))?;
    let user = user.ok_or_else(|| format!("there is no user {USER}: {REMEDY}"))?;
    Ok(user.uid.as_raw())
}

/// The compilers as it sends them, made beforehand; the path of the archive.
fn pack(world: &World, packer: &Path, directory: &Path, setting: &Setting) -> Result<String, String> {
    let compilers = setting.compilers.clone().unwrap_or_else(|| "/usr/bin".into());
    let mut command = world.command(packer);
    // Asked by one name, it takes what gcc says it is, and a sleeping compiler lets the real one answer.
    command
        .arg("--gcc")
        .args(["gcc", "g++"].map(|name| compilers.join(name)))
        .current_dir(directory);
    let output = command
        .output()
        .map_err(|error| format!("icecc-create-env: {error}"))?;
    let files = std::fs::read_dir(directory).map_err(|error| format!("{}: {error}", directory.display()))?;
    let mut paths = files.filter_map(Result::ok).map(|file| file.path());
    let archive = paths.find(|path| path.to_string_lossy().ends_with(".tar.gz"));
    let archive = archive.filter(|_| output.status.success());
    let archive = archive.ok_or_else(|| format!("icecc-create-env made nothing: {output:?}"))?;
    Ok(archive.display().to_string())
}
