//! Why a build fails here that may work elsewhere: read from what cargo, the compiler and build scripts say. One hint a kind.

use std::path::{Path, PathBuf};

use toml::{Table, Value};

use super::{messages::Messages, sources};

/// What a hint is made from.
pub(super) struct Failure<'a> {
    pub(super) messages: &'a Messages,
    /// The files that were compiled, and the folders of the package and its workspace in them.
    pub(super) tree: &'a Path,
    pub(super) package: &'a str,
    /// The flag that chooses the profile.
    pub(super) flag: &'a str,
    /// Whether the build could write into the project's own folder.
    pub(super) writable: bool,
}

impl Failure<'_> {
    /// What to do about it.
    pub(super) fn hint(&self) -> String {
        let said = format!("{}{}", self.messages.cargo_error, self.messages.compiler_error);
        // Compilers quote in different ways in different languages.
        let said = said.replace(['\u{2018}', '\u{2019}'], "'");
        self.program(&said)
            .or_else(|| self.linker(&said))
            .or_else(|| self.target(&said))
            .or_else(|| library(&said))
            .or_else(|| features(&said))
            .or_else(|| self.compiler(&said))
            .or_else(|| not_sent(&said))
            .or_else(|| self.script(&said))
            .unwrap_or_else(|| self.other())
    }

    /// `could not execute process` `sccache …/rustc -vV`: a wrapper or compiler that is not here.
    fn program(&self, said: &str) -> Option<String> {
        let command = quoted(said, "could not execute process `")?;
        let program = command.split(' ').next().unwrap_or(command);
        let keys = ["rustc-wrapper", "rustc-workspace-wrapper", "rustc"];
        let named = self.configured(|table| {
            let build = table.get("build")?.as_table()?;
            keys.iter().find(|key| build.get(**key).and_then(Value::as_str).is_some_and(|value| is_named(program, value)))
        });
        let (key, file) = named?;
        Some(format!(
            "{} does not run on the server; build.{key} in {file} names it: {}",
            shown(program),
            install(program, "the key")
        ))
    }

    /// `linker` `mold` `not found`, or a linker that is not here and that `cc` was asked to use.
    fn linker(&self, said: &str) -> Option<String> {
        let line = said.lines().find(|line| line.contains("linker `") && line.contains("` not found"));
        if let Some(linker) = line.and_then(|line| quoted(line, "linker `")) {
            let named = self.configured(|table| {
                let mut targets = table.get("target")?.as_table()?.iter();
                let is_it =
                    |target: &Value| target.get("linker").and_then(Value::as_str).is_some_and(|value| is_named(linker, value));
                targets.find(|(_, target)| is_it(target)).map(|(name, _)| format!("target.{name}.linker"))
            });
            let by = named.map_or(String::new(), |(key, file)| format!("; {key} in {file} names it"));
            return Some(format!("the linker {} is not on the server{by}: {}", shown(linker), install(linker, "the key")));
        }
        let is_missing =
            ["cannot find 'ld'", "invalid linker name", "unrecognized command-line option '-fuse-ld", "cannot find `ld`"];
        if said.contains("linking with `") && is_missing.iter().any(|words| said.contains(words)) {
            // gcc names what it does not know; else the last one counts, as the toolchain itself asks for one as well.
            let unknown = said.split_once("unrecognized command-line option '-fuse-ld=").map(|(_, rest)| rest);
            let rest = unknown.or_else(|| said.rsplit_once("-fuse-ld=").map(|(_, rest)| rest))?;
            let linker = rest.split(['"', '\'', ' ', '`']).next()?;
            let named = self.configured(|table| table.to_string().contains(&format!("fuse-ld={linker}")).then_some(()));
            let by = named.map_or(String::new(), |((), file)| format!("; rustflags in {file} name it"));
            return Some(format!("the linker `{linker}` is not on the server{by}: {}", install(linker, "the flag")));
        }
        None
    }

    /// A target that is not installed, or that has no libraries of the kind that an app is.
    fn target(&self, said: &str) -> Option<String> {
        let key = |target: &str| {
            let named = self.configured(|table| {
                let value = table.get("build")?.as_table()?.get("target")?;
                let all = value.as_array().map_or(std::slice::from_ref(value), Vec::as_slice);
                all.iter().any(|value| value.as_str() == Some(target)).then_some(())
            });
            named.map_or("build.target".to_owned(), |((), file)| format!("build.target in {file}"))
        };
        if said.contains("does not support these crate types") {
            let target = quoted(said, "as the target `")?;
            return Some(format!(
                "an app that is a library is loaded into a process of the server's C library, which {target} cannot be: take {} out, or make the app a program (`src/main.rs`)",
                key(target)
            ));
        }
        let line = said.lines().find(|line| line.contains("target may not be installed"))?;
        let target = quoted(line, "the `")?;
        Some(format!(
            "the target {target} is not installed on the server: take {} out, and the server's own target is built; or, if programs for it run there: rustup target add {target}",
            key(target)
        ))
    }

    /// Another compiler than the server's is needed.
    fn compiler(&self, said: &str) -> Option<String> {
        let nightly =
            ["only accepted on the nightly compiler", "may not be used on the stable release channel", "requires a nightly"];
        if nightly.iter().any(|words| said.contains(words)) {
            return Some("this needs a nightly toolchain: name it in rust-toolchain.toml (`channel = \"nightly\"`), and have it installed on the server: rustup toolchain install nightly".into());
        }
        let is_old = said.contains("is not supported by the following package")
            || said.contains("cannot be built because it requires rustc");
        is_old.then(|| "the server's compiler is older than these packages need: name a newer one in rust-toolchain.toml, and have it installed on the server, or lower the packages' versions".into())
    }

    /// What a build script may do elsewhere.
    fn script(&self, said: &str) -> Option<String> {
        let says = |all: &[&str]| all.iter().any(|words| said.contains(words));
        if says(&["not a git repository", "could not find repository", "could not find git repository"]) {
            return Some(
                "builds have no .git: a build script, or the app itself with `option_env!`, finds the commit in the variable SHUTTLE_GIT_COMMIT; fall back to it where git fails".into(),
            );
        }
        let network = [
            "Could not resolve host",
            "Couldn't resolve host",
            "dns error",
            "failed to lookup address information",
            "Temporary failure in name resolution",
            "Network is unreachable",
            "network is unreachable",
        ];
        if says(&network) {
            return Some(
                "there is no network while compiling, only while dependencies are fetched: add what the build script downloads to the project, or to [build] assets in Shuttle.toml".into(),
            );
        }
        if says(&["Read-only file system", "os error 30", "code: 30"]) {
            let places = if self.writable {
                "a build script may write to OUT_DIR, to the project's own folder and to the temporary folder; all else is read-only"
            } else {
                "a build script may write to OUT_DIR and to the temporary folder; all else is read-only, and so is the project's own folder, as overlay mounts do not work on this server"
            };
            return Some(places.into());
        }
        if says(&["memory allocation of", "Cannot allocate memory", "SIGKILL"]) {
            return Some("the compiler ran out of memory: the server's limit is --max-build-memory-bytes for each process; lower `codegen-units` or `lto` may need less".into());
        }
        let program = [
            ("is `cmake` not installed", "cmake"),
            ("Could not find `protoc`", "protobuf-compiler"),
            ("pkg-config command could not be found", "pkg-config"),
            ("Unable to find libclang", "libclang-dev"),
            ("failed to find tool", "the tool"),
        ];
        program.iter().find(|(words, _)| said.contains(words)).map(|(_, package)| {
            format!("the build script needs a program or library that is not on the server: install {package} there")
        })
    }

    fn other(&self) -> String {
        let flag = self.flag;
        if self.messages.cargo_error.contains("failed to run custom build command") {
            return format!(
                "the build script's output is above; where `cargo build {flag}` works on your machine, look at what differs on the server: there is no network while compiling, no .git, no variable of your shell, and only the programs that are installed there"
            );
        }
        if self.messages.errors == 0 {
            return format!("cargo's output is above; try `cargo build {flag}` on your machine");
        }
        format!("the compiler's output is above; `cargo build {flag}` on your machine shows the same")
    }

    /// Looks through the configuration that cargo reads, the nearest first. Gives what was found, and the file.
    fn configured<T>(&self, find: impl Fn(&Table) -> Option<T>) -> Option<(T, String)> {
        let package = self.tree.join(self.package);
        let folders = package.ancestors().take_while(|folder| folder.starts_with(self.tree));
        let files = folders.flat_map(|folder| ["config", "config.toml"].map(|name| folder.join(".cargo").join(name)));
        files.filter(|file| file.is_file()).find_map(|file: PathBuf| {
            let shown = file.strip_prefix(self.tree).unwrap_or(&file).display().to_string();
            Some((find(&sources::read(&file, &shown).ok()?)?, shown))
        })
    }
}

