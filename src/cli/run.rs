//! `quicc run -- CMD`: a build with its compilers wrapped, its exit code, and one line about what went where.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::ExitStatus;
use std::time::Instant;

use nix::errno::Errno;
use nix::fcntl::{Flock, FlockArg};
use nix::sys::signal::{Signal, kill};
use nix::unistd::Pid;
use tokio::signal::unix::{SignalKind, signal};

use super::report::Failure;
use super::{agent, links, tell};
use crate::config::env;
use crate::config::paths::Paths;
use crate::host::files::{PathContext, write_then_rename};
use crate::host::process;
use crate::wrapper::compiler;
use crate::wrapper::ledger::Summary;
use crate::wrapper::start;

/// Variables CMake reads at its first configuration for what stands before a compiler.
const CMAKE_LAUNCHERS: [&str; 2] = ["CMAKE_C_COMPILER_LAUNCHER", "CMAKE_CXX_COMPILER_LAUNCHER"];

/// Runs the build and returns its exit code. Whatever fails of ours is told and leaves the build alone.
pub(crate) fn run(command: &[OsString], summary: Option<&Path>) -> Result<u8, Failure> {
    let path = env::read("PATH").unwrap_or_default();
    let (paths, ledger) = match prepare(&path) {
        Ok(prepared) => prepared,
        Err(failure) => {
            tell(&format!("quicc: {failure}; the build runs without quicc"));
            return Ok(exit_code(run_build(command, &path, Vec::new())?));
        }
    };
    let started = Instant::now();
    let status = run_build(
        command,
        &with_links(&path, &paths.links()),
        variables(&paths, &ledger.path),
    )?;
    if let Err(failure) = report(&paths, &ledger, started.elapsed().as_secs_f64(), summary) {
        tell(&format!("quicc: {failure}"));
    }
    Ok(exit_code(status))
}

/// Puts links, agent and ledger in place.
fn prepare(path: &OsStr) -> Result<(Paths, Ledger), Failure> {
    let paths = Paths::from_environment()?;
    links::install(&paths, path)?;
    // A build that starts many wrappers at once finds the agent there; without one it runs locally and is told so.
    drop(start::connect_or_start(&paths));
    let ledger = Ledger::create(&paths)?;
    Ok((paths, ledger))
}

/// What a build gets into its environment besides `PATH`.
fn variables(paths: &Paths, ledger: &Path) -> Vec<(&'static str, PathBuf)> {
    let unset = CMAKE_LAUNCHERS
        .into_iter()
        .filter(|launcher| env::read(launcher).is_none());
    let launchers = unset.map(|launcher| (launcher, paths.installed_wrapper()));
    launchers
        .chain([(env::QUICC_LEDGER, ledger.to_owned())])
        .collect()
}

fn report(paths: &Paths, ledger: &Ledger, seconds: f64, summary: Option<&Path>) -> Result<(), Failure> {
    let counted = ledger.sum()?;
    tell(&render(&counted, seconds));
    if counted.remote == 0 && counted.local > 0 {
        tell(&format!(
            "quicc: nothing went remote: {}",
            why_nothing(paths, &counted)
        ));
    }
    if let Some(file) = summary {
        let json = serde_json::to_string(&counted)?;
        write_then_rename(file, json.as_bytes(), 0o666)?;
    }
    Ok(())
}

/// The file in which wrappers count; removed when the build is over.
struct Ledger {
    path: PathBuf,
    /// Held as long as its build: what nobody holds was left by one that was killed. `None` where files have no locks.
    _lock: Option<Flock<File>>,
}

/// How often a ledger is made that another build takes for one left behind before it is locked.
const LEDGER_ATTEMPTS: usize = 8;
/// Ledgers looked at for such as were left behind.
const LEDGERS_SWEPT: usize = 1024;

impl Ledger {
    fn create(paths: &Paths) -> Result<Self, Failure> {
        let directory = paths.state.join("runs");
        std::fs::create_dir_all(&directory).context("create", &directory)?;
        sweep(&directory);
        for _ in 0..LEDGER_ATTEMPTS {
            let path = crate::host::files::temporary_beside(&directory.join("ledger"));
            let file = File::create_new(&path).context("create", &path)?;
            match Flock::lock(file, FlockArg::LockExclusiveNonblock) {
                Err((_, Errno::EWOULDBLOCK)) => {}
                locked => {
                    let ledger = Self {
                        path,
                        _lock: locked.ok(),
                    };
                    // It may be gone between its creation and the lock.
                    if ledger.path.exists() {
                        return Ok(ledger);
                    }
                }
            }
        }
        Err(Failure::new(
            "other builds take away the file in which this one counts",
        ))
    }

    fn sum(&self) -> Result<Summary, Failure> {
        Ok(Summary::of(
            &std::fs::read_to_string(&self.path).context("read", &self.path)?,
        ))
    }
}

impl Drop for Ledger {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.path);
    }
}

/// Removes ledgers of builds that were killed.
fn sweep(directory: &Path) {
    let entries = std::fs::read_dir(directory)
        .into_iter()
        .flatten()
        .take(LEDGERS_SWEPT);
    for path in entries.flatten().map(|entry| entry.path()) {
        let held = File::open(&path).map(|file| Flock::lock(file, FlockArg::LockExclusiveNonblock));
        // Held until it is gone: whoever made it just now finds it so.
        if let Ok(Ok(_held)) = held {
            let _ = std::fs::remove_file(&path);
        }
    }
}

