//! A cluster's certificate authority: one P-256 key that signs the leaves of that cluster and no others.
//! Decides what a leaf says; never touches a file or a clock.

use std::fmt;
use std::time::Duration;

use rcgen::string::Ia5String;
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, DnType, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, date_time_ymd,
};
use rustls::pki_types::{CertificateDer, PrivatePkcs8KeyDer};
use x509_parser::certificate::X509Certificate;

use crate::certificate::{self, CertificateError};
use crate::credentials::{Credentials, CredentialsError};
use crate::identity::{Identity, Role};
use crate::key::{self, KeyError};
use crate::name::Name;

const DAY: Duration = Duration::from_secs(24 * 60 * 60);

/// How long an authority signs.
pub const AUTHORITY_LIFETIME: Duration = DAY.saturating_mul(3653);

/// How long the certificates of schedulers and builders live unless asked otherwise.
pub const SERVER_LIFETIME: Duration = DAY.saturating_mul(90);

/// How long clients' certificates live unless asked otherwise: there are many, on machines that get lost.
pub const CLIENT_LIFETIME: Duration = DAY.saturating_mul(30);

/// Certificates are valid from this long before they are made, for peers whose clocks are behind.
pub const CLOCK_SKEW_ALLOWANCE: Duration = Duration::from_secs(5 * 60);

/// The last second an X.509 date can express, 9999-12-31T23:59:59Z (RFC 5280 §4.1.2.5).
const LATEST_DATE: u64 = 253_402_300_799;

const ORGANIZATION: &str = "quicc";

/// How long a certificate of the role lives unless asked otherwise.
pub fn default_lifetime(role: Role) -> Duration {
    if role.accepts_connections() {
        SERVER_LIFETIME
    } else {
        CLIENT_LIFETIME
    }
}

/// The one that says who belongs to a cluster.
pub struct Authority {
    cluster: Name,
    certificate: CertificateDer<'static>,
    expiry: u64,
    key: KeyPair,
}

