//! The names of clusters and peers. Owns their grammar; never asks whether anything bears the name.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// Longest [`Name`], in bytes: a DNS label's bound (RFC 1035 §2.3.4), so that a name fits a certificate's
/// common name (64, RFC 5280 appendix A) and three of them fit a DNS name.
pub const NAME_LENGTH_MAX: usize = 63;

/// How much of an unacceptable text an error repeats, in characters.
const EXCERPT_LENGTH: usize = 80;

/// A cluster's or a peer's name: 1 to [`NAME_LENGTH_MAX`] bytes of `a-z 0-9 - _ .`, of which each part
/// between dots starts and ends with a letter or digit.
///
/// The rule about parts makes every name the head of a valid DNS name, which TLS needs to dial by.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Name(String);

/// The text is no [`Name`].
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error(
    "{text:?} is not a name: a name has 1 to {NAME_LENGTH_MAX} characters of a-z, 0-9, '-', '_' and '.', \
     and starts and ends with a letter or digit, as does each part between dots"
)]
pub struct NameError {
    /// The text, cut to its beginning.
    pub text: String,
}

impl Name {
    /// The name as text.
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl FromStr for Name {
    type Err = NameError;

    fn from_str(text: &str) -> Result<Self, NameError> {
        let fits = text.len() <= NAME_LENGTH_MAX && text.split('.').all(is_label);
        if fits {
            Ok(Self(text.to_owned()))
        } else {
            Err(NameError { text: excerpt(text) })
        }
    }
}

impl TryFrom<String> for Name {
    type Error = NameError;

    fn try_from(text: String) -> Result<Self, NameError> {
        text.parse()
    }
}

impl From<Name> for String {
    fn from(name: Name) -> Self {
        name.0
    }
}

impl fmt::Display for Name {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(&self.0)
    }
}

fn is_label(label: &str) -> bool {
    let alphanumeric = |byte: &u8| byte.is_ascii_lowercase() || byte.is_ascii_digit();
    let bytes = label.as_bytes();
    bytes.first().is_some_and(alphanumeric)
        && bytes.last().is_some_and(alphanumeric)
        && bytes
            .iter()
            .all(|byte| alphanumeric(byte) || matches!(byte, b'-' | b'_'))
}

/// The beginning of a text somebody else chose, short enough to print.
pub(crate) fn excerpt(text: &str) -> String {
    text.chars().take(EXCERPT_LENGTH).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(text: &str, is_name: bool) {
        assert_eq!(text.parse::<Name>().is_ok(), is_name, "{text:?}");
    }

    #[test]
    fn accepts_host_like_names() {
        for text in [
            "a",
            "7",
            "b17",
            "build-07.ci.example.com",
            "a_b",
            "0--0",
            &"x".repeat(63),
        ] {
            check(text, true);
        }
    }

    #[test]
    fn refuses_everything_else() {
        for text in [
            "", ".", "-a", "a-", "_a", "a_", "a.", ".a", "a..b", "a.-b", "a-.b",
        ] {
            check(text, false);
        }
        for text in [
            "A",
            "a b",
            "a/b",
            "ä",
            "a\0",
            "a\n",
            "a:b",
            "%61",
            &"x".repeat(64),
        ] {
            check(text, false);
        }
    }

    #[test]
    fn an_error_repeats_only_the_beginning_of_a_long_text() {
        let error = "ü".repeat(5000).parse::<Name>().unwrap_err();
        assert_eq!(error.text.chars().count(), EXCERPT_LENGTH);
    }
}
