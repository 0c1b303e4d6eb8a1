//! Whom a client trusts over https, and as whom it presents itself.

use std::error::Error;
use std::sync::Arc;

use rustls::client::{Resumption, danger::ServerCertVerifier};
use rustls::pki_types::pem::PemObject as _;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::{ClientConfig, ConfigBuilder, RootCertStore, client::WantsClientCert};
use rustls_platform_verifier::BuilderVerifierExt as _;
use zeroize::Zeroizing;

use super::HttpError;
use crate::runtime::with_causes;

/// Whom to trust over https.
#[derive(Debug, Clone)]
pub enum Roots {
    /// The roots of the system.
    System,
    /// These and no others.
    Given(RootCertStore),
    /// Whomever this recognises: a server that is known by something else than the name of its host. Each connection is
    /// judged anew; none resumes an earlier one.
    Judged(Arc<dyn ServerCertVerifier>),
}

/// The certificate a client presents, and its key. Neither shown nor compared.
#[derive(Clone)]
pub struct ClientIdentity {
    /// The leaf, then what it was issued by, as PEM.
    pub chain_pem: Vec<u8>,
    /// The private key of the leaf, as PEM.
    pub key_pem: Zeroizing<Vec<u8>>,
}

/// The TLS configuration, and why https cannot work if it cannot: plain http to loopback still does, and an image
/// without roots still starts.
pub(super) fn config(
    roots: &Roots,
    ca_pem: Option<&[u8]>,
    identity: Option<&ClientIdentity>,
) -> Result<(ClientConfig, Option<Arc<str>>), HttpError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let builder = || {
        ClientConfig::builder_with_provider(Arc::clone(&provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| HttpError::Internal(with_causes(&error)))
    };
    let given = match (ca_pem, roots) {
        (_, Roots::Judged(judge)) => {
            let trusting =
                builder()?.dangerous().with_custom_certificate_verifier(Arc::clone(judge));
            let mut config = present(trusting, identity)?;
            config.resumption = Resumption::disabled();
            return Ok((config, None));
        }
        (Some(pem), Roots::System | Roots::Given(_)) => Some(read_roots(pem)?),
        (None, Roots::Given(store)) => Some(store.clone()),
        (None, Roots::System) => None,
    };
    let (trusting, no_roots) = match given {
        Some(store) => (builder()?.with_root_certificates(store), None),
        None => match builder()?.with_platform_verifier() {
            Ok(trusting) => (trusting, None),
            Err(error) => {
                let nobody = builder()?.with_root_certificates(RootCertStore::empty());
                (nobody, Some(error.to_string().into()))
            }
        },
    };
    Ok((present(trusting, identity)?, no_roots))
}

fn present(
    trusting: ConfigBuilder<ClientConfig, WantsClientCert>,
    identity: Option<&ClientIdentity>,
) -> Result<ClientConfig, HttpError> {
    let Some(ClientIdentity { chain_pem, key_pem }) = identity else {
        return Ok(trusting.with_no_client_auth());
    };
    let wrong = |error: &dyn Error| HttpError::Identity(with_causes(error));
    let certificates = certificates(chain_pem).map_err(|why| HttpError::Identity(why.into()))?;
    let key = PrivateKeyDer::from_pem_slice(key_pem).map_err(|error| wrong(&error))?;
    trusting.with_client_auth_cert(certificates, key).map_err(|error| wrong(&error))
}

/// Every certificate of the text, or none: a root that cannot be read must not be left out silently.
fn read_roots(pem: &[u8]) -> Result<RootCertStore, HttpError> {
    let mut store = RootCertStore::empty();
    for certificate in certificates(pem).map_err(|why| HttpError::Ca(why.into()))? {
        store.add(certificate).map_err(|error| HttpError::Ca(with_causes(&error)))?;
    }
    Ok(store)
}

fn certificates(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, &'static str> {
    let all: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match all {
        Ok(all) if all.is_empty() => Err("there is no certificate"),
        Ok(all) => Ok(all),
        Err(_) => Err("the PEM text cannot be read"),
    }
}
