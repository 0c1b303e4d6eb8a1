//! A Workload API as a client: the connection, and an answer in our own words. Nothing of it is believed yet.

use std::time::Duration;

use hyper_util::rt::TokioIo;
use rustls::pki_types::CertificateDer;
use tonic::Request;
use tonic::metadata::MetadataValue;
use tonic::transport::{Channel, Endpoint};
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroize as _;

use crate::identity::{
    Bundles, InvalidBundle, InvalidKey, JwtBundle, PrivateKey, SpiffeId, TrustBundle, TrustDomain,
};
use crate::proto::workload::spiffe_workload_api_client::SpiffeWorkloadApiClient;
use crate::proto::workload::{JwtBundlesResponse, X509svid, X509svidResponse};
use crate::runtime::Address;

/// An answer holds a chain, a key and the roots of some trust domains.
const MAX_ANSWER: usize = 4 * 1024 * 1024;
/// An agent that hangs is noticed after these two.
const KEEP_ALIVE: Duration = Duration::from_secs(15);
const KEEP_ALIVE_ANSWER: Duration = Duration::from_secs(10);

pub(super) type Client = SpiffeWorkloadApiClient<Channel>;

/// An answer of a Workload API that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum InvalidAnswer {
    /// None of the SVIDs is this workload's.
    #[error("none of the SVIDs in the answer is {expected}'s; they are of: {found}")]
    OtherWorkload {
        /// Whom they name, as the answer says it.
        found: String,
        /// Who this is.
        expected: SpiffeId,
    },
    /// A chain or a bundle is no sequence of certificates.
    #[error("the {0} in the answer is no sequence of DER certificates")]
    Certificates(&'static str),
    /// The key is unusable.
    #[error("the private key in the answer is refused")]
    Key(#[from] InvalidKey),
    /// The roots are no bundle.
    #[error("the bundle in the answer is refused")]
    Bundle(#[from] InvalidBundle),
}

/// One SVID of an answer, with the roots that came with it.
pub(super) struct Received {
    pub(super) chain: Vec<CertificateDer<'static>>,
    pub(super) key: PrivateKey,
    pub(super) bundles: Bundles,
}

/// Connects. The first call tells whether anybody answers.
pub(super) async fn connect(socket: &Address) -> Result<Client, tonic::transport::Error> {
    let address = socket.clone();
    let connect = tower::service_fn(move |_: http::Uri| {
        let address = address.clone();
        async move { address.connect().await.map(TokioIo::new) }
    });
    // The name is of no meaning on a unix socket.
    let endpoint = Endpoint::from_static("http://workload-api")
        .http2_keep_alive_interval(KEEP_ALIVE)
        .keep_alive_timeout(KEEP_ALIVE_ANSWER)
        .keep_alive_while_idle(true);
    let channel = endpoint.connect_with_connector(connect).await?;
    Ok(SpiffeWorkloadApiClient::new(channel).max_decoding_message_size(MAX_ANSWER))
}

/// A request with the security header (SPIFFE Workload Endpoint, section 3).
pub(super) fn dressed<T>(message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("workload.spiffe.io", MetadataValue::from_static("true"));
    request
}

impl Received {
    /// Takes this workload's SVID out of an answer. A federated bundle that cannot be read is left out and said: trust
    /// gets narrower by it, and the workload keeps its certificate.
    pub(super) fn read(
        answer: X509svidResponse,
        workload: &SpiffeId,
    ) -> Result<Self, InvalidAnswer> {
        let X509svidResponse { svids, crl: _, federated_bundles } = answer;
        let mut found = Vec::new();
        let mut own = None;
        for mut svid in svids {
            if own.is_none() && svid.spiffe_id == workload.as_str() {
                own = Some(svid);
            } else {
                svid.x509_svid_key.zeroize();
                found.push(svid.spiffe_id);
            }
        }
        let Some(X509svid { x509_svid, mut x509_svid_key, bundle, .. }) = own else {
            let (found, expected) = (found.join(", "), workload.clone());
            return Err(InvalidAnswer::OtherWorkload { found, expected });
        };
        let key = PrivateKey::from_pkcs8(&x509_svid_key);
        x509_svid_key.zeroize();
        let roots = sequence(&bundle).ok_or(InvalidAnswer::Certificates("bundle"))?;
        let own = TrustBundle::new(workload.trust_domain(), roots)?;
        let mut chain = sequence(&x509_svid).ok_or(InvalidAnswer::Certificates("chain"))?;
        chain.retain(|certificate| !own.roots().contains(certificate));
        let mut bundles = Bundles::new(own);
        for (domain, roots) in federated_bundles {
            match federated(&domain, &roots) {
                Some(bundle) => bundles = bundles.with_foreign(bundle),
                None => tracing::warn!(domain, "a federated bundle cannot be read and is left out"),
            }
        }
        Ok(Self { chain, key: key?, bundles })
    }
}

/// The keys of JWT-SVIDs by trust domain. One that cannot be read is left out and said.
pub(super) fn jwt_bundles(answer: &JwtBundlesResponse) -> Vec<JwtBundle> {
    let mut bundles = Vec::new();
    for (name, keys) in &answer.bundles {
        let bundle = domain(name).zip(std::str::from_utf8(keys).ok());
        match bundle.and_then(|(domain, keys)| JwtBundle::from_jwks(domain, keys).ok()) {
            Some(bundle) => bundles.push(bundle),
            None => tracing::warn!(domain = name, "JWT keys cannot be read and are left out"),
        }
    }
    bundles
}

fn federated(name: &str, roots: &[u8]) -> Option<TrustBundle> {
    TrustBundle::new(domain(name)?, sequence(roots)?).ok()
}

/// Trust domains are named by their SPIFFE ID.
fn domain(name: &str) -> Option<TrustDomain> {
    TrustDomain::parse(name.strip_prefix("spiffe://")?).ok()
}

/// Certificates one after another, without anything between them.
pub(super) fn sequence(mut der: &[u8]) -> Option<Vec<CertificateDer<'static>>> {
    let mut certificates = Vec::new();
    while !der.is_empty() {
        let (rest, _) = X509Certificate::from_der(der).ok()?;
        let length = der.len().checked_sub(rest.len())?;
        certificates.push(CertificateDer::from(der.get(..length)?.to_vec()));
        der = rest;
    }
    Some(certificates)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn certificates_in_a_row_are_told_apart() {
        let make = |name: &str| rcgen::generate_simple_self_signed(vec![name.to_owned()]).unwrap();
        let (one, two) = (make("one"), make("two"));
        let both = [one.cert.der().as_ref(), two.cert.der().as_ref()].concat();
        let read = sequence(&both).unwrap();
        assert_eq!(read, [one.cert.der().clone(), two.cert.der().clone()]);
        assert!(sequence(&[]).unwrap().is_empty());
        let followed = [both.as_slice(), &[0]].concat();
        for bad in [&both[..both.len() - 1], followed.as_slice(), b"x".as_slice()] {
            assert!(sequence(bad).is_none());
        }
    }

    #[test]
    fn trust_domains_are_named_by_their_spiffe_id() {
        assert_eq!(domain("spiffe://demo.mesh").unwrap().as_str(), "demo.mesh");
        for bad in ["demo.mesh", "spiffe://", "spiffe://demo.mesh/a", "spiffe://Demo"] {
            assert!(domain(bad).is_none(), "{bad}");
        }
    }
}
