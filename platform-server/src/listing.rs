//! Names in messages. Many come from code and files of others: each is told once, and so many of them that one can read them.

/// Most names that are told.
const MOST: usize = 20;
/// Longest of them, in characters.
const LONGEST: usize = 100;

/// A text of others, cut and fit for a terminal.
pub(crate) fn shown(text: &str) -> String {
    let mut shown: String = text.chars().take(LONGEST).flat_map(escaped).collect();
    if text.chars().nth(LONGEST).is_some() {
        shown.push('…');
    }
    shown
}

fn escaped(c: char) -> impl Iterator<Item = char> {
    let control = c.is_control();
    control.then(|| c.escape_default()).into_iter().flatten().chain((!control).then_some(c))
}

/// Different names, in their order: `a, b, c and 3 more`; `none` where there are none.
pub(crate) fn names<T: AsRef<str>>(all: impl IntoIterator<Item = T>) -> String {
    let mut different: Vec<String> = Vec::new();
    let mut more = std::collections::HashSet::new();
    for name in all {
        let name = shown(name.as_ref());
        if different.contains(&name) || more.contains(&name) {
            continue;
        }
        if different.len() < MOST {
            different.push(name);
        } else {
            more.insert(name);
        }
    }
    match (different.len(), more.len()) {
        (0, _) => "none".to_owned(),
        (_, 0) => different.join(", "),
        (_, more) => format!("{} and {more} more", different.join(", ")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_name_is_told_once_and_not_too_many_are() {
        assert_eq!(names::<&str>([]), "none");
        assert_eq!(names(["b", "a", "b"]), "b, a");
        assert_eq!(names(vec!["KEY"; 300]), "KEY");
        let many: Vec<String> = (0..300).chain(0..300).map(|number| format!("n{number}")).collect();
        let told = names(&many);
        assert!(told.starts_with("n0, n1, ") && told.ends_with("n19 and 280 more"), "{told}");
        assert_eq!(shown("a\u{1b}[2Jb"), r"a\u{1b}[2Jb");
        assert_eq!(shown(&"ü".repeat(200)), format!("{}…", "ü".repeat(100)));
    }
}
