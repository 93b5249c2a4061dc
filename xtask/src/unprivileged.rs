//! The end-to-end tests a second time, by root on behalf of an ordinary user.
//!
//! Clone and toolchain are often below root's home, which nobody else may enter. So the test runs in a mount namespace of
//! its own, where repository, binaries and toolchain appear below a temporary folder; where namespaces are not to be had
//! (some containers), they are copied there.

use std::{
    env,
    ffi::OsStr,
    fs,
    os::unix::fs::chown,
    path::{Path, PathBuf},
    process::Command,
};

use serde_json::Value;

use crate::{
    cmd,
    error::{At, Error, Result},
    repo::{Repo, Temp},
    setup,
    test::{self, Options},
    ui,
};

/// `nobody`: it exists everywhere, and Postgres refuses to run for a user who does not.
const USER: u32 = 65534;

/// Mounts each pair of arguments up to `--` on one another, read-only, then becomes the rest of the arguments. Bind mounts
/// take the read-only flag only when they are mounted a second time.
const MOUNT: &str = r#"set -e
while [ "$1" != -- ]; do
    mount --bind "$1" "$2"
    mount -o remount,bind,ro "$2"
    shift 2
done
shift
exec "$@""#;

/// Where the user finds things: all of it below one folder.
struct View<'a> {
    folder: &'a Path,
    /// What the user sees, and where it really is.
    shown: Vec<(PathBuf, PathBuf)>,
}

pub(crate) fn test(repo: &Repo, bins: &Path, options: &Options) -> Result<()> {
    let program = test_program(repo)?;
    let relative = program
        .strip_prefix(bins)
        .map_err(|_| Error::new(format!("the test program {} does not lie below {}", program.display(), bins.display())))?;
    let temp = Temp::new("test")?;
    let view = View::new(&temp.path, repo, bins)?;
    let mut command = view.enter()?;
    command.arg(view.path("bin").join(relative)).args(&options.args);
    view.environment(&mut command);
    test::with_paths(&mut command, &view.path("bin"), &view.path("repo")).env(test::UNPRIVILEGED, "1");
    ui::note(format_args!("$ {} {}   (as nobody)", relative.display(), shown_args(options)));
    let result = cmd::quietly(&mut command);
    view.is_unmounted()?;
    result.map_err(|error| {
        if error.interrupted { error } else { Error::new("the end-to-end tests failed when run as an ordinary user (see above)") }
    })
}

fn shown_args(options: &Options) -> String {
    options.args.iter().map(|arg| cmd::quoted(&arg.to_string_lossy())).collect::<Vec<_>>().join(" ")
}

/// Builds the test program as `cargo test --workspace` does (other flags would compile the dependencies once more) and tells
/// where it is.
fn test_program(repo: &Repo) -> Result<PathBuf> {
    let args = ["test", "--workspace", "--locked", "--test", "e2e", "--no-run", "--message-format=json-render-diagnostics"];
    let messages = cmd::output(repo.cargo().args(args))?;
    executable(&messages).ok_or_else(|| Error::new("cargo built no test program named `e2e`"))
}

fn executable(messages: &str) -> Option<PathBuf> {
    messages
        .lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|message| message["target"]["name"] == "e2e" && message["profile"]["test"] == true)
        .find_map(|message| message["executable"].as_str().map(PathBuf::from))
}

impl<'a> View<'a> {
    fn new(folder: &'a Path, repo: &Repo, bins: &Path) -> Result<Self> {
        let sysroot = PathBuf::from(cmd::output(rustc().args(["--print", "sysroot"]))?.trim());
        let shown = [("repo", repo.root.as_path()), ("bin", bins), ("toolchain", &sysroot)]
            .map(|(name, real)| (folder.join(name), real.to_owned()))
            .to_vec();
        for (path, _) in &shown {
            fs::create_dir(path).at(path)?;
        }
        for name in ["home", "tmp"] {
            let path = folder.join(name);
            fs::create_dir(&path).at(&path)?;
        }
        copy_cargo_config(&folder.join("home"))?;
        for name in ["home", "home/.cargo", "tmp"] {
            let path = folder.join(name);
            chown(&path, Some(USER), Some(USER)).at(&path)?;
        }
        Ok(Self { folder, shown })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.join(name)
    }

