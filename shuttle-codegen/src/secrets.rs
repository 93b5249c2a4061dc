//! References to secrets in literals: `{secrets.NAME}`.

const OPEN: &str = "{secrets.";

/// Whether a name can be a secret's.
pub(crate) fn is_name(name: &str) -> bool {
    !name.is_empty() && name.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'_')
}

/// Whether a literal refers to secrets; an error where it tries to and does not.
pub(crate) fn refers(text: &str) -> Result<bool, String> {
    let mut rest = text;
    let mut refers = false;
    while let Some((_, from)) = rest.split_once(OPEN) {
        let Some((name, after)) = from.split_once('}') else {
            return Err(format!("`{OPEN}` has no `}}` after it: a secret is written `{{secrets.NAME}}`"));
        };
        if !is_name(name) {
            return Err(format!("`{{secrets.{name}}}` names no secret: a name is of letters, digits and `_`"));
        }
        refers = true;
        rest = after;
    }
    Ok(refers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_are_found_and_malformed_ones_told() {
        assert_eq!(refers("https://{secrets.KEY}@{secrets.HOST_2}/"), Ok(true));
        assert_eq!(refers("{secret} secrets.KEY {}"), Ok(false));
        for (text, told) in [
            ("{secrets.KEY", "no `}`"),
            ("{secrets.A}{secrets.}", "`{secrets.}`"),
            ("{secrets.a-b}", "a-b"),
            ("{secrets. A}", "letters"),
        ] {
            assert!(refers(text).unwrap_err().contains(told), "{text}");
        }
    }
}