fn run_build(
    command: &[OsString],
    path: &OsStr,
    variables: Vec<(&'static str, PathBuf)>,
) -> Result<ExitStatus, Failure> {
    let [program, arguments @ ..] = command else {
        return Err(Failure::new("no command to run"));
    };
    let cwd = std::env::current_dir()?;
    let found = find(program, path, &cwd)
        .ok_or_else(|| Failure::new(format!("{}: command not found", program.display())))?;
    let mut build = process::command(&found, &cwd);
    build
        .args(arguments)
        .envs(env::all())
        .env("PATH", path)
        .envs(variables);
    std::os::unix::process::CommandExt::arg0(&mut build, program);
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    runtime.block_on(supervise(tokio::process::Command::from(build)))
}

/// Waits for the build. The terminal sends its signals to the whole group, so the build gets them by itself; a
/// signal for us alone is passed on.
async fn supervise(mut build: tokio::process::Command) -> Result<ExitStatus, Failure> {
    let mut interrupt = signal(SignalKind::interrupt())?;
    let mut terminate = signal(SignalKind::terminate())?;
    let mut hangup = signal(SignalKind::hangup())?;
    let mut child = build.spawn()?;
    let pid = child
        .id()
        .and_then(|id| i32::try_from(id).ok())
        .map(Pid::from_raw);
    let pass_on = |number: Signal| {
        if let Some(pid) = pid {
            let _ = kill(pid, number);
        }
    };
    loop {
        tokio::select! {
            status = child.wait() => return Ok(status?),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => pass_on(Signal::SIGTERM),
            _ = hangup.recv() => pass_on(Signal::SIGHUP),
        }
    }
}

fn with_links(path: &OsStr, links: &Path) -> OsString {
    let mut wrapped = links.as_os_str().to_owned();
    wrapped.push(":");
    wrapped.push(path);
    wrapped
}

/// A bare name through `PATH`, our links included: `quicc run -- gcc …` is wrapped as well.
fn find(program: &OsStr, path: &OsStr, cwd: &Path) -> Option<PathBuf> {
    let nobody = compiler::OurFiles::none();
    if program.as_bytes().contains(&b'/') {
        return Some(cwd.join(program));
    }
    compiler::resolve(program, path, cwd, &nobody).map(|found| found.path)
}

fn exit_code(status: ExitStatus) -> u8 {
    match (status.code(), status.signal()) {
        (Some(code), _) => u8::try_from(code & 0xff).unwrap_or(1),
        (None, Some(number)) => u8::try_from(128 + number).unwrap_or(1),
        (None, None) => 1,
    }
}

fn render(summary: &Summary, seconds: f64) -> String {
    let reasons: Vec<_> = summary
        .local_reasons
        .iter()
        .map(|(reason, count)| format!("{reason} {count}"))
        .collect();
    let reasons = if reasons.is_empty() {
        String::new()
    } else {
        format!(" ({})", reasons.join(", "))
    };
    format!(
        "quicc: {} units remote, {} local{reasons}, {} of them because the farm failed; {} up, {} down; {seconds:.1} s",
        summary.remote,
        summary.local,
        summary.fallbacks,
        bytes(summary.bytes_up),
        bytes(summary.bytes_down),
    )
}

/// Bytes as people read them, in powers of ten.
pub(super) fn bytes(count: u64) -> String {
    match count {
        0..1_000 => format!("{count} B"),
        1_000..1_000_000 => format!("{:.1} kB", count as f64 / 1e3),
        1_000_000..1_000_000_000 => format!("{:.1} MB", count as f64 / 1e6),
        _ => format!("{:.1} GB", count as f64 / 1e9),
    }
}

fn why_nothing(paths: &Paths, summary: &Summary) -> String {
    if summary.fallbacks == 0 {
        return "every unit has a reason of its own to stay here, see the counts above".to_owned();
    }
    match agent::query(paths) {
        Ok(status) => match status.problem {
            Some(problem) => problem,
            None => format!(
                "the farm ({}) granted no usable slot; see {}",
                status.farm,
                agent::log_file(paths).display()
            ),
        },
        Err(_) => format!(
            "no agent could be started; see {}",
            agent::log_file(paths).display()
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ledgers_of_killed_builds_are_removed_and_those_of_others_stay() {
        let home = tempfile::tempdir().unwrap();
        let variable = |name: &str| (name == "QUICC_HOME").then(|| home.path().into());
        let paths = Paths::derive(variable, 0).unwrap();
        let first = Ledger::create(&paths).unwrap();
        let left = paths.state.join("runs/.quicc-1-0-ledger.tmp");
        std::fs::write(&left, "remote - 1 1\n").unwrap();
        let second = Ledger::create(&paths).unwrap();
        assert!(!left.exists() && first.path.exists() && second.path.exists());
        drop((first, second));
        assert_eq!(std::fs::read_dir(paths.state.join("runs")).unwrap().count(), 0);
    }

    #[test]
    fn the_line_counts_reasons() {
        let text = "remote - 1500 20\nlocal linking 0 0\nlocal linking 0 0\nfallback builder-lost 0 0\n";
        assert_eq!(
            render(&Summary::of(text), 1.25),
            "quicc: 1 units remote, 3 local (builder-lost 1, linking 2), 1 of them because the farm failed; \
             1.5 kB up, 20 B down; 1.2 s"
        );
    }
}
