//! One call of a compiler, from the agent's answer to the end of this process.

use std::ffi::{OsStr, OsString};
use std::io::{BufReader, IsTerminal, Write};
use std::os::fd::AsFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::fcntl::{FcntlArg, FdFlag};
use nix::poll::{PollFd, PollFlags, PollTimeout};
use quicc_protocol::message::run::{After, Exit, StandardStreams, WindowSize};
use quicc_protocol::message::wrapper::{
    AgentDrains, CompileDone, CompileRequest, Published, RunLocally, StillWorking, VERSION,
};

use super::channel::{self, ChannelError};
use super::compiler::{self, Compiler, OurFiles};
use super::ledger::{self, Fate, Line};
use super::publish;
use super::start::{self, NoAgent};
use crate::config::env;
use crate::config::paths::Paths;
use crate::host::{limits, process};

/// An agent that works says so every two seconds; one that is silent for so long has stopped.
const AGENT_SILENCE: Duration = Duration::from_secs(10);
/// Exit codes of a shell for a command that is not found, or cannot be run.
const NOT_FOUND: u8 = 127;
const CANNOT_RUN: u8 = 126;
/// Reason codes only a wrapper knows.
const AGENT_LOST: &str = NoAgent::Lost.code();
const CANNOT_WRITE: &str = "cannot-write-output";
/// Nobody can read the compiler's messages.
const UNREAD: &str = "unread-messages";

/// A compiler call as it was made.
#[derive(Debug)]
pub struct Call {
    /// The compiler's name as called: `gcc`, `/usr/bin/cc`.
    pub name: OsString,
    /// Its arguments.
    pub arguments: Vec<OsString>,
}

/// What the agent made of the call.
enum Answer {
    /// Become the compiler; the socket holds the token.
    Local { fate: Option<Fate>, bytes: (u64, u64) },
    /// Publish and end with this code.
    Done { done: CompileDone, bodies: Vec<Vec<u8>> },
}

/// Runs the call. Returns an exit code when this process did not become the compiler.
pub fn run(call: &Call) -> u8 {
    // In a directory that was removed a compiler works on absolute paths; nobody else can be asked to.
    let cwd = std::env::current_dir();
    let paths = Paths::from_environment().ok();
    let asks = cwd.is_ok() && env::read(env::QUICC_DISABLE).is_none();
    let cwd = cwd.unwrap_or_default();
    let ours = match &paths {
        Some(paths) => OurFiles::find(&paths.links(), &[paths.installed(), paths.installed_wrapper()]),
        None => OurFiles::find(&PathBuf::new(), &[]),
    };
    let callers = env::read(env::QUICC_CALLERS).unwrap_or_default();
    let ours = ours.with_callers(&callers);
    let search = env::read("PATH").unwrap_or_default();
    let Some(compiler) = compiler::resolve(&call.name, &search, &cwd, &ours) else {
        return complain(&call.name, "command not found", NOT_FOUND);
    };
    let session = Session {
        call,
        compiler,
        ours,
        search,
        callers,
        cwd,
    };
    let Some(paths) = paths.filter(|_| asks) else {
        return session.become_compiler(None);
    };
    session.ask(&paths)
}

fn complain(name: &OsStr, problem: &str, code: u8) -> u8 {
    let _ = writeln!(std::io::stderr(), "quicc: {}: {problem}", name.display());
    code
}

struct Session<'a> {
    call: &'a Call,
    compiler: Compiler,
    ours: OurFiles,
    search: OsString,
    callers: OsString,
    cwd: PathBuf,
}

