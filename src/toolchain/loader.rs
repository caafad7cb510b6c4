//! The files the program loader opens before a program's first instruction: the loader itself, its cache,
//! the closure of shared libraries.
//!
//! The real loader is asked (`--list`); RPATH, RUNPATH, `$ORIGIN` and the cache are never interpreted here.

use std::ffi::OsStr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use super::DiscoverError;
use super::driver::first_line;
use super::elf::{self, ElfError, ElfFile};
use super::question::{Question, Run};
use crate::host::files::PathContext;

/// Files glibc's loader reads for every dynamic program (ld.so(8), "FILES").
const LOADER_FILES: [&str; 2] = ["/etc/ld.so.cache", "/etc/ld.so.preload"];
/// Directory beside a library in which glibc ≥ 2.33 looks for builds for newer processors (ld.so(8)).
const CAPABILITY_DIRECTORY: &str = "glibc-hwcaps";

/// What the ELF file `path` says about itself.
///
/// Errors: `File` if it cannot be read, `NotElf` if it is something else, such as a script.
pub(super) fn inspect(path: &Path) -> Result<ElfFile, DiscoverError> {
    let file = std::fs::File::open(path).context("open", path)?;
    let mut read = |offset: u64, size: usize| {
        let mut bytes = vec![0; size];
        let mut filled = 0;
        while filled < size {
            match file.read_at(&mut bytes[filled..], offset.saturating_add(filled as u64))? {
                0 => break,
                count => filled += count,
            }
        }
        bytes.truncate(filled);
        Ok(bytes)
    };
    match elf::parse(&mut read) {
        Ok(file) => Ok(file),
        Err(ElfError::Read { source }) => Ok(Err(source).context("read", path)?),
        Err(source) => Err(DiscoverError::NotElf {
            path: path.to_owned(),
            source,
        }),
    }
}

/// Everything the loader opens to start `program`, as it spells it; empty for a static program.
pub(super) fn closure(program: &Path, run: &Run<'_>) -> Result<Vec<PathBuf>, DiscoverError> {
    let Some(loader) = inspect(program)?.interpreter else {
        return Ok(Vec::new());
    };
    let question = Question {
        program: loader.clone(),
        arguments: vec!["--list".into(), program.into()],
        environment: Vec::new(),
        directory: "/".into(),
    };
    let answer = run(&question)?;
    let libraries = listed(&answer.stdout).filter(|_| answer.success).ok_or_else(|| {
        let text = if answer.stderr.is_empty() {
            &answer.stdout
        } else {
            &answer.stderr
        };
        DiscoverError::Loader {
            program: program.to_owned(),
            loader: loader.clone(),
            message: first_line(text),
        }
    })?;
    let mut paths: Vec<PathBuf> = libraries
        .iter()
        .flat_map(|library| processor_variants(library))
        .collect();
    paths.extend(libraries);
    paths.extend(loader_files(&loader));
    paths.push(loader);
    Ok(paths)
}

/// The libraries of a `--list` answer (glibc and musl): `name => /path (0x…)` or `/path (0x…)`; the kernel's
/// own `linux-vdso.so.1 (0x…)` is no file. `None` if a library was not found or depends on the directory the
/// program is started in.
fn listed(answer: &[u8]) -> Option<Vec<PathBuf>> {
    let mut libraries = Vec::new();
    for line in answer.split(|&byte| byte == b'\n').map(<[u8]>::trim_ascii) {
        let arrow = line.windows(4).position(|window| window == b" => ");
        let target = arrow.map_or(line, |position| &line[position + 4..]);
        let address = target.windows(4).rposition(|window| window == b" (0x");
        match address.map(|position| &target[..position]) {
            Some(path) if path.starts_with(b"/") => libraries.push(PathBuf::from(OsStr::from_bytes(path))),
            Some(path) if path.contains(&b'/') => return None,
            // An arrow without a file is "=> not found".
            _ if arrow.is_some() => return None,
            _ => {}
        }
    }
    Some(libraries)
}

/// The builds of `library` for other processors: the client's loader chose one for the client's processor,
/// a builder's loader may choose another.
fn processor_variants(library: &Path) -> Vec<PathBuf> {
    let (Some(name), Some(mut directory)) = (library.file_name(), library.parent()) else {
        return Vec::new();
    };
    if let Some(capabilities) = directory
        .parent()
        .filter(|above| above.ends_with(CAPABILITY_DIRECTORY))
    {
        directory = capabilities.parent().unwrap_or(directory);
    }
    let levels = std::fs::read_dir(directory.join(CAPABILITY_DIRECTORY))
        .into_iter()
        .flatten()
        .flatten();
    let mut variants: Vec<PathBuf> = levels.map(|level| level.path().join(name)).collect();
    variants.push(directory.join(name));
    variants.retain(|variant| variant != library && variant.is_file());
    variants
}