    /// The start of a command line that becomes the user, with everything in its place.
    fn enter(&self) -> Result<Command> {
        let become_user = ["--reuid=65534", "--regid=65534", "--clear-groups", "--inh-caps=-all", "--"];
        if cmd::succeeds(Command::new("unshare").args(["--mount", "true"])) {
            let mut command = Command::new("unshare");
            command.args(["--mount", "--propagation=private", "sh", "-c", MOUNT, "sh"]);
            for (shown, real) in &self.shown {
                command.args([real, shown]);
            }
            command.args(["--", "setpriv"]).args(become_user);
            return Ok(command);
        }
        ui::note("no mount namespaces here: copying the repository, the binaries and the toolchain");
        for (shown, real) in &self.shown {
            copy(real, shown)?;
        }
        let mut command = Command::new("setpriv");
        command.args(become_user);
        Ok(command)
    }

    /// A login's environment and nothing of root's, but for what reaching the network takes.
    fn environment(&self, command: &mut Command) {
        let system = "/usr/local/bin:/usr/bin:/bin:/usr/local/sbin:/usr/sbin:/sbin";
        let kept = |name: &str| {
            setup::is_for_network(name)
                || ["LC_", "CARGO_HTTP_", "CARGO_NET_", "CARGO_REGISTRIES_", "CARGO_SOURCE_"]
                    .iter()
                    .any(|start| name.starts_with(start))
                || matches!(name, "LANG" | "TERM" | "TZ" | "NO_COLOR" | "RUST_BACKTRACE" | "RUST_LOG")
        };
        let kept: Vec<_> = env::vars().filter(|(name, _)| kept(name) && !name.ends_with("_TOKEN")).collect();
        command.env_clear().envs(kept);
        command.env("PATH", cmd::path_with(&self.path("toolchain/bin"), Some(OsStr::new(system))));
        command.env("HOME", self.path("home")).env("TMPDIR", self.path("tmp"));
        command.env("USER", "nobody").env("LOGNAME", "nobody").env("SHELL", "/bin/sh");
        command.current_dir(self.folder);
    }

    /// The folder is about to be removed with all that is in it. Were a mount visible from out here, that would be the
    /// repository: so this is looked at, not assumed.
    fn is_unmounted(&self) -> Result<()> {
        let mounts = fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let folder = self.folder.to_string_lossy();
        if mounts.lines().any(|line| line.split(' ').nth(4).is_some_and(|point| point.starts_with(&*folder))) {
            ui::error(&Error::new(format!("something is still mounted below {folder}; nothing is removed")));
            std::process::exit(1);
        }
        Ok(())
    }
}

fn rustc() -> Command {
    Command::new(env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
}

/// A mirror or a proxy that stands in root's configuration is needed by the other user as well; credentials are not.
fn copy_cargo_config(home: &Path) -> Result<()> {
    let to = home.join(".cargo");
    fs::create_dir(&to).at(&to)?;
    let from = env::var_os("CARGO_HOME").map(PathBuf::from).or_else(|| Some(PathBuf::from(env::var_os("HOME")?).join(".cargo")));
    let Some(from) = from.map(|folder| folder.join("config.toml")).filter(|file| file.is_file()) else { return Ok(()) };
    let to = to.join("config.toml");
    fs::copy(&from, &to).at(&from)?;
    chown(&to, Some(USER), Some(USER)).at(&to)
}

/// Copies a folder's content, without what a build left in it. (`target` of a toolchain or of the binaries is no such thing,
/// and does not occur there.)
fn copy(from: &Path, to: &Path) -> Result<()> {
    for entry in fs::read_dir(from).at(from)? {
        let entry = entry.at(from)?;
        if [".git", "target", "incremental", "build"].iter().any(|name| entry.file_name() == *name) {
            continue;
        }
        cmd::quietly(Command::new("cp").args(["-a", "--reflink=auto", "--"]).arg(entry.path()).arg(to))?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_test_program_is_found_among_cargos_messages() {
        let messages = concat!(
            r#"{"reason":"compiler-artifact","target":{"name":"e2e"},"profile":{"test":false},"executable":"/wrong"}"#,
            "\nnot json\n",
            r#"{"reason":"compiler-artifact","target":{"name":"e2e"},"profile":{"test":true},"executable":"/t/debug/deps/e2e-1"}"#,
        );
        assert_eq!(executable(messages), Some("/t/debug/deps/e2e-1".into()));
        assert_eq!(executable(""), None);
    }

    #[test]
    fn the_mount_script_goes_through_its_arguments() {
        let harmless = MOUNT.replace("mount ", "echo ");
        let words = ["a", "b", "--", "echo", "done"];
        let output = Command::new("sh").args(["-c", &harmless, "sh"]).args(words).output().unwrap();
        assert_eq!(String::from_utf8_lossy(&output.stdout), "--bind a b\n-o remount,bind,ro b\ndone\n");
    }
}