/// Why an authority cannot be made, be loaded, or sign.
#[derive(Debug, thiserror::Error)]
pub enum AuthorityError {
    /// The library refused to make a key or a certificate.
    #[error("cannot make a certificate")]
    Generate {
        /// What it says.
        #[from]
        source: rcgen::Error,
    },
    /// What was signed cannot be read back.
    #[error("cannot read an issued certificate")]
    Issued {
        /// What is wrong with it.
        #[from]
        source: CredentialsError,
    },
    /// The certificate cannot be read.
    #[error(transparent)]
    Certificate(#[from] CertificateError),
    /// The key is not the certificate's.
    #[error(transparent)]
    Key(#[from] KeyError),
    /// The certificate is not one that [`Authority::create`] made.
    #[error("not the certificate of a cluster's authority")]
    Foreign,
    /// The identity belongs elsewhere.
    #[error("the authority of cluster {cluster} cannot issue a certificate for {identity}")]
    OtherCluster {
        /// Whose authority was asked.
        cluster: Name,
        /// Whom it was asked for.
        identity: Identity,
    },
    /// The authority's own certificate has expired.
    #[error("the authority of cluster {cluster} has expired")]
    Expired {
        /// Whose authority it is.
        cluster: Name,
    },
    /// A certificate would have to carry a date after the year 9999.
    #[error("the clock is beyond the dates of certificates: {now} seconds since 1970")]
    Clock {
        /// The time given, in seconds since the Unix epoch.
        now: u64,
    },
}

impl Authority {
    /// A new authority for `cluster`, valid for [`AUTHORITY_LIFETIME`] from `now` (seconds since the Unix
    /// epoch).
    pub fn create(cluster: &Name, now: u64) -> Result<Self, AuthorityError> {
        let expiry = now.saturating_add(AUTHORITY_LIFETIME.as_secs());
        if expiry > LATEST_DATE {
            return Err(AuthorityError::Clock { now });
        }
        let key = KeyPair::generate()?;
        let mut params = authority_params(cluster);
        set_validity(&mut params, now, expiry);
        let certificate = params.self_signed(&key)?.der().clone();
        Ok(Self {
            cluster: cluster.clone(),
            certificate,
            expiry,
            key,
        })
    }

    /// The authority of a certificate and key (P-256, PKCS #8) that [`Authority::create`] once made.
    pub fn from_parts(
        certificate: CertificateDer<'static>,
        key: &PrivatePkcs8KeyDer<'_>,
    ) -> Result<Self, AuthorityError> {
        let key = key::key_of(&certificate, key)?;
        let cluster = cluster_of(&certificate::parse(&certificate)?)?;
        let expiry = certificate::certificate_expiry(&certificate)?;
        Ok(Self {
            cluster,
            certificate,
            expiry,
            key,
        })
    }

    /// Signs a certificate with a fresh key for `identity`, valid for `lifetime` from `now` (seconds since
    /// the Unix epoch), but never longer than the authority.
    ///
    /// Schedulers and builders may accept and make connections; clients may only make them.
    pub fn issue(
        &self,
        identity: &Identity,
        lifetime: Duration,
        now: u64,
    ) -> Result<Credentials, AuthorityError> {
        if identity.cluster != self.cluster {
            let cluster = self.cluster.clone();
            return Err(AuthorityError::OtherCluster {
                cluster,
                identity: identity.clone(),
            });
        }
        if now >= self.expiry {
            return Err(AuthorityError::Expired {
                cluster: self.cluster.clone(),
            });
        }
        let mut params = leaf_params(identity)?;
        set_validity(
            &mut params,
            now,
            now.saturating_add(lifetime.as_secs()).min(self.expiry),
        );
        let issuer = authority_params(&self.cluster);
        let key = KeyPair::generate()?;
        let certificate = params.signed_by(&key, &Issuer::from_params(&issuer, &self.key))?;
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        Ok(Credentials::from_parts(certificate.der().clone(), &key)?)
    }

    /// The cluster whose peers this authority names.
    pub fn cluster(&self) -> &Name {
        &self.cluster
    }

    /// The certificate every peer of the cluster trusts.
    pub fn certificate(&self) -> &CertificateDer<'static> {
        &self.certificate
    }

    /// The certificate every peer of the cluster trusts, as PEM.
    pub fn certificate_pem(&self) -> String {
        certificate::to_pem(&self.certificate)
    }

    /// When the authority expires, in seconds since the Unix epoch.
    pub fn expiry(&self) -> u64 {
        self.expiry
    }

    /// The private key as PEM, for its file.
    pub(crate) fn key_pem(&self) -> String {
        self.key.serialize_pem()
    }
}

impl fmt::Debug for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter
            .debug_struct("Authority")
            .field("cluster", &self.cluster)
            .field("expiry", &self.expiry)
            .finish_non_exhaustive()
    }
}

/// What every authority of the cluster says but its dates and key. Issuing makes the issuer's name from this
/// too.
fn authority_params(cluster: &Name) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(None, cluster);
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

fn leaf_params(identity: &Identity) -> Result<CertificateParams, rcgen::Error> {
    let mut params = CertificateParams::default();
    params.distinguished_name = distinguished_name(Some(identity.role), &identity.name);
    params.subject_alt_names = vec![SanType::URI(Ia5String::try_from(identity.to_string())?)];
    params.is_ca = IsCa::ExplicitNoCa;
    params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
    params.extended_key_usages = vec![ExtendedKeyUsagePurpose::ClientAuth];
    params.use_authority_key_identifier_extension = true;
    if identity.role.accepts_connections() {
        params
            .subject_alt_names
            .push(SanType::DnsName(Ia5String::try_from(identity.server_name())?));
        params
            .extended_key_usages
            .push(ExtendedKeyUsagePurpose::ServerAuth);
    }
    Ok(params)
}

