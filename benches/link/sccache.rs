//! sccache's distributed mode: its scheduler and servers at the farm's end, and a server of its own at the client's that
//! caches nothing.

use std::net::Ipv4Addr;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use crate::client::{Client, Evidence};
use crate::daemon::{Daemon, find, free_port};
use crate::peers::Setting;
use crate::support::{World, await_event};
use crate::wire::Wire;

const REMEDY: &str = "cargo install sccache --locked --no-default-features --features dist-client,dist-server, to a \
                      directory in PATH";
/// What a server logs once it can be used.
const CONNECTED: &str = "Server connected to scheduler";
/// Between the client and the scheduler; there is no secret in a run.
const TOKEN: &str = "link";

/// Its programs.
#[derive(Debug)]
struct Programs {
    sccache: PathBuf,
    dist: PathBuf,
    bubblewrap: PathBuf,
}

impl Programs {
    fn find() -> Result<Self, String> {
        Ok(Self {
            sccache: find("sccache", REMEDY)?,
            dist: find("sccache-dist", REMEDY)?,
            bubblewrap: find("bwrap", "apt-get install bubblewrap")?,
        })
    }
}

/// An error where it is not installed.
pub fn require() -> Result<(), String> {
    Programs::find().map(drop)
}

/// All of it, until it is dropped.
pub struct Sccache<'a> {
    world: &'a World,
    launcher: String,
    environment: Vec<(String, String)>,
    client: Daemon,
    _farm: Vec<Daemon>,
}

/// Compiles that a server takes at once: its scheduler counts the processors, which no setting changes.
fn jobs_of_server() -> usize {
    let processors = std::thread::available_parallelism().map_or(1, usize::from);
    processors + 1 + processors / 8
}

impl<'a> Sccache<'a> {
    pub fn start(wire: &Wire, world: &'a World, setting: &Setting) -> Result<Self, String> {
        let programs = Programs::find()?;
        let directory = world.root().join("sccache");
        std::fs::create_dir(&directory).map_err(|error| format!("{}: {error}", directory.display()))?;
        let address = wire.farm.address;
        let port = free_port(&wire.farm)?;
        let scheduler = format!("{address}:{port}");
        let mut farm = Vec::new();
        let text = format!(
            "public_addr = '{scheduler}'\n[client_auth]\ntype = 'token'\ntoken = '{TOKEN}'\n[server_auth]\ntype = \
             'DANGEROUSLY_INSECURE'\n"
        );
        let mut start = |role: &str, name: &str, text: &str| -> Result<(), String> {
            let path = directory.join(format!("{name}.conf"));
            std::fs::write(&path, text).map_err(|error| format!("{}: {error}", path.display()))?;
            let mut command = world.command(&programs.dist);
            command.args([role, "--config"]).arg(path);
            command.env("SCCACHE_NO_DAEMON", "1").env("SCCACHE_LOG", "info");
            let log = directory.join(format!("{name}.log"));
            farm.push(Daemon::start(&wire.farm, command, &log)?);
            Ok(())
        };
        start("scheduler", "scheduler", &text)?;
        wire.farm.within(|| {
            await_event("sccache's scheduler", || {
                std::net::TcpStream::connect((address, port)).ok()
            })
        });
        let servers = setting.jobs.div_ceil(jobs_of_server());
        for number in 0..servers {
            let name = format!("server{number}");
            let port = free_port(&wire.farm)?;
            start(
                "server",
                &name,
                &server(&directory, &name, address, port, &scheduler, &programs),
            )?;
        }
        for server in farm.iter_mut().skip(1) {
            server.await_words(CONNECTED)?;
        }
        let configuration = directory.join("client.conf");
        let path = |name: &str| directory.join(name).display().to_string();
        let text = format!(
            "[dist]\nscheduler_url = 'http://{scheduler}'\ncache_dir = '{}'\ntoolchains = []\n[dist.auth]\ntype = \
             'token'\ntoken = '{TOKEN}'\n[cache.disk]\ndir = '{}'\n",
            path("toolchains"),
            path("results")
        );
        std::fs::write(&configuration, text).map_err(|error| format!("client.conf: {error}"))?;
        let variables = [
            ("PATH", setting.search_path()),
            ("SCCACHE_CONF", path("client.conf")),
            ("SCCACHE_SERVER_UDS", path("client.sock")),
            // Nothing is taken from the cache.
            ("SCCACHE_RECACHE", "1".to_owned()),
            ("SCCACHE_IDLE_TIMEOUT", "0".to_owned()),
        ];
        let environment = variables.map(|(name, value)| (name.to_owned(), value));
        let mut command = world.command(&programs.sccache);
        command
            .envs(environment.iter().cloned())
            .env("SCCACHE_NO_DAEMON", "1")
            .env("SCCACHE_START_SERVER", "1")
            .env("SCCACHE_LOG", "warn");
        let client = Daemon::start(&wire.client, command, &directory.join("client.log"))?;
        // Whoever asks before there is a server starts another, whose processor time nobody would count.
        await_event("sccache's server of the client's", || {
            UnixStream::connect(path("client.sock")).ok()
        });
        let started = Self {
            world,
            launcher: programs.sccache.display().to_string(),
            environment: environment.into(),
            client,
            _farm: farm,
        };
        started.await_servers(servers);
        Ok(started)
    }

    /// Until the client knows of all of them.
    fn await_servers(&self, servers: usize) {
        let words = format!("\"num_servers\":{servers},");
        let client = self.client();
        await_event("sccache's servers", || {
            let output = client
                .program(&self.launcher)
                .arg("--dist-status")
                .output()
                .ok()?;
            String::from_utf8_lossy(&output.stdout)
                .contains(&words)
                .then_some(())
        });
    }

    /// What is measured.
    pub fn client(&self) -> Client<'a> {
        let called = (self.launcher.as_str(), self.environment.clone());
        Client::peer(
            "sccache",
            self.world,
            called,
            self.client.id(),
            Evidence::Statistics,
        )
    }
}

/// The configuration of a server.
fn server(
    directory: &Path,
    name: &str,
    address: Ipv4Addr,
    port: u16,
    scheduler: &str,
    programs: &Programs,
) -> String {
    let path = |what: &str| directory.join(format!("{name}-{what}")).display().to_string();
    format!(
        "public_addr = '{address}:{port}'\nscheduler_url = 'http://{scheduler}'\ncache_dir = '{}'\n[builder]\ntype = \
         'overlay'\nbuild_dir = '{}'\nbwrap_path = '{}'\n[scheduler_auth]\ntype = 'DANGEROUSLY_INSECURE'\n",
        path("toolchains"),
        path("build"),
        programs.bubblewrap.display()
    )
}
