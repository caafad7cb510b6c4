//! The builder's file: sccache's keys and quicc's own.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use quicc_certs::{Name, Role};
use serde::Deserialize;

use super::address::{HostPort, SchedulerAddress};
use super::authentication::{self, Authentication};
use super::certificates::{self, CertificateFiles, CertificateKeys};
use super::error::ConfigError;
use super::file::ConfigText;
use super::quantity::{ByteSize, Period, TOOLCHAIN_CACHE_SIZE};

/// Most slots of one builder; schedulers believe no more.
pub const SLOTS_MOST: u32 = 4096;
/// Bytes of all mirrors together unless the file says otherwise.
pub const MIRROR_CACHE_SIZE: u64 = 10 << 30;

/// Wall clock of one action unless the file says otherwise.
pub const ACTION_WALL: Duration = Duration::from_secs(30 * 60);

/// The file, key by key.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Schema {
    /// Where blobs and mirrors are kept.
    cache_dir: PathBuf,
    /// Bytes of blobs, toolchains among them, that are kept.
    toolchain_cache_size: Option<ByteSize>,
    /// Bytes of mirrors that are kept.
    mirror_cache_size: Option<ByteSize>,
    /// Where clients reach the builder over UDP: `host:port`.
    public_addr: HostPort,
    /// Where it listens; without it at `public_addr`, or on every address when that is a host name.
    bind_address: Option<HostPort>,
    /// The scheduler.
    scheduler_url: SchedulerAddress,
    /// The scheduler's name in the cluster.
    scheduler_name: Option<Name>,
    /// Actions at once; without it as many as there are processors.
    slots: Option<u32>,
    /// The authority's certificate.
    ca: Option<PathBuf>,
    /// The builder's certificate.
    certificate: Option<PathBuf>,
    /// The certificate's private key.
    key: Option<PathBuf>,
    /// The cluster; without it the certificate's.
    cluster: Option<Name>,
    /// The builder's name in the cluster.
    name: Option<Name>,
    builder: Option<SandboxSchema>,
    limits: Option<LimitsSchema>,
    scheduler_auth: Option<Authentication>,
}

/// `[builder]`: how actions are shut in.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct SandboxSchema {
    r#type: String,
    /// Where actions write; without it below `cache_dir`.
    build_dir: Option<PathBuf>,
    /// The `bwrap` binary; without it the one on the search path.
    bwrap_path: Option<PathBuf>,
}

/// `[limits]`: what one action may use.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct LimitsSchema {
    wall: Option<Period>,
    cpu: Option<Period>,
    memory: Option<ByteSize>,
    processes: Option<u32>,
    output: Option<ByteSize>,
}

/// How actions are shut in.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum SandboxChoice {
    /// The best that works on this host; without `[builder]`, or `type = "auto"`.
    Automatic,
    /// quicc's own namespaces: `type = "namespaces"`.
    Namespaces,
    /// bubblewrap, by this binary or the one on the search path: `type = "overlay"`.
    Bubblewrap {
        /// `bwrap_path`.
        program: Option<PathBuf>,
    },
}

/// What one action may use before it is ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ActionLimits {
    /// From its start to its end.
    pub wall: Duration,
    /// Processor time of all its processes together.
    pub cpu: Duration,
    /// Memory of all its processes together, bytes.
    pub memory: u64,
    /// Processes at once.
    pub processes: u32,
    /// Bytes of one output.
    pub output: u64,
}

impl Default for ActionLimits {
    /// Room for the largest units known (half an hour and 8 GiB for generated C++), and an end for the rest.
    fn default() -> Self {
        Self {
            wall: ACTION_WALL,
            cpu: Duration::from_secs(30 * 60),
            memory: 8 << 30,
            processes: 256,
            output: quicc_protocol::limits::BLOB,
        }
    }
}

/// What the file of a builder says.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BuilderFile {
    /// Where blobs and mirrors are kept.
    pub cache_dir: PathBuf,
    /// Bytes of blobs kept.
    pub toolchain_cache_size: u64,
    /// Bytes of mirrors kept.
    pub mirror_cache_size: u64,
    /// Where actions write, when not below `cache_dir`.
    pub build_dir: Option<PathBuf>,
    /// What clients are told.
    pub public_addr: HostPort,
    /// The UDP address to listen on.
    pub bind: SocketAddr,
    /// Where the scheduler is.
    pub scheduler: HostPort,
    /// Its name in the cluster.
    pub scheduler_name: Name,
    /// Who the builder is and whom it trusts.
    pub certificates: CertificateFiles,
    /// The cluster that its certificate must be of, when the file names one.
    pub cluster: Option<Name>,
    /// The name that its certificate must bear, when the file names one.
    pub name: Option<Name>,
    /// Actions at once; `None` for as many as there are processors.
    pub slots: Option<u32>,
    /// How actions are shut in.
    pub sandbox: SandboxChoice,
    /// What one action may use.
    pub limits: ActionLimits,
}

