//! Where the foreign packages are.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

/// The directories of the packages that `tests/foreign/LIST/Cargo.toml` names, and of all they need; downloaded if they
/// are not there yet.
pub fn packages(list: &str) -> BTreeMap<String, PathBuf> {
    let manifest = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("tests/foreign")
        .join(list)
        .join("Cargo.toml");
    let output = std::process::Command::new(env!("CARGO"))
        .args(["metadata", "--format-version", "1", "--locked", "--manifest-path"])
        .arg(manifest)
        .output()
        .unwrap();
    assert!(
        output.status.success(),
        "{}",
        String::from_utf8_lossy(&output.stderr)
    );
    let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    let packages = metadata["packages"].as_array().unwrap().iter();
    packages
        .map(|package| {
            let manifest = PathBuf::from(package["manifest_path"].as_str().unwrap());
            (
                package["name"].as_str().unwrap().to_owned(),
                manifest.parent().unwrap().to_owned(),
            )
        })
        .collect()
}
