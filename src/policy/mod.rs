//! Pure: the resources a team writes, compiled into an index that decides.
//!
//! [`parse`] reads YAML into [`Resource`]s and refuses what it does not understand, with the place of the mistake.
//! [`PolicySet::compile`] turns the policies of one workload into an index. [`PolicySet::decide`] judges the
//! [`Facts`] of one request or connection:
//!
//! 1. any matching `deny` rule refuses;
//! 2. else any rule, of either kind, whose typed parts match but whose `when` cannot be evaluated refuses;
//! 3. else any matching `allow` rule admits;
//! 4. else nothing allows, and it is refused; if an allow rule asked for a user and there is none, that is said.
//!
//! Of several rules with the same outcome the first by policy, then by place in the policy, is named. Nothing here
//! reads a file, a clock or the network: time is one of the facts.

#![warn(clippy::as_conversions)]

pub mod explain;
pub mod graph;
pub mod import;
pub mod lint;
pub mod presentation;
pub mod schema;
pub mod suite;
pub mod yaml;

mod access;
mod asked;
mod by_peer;
mod by_user;
mod compiled;
mod condition;
mod decide;
mod engine;
mod facts;
mod field;
mod index;
mod mesh;
mod problem;
mod provider;
mod raw;
mod resource;
mod rule;
mod set;
mod template;
mod users;

#[cfg(test)]
mod tests;

pub use access::{AccessPolicy, AccessPolicySpec, ClaimValue, Mode, UserPattern, Users};
pub use compiled::RuleName;
pub use condition::{Condition, ConditionNames, ImpliedRoles, InvalidCondition};
pub use decide::{Decision, Difference, Fate, Mismatch, NoRecorder, Recorder, UndecidableReason};
pub use engine::{
    Casbin, CasbinField, CasbinFiles, Consistency, End, EngineFault, EngineKind, ExtAuthz, Fill,
    Hidden, InputParts, InvalidCasbin, InvalidRego, ObjectPattern, Opa, OpenFga, Patience,
    PolicyEngine, Rego, RegoFile, RegoFiles, RequestInput, Reviewed, Sent, SubjectAccessReview,
    Tuple, principals,
};
pub use facts::{
    Body, BodyFacts, Confirmation, Connection, EngineAnswer, Engines, Facts, Forwarded, Groups,
    HeaderValue, Headers, NoBody, NoEngines, RequestFacts, RpcFacts, UserFacts, UserParts,
};
pub use mesh::{
    Backslashes, ControlCharacters, DotSegments, DoubleEncoding, DuplicateHeaders, EmptySegments,
    EncodedSlashes, Limits, LowerCaseMethods, MeshPolicy, MeshPolicySpec, MixedAuthority, Mtls,
    MtlsException, MtlsMode, NonUtf8, Normalisation, OverrideHeaders, Semicolons, TrustedHops,
    UnderscoreHeaders, WithoutPolicy,
};
pub use presentation::{Credentials, Presentation, PresentationChoice, ResponseChoice};
pub(crate) use problem::did_you_mean;
pub use problem::{InvalidResource, InvalidRule, Origin};
pub use provider::{
    AbsentType, Algorithm, ApiKeyFile, Audience, CertificateSubject, Certificates, Choose,
    ClaimMapping, ClaimPath, ClaimRules, ClaimTest, ClientAuth, ConfirmationRules, Csrf, Demand,
    FileRef, HeaderTypes, Http, IdentityProvider, IdentityProviderSpec, KeyLife, Keys, Nonce,
    Online, Place, Places, Preset, PrincipalKind, Question, Quirk, Shape, TokenRules, When,
};
pub use resource::{API_VERSION, KINDS, Metadata, Resource, parse};
pub use rule::{
    Effect, Except, HostPattern, PeerPattern, RequestPattern, RpcPattern, Rule, StepUp, TimeWindow,
};
pub use set::{Examined, PolicySet, Surroundings, Workload};
pub use template::{InvalidTemplate, PathTemplate};
