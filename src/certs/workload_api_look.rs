//! One look at a Workload API: what it gives the caller now. For people who ask; nothing of it is believed, and the private
//! keys that come along are wiped unread.

use rustls::pki_types::CertificateDer;
use zeroize::Zeroize as _;

use crate::proto::workload::{X509svid, X509svidRequest, X509svidResponse};
use crate::runtime::Address;

use super::upstream::{self, InvalidAnswer};
use super::workload_api_source::{WorkloadApiError, refused};

/// What a Workload API gives.
#[derive(Debug)]
pub struct Given {
    /// The SVIDs, each with its SPIFFE ID as the answer says it.
    pub svids: Vec<GivenSvid>,
    /// Roots of federated trust domains, by their names as the answer says them.
    pub federated: Vec<(String, Vec<CertificateDer<'static>>)>,
}

/// One SVID.
#[derive(Debug)]
pub struct GivenSvid {
    /// Whom it is said to name.
    pub id: String,
    /// Leaf first.
    pub chain: Vec<CertificateDer<'static>>,
    /// The roots of its trust domain.
    pub roots: Vec<CertificateDer<'static>>,
}

/// Asks once.
///
/// # Errors
/// When nobody answers, the caller gets nothing, or the answer cannot be read.
pub async fn look(socket: &Address) -> Result<Given, WorkloadApiError> {
    let connected = upstream::connect(socket).await;
    let mut client =
        connected.map_err(|source| WorkloadApiError::Connect { socket: socket.clone(), source })?;
    let answer = client.fetch_x509svid(upstream::dressed(X509svidRequest {})).await;
    let mut answers = answer.map_err(|status| refused(&status))?.into_inner();
    let answer = answers.message().await.map_err(|status| refused(&status))?;
    let X509svidResponse { svids, crl: _, federated_bundles } =
        answer.ok_or(WorkloadApiError::Ended)?;
    let read = |der: &[u8], what| {
        upstream::sequence(der).ok_or(WorkloadApiError::Answer(InvalidAnswer::Certificates(what)))
    };
    let svids = svids.into_iter().map(|svid| {
        let X509svid { spiffe_id: id, x509_svid, mut x509_svid_key, bundle, hint: _ } = svid;
        x509_svid_key.zeroize();
        Ok(GivenSvid { id, chain: read(&x509_svid, "chain")?, roots: read(&bundle, "bundle")? })
    });
    // All of them, so that no key is left behind a mistake in another.
    let svids: Vec<Result<GivenSvid, WorkloadApiError>> = svids.collect();
    let federated = federated_bundles
        .into_iter()
        .map(|(domain, roots)| Ok((domain, read(&roots, "federated bundle")?)));
    Ok(Given {
        svids: svids.into_iter().collect::<Result<_, _>>()?,
        federated: federated.collect::<Result<_, WorkloadApiError>>()?,
    })
}
