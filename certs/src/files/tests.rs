//! Real files in a scratch directory: what is written can be read back by its owner, and nothing else is
//! accepted.

use std::time::Duration;

use tempfile::TempDir;

use super::*;
use crate::authority::AUTHORITY_LIFETIME;

const NOW: u64 = 1_900_000_000;
const DAY: Duration = Duration::from_secs(86_400);

/// An authority's and a builder's files.
struct Scratch {
    directory: TempDir,
    authority: KeyedFiles,
    builder: KeyedFiles,
}

fn authority() -> Authority {
    Authority::create(&"farm".parse().unwrap(), NOW).unwrap()
}

fn builder(authority: &Authority) -> Credentials {
    authority
        .issue(&"quicc://farm/builder/b17".parse().unwrap(), DAY, NOW)
        .unwrap()
}

fn scratch() -> Scratch {
    let directory = TempDir::new().unwrap();
    let authority = authority();
    let builder = builder(&authority).save(directory.path()).unwrap();
    Scratch {
        authority: authority.save(directory.path()).unwrap(),
        builder,
        directory,
    }
}

fn mode(path: &Path) -> u32 {
    fs::metadata(path).unwrap().permissions().mode() & 0o777
}

fn set_mode(path: &Path, mode: u32) {
    fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
}

/// Every error names its file and tells what to do about it.
fn check_names(error: &FileError, path: &Path) {
    for text in [error.to_string(), error.hint()] {
        assert!(text.contains(path.to_str().unwrap()), "{text}");
    }
}

#[test]
fn files_have_the_documented_names() {
    let scratch = scratch();
    let mut names: Vec<_> = fs::read_dir(scratch.directory.path())
        .unwrap()
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    assert_eq!(names, ["builder-b17.key", "builder-b17.pem", "ca.key", "ca.pem"]);
}

#[test]
fn what_was_saved_is_loaded() {
    let scratch = scratch();
    let authority = Authority::load(scratch.directory.path(), NOW).unwrap();
    assert_eq!(authority.cluster().as_str(), "farm");
    let credentials = Credentials::load(&scratch.builder, NOW).unwrap();
    assert_eq!(credentials.identity().to_string(), "quicc://farm/builder/b17");
    assert_eq!(
        &load_trust(&scratch.authority.certificate, NOW).unwrap(),
        authority.certificate()
    );
    assert!(
        builder(&authority).save(scratch.directory.path()).is_ok(),
        "a loaded authority issues"
    );
}

#[test]
fn an_absent_directory_is_made() {
    let scratch = TempDir::new().unwrap();
    let directory = scratch.path().join("farm/certs");
    authority().save(&directory).unwrap();
    assert!(Authority::load(&directory, NOW).is_ok());
}

#[test]
fn keys_are_their_owners_alone() {
    let scratch = scratch();
    for path in [&scratch.authority.key, &scratch.builder.key] {
        assert_eq!(mode(path), 0o600, "{}", path.display());
    }
}

#[test]
fn a_key_open_to_others_is_refused() {
    let Scratch {
        directory,
        authority,
        builder,
    } = &scratch();
    for open in [0o644, 0o640, 0o604, 0o620, 0o602, 0o777] {
        set_mode(&builder.key, open);
        let error = Credentials::load(builder, NOW).unwrap_err();
        assert!(
            matches!(error, FileError::Exposed { mode, .. } if mode == open),
            "{error:?}"
        );
        check_names(&error, &builder.key);
        assert!(error.to_string().contains(&format!("{open:04o}")), "{error}");
        assert!(error.hint().contains("chmod 600"), "{}", error.hint());
        set_mode(&authority.key, open);
        let error = Authority::load(directory.path(), NOW).unwrap_err();
        assert!(matches!(error, FileError::Exposed { .. }), "{error:?}");
    }
    for closed in [0o600, 0o400, 0o700] {
        set_mode(&builder.key, closed);
        assert!(Credentials::load(builder, NOW).is_ok(), "{closed:o}");
    }
}

#[test]
fn an_authority_is_never_overwritten() {
    let scratch = scratch();
    let before = [&scratch.authority.key, &scratch.authority.certificate].map(|path| fs::read(path).unwrap());
    for removed in [
        None,
        Some(&scratch.authority.certificate),
        Some(&scratch.authority.key),
    ] {
        let kept = removed.map(|path| (path, fs::read(path).unwrap()));
        if let Some((path, _)) = &kept {
            fs::remove_file(path).unwrap();
        }
        let error = authority().save(scratch.directory.path()).unwrap_err();
        let FileError::AuthorityExists { path } = &error else {
            panic!("{error:?}")
        };
        check_names(&error, path);
        if let Some((path, content)) = kept {
            assert!(
                !path.exists(),
                "half an authority was written: {}",
                path.display()
            );
            fs::write(path, content).unwrap();
        }
    }
    let after = [&scratch.authority.key, &scratch.authority.certificate].map(|path| fs::read(path).unwrap());
    assert_eq!(before, after);
}

