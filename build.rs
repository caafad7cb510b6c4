//! Links `quicc-wrapper` statically where the machine can: it is started for every unit of a build, and a dynamic loader
//! takes as long as all that it does itself. Everything else is linked as Cargo does.
//!
//! That is what `-C target-feature=+crt-static` would do, which Cargo has for all of a build alone. Here the linker is
//! told to link one program so, and finds an archive wherever rustc asks for a shared library by name. It is tried
//! before, with a program that uses of std what could break, and left alone where that does not run.
//! `QUICC_DYNAMIC_WRAPPER=1` has it left alone too.

#![expect(
    clippy::disallowed_methods,
    reason = "it runs on the machine that builds quicc, in the environment of that build"
)]

use std::ffi::{OsStr, OsString};
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

/// Set for a wrapper that is linked as everything else.
const DYNAMIC: &str = "QUICC_DYNAMIC_WRAPPER";

/// Set where libraries are taken from the system: their directories come before ours then.
const FOREIGN_DIRECTORIES: &str = "ZSTD_SYS_USE_PKG_CONFIG";

/// Succeeds if threads, panics and the memory map are as in any other program, and nothing was loaded with it.
const PROBE: &str = r#"
fn main() {
    let caught = std::thread::spawn(|| std::panic::catch_unwind(|| panic!("probe")).is_err()).join();
    let maps = std::fs::read_to_string("/proc/self/maps").unwrap();
    std::process::exit(i32::from(!(matches!(caught, Ok(true)) && !maps.contains(".so"))));
}
"#;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    for name in [DYNAMIC, FOREIGN_DIRECTORIES] {
        println!("cargo::rerun-if-env-changed={name}");
    }
    let directory = PathBuf::from(std::env::var_os("OUT_DIR").unwrap_or_default()).join("static");
    if let Some(linker) = linker()
        && write_scripts(&linker, &directory).is_some()
        && runs(&directory) == Some(true)
    {
        for argument in arguments(&directory) {
            println!("cargo::rustc-link-arg-bin=quicc-wrapper={argument}");
        }
    }
}

/// What rustc is told to pass to the linker.
fn arguments(directory: &Path) -> [String; 2] {
    [format!("-L{}", directory.display()), "-static-pie".to_owned()]
}

/// The compiler that links, if it links for this very kind of machine and nobody said otherwise.
fn linker() -> Option<OsString> {
    let is_set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let variable = |name: &str| std::env::var(name).unwrap_or_default();
    let is_gnu = variable("CARGO_CFG_TARGET_OS") == "linux" && variable("CARGO_CFG_TARGET_ENV") == "gnu";
    let is_here = variable("HOST") == variable("TARGET");
    let is_asked = variable("CARGO_CFG_TARGET_FEATURE").contains("crt-static");
    let is_chosen = is_set(DYNAMIC) || is_set(FOREIGN_DIRECTORIES);
    let linker = std::env::var_os("RUSTC_LINKER").unwrap_or_else(|| "cc".into());
    (is_gnu && is_here && !is_asked && !is_chosen).then_some(linker)
}

/// Writes what a linker that looks for shared libraries in `directory` takes for them.
fn write_scripts(linker: &OsStr, directory: &Path) -> Option<()> {
    std::fs::create_dir_all(directory).ok()?;
    for (library, archives) in ARCHIVES {
        let archives: Option<Vec<_>> = archives.iter().map(|name| find(linker, name)).collect();
        let archives = archives?;
        for archive in &archives {
            // Another version of the compiler has them elsewhere.
            println!("cargo::rerun-if-changed={archive}");
        }
        let script = format!("GROUP({})\n", archives.join(" "));
        std::fs::write(directory.join(format!("lib{library}.so")), script).ok()?;
    }
    Some(())
}

/// Where the linker has an archive of that name.
fn find(linker: &OsStr, name: &str) -> Option<String> {
    let output = Command::new(linker)
        .arg(format!("-print-file-name={name}"))
        .output()
        .ok()?;
    let path = String::from_utf8(output.stdout).ok()?;
    // Without a directory it has none.
    let path = path.trim().to_owned();
    let is_plain = path.starts_with('/') && !path.contains([' ', '"', '(', ')', ',']);
    is_plain.then_some(path)
}

/// Whether a program that is linked so runs.
fn runs(directory: &Path) -> Option<bool> {
    let (source, program) = (directory.join("probe.rs"), directory.join("probe"));
    std::fs::write(&source, PROBE).ok()?;
    let mut compile = Command::new(std::env::var_os("RUSTC")?);
    compile
        .args(["--edition", "2024", "-o"])
        .args([&program, &source]);
    let flags = std::env::var("CARGO_ENCODED_RUSTFLAGS").unwrap_or_default();
    compile.args(flags.split('\x1f').filter(|flag| !flag.is_empty()));
    if let Some(linker) = std::env::var_os("RUSTC_LINKER") {
        let mut flag = OsString::from("-Clinker=");
        flag.push(linker);
        compile.arg(flag);
    }
    for argument in arguments(directory) {
        compile.arg(format!("-Clink-arg={argument}"));
    }
    let succeeds = |command: &mut Command| {
        let quiet = command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        Some(quiet.status().ok()?.success())
    };
    Some(succeeds(&mut compile)? && succeeds(&mut Command::new(&program))?)
}
