//! Other clients: distcc and distcc-pump, with a distccd of this bench.

use std::fs::File;
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::client::{Client, Evidence};
use crate::measure::AT_ONCE;
use crate::support::{World, await_event};

/// Where a [`World`]'s commands are found.
const PATH: [&str; 3] = ["/usr/local/bin", "/usr/bin", "/bin"];

/// A peer to be measured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Peer {
    Distcc,
    Pump,
}

impl Peer {
    /// The peers of a list like `distcc,pump`; those that are not installed are an error.
    pub fn parse(list: &str) -> Result<Vec<Self>, String> {
        let peers = list.split(',').map(|name| match name {
            "distcc" => Ok(Self::Distcc),
            "pump" => Ok(Self::Pump),
            other => Err(format!("no peer is called {other}: distcc, pump")),
        });
        let peers: Vec<_> = peers.collect::<Result<_, String>>()?;
        for program in ["distcc", "distccd"] {
            require(program, "distcc")?;
        }
        if peers.contains(&Self::Pump) {
            require("distcc-pump", "distcc-pump")?;
        }
        Ok(peers)
    }

    pub fn name(self) -> &'static str {
        match self {
            Self::Distcc => "distcc",
            Self::Pump => "pump",
        }
    }
}

/// An error where a program of a package is missing.
fn require(program: &str, package: &str) -> Result<(), String> {
    let is_there = PATH
        .iter()
        .any(|directory| Path::new(directory).join(program).exists());
    let problem = || format!("{program} is missing: apt-get install {package}");
    is_there.then_some(()).ok_or_else(problem)
}

/// A distccd that runs until it is dropped.
pub struct Distccd {
    process: Child,
    address: SocketAddr,
    setting: Setting,
    log: PathBuf,
}

/// Where a distccd is and what it is to do.
#[derive(Debug, Clone)]
pub struct Setting {
    /// Where it listens.
    pub address: Ipv4Addr,
    /// Compiles at once.
    pub jobs: usize,
    /// A directory of compilers that goes before the system's, at the client too.
    pub compilers: Option<PathBuf>,
}

impl Setting {
    /// On loopback, with the system's compilers.
    pub fn local() -> Self {
        Self {
            address: Ipv4Addr::LOCALHOST,
            jobs: AT_ONCE,
            compilers: None,
        }
    }

    /// What `PATH` is for it.
    pub fn search_path(&self) -> String {
        let own = self.compilers.iter().map(|directory| directory.to_str().unwrap());
        own.chain(PATH).collect::<Vec<_>>().join(":")
    }
}

impl Distccd {
    pub fn start(world: &World, setting: Setting) -> Self {
        let listener = TcpListener::bind((setting.address, 0)).unwrap();
        let address = listener.local_addr().unwrap();
        drop(listener);
        // It does not stay root.
        let scratch = world.root().join(format!("distccd-{}", address.port()));
        std::fs::create_dir(&scratch).unwrap();
        std::fs::set_permissions(&scratch, PermissionsExt::from_mode(0o1777)).unwrap();
        let log = scratch.join("log");
        let mut command = world.command("distccd");
        command
            .args(["--daemon", "--no-detach", "--log-stderr", "--log-level=notice"])
            .arg(format!("--listen={}", address.ip()))
            // Its network is this machine's own, or one of a bench.
            .arg("--allow=0.0.0.0/0")
            .args([
                format!("--port={}", address.port()),
                format!("--jobs={}", setting.jobs),
            ])
            .env("TMPDIR", &scratch)
            .env("PATH", setting.search_path())
            .stderr(Stdio::from(File::create(&log).unwrap()))
            .process_group(0);
        let process = command.spawn().unwrap();
        let started = Self {
            process,
            address,
            setting,
            log,
        };
        await_event("distccd", || TcpStream::connect(address).ok());
        started
    }
}

impl Drop for Distccd {
    fn drop(&mut self) {
        let group = i32::try_from(self.process.id()).unwrap();
        let _ = killpg(Pid::from_raw(group), Signal::SIGTERM);
        let _ = self.process.wait();
    }
}

/// distcc's client, and the include server of distcc-pump.
pub struct DistccClient<'a> {
    world: &'a World,
    peer: Peer,
    environment: Vec<(String, String)>,
    server: PathBuf,
}

impl<'a> DistccClient<'a> {
    pub fn start(world: &'a World, peer: Peer, server: &Distccd) -> Result<Self, String> {
        let options = if peer == Peer::Pump { ",cpp,lzo" } else { ",lzo" };
        let path = |name: &str| world.root().join(name).display().to_string();
        let environment = [
            (
                "DISTCC_HOSTS",
                format!("{}/{}{options}", server.address, server.setting.jobs),
            ),
            ("PATH", server.setting.search_path()),
            ("DISTCC_DIR", path(peer.name())),
            ("DISTCC_LOG", path(&format!("{}.log", peer.name()))),
            ("DISTCC_FALLBACK", "0".to_owned()),
        ];
        let mut client = Self {
            world,
            peer,
            environment: environment.map(|(name, value)| (name.to_owned(), value)).into(),
            server: server.log.clone(),
        };
        std::fs::create_dir(world.root().join(peer.name())).unwrap();
        if peer == Peer::Pump {
            client.start_pump()?;
        }
        Ok(client)
    }

    /// It says what its client must have in the environment.
    fn start_pump(&mut self) -> Result<(), String> {
        let said = self.pump("--startup")?;
        let variables = said.lines().filter_map(|line| line.strip_prefix("export "));
        let variables = variables.filter_map(|line| line.split_once('='));
        let variables = variables.filter(|(name, _)| name.starts_with("INCLUDE_SERVER_"));
        let own = variables.map(|(name, value)| (name.to_owned(), value.trim_matches('\'').to_owned()));
        self.environment.extend(own);
        Ok(())
    }

    fn pump(&self, what: &str) -> Result<String, String> {
        let mut command = self.world.command("distcc-pump");
        let variables = self.environment.iter().map(|(name, value)| (name, value));
        let output = command.arg(what).envs(variables).output();
        let output = output.map_err(|error| format!("distcc-pump: {error}"))?;
        if !output.status.success() {
            let stderr = String::from_utf8_lossy(&output.stderr);
            return Err(format!("distcc-pump {what}: {}: {stderr}", output.status));
        }
        Ok(String::from_utf8_lossy(&output.stdout).into_owned())
    }

    /// What is measured.
    pub fn client(&self) -> Client<'a> {
        let variable = |wanted: &str| self.environment.iter().find(|(name, _)| name == wanted);
        let include_server = variable("INCLUDE_SERVER_PID").and_then(|(_, pid)| pid.parse().ok());
        let log = variable("DISTCC_LOG").map(|(_, path)| PathBuf::from(path));
        let evidence = Evidence::Logs {
            server: self.server.clone(),
            compiled: "COMPILE_OK",
            client: log.unwrap_or_default(),
            locally: &["locally"],
        };
        let called = ("distcc", self.environment.clone());
        Client::peer(self.peer.name(), self.world, called, include_server, evidence)
    }
}

impl Drop for DistccClient<'_> {
    fn drop(&mut self) {
        if self.peer == Peer::Pump {
            let _ = self.pump("--shutdown");
        }
    }
}
