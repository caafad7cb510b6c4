//! Sizes and times as a person writes them. Pure.

use std::fmt;
use std::time::Duration;

use serde::de::{Deserialize, Deserializer, Error, Visitor};

/// Bytes: a whole number, or text with a binary unit, such as `"5g"` (K, M, G, T; sccache's units).
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct ByteSize(pub u64);

/// Time: a whole number of seconds, or text with a unit, such as `"90s"`, `"10m"` or `"2h"`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

/// What `toolchain_cache_size` is unless a file says otherwise, bytes: sccache's default.
pub const TOOLCHAIN_CACHE_SIZE: u64 = 10 << 30;

const SIZE_UNITS: [(char, u64); 4] = [('k', 1 << 10), ('m', 1 << 20), ('g', 1 << 30), ('t', 1 << 40)];
const PERIOD_UNITS: [(char, u64); 3] = [('s', 1), ('m', 60), ('h', 3600)];

/// A number and at most one unit letter, in either case.
fn parse(text: &str, units: &[(char, u64)]) -> Option<u64> {
    let (digits, factor) = match text.chars().next_back()? {
        digit if digit.is_ascii_digit() => (text, 1),
        letter => {
            let unit = units
                .iter()
                .find(|(name, _)| name.eq_ignore_ascii_case(&letter))?;
            (&text[..text.len() - letter.len_utf8()], unit.1)
        }
    };
    let all_digits = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    let number: u64 = all_digits.then(|| digits.parse().ok()).flatten()?;
    number.checked_mul(factor)
}

struct Quantity {
    units: &'static [(char, u64)],
    expected: &'static str,
}

impl Visitor<'_> for Quantity {
    type Value = u64;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.expected)
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<u64, E> {
        u64::try_from(number).map_err(|_| E::invalid_value(serde::de::Unexpected::Signed(number), &self))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<u64, E> {
        Ok(number)
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<u64, E> {
        parse(text, self.units).ok_or_else(|| E::invalid_value(serde::de::Unexpected::Str(text), &self))
    }
}

impl<'de> Deserialize<'de> for ByteSize {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let quantity = Quantity {
            units: &SIZE_UNITS,
            expected: "a number of bytes, or text such as \"500m\" or \"10g\"",
        };
        deserializer.deserialize_any(quantity).map(Self)
    }
}

impl<'de> Deserialize<'de> for Period {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let quantity = Quantity {
            units: &PERIOD_UNITS,
            expected: "a number of seconds, or text such as \"90s\", \"10m\" or \"2h\"",
        };
        let seconds = deserializer.deserialize_any(quantity)?;
        Ok(Self(Duration::from_secs(seconds)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde::Deserialize;

    #[derive(Debug, Deserialize)]
    struct Sample {
        size: Option<ByteSize>,
        time: Option<Period>,
    }

    fn check(line: &str, expected: Option<u64>) {
        let found = toml::from_str::<Sample>(line).ok().and_then(|sample| {
            let size = sample.size.map(|size| size.0);
            size.or(sample.time.map(|time| time.0.as_secs()))
        });
        assert_eq!(found, expected, "{line}");
    }

    #[test]
    fn sizes_have_binary_units() {
        check("size = 5368709120", Some(5 << 30));
        check("size = '5368709120'", Some(5 << 30));
        check("size = '5g'", Some(5 << 30));
        check("size = '3K'", Some(3 << 10));
        check("size = '1t'", Some(1 << 40));
        check("size = 0", Some(0));
        for value in [
            "-1",
            "1.5",
            "true",
            "''",
            "'g'",
            "'5gb'",
            "'5 g'",
            "'+5g'",
            "'5h'",
            "'99999999999t'",
            "'5µ'",
        ] {
            check(&format!("size = {value}"), None);
        }
    }

    #[test]
    fn times_have_units_too() {
        check("time = 90", Some(90));
        check("time = '90s'", Some(90));
        check("time = '10m'", Some(600));
        check("time = '2H'", Some(7200));
        check("time = '2g'", None);
        check("time = -2", None);
    }

    #[test]
    fn a_wrong_size_is_told_what_is_right() {
        let error = toml::from_str::<Sample>("size = '5 pounds'").unwrap_err();
        assert_eq!(
            error.message(),
            "invalid value: string \"5 pounds\", expected a number of bytes, or text such as \"500m\" or \"10g\""
        );
    }
}
