//! Compilers that cannot be described, and why.

use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use super::environment;
use crate::toolchain::{DiscoverError, ask, discover};

/// What discovery says about `compiler` along `path`, causes included.
fn error_of(compiler: &Path, path: &str) -> String {
    let mut env = environment("C", Path::new("/tmp"));
    env[0].1 = path.as_bytes().to_vec();
    let error: DiscoverError = discover(compiler, &env, &ask).unwrap_err();
    let cause = std::error::Error::source(&error)
        .map(|cause| format!(": {cause}"))
        .unwrap_or_default();
    format!("{error}{cause}")
}

fn script(directory: &Path, name: &str) -> PathBuf {
    let file = directory.join(name);
    std::fs::write(&file, "#!/bin/sh\nexec /usr/bin/as \"$@\"\n").unwrap();
    std::fs::set_permissions(&file, PermissionsExt::from_mode(0o755)).unwrap();
    file
}

#[test]
fn what_is_no_compiler_is_refused_with_the_reason() {
    let scratch = tempfile::tempdir().unwrap();
    let place = scratch.path();
    let check = |compiler: &Path, expected: &str| {
        let error = error_of(compiler, "/usr/bin:/bin");
        assert!(error.contains(expected), "{error}");
    };
    check(Path::new("gcc"), "compiler path gcc is not absolute");
    check(&place.join("absent"), "cannot resolve");
    check(&script(place, "cc"), "is not an ELF program: no ELF magic number");
    check(Path::new("/bin/true"), "/bin/true is neither gcc nor clang");
}

#[test]
fn wrappers_are_recognised_behind_links() {
    for wrapper in ["ccache", "distcc", "icecc", "sccache", "colorgcc", "quicc"] {
        let scratch = tempfile::tempdir().unwrap();
        std::fs::copy("/bin/true", scratch.path().join(wrapper)).unwrap();
        let link = scratch.path().join("gcc");
        symlink(wrapper, &link).unwrap();
        let error = error_of(&link, "/usr/bin");
        assert!(
            error.ends_with(&format!("gcc is {wrapper}, which runs another compiler")),
            "{error}"
        );
    }
}

#[test]
fn a_script_in_place_of_the_assembler_is_not_described() {
    let scratch = tempfile::tempdir().unwrap();
    script(scratch.path(), "as");
    let path = format!("{}:/usr/bin:/bin", scratch.path().display());
    let error = error_of(Path::new("/usr/bin/gcc"), &path);
    assert_eq!(
        error,
        format!(
            "{}/as is not an ELF program: no ELF magic number",
            scratch.path().display()
        )
    );
}

#[test]
fn an_assembler_earlier_in_the_path_is_the_toolchains() {
    let scratch = tempfile::tempdir().unwrap();
    let own = scratch.path().join("as");
    std::fs::copy("/usr/bin/as", &own).unwrap();
    let mut env = environment("C", Path::new("/tmp"));
    env[0].1 = format!("{}:/usr/bin", scratch.path().display()).into_bytes();
    let toolchain = discover(Path::new("/usr/bin/gcc"), &env, &ask).unwrap();
    assert!(toolchain.paths.contains(&own), "{:?}", toolchain.paths);
    assert!(
        !toolchain.paths.contains(&"/usr/bin/as".into()),
        "{:?}",
        toolchain.paths
    );
}

#[test]
fn an_assembler_that_depends_on_the_working_directory_is_refused() {
    let error = error_of(Path::new("/usr/bin/gcc"), "tools:/usr/bin");
    assert_eq!(error, "as is searched for in the relative PATH element tools");
}
