//! The client's file: sccache's `[dist]` table and quicc's own keys in it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use quicc_certs::{Name, Role};
use serde::Deserialize;

use super::address::{HostPort, SchedulerAddress};
use super::authentication::{self, Authentication};
use super::certificates::{self, CertificateFiles, CertificateKeys};
use super::error::ConfigError;
use super::file::ConfigText;
use super::quantity::{ByteSize, TOOLCHAIN_CACHE_SIZE};

/// The file, key by key.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct Schema {
    #[serde(default)]
    dist: DistSchema,
}

/// `[dist]`.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct DistSchema {
    /// The scheduler; without it everything is compiled here, or by a farm inside the agent.
    scheduler_url: Option<SchedulerAddress>,
    /// The scheduler's name in the cluster.
    scheduler_name: Option<Name>,
    /// The authority's certificate.
    ca: Option<PathBuf>,
    /// The client's certificate.
    certificate: Option<PathBuf>,
    /// The certificate's private key.
    key: Option<PathBuf>,
    /// The cluster; without it the certificate's.
    cluster: Option<Name>,
    /// The client's name in the cluster.
    name: Option<Name>,
    /// Compiles at once on this machine; without it as many as there are processors.
    slots: Option<u32>,
    /// Where toolchain archives are kept.
    cache_dir: Option<PathBuf>,
    /// Bytes of them that are kept.
    toolchain_cache_size: Option<ByteSize>,
    /// sccache's choice what to preprocess here; quicc preprocesses nothing here, so either value means the same.
    #[serde(rename = "rewrite_includes_only")]
    _rewrite_includes_only: Option<bool>,
    /// How single compilers are to be treated.
    #[serde(default)]
    toolchains: Vec<ToolchainSchema>,
    auth: Option<Authentication>,
}

/// `[[dist.toolchains]]`.
#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case", deny_unknown_fields)]
enum ToolchainSchema {
    /// Stands for a compiler with one out of an archive.
    PathOverride {
        compiler_executable: PathBuf,
        archive: PathBuf,
        archive_compiler_executable: PathBuf,
    },
    /// Compiles with it stay here.
    NoDist { compiler_executable: PathBuf },
}

/// How one compiler is to be treated.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ToolchainRule {
    /// Builders run another compiler in its place.
    Override {
        /// An archive of a file system tree that holds it.
        archive: PathBuf,
        /// Its path within the archive.
        compiler: PathBuf,
    },
    /// Its compiles stay here.
    Local,
}

/// How to reach a farm.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct FarmAccess {
    /// Where the scheduler is.
    pub scheduler: HostPort,
    /// Its name in the cluster.
    pub scheduler_name: Name,
    /// Who this client is and whom it trusts.
    pub certificates: CertificateFiles,
    /// The cluster that its certificate must be of, when the file names one.
    pub cluster: Option<Name>,
    /// The name that its certificate must bear, when the file names one.
    pub name: Option<Name>,
}

/// What the file of a client says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ClientFile {
    /// The farm; `None` without `scheduler_url`.
    pub farm: Option<FarmAccess>,
    /// Compiles at once on this machine; `None` for as many as there are processors.
    pub slots: Option<u32>,
    /// Where toolchain archives are kept, when the file says so.
    pub cache_dir: Option<PathBuf>,
    /// Bytes of them kept.
    pub toolchain_cache_size: u64,
    /// Compilers treated specially, by the path they are called by.
    pub toolchains: BTreeMap<PathBuf, ToolchainRule>,
}

impl ClientFile {
    /// Reads the text of a client's file; an empty one is allowed.
    pub fn parse(file: &ConfigText) -> Result<Self, ConfigError> {
        let Schema { dist } = file.decode()?;
        authentication::check(file, "dist.auth", dist.auth.as_ref())?;
        if dist.slots == Some(0) {
            return Err(file.value_error("dist.slots", "at least 1"));
        }
        let toolchains = toolchain_rules(file, dist.toolchains)?;
        let keys = CertificateKeys {
            ca: dist.ca.as_deref(),
            certificate: dist.certificate.as_deref(),
            key: dist.key.as_deref(),
            name: dist.name.as_ref(),
        };
        let farm = match dist.scheduler_url {
            Some(SchedulerAddress(scheduler)) => Some(FarmAccess {
                scheduler,
                scheduler_name: certificates::scheduler_name(file, dist.scheduler_name)?,
                certificates: keys.resolve(file, Role::Client)?,
                cluster: dist.cluster,
                name: dist.name,
            }),
            None => None,
        };
        Ok(Self {
            farm,
            slots: dist.slots,
            cache_dir: dist.cache_dir.map(|path| file.resolve(&path)),
            toolchain_cache_size: dist
                .toolchain_cache_size
                .map_or(TOOLCHAIN_CACHE_SIZE, |size| size.0),
            toolchains,
        })
    }
}

/// One rule for each compiler: sccache's errors for more.
fn toolchain_rules(
    file: &ConfigText,
    schema: Vec<ToolchainSchema>,
) -> Result<BTreeMap<PathBuf, ToolchainRule>, ConfigError> {
    let mut rules = BTreeMap::new();
    for entry in schema {
        let (compiler, rule) = toolchain_rule(file, entry)?;
        if let Some(former) = rules.insert(compiler.clone(), rule.clone()) {
            let compiler = compiler.display();
            let rule = match (former, rule) {
                (ToolchainRule::Override { .. }, ToolchainRule::Override { .. }) => {
                    format!("several toolchains for {compiler}: one is allowed")
                }
                (ToolchainRule::Local, ToolchainRule::Local) => {
                    format!("{compiler} is disabled several times: once is enough")
                }
                _ => format!("{compiler} has a toolchain and is disabled: only one of both is allowed"),
            };
            return Err(file.value_error("dist.toolchains", rule));
        }
    }
    Ok(rules)
}

