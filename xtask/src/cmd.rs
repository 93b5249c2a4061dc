//! Child processes: run one and mind its status, or find a program.

use std::{
    env,
    ffi::OsStr,
    os::unix::fs::PermissionsExt,
    path::{Path, PathBuf},
    process::{Child, Command, Output, Stdio},
    thread,
    time::{Duration, Instant},
};

use rustix::{
    event::{PollFd, PollFlags, Timespec, poll},
    process::{Pid, PidfdFlags, Signal, pidfd_open, pidfd_send_signal},
};

use crate::{
    error::{Error, Result},
    signals, ui,
};

/// How long a child may take to end by itself.
const GRACE: Duration = Duration::from_secs(2);

/// The cargo that started xtask, so that `cargo +toolchain xtask` stays with that toolchain.
pub(crate) fn cargo() -> Command {
    let mut command = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    without_cargo_run(&mut command);
    command
}

/// A program of the repository's own, with the environment as the user's shell has it.
pub(crate) fn own(program: &Path) -> Command {
    let mut command = Command::new(program);
    without_cargo_run(&mut command);
    command
}

/// Takes away what `cargo run` adds, which would speak of xtask's package to whatever is started.
fn without_cargo_run(command: &mut Command) {
    for (name, _) in env::vars_os() {
        let Some(name) = name.to_str() else { continue };
        if name.starts_with("CARGO_PKG_")
            || matches!(name, "CARGO_MANIFEST_DIR" | "CARGO_MANIFEST_PATH" | "CARGO_PRIMARY_PACKAGE")
        {
            command.env_remove(name);
        }
    }
}

/// The command as one would type it.
pub(crate) fn shown(command: &Command) -> String {
    let program = Path::new(command.get_program());
    let program = program.file_name().unwrap_or(program.as_os_str());
    std::iter::once(program).chain(command.get_args()).map(|part| quoted(&part.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

/// One word for a POSIX shell.
pub(crate) fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_ascii_alphanumeric() || "-_./=:,+@%".contains(c);
    if !word.is_empty() && word.chars().all(plain) { word.to_owned() } else { format!("'{}'", word.replace('\'', r"'\''")) }
}

/// Shows the command, runs it with the terminal as its output, and fails where it fails.
pub(crate) fn run(command: &mut Command) -> Result<()> {
    ui::note(format_args!("$ {}", shown(command)));
    quietly(command)
}

/// As [`run`], without showing the command.
pub(crate) fn quietly(command: &mut Command) -> Result<()> {
    let status = command.spawn().and_then(|mut child| {
        end_when_stopped(&child);
        child.wait()
    });
    let status = status.map_err(|error| cannot_start(command, &error))?;
    signals::check()?;
    if status.success() { Ok(()) } else { Err(Error::new(format!("`{}` failed: {status}", shown(command)))) }
}

/// The command's stdout; its stderr is the terminal's.
pub(crate) fn output(command: &mut Command) -> Result<String> {
    let output = command.stderr(Stdio::inherit()).output().map_err(|error| cannot_start(command, &error))?;
    signals::check()?;
    if !output.status.success() {
        return Err(Error::new(format!("`{}` failed: {}", shown(command), output.status)));
    }
    String::from_utf8(output.stdout).map_err(|_| Error::new(format!("`{}` printed something that is not UTF-8", shown(command))))
}

/// What a command printed.
#[derive(Debug)]
pub(crate) struct Captured {
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

/// Runs the command and keeps what it prints; fails, and shows the end of that, where it fails.
pub(crate) fn captured(command: &mut Command) -> Result<Captured> {
    let child = command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let output = child.and_then(|child| {
        end_when_stopped(&child);
        child.wait_with_output()
    });
    checked(command, &output.map_err(|error| cannot_start(command, &error))?)
}

/// The same for a command that has been run.
pub(crate) fn checked(command: &Command, output: &Output) -> Result<Captured> {
    signals::check()?;
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let captured = Captured { stdout: text(&output.stdout), stderr: text(&output.stderr) };
    if output.status.success() {
        return Ok(captured);
    }
    ui::tail(&format!("`{}`", shown(command)), &captured.stderr, 30);
    Err(Error::new(format!("`{}` failed: {}", shown(command), output.status)))
}

/// Interrupts the child once xtask has been told to stop. After Ctrl-C in a terminal it ends by itself, as the signal
/// reaches both, and is given the time for it; a signal to xtask alone does not reach it.
pub(crate) fn end_when_stopped(child: &Child) {
    // A descriptor of the process: its number may be another one's once it has been waited for.
    let Ok(process) = pidfd_open(Pid::from_child(child), PidfdFlags::empty()) else { return };
    thread::spawn(move || {
        let mut since: Option<Instant> = None;
        loop {
            let pause = Timespec { tv_sec: 0, tv_nsec: 100_000_000 };
            let ended = poll(&mut [PollFd::new(&process, PollFlags::IN)], Some(&pause));
            if ended.is_ok_and(|ended| ended > 0) {
                return;
            }
            if signals::stopped() && since.get_or_insert_with(Instant::now).elapsed() > GRACE {
                let _ = pidfd_send_signal(&process, Signal::INT);
                return;
            }
        }
    });
}

/// Whether the command can be run and succeeds; it prints nothing.
pub(crate) fn succeeds(command: &mut Command) -> bool {
    command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null()).status().is_ok_and(|status| status.success())
}

fn cannot_start(command: &Command, error: &std::io::Error) -> Error {
    Error::new(format!("cannot run `{}`: {error}", shown(command)))
}

/// Where a program is: in PATH, or in one of `more` (an ordinary user's PATH often lacks the `sbin` folders).
pub(crate) fn find(program: &str, more: &[PathBuf]) -> Option<PathBuf> {
    let path = env::var_os("PATH").unwrap_or_default();
    env::split_paths(&path).chain(more.iter().cloned()).map(|folder| folder.join(program)).find(|file| is_executable(file))
}

fn is_executable(file: &Path) -> bool {
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

/// A PATH with `folder` before everything else.
pub(crate) fn path_with(folder: &Path, rest: Option<&OsStr>) -> std::ffi::OsString {
    let mut path = folder.as_os_str().to_owned();
    if let Some(rest) = rest.filter(|rest| !rest.is_empty()) {
        path.push(":");
        path.push(rest);
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("--api=127.0.0.1:0"), "--api=127.0.0.1:0");
        assert_eq!(quoted("it's"), r"'it'\''s'");
        assert_eq!(quoted(""), "''");
    }

    #[test]
    fn programs_are_found_where_path_does_not_look() {
        assert_eq!(find("sh", &[]).map(|file| file.file_name().map(ToOwned::to_owned)), Some(Some("sh".into())));
        assert_eq!(find("no-such-program-anywhere", &["/bin".into()]), None);
    }
}
