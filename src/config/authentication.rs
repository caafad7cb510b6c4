//! sccache's `*_auth` tables: accepted when they say what quicc does anyway, otherwise refused with the way out.

use serde::Deserialize;

use super::error::ConfigError;
use super::file::ConfigText;

/// The one type quicc has.
const CERTIFICATE: &str = "certificate";

/// An authentication table. What else it holds belongs to types that are refused as a whole.
#[derive(Debug, Clone, Deserialize)]
pub(super) struct Authentication {
    r#type: String,
    #[serde(flatten)]
    rest: toml::Table,
}

/// Accepts an absent table and `type = "certificate"` alone.
pub(super) fn check(
    file: &ConfigText,
    section: &'static str,
    authentication: Option<&Authentication>,
) -> Result<(), ConfigError> {
    let Some(Authentication { r#type: kind, rest }) = authentication else {
        return Ok(());
    };
    if kind != CERTIFICATE {
        return Err(file.authentication_error(section, kind));
    }
    match rest.keys().next() {
        Some(key) => {
            let rule = format!("unknown field `{key}`, `type = \"{CERTIFICATE}\"` stands alone");
            Err(file.value_error(section, rule))
        }
        None => Ok(()),
    }
}
