//! What a gcc driver needs for `-c`: its compiler proper, assembler, objcopy, specs files and plugin.
//!
//! Nothing for linking: no linker, collect2, start files or libraries. Headers are inputs, not parts.

use std::path::{Path, PathBuf};

use super::driver::{Driver, include_directories, paths_after};
use super::{DiscoverError, Parts};

/// Compilers proper, by language: C, C++, Objective-C, Objective-C++. They are gcc's own, never sought along
/// `PATH` here: a bare answer means that the language is not installed.
const LANGUAGES: [&str; 4] = ["cc1", "cc1plus", "cc1obj", "cc1objplus"];
/// The assembler of binutils or another that gcc was configured with (gcc/gcc.cc, `DEFAULT_ASSEMBLER`).
const ASSEMBLER: &str = "as";
/// Of binutils too, for `-gsplit-dwarf` (twice, gcc/gcc.cc `ASM_FINAL_SPEC`).
const OBJCOPY: &str = "objcopy";

/// Everything below the driver itself.
pub(super) fn parts(driver: &Driver<'_>) -> Result<Parts, DiscoverError> {
    let mut parts = Parts::default();
    for name in LANGUAGES {
        parts.programs.extend(driver.own_program(name)?);
    }
    parts.programs.extend(driver.program(ASSEMBLER)?);
    parts.programs.extend(driver.tool(OBJCOPY)?);
    // Only linking opens it; it is small, and no rule of some version's `-flto -c` can miss it then.
    parts.files.extend(driver.own_file("liblto_plugin.so")?);
    parts.directories = driver.search_directories()?;
    for language in ["c", "c++"] {
        let verbose = driver.verbose(language)?;
        parts.files.extend(paths_after(&verbose, "Reading specs from "));
        parts.directories.extend(include_directories(&verbose));
    }
    parts.files.extend(driver.own_file("specs")?);
    if let Some(library) = driver.own_file("libgcc.a")?
        && let Some(install) = library.parent()
    {
        parts.files.extend(specs_beside(install));
        // <prefix>/lib/gcc/<target>/<version>; message catalogues are looked for under the same prefix.
        let prefix = install.ancestors().nth(4);
        parts
            .catalogues
            .extend(prefix.map(|prefix| prefix.join("share/locale")));
    }
    Ok(parts)
}

/// The `specs` file one level above the installation directory `install` (`lib/gcc/<target>/<version>`), which
/// the driver reads beside the one it prints (gcc/gcc.cc, `just_machine_suffix`).
fn specs_beside(install: &Path) -> Option<PathBuf> {
    install
        .parent()
        .map(|above| above.join("specs"))
        .filter(|specs| specs.is_file())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::question::{Answer, Question};

    /// The parts of a gcc that answers as `answers` says: (last argument or `-v <language>`, text).
    fn parts_of(answers: &[(&str, String)]) -> Parts {
        let run = |question: &Question| {
            let last = question.arguments[0].to_str().unwrap();
            let key = if last == "-v" {
                question.arguments[question.arguments.len() - 2].to_str().unwrap()
            } else {
                last
            };
            let text = answers
                .iter()
                .find(|(name, _)| *name == key)
                .map(|(_, text)| text.clone());
            let bytes = text.clone().unwrap_or_default().into_bytes();
            Ok(if last == "-v" {
                Answer {
                    success: text.is_some(),
                    stdout: vec![],
                    stderr: bytes,
                }
            } else {
                Answer {
                    success: true,
                    stdout: bytes,
                    stderr: vec![],
                }
            })
        };
        let env = [(b"PATH".to_vec(), b"/absent".to_vec())];
        parts(&Driver::new(Path::new("/opt/gcc/bin/gcc"), &env, &run)).unwrap()
    }

    #[test]
    fn specs_come_from_every_place_the_driver_reads() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        std::fs::create_dir_all(root.join("target/13")).unwrap();
        std::fs::write(root.join("target/specs"), b"").unwrap();
        let parts = parts_of(&[
            ("c", "Reading specs from /etc/gcc.specs\n".to_owned()),
            ("-print-file-name=specs", "specs\n".to_owned()),
            (
                "-print-file-name=libgcc.a",
                format!("{}/target/13/libgcc.a\n", root.display()),
            ),
        ]);
        assert_eq!(
            parts.files,
            [PathBuf::from("/etc/gcc.specs"), root.join("target/specs")]
        );
    }

    #[test]
    fn a_language_that_is_not_installed_is_left_out() {
        let parts = parts_of(&[
            ("-print-prog-name=cc1", "/bin/sh\n".to_owned()),
            ("-print-prog-name=cc1plus", "cc1plus\n".to_owned()),
            ("-print-prog-name=as", "as\n".to_owned()),
        ]);
        assert_eq!(parts.programs, [PathBuf::from("/bin/sh")]);
    }
}
