//! Locale names as glibc takes them apart: `language[_territory][.codeset][@modifier]`.
//!
//! Pure. Never decides whether a locale exists.

use std::collections::BTreeSet;

/// Bytes of the longest name glibc accepts (locale/setlocale.c, `valid_locale_name`).
const MAX_NAME_LENGTH: usize = 255;

/// Whether `name` asks for the built-in locale: unset, `C` or `POSIX`.
pub(super) fn is_plain(name: &[u8]) -> bool {
    matches!(name, b"" | b"C" | b"POSIX")
}

/// Whether glibc looks for files called `name` at all: it takes no name that could leave its directories.
pub(super) fn is_valid(name: &[u8]) -> bool {
    name.len() <= MAX_NAME_LENGTH && !name.contains(&b'/') && !name.contains(&0) && !name.starts_with(b".")
}

/// Whether text in this locale is UTF-8, judged by the name alone.
pub(super) fn names_utf8(name: &[u8]) -> bool {
    Name::split(name)
        .codeset
        .is_some_and(|codeset| normalised(codeset) == b"utf8")
}

/// The directory names under which glibc looks for data of the locale `name` (intl/l10nflist.c): with and
/// without territory, codeset (as spelled and normalised) and modifier. Empty for an invalid name.
pub(super) fn variants(name: &[u8]) -> BTreeSet<Vec<u8>> {
    let mut variants = BTreeSet::new();
    if !is_valid(name) || name.is_empty() {
        return variants;
    }
    variants.insert(name.to_vec());
    let parts = Name::split(name);
    let normal = parts.codeset.map(normalised);
    for territory in [None, parts.territory] {
        for codeset in [None, parts.codeset, normal.as_deref()] {
            for modifier in [None, parts.modifier] {
                let mut variant = parts.language.to_vec();
                for (separator, part) in [(b'_', territory), (b'.', codeset), (b'@', modifier)] {
                    if let Some(part) = part {
                        variant.push(separator);
                        variant.extend_from_slice(part);
                    }
                }
                variants.insert(variant);
            }
        }
    }
    variants.retain(|variant| !variant.is_empty() && is_valid(variant));
    variants
}

/// A name's parts, without their separators.
struct Name<'a> {
    language: &'a [u8],
    territory: Option<&'a [u8]>,
    codeset: Option<&'a [u8]>,
    modifier: Option<&'a [u8]>,
}

impl<'a> Name<'a> {
    fn split(name: &'a [u8]) -> Self {
        let (rest, modifier) = cut(name, b'@');
        let (rest, codeset) = cut(rest, b'.');
        let (language, territory) = cut(rest, b'_');
        Self {
            language,
            territory,
            codeset,
            modifier,
        }
    }
}

/// What stands before the first `separator`, and what after it.
fn cut(text: &[u8], separator: u8) -> (&[u8], Option<&[u8]>) {
    match text.iter().position(|&byte| byte == separator) {
        Some(position) => (&text[..position], Some(&text[position + 1..])),
        None => (text, None),
    }
}

/// A codeset as glibc normalises it (intl/explodename.c, `_nl_normalize_codeset`): letters and digits in lower
/// case, `iso` before digits alone.
fn normalised(codeset: &[u8]) -> Vec<u8> {
    let kept = codeset
        .iter()
        .filter(|byte| byte.is_ascii_alphanumeric())
        .map(u8::to_ascii_lowercase);
    let mut normal: Vec<u8> = kept.collect();
    if normal.iter().all(u8::is_ascii_digit) {
        normal.splice(0..0, *b"iso");
    }
    normal
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn names_are_tried_in_all_their_variants() {
        let check = |name: &str, expected: &[&str]| {
            let found = variants(name.as_bytes());
            let expected: BTreeSet<_> = expected.iter().map(|name| name.as_bytes().to_vec()).collect();
            assert_eq!(found, expected, "{name}");
        };
        check("C.UTF-8", &["C", "C.UTF-8", "C.utf8"]);
        check("de", &["de"]);
        check(
            "de_DE.UTF-8",
            &["de", "de.UTF-8", "de.utf8", "de_DE", "de_DE.UTF-8", "de_DE.utf8"],
        );
        check("sr_RS@latin", &["sr", "sr@latin", "sr_RS", "sr_RS@latin"]);
        check(
            "el_GR.8859-7",
            &[
                "el",
                "el.8859-7",
                "el.iso88597",
                "el_GR",
                "el_GR.8859-7",
                "el_GR.iso88597",
            ],
        );
        check("", &[]);
        check("../../etc", &[]);
        check("/etc", &[]);
    }

    #[test]
    fn utf8_is_recognised_however_it_is_spelled() {
        for (name, expected) in [
            ("C.UTF-8", true),
            ("en_US.utf8", true),
            ("de_DE.Utf-8@euro", true),
            ("de_DE", false),
            ("de_DE.ISO-8859-1", false),
            ("utf8", false),
        ] {
            assert_eq!(names_utf8(name.as_bytes()), expected, "{name}");
        }
    }

    proptest! {
        #[test]
        fn no_variant_leaves_its_directory(name in prop::collection::vec(any::<u8>(), 0..300)) {
            for variant in variants(&name) {
                prop_assert!(is_valid(&variant) && !variant.is_empty());
                prop_assert!(!variant.contains(&b'/') && variant != b".." && variant != b".");
            }
        }

        #[test]
        fn the_name_itself_and_its_language_are_among_them(name in "[a-z]{2}_[A-Z]{2}(\\.[A-Z]{3}-8)?(@[a-z]+)?") {
            let found = variants(name.as_bytes());
            prop_assert!(found.contains(name.as_bytes()));
            prop_assert!(found.contains(&name.as_bytes()[..2]));
        }
    }
}