impl Session<'_> {
    fn ask(&self, paths: &Paths) -> u8 {
        let request = self.request();
        let silence = start::lost(paths);
        let was_silent = silence.is_there();
        let mut why = NoAgent::Lost;
        // The second try meets the agent that replaced a draining one.
        for _ in 0..if silence.counts_or_renews() { 0 } else { 2 } {
            let mut stream = match start::connect_or_start(paths) {
                Ok(stream) => stream,
                Err(no) => {
                    why = no;
                    break;
                }
            };
            let answer = converse(&mut stream, &request);
            match &answer {
                Ok(_) if was_silent => silence.clear(),
                Err(error) if error.is_silence() => silence.set(),
                _ => {}
            }
            match answer {
                Ok(Some(Answer::Local { fate, bytes })) => {
                    if let Some(fate) = fate {
                        record(fate, bytes);
                    }
                    return self.become_compiler(Some(&stream));
                }
                Ok(Some(Answer::Done { done, bodies })) => return self.finish(&mut stream, &done, &bodies),
                Ok(None) => {
                    why = NoAgent::Absent;
                    wait_for_drain(&mut stream);
                }
                Err(_) => {
                    why = NoAgent::Lost;
                    break;
                }
            }
        }
        let reason = why.code().to_owned();
        let fate = match why {
            NoAgent::Limited => Fate::Local(reason),
            NoAgent::Absent | NoAgent::Lost | NoAgent::Foreign => Fate::Fallback(reason),
        };
        record(fate, (0, 0));
        self.become_compiler(None)
    }

    fn request(&self) -> CompileRequest {
        let bytes = |text: &OsStr| text.as_bytes().to_vec();
        let argv = std::iter::once(&self.compiler.argv0).chain(&self.call.arguments);
        // The umask can only be read by setting it.
        let umask = nix::sys::stat::umask(nix::sys::stat::Mode::empty());
        nix::sys::stat::umask(umask);
        CompileRequest {
            version: VERSION,
            compiler: bytes(self.compiler.path.as_os_str()),
            argv: argv.map(|argument| bytes(argument)).collect(),
            cwd: bytes(self.cwd.as_os_str()),
            env: self
                .environment()
                .into_iter()
                .map(|(name, value)| (name.into_vec(), value.into_vec()))
                .collect(),
            umask: umask.bits(),
            streams: StandardStreams {
                stdin: terminal(&std::io::stdin()),
                stdout: terminal(&std::io::stdout()),
                stderr: terminal(&std::io::stderr()),
            },
            mount_namespace: mount_namespace(),
            inside_local_compile: env::read(env::QUICC_LOCAL).is_some(),
            resource_limits: limits::own(),
        }
    }

    /// The environment the compiler would have without quicc.
    fn environment(&self) -> Vec<(OsString, OsString)> {
        let mut variables = env::all();
        let ours = [env::QUICC_LEDGER, env::QUICC_LOCAL, env::QUICC_CALLERS];
        variables.retain(|(name, _)| !ours.iter().any(|own| name == own));
        for (name, value) in &mut variables {
            if name == "PATH" {
                *value = self.ours.strip(&self.search);
            }
        }
        variables
    }

    /// Writes outputs and text; an output that cannot be written is left to the compiler, whose message the user
    /// knows, and so is text for a pipe without a reader, of which some compilers die and take the output along.
    fn finish(&self, stream: &mut UnixStream, done: &CompileDone, bodies: &[Vec<u8>]) -> u8 {
        let [stdout, stderr, contents @ ..] = bodies else {
            record(
                Fate::Fallback(AGENT_LOST.to_owned()),
                (done.bytes_up, done.bytes_down),
            );
            return self.become_compiler(None);
        };
        let unread = is_unread(stdout, &std::io::stdout()) || is_unread(stderr, &std::io::stderr());
        let obstacle = if unread {
            Some(UNREAD)
        } else {
            let published = publish::publish(&self.cwd, &done.outputs, contents);
            published.is_err().then_some(CANNOT_WRITE)
        };
        let complete = obstacle.is_none();
        let _ = channel::send(stream, &Published { complete });
        if let Some(obstacle) = obstacle {
            record(Fate::Local(obstacle.to_owned()), (done.bytes_up, done.bytes_down));
            return self.become_compiler(Some(stream));
        }
        record(Fate::Remote, (done.bytes_up, done.bytes_down));
        // A full disk, or a reader that left just now, is the reader's affair.
        let _ = std::io::stdout()
            .write_all(stdout)
            .and_then(|()| std::io::stdout().flush());
        let _ = std::io::stderr().write_all(stderr);
        match done.exit {
            Exit::Code(code) => code,
            Exit::Signal(number) => die_by(number),
        }
    }

    /// The compilers around whatever our compiler calls: those around us, and it.
    fn callers_of_compiler(&self) -> OsString {
        let mut callers = self.callers.clone();
        if !callers.is_empty() {
            callers.push(":");
        }
        callers.push(&self.compiler.path);
        callers
    }

    /// Replaces this process by the compiler. The token's socket stays open in it.
    fn become_compiler(&self, token: Option<&UnixStream>) -> u8 {
        if let Some(stream) = token {
            let _ = nix::fcntl::fcntl(stream.as_fd(), FcntlArg::F_SETFD(FdFlag::empty()));
        }
        let mut command = process::command_here(&self.compiler.path);
        command
            .arg0(&self.compiler.argv0)
            .args(&self.call.arguments)
            .envs(self.environment())
            .env(env::QUICC_CALLERS, self.callers_of_compiler());
        if token.is_some() || env::read(env::QUICC_LOCAL).is_some() {
            command.env(env::QUICC_LOCAL, "1");
        }
        if let Some(ledger) = env::read(env::QUICC_LEDGER) {
            command.env(env::QUICC_LEDGER, ledger);
        }
        let error = command.exec();
        complain(self.compiler.path.as_os_str(), &error.to_string(), CANNOT_RUN)
    }
}