/// A system's library that is not here.
fn library(said: &str) -> Option<String> {
    let name = quoted(said, "The system library `")
        .or_else(|| word_after(said, "unable to find library -l"))
        .or_else(|| word_after(said, "cannot find -l"));
    name.map(|name| {
        format!("the library `{name}` is not on the server: install its development package there (the `-dev` or `-devel` one), or choose a feature of the crate that compiles its own, such as `vendored` or `bundled`")
    })
}

/// `target` `app` `in package` `app` `requires the features:` `web`.
fn features(said: &str) -> Option<String> {
    let all = said.split_once("requires the features: ")?.1.lines().next()?;
    let names: Vec<String> = all.split(',').map(|name| format!("\"{}\"", name.trim().trim_matches('`'))).collect();
    Some(format!("choose them in Shuttle.toml:\n[build]\nfeatures = [{}]", names.join(", ")))
}

/// What the compiler finds on the owner's machine alone: variables of a shell, a database, files that git ignores.
fn not_sent(said: &str) -> Option<String> {
    if said.contains("set `DATABASE_URL` to use query macros") || said.contains("`DATABASE_URL` must be set") {
        return Some("there is no database while compiling: run `cargo sqlx prepare`, and commit the folder .sqlx".into());
    }
    if let Some(name) = quoted(said, "environment variable `").filter(|_| said.contains("not defined at compile time")) {
        return Some(format!(
            "the variables of your shell are not there when the server compiles: read {name} while the app runs (`cargo shuttle env set {name}=…`, or a secret), or name it in [env] of .cargo/config.toml"
        ));
    }
    let is_file = said.contains("couldn't read `") && said.contains("No such file");
    (is_file || said.contains("file not found for module")).then(|| {
        "a file that git ignores is not sent: where this compiles on your machine, add the file to [build] assets in Shuttle.toml; `cargo shuttle deploy --dry-run` lists what is sent".into()
    })
}

