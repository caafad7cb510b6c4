//! Who a peer is: cluster, role and name, as one URI in its certificate. Owns that URI's grammar and the
//! rules who may act as what; never verifies a signature, which TLS has done by the time an identity is read.

use std::fmt;
use std::str::FromStr;

use rustls::pki_types::CertificateDer;
use x509_parser::extensions::GeneralName;

use crate::certificate::{self, CertificateError};
use crate::name::{Name, NameError, excerpt};

const SCHEME: &str = "quicc";

/// Ends every [`Identity::server_name`]. ICANN reserved `internal` for private use in 2024, so no such name can
/// be somebody else's.
const SERVER_NAME_SUFFIX: &str = "quicc.internal";

/// What a peer may do in its farm.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Role {
    /// Grants leases.
    Scheduler,
    /// Runs actions.
    Builder,
    /// Asks for leases and sends actions.
    Client,
}

impl Role {
    /// Every role.
    pub const ALL: [Self; 3] = [Self::Scheduler, Self::Builder, Self::Client];

    /// Whether peers of this role accept connections; the others only make them.
    pub fn accepts_connections(self) -> bool {
        match self {
            Self::Scheduler | Self::Builder => true,
            Self::Client => false,
        }
    }

    fn as_str(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::Builder => "builder",
            Self::Client => "client",
        }
    }
}

impl fmt::Display for Role {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str(self.as_str())
    }
}

impl FromStr for Role {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let role = Self::ALL.into_iter().find(|role| role.as_str() == text);
        role.ok_or_else(|| IdentityError::UnknownRole { text: excerpt(text) })
    }
}

/// One peer of one cluster, written `quicc://cluster/role/name`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Identity {
    /// The farm the peer belongs to.
    pub cluster: Name,
    /// What it may do there.
    pub role: Role,
    /// What tells it from other peers of its role.
    pub name: Name,
}

/// Why a text or a certificate names no identity, or one that will not do.
#[derive(Debug, thiserror::Error)]
pub enum IdentityError {
    /// The text has not the form of an identity.
    #[error("{text:?} is not an identity: expected quicc://cluster/role/name")]
    Form {
        /// The text, cut to its beginning.
        text: String,
    },
    /// The text names no [`Role`].
    #[error("{text:?} is not a role: expected scheduler, builder or client")]
    UnknownRole {
        /// The text, cut to its beginning.
        text: String,
    },
    /// The cluster or the name is no [`Name`].
    #[error(transparent)]
    Name(#[from] NameError),
    /// The certificate cannot be read.
    #[error("cannot read an identity from a certificate")]
    Certificate {
        /// What is wrong with it.
        #[from]
        source: CertificateError,
    },
    /// The certificate has none, or several, of the URIs of which it must have one.
    #[error("a certificate has {count} alternative names quicc://…: expected one")]
    Count {
        /// How many it has.
        count: usize,
    },
    /// The peer presented no certificate.
    #[error("the peer presented no certificate")]
    NoCertificate,
    /// The peer is somebody, but not one who may do this.
    #[error("{identity} is not a {expected}")]
    WrongRole {
        /// Who the peer is.
        identity: Identity,
        /// What it would have to be.
        expected: Role,
    },
}

impl Identity {
    /// The identity a leaf certificate was issued for. Exactly one of its alternative names may have the
    /// scheme `quicc`; other URIs and kinds of names mean nothing here.
    ///
    /// The certificate's signature and dates are not checked: this is for certificates TLS has accepted, or
    /// our own.
    pub fn from_certificate(der: &[u8]) -> Result<Self, IdentityError> {
        let certificate = certificate::parse(der)?;
        let names = certificate
            .subject_alternative_name()
            .map_err(CertificateError::from)?;
        let uris: Vec<&str> = names
            .iter()
            .flat_map(|extension| &extension.value.general_names)
            .filter_map(|name| match name {
                GeneralName::URI(uri) if has_scheme(uri) => Some(*uri),
                _ => None,
            })
            .collect();
        match uris[..] {
            [uri] => uri.parse(),
            _ => Err(IdentityError::Count { count: uris.len() }),
        }
    }