impl BuilderFile {
    /// Reads the text of a builder's file.
    pub fn parse(file: &ConfigText) -> Result<Self, ConfigError> {
        let schema: Schema = file.decode()?;
        authentication::check(file, "scheduler_auth", schema.scheduler_auth.as_ref())?;
        if !schema.public_addr.is_dialable() {
            let rule = "clients have to reach the builder there: neither 0.0.0.0, [::] nor port 0. Where it \
                        listens is `bind_address`";
            return Err(file.value_error("public_addr", rule));
        }
        if schema
            .slots
            .is_some_and(|slots| !(1..=SLOTS_MOST).contains(&slots))
        {
            return Err(file.value_error("slots", format!("between 1 and {SLOTS_MOST}")));
        }
        let keys = CertificateKeys {
            ca: schema.ca.as_deref(),
            certificate: schema.certificate.as_deref(),
            key: schema.key.as_deref(),
            name: schema.name.as_ref(),
        };
        let build_dir = schema
            .builder
            .as_ref()
            .and_then(|builder| builder.build_dir.as_deref());
        Ok(Self {
            cache_dir: file.resolve(&schema.cache_dir),
            toolchain_cache_size: bytes(schema.toolchain_cache_size, TOOLCHAIN_CACHE_SIZE),
            mirror_cache_size: bytes(schema.mirror_cache_size, MIRROR_CACHE_SIZE),
            build_dir: build_dir.map(|path| file.resolve(path)),
            bind: schema
                .bind_address
                .as_ref()
                .unwrap_or(&schema.public_addr)
                .to_bind(),
            certificates: keys.resolve(file, Role::Builder)?,
            sandbox: sandbox(file, schema.builder.as_ref())?,
            limits: limits(file, schema.limits.unwrap_or_default())?,
            public_addr: schema.public_addr,
            scheduler: schema.scheduler_url.0,
            scheduler_name: certificates::scheduler_name(file, schema.scheduler_name)?,
            cluster: schema.cluster,
            name: schema.name,
            slots: schema.slots,
        })
    }
}

fn bytes(given: Option<ByteSize>, otherwise: u64) -> u64 {
    given.map_or(otherwise, |size| size.0)
}

fn sandbox(file: &ConfigText, schema: Option<&SandboxSchema>) -> Result<SandboxChoice, ConfigError> {
    let Some(schema) = schema else {
        return Ok(SandboxChoice::Automatic);
    };
    let choice = match schema.r#type.as_str() {
        "auto" => SandboxChoice::Automatic,
        "namespaces" => SandboxChoice::Namespaces,
        "overlay" => SandboxChoice::Bubblewrap {
            program: schema.bwrap_path.as_deref().map(|path| file.resolve(path)),
        },
        other => {
            let rule =
                format!("`{other}` is not supported: write `auto`, `namespaces` or `overlay` (bubblewrap)");
            return Err(file.value_error("builder.type", rule));
        }
    };
    match (&choice, &schema.bwrap_path) {
        (SandboxChoice::Namespaces, Some(_)) => {
            Err(file.value_error("builder.bwrap_path", "belongs to `type = \"overlay\"` only"))
        }
        _ => Ok(choice),
    }
}

