//! `PolicyEngine`: another engine that rules may ask, and what of it can be evaluated here.
//!
//! A rule that says `engine: NAME` matches only if that engine says yes about the request. Rego and Casbin are evaluated
//! in process, by [`Rego`] and [`Casbin`]; both are pure: the contents of files are handed in, and so is the time. The
//! other kinds are servers, which whoever composes the process asks beforehand.
//!
//! An engine that says nothing is [`EngineAnswer::Undefined`](super::EngineAnswer::Undefined); one that cannot say is
//! [`EngineAnswer::Failed`](super::EngineAnswer::Failed). Neither is ever taken for a yes, and no deny rule is passed
//! over because of them.

mod casbin;
mod fault;
mod fill;
mod input;
mod local;
mod open_fga;
mod principals;
mod raw;
mod rego;
mod rego_calls;
mod remote;
mod review;

pub use casbin::{Casbin, CasbinField, InvalidCasbin};
pub use fault::EngineFault;
pub use fill::Fill;
pub use input::{End, Hidden, InputParts, RequestInput};
pub use local::{CasbinFiles, RegoFiles};
pub use open_fga::{Consistency, ObjectPattern, OpenFga, Tuple};
pub use principals::principals;
pub(super) use raw::RawPolicyEngine;
pub use rego::{InvalidRego, Rego, RegoFile};
pub use remote::{ExtAuthz, Opa, Patience, Sent};
pub use review::{Reviewed, SubjectAccessReview};

use super::field::FieldPath;
use super::problem::{Origin, Problem};
use super::provider::{FileRef, Http};
use super::resource::{Checked, Context, Metadata};

/// An engine that rules may ask.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyEngine {
    /// Its name.
    pub metadata: Metadata,
    /// Which engine, and how it is asked.
    pub kind: EngineKind,
    /// How its server is reached, where it has one.
    pub http: Http,
    origin: Origin,
}

/// Which engine.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EngineKind {
    /// Rego, in process.
    Rego(RegoFiles),
    /// Casbin, in process.
    Casbin(CasbinFiles),
    /// The data API of an Open Policy Agent.
    Opa(Opa),
    /// `authorization.k8s.io/v1` `SubjectAccessReview`.
    SubjectAccessReview(SubjectAccessReview),
    /// The check API of an OpenFGA.
    OpenFga(OpenFga),
    /// Another `envoy.service.auth.v3.Authorization`.
    ExtAuthz(ExtAuthz),
}

/// What exactly one of must be written.
const KINDS: &str =
    "one of `rego`, `casbin`, `opa`, `subjectAccessReview`, `openFga` and `extAuthz`";

impl PolicyEngine {
    pub(super) fn check(
        metadata: Metadata,
        raw: RawPolicyEngine,
        context: &Context<'_>,
    ) -> Checked<Self> {
        let RawPolicyEngine { rego, casbin, opa, subject_access_review, open_fga, ext_authz, http } =
            raw;
        let at = FieldPath::root().field("spec");
        let source = context.source();
        let mut kinds = Vec::new();
        if let Some(raw) = rego {
            kinds.push(RegoFiles::check(raw, &at.field("rego"), source).map(EngineKind::Rego)?);
        }
        if let Some(raw) = casbin {
            let checked = CasbinFiles::check(raw, &at.field("casbin"), source);
            kinds.push(checked.map(EngineKind::Casbin)?);
        }
        if let Some(raw) = opa {
            kinds.push(Opa::check(raw, &at.field("opa"), source).map(EngineKind::Opa)?);
        }
        if let Some(raw) = subject_access_review {
            let at = at.field("subjectAccessReview");
            let checked = SubjectAccessReview::check(raw, &at, source);
            kinds.push(checked.map(EngineKind::SubjectAccessReview)?);
        }
        if let Some(raw) = open_fga {
            let checked = OpenFga::check(raw, &at.field("openFga"), source);
            kinds.push(checked.map(EngineKind::OpenFga)?);
        }
        if let Some(raw) = ext_authz {
            let checked = ExtAuthz::check(raw, &at.field("extAuthz"));
            kinds.push(checked.map(EngineKind::ExtAuthz)?);
        }
        let mut kinds = kinds.into_iter();
        let kind = match (kinds.next(), kinds.next()) {
            (Some(kind), None) => kind,
            (None, _) => return Err(Problem::new(at, format!("needs {KINDS}"))),
            (Some(_), Some(_)) => {
                return Err(Problem::new(at, format!("has several: write {KINDS}"))
                    .hint("each engine is a resource of its own"));
            }
        };
        if http.is_some() && kind.is_local() {
            return Err(Problem::new(at.field("http"), "there is no server to be reached"));
        }
        let origin = context.origin(&FieldPath::root().field("metadata").field("name"));
        let http = Http::check(http, &at.field("http"), source)?;
        if let Some((field, url)) = kind.server() {
            http.admits(url, &at.field(field).field("url"))?;
        }
        Ok(Self { metadata, kind, http, origin })
    }

    /// Where it was written.
    #[must_use]
    pub fn origin(&self) -> &Origin {
        &self.origin
    }

    /// Every file it names, each once.
    #[must_use]
    pub fn files(&self) -> Vec<&FileRef> {
        let mut files: Vec<&FileRef> = match &self.kind {
            EngineKind::Rego(rego) => rego.policies.iter().chain(&rego.data).collect(),
            EngineKind::Casbin(casbin) => vec![&casbin.model, &casbin.policy],
            EngineKind::Opa(opa) => opa.token.iter().collect(),
            EngineKind::SubjectAccessReview(review) => vec![&review.token],
            EngineKind::OpenFga(fga) => fga.token.iter().collect(),
            EngineKind::ExtAuthz(_) => Vec::new(),
        };
        files.extend(&self.http.ca);
        files.sort();
        files.dedup();
        files
    }
}

impl EngineKind {
    /// True when it is evaluated in process.
    #[must_use]
    pub fn is_local(&self) -> bool {
        match self {
            Self::Rego(_) | Self::Casbin(_) => true,
            Self::Opa(_) | Self::SubjectAccessReview(_) | Self::OpenFga(_) | Self::ExtAuthz(_) => {
                false
            }
        }
    }

    /// Its section of the resource, and the URL of its server, where it has one.
    fn server(&self) -> Option<(&'static str, &str)> {
        match self {
            Self::Rego(_) | Self::Casbin(_) => None,
            Self::Opa(Opa { url, .. })
            | Self::SubjectAccessReview(SubjectAccessReview { url, .. })
            | Self::OpenFga(OpenFga { url, .. })
            | Self::ExtAuthz(ExtAuthz { url, .. }) => Some((self.name(), url)),
        }
    }

    /// A stable name of the kind, for logs and metrics.
    #[must_use]
    pub fn name(&self) -> &'static str {
        match self {
            Self::Rego(_) => "rego",
            Self::Casbin(_) => "casbin",
            Self::Opa(_) => "opa",
            Self::SubjectAccessReview(_) => "subjectAccessReview",
            Self::OpenFga(_) => "openFga",
            Self::ExtAuthz(_) => "extAuthz",
        }
    }
}

#[cfg(test)]
mod tests;
