//! `quicc certgen`: the farm's authority and its peers' certificates.

use std::path::{Path, PathBuf};
use std::time::Duration;

use clap::{Subcommand, ValueEnum};
use quicc_certs::{Authority, FileError, Identity, Name, Role, default_lifetime};

use super::report::Failure;
use super::say;
use crate::host::clock;
use crate::host::files::PathContext;

const DAY: Duration = Duration::from_secs(24 * 3600);

/// What to do with certificates.
#[derive(Debug, Subcommand)]
pub(crate) enum Action {
    /// Create the farm's authority: ca.pem for every machine, ca.key for none but this one
    Init {
        /// Directory for the files
        #[arg(long, default_value = ".", value_name = "DIR")]
        dir: PathBuf,
        /// Name of the farm, part of every identity
        #[arg(long, default_value = "farm")]
        cluster: Name,
    },
    /// Issue a certificate and its key
    Issue {
        /// Directory of ca.pem and ca.key; the new files go there too
        #[arg(long, default_value = ".", value_name = "DIR")]
        dir: PathBuf,
        /// What the peer may do
        #[arg(long)]
        role: RoleArgument,
        /// Its name in the farm
        #[arg(long)]
        name: Name,
        /// Days until it expires; by default 90 for scheduler and builder, 30 for a client
        #[arg(long, value_name = "DAYS")]
        days: Option<u32>,
    },
}

/// A role on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
pub(crate) enum RoleArgument {
    /// Grants leases
    Scheduler,
    /// Runs compiles
    Builder,
    /// Sends compiles
    Client,
}

impl From<RoleArgument> for Role {
    fn from(role: RoleArgument) -> Self {
        match role {
            RoleArgument::Scheduler => Self::Scheduler,
            RoleArgument::Builder => Self::Builder,
            RoleArgument::Client => Self::Client,
        }
    }
}

/// Runs the action.
pub(crate) fn run(action: Action) -> Result<u8, Failure> {
    let now = clock::unix_seconds();
    match action {
        Action::Init { dir, cluster } => {
            std::fs::create_dir_all(&dir).context("create", &dir)?;
            let files = Authority::create(&cluster, now)?.save(&dir).map_err(with_hint)?;
            say(&format!(
                "authority of {cluster}: {} and {}",
                files.certificate.display(),
                files.key.display()
            ));
        }
        Action::Issue {
            dir,
            role,
            name,
            days,
        } => {
            let lifetime = days.map_or_else(|| default_lifetime(role.into()), |days| DAY * days);
            issue(&dir, role.into(), name, lifetime, now)?;
        }
    }
    Ok(0)
}

fn issue(dir: &Path, role: Role, name: Name, lifetime: Duration, now: u64) -> Result<(), Failure> {
    let authority = Authority::load(dir, now).map_err(with_hint)?;
    let identity = Identity {
        cluster: authority.cluster().clone(),
        role,
        name,
    };
    let credentials = authority.issue(&identity, lifetime, now)?;
    let files = credentials.save(dir).map_err(with_hint)?;
    say(&format!(
        "{identity}: {} and {}",
        files.certificate.display(),
        files.key.display()
    ));
    Ok(())
}

fn with_hint(error: FileError) -> Failure {
    let hint = error.hint();
    Failure::from(error).with_hint(hint)
}
