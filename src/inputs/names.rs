//! Sets of names as closures hold them by the thousand: one piece of memory each.

/// Names, in one directory say.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct NameSet(
    /// Each name and a NUL, which no name holds; ascending.
    Box<[u8]>,
);

impl NameSet {
    /// The names, ascending.
    pub fn iter(&self) -> impl Iterator<Item = &[u8]> {
        self.0
            .split_inclusive(|&byte| byte == 0)
            .map(|name| &name[..name.len() - 1])
    }

    /// Whether `name` is among them.
    pub fn contains(&self, name: &[u8]) -> bool {
        // One with a NUL would be found across two names.
        let ended = [name, b"\0"].concat();
        !name.contains(&0)
            && memchr::memmem::find_iter(&self.0, &ended).any(|at| {
                at.checked_sub(1)
                    .is_none_or(|before| self.0.get(before) == Some(&0))
            })
    }
}

impl<'a> FromIterator<&'a [u8]> for NameSet {
    fn from_iter<T: IntoIterator<Item = &'a [u8]>>(names: T) -> Self {
        let mut names: Vec<_> = names.into_iter().collect();
        names.sort_unstable();
        names.dedup();
        let mut bytes = Vec::with_capacity(names.iter().map(|name| name.len() + 1).sum());
        for name in names {
            bytes.extend_from_slice(name);
            bytes.push(0);
        }
        Self(bytes.into())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_set_holds_the_names_it_was_made_of() {
        let names = [&b"b"[..], b"a", b"", b"a b", b"b"];
        let set: NameSet = names.into_iter().collect();
        assert_eq!(set.iter().collect::<Vec<_>>(), [&b""[..], b"a", b"a b", b"b"]);
        assert!(names.iter().all(|name| set.contains(name)));
        for name in [&b"ab"[..], b" b", b"a ", b"a\0b", b"\0"] {
            assert!(!set.contains(name), "{name:?}");
        }
        assert_eq!(NameSet::default().iter().count(), 0);
    }
}