/// For readers of certificates; peers are told apart by [`Identity`] alone. The unit keeps a leaf named like
/// its cluster from looking self-issued.
fn distinguished_name(unit: Option<Role>, common: &Name) -> DistinguishedName {
    let mut name = DistinguishedName::new();
    name.push(DnType::OrganizationName, ORGANIZATION);
    if let Some(role) = unit {
        name.push(DnType::OrganizationalUnitName, role.to_string());
    }
    name.push(DnType::CommonName, common.as_str());
    name
}

/// `not_after` is at most [`LATEST_DATE`] and after `now`, in seconds since the Unix epoch.
fn set_validity(params: &mut CertificateParams, now: u64, not_after: u64) {
    let epoch = date_time_ymd(1970, 1, 1);
    params.not_before = epoch + Duration::from_secs(now).saturating_sub(CLOCK_SKEW_ALLOWANCE);
    params.not_after = epoch + Duration::from_secs(not_after);
}

/// The cluster an authority's certificate is for, if its subject is exactly what [`authority_params`] writes:
/// the leaves' issuer is written by it again and must match.
fn cluster_of(certificate: &X509Certificate<'_>) -> Result<Name, AuthorityError> {
    let common = certificate.subject().iter_common_name().next();
    let cluster: Name = common
        .and_then(|attribute| attribute.as_str().ok())
        .and_then(|text| text.parse().ok())
        .ok_or(AuthorityError::Foreign)?;
    let subject = format!("O={ORGANIZATION}, CN={cluster}");
    if certificate.is_ca() && certificate.subject().to_string() == subject {
        Ok(cluster)
    } else {
        Err(AuthorityError::Foreign)
    }
}

#[cfg(test)]
mod tests {
    use x509_parser::extensions::GeneralName;

    use super::*;

    const NOW: u64 = 1_900_000_000;

    fn authority() -> Authority {
        Authority::create(&"farm".parse().unwrap(), NOW).unwrap()
    }

    fn identity(text: &str) -> Identity {
        text.parse().unwrap()
    }

    #[test]
    fn an_authority_signs_leaves_and_nothing_else() {
        let authority = authority();
        let certificate = certificate::parse(authority.certificate()).unwrap();
        let constraints = certificate.basic_constraints().unwrap().unwrap();
        assert!(constraints.critical && constraints.value.ca);
        assert_eq!(constraints.value.path_len_constraint, Some(0));
        let usage = certificate.key_usage().unwrap().unwrap().value;
        assert_eq!(usage.flags, 1 << 5 | 1 << 6, "keyCertSign, cRLSign");
        assert_eq!(certificate.validity().not_before.timestamp(), (NOW - 300) as i64);
        assert_eq!(
            certificate.validity().not_after.timestamp(),
            (NOW + 3653 * 86_400) as i64
        );
    }

    fn check_leaf(text: &str, serves: bool, expected_lifetime: u64) {
        let identity = identity(text);
        let credentials = authority()
            .issue(&identity, default_lifetime(identity.role), NOW)
            .unwrap();
        let certificate = certificate::parse(credentials.certificate()).unwrap();
        assert_eq!(credentials.identity(), &identity);
        assert_eq!(credentials.expiry(), NOW + expected_lifetime, "{text}");
        assert_eq!(certificate.validity().not_before.timestamp(), (NOW - 300) as i64);
        assert!(!certificate.is_ca());
        assert_eq!(
            certificate.key_usage().unwrap().unwrap().value.flags,
            1,
            "digitalSignature"
        );
        let usage = certificate.extended_key_usage().unwrap().unwrap().value;
        assert!(usage.client_auth && !usage.any, "{text}");
        assert_eq!(usage.server_auth, serves, "{text}");
        let names = &certificate
            .subject_alternative_name()
            .unwrap()
            .unwrap()
            .value
            .general_names;
        let server_name = identity.server_name();
        assert_eq!(
            names.contains(&GeneralName::DNSName(&server_name)),
            serves,
            "{text}"
        );
        assert_eq!(names.len(), if serves { 2 } else { 1 }, "{text}");
    }

