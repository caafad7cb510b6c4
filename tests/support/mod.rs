//! A scratch home for one test: its own state, its own agent, a cleared environment, and an end that leaves
//! nothing running.

#![allow(dead_code, unreachable_pub, reason = "each test binary uses a part")]
#![allow(
    clippy::disallowed_methods,
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "tests start real processes"
)]

use std::collections::BTreeMap;
use std::ffi::OsStr;
use std::fs::File;
use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, SocketAddr, UdpSocket};
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Output, Stdio};
use std::time::{Duration, Instant};

use nix::fcntl::{Flock, FlockArg};
use serde_json::Value;

/// The program under test.
pub const QUICC: &str = env!("CARGO_BIN_EXE_quicc");

/// Bound on what should take a second; only tells slow from never on a loaded machine.
pub const LONG: Duration = Duration::from_secs(60);

/// Looks again and again until `look` finds something.
pub fn await_event<T>(what: &str, mut look: impl FnMut() -> Option<T>) -> T {
    let started = Instant::now();
    loop {
        if let Some(found) = look() {
            return found;
        }
        assert!(started.elapsed() < LONG, "{what} did not come");
        std::thread::yield_now();
    }
}

/// A role of a farm that runs until it is killed.
pub struct Role(Child);

impl Role {
    /// Starts and waits until it says that it is ready.
    pub fn start(mut command: Command) -> Self {
        let mut child = command.stdout(Stdio::piped()).spawn().unwrap();
        let mut line = String::new();
        BufReader::new(child.stdout.take().unwrap())
            .read_line(&mut line)
            .unwrap();
        assert_eq!(line, "ready\n");
        Self(child)
    }

    /// Its process id.
    pub fn id(&self) -> u32 {
        self.0.id()
    }

