//! Changes of a file, told line by line.

use std::{fmt, ops::Range};

/// The changes of one file.
#[derive(Debug)]
pub(crate) struct Edits {
    pub(crate) file: String,
    hunks: Vec<Hunk>,
}

/// Neighbouring lines that change.
#[derive(Debug, PartialEq, Eq)]
struct Hunk {
    /// The number of the first one.
    line: usize,
    old: Vec<String>,
    new: Vec<String>,
}

impl Edits {
    /// The lines that change where these ranges of bytes are replaced. A line of which nothing is left goes.
    pub(crate) fn of(file: String, text: &str, mut replacements: Vec<(Range<usize>, String)>) -> Self {
        replacements.sort_by_key(|(range, _)| (range.start, range.end));
        let (mut hunks, mut rest) = (Vec::new(), replacements.into_iter().peekable());
        while let Some((range, new)) = rest.next() {
            let start = text[..range.start].rfind('\n').map_or(0, |at| at + 1);
            let mut end = line_end(text, range.end);
            let mut written = format!("{}{new}", &text[start..range.start]);
            let mut at = range.end;
            while let Some((range, new)) = rest.next_if(|(range, _)| range.start <= end) {
                // One inside of another is gone with that.
                if range.start < at {
                    continue;
                }
                written.push_str(&text[at..range.start]);
                written.push_str(&new);
                at = range.end;
                end = line_end(text, at);
            }
            written.push_str(&text[at..end]);
            let lines = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
            let new = lines(&written).into_iter().filter(|line| !line.trim().is_empty()).collect();
            let line = text[..start].matches('\n').count() + 1;
            hunks.push(Hunk { line, old: lines(&text[start..end]), new });
        }
        Self { file, hunks }
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.hunks.is_empty()
    }
}

fn line_end(text: &str, from: usize) -> usize {
    text[from..].find('\n').map_or(text.len(), |at| from + at)
}

impl fmt::Display for Edits {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.file)?;
        for hunk in &self.hunks {
            for (index, old) in hunk.old.iter().enumerate() {
                write!(f, "\n{:5} - {old}", hunk.line + index)?;
            }
            // They stand where the old ones stood.
            for new in &hunk.new {
                write!(f, "\n{:5} + {new}", hunk.line)?;
            }
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn changes_of_one_line_are_told_together_and_an_empty_line_goes() {
        let text = "one two\nthree\nfour\nfive";
        let edits = Edits::of(
            "f.rs".into(),
            text,
            vec![(4..7, "2".into()), (0..3, "1".into()), (8..13, String::new()), (19..23, "5\n6".into())],
        );
        assert_eq!(edits.to_string(), "f.rs\n    1 - one two\n    1 + 1 2\n    2 - three\n    4 - five\n    4 + 5\n    4 + 6");
        assert!(Edits::of("f.rs".into(), text, vec![]).is_empty());
    }
}
