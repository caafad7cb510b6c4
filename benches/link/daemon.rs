//! A daemon of another system: started in one of the two networks, logging to a file, gone with what it started when it
//! is dropped.

use std::fs::File;
use std::net::TcpListener;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::side::Side;
use crate::support::await_event;

/// Where programs are looked for besides `PATH`: daemons are no user's commands.
const SYSTEM: [&str; 2] = ["/usr/sbin", "/usr/bin"];

/// Where a program is, and how to get it if it is not there.
pub fn find(program: &str, remedy: &str) -> Result<PathBuf, String> {
    let path = std::env::var_os("PATH").unwrap_or_default();
    let directories = std::env::split_paths(&path).chain(SYSTEM.map(PathBuf::from));
    let mut candidates = directories.map(|directory| directory.join(program));
    let found = candidates.find(|candidate| candidate.is_file());
    let found = found.ok_or_else(|| format!("{program} is missing: {remedy}"))?;
    if found.starts_with("/tmp") {
        let found = found.display();
        return Err(format!(
            "{found} is out of sight in a run, which has its own /tmp"
        ));
    }
    Ok(found)
}

/// A port nobody listened at a moment ago.
pub fn free_port(side: &Side) -> Result<u16, String> {
    let listener = side.within(|| TcpListener::bind((side.address, 0)));
    let address = listener.and_then(|listener| listener.local_addr());
    Ok(address.map_err(|error| format!("a free port: {error}"))?.port())
}

/// A process and its children.
pub struct Daemon {
    process: Child,
    name: String,
    log: PathBuf,
}

impl Daemon {
    /// Starts `command` in a network; what it says goes to `log`.
    pub fn start(side: &Side, mut command: Command, log: &Path) -> Result<Self, String> {
        let name = command.get_program().to_string_lossy().into_owned();
        let told = |error: std::io::Error| format!("{name}: {error}");
        let file = File::options()
            .create(true)
            .append(true)
            .open(log)
            .map_err(told)?;
        command
            .stdout(Stdio::from(file.try_clone().map_err(told)?))
            .stderr(Stdio::from(file))
            .process_group(0);
        let process = side.within(|| command.spawn()).map_err(told)?;
        Ok(Self {
            process,
            name,
            log: log.to_owned(),
        })
    }

    /// Waits until it logs `words`; an error with its log if it ends before.
    pub fn await_words(&mut self, words: &str) -> Result<(), String> {
        let (process, log) = (&mut self.process, &self.log);
        let found = await_event(words, || {
            let text = std::fs::read_to_string(log).unwrap_or_default();
            if text.contains(words) {
                return Some(Ok(()));
            }
            let status = process.try_wait().ok().flatten()?;
            Some(Err(format!("{status}\n{text}")))
        });
        found.map_err(|problem| format!("{}: {problem}", self.name))
    }

    pub fn id(&self) -> Option<i32> {
        i32::try_from(self.process.id()).ok()
    }

    pub fn log(&self) -> &Path {
        &self.log
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if let Some(group) = self.id() {
            let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
        }
        let _ = self.process.wait();
    }
}
