//! Fast and optimised builds share a target folder, so that both find the same dependencies there. cargo tells their units
//! apart by a hash in the name of every file, but a cdylib has none: both write `deps/libapp.so`, and cargo would take
//! the one's for the other's, or a half of it where a build was ended. So what the other kind left is removed first.

use std::{fs, io, path::Path};

use platform_wire::BuildKind;

use super::shared::{is_hashed, real_folder};

/// Prepares for a build of this kind. `profile` is the profile's folder in `target`. Nothing runs that could write there.
pub(super) fn turn(target: &Path, profile: &str, kind: BuildKind) -> io::Result<()> {
    // Beside the target folder, out of the build's reach.
    let last = target.with_file_name(format!("last-{profile}"));
    let other = match fs::read_to_string(&last) {
        Ok(text) => text != kind.as_str(),
        Err(error) if error.kind() == io::ErrorKind::NotFound => false,
        Err(error) => return Err(error),
    };
    if other && let Some(folder) = real_folder(target, &[profile, "deps"])? {
        for entry in fs::read_dir(folder)? {
            let path = entry?.path();
            let is_library = path.extension().is_some_and(|extension| extension == "so");
            if is_library && path.file_stem().is_some_and(|stem| !is_hashed(stem)) {
                fs::remove_file(path)?;
            }
        }
    }
    fs::write(last, kind.as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_other_kind_left_under_the_same_name_goes() {
        let base = tempfile::tempdir().unwrap();
        let target = base.path().join("target");
        let deps = target.join("release/deps");
        fs::create_dir_all(&deps).unwrap();
        let names = ["libapp.so", "libmacro-0123456789abcdef.so", "libapp.rlib"];
        let write = || names.iter().for_each(|name| fs::write(deps.join(name), "").unwrap());
        let left = || names.map(|name| deps.join(name).exists());
        write();
        for (kind, expected) in [
            (BuildKind::Fast, [true, true, true]),
            (BuildKind::Fast, [true, true, true]),
            (BuildKind::Optimised, [false, true, true]),
        ] {
            turn(&target, "release", kind).unwrap();
            assert_eq!(left(), expected, "{kind:?}");
        }
        write();
        turn(&target, "dist", BuildKind::Fast).unwrap();
        turn(&target, "release", BuildKind::Optimised).unwrap();
        assert_eq!(left(), [true, true, true]);
        turn(&target, "release", BuildKind::Fast).unwrap();
        assert_eq!(left(), [false, true, true]);
    }

    #[test]
    fn a_link_that_a_build_left_is_not_followed() {
        let (base, outside) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        fs::write(outside.path().join("libapp.so"), "").unwrap();
        let target = base.path().join("target");
        fs::create_dir_all(target.join("release")).unwrap();
        std::os::unix::fs::symlink(outside.path(), target.join("release/deps")).unwrap();
        turn(&target, "release", BuildKind::Fast).unwrap();
        assert!(turn(&target, "release", BuildKind::Optimised).is_err());
        assert!(outside.path().join("libapp.so").exists());
    }
}
