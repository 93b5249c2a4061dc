//! `cargo xtask install`: the platform's three programs, beside each other in cargo's bin folder.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

use crate::{
    cmd,
    error::{At, Error, Result},
    repo::Repo,
    setup::{self, Scope},
    ui::{self, Steps},
};

pub(crate) const PROGRAMS: [&str; 3] = ["cargo-shuttle", "platform-server", "platform-runner"];

/// One build of all three (`cargo install` would make three), then a rename into place, which also replaces a program that is
/// running.
pub(crate) fn install(repo: &Repo, root: Option<PathBuf>) -> Result<()> {
    let folder =
        root.or_else(default_root).ok_or_else(|| Error::new("neither CARGO_HOME nor HOME is set").hint("say --root DIR"))?;
    let folder = std::path::absolute(&folder).at(&folder)?.join("bin");
    let mut steps = Steps::new();
    steps.run("Check what this machine has", || setup::setup(Scope::Build))?;
    let built = steps.run("Build for release", || repo.build_bins(true))?;
    steps.run(&format!("Install into {}", folder.display()), || {
        fs::create_dir_all(&folder).at(&folder)?;
        PROGRAMS.iter().try_for_each(|program| place(&built.join(program), &folder.join(program)))
    })?;
    steps.summary();
    setup::notes();
    if !env::split_paths(&env::var_os("PATH").unwrap_or_default()).any(|path| path == folder) {
        ui::note(format_args!("{} is not in your PATH", folder.display()));
    }
    for (program, other) in hidden(&folder) {
        ui::note(format_args!("your PATH finds another {program} first: {}", other.display()));
    }
    Ok(())
}

/// Programs of the same names that stand before the installed ones: on crates.io, `cargo-shuttle` is another product's.
fn hidden(folder: &Path) -> Vec<(&'static str, PathBuf)> {
    let real = |path: &Path| path.canonicalize().unwrap_or_else(|_| path.to_owned());
    PROGRAMS
        .iter()
        .filter_map(|&program| Some((program, cmd::find(program, &[])?)))
        .filter(|(program, found)| real(found) != real(&folder.join(program)))
        .collect()
}

/// Where `cargo install` would put them.
fn default_root() -> Option<PathBuf> {
    let set = |name| env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    set("CARGO_INSTALL_ROOT").or_else(|| set("CARGO_HOME")).or_else(|| Some(set("HOME")?.join(".cargo")))
}

fn place(from: &Path, to: &Path) -> Result<()> {
    let draft = to.with_extension(format!("new-{}", std::process::id()));
    // What fails is nearly always the target: a full disk, or a folder of somebody else's.
    let placed = fs::copy(from, &draft).and_then(|_| fs::rename(&draft, to));
    placed.inspect_err(|_| _ = fs::remove_file(&draft)).at(to)?;
    ui::note(to.display());
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::repo::Temp;

    #[test]
    fn a_program_is_replaced_whole_and_nothing_else_is_left() {
        let temp = Temp::new("install-test").unwrap();
        let (from, to) = (temp.path.join("from"), temp.path.join("to"));
        fs::write(&from, "new").unwrap();
        fs::write(&to, "old").unwrap();
        place(&from, &to).unwrap();
        assert_eq!(fs::read_to_string(&to).unwrap(), "new");
        assert!(place(&temp.path, &to).is_err());
        assert_eq!(fs::read_to_string(&to).unwrap(), "new");
        assert_eq!(fs::read_dir(&temp.path).unwrap().count(), 2);
    }
}