fn limits(file: &ConfigText, schema: LimitsSchema) -> Result<ActionLimits, ConfigError> {
    let otherwise = ActionLimits::default();
    let limits = ActionLimits {
        wall: schema.wall.map_or(otherwise.wall, |period| period.0),
        cpu: schema.cpu.map_or(otherwise.cpu, |period| period.0),
        memory: bytes(schema.memory, otherwise.memory),
        processes: schema.processes.unwrap_or(otherwise.processes),
        output: bytes(schema.output, otherwise.output),
    };
    let is_zero =
        limits.wall.is_zero() || limits.cpu.is_zero() || limits.memory == 0 || limits.processes == 0;
    if is_zero || limits.output == 0 {
        return Err(file.value_error("limits", "every limit is more than 0"));
    }
    if limits.output > quicc_protocol::limits::BLOB {
        let rule = format!(
            "at most {} bytes: larger outputs do not travel",
            quicc_protocol::limits::BLOB
        );
        return Err(file.value_error("limits.output", rule));
    }
    Ok(limits)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::path::Path;

    const SHORTEST: &str = "
        cache_dir = '/tmp/toolchains'
        public_addr = '192.168.1.1:10501'
        scheduler_url = 'https://192.168.1.1'
        name = 'b1'\n";

    fn parse(text: &str) -> Result<BuilderFile, ConfigError> {
        BuilderFile::parse(&ConfigText::new(Path::new("/etc/b.conf"), text))
    }

    /// The error of the shortest file with more text behind it.
    fn check_error(more: &str, expected: &str) {
        let error = parse(&format!("{SHORTEST}{more}")).unwrap_err().to_string();
        assert!(error.contains(expected), "{more}: {error}");
    }

    #[test]
    fn the_shortest_file_has_defaults() {
        let file = parse(SHORTEST).unwrap();
        assert_eq!(file.bind, "192.168.1.1:10501".parse().unwrap());
        assert_eq!(file.scheduler.to_string(), "192.168.1.1:10600");
        assert_eq!(file.scheduler_name.as_str(), "scheduler");
        assert_eq!((file.slots, file.sandbox), (None, SandboxChoice::Automatic));
        assert_eq!(file.toolchain_cache_size, 10 << 30);
        assert_eq!(file.limits, ActionLimits::default());
        assert_eq!(file.certificates.ca, Path::new("/etc/ca.pem"));
    }

    #[test]
    fn every_key_is_heard() {
        let text = "
            cache_dir = 'cache'
            toolchain_cache_size = 1
            mirror_cache_size = '2k'
            public_addr = 'b1.example:10501'
            bind_address = '0.0.0.0:10502'
            scheduler_url = 'quicc://s.example:7'
            scheduler_name = 'main'
            slots = 3
            ca = 'ca'
            certificate = 'c'
            key = 'k'
            cluster = 'farm'
            name = 'b1'
            [builder]
            type = 'overlay'
            build_dir = '/tmp/build'
            bwrap_path = '/usr/bin/bwrap'
            [limits]
            wall = '10m'
            cpu = 60
            memory = '2g'
            processes = 5
            output = '1m'
            [scheduler_auth]
            type = 'certificate'";
        let file = parse(text).unwrap();
        assert_eq!(
            (file.cache_dir.as_path(), file.slots),
            (Path::new("/etc/cache"), Some(3))
        );
        assert_eq!((file.toolchain_cache_size, file.mirror_cache_size), (1, 2048));
        assert_eq!(file.public_addr.to_string(), "b1.example:10501");
        assert_eq!(file.bind, "0.0.0.0:10502".parse().unwrap());
        assert_eq!(
            (file.scheduler.to_string().as_str(), file.scheduler_name.as_str()),
            ("s.example:7", "main")
        );
        let program = Some(PathBuf::from("/usr/bin/bwrap"));
        assert_eq!(file.sandbox, SandboxChoice::Bubblewrap { program });
        assert_eq!(file.build_dir.as_deref(), Some(Path::new("/tmp/build")));
        let limits = ActionLimits {
            wall: Duration::from_secs(600),
            cpu: Duration::from_secs(60),
            memory: 2 << 30,
            processes: 5,
            output: 1 << 20,
        };
        assert_eq!(file.limits, limits);
    }

    #[test]
    fn sandboxes_are_chosen_by_name() {
        let choice = |section: &str| parse(&format!("{SHORTEST}[builder]\n{section}")).unwrap().sandbox;
        assert_eq!(choice("type = 'auto'"), SandboxChoice::Automatic);
        assert_eq!(choice("type = 'namespaces'"), SandboxChoice::Namespaces);
        assert_eq!(
            choice("type = 'overlay'"),
            SandboxChoice::Bubblewrap { program: None }
        );
    }

    #[test]
    fn mistakes_are_named() {
        check_error(
            "[scheduler_auth]\ntype = 'jwt_token'\ntoken = 'x'",
            "`scheduler_auth.type`: `jwt_token`",
        );
        check_error(
            "[builder]\ntype = 'docker'",
            "`builder.type`: `docker` is not supported",
        );
        check_error(
            "[builder]\ntype = 'namespaces'\nbwrap_path = 'x'",
            "`builder.bwrap_path`: belongs",
        );
        check_error("slots = 0", "`slots`: between 1 and 4096");
        check_error("slots = 5000", "`slots`: between 1 and 4096");
        check_error("[limits]\nmemory = 0", "`limits`: every limit");
        check_error("[limits]\noutput = '3g'", "`limits.output`: at most");
        check_error(
            "[limits]\nmemry = 1",
            "unknown field `memry`, expected one of `wall`",
        );
        check_error("certificate = 'c'", "`key`: missing beside `certificate`");
        let unreachable = SHORTEST.replace("192.168.1.1:10501", "0.0.0.0:10501");
        let error = parse(&unreachable).unwrap_err().to_string();
        assert!(error.contains("`public_addr`: clients have to reach"), "{error}");
    }
}
