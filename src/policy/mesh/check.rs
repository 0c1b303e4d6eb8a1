//! From what is written in a MeshPolicy to what holds.

use std::num::NonZeroU8;
use std::ops::RangeInclusive;

use super::normalisation::{Normalisation, RawNormalisation};
use super::{
    Checked, FieldPath, Limits, MeshPolicySpec, Problem, RawLimits, RawMeshPolicy, TrustedHops,
    WithoutPolicy,
};
use crate::identity::TrustDomain;
use crate::policy::resource::check_list;

/// More proxies in a row are a mistake.
const HOPS: RangeInclusive<u64> = 1..=16;
const PATH_BYTES: RangeInclusive<u64> = 64..=64 * 1024;
const PATH_SEGMENTS: RangeInclusive<u64> = 1..=4096;
const HEADER_LINES: RangeInclusive<u64> = 16..=4096;
const BODY_BYTES: RangeInclusive<u64> = 1..=32 * 1024 * 1024;

impl MeshPolicySpec {
    pub(super) fn check(raw: RawMeshPolicy) -> Checked<Self> {
        let RawMeshPolicy {
            trust_domain_aliases,
            mtls,
            without_policy,
            trusted_hops,
            normalisation,
            limits,
        } = raw;
        let at = FieldPath::root().field("spec");
        let aliases = trust_domain_aliases
            .map(|raw| check_aliases(raw, &at.field("trustDomainAliases")))
            .transpose()?;
        let mtls = mtls.map(|raw| raw.check(&at.field("mtls"))).transpose()?;
        let trusted_hops =
            trusted_hops.map(|raw| check_hops(raw, at.field("trustedHops"))).transpose()?;
        let limits = limits.map(|raw| check_limits(&raw, &at.field("limits"))).transpose()?;
        let absent = Self::absent();
        Ok(Self {
            aliases: aliases.unwrap_or(absent.aliases),
            mtls: mtls.unwrap_or(absent.mtls),
            without_policy: without_policy.unwrap_or(WithoutPolicy::Deny),
            trusted_hops: trusted_hops.unwrap_or(absent.trusted_hops),
            normalisation: normalisation.map_or(absent.normalisation, RawNormalisation::or_strict),
            limits: limits.unwrap_or(absent.limits),
        })
    }
}

fn check_aliases(raw: Vec<String>, at: &FieldPath) -> Checked<Vec<TrustDomain>> {
    let read = |(place, text): (usize, String)| {
        TrustDomain::parse(&text).map_err(|error| {
            Problem::new(at.item(place), format!("`{}` {error}", text.escape_debug()))
                .hint("write only the name of the trust domain, such as old.example")
        })
    };
    check_list(raw, at)?.into_iter().enumerate().map(read).collect()
}

fn check_hops(raw: u64, at: FieldPath) -> Checked<TrustedHops> {
    let hops = u8::try_from(raw).ok().filter(|_| HOPS.contains(&raw)).and_then(NonZeroU8::new);
    hops.map(TrustedHops::Count).ok_or_else(|| {
        let message = format!("{raw} is not from {} to {}", HOPS.start(), HOPS.end());
        Problem::new(at, message).hint("leave the field out if no proxy is to be believed")
    })
}

fn check_limits(raw: &RawLimits, at: &FieldPath) -> Checked<Limits> {
    let RawLimits { path_bytes, path_segments, header_lines, body_bytes } = raw;
    let usual = Limits::usual();
    let limit = |name: &str, written: Option<u64>, bounds: RangeInclusive<u64>, usual: usize| {
        let Some(written) = written else { return Ok(usual) };
        let fits = usize::try_from(written).ok().filter(|_| bounds.contains(&written));
        fits.ok_or_else(|| {
            let message = format!("{written} is not from {} to {}", bounds.start(), bounds.end());
            Problem::new(at.field(name), message)
        })
    };
    Ok(Limits {
        path_bytes: limit("pathBytes", *path_bytes, PATH_BYTES, usual.path_bytes)?,
        path_segments: limit("pathSegments", *path_segments, PATH_SEGMENTS, usual.path_segments)?,
        header_lines: limit("headerLines", *header_lines, HEADER_LINES, usual.header_lines)?,
        body_bytes: limit("bodyBytes", *body_bytes, BODY_BYTES, usual.body_bytes)?,
    })
}

impl Normalisation {
    /// Every class is refused.
    #[must_use]
    pub fn strict() -> Self {
        RawNormalisation::default().or_strict()
    }
}