#[test]
fn credentials_are_renewed_in_place() {
    let scratch = scratch();
    let authority = Authority::load(scratch.directory.path(), NOW).unwrap();
    set_mode(&scratch.builder.key, 0o644);
    let renewed = builder(&authority);
    assert_eq!(renewed.save(scratch.directory.path()).unwrap(), scratch.builder);
    let loaded = Credentials::load(&scratch.builder, NOW).unwrap();
    assert_eq!(loaded.certificate(), renewed.certificate());
    assert_eq!(mode(&scratch.builder.key), 0o600);
}

#[test]
fn an_expired_certificate_is_named() {
    let Scratch {
        directory,
        authority,
        builder,
    } = &scratch();
    let expiry = NOW + DAY.as_secs();
    assert!(Credentials::load(builder, expiry - 1).is_ok());
    let error = Credentials::load(builder, expiry + 3 * DAY.as_secs()).unwrap_err();
    assert!(
        error.to_string().ends_with("builder-b17.pem expired 3 days ago"),
        "{error}"
    );
    check_names(&error, &builder.certificate);
    assert!(
        load_certificate(&builder.certificate).is_ok(),
        "can still be shown"
    );

    let error = Authority::load(directory.path(), NOW + AUTHORITY_LIFETIME.as_secs()).unwrap_err();
    assert!(matches!(error, FileError::Expired { .. }), "{error:?}");
    check_names(&error, &authority.certificate);
}

#[test]
fn a_missing_file_is_named() {
    let Scratch { builder, .. } = &scratch();
    for path in [&builder.key, &builder.certificate] {
        fs::remove_file(path).unwrap();
        let error = Credentials::load(builder, NOW).unwrap_err();
        assert!(matches!(error, FileError::Missing { .. }), "{error:?}");
        check_names(&error, path);
    }
}

#[test]
fn a_garbled_file_is_named() {
    let Scratch {
        authority, builder, ..
    } = &scratch();
    let certificate = fs::read_to_string(&builder.certificate).unwrap();
    let ca = fs::read_to_string(&authority.certificate).unwrap();
    let cut = &certificate[..certificate.len() / 2];
    let wrong = "-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n";
    let long = certificate.repeat(FILE_LENGTH_MAX as usize / certificate.len() + 1);
    for content in [
        "",
        "garbage",
        cut,
        wrong,
        &format!("{certificate}{ca}"),
        &ca,
        &long,
    ] {
        fs::write(&builder.certificate, content).unwrap();
        let error = Credentials::load(builder, NOW).unwrap_err();
        assert!(
            !matches!(error, FileError::Io { .. } | FileError::Missing { .. }),
            "{error:?}"
        );
        check_names(&error, &builder.certificate);
    }
    fs::write(&builder.certificate, &certificate).unwrap();
    let key = fs::read_to_string(&builder.key).unwrap();
    let foreign = fs::read_to_string(&authority.key).unwrap();
    for content in ["", "garbage", &key[..key.len() / 2], &certificate] {
        fs::write(&builder.key, content).unwrap();
        let error = Credentials::load(builder, NOW).unwrap_err();
        assert!(matches!(error, FileError::Garbled { .. }), "{error:?}");
        check_names(&error, &builder.key);
    }
    fs::write(&builder.key, foreign).unwrap();
    let error = Credentials::load(builder, NOW).unwrap_err();
    let FileError::Garbled { source, .. } = &error else {
        panic!("{error:?}")
    };
    assert_eq!(
        source.to_string(),
        "the private key does not belong to the certificate"
    );
}

#[test]
fn a_failed_save_leaves_nothing_behind() {
    let scratch = TempDir::new().unwrap();
    let occupied = scratch.path().join("builder-b17.key");
    fs::create_dir(&occupied).unwrap();
    let error = builder(&authority()).save(scratch.path()).unwrap_err();
    assert!(
        matches!(
            error,
            FileError::Io {
                action: "replace",
                ..
            }
        ),
        "{error:?}"
    );
    check_names(&error, &occupied);
    assert_eq!(fs::read_dir(scratch.path()).unwrap().count(), 1);
}