    pub fn kill(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

impl Drop for Role {
    fn drop(&mut self) {
        self.kill();
    }
}

/// UDP ports of loopback that nobody held a moment ago, each another.
pub fn free_ports<const COUNT: usize>() -> [u16; COUNT] {
    let sockets = [(); COUNT].map(|()| UdpSocket::bind((Ipv4Addr::LOCALHOST, 0)).unwrap());
    sockets.map(|socket| socket.local_addr().unwrap().port())
}

/// The files of a farm, on loopback unless told otherwise: certificates of `scheduler`, `b1` and `me`, and the
/// configurations `scheduler.conf` and `builder.conf`. Nothing runs yet.
pub struct FarmFiles {
    world: World,
    scheduler: SocketAddr,
}

impl Default for FarmFiles {
    fn default() -> Self {
        Self::new()
    }
}

impl FarmFiles {
    pub fn new() -> Self {
        Self::at(Ipv4Addr::LOCALHOST)
    }

    /// Of a farm whose roles listen at `address`.
    pub fn at(address: Ipv4Addr) -> Self {
        let world = World::new();
        let certgen = |arguments: &str| {
            let arguments: Vec<_> = arguments.split(' ').collect();
            let output = world.quicc(&arguments);
            assert!(output.status.success(), "{output:?}");
        };
        certgen("certgen init");
        for (role, name) in [("scheduler", "scheduler"), ("builder", "b1"), ("client", "me")] {
            certgen(&format!("certgen issue --role {role} --name {name}"));
        }
        let [scheduler, builder] = free_ports();
        let own = |role: &str, name: &str| {
            format!("ca = 'ca.pem'\ncertificate = '{role}-{name}.pem'\nkey = '{role}-{name}.key'\n")
        };
        let scheduler = SocketAddr::from((address, scheduler));
        let own_address = format!("public_addr = '{scheduler}'\n");
        world.write("scheduler.conf", &(own_address + &own("scheduler", "scheduler")));
        let text = format!(
            "cache_dir = 'cache'\npublic_addr = '{address}:{builder}'\nscheduler_url = 'quicc://{scheduler}'\n"
        );
        world.write("builder.conf", &(text + &own("builder", "b1")));
        Self { world, scheduler }
    }

    /// Where the files are, and where the roles run.
    pub fn world(&self) -> &World {
        &self.world
    }

    /// Where the scheduler is configured to be.
    pub fn scheduler(&self) -> SocketAddr {
        self.scheduler
    }

    /// Has the agent of `world` use this farm as the client `me`.
    pub fn join(&self, world: &World) {
        let at = |name: &str| self.world.at(name).display().to_string();
        let text = format!(
            "[dist]\nscheduler_url = 'quicc://{}'\nca = '{}'\ncertificate = '{}'\nkey = '{}'\n",
            self.scheduler,
            at("ca.pem"),
            at("client-me.pem"),
            at("client-me.key")
        );
        std::fs::create_dir_all(world.home()).unwrap();
        std::fs::write(world.home().join("config"), text).unwrap();
    }

    /// Starts `quicc ROLE` in the foreground.
    pub fn start(&self, role: &str) -> Role {
        let mut command = self.world.command(QUICC);
        command
            .args([role, "--config", &format!("{role}.conf")])
            .stderr(Stdio::null());
        Role::start(command)
    }
}

/// One user's world.
pub struct World {
    root: tempfile::TempDir,
    /// Another user than the one who runs the tests, and a copy of quicc that user can reach.
    user: Option<u32>,
}

impl Default for World {
    fn default() -> Self {
        Self::new()
    }
}

impl World {
    pub fn new() -> Self {
        let root = tempfile::Builder::new().prefix("quicc-test-").tempdir().unwrap();
        std::fs::set_permissions(root.path(), PermissionsExt::from_mode(0o755)).unwrap();
        let world = Self { root, user: None };
        std::fs::create_dir_all(world.source()).unwrap();
        world
    }

    /// A world that belongs to an unprivileged user; the tests must run as root.
    pub fn of_user(uid: u32) -> Self {
        let mut world = Self::new();
        let own = world.root().join("quicc");
        std::fs::copy(QUICC, &own).unwrap();
        for path in [world.root().to_owned(), world.source(), own] {
            std::os::unix::fs::chown(path, Some(uid), Some(uid)).expect("the tests run as root");
        }
        world.user = Some(uid);
        world
    }

    /// quicc's path for this user.
    pub fn program(&self) -> PathBuf {
        if self.user.is_some() {
            self.root().join("quicc")
        } else {
            PathBuf::from(QUICC)
        }
    }

    pub fn root(&self) -> &Path {
        self.root.path()
    }

    pub fn home(&self) -> PathBuf {
        self.root().join("home")
    }

    /// Where the test's sources and builds are.
    pub fn source(&self) -> PathBuf {
        self.root().join("src")
    }

    pub fn at(&self, path: &str) -> PathBuf {
        self.source().join(path)
    }

    pub fn write(&self, path: &str, text: &str) {
        let path = self.at(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        if self.user.is_some() {
            std::os::unix::fs::chown(path, self.user, self.user).unwrap();
        }
    }

    pub fn read(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.at(path)).unwrap_or_else(|error| panic!("{path}: {error}"))
    }

    pub fn exists(&self, path: &str) -> bool {
        self.at(path).symlink_metadata().is_ok()
    }

    /// A command in the sources with an environment like a user's.
    pub fn command(&self, program: impl AsRef<OsStr>) -> Command {
        let mut command = match self.user {
            None => Command::new(program),
            Some(uid) => {
                let mut command = Command::new("setpriv");
                command
                    .arg(format!("--reuid={uid}"))
                    .arg(format!("--regid={uid}"));
                command.args(["--clear-groups", "--"]).arg(program);
                command
            }
        };
        command
            .env_clear()
            .env("PATH", "/usr/local/bin:/usr/bin:/bin")
            .env("HOME", self.root())
            .env("LANG", "C")
            .env("QUICC_HOME", self.home())
            .current_dir(self.source())
            .stdin(Stdio::null());
        if let Some(filter) = std::env::var_os("QUICC_LOG") {
            command.env("QUICC_LOG", filter);
        }
        command
    }

    /// `quicc ARGUMENTS`.
    pub fn quicc(&self, arguments: &[&str]) -> Output {
        self.command(self.program()).args(arguments).output().unwrap()
    }

    /// `quicc run --summary … -- sh -c SCRIPT`: the script's output and the summary.
    pub fn run(&self, script: &str) -> (Output, Summary) {
        let summary = self.root().join("summary.json");
        let _ = std::fs::remove_file(&summary);
        let mut command = self.command(self.program());
        command
            .arg("run")
            .arg("--summary")
            .arg(&summary)
            .args(["--", "sh", "-c", script]);
        let output = command.output().unwrap();
        (output, Summary::read(&summary))
    }

    /// The script without quicc.
    pub fn local(&self, script: &str) -> Output {
        self.command("sh").args(["-c", script]).output().unwrap()
    }

    /// What `quicc agent status` says; an agent must run.
    pub fn status(&self) -> Value {
        let output = self.quicc(&["agent", "status"]);
        serde_json::from_slice(&output.stdout).unwrap_or_else(|_| panic!("{}", self.explain(&output)))
    }

    pub fn socket(&self) -> PathBuf {
        self.home().join("state/agent.sock")
    }

    pub fn agent_log(&self) -> String {
        std::fs::read_to_string(self.home().join("state/agent.log")).unwrap_or_default()
    }

    /// Every regular file below the sources with its bytes.
    pub fn files(&self) -> BTreeMap<PathBuf, Vec<u8>> {
        let mut files = BTreeMap::new();
        collect(&self.source(), &mut files);
        files
    }

    /// Builds with `script` here, then again through the farm, each time after `clean`, and compares every file
    /// the build left and both outputs.
    pub fn compare(&self, clean: &str, script: &str) -> Summary {
        let local = self.local(script);
        let expected = self.files();
        assert!(self.local(clean).status.success());
        let (remote, summary) = self.run(script);
        assert_eq!(
            local.status.code(),
            remote.status.code(),
            "{}",
            self.explain(&remote)
        );
        assert_eq!(
            String::from_utf8_lossy(&local.stdout),
            String::from_utf8_lossy(&remote.stdout),
            "standard output"
        );
        assert_eq!(
            String::from_utf8_lossy(&local.stderr),
            without_summary(&remote.stderr),
            "standard error"
        );
        let found = self.files();
        let names = |files: &BTreeMap<PathBuf, Vec<u8>>| files.keys().cloned().collect::<Vec<_>>();
        assert_eq!(names(&expected), names(&found), "the same files");
        let differing: Vec<_> = expected
            .iter()
            .filter(|(path, bytes)| found[*path] != **bytes)
            .map(|(path, _)| path)
            .collect();
        assert!(differing.is_empty(), "these differ: {differing:?}");
        summary
    }

    pub fn explain(&self, output: &Output) -> String {
        format!(
            "{:?}\n{}\n{}\nagent:\n{}",
            output.status,
            String::from_utf8_lossy(&output.stdout),
            String::from_utf8_lossy(&output.stderr),
            self.agent_log()
        )
    }

    /// Asks the agent to end and waits until it has.
    pub fn stop_agent(&self) {
        let _ = self.command(self.program()).args(["agent", "stop"]).output();
        if let Ok(file) = File::open(self.home().join("state/agent.running")) {
            let _ = Flock::lock(file, FlockArg::LockExclusive);
        }
    }
}

impl Drop for World {
    fn drop(&mut self) {
        self.stop_agent();
    }
}

fn collect(directory: &Path, files: &mut BTreeMap<PathBuf, Vec<u8>>) {
    for entry in std::fs::read_dir(directory).unwrap() {
        let entry = entry.unwrap();
        let kind = entry.file_type().unwrap();
        if kind.is_dir() {
            collect(&entry.path(), files);
        } else if kind.is_file() {
            files.insert(entry.path(), std::fs::read(entry.path()).unwrap());
        }
    }
}

/// Standard error of `quicc run` without quicc's own lines.
pub fn without_summary(stderr: &[u8]) -> String {
    let text = String::from_utf8_lossy(stderr);
    text.lines()
        .filter(|line| !line.starts_with("quicc: "))
        .map(|line| format!("{line}\n"))
        .collect()
}

/// What `--summary` wrote.
#[derive(Debug, Clone, PartialEq)]
pub struct Summary(Value);

impl Summary {
    fn read(path: &Path) -> Self {
        let text = std::fs::read_to_string(path).unwrap_or_else(|error| panic!("no summary: {error}"));
        Self(serde_json::from_str(&text).unwrap())
    }

    pub fn remote(&self) -> u64 {
        self.0["remote"].as_u64().unwrap()
    }

    pub fn local(&self) -> u64 {
        self.0["local"].as_u64().unwrap()
    }

    pub fn fallbacks(&self) -> u64 {
        self.0["fallbacks"].as_u64().unwrap()
    }

    pub fn reason(&self, code: &str) -> u64 {
        self.0["local_reasons"][code].as_u64().unwrap_or(0)
    }

    pub fn local_reasons(&self) -> BTreeMap<String, u64> {
        let reasons = self.0["local_reasons"].as_object().unwrap().iter();
        reasons
            .map(|(code, count)| (code.clone(), count.as_u64().unwrap()))
            .collect()
    }

    pub fn bytes_up(&self) -> u64 {
        self.0["bytes_up"].as_u64().unwrap()
    }
}
