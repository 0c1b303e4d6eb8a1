//! X.509 clients that are no workloads of the mesh: partners, devices, old services with a certificate of their own CA.
//!
//! A [`CertificateAuthority`] is what one identity provider says of such clients: its roots, the intermediates that
//! clients do not send along, its revocation lists, and where in a certificate the subject stands. It promises that a
//! [`Client`] chains to one of its roots *as checked here*, whatever the proxy in front was told to check: validity of
//! every certificate on the way including the root, signatures, name constraints, purpose and revocation. Possession
//! of the key is what the TLS handshake proved, or what a named proxy says it proved.
//!
//! It refuses certificates of other purposes, subjects that are not there exactly once, and everything that cannot be
//! known: once revocation lists are configured, a certificate whose issuer has no current list is refused. With a list
//! every issuer on the way needs one, the root too where there are intermediates. Lists are found by the name of their
//! issuer, so two authorities of one name (a new key under the old name) need two providers.
//!
//! Name constraints of an authority bind the alternative names, never the common name: map `CommonName` only where
//! every authority below the root is trusted with every name.

mod authority;
mod chain;
mod clients;
mod reading;
mod refused;

use std::time::SystemTime;

pub use crate::policy::CertificateSubject as SubjectFrom;
pub use authority::{CertificateAuthority, InvalidCertificateAuthority};
pub(super) use chain::{Anchors, Proofs, key};
pub use chain::{ChainFault, InvalidAnchor};
pub use clients::{ClientAuthorities, ProvenClient};
pub(super) use reading::Reading;
pub use refused::CertificateRefused;

/// The most certificates that may come with a leaf; a longer chain is refused unread.
pub(super) const MAX_CHAIN: usize = 8;

/// A proven X.509 client. Only a [`CertificateAuthority`] makes one.
#[derive(Debug)]
pub struct Client {
    subject: String,
    thumbprint: [u8; 32],
    reading: Reading,
}

impl Client {
    /// Who it is, from where the provider says; a DNS name is in lower case.
    #[must_use]
    pub fn subject(&self) -> &str {
        &self.subject
    }

    /// The serial number of its certificate, in lower-case hexadecimal.
    #[must_use]
    pub fn serial(&self) -> &str {
        &self.reading.serial
    }

    /// The first second of its certificate.
    #[must_use]
    pub fn not_before(&self) -> SystemTime {
        self.reading.not_before
    }

    /// The last second of its certificate.
    #[must_use]
    pub fn not_after(&self) -> SystemTime {
        self.reading.not_after
    }

    /// SHA-256 of its certificate in DER (`x5t#S256` of RFC 8705).
    #[must_use]
    pub fn thumbprint(&self) -> &[u8; 32] {
        &self.thumbprint
    }

    /// Its URI alternative names.
    #[must_use]
    pub fn uris(&self) -> &[String] {
        &self.reading.uris
    }

    /// Its DNS alternative names, as they stand.
    #[must_use]
    pub fn dns_names(&self) -> &[String] {
        &self.reading.dns_names
    }

    /// Its mail alternative names.
    #[must_use]
    pub fn emails(&self) -> &[String] {
        &self.reading.emails
    }

    /// Its common name, where there is exactly one and it is printable.
    #[must_use]
    pub fn common_name(&self) -> Option<&str> {
        match self.reading.common_names.as_slice() {
            [Some(name)] => Some(name),
            _ => None,
        }
    }
}