    #[test]
    fn a_leaf_allows_what_its_role_does() {
        check_leaf("quicc://farm/scheduler/s", true, 90 * 86_400);
        check_leaf("quicc://farm/builder/b_7.example", true, 90 * 86_400);
        check_leaf("quicc://farm/client/alice", false, 30 * 86_400);
    }

    #[test]
    fn leaves_have_keys_and_serials_of_their_own() {
        let authority = authority();
        let [one, other] = [(); 2].map(|()| {
            authority
                .issue(&identity("quicc://farm/client/a"), CLIENT_LIFETIME, NOW)
                .unwrap()
        });
        let (one, other) = (one.certificate(), other.certificate());
        assert_ne!(
            certificate::spki_hash(one).unwrap(),
            certificate::spki_hash(other).unwrap()
        );
        assert_ne!(
            certificate::serial(one).unwrap(),
            certificate::serial(other).unwrap()
        );
    }

    #[test]
    fn a_leaf_never_outlives_its_authority() {
        let authority = authority();
        let issue = |now| authority.issue(&identity("quicc://farm/client/a"), Duration::MAX, now);
        assert_eq!(issue(NOW).unwrap().expiry(), authority.expiry());
        assert_eq!(
            issue(authority.expiry() - 1).unwrap().expiry(),
            authority.expiry()
        );
        for now in [authority.expiry(), u64::MAX] {
            assert!(matches!(issue(now), Err(AuthorityError::Expired { .. })), "{now}");
        }
    }

    #[test]
    fn names_only_its_own_cluster() {
        let error = authority()
            .issue(&identity("quicc://other/client/a"), CLIENT_LIFETIME, NOW)
            .unwrap_err();
        assert!(matches!(error, AuthorityError::OtherCluster { .. }), "{error:?}");
    }

    #[test]
    fn any_clock_gives_a_certificate_or_an_error() {
        let cluster = "farm".parse().unwrap();
        let last = LATEST_DATE - AUTHORITY_LIFETIME.as_secs();
        for now in [0, 1, NOW, last] {
            let authority = Authority::create(&cluster, now).unwrap();
            assert_eq!(
                certificate::certificate_expiry(authority.certificate()).unwrap(),
                authority.expiry()
            );
        }
        for now in [last + 1, LATEST_DATE, u64::MAX] {
            assert!(
                matches!(
                    Authority::create(&cluster, now),
                    Err(AuthorityError::Clock { .. })
                ),
                "{now}"
            );
        }
    }

    #[test]
    fn parts_make_the_same_authority() {
        let original = authority();
        let key = PrivatePkcs8KeyDer::from(original.key.serialize_der());
        let copy = Authority::from_parts(original.certificate().clone(), &key).unwrap();
        assert_eq!(
            (copy.cluster(), copy.expiry()),
            (original.cluster(), original.expiry())
        );
    }

    #[test]
    fn only_an_authoritys_certificate_makes_an_authority() {
        let leaf = authority()
            .issue(&identity("quicc://farm/builder/b"), SERVER_LIFETIME, NOW)
            .unwrap();
        let key = PrivatePkcs8KeyDer::from(leaf.key().secret_der().to_vec());
        let error = Authority::from_parts(leaf.certificate().clone(), &key).unwrap_err();
        assert!(matches!(error, AuthorityError::Foreign), "{error:?}");

        let key = KeyPair::generate().unwrap();
        let mut params = authority_params(&"farm".parse().unwrap());
        params.distinguished_name.push(DnType::CountryName, "NL");
        let certificate = params.self_signed(&key).unwrap().der().clone();
        let key = PrivatePkcs8KeyDer::from(key.serialize_der());
        assert!(matches!(
            Authority::from_parts(certificate, &key),
            Err(AuthorityError::Foreign)
        ));
    }

    #[test]
    fn debug_shows_no_key() {
        let expected = r#"Authority { cluster: Name("farm"), expiry: 2215619200, .. }"#;
        assert_eq!(format!("{:?}", authority()), expected);
    }
}
