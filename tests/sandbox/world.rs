//! A mirror with a few programs in it, the directories around it, and the two users that tests run as.

#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    reason = "clippy sees tests only in test functions"
)]

use std::collections::BTreeSet;
use std::fs::{self, File, Permissions};
use std::future::Future;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::stat::Mode;
use nix::unistd::{Pid, geteuid, mkfifo};
use quicc::host::process;
use quicc::sandbox::{Bind, Limits, Plan, Report, SandboxError, Step, job_uid, run};
use tempfile::TempDir;
use tokio::sync::mpsc;

/// Far beyond what anything here takes on a loaded machine.
pub(crate) const GENEROUS: Duration = Duration::from_secs(60);

/// Somebody who owns nothing.
const NOBODY: &str = "64321";

const TOOLS: [&str; 13] = [
    "sh", "cat", "chmod", "head", "id", "ls", "mv", "rm", "sleep", "stat", "tail", "true", "unshare",
];

/// Runs `scenario` here and, if this is root, the test called `name` again as an unprivileged user.
pub(crate) fn as_each_user<F: Future<Output = ()>>(name: &str, scenario: impl FnOnce(World) -> F) {
    runtime().block_on(scenario(World::new()));
    if !geteuid().is_root() {
        return;
    }
    let directory = open_directory("quicc-test-");
    let test = directory.path().join("test");
    share(&std::env::current_exe().unwrap(), &test);
    share(&quicc(), &directory.path().join("quicc"));
    let output = process::command(Path::new("/usr/bin/setpriv"), Path::new("/"))
        .args(["--reuid", NOBODY, "--regid", NOBODY, "--clear-groups"])
        .arg(&test)
        .args(["--exact", name, "--nocapture"])
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stdout);
    assert!(
        said.contains("1 passed"),
        "as an unprivileged user: {said}{}",
        String::from_utf8_lossy(&output.stderr)
    );
}

pub(crate) fn runtime() -> tokio::runtime::Runtime {
    tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .unwrap()
}

/// The executable under test, where the present user may execute it.
pub(crate) fn quicc() -> PathBuf {
    let beside = std::env::current_exe().unwrap().with_file_name("quicc");
    if beside.exists() {
        beside
    } else {
        PathBuf::from(env!("CARGO_BIN_EXE_quicc"))
    }
}

fn share(from: &Path, to: &Path) {
    fs::hard_link(from, to)
        .or_else(|_| fs::copy(from, to).map(drop))
        .unwrap();
}

fn open_directory(prefix: &str) -> TempDir {
    let directory = tempfile::Builder::new()
        .prefix(prefix)
        .tempdir_in("/tmp")
        .unwrap();
    fs::set_permissions(directory.path(), Permissions::from_mode(0o755)).unwrap();
    directory
}

/// `root` is a mirror, `out` and `scratch` are directories that the job's user owns. All lie below a
/// directory that only the present user may enter.
pub(crate) struct World {
    directory: PathBuf,
    _removed_when_dropped: Option<TempDir>,
}

impl World {
    pub(crate) fn new() -> Self {
        let directory = tempfile::Builder::new()
            .prefix("quicc-world-")
            .tempdir_in("/tmp")
            .unwrap();
        let world = Self {
            directory: directory.path().to_owned(),
            _removed_when_dropped: Some(directory),
        };
        for name in ["bin", "proc", "dev", "out", "scratch", "build"] {
            fs::create_dir_all(world.root().join(name)).unwrap();
        }
        for name in ["out", "scratch"] {
            world.give_to_job(&world.host(name));
        }
        world.install();
        share(&quicc(), &world.quicc());
        world
    }

    /// A world that another process made and removes.
    pub(crate) fn at(directory: &Path) -> Self {
        Self {
            directory: directory.to_owned(),
            _removed_when_dropped: None,
        }
    }

    pub(crate) fn directory(&self) -> &Path {
        &self.directory
    }

    pub(crate) fn root(&self) -> PathBuf {
        self.directory.join("root")
    }

    /// The directory `name` beside the mirror, made if need be.
    pub(crate) fn host(&self, name: &str) -> PathBuf {
        let path = self.directory.join(name);
        fs::create_dir_all(&path).unwrap();
        path
    }

    pub(crate) fn give_to_job(&self, path: &Path) {
        if let Some((user, group)) = job_uid() {
            chown(path, Some(user), Some(group)).unwrap();
        }
    }

    /// The executable under test, under a name of this world's own.
    pub(crate) fn quicc(&self) -> PathBuf {
        let suffix = self.directory.to_str().unwrap().rsplit('-').next().unwrap();
        self.directory.join(format!("quicc-{suffix}"))
    }

    /// Makes a file of the mirror executable.
    pub(crate) fn make_executable(&self, file: &str) {
        fs::set_permissions(self.root().join(file), Permissions::from_mode(0o755)).unwrap();
    }

    fn install(&self) {
        let programs: Vec<PathBuf> = TOOLS
            .iter()
            .map(|tool| Path::new("/usr/bin").join(tool))
            .collect();
        for (tool, program) in TOOLS.iter().zip(&programs) {
            fs::copy(program, self.root().join("bin").join(tool)).unwrap();
        }
        let ldd = process::command(Path::new("/usr/bin/ldd"), Path::new("/"))
            .args(&programs)
            .output()
            .unwrap();
        let text = String::from_utf8(ldd.stdout).unwrap();
        let libraries: BTreeSet<&str> = text
            .lines()
            .filter(|line| line.starts_with('\t'))
            .flat_map(str::split_whitespace)
            .filter(|word| word.starts_with('/'))
            .collect();
        assert!(!libraries.is_empty(), "ldd says nothing");
        for library in libraries {
            let copy = self.root().join(&library[1..]);
            fs::create_dir_all(copy.parent().unwrap()).unwrap();
            fs::copy(library, copy).unwrap();
        }
    }

