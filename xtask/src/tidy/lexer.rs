//! Just enough of Rust's lexical grammar to tell code, strings and comments apart.

/// What a byte of a source file belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Code,
    Text,
    Comment,
}

/// The source with every byte of another kind than `kept` as a space; line breaks stay, so lines keep their numbers.
pub(super) fn only(source: &str, kept: &[Kind]) -> String {
    let kinds = kinds(source.as_bytes());
    let bytes = source
        .bytes()
        .zip(kinds)
        .map(|(byte, kind)| if byte == b'\n' || (byte.is_ascii() && kept.contains(&kind)) { byte } else { b' ' })
        .collect();
    // Only ASCII is left.
    String::from_utf8(bytes).unwrap_or_default()
}

fn kinds(source: &[u8]) -> Vec<Kind> {
    let mut kinds = Vec::with_capacity(source.len());
    while kinds.len() < source.len() {
        let at = kinds.len();
        let rest = &source[at..];
        let after_word = at > 0 && is_word(source[at - 1]);
        let (kind, length) = token(rest, after_word);
        kinds.resize((at + length).min(source.len()), kind);
    }
    kinds
}

/// The kind of what begins here, and its length.
fn token(rest: &[u8], after_word: bool) -> (Kind, usize) {
    match rest {
        [b'/', b'/', ..] => (Kind::Comment, rest.iter().position(|byte| *byte == b'\n').unwrap_or(rest.len())),
        [b'/', b'*', ..] => (Kind::Comment, block_comment(rest)),
        [b'"', ..] => (Kind::Text, string(rest)),
        [b'\'', ..] => character(rest).map_or((Kind::Code, 1), |length| (Kind::Text, length)),
        [b'r', ..] if !after_word => raw_string(&rest[1..]).map_or((Kind::Code, 1), |length| (Kind::Text, 1 + length)),
        [b'b' | b'c', b'r', ..] if !after_word => {
            raw_string(&rest[2..]).map_or((Kind::Code, 2), |length| (Kind::Text, 2 + length))
        }
        _ => (Kind::Code, 1),
    }
}

fn is_word(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || byte == b'_' || !byte.is_ascii()
}

/// Block comments nest.
fn block_comment(rest: &[u8]) -> usize {
    let (mut depth, mut at) = (0, 0);
    while at + 1 < rest.len() {
        match &rest[at..at + 2] {
            b"/*" => (depth, at) = (depth + 1, at + 2),
            b"*/" => (depth, at) = (depth - 1, at + 2),
            _ => at += 1,
        }
        if depth == 0 {
            return at;
        }
    }
    rest.len()
}

fn string(rest: &[u8]) -> usize {
    let mut at = 1;
    while at < rest.len() {
        match rest[at] {
            b'\\' => at += 2,
            b'"' => return at + 1,
            _ => at += 1,
        }
    }
    rest.len()
}

/// `"…"` or `#"…"#`, with any number of `#`.
fn raw_string(rest: &[u8]) -> Option<usize> {
    let hashes = rest.iter().take_while(|byte| **byte == b'#').count();
    if rest.get(hashes) != Some(&b'"') {
        return None;
    }
    let end: Vec<u8> = [b'"'].into_iter().chain(std::iter::repeat_n(b'#', hashes)).collect();
    let from = hashes + 1;
    let found = rest[from..].windows(end.len()).position(|window| window == end);
    Some(found.map_or(rest.len(), |position| from + position + end.len()))
}

/// A character literal, as against a lifetime.
fn character(rest: &[u8]) -> Option<usize> {
    if rest.get(1) == Some(&b'\\') {
        return rest.iter().skip(3).position(|byte| *byte == b'\'').map(|position| position + 4);
    }
    // One character of up to four bytes, then the closing quote.
    let text =
        std::str::from_utf8(&rest[1..rest.len().min(5)]).or_else(|error| std::str::from_utf8(&rest[1..1 + error.valid_up_to()]));
    let length = text.ok()?.chars().next()?.len_utf8();
    (rest.get(1 + length) == Some(&b'\'')).then_some(length + 2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn code_text_and_comments_are_told_apart() {
        for (source, code) in [
            ("a // b\nc", "a     \nc"),
            ("a /* b /* c */ d */ e", "a                   e"),
            (r#"a "b \" // c" d"#, "a             d"),
            (r##"a r#"b " c"# d"##, "a            d"),
            (r#"a br"b" d"#, "a       d"),
            ("'a' 'b: &'static str", "    'b: &'static str"),
            (r"'\'' a '\u{1F600}' b", "     a             b"),
            ("'\u{e9}' a", "     a"),
            ("for\"x\"", "for   "),
            ("\"open", "     "),
        ] {
            assert_eq!(only(source, &[Kind::Code]), code, "{source}");
        }
    }

    #[test]
    fn strings_can_be_kept() {
        assert_eq!(only("a \"b\" // c", &[Kind::Code, Kind::Text]), "a \"b\"     ");
    }
}