fn toolchain_rule(
    file: &ConfigText,
    entry: ToolchainSchema,
) -> Result<(PathBuf, ToolchainRule), ConfigError> {
    let (compiler, rule) = match entry {
        ToolchainSchema::PathOverride {
            compiler_executable,
            archive,
            archive_compiler_executable,
        } => {
            let inside = absolute(file, archive_compiler_executable, "archive_compiler_executable")?;
            let rule = ToolchainRule::Override {
                archive: file.resolve(&archive),
                compiler: inside,
            };
            (compiler_executable, rule)
        }
        ToolchainSchema::NoDist { compiler_executable } => (compiler_executable, ToolchainRule::Local),
    };
    Ok((absolute(file, compiler, "compiler_executable")?, rule))
}

fn absolute(file: &ConfigText, path: PathBuf, key: &str) -> Result<PathBuf, ConfigError> {
    if Path::is_absolute(&path) {
        return Ok(path);
    }
    let rule = format!("`{key}` is an absolute path, not `{}`", path.display());
    Err(file.value_error("dist.toolchains", rule))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(text: &str) -> Result<ClientFile, ConfigError> {
        ClientFile::parse(&ConfigText::new(Path::new("/h/.config/quicc/config"), text))
    }

    fn check_error(text: &str, expected: &str) {
        let error = parse(text).unwrap_err().to_string();
        assert!(error.contains(expected), "{text}: {error}");
    }

    #[test]
    fn no_file_means_no_farm() {
        let file = parse("").unwrap();
        assert_eq!((file.farm, file.toolchain_cache_size), (None, 10 << 30));
        assert!(file.toolchains.is_empty());
    }

    #[test]
    fn every_key_is_heard() {
        let text = "
            [dist]
            scheduler_url = 'https://192.168.1.1'
            scheduler_name = 'main'
            ca = 'ca'
            certificate = 'c'
            key = '/k'
            cluster = 'farm'
            name = 'ann'
            slots = 3
            cache_dir = '/c'
            toolchain_cache_size = 5368709120
            rewrite_includes_only = true
            [dist.auth]
            type = 'certificate'
            [[dist.toolchains]]
            type = 'path_override'
            compiler_executable = '/home/me/clang'
            archive = 'clang.tar.xz'
            archive_compiler_executable = '/builds/clang'
            [[dist.toolchains]]
            type = 'no_dist'
            compiler_executable = '/usr/bin/gcc'";
        let file = parse(text).unwrap();
        let farm = file.farm.unwrap();
        assert_eq!(farm.scheduler.to_string(), "192.168.1.1:10600");
        assert_eq!(farm.scheduler_name.as_str(), "main");
        assert_eq!(farm.certificates.ca, Path::new("/h/.config/quicc/ca"));
        assert_eq!(farm.certificates.own.key, Path::new("/k"));
        assert_eq!((file.slots, file.toolchain_cache_size), (Some(3), 5 << 30));
        let replaced = ToolchainRule::Override {
            archive: "/h/.config/quicc/clang.tar.xz".into(),
            compiler: "/builds/clang".into(),
        };
        assert_eq!(file.toolchains[Path::new("/home/me/clang")], replaced);
        assert_eq!(file.toolchains[Path::new("/usr/bin/gcc")], ToolchainRule::Local);
    }

    #[test]
    fn the_seeds_example_is_told_about_certificates() {
        let seed = "
            [dist]
            scheduler_url = \"https://192.168.1.1\"
            toolchains = []
            toolchain_cache_size = 5368709120
            [dist.auth]
            type = \"token\"
            token = \"my client token\"";
        check_error(
            seed,
            "/h/.config/quicc/config: `dist.auth.type`: `token` is not supported",
        );
        assert!(!parse(seed).unwrap_err().to_string().contains("my client token"));
        for kind in ["mozilla", "oauth2_code_grant_pkce", "oauth2_implicit"] {
            check_error(
                &format!("[dist.auth]\ntype = '{kind}'"),
                "Make certificates with `quicc certgen`",
            );
        }
    }

    #[test]
    fn mistakes_are_named() {
        check_error(
            "[dist]\nschedular_url = 'x'",
            "config:2: `schedular_url`: unknown field",
        );
        check_error("[cache]\ndir = 'x'", "unknown field `cache`, expected `dist`");
        check_error(
            "[dist]\nscheduler_url = 'ftp://x'",
            "config:2: `scheduler_url`: `ftp://x` is not a scheduler",
        );
        check_error(
            "[dist]\nscheduler_url = 's:1'",
            "`certificate`: missing: name the files made by",
        );
        check_error("[dist]\nslots = 0", "`dist.slots`: at least 1");
        check_error(
            "[[dist.toolchains]]\ntype = 'x'",
            "expected `path_override` or `no_dist`",
        );
    }

    #[test]
    fn a_compiler_has_one_rule() {
        let none = "[[dist.toolchains]]\ntype = 'no_dist'\ncompiler_executable = '/gcc'\n";
        let other = "[[dist.toolchains]]\ntype = 'path_override'\ncompiler_executable = '/gcc'\narchive = 'a'\n\
                     archive_compiler_executable = '/b'\n";
        check_error(&format!("{none}{none}"), "/gcc is disabled several times");
        check_error(&format!("{other}{other}"), "several toolchains for /gcc");
        check_error(&format!("{none}{other}"), "/gcc has a toolchain and is disabled");
        check_error(
            &none.replace("/gcc", "gcc"),
            "`compiler_executable` is an absolute path, not `gcc`",
        );
    }
}
