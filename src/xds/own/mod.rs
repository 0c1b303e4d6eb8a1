//! What the control plane tells its sidecars: the messages of `proto/hopgate_discovery.proto` as values, and back.
//! Both ends read and write them here only.

mod bundle;
mod policy;
mod reissue;
mod revoked;
mod running;

pub use bundle::{DomainBundle, InvalidDomainBundle};
pub use policy::{InvalidPolicyResource, PolicyResource};
pub use reissue::{InvalidReissue, ReissueOrder};
pub use revoked::{InvalidRevoked, RevokedWorkload};
pub use running::{NODE_METADATA, Running};

use super::{Batch, Kind};

/// The type URL of `hopgate.discovery.v1.TrustBundle`.
pub const TRUST_BUNDLE_TYPE: &str = "type.googleapis.com/hopgate.discovery.v1.TrustBundle";
/// The type URL of `hopgate.discovery.v1.RevokedWorkload`.
pub const REVOKED_WORKLOAD_TYPE: &str = "type.googleapis.com/hopgate.discovery.v1.RevokedWorkload";
/// The type URL of `hopgate.discovery.v1.ReissueOrder`.
pub const REISSUE_ORDER_TYPE: &str = "type.googleapis.com/hopgate.discovery.v1.ReissueOrder";

/// The type URL of `hopgate.discovery.v1.PolicyResource`.
pub const POLICY_RESOURCE_TYPE: &str = "type.googleapis.com/hopgate.discovery.v1.PolicyResource";

/// Every type that all sidecars get alike, in the order in which they are sent: whom to trust, whom no more, and only then
/// that a certificate must be replaced, which may be by one of a new root.
pub const KINDS: [Kind; 3] = [
    Kind::new(TRUST_BUNDLE_TYPE, Batch::One),
    Kind::new(REVOKED_WORKLOAD_TYPE, Batch::Many),
    Kind::new(REISSUE_ORDER_TYPE, Batch::One),
];

/// The type of which each sidecar gets its own. One in each answer: a sidecar refuses a bad one alone.
pub const POLICY_KIND: Kind = Kind::new(POLICY_RESOURCE_TYPE, Batch::One);

/// The type URL of `hopgate.discovery.v1.Service`.
pub const SERVICE_TYPE: &str = "type.googleapis.com/hopgate.discovery.v1.Service";

/// The services of the mesh, for sidecars of captured pods. One in each answer, for the same reason.
pub const SERVICE_KIND: Kind = Kind::new(SERVICE_TYPE, Batch::One);

/// A resource as it is published: its name, and its encoded message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Encoded {
    /// The name of the resource.
    pub name: String,
    /// The message.
    pub content: Vec<u8>,
}

impl Encoded {
    /// The version that this resource has on the wire.
    #[must_use]
    pub fn version(&self) -> String {
        super::content_version(&self.content)
    }
}