/// Ends this process by the signal that ended the compiler, without a core file of our own.
fn die_by(number: u8) -> u8 {
    use nix::sys::resource::{Resource, setrlimit};
    let _ = setrlimit(Resource::RLIMIT_CORE, 0, 0);
    if let Ok(signal) = nix::sys::signal::Signal::try_from(i32::from(number)) {
        let _ = nix::sys::signal::raise(signal);
    }
    number.saturating_add(128)
}

fn record(fate: Fate, (bytes_up, bytes_down): (u64, u64)) {
    if let Some(path) = env::read(env::QUICC_LEDGER) {
        ledger::append(
            path.as_ref(),
            &Line {
                fate,
                bytes_up,
                bytes_down,
            },
        );
    }
}

/// Whether there is text for a pipe that nobody can read from any more; pipe(7), "I/O on pipes and FIFOs".
fn is_unread(text: &[u8], stream: &impl AsFd) -> bool {
    let mut ready = PollFd::new(stream.as_fd(), PollFlags::POLLOUT);
    !text.is_empty()
        && nix::poll::poll(std::slice::from_mut(&mut ready), PollTimeout::ZERO).is_ok()
        && ready
            .revents()
            .is_some_and(|events| events.contains(PollFlags::POLLERR))
}

/// The size of the terminal a descriptor is, if it is one.
fn terminal(stream: &(impl AsFd + IsTerminal)) -> Option<WindowSize> {
    if !stream.is_terminal() {
        return None;
    }
    // A terminal that does not know its size answers zeros.
    let size = rustix::termios::tcgetwinsize(stream).ok();
    Some(size.map_or_else(WindowSize::default, |size| WindowSize {
        rows: size.ws_row,
        columns: size.ws_col,
        width: size.ws_xpixel,
        height: size.ws_ypixel,
    }))
}

fn mount_namespace() -> u64 {
    use std::os::unix::fs::MetadataExt;
    std::fs::metadata("/proc/self/ns/mnt").map_or(0, |data| data.ino())
}

/// `None`: the agent drains and another is to be asked.
fn converse(stream: &mut UnixStream, request: &CompileRequest) -> Result<Option<Answer>, ChannelError> {
    stream.set_read_timeout(Some(AGENT_SILENCE))?;
    stream.set_write_timeout(Some(AGENT_SILENCE))?;
    channel::send(stream, request)?;
    // Nothing follows an answer, so nothing read ahead is lost.
    let mut reader = BufReader::new(&*stream);
    loop {
        let received = channel::receive(&mut reader)?;
        if received.open::<StillWorking>()?.is_some() {
            continue;
        }
        if received.open::<AgentDrains>()?.is_some() {
            return Ok(None);
        }
        if let Some(local) = received.open::<RunLocally>()? {
            let bytes = (local.bytes_up, local.bytes_down);
            let fate = match (local.reason.is_empty(), local.fallback) {
                (true, _) => None,
                (false, true) => Some(Fate::Fallback(local.reason)),
                (false, false) => Some(Fate::Local(local.reason)),
            };
            return Ok(Some(Answer::Local { fate, bytes }));
        }
        let Some(done) = received.open::<CompileDone>()? else {
            return Err(ChannelError::Frame);
        };
        let written = done
            .outputs
            .iter()
            .filter(|output| matches!(output.after, After::Written { .. }))
            .count();
        if done.bodies.len() != written + 2 {
            return Err(ChannelError::Frame);
        }
        let bodies = done
            .bodies
            .iter()
            .map(|body| channel::receive_body(&mut reader, body))
            .collect::<Result<_, _>>()?;
        return Ok(Some(Answer::Done { done, bodies }));
    }
}

/// A draining agent has given up its socket's name when it closes the connection.
fn wait_for_drain(stream: &mut UnixStream) {
    let _ = std::io::copy(stream, &mut std::io::sink());
}
