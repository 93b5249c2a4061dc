//! The short part of a short URL: a row's number in base 62.

use std::fmt;

use rocket::request::FromParam;

const DIGITS: &[u8; 62] = b"0123456789abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ";

/// The number of a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Id(pub i64);

impl fmt::Display for Id {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut rest = self.0.unsigned_abs();
        let mut digits = Vec::new();
        while rest > 0 || digits.is_empty() {
            digits.push(char::from(DIGITS[(rest % 62) as usize]));
            rest /= 62;
        }
        f.write_str(&digits.iter().rev().collect::<String>())
    }
}

impl<'a> FromParam<'a> for Id {
    type Error = &'a str;

    fn from_param(text: &'a str) -> Result<Self, &'a str> {
        text.bytes()
            .try_fold(0_i64, |number, byte| {
                let digit = DIGITS.iter().position(|digit| *digit == byte)?;
                number.checked_mul(62)?.checked_add(digit as i64)
            })
            .filter(|_| !text.is_empty())
            .map(Self)
            .ok_or(text)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_back() {
        for number in [0, 1, 61, 62, 3843, 3844, i64::MAX] {
            assert_eq!(Id::from_param(&Id(number).to_string()), Ok(Id(number)));
        }
    }

    #[test]
    fn other_paths_are_no_ids() {
        for text in ["", "a-b", "é", "zzzzzzzzzzzzzzzz"] {
            assert_eq!(Id::from_param(text), Err(text));
        }
    }
}
