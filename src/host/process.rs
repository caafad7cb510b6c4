//! The only place that makes a `Command`: environment cleared, directory named, no descriptor inherited
//! but the three standard ones.

use std::path::Path;

/// A command for `program` with an empty environment, run in `cwd`.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub fn command(program: &Path, cwd: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command.env_clear().current_dir(cwd);
    command
}

/// A command for `program` with an empty environment that stays where this process is: for becoming `program`, which
/// works in a directory that was removed or renamed as well.
#[expect(clippy::disallowed_methods, reason = "this is the door")]
pub fn command_here(program: &Path) -> std::process::Command {
    let mut command = std::process::Command::new(program);
    command.env_clear();
    command
}

/// The same for a process awaited by a task; it is killed when its handle is dropped.
#[cfg(feature = "farm")]
pub fn async_command(program: &Path, cwd: &Path) -> tokio::process::Command {
    let mut command = tokio::process::Command::from(command(program, cwd));
    command.kill_on_drop(true);
    command
}
