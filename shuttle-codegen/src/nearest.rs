//! The nearest known name to a mistaken one.

/// What to say of a name that is not known: the nearest one, where one is near, and all.
pub(crate) fn hint(mistaken: &str, known: &[&str]) -> String {
    let all = list(known);
    match nearest(mistaken, known) {
        Some(near) if known.len() > 1 => format!("did you mean `{near}`? Known are {all}"),
        Some(near) => format!("did you mean `{near}`?"),
        None if known.is_empty() => "it takes none".to_owned(),
        None => format!("known are {all}"),
    }
}

/// "`a`, `b` and `c`".
pub(crate) fn list(names: &[&str]) -> String {
    let quoted: Vec<_> = names.iter().map(|name| format!("`{name}`")).collect();
    match quoted.split_last() {
        Some((last, rest)) if !rest.is_empty() => format!("{} and {last}", rest.join(", ")),
        _ => quoted.concat(),
    }
}

/// One that is another word altogether is no help: at most a third of the letters may differ, and two always may.
fn nearest<'a>(mistaken: &str, known: &[&'a str]) -> Option<&'a str> {
    let mistaken = mistaken.to_lowercase();
    let (distance, near) = known.iter().map(|known| (distance(&mistaken, &known.to_lowercase()), *known)).min()?;
    (distance <= (near.len() / 3).max(2)).then_some(near)
}

/// How many letters are to be put in, left out or changed (Levenshtein), where two that changed places count as one.
fn distance(a: &str, b: &str) -> usize {
    let (a, b): (Vec<char>, Vec<char>) = (a.chars().collect(), b.chars().collect());
    let mut rows = vec![(0..=b.len()).collect::<Vec<_>>()];
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let changed = usize::from(a[i - 1] != b[j - 1]);
            let mut least = (rows[i - 1][j - 1] + changed).min(rows[i - 1][j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                least = least.min(rows[i - 2][j - 2] + 1);
            }
            row.push(least);
        }
        rows.push(row);
    }
    rows[a.len()][b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn distances_are_the_fewest_changes() {
        for (a, b, expected) in
            [("", "", 0), ("", "abc", 3), ("kitten", "sitting", 3), ("naem", "name", 1), ("größe", "grösse", 2)]
        {
            assert_eq!((distance(a, b), distance(b, a)), (expected, expected), "{a} {b}");
        }
    }

    #[test]
    fn only_what_is_near_is_offered() {
        const KNOWN: &[&str] = &["name", "extensions", "max_connections", "min_connections"];
        for (mistaken, near) in [
            ("max_conections", Some("max_connections")),
            ("Name", Some("name")),
            ("extension", Some("extensions")),
            ("password", None),
        ] {
            assert_eq!(nearest(mistaken, KNOWN), near);
        }
        assert_eq!(nearest("anything", &[]), None);
        assert_eq!(hint("nmae", &["name", "size"]), "did you mean `name`? Known are `name` and `size`");
    }
}
