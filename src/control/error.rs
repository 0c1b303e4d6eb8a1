//! Why a control plane does not start or run.

use crate::ca::{AuthorityError, TokenError};
use crate::revocation::RevocationError;
use crate::runtime::BindError;

use super::config::InvalidConfig;
use super::federation::FederationError;
use super::issuer::IssuerError;

/// A control plane cannot start, or a token cannot be made.
#[derive(Debug, thiserror::Error)]
pub enum ControlError {
    /// The authority is at fault.
    #[error(transparent)]
    Authority(#[from] AuthorityError),
    /// The tokens are at fault.
    #[error(transparent)]
    Tokens(#[from] TokenError),
    /// The revocations are at fault.
    #[error(transparent)]
    Revocations(#[from] RevocationError),
    /// The configuration is at fault.
    #[error(transparent)]
    Config(#[from] InvalidConfig),
    /// The workload is no workload.
    #[error(transparent)]
    Workload(#[from] crate::ca::InvalidWorkload),
    /// Nobody gets a token for the control plane itself.
    #[error("this workload is reserved for the control plane")]
    Reserved,
    /// The address cannot be bound.
    #[error(transparent)]
    Bind(#[from] BindError),
    /// The system does not tell the address.
    #[error("the bound address is not known")]
    Address(#[source] std::io::Error),
    /// Federation cannot be set up.
    #[error(transparent)]
    Federation(#[from] FederationError),
    /// TLS cannot be set up.
    #[error("TLS cannot be set up")]
    Tls(#[source] rustls::Error),
    /// A foreign authority is at fault.
    #[error(transparent)]
    X509(#[from] crate::ca::InvalidX509Proof),
    /// DNS names of workloads are at fault.
    #[error(transparent)]
    DnsNames(#[from] crate::ca::InvalidNames),
    /// The issuing certificate cannot be had.
    #[error(transparent)]
    Issuer(#[from] IssuerError),
    /// The Kubernetes API server cannot be asked.
    #[error("kubernetes")]
    Kubernetes(#[from] crate::kube::ClusterError),
    /// The root makes no verifier of clients.
    #[error("the root cannot verify clients")]
    Verifier(#[from] rustls::server::VerifierBuilderError),
    /// An object of the Kubernetes API cannot be used.
    #[error(transparent)]
    Object(#[from] crate::kube::ObjectError),
    /// Who is revoked is not known any more.
    #[error(
        "{object} is gone, though {known_by} is there, and with it who is revoked; restore it from a backup or, if \
         nobody is revoked, make it with the value revocations.json={{\"version\":1,\"revocations\":[]}}"
    )]
    Forgotten {
        /// What is gone.
        object: String,
        /// What says that it was there.
        known_by: String,
    },
    /// A part of the program failed.
    #[error("{0} failed; see the log")]
    Panicked(&'static str),
    /// The server ended.
    #[error("the signing server failed")]
    Serve(#[from] tonic::transport::Error),
}