    /// The DNS name that stands for this identity in TLS: peers are dialled by identity, whatever their
    /// address. Different identities of one cluster have different names; every such name is valid.
    pub fn server_name(&self) -> String {
        let Self { cluster, role, name } = self;
        format!("{name}.{role}.{cluster}.{SERVER_NAME_SUFFIX}")
    }

    /// This identity, if it has the role.
    ///
    /// TLS shows that the cluster's authority signed the peer's certificate, not what for: without this check
    /// a client could pose as a scheduler.
    pub fn require(&self, role: Role) -> Result<&Self, IdentityError> {
        if self.role == role {
            Ok(self)
        } else {
            Err(IdentityError::WrongRole {
                identity: self.clone(),
                expected: role,
            })
        }
    }
}

impl fmt::Display for Identity {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { cluster, role, name } = self;
        write!(formatter, "{SCHEME}://{cluster}/{role}/{name}")
    }
}

impl FromStr for Identity {
    type Err = IdentityError;

    fn from_str(text: &str) -> Result<Self, IdentityError> {
        let form = || IdentityError::Form { text: excerpt(text) };
        let path = text.strip_prefix("quicc://").ok_or_else(form)?;
        let parts: Vec<&str> = path.splitn(4, '/').collect();
        let [cluster, role, name] = parts[..] else {
            return Err(form());
        };
        Ok(Self {
            cluster: cluster.parse()?,
            role: role.parse()?,
            name: name.parse()?,
        })
    }
}

