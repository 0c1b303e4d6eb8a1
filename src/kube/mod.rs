//! The API server of a Kubernetes cluster, as its client: only the control plane talks to it.
//!
//! No error and no silence of the API server is ever taken for an answer.

#![warn(clippy::as_conversions)]

mod certificate_request;
mod cluster;
pub mod crd;
mod name;
mod object;
mod retry;
mod token_review;

pub use certificate_request::{CertificateRequests, IssuerRef, RequestError, RequestStanding};
pub use cluster::{Cluster, ClusterError, Config};
pub use name::{ObjectName, is_name};
pub use object::{Held, Holds, Object, ObjectError, ObjectVersion, Values};
pub use retry::Patience;
pub use token_review::{
    Account, Answer, BoundPod, Limits, LivePod, ReviewError, Reviewed, TokenReviewer,
};
