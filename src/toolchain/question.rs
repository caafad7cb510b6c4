//! One question to a program of the toolchain: what is asked, and the bounded way to ask it.
//!
//! Never interprets an answer. Everything discovery learns from running programs goes through a [`Run`], so
//! that it can be replayed from recorded answers.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{self, Read};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use nix::sys::signal::{Signal, killpg};
use nix::unistd::Pid;

use crate::config::env;
use crate::host::process::command;
use crate::host::terminal::{self, Terminal};

/// Time one question may take; a cold 230 MB clang on a slow disk needs about two seconds.
pub const TIME_LIMIT: Duration = Duration::from_secs(10);
/// Bytes kept of each output stream; predefined macros are about 20 kB.
pub const ANSWER_LIMIT: u64 = 4 << 20;
/// Pause between two looks at a program that closed its output and has not ended yet.
const EXIT_POLL: Duration = Duration::from_millis(1);

/// A program to run with exactly these arguments and this environment, its input empty.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Question {
    /// Absolute path of the program; also its `argv[0]`.
    pub program: PathBuf,
    /// Its further arguments.
    pub arguments: Vec<OsString>,
    /// Its whole environment.
    pub environment: Vec<(OsString, OsString)>,
    /// Where it runs; `/` for what does not depend on it.
    pub directory: PathBuf,
}

/// What a program answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Answer {
    /// Whether it exited with 0.
    pub success: bool,
    /// Its standard output, at most [`ANSWER_LIMIT`] bytes.
    pub stdout: Vec<u8>,
    /// Its standard error, at most [`ANSWER_LIMIT`] bytes.
    pub stderr: Vec<u8>,
}

/// Why there is no answer.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The program could not be started or its output not be read.
    #[error("cannot run {}", program.display())]
    Start {
        /// The program.
        program: PathBuf,
        /// What the kernel answered.
        source: io::Error,
    },
    /// The program was killed after [`TIME_LIMIT`].
    #[error("{} gave no answer within {} s", program.display(), TIME_LIMIT.as_secs())]
    TimedOut {
        /// The program.
        program: PathBuf,
    },
    /// The program wrote more than [`ANSWER_LIMIT`].
    #[error("{} wrote more than {ANSWER_LIMIT} bytes", program.display())]
    TooLong {
        /// The program.
        program: PathBuf,
    },
}

/// How questions are asked: [`ask`], or a replay of recorded answers.
pub type Run<'a> = dyn Fn(&Question) -> Result<Answer, RunError> + 'a;

/// Runs the program of `question` and waits for it, within [`TIME_LIMIT`] and [`ANSWER_LIMIT`]. When time is
/// up its whole process group is killed, so that no `cc1` outlives its driver. Blocks the calling thread.
pub fn ask(question: &Question) -> Result<Answer, RunError> {
    ask_within(question.program.as_os_str(), question, [None; 3], TIME_LIMIT)
}

/// As [`ask`], with `argv0` in place of the program's path, and with terminals of these sizes as standard input, output
/// and error; without one its input is empty and its output a pipe.
pub fn ask_as(
    argv0: &OsStr,
    question: &Question,
    terminals: [Option<Terminal>; 3],
) -> Result<Answer, RunError> {
    ask_within(argv0, question, terminals, TIME_LIMIT)
}

fn ask_within(
    argv0: &OsStr,
    question: &Question,
    terminals: [Option<Terminal>; 3],
    limit: Duration,
) -> Result<Answer, RunError> {
    let deadline = Instant::now() + limit;
    let program = || question.program.clone();
    let start_error = |source| RunError::Start {
        program: program(),
        source,
    };
    let [stdin, stdout, stderr] = terminal::open_all(terminals).map_err(start_error)?;
    let (_ours, stdin) = split(stdin, Stdio::null());
    let (stdout_terminal, stdout) = split(stdout, Stdio::piped());
    let (stderr_terminal, stderr) = split(stderr, Stdio::piped());
    let mut asked = command(&question.program, &question.directory);
    asked
        .arg0(argv0)
        .args(&question.arguments)
        .envs(question.environment.iter().map(|(name, value)| (name, value)))
        // A program that stands in for a compiler and calls our link must not come back here with its own question.
        .env(env::QUICC_DISABLE, "1")
        .env(env::QUICC_CALLERS, &question.program)
        .stdin(stdin)
        .stdout(stdout)
        .stderr(stderr)
        .process_group(0);
    let mut child = asked.spawn().map_err(start_error)?;
    // A terminal does not end while a copy of the program's descriptor is open.
    drop(asked);
    let stdout = stdout_terminal.map(collect);
    let stderr = stderr_terminal.map(collect);
    let outputs = (
        stdout.or_else(|| child.stdout.take().map(collect)),
        stderr.or_else(|| child.stderr.take().map(collect)),
    );
    let answer = gather(&mut child, outputs, deadline);
    if !matches!(answer, Ok(Some(_))) {
        end(&mut child);
    }
    let answer = answer
        .map_err(start_error)?
        .ok_or_else(|| RunError::TimedOut { program: program() })?;
    if answer.stdout.len().max(answer.stderr.len()) as u64 > ANSWER_LIMIT {
        return Err(RunError::TooLong { program: program() });
    }
    Ok(answer)
}