fn quoted<'a>(said: &'a str, before: &str) -> Option<&'a str> {
    said.split_once(before)?.1.split('`').next()
}

fn word_after<'a>(said: &'a str, before: &str) -> Option<&'a str> {
    said.split_once(before)?.1.split([' ', ':', '\n', '\'', '"']).next().filter(|word| !word.is_empty())
}

/// Whether a configured program is what could not be started: cargo makes a relative path an absolute one.
fn is_named(program: &str, configured: &str) -> bool {
    let configured = configured.trim_start_matches("./");
    program == configured || program.ends_with(&format!("/{configured}"))
}

/// A program without the folders above it, where it is one of the project's own.
fn shown(program: &str) -> String {
    if program.contains('/') {
        format!("`{}`, a path,", program.rsplit('/').next().unwrap_or(program))
    } else {
        format!("`{program}`")
    }
}

fn install(program: &str, what: &str) -> String {
    if program.contains('/') {
        format!("name one that is there, or take {what} out")
    } else {
        format!("have it installed there, for all users (in /usr/bin or /usr/local/bin), or take {what} out")
    }
}

#[cfg(test)]
mod tests {
    use std::process::Command;

    use super::*;

    /// What real cargo says to a build of these files, with `features` of its command line, and the hint that comes of it.
    fn hint(files: &[(&str, &str)], binary: bool) -> String {
        hints(files, binary)[0].clone()
    }

