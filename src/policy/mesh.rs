//! `MeshPolicy`: what holds for a whole mesh, one resource of it.

mod check;
mod mtls;
mod normalisation;

use std::num::NonZeroU8;

use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

use super::field::FieldPath;
use super::problem::{Origin, Problem};
use super::resource::{Checked, Context, Metadata};
use super::yaml::present;
use crate::identity::TrustDomain;

pub use mtls::{Mtls, MtlsException, MtlsMode};
pub use normalisation::{
    Backslashes, ControlCharacters, DotSegments, DoubleEncoding, DuplicateHeaders, EmptySegments,
    EncodedSlashes, LowerCaseMethods, MixedAuthority, NonUtf8, Normalisation, OverrideHeaders,
    Semicolons, UnderscoreHeaders,
};

/// What holds for a whole mesh.
#[derive(Debug, Clone)]
pub struct MeshPolicy {
    /// Its name.
    pub metadata: Metadata,
    /// What it says.
    pub spec: MeshPolicySpec,
    origin: Origin,
}

/// What a MeshPolicy says; [`MeshPolicySpec::absent`] where there is none.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MeshPolicySpec {
    /// Trust domains whose members count as members of our own.
    pub aliases: Vec<TrustDomain>,
    /// Who may come to the ports of workloads without a certificate.
    pub mtls: Mtls,
    /// What happens to requests for a workload that no enforced policy selects.
    pub without_policy: WithoutPolicy,
    /// How many proxies in front are believed about the address of the client.
    pub trusted_hops: TrustedHops,
    /// What becomes of requests that two programs could read differently.
    pub normalisation: Normalisation,
    /// How large the parts of a request may be.
    pub limits: Limits,
}

/// What happens to requests for a workload that no enforced policy selects.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum WithoutPolicy {
    /// They are refused.
    Deny,
    /// They pass, whoever sends them: for the time in which a mesh is being taken under guard.
    AllowUnguarded,
}

/// How many entries at the right end of `x-forwarded-for` proxies of ours wrote.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum TrustedHops {
    /// None is believed: the address of the client is not known.
    Nobody,
    /// The client is the entry that stands so many places from the right end.
    Count(NonZeroU8),
}

/// How large the parts of a request may be. What is larger is refused; a larger body is only not read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Limits {
    /// The longest path, in bytes, without query.
    pub path_bytes: usize,
    /// The most segments of a path.
    pub path_segments: usize,
    /// The most header lines.
    pub header_lines: usize,
    /// The largest body that rules may ask about, in bytes.
    pub body_bytes: usize,
}

impl MeshPolicy {
    /// Where it was written.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    pub(super) fn check(
        metadata: Metadata,
        raw: RawMeshPolicy,
        context: &Context<'_>,
    ) -> Checked<Self> {
        let origin = context.origin(&FieldPath::root().field("metadata").field("name"));
        Ok(Self { metadata, spec: MeshPolicySpec::check(raw)?, origin })
    }
}

impl MeshPolicySpec {
    /// What holds in a mesh without a MeshPolicy: the strictest of everything.
    #[must_use]
    pub fn absent() -> Self {
        Self {
            aliases: Vec::new(),
            mtls: Mtls::strict(),
            without_policy: WithoutPolicy::Deny,
            trusted_hops: TrustedHops::Nobody,
            normalisation: Normalisation::strict(),
            limits: Limits::usual(),
        }
    }

    /// All that holds, in the words of the resource.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let Self { aliases, mtls, without_policy, trusted_hops, normalisation, limits } = self;
        let hops = match trusted_hops {
            TrustedHops::Nobody => None,
            TrustedHops::Count(hops) => Some(hops.get()),
        };
        json!({
            "trustDomainAliases": aliases.iter().map(TrustDomain::as_str).collect::<Vec<_>>(),
            "mtls": mtls,
            "withoutPolicy": without_policy,
            "trustedHops": hops,
            "normalisation": normalisation,
            "limits": limits,
        })
    }
}

impl Limits {
    /// 8 KiB of path in 256 segments, 512 header lines, 1 MiB of body.
    #[must_use]
    pub fn usual() -> Self {
        Self {
            path_bytes: 8 * 1024,
            path_segments: 256,
            header_lines: 512,
            body_bytes: 1024 * 1024,
        }
    }
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
pub(super) struct RawMeshPolicy {
    #[serde(default, deserialize_with = "present")]
    trust_domain_aliases: Option<Vec<String>>,
    #[serde(default, deserialize_with = "present")]
    mtls: Option<mtls::RawMtls>,
    #[serde(default, deserialize_with = "present")]
    without_policy: Option<WithoutPolicy>,
    #[serde(default, deserialize_with = "present")]
    trusted_hops: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    normalisation: Option<normalisation::RawNormalisation>,
    #[serde(default, deserialize_with = "present")]
    limits: Option<RawLimits>,
}

#[derive(Debug, Deserialize)]
#[serde(rename_all = "camelCase", deny_unknown_fields)]
struct RawLimits {
    #[serde(default, deserialize_with = "present")]
    path_bytes: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    path_segments: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    header_lines: Option<u64>,
    #[serde(default, deserialize_with = "present")]
    body_bytes: Option<u64>,
}

#[cfg(test)]
mod tests;
