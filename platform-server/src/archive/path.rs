//! Which names an entry may have: exactly those whose meaning nobody can argue about.

use super::{ArchiveLimits, error::PathFault};

/// The longest name of one file on Linux's file systems, in bytes.
const PART_BYTES: usize = 255;

/// Checks a path and returns it as text: relative, `/` between its parts, no `.`, no `..`, nothing empty.
pub(super) fn check<'a>(path: &'a [u8], limits: &ArchiveLimits) -> Result<&'a str, PathFault> {
    if path.is_empty() {
        return Err(PathFault::Empty);
    }
    if path.len() > limits.path_bytes {
        return Err(PathFault::TooLong(limits.path_bytes));
    }
    let text = str::from_utf8(path).map_err(|_| PathFault::NotUtf8)?;
    if text.starts_with('/') {
        return Err(PathFault::Absolute);
    }
    if text.contains('\\') {
        return Err(PathFault::Backslash);
    }
    if text.chars().any(char::is_control) {
        return Err(PathFault::Control);
    }
    let mut depth = 0;
    for part in text.split('/') {
        depth += 1;
        match part {
            ".." => return Err(PathFault::Parent),
            "" | "." => return Err(PathFault::NotPlain),
            _ if part.len() > PART_BYTES => return Err(PathFault::PartTooLong),
            _ => {}
        }
    }
    if depth > limits.path_depth {
        return Err(PathFault::TooDeep(limits.path_depth));
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_relative_paths_are_taken_as_they_are() {
        for path in ["a", "src/main.rs", ".cargo/config.toml", "a b/ü…", "...", "..a"] {
            assert_eq!(check(path.as_bytes(), &ArchiveLimits::default()), Ok(path));
        }
    }

    #[test]
    fn every_other_path_is_refused() {
        let limits = ArchiveLimits { path_bytes: 300, path_depth: 3, ..ArchiveLimits::default() };
        for (path, fault) in [
            ("", PathFault::Empty),
            ("/etc/passwd", PathFault::Absolute),
            ("..", PathFault::Parent),
            ("a/../b", PathFault::Parent),
            ("a//b", PathFault::NotPlain),
            ("./a", PathFault::NotPlain),
            ("a/", PathFault::NotPlain),
            ("a\\b", PathFault::Backslash),
            ("a\nb", PathFault::Control),
            ("a\0b", PathFault::Control),
            ("a\u{85}b", PathFault::Control),
            ("a/b/c/d", PathFault::TooDeep(3)),
            (&"x".repeat(301), PathFault::TooLong(300)),
            (&"x".repeat(256), PathFault::PartTooLong),
        ] {
            assert_eq!(check(path.as_bytes(), &limits), Err(fault), "{path:?}");
        }
        assert_eq!(check(b"a\xff", &limits), Err(PathFault::NotUtf8));
    }
}