    /// The hints where the project's own folder can be written to, and where it cannot.
    fn hints(files: &[(&str, &str)], binary: bool) -> [String; 2] {
        let folder = tempfile::tempdir().unwrap();
        let tree = folder.path().join("tree");
        let manifest = "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n";
        let fixed =
            [("Cargo.toml", manifest), ("Cargo.lock", "version = 4\n\n[[package]]\nname = \"app\"\nversion = \"0.1.0\"\n")];
        for (path, text) in fixed.iter().chain(files) {
            let path = tree.join(path);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, text).unwrap();
        }
        let mut cargo = Command::new("cargo");
        cargo.arg("rustc").args(if binary { &["--bin", "app"][..] } else { &["--lib", "--crate-type", "cdylib"] });
        cargo.args(["--release", "--locked", "--offline", "--message-format", "json-diagnostic-rendered-ansi"]);
        cargo
            .env("LANG", "C.UTF-8")
            .env("CARGO_TERM_COLOR", "always")
            .env("CARGO_TARGET_DIR", folder.path().join("target"))
            .current_dir(&tree);
        // Whatever the tests themselves are compiled with.
        for name in ["RUSTFLAGS", "RUSTC_WRAPPER", "CARGO_ENCODED_RUSTFLAGS", "CARGO_BUILD_TARGET"] {
            cargo.env_remove(name);
        }
        let output = cargo.env("GIT_CEILING_DIRECTORIES", folder.path()).output().unwrap();
        assert!(!output.status.success(), "{files:?}");
        let mut messages = Messages::new("app", binary);
        String::from_utf8(output.stdout).unwrap().lines().for_each(|line| drop(messages.stdout(line)));
        String::from_utf8(output.stderr).unwrap().lines().for_each(|line| drop(messages.stderr(line)));
        [true, false]
            .map(|writable| Failure { messages: &messages, tree: &tree, package: "", flag: "--release", writable }.hint())
    }

    fn assert_hint(files: &[(&str, &str)], binary: bool, words: &[&str]) {
        let hint = hint(files, binary);
        assert!(words.iter().all(|word| hint.contains(word)), "{hint}\nshould say {words:?}");
        assert!(!hint.contains("shows the same"), "{hint}");
    }

    const LIB: (&str, &str) = ("src/lib.rs", "pub fn f() {}");

    fn config(text: &str) -> [(&'static str, &str); 2] {
        [LIB, (".cargo/config.toml", text)]
    }

    #[test]
    fn a_program_that_the_server_lacks_is_named_with_its_key_and_file() {
        for (key, value) in [("rustc-wrapper", "no-sccache"), ("rustc-workspace-wrapper", "tools/wrap"), ("rustc", "no-rustc")] {
            let text = format!("[build]\n{key} = \"{value}\"\n");
            let name = value.rsplit('/').next().unwrap();
            assert_hint(&config(&text), false, &[&format!("build.{key} in .cargo/config.toml"), &format!("`{name}`")]);
        }
    }

    #[test]
    fn a_linker_that_the_server_lacks_is_named_with_its_key_and_file() {
        let target = format!("{}-unknown-linux-gnu", std::env::consts::ARCH);
        let text = format!("[target.{target}]\nlinker = \"no-clang\"\n");
        assert_hint(
            &config(&text),
            false,
            &["the linker `no-clang` is not on the server", &format!("target.{target}.linker in .cargo/config.toml")],
        );
        let text = "[build]\nrustflags = [\"-Clink-arg=-fuse-ld=no-mold\"]\n";
        assert_hint(&config(text), false, &["the linker `no-mold` is not on the server", "rustflags in .cargo/config.toml"]);
        let main = "#[link(name = \"no-such-library\")] unsafe extern \"C\" { fn f(); } fn main() { unsafe { f() } }";
        assert_hint(&[("src/main.rs", main)], true, &["the library `no-such-library` is not on the server"]);
    }

    #[test]
    fn a_target_that_cannot_be_is_named_with_its_key_and_file() {
        let musl = format!("{}-unknown-linux-musl", std::env::consts::ARCH);
        let text = format!("[build]\ntarget = \"{musl}\"\n");
        assert_hint(&config(&text), false, &[&musl, "build.target in .cargo/config.toml", "src/main.rs"]);
        let text = "[build]\ntarget = [\"riscv64gc-unknown-linux-gnu\"]\n";
        assert_hint(
            &config(text),
            false,
            &["rustup target add riscv64gc-unknown-linux-gnu", "build.target in .cargo/config.toml"],
        );
        let said =
            "warning: the `a` feature is deprecated\n  = note: the `riscv64gc-unknown-linux-gnu` target may not be installed\n";
        let messages = Messages::new("app", false);
        let failure = Failure { messages: &messages, tree: Path::new("/none"), package: "", flag: "--release", writable: true };
        let hint = failure.target(said).unwrap();
        assert!(hint.starts_with("the target riscv64gc-unknown-linux-gnu is not installed"), "{hint}");
    }

    #[test]
    fn features_that_a_program_requires_are_to_be_chosen() {
        let manifest =
            "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\n[workspace]\n[features]\nweb = []\ntls = []\n
            [[bin]]\nname = \"app\"\npath = \"src/main.rs\"\nrequired-features = [\"web\", \"tls\"]\n";
        assert_hint(
            &[("Cargo.toml", manifest), ("src/main.rs", "fn main() {}")],
            true,
            &["features = [\"web\", \"tls\"]", "Shuttle.toml"],
        );
    }

    #[test]
    fn another_compiler_is_asked_for() {
        assert_hint(&config("[build]\nrustflags = [\"-Zthreads=2\"]\n"), false, &["rust-toolchain.toml", "nightly"]);
        assert_hint(&[("src/lib.rs", "#![feature(never_type)]")], false, &["rust-toolchain.toml", "nightly"]);
        let manifest =
            "[package]\nname = \"app\"\nversion = \"0.1.0\"\nedition = \"2024\"\nrust-version = \"1.999\"\n[workspace]\n";
        assert_hint(&[LIB, ("Cargo.toml", manifest)], false, &["rust-toolchain.toml", "newer"]);
    }

    #[test]
    fn what_a_build_script_finds_elsewhere() {
        let git = r#"fn main() {
            let git = std::process::Command::new("git").args(["rev-parse", "HEAD"]).output().unwrap();
            assert!(git.status.success(), "{}", String::from_utf8_lossy(&git.stderr));
        }"#;
        let write = r#"fn main() { std::fs::write("/sys/x", "").map_err(|_| std::io::Error::from_raw_os_error(30)).unwrap() }"#;
        let dns = r#"fn main() { std::net::TcpStream::connect("host.invalid:443").unwrap(); }"#;
        for (script, words) in [
            (git, "SHUTTLE_GIT_COMMIT"),
            (write, "OUT_DIR"),
            (dns, "no network while compiling"),
            (
                "fn main() { panic!(\"The system library `libpq` required by crate `pq-sys` was not found.\") }",
                "the library `libpq`",
            ),
            ("fn main() { std::process::exit(3) }", "look at what differs on the server"),
        ] {
            assert_hint(&[LIB, ("build.rs", script)], false, &[words]);
        }
        let [writable, read_only] = hints(&[LIB, ("build.rs", write)], false);
        assert!(writable.contains("may write to OUT_DIR, to the project's own folder"), "{writable}");
        assert!(read_only.contains("and so is the project's own folder") && read_only.contains("overlay mounts"), "{read_only}");
    }

    #[test]
    fn what_is_on_the_owners_machine_alone_is_named() {
        for (source, words) in [
            ("pub const KEY: &str = env!(\"NO_SUCH_KEY\");", &["NO_SUCH_KEY", "cargo shuttle env set", "[env]"][..]),
            (
                "compile_error!(\"set `DATABASE_URL` to use query macros online, or run `cargo sqlx prepare`\");",
                &["cargo sqlx prepare", ".sqlx"],
            ),
            ("pub const TEXT: &str = include_str!(\"ignored.txt\");", &["[build] assets", "--dry-run"]),
            ("mod ignored;", &["[build] assets", "--dry-run"]),
        ] {
            assert_hint(&[("src/lib.rs", source)], false, words);
        }
    }

    #[test]
    fn what_does_not_compile_anywhere_is_said_to() {
        let hint = hint(&[("src/lib.rs", "fn")], false);
        assert_eq!(hint, "the compiler's output is above; `cargo build --release` on your machine shows the same");
    }
}