/// Our end of the terminal, if there is one, and what the program gets: its end, or else `other`.
fn split(pair: Option<terminal::Pair>, other: Stdio) -> (Option<File>, Stdio) {
    match pair {
        Some(pair) => (Some(pair.ours), pair.programs.into()),
        None => (None, other),
    }
}

/// A stream's content, delivered once.
type Output = Receiver<io::Result<Vec<u8>>>;

/// Reads `stream` on a thread of its own, at most one byte beyond the limit. The thread ends with the stream;
/// it is not joined, because a descendant that left the process group may keep the stream open.
fn collect(stream: impl Read + Send + 'static) -> Output {
    let (sender, receiver) = channel();
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        let read = match stream.take(ANSWER_LIMIT + 1).read_to_end(&mut bytes) {
            // How a terminal's end shows.
            Err(error) if error.raw_os_error() == Some(nix::libc::EIO) => Ok(()),
            read => read.map(|_| ()),
        };
        let _ = sender.send(read.map(|()| bytes));
    });
    receiver
}

/// The whole answer, or `None` when the deadline passed first.
fn gather(
    child: &mut Child,
    (stdout, stderr): (Option<Output>, Option<Output>),
    deadline: Instant,
) -> io::Result<Option<Answer>> {
    let mut contents = [Vec::new(), Vec::new()];
    for (content, output) in contents.iter_mut().zip([stdout, stderr]) {
        let Some(output) = output else { continue };
        match output.recv_timeout(deadline.saturating_duration_since(Instant::now())) {
            Ok(bytes) => *content = bytes?,
            Err(RecvTimeoutError::Timeout) => return Ok(None),
            Err(RecvTimeoutError::Disconnected) => return Err(io::ErrorKind::BrokenPipe.into()),
        }
    }
    while Instant::now() < deadline {
        if let Some(status) = child.try_wait()? {
            let [stdout, stderr] = contents;
            return Ok(Some(Answer {
                success: status.success(),
                stdout,
                stderr,
            }));
        }
        std::thread::sleep(EXIT_POLL);
    }
    Ok(None)
}

/// Kills the process group that `child` leads and reaps `child`.
fn end(child: &mut Child) {
    if let Ok(group) = i32::try_from(child.id()) {
        let _ = killpg(Pid::from_raw(group), Signal::SIGKILL);
    }
    let _ = child.kill();
    let _ = child.wait();
}

#[cfg(test)]
mod tests {
    use super::*;

    fn shell(script: &str) -> Question {
        Question {
            program: "/bin/sh".into(),
            arguments: vec!["-c".into(), script.into()],
            environment: vec![("GREETING".into(), "hello".into())],
            directory: "/".into(),
        }
    }

    #[test]
    fn both_streams_and_the_status_are_kept_apart() {
        let answer = ask(&shell("echo $GREETING; pwd; echo oops >&2; exit 3")).unwrap();
        let expected = Answer {
            success: false,
            stdout: b"hello\n/\n".into(),
            stderr: b"oops\n".into(),
        };
        assert_eq!(answer, expected);
        assert!(ask(&shell("cat")).unwrap().success, "standard input is empty");
    }

    #[test]
    fn a_program_can_be_called_by_another_name() {
        let mut named = shell("");
        named.arguments = vec!["-c".into(), "echo $0".into()];
        assert_eq!(ask(&named).unwrap().stdout, b"/bin/sh\n");
        let called = ask_as("cc".as_ref(), &named, [None; 3]).unwrap();
        assert_eq!(called.stdout, b"cc\n");
    }

    #[test]
    fn a_program_finds_the_terminals_it_is_given() {
        let size = Terminal {
            rows: 24,
            columns: 71,
            width: 0,
            height: 0,
        };
        let mut tells =
            shell("test -t 0 && stty size; test -t 1 || echo pipe; test -t 2 && echo terminal >&2");
        tells.environment.push(("PATH".into(), "/usr/bin:/bin".into()));
        let answer = ask_as("sh".as_ref(), &tells, [Some(size), None, Some(size)]).unwrap();
        assert_eq!(answer.stdout, b"24 71\npipe\n");
        assert_eq!(answer.stderr, b"terminal\n", "unchanged");
    }

    #[test]
    fn a_silent_program_is_killed_with_its_children() {
        let limit = Duration::from_millis(50);
        let hung = shell("sleep 1000 & sleep 1000");
        let ask_within =
            |question: &Question, limit| super::ask_within("sh".as_ref(), question, [None; 3], limit);
        assert!(matches!(ask_within(&hung, limit), Err(RunError::TimedOut { .. })));
        let closed = shell("exec >&- 2>&-; sleep 1000");
        assert!(matches!(
            ask_within(&closed, limit),
            Err(RunError::TimedOut { .. })
        ));
    }

    #[test]
    fn an_endless_answer_is_refused() {
        assert!(matches!(ask(&shell("yes")), Err(RunError::TooLong { .. })));
    }

    #[test]
    fn an_absent_program_is_named() {
        let question = Question {
            program: "/absent/cc".into(),
            arguments: vec![],
            environment: vec![],
            directory: "/".into(),
        };
        assert_eq!(ask(&question).unwrap_err().to_string(), "cannot run /absent/cc");
    }
}
