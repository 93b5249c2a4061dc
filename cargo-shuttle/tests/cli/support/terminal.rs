//! A run on a terminal, with somebody who types. `script` of util-linux makes the terminal: it takes what is typed from its
//! stdin, gives what is shown to its stdout, and ends as the command does.

use std::{
    io::{Read as _, Write as _},
    process::{Child, ChildStdin, ChildStdout, Command, Stdio},
};

use tempfile::TempDir;

use super::Run;

pub(crate) const CTRL_C: &str = "\u{3}";

pub(crate) struct Terminal {
    child: Child,
    keys: ChildStdin,
    screen: ChildStdout,
    /// All that was shown until now.
    shown: Vec<u8>,
    _home: TempDir,
}

impl Terminal {
    pub(super) fn start(command: &Command, home: TempDir) -> Self {
        let words = std::iter::once(command.get_program()).chain(command.get_args());
        let quoted = words.map(|word| format!("'{}'", word.to_str().unwrap().replace('\'', r"'\''")));
        let line = format!("exec {}", quoted.collect::<Vec<_>>().join(" "));
        let mut script = Command::new("script");
        script.args(["--quiet", "--return", "--flush", "--command", &line, "/dev/null"]).env("SHELL", "/bin/sh");
        script.current_dir(command.get_current_dir().unwrap());
        for (name, value) in command.get_envs() {
            match value {
                Some(value) => script.env(name, value),
                None => script.env_remove(name),
            };
        }
        script.stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = script.spawn().expect("`script` of util-linux is needed for this test");
        let (keys, screen) = (child.stdin.take().unwrap(), child.stdout.take().unwrap());
        Self { child, keys, screen, shown: Vec::new(), _home: home }
    }

    /// Returns once this was shown.
    #[track_caller]
    pub(crate) fn shows(&mut self, text: &str) -> &mut Self {
        let mut piece = [0; 4096];
        while !self.text().contains(text) {
            let count = self.screen.read(&mut piece).unwrap();
            assert_ne!(count, 0, "it ended, and no `{text}` was shown in:\n{}", self.text());
            self.shown.extend_from_slice(&piece[..count]);
        }
        self
    }

    pub(crate) fn types(&mut self, keys: &str) -> &mut Self {
        self.keys.write_all(keys.as_bytes()).unwrap();
        self
    }

    /// Waits for the end. What was shown stands in `stderr`.
    pub(crate) fn end(mut self) -> Run {
        self.screen.read_to_end(&mut self.shown).unwrap();
        let code = self.child.wait().unwrap().code();
        Run { code, stdout: String::new(), stderr: self.text() }
    }

    fn text(&self) -> String {
        String::from_utf8_lossy(&self.shown).into_owned()
    }
}

impl Drop for Terminal {
    /// A test that failed leaves nothing: the terminal goes with `script`, and its end hangs the command up.
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}