/// The identity of the peer that presented `certificates`, as rustls and quinn hand them out: its leaf comes
/// first.
pub fn peer_identity(certificates: &[CertificateDer<'_>]) -> Result<Identity, IdentityError> {
    let leaf = certificates.first().ok_or(IdentityError::NoCertificate)?;
    Identity::from_certificate(leaf)
}

/// Schemes ignore case (RFC 3986 §3.1): a second identity does not hide behind capitals.
fn has_scheme(uri: &str) -> bool {
    uri.split_once(':')
        .is_some_and(|(scheme, _)| scheme.eq_ignore_ascii_case(SCHEME))
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use rcgen::{CertificateParams, KeyPair, SanType};

    use super::*;

    fn check(text: &str, expected: Option<(&str, Role, &str)>) {
        let parsed = text.parse::<Identity>().ok();
        let expected = expected.map(|(cluster, role, name)| Identity {
            cluster: cluster.parse().unwrap(),
            role,
            name: name.parse().unwrap(),
        });
        assert_eq!(parsed, expected, "{text:?}");
    }

    #[test]
    fn parses_the_one_form() {
        check("quicc://farm/builder/b17", Some(("farm", Role::Builder, "b17")));
        check(
            "quicc://ci.example.com/scheduler/s",
            Some(("ci.example.com", Role::Scheduler, "s")),
        );
        check(
            "quicc://a/client/alice_2-laptop",
            Some(("a", Role::Client, "alice_2-laptop")),
        );
    }

    #[test]
    fn refuses_every_other_form() {
        for text in [
            "",
            "quicc:",
            "quicc://",
            "quicc://a",
            "quicc://a/builder",
            "quicc://a/builder/",
        ] {
            check(text, None);
        }
        for text in [
            "quicc://a/builder/b/",
            "quicc://a/builder/b/c",
            "quicc:///builder/b",
            "quicc://a//b",
        ] {
            check(text, None);
        }
        for text in [
            "QUICC://a/builder/b",
            "http://a/builder/b",
            " quicc://a/builder/b",
            "quicc:/a/builder/b",
        ] {
            check(text, None);
        }
        for text in [
            "quicc://a/Builder/b",
            "quicc://a/root/b",
            "quicc://a:1/builder/b",
            "quicc://u@a/builder/b",
        ] {
            check(text, None);
        }
        for text in [
            "quicc://a/builder/b?x",
            "quicc://a/builder/b#x",
            "quicc://a/builder/%62",
            "quicc://a/builder/b\0",
        ] {
            check(text, None);
        }
    }

    fn certificate_with(uris: &[&str]) -> Vec<u8> {
        let mut params = CertificateParams::new(vec!["host.example".to_owned()]).unwrap();
        params
            .subject_alt_names
            .extend(uris.iter().map(|uri| SanType::URI((*uri).try_into().unwrap())));
        params
            .self_signed(&KeyPair::generate().unwrap())
            .unwrap()
            .der()
            .to_vec()
    }

    fn check_certificate(uris: &[&str], expected: Result<&str, usize>) {
        let found = Identity::from_certificate(&certificate_with(uris));
        match (found, expected) {
            (Ok(identity), Ok(text)) => assert_eq!(identity.to_string(), text),
            (Err(IdentityError::Count { count }), Err(expected)) => assert_eq!(count, expected, "{uris:?}"),
            (found, _) => panic!("{uris:?}: {found:?}"),
        }
    }

    #[test]
    fn a_certificate_names_exactly_one_identity() {
        let builder = "quicc://a/builder/b";
        check_certificate(&[builder], Ok(builder));
        check_certificate(&["spiffe://a/b", builder, "https://example.com"], Ok(builder));
        check_certificate(&[], Err(0));
        check_certificate(&["spiffe://a/b"], Err(0));
        check_certificate(&[builder, "quicc://a/client/c"], Err(2));
        check_certificate(&[builder, builder], Err(2));
        check_certificate(&[builder, "QuicC://a/scheduler/s"], Err(2));
    }

    #[test]
    fn a_certificate_with_a_misspelt_identity_names_none() {
        let error = Identity::from_certificate(&certificate_with(&["quicc://a/builder/B"])).unwrap_err();
        assert!(matches!(error, IdentityError::Name(_)), "{error:?}");
    }

    #[test]
    fn no_certificate_is_no_identity() {
        assert!(matches!(peer_identity(&[]), Err(IdentityError::NoCertificate)));
    }

    #[test]
    fn a_role_is_required_exactly() {
        for role in Role::ALL {
            for required in Role::ALL {
                let identity: Identity = format!("quicc://a/{role}/n").parse().unwrap();
                assert_eq!(
                    identity.require(required).is_ok(),
                    role == required,
                    "{role} as {required}"
                );
            }
        }
    }

    fn name() -> impl Strategy<Value = Name> {
        "[a-z0-9]([a-z0-9_-]{0,8}[a-z0-9])?(\\.[a-z0-9]([a-z0-9_-]{0,8}[a-z0-9])?){0,3}"
            .prop_map(|text| text.parse().unwrap())
    }

    fn identity() -> impl Strategy<Value = Identity> {
        (name(), proptest::sample::select(Role::ALL.to_vec()), name())
            .prop_map(|(cluster, role, name)| Identity { cluster, role, name })
    }

    proptest! {
        #[test]
        fn parse_undoes_display(identity in identity()) {
            prop_assert_eq!(identity.to_string().parse::<Identity>().unwrap(), identity);
        }

        #[test]
        fn an_accepted_text_is_displayed_unchanged(text in "(quicc://)?[a-c./-]{0,6}(/builder/)?\\PC{0,6}") {
            if let Ok(identity) = text.parse::<Identity>() {
                prop_assert_eq!(identity.to_string(), text);
            }
        }

        #[test]
        fn arbitrary_text_never_panics(text in any::<String>()) {
            let _ = text.parse::<Identity>();
            let _ = format!("quicc://{text}").parse::<Identity>();
        }

        #[test]
        fn arbitrary_bytes_are_no_certificate(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            prop_assert!(Identity::from_certificate(&bytes).is_err());
        }

        #[test]
        fn a_server_name_is_valid_and_tells_peers_apart(one in identity(), mut other in identity()) {
            other.cluster = one.cluster.clone();
            prop_assert!(rustls::pki_types::ServerName::try_from(one.server_name()).is_ok());
            prop_assert_eq!(one.server_name() == other.server_name(), one == other);
        }
    }
}
