//! A farm inside the agent: scheduler and builder on loopback QUIC, with certificates that live as long as the
//! process. The same code and the same sandbox as a real farm; only the distance is missing.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use quicc_certs::{Credentials, Name, ephemeral_farm};
use quicc_protocol::version::ALPN;
use rustls::pki_types::CertificateDer;

use crate::agent::farm::FarmAccess;
use crate::builder::{self, Builder, BuilderConfig, BuilderError};
use crate::host::task::{self, Task};
use crate::host::{clock, text};
use crate::scheduler::service::{self as scheduler, SchedulerConfig};
use crate::transport::{Endpoint, ResetSecret};

/// An agent that runs longer has its farm's certificates expire; it then works locally and is restarted.
const LIFETIME: Duration = Duration::from_secs(30 * 24 * 3600);
/// Between two offers of the builder.
const HEARTBEAT: Duration = Duration::from_secs(1);
/// Directories tried: agents of one user that drain while others take their place.
const CACHES: u32 = 4;
/// The certificates' names.
const CLUSTER: &str = "embedded";

/// A running farm; dropping its roles ends it.
#[derive(Debug)]
pub(crate) struct EmbeddedFarm {
    /// How an agent reaches it.
    pub(crate) access: FarmAccess,
    /// The agent's own endpoint.
    pub(crate) endpoint: Endpoint,
    /// The running roles.
    pub(crate) roles: [Task<()>; 2],
}

/// Starts a farm whose builder keeps its files in `cache`.
pub(crate) async fn start(cache: PathBuf) -> Result<EmbeddedFarm, String> {
    let cluster: Name = CLUSTER.parse().map_err(|error| text::chain(&error))?;
    let certificates =
        ephemeral_farm(&cluster, LIFETIME, clock::unix_seconds()).map_err(|error| text::chain(&error))?;
    let ca = &certificates.ca;
    let scheduler_endpoint = endpoint(ca, &certificates.scheduler, true)?;
    let builder_endpoint = endpoint(ca, &certificates.builder, true)?;
    let agent_endpoint = endpoint(ca, &certificates.client, false)?;
    let address = |endpoint: &Endpoint| endpoint.local_address().map_err(|error| text::chain(&error));
    let scheduler_address = address(&scheduler_endpoint)?.to_string();
    let builder_address = address(&builder_endpoint)?.to_string();
    let scheduler_name = certificates.scheduler.identity().name.clone();
    let config = BuilderConfig::embedded(
        certificates.builder.identity().clone(),
        certificates.scheduler.identity().clone(),
        scheduler_address.clone(),
        builder_address,
        cache,
    );
    let builder = prepare(config).await.map_err(|error| text::chain(&error))?;
    let scheduler_config = SchedulerConfig {
        cluster: cluster.clone(),
        heartbeat: HEARTBEAT,
    };
    let scheduler = task::spawn("scheduler", async move {
        if let Err(error) =
            scheduler::serve(scheduler_config, scheduler_endpoint, std::future::pending()).await
        {
            tracing::error!(error = text::chain(&error), "the embedded scheduler ended");
        }
    });
    let builder = task::spawn("builder", async move {
        if let Err(error) = builder.serve(builder_endpoint, std::future::pending()).await {
            tracing::error!(error = text::chain(&error), "the embedded builder ended");
        }
    });
    let machine = std::env::consts::ARCH.to_owned();
    let access = FarmAccess {
        scheduler: scheduler_address,
        cluster,
        scheduler_name,
        machine,
    };
    Ok(EmbeddedFarm {
        access,
        endpoint: agent_endpoint,
        roles: [scheduler, builder],
    })
}

/// A builder in the first of [`CACHES`] directories that no draining predecessor keeps.
async fn prepare(config: BuilderConfig) -> Result<Builder, BuilderError> {
    let mut first = None;
    for number in 1..=CACHES {
        match builder::prepare(config.clone().in_cache(nth_cache(&config.cache_dir, number))).await {
            Ok(builder) => return Ok(builder),
            // In use, or being cleared by an agent that ends.
            Err(
                error @ (BuilderError::Cas(_)
                | BuilderError::File(_)
                | BuilderError::BuildDirectoryInUse { .. }),
            ) => first = first.or(Some(error)),
            Err(error) => return Err(error),
        }
    }
    Err(first.unwrap_or(BuilderError::EndpointClosed))
}

fn nth_cache(first: &Path, number: u32) -> PathBuf {
    if number == 1 {
        return first.to_owned();
    }
    let mut name = first.as_os_str().to_owned();
    name.push(format!("-{number}"));
    name.into()
}

fn endpoint(ca: &CertificateDer<'_>, credentials: &Credentials, serves: bool) -> Result<Endpoint, String> {
    let ca = ca.clone().into_owned();
    let server = serves
        .then(|| quicc_certs::server_config(&ca, credentials, &[ALPN]))
        .transpose()
        .map_err(|error| text::chain(&error))?;
    let client =
        quicc_certs::client_config(&ca, credentials, &[ALPN]).map_err(|error| text::chain(&error))?;
    let loopback = SocketAddr::from((Ipv4Addr::LOCALHOST, 0));
    Endpoint::bind(loopback, server, client, ResetSecret::of(credentials))
        .map_err(|error| text::chain(&error))
}
