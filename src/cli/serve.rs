//! `quicc scheduler` and `quicc builder`: a role from its configuration until it is told to end.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::Args;
use quicc_certs::{Identity, Role};

use super::report::Failure;
use super::{daemon, peer, say, tell};
use crate::builder::{self, BuilderConfig};
use crate::config::file::ConfigText;
use crate::config::{BuilderFile, SchedulerFile};
use crate::scheduler::service::{self as scheduler_service, SchedulerConfig};

/// Blocking work may outlast its role by so much.
const END: Duration = Duration::from_secs(1);

/// Options of a served role.
#[derive(Debug, Args)]
pub(crate) struct Options {
    /// Configuration file
    #[arg(long, value_name = "FILE")]
    config: PathBuf,
    /// Detach once ready
    #[arg(long)]
    daemon: bool,
    /// Be the detached process
    #[arg(long, hide = true)]
    detached: bool,
    /// Log to this file instead of standard error
    #[arg(long, value_name = "FILE")]
    log: Option<PathBuf>,
}

/// `quicc scheduler`.
pub(crate) fn scheduler(options: &Options) -> Result<u8, Failure> {
    serve("scheduler", options, |text| async move {
        let file = SchedulerFile::parse(&text)?;
        let credentials = peer::load(
            &file.certificates,
            Role::Scheduler,
            file.cluster.as_ref(),
            file.name.as_ref(),
        )?;
        let endpoint = peer::endpoint(&credentials, Some(file.bind))?;
        let identity = credentials.own.identity().clone();
        tell(&format!(
            "quicc: {identity} listens on UDP {}",
            endpoint.local_address()?
        ));
        daemon::say_ready(options.detached)?;
        let config = SchedulerConfig {
            cluster: identity.cluster,
            heartbeat: file.heartbeat,
        };
        Ok(scheduler_service::serve(config, endpoint, daemon::told_to_end()).await?)
    })
}

/// `quicc builder`.
pub(crate) fn builder(options: &Options) -> Result<u8, Failure> {
    serve("builder", options, |text| async move {
        let file = BuilderFile::parse(&text)?;
        let credentials = peer::load(
            &file.certificates,
            Role::Builder,
            file.cluster.as_ref(),
            file.name.as_ref(),
        )?;
        let endpoint = peer::endpoint(&credentials, Some(file.bind))?;
        let identity = credentials.own.identity().clone();
        let scheduler = Identity {
            cluster: identity.cluster.clone(),
            role: Role::Scheduler,
            name: file.scheduler_name.clone(),
        };
        let config = BuilderConfig::from_file(&file, identity.clone(), scheduler);
        let builder = builder::prepare(config).await?;
        tell(&format!(
            "quicc: {identity} listens on UDP {}",
            endpoint.local_address()?
        ));
        daemon::say_ready(options.detached)?;
        Ok(builder.serve(endpoint, daemon::told_to_end()).await?)
    })
}

fn serve<F: Future<Output = Result<(), Failure>>>(
    role: &str,
    options: &Options,
    run: impl FnOnce(ConfigText) -> F,
) -> Result<u8, Failure> {
    let config = std::path::absolute(&options.config)?;
    let text = ConfigText::read(&config)?;
    let log = options.log.as_deref().map(std::path::absolute).transpose()?;
    if options.daemon && !options.detached {
        return start_daemon(role, &config, log.as_deref());
    }
    if options.detached {
        daemon::leave_caller()?;
    }
    daemon::start_log(log.as_deref())?;
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    let result = runtime.block_on(run(text));
    runtime.shutdown_timeout(END);
    result.map(|()| 0)
}

fn start_daemon(role: &str, config: &Path, log: Option<&Path>) -> Result<u8, Failure> {
    let mut arguments = vec![
        OsStr::new(role),
        OsStr::new("--detached"),
        OsStr::new("--config"),
        config.as_os_str(),
    ];
    if let Some(log) = log {
        arguments.extend([OsStr::new("--log"), log.as_os_str()]);
    }
    match daemon::spawn(&arguments)? {
        Some(pid) => {
            say(&format!("{role} {pid} is running"));
            Ok(0)
        }
        None => Err(Failure::new(format!("the {role} did not start"))
            .with_hint(format!("quicc {role} --config {} shows why", config.display()))),
    }
}
