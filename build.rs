//! Links `quicc-wrapper` statically where the machine can: it is started for every unit of a build, and a dynamic loader
//! takes as long as all that it does itself. Everything else is linked as Cargo does.
//!
//! That is what `-C target-feature=+crt-static` would do, which Cargo has for all of a build alone. Here the linker is
//! told to link one program so, and finds an archive wherever rustc asks for a shared library by name. It is tried
//! before with a program of one line, and left alone where that does not run.

#![expect(
    clippy::disallowed_methods,
    reason = "it runs on the machine that builds quicc, in the environment of that build"
)]

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// The shared libraries that std has rustc link on GNU/Linux, and the archives that hold what they do.
const ARCHIVES: [(&str, &[&str]); 7] = [
    ("c", &["libc.a", "libgcc_eh.a", "libgcc.a"]),
    ("gcc_s", &["libgcc_eh.a", "libgcc.a"]),
    ("m", &["libm.a"]),
    ("pthread", &["libpthread.a"]),
    ("rt", &["librt.a"]),
    ("dl", &["libdl.a"]),
    ("util", &["libutil.a"]),
];

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-env-changed=RUSTC_LINKER");
    let out = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join("static");
    if let Some(linker) = linker()
        && write_scripts(&linker, &out).is_some()
        && runs(&linker, &out).is_some_and(|runs| runs)
    {
        println!("cargo::rustc-link-arg-bin=quicc-wrapper=-L{}", out.display());
        println!("cargo::rustc-link-arg-bin=quicc-wrapper=-static-pie");
    }
}

/// The compiler that links, if it links for this very kind of machine and nobody said otherwise.
fn linker() -> Option<String> {
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let is_gnu = variable("CARGO_CFG_TARGET_OS") == "linux" && variable("CARGO_CFG_TARGET_ENV") == "gnu";
    let is_here = variable("HOST") == variable("TARGET");
    let is_asked = variable("CARGO_CFG_TARGET_FEATURE").contains("crt-static");
    let is_chosen = variable("CARGO_ENCODED_RUSTFLAGS").contains("linker");
    let linker = Some(variable("RUSTC_LINKER")).filter(|linker| !linker.is_empty());
    (is_gnu && is_here && !is_asked && !is_chosen).then(|| linker.unwrap_or_else(|| "cc".to_owned()))
}

/// Writes what a linker that looks for shared libraries in `directory` takes for them.
fn write_scripts(linker: &str, directory: &Path) -> Option<()> {
    std::fs::create_dir_all(directory).ok()?;
    for (library, archives) in ARCHIVES {
        let archives: Option<Vec<_>> = archives.iter().map(|name| find(linker, name)).collect();
        let script = format!("GROUP({})\n", archives?.join(" "));
        std::fs::write(directory.join(format!("lib{library}.so")), script).ok()?;
    }
    Some(())
}

/// Where the linker has an archive of that name.
fn find(linker: &str, name: &str) -> Option<String> {
    let output = Command::new(linker)
        .arg(format!("-print-file-name={name}"))
        .output()
        .ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    // Without a directory it has none.
    let path = path.trim().to_owned();
    let is_plain = |path: &str| path.starts_with('/') && !path.contains([' ', '"', '(', ')', ',']);
    is_plain(&path).then_some(path)
}

/// Whether a program that is linked so runs.
fn runs(linker: &str, directory: &Path) -> Option<bool> {
    let (source, program) = (directory.join("probe.c"), directory.join("probe"));
    std::fs::write(&source, "int main(void) { return 0; }\n").ok()?;
    let mut link = Command::new(linker);
    link.args([source.as_os_str(), OsStr::new("-o"), program.as_os_str()])
        .args(["-fPIE", "-pie", "-Wl,-Bdynamic", "-lgcc_s", "-lc"])
        .arg(format!("-L{}", directory.display()))
        .arg("-static-pie");
    let succeeds = |command: &mut Command| {
        let quiet = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Some(quiet.status().ok()?.success())
    };
    Some(succeeds(&mut link)? && succeeds(&mut Command::new(&program))?)
}