/// The existing configuration of `loader`.
fn loader_files(loader: &Path) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = LOADER_FILES.iter().map(PathBuf::from).collect();
    // musl: /lib/ld-musl-x86_64.so.1 reads /etc/ld-musl-x86_64.path (musl ldso/dynlink.c).
    let stem = loader
        .file_name()
        .and_then(OsStr::to_str)
        .and_then(|name| name.strip_suffix(".so.1"));
    if let Some(stem) = stem.filter(|stem| stem.starts_with("ld-musl-")) {
        files.push(Path::new("/etc").join(format!("{stem}.path")));
    }
    files.retain(|file| file.is_file());
    files
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::toolchain::question::Answer;

    fn check_list(answer: &str, expected: Option<&[&str]>) {
        let expected: Option<Vec<PathBuf>> = expected.map(|paths| paths.iter().map(PathBuf::from).collect());
        assert_eq!(listed(answer.as_bytes()), expected, "{answer}");
    }

    #[test]
    fn lists_of_both_loaders_are_read() {
        check_list(
            "\tlinux-vdso.so.1 (0x00007f84e192e000)\n\
             \tlibz.so.1 => /lib/x86_64-linux-gnu/libz.so.1 (0x00007f84e1822000)\n\
             \t/lib64/ld-linux-x86-64.so.2 (0x00007f84e1930000)\n",
            Some(&["/lib/x86_64-linux-gnu/libz.so.1", "/lib64/ld-linux-x86-64.so.2"]),
        );
        check_list(
            "\t/lib/ld-musl-x86_64.so.1 (0x7f0)\n\
             \tlibc.musl-x86_64.so.1 => /lib/ld-musl-x86_64.so.1 (0x7f0)\n",
            Some(&["/lib/ld-musl-x86_64.so.1", "/lib/ld-musl-x86_64.so.1"]),
        );
        check_list(
            "\tlibx.so => /opt/my tools (1)/libx.so (0x1)\n",
            Some(&["/opt/my tools (1)/libx.so"]),
        );
        check_list(
            "\tlibLLVM.so.18.1 => /opt/llvm/bin/../lib/libLLVM.so.18.1 (0x1)\n",
            Some(&["/opt/llvm/bin/../lib/libLLVM.so.18.1"]),
        );
        check_list("\tstatically linked\n", Some(&[]));
        check_list("", Some(&[]));
    }

    #[test]
    fn a_list_that_is_no_closure_is_refused() {
        check_list(
            "\tlibz.so.1 => /lib/libz.so.1 (0x1)\n\tlibgone.so => not found\n",
            None,
        );
        check_list("\t./libhere.so (0x1)\n", None);
        check_list("\tlibhere.so => ./libhere.so (0x1)\n", None);
    }

    #[test]
    fn a_dynamic_program_brings_its_loader_and_the_cache() {
        let shell = Path::new("/bin/sh");
        let loader = inspect(shell).unwrap().interpreter.unwrap();
        let paths = closure(shell, &crate::toolchain::question::ask).unwrap();
        assert!(paths.contains(&loader), "{paths:?}");
        assert!(
            paths.iter().any(|path| path.to_string_lossy().contains("libc")),
            "{paths:?}"
        );
        assert_eq!(
            paths.contains(&"/etc/ld.so.cache".into()),
            Path::new("/etc/ld.so.cache").exists()
        );
        assert!(paths.iter().all(|path| path.is_file()), "{paths:?}");
    }

    #[test]
    fn a_failing_loader_is_an_error_that_quotes_it() {
        let run = |_: &Question| {
            Ok(Answer {
                success: false,
                stdout: vec![],
                stderr: b"no way\n".into(),
            })
        };
        let error = closure(Path::new("/bin/sh"), &run).unwrap_err().to_string();
        assert!(error.ends_with("no way"), "{error}");
    }

    #[test]
    fn a_script_is_no_program() {
        let scratch = tempfile::tempdir().unwrap();
        let script = scratch.path().join("as");
        std::fs::write(&script, "#!/bin/sh\n").unwrap();
        assert!(matches!(inspect(&script), Err(DiscoverError::NotElf { .. })));
        assert!(matches!(inspect(scratch.path()), Err(DiscoverError::File(_))));
        assert!(matches!(
            inspect(&scratch.path().join("absent")),
            Err(DiscoverError::File(_))
        ));
    }

    #[test]
    fn builds_for_every_processor_travel_together() {
        let scratch = tempfile::tempdir().unwrap();
        let root = scratch.path();
        let place = |file: &str| {
            let file = root.join(file);
            std::fs::create_dir_all(file.parent().unwrap()).unwrap();
            std::fs::write(&file, b"").unwrap();
            file
        };
        let plain = place("libz.so.1");
        let second = place("glibc-hwcaps/x86-64-v2/libz.so.1");
        let third = place("glibc-hwcaps/x86-64-v3/libz.so.1");
        place("glibc-hwcaps/x86-64-v3/libother.so");
        let check = |library: &Path, mut expected: Vec<&PathBuf>| {
            let mut found = processor_variants(library);
            found.sort();
            expected.sort();
            assert_eq!(found.iter().collect::<Vec<_>>(), expected);
        };
        check(&plain, vec![&second, &third]);
        check(&third, vec![&plain, &second]);
        check(&root.join("libalone.so"), vec![]);
    }
}