    /// The shell in this mirror with `out` at `/out`, in limits that nothing here comes near.
    pub(crate) fn plan(&self, script: &str) -> Plan {
        Plan {
            root: self.root(),
            output_directories: vec![Bind {
                source: self.host("out"),
                target: "/out".into(),
            }],
            protected: Vec::new(),
            scratch: Bind {
                source: self.host("scratch"),
                target: "/scratch".into(),
            },
            steps: vec![shell(script)],
            cwd: "/build".into(),
            env: vec![(b"PATH".to_vec(), b"/bin".to_vec())],
            umask: 0o022,
            terminals: [None; 3],
            limits: Limits {
                wall: GENEROUS,
                cpu: GENEROUS,
                memory_bytes: 1 << 30,
                processes: 64,
                file_bytes: 1 << 30,
                output_bytes: 64 << 20,
            },
        }
    }

    pub(crate) async fn run(&self, script: &str) -> Report {
        run(&self.quicc(), &self.plan(script)).await.unwrap()
    }

    pub(crate) async fn try_run(&self, plan: &Plan) -> Result<Report, SandboxError> {
        run(&self.quicc(), plan).await
    }

    /// Makes `out/pulse`, which shows from outside how long something inside holds it open.
    pub(crate) fn pulse(&self) -> Pulse {
        let path = self.host("out").join("pulse");
        mkfifo(&path, Mode::from_bits_truncate(0o600)).unwrap();
        self.give_to_job(&path);
        Pulse::of(path)
    }
}

/// The shell of a mirror with `script`.
pub(crate) fn shell(script: &str) -> Step {
    Step {
        program: "/bin/sh".into(),
        argv: vec![b"sh".to_vec(), b"-c".to_vec(), script.into()],
    }
}

/// Opens the pulse for as long as the shell or a child of it lives, and says so.
pub(crate) const BEAT: &str = "exec 3>/out/pulse; echo up >&3;";

/// The reading end of a pipe that a job holds open.
pub(crate) struct Pulse(mpsc::UnboundedReceiver<&'static str>);

impl Pulse {
    fn of(path: PathBuf) -> Self {
        let (sender, receiver) = mpsc::unbounded_channel();
        std::thread::spawn(move || {
            let mut reader = BufReader::new(File::open(path).unwrap());
            let mut line = String::new();
            reader.read_line(&mut line).unwrap();
            let _ = sender.send("up");
            reader.read_to_string(&mut line).unwrap();
            let _ = sender.send("gone");
        });
        Self(receiver)
    }

    /// Returns when something inside has opened it.
    pub(crate) async fn up(&mut self) {
        assert_eq!(self.next().await, Some("up"));
    }

    /// Returns when nothing holds it open any more.
    pub(crate) async fn gone(&mut self) {
        assert_eq!(self.next().await, Some("gone"));
    }

    async fn next(&mut self) -> Option<&'static str> {
        tokio::time::timeout(GENEROUS, self.0.recv())
            .await
            .expect("no sign of the job")
    }
}

/// Processes that run a program of `world`, inside or out, or ran its `quicc` and were not waited for.
pub(crate) fn left_over(world: &World) -> Vec<String> {
    let inside: BTreeSet<(u64, u64)> = fs::read_dir(world.root().join("bin"))
        .unwrap()
        .map(|entry| fs::metadata(entry.unwrap().path()).unwrap())
        .map(|metadata| (metadata.dev(), metadata.ino()))
        .collect();
    let quicc = world.quicc();
    let name = format!("Name:\t{}\n", quicc.file_name().unwrap().display());
    let runs = |process: &PathBuf| {
        let program = fs::metadata(process.join("exe")).map(|program| (program.dev(), program.ino()));
        program.is_ok_and(|program| inside.contains(&program))
            || fs::read_link(process.join("exe")).is_ok_and(|program| program == quicc)
            || fs::read_to_string(process.join("status")).is_ok_and(|status| status.starts_with(&name))
    };
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    processes
        .filter(runs)
        .map(|process| process.display().to_string())
        .collect()
}

/// The processes of quicc around the jobs of `world`.
pub(crate) fn supervisors(world: &World) -> Vec<Pid> {
    let processes = fs::read_dir("/proc").unwrap().map(|entry| entry.unwrap().path());
    processes
        .filter(|process| fs::read_link(process.join("exe")).is_ok_and(|program| program == world.quicc()))
        .map(|process| Pid::from_raw(process.file_name().unwrap().to_str().unwrap().parse().unwrap()))
        .collect()
}

/// Awaits all of `futures` at once.
pub(crate) async fn all<F: Future + Send>(futures: impl Iterator<Item = F>) -> Vec<F::Output> {
    let mut pending: Vec<_> = futures.map(Box::pin).collect();
    let mut done: Vec<Option<F::Output>> = pending.iter().map(|_| None).collect();
    std::future::poll_fn(|context| {
        for (future, output) in pending.iter_mut().zip(&mut done) {
            if output.is_none()
                && let std::task::Poll::Ready(value) = future.as_mut().poll(context)
            {
                *output = Some(value);
            }
        }
        if done.iter().all(Option::is_some) {
            std::task::Poll::Ready(())
        } else {
            std::task::Poll::Pending
        }
    })
    .await;
    done.into_iter().flatten().collect()
}
