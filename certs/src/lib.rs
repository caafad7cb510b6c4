//! Who a peer of a farm is and what it may do.
//!
//! An [`Authority`] signs short-lived [`Credentials`], each for one [`Identity`]; [`server_config`] and
//! [`client_config`] make both ends of every connection prove theirs; a [`TicketSigner`] states what a client
//! may use and a [`TicketVerifier`] checks that offline. Knows nothing of messages, sockets or configuration.
//! Time is an argument, in seconds since the Unix epoch; only rustls, in a handshake, reads a clock itself.

mod authority;
mod certificate;
mod credentials;
mod farm;
mod files;
mod identity;
mod key;
mod name;
mod tls;
mod token;

pub use authority::{
    AUTHORITY_LIFETIME, Authority, AuthorityError, CLIENT_LIFETIME, CLOCK_SKEW_ALLOWANCE, SERVER_LIFETIME,
    default_lifetime,
};
pub use certificate::{CertificateError, certificate_expiry, serial, spki_hash};
pub use credentials::{Credentials, CredentialsError};
pub use farm::{EphemeralFarm, ephemeral_farm};
pub use files::{FILE_LENGTH_MAX, FileError, KeyedFiles, load_certificate, load_trust};
pub use identity::{Identity, IdentityError, Role, peer_identity};
pub use key::KeyError;
pub use name::{NAME_LENGTH_MAX, Name, NameError};
pub use tls::{SERVER_SESSIONS_MAX, TlsError, client_config, server_config};
pub use token::{
    TICKET_LEEWAY_SECONDS, TICKET_LENGTH_MAX, TicketClaims, TicketError, TicketSigner, TicketVerifier,
};
