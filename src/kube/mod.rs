//! Kubernetes: its API server, as a client (only the control plane talks to it), and pods that get their gate.
//!
//! No error and no silence of the API server is ever taken for an answer.

#![warn(clippy::as_conversions)]

mod admission;
mod certificate_request;
mod cluster;
pub mod crd;
mod follow;
pub mod index;
pub mod inject;
mod lease;
mod name;
mod namespaces;
mod object;
mod pod_life;
mod pod_page;
mod retry;
pub mod rights;
mod status;
mod token_review;
mod validate;
mod viewer;
mod watch;
mod webhook_configuration;

pub use admission::{Admission, NoReview, Review};
pub use certificate_request::{CertificateRequests, IssuerRef, RequestError, RequestStanding};
pub use cluster::{Cluster, ClusterError, Config, Person};
pub use follow::Followed;
pub use lease::{HeldLease, Leases, NewLease};
pub use name::{ObjectName, is_name};
pub use namespaces::{Namespaces, NotDone, Notice, NoticeWeight, Subject};
pub use object::{Held, Holds, Object, ObjectError, ObjectVersion, Values};
pub use pod_life::{PodId, PodLife, Pods};
pub use pod_page::Page;
pub use retry::Patience;
pub use status::{Sidecars, StatusWriter, Unwritten, status};
pub use token_review::{
    Account, Answer, BoundPod, Limits, LivePod, ReviewError, Reviewed, TokenReviewer,
};
pub use validate::{InvalidReview, validate};
pub use viewer::{Clocks, NotSeen, Viewer, Whose};
pub use watch::changes;
pub use webhook_configuration::WebhookConfigurations;
