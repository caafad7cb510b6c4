//! Credentials for a farm that lives inside one process or one test run: made in memory, thrown away with it,
//! and never written anywhere. There is no farm without certificates.

use std::time::Duration;

use rustls::pki_types::CertificateDer;

use crate::authority::{Authority, AuthorityError};
use crate::credentials::Credentials;
use crate::identity::{Identity, Role};
use crate::name::Name;

/// One peer of each role and what they trust. The authority's key is gone: nobody joins such a farm later.
#[derive(Debug)]
pub struct EphemeralFarm {
    /// The certificate all of them trust.
    pub ca: CertificateDer<'static>,
    /// The scheduler's credentials.
    pub scheduler: Credentials,
    /// The builder's credentials.
    pub builder: Credentials,
    /// The client's credentials.
    pub client: Credentials,
}

/// A farm's credentials, valid for `lifetime` from `now` (seconds since the Unix epoch). Each peer bears the
/// cluster's name.
pub fn ephemeral_farm(cluster: &Name, lifetime: Duration, now: u64) -> Result<EphemeralFarm, AuthorityError> {
    let authority = Authority::create(cluster, now)?;
    let issue = |role| {
        let identity = Identity {
            cluster: cluster.clone(),
            role,
            name: cluster.clone(),
        };
        authority.issue(&identity, lifetime, now)
    };
    Ok(EphemeralFarm {
        ca: authority.certificate().clone(),
        scheduler: issue(Role::Scheduler)?,
        builder: issue(Role::Builder)?,
        client: issue(Role::Client)?,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn has_one_peer_of_each_role_for_the_lifetime_asked() {
        let cluster: Name = "embedded".parse().unwrap();
        let farm = ephemeral_farm(&cluster, Duration::from_secs(86_400), 1_900_000_000).unwrap();
        for (credentials, role) in [
            (farm.scheduler, Role::Scheduler),
            (farm.builder, Role::Builder),
            (farm.client, Role::Client),
        ] {
            assert_eq!(credentials.identity().role, role);
            assert_eq!(credentials.identity().cluster, cluster);
            assert_eq!(credentials.expiry(), 1_900_086_400);
        }
    }
}
