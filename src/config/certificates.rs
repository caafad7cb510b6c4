//! Which files hold this peer's certificate and the authority it trusts. Names them; never opens them.

use std::path::{Path, PathBuf};

use quicc_certs::{Identity, KeyedFiles, Name, NameError, Role};

use super::error::ConfigError;
use super::file::ConfigText;

/// The files a peer needs on every connection.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct CertificateFiles {
    /// The authority whose certificates are trusted.
    pub ca: PathBuf,
    /// This peer's certificate and key.
    pub own: KeyedFiles,
}

/// The keys of a file that say so.
#[derive(Debug, Clone, Copy)]
pub(super) struct CertificateKeys<'a> {
    pub(super) ca: Option<&'a Path>,
    pub(super) certificate: Option<&'a Path>,
    pub(super) key: Option<&'a Path>,
    pub(super) name: Option<&'a Name>,
}

impl CertificateKeys<'_> {
    /// The files for a peer of `role`. What is not named is where `quicc certgen` puts it, beside the configuration
    /// file: `ca.pem`, `<role>-<name>.pem` and `<role>-<name>.key`, which takes a `name`.
    pub(super) fn resolve(self, file: &ConfigText, role: Role) -> Result<CertificateFiles, ConfigError> {
        let directory = file.resolve(Path::new(""));
        let ca = self.ca.map_or_else(
            || KeyedFiles::of_authority(&directory).certificate,
            |ca| file.resolve(ca),
        );
        let own = match (self.certificate, self.key, self.name) {
            (Some(certificate), Some(key), _) => KeyedFiles {
                certificate: file.resolve(certificate),
                key: file.resolve(key),
            },
            (None, None, Some(name)) => {
                // Files are named by role and name alone.
                let (cluster, name) = (name.clone(), name.clone());
                KeyedFiles::of_peer(&directory, &Identity { cluster, role, name })
            }
            (None, None, None) => {
                let rule = "missing: name the files made by `quicc certgen` with `certificate` and `key`, or \
                            write `name` when they stand beside this file";
                return Err(file.value_error("certificate", rule));
            }
            (Some(_), None, _) => return Err(file.value_error("key", "missing beside `certificate`")),
            (None, Some(_), _) => return Err(file.value_error("certificate", "missing beside `key`")),
        };
        Ok(CertificateFiles { ca, own })
    }
}

/// The name a scheduler's certificate bears unless the file says otherwise.
pub const SCHEDULER_NAME: &str = "scheduler";

/// The name given, or [`SCHEDULER_NAME`].
pub(super) fn scheduler_name(file: &ConfigText, given: Option<Name>) -> Result<Name, ConfigError> {
    match given {
        Some(name) => Ok(name),
        None => SCHEDULER_NAME
            .parse()
            .map_err(|error: NameError| file.value_error("scheduler_name", error.to_string())),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(keys: [Option<&str>; 4], expected: Result<[&str; 3], &str>) {
        let file = ConfigText::new(Path::new("/etc/quicc/server.conf"), "");
        let name: Option<Name> = keys[3].map(|name| name.parse().unwrap());
        let keys = CertificateKeys {
            ca: keys[0].map(Path::new),
            certificate: keys[1].map(Path::new),
            key: keys[2].map(Path::new),
            name: name.as_ref(),
        };
        let found = keys.resolve(&file, Role::Builder);
        match (&found, expected) {
            (Ok(files), Ok(expected)) => {
                let found = [&files.ca, &files.own.certificate, &files.own.key];
                assert_eq!(found.map(PathBuf::as_path), expected.map(Path::new));
            }
            (Err(ConfigError::Value { key, .. }), Err(expected)) => assert_eq!(*key, expected),
            _ => panic!("{keys:?}: {found:?}"),
        }
    }

    #[test]
    fn files_are_named_or_stand_beside_the_configuration() {
        check(
            [Some("ca"), Some("/c"), Some("keys/k"), None],
            Ok(["/etc/quicc/ca", "/c", "/etc/quicc/keys/k"]),
        );
        check(
            [None, None, None, Some("b1")],
            Ok([
                "/etc/quicc/ca.pem",
                "/etc/quicc/builder-b1.pem",
                "/etc/quicc/builder-b1.key",
            ]),
        );
        check([None, None, None, None], Err("certificate"));
        check([None, Some("c"), None, Some("b1")], Err("key"));
        check([None, None, Some("k"), Some("b1")], Err("certificate"));
    }
}
