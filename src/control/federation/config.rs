//! The section `federation` of the control plane's configuration.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use reqwest::Url;
use serde::Deserialize;

use crate::identity::{SpiffeId, TrustDomain};
use crate::policy::yaml::present;
use crate::runtime::Address;

/// `federation`: the endpoint for others, and whom this mesh believes.
#[derive(Debug, Clone, Default, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct FederationConfig {
    /// Where others read this mesh's bundle; nowhere without it.
    #[serde(default, deserialize_with = "present")]
    pub endpoint: Option<EndpointConfig>,
    /// The foreign trust domains that are believed about their own workloads.
    #[serde(default)]
    pub with: Vec<RawRelationship>,
}

/// Where others read this mesh's bundle.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct EndpointConfig {
    /// An address of its own: whoever asks here shows no certificate.
    pub listen: Address,
    /// The path of the bundle.
    #[serde(default = "default_path")]
    pub path: String,
    /// How the endpoint proves itself.
    pub profile: RawProfile,
    /// `https_web`: the PEM chain, leaf first.
    #[serde(default, deserialize_with = "present")]
    pub certificate: Option<PathBuf>,
    /// `https_web`: its PEM key, mode 0600.
    #[serde(default, deserialize_with = "present")]
    pub key: Option<PathBuf>,
    /// How often readers should look again.
    #[serde(default = "default_hint", with = "humantime_serde")]
    pub refresh_hint: Duration,
}

/// The profiles of SPIFFE Federation, section 5.2, under their own names.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
pub enum RawProfile {
    /// A certificate of a public authority.
    #[serde(rename = "https_web")]
    Web,
    /// An X509-SVID.
    #[serde(rename = "https_spiffe")]
    Spiffe,
}

/// How the endpoint proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum EndpointProfile {
    /// By files that the operator keeps fresh.
    Web {
        /// The PEM chain, leaf first.
        certificate: PathBuf,
        /// Its PEM key.
        key: PathBuf,
    },
    /// By the control plane's own SVID.
    Spiffe,
}

/// One entry of `with`, as it stands in the file.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct RawRelationship {
    /// Whose bundle it is. The document does not say: this line alone binds it.
    pub trust_domain: String,
    /// Where it is.
    pub url: String,
    /// How the endpoint there proves itself.
    pub profile: RawProfile,
    /// `https_spiffe`: the SPIFFE ID of the endpoint.
    #[serde(default, deserialize_with = "present")]
    pub spiffe_id: Option<String>,
    /// The bundle as it came by another way: what is believed until the first answer. `https_spiffe` needs it, to
    /// recognise the endpoint the first time.
    #[serde(default, deserialize_with = "present")]
    pub bundle_file: Option<PathBuf>,
    /// `https_web`: PEM roots to trust in place of the system's.
    #[serde(default, deserialize_with = "present")]
    pub ca_file: Option<PathBuf>,
    /// A bundle that could not be confirmed for so long is withdrawn. Without it the last good one stays.
    #[serde(default, deserialize_with = "optional_duration")]
    pub max_age: Option<Duration>,
}

/// A trust domain that is believed about its own workloads; checked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Relationship {
    /// Whose bundle it is.
    pub domain: TrustDomain,
    /// Where it is.
    pub url: String,
    /// How the endpoint there proves itself.
    pub profile: Profile,
    /// What is believed until the first answer.
    pub bundle_file: Option<PathBuf>,
    /// A bundle that could not be confirmed for so long is withdrawn.
    pub max_age: Option<Duration>,
}

/// How a foreign endpoint proves itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Profile {
    /// By a certificate for the host of its URL.
    Web {
        /// PEM roots in place of the system's.
        ca_file: Option<PathBuf>,
    },
    /// By an X509-SVID of exactly this workload.
    Spiffe(SpiffeId),
}

/// A field of `federation` cannot work.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("federation.{field}: {problem}")]
pub struct InvalidFederation {
    /// The path of the field below `federation`.
    pub field: String,
    /// What is wrong and what to write instead.
    pub problem: String,
}

fn invalid(field: impl Into<String>, problem: impl Into<String>) -> InvalidFederation {
    InvalidFederation { field: field.into(), problem: problem.into() }
}

impl FederationConfig {
    /// Makes relative paths relative to `base`, the directory of the configuration file.
    pub fn resolve(&mut self, base: &Path) {
        let join = |path: &mut PathBuf| *path = base.join(&*path);
        if let Some(endpoint) = &mut self.endpoint {
            if let Address::Unix(path) = &mut endpoint.listen {
                join(path);
            }
            endpoint.certificate.iter_mut().chain(&mut endpoint.key).for_each(join);
        }
        for relationship in &mut self.with {
            relationship.bundle_file.iter_mut().chain(&mut relationship.ca_file).for_each(join);
        }
    }

    /// The relationships, checked, in a mesh of trust domain `own`.
    ///
    /// # Errors
    /// With the field and what to write instead.
    pub fn relationships(&self, own: &TrustDomain) -> Result<Vec<Relationship>, InvalidFederation> {
        let mut all: Vec<Relationship> = Vec::with_capacity(self.with.len());
        for (index, raw) in self.with.iter().enumerate() {
            let relationship = raw.check(&format!("with[{index}]"), own)?;
            if all.iter().any(|other| other.domain == relationship.domain) {
                let problem = format!("{} stands there twice", relationship.domain);
                return Err(invalid(format!("with[{index}].trustDomain"), problem));
            }
            all.push(relationship);
        }
        let known: BTreeSet<&TrustDomain> = all.iter().map(|one| &one.domain).collect();
        for (index, relationship) in all.iter().enumerate() {
            if let Profile::Spiffe(id) = &relationship.profile
                && !known.contains(&id.trust_domain())
                && !id.is_member_of(own)
            {
                let problem = format!(
                    "the endpoint is a workload of {}, whose bundle is not known: add a relationship with it",
                    id.trust_domain()
                );
                return Err(invalid(format!("with[{index}].spiffeId"), problem));
            }
        }
        Ok(all)
    }
}

impl EndpointConfig {
    /// How the endpoint proves itself.
    ///
    /// # Errors
    /// When fields of the other profile are there, or fields of this one are not.
    pub fn checked(&self) -> Result<EndpointProfile, InvalidFederation> {
        if !self.path.starts_with('/') || self.path.contains(['?', '#', ' ']) {
            let problem = "write a path that begins with a slash, such as /bundle.json";
            return Err(invalid("endpoint.path", problem));
        }
        if !(Duration::from_secs(1)..=Duration::from_secs(30 * 24 * 3600))
            .contains(&self.refresh_hint)
        {
            return Err(invalid("endpoint.refreshHint", "must be between 1s and 30days"));
        }
        match (self.profile, &self.certificate, &self.key) {
            (RawProfile::Spiffe, None, None) => Ok(EndpointProfile::Spiffe),
            (RawProfile::Spiffe, _, _) => Err(invalid(
                "endpoint",
                "certificate and key are for https_web: with https_spiffe the control plane shows its own SVID",
            )),
            (RawProfile::Web, Some(certificate), Some(key)) => {
                Ok(EndpointProfile::Web { certificate: certificate.clone(), key: key.clone() })
            }
            (RawProfile::Web, _, _) => Err(invalid(
                "endpoint",
                "https_web needs certificate and key: PEM files of a certificate for the endpoint's host name",
            )),
        }
    }
}

impl RawRelationship {
    fn check(&self, at: &str, own: &TrustDomain) -> Result<Relationship, InvalidFederation> {
        let Self { trust_domain, url, profile, spiffe_id, bundle_file, ca_file, max_age } = self;
        let field = |name: &str| format!("{at}.{name}");
        let domain = TrustDomain::parse(trust_domain)
            .map_err(|error| invalid(field("trustDomain"), format!("{trust_domain:?} {error}")))?;
        if domain == *own {
            let problem =
                "is this mesh's own trust domain, for which only its own authority vouches";
            return Err(invalid(field("trustDomain"), problem));
        }
        check_url(url).map_err(|problem| invalid(field("url"), problem))?;
        let profile = match (profile, spiffe_id, ca_file) {
            (RawProfile::Web, Some(_), _) => {
                return Err(invalid(field("spiffeId"), "is for https_spiffe only"));
            }
            (RawProfile::Web, None, ca_file) => Profile::Web { ca_file: ca_file.clone() },
            (RawProfile::Spiffe, _, Some(_)) => {
                return Err(invalid(field("caFile"), "is for https_web only; use bundleFile"));
            }
            (RawProfile::Spiffe, None, None) => {
                return Err(invalid(
                    field("spiffeId"),
                    "is needed with https_spiffe: the SPIFFE ID of the endpoint",
                ));
            }
            (RawProfile::Spiffe, Some(id), None) => {
                let id = SpiffeId::parse(id)
                    .map_err(|error| invalid(field("spiffeId"), format!("{id:?} {error}")))?;
                if id.is_member_of(&domain) && bundle_file.is_none() {
                    return Err(invalid(
                        field("bundleFile"),
                        "is needed with https_spiffe: the bundle of the trust domain, by which its endpoint is \
                         recognised the first time",
                    ));
                }
                Profile::Spiffe(id)
            }
        };
        if max_age.is_some_and(|age| age < Duration::from_secs(60)) {
            return Err(invalid(field("maxAge"), "must be at least 1min"));
        }
        Ok(Relationship {
            domain,
            url: url.clone(),
            profile,
            bundle_file: bundle_file.clone(),
            max_age: *max_age,
        })
    }
}

/// SPIFFE Federation, sections 5.2.1.1 and 5.2.2.1: https, and no user name. Redirects are held to the same.
fn check_url(text: &str) -> Result<(), String> {
    let url = Url::parse(text).map_err(|error| format!("{text:?} is no URL: {error}"))?;
    if url.scheme() != "https" {
        return Err(format!("{text:?} must be an https URL"));
    }
    if !url.username().is_empty() || url.password().is_some() {
        return Err("must not hold a user name".to_owned());
    }
    Ok(())
}

fn default_path() -> String {
    "/".to_owned()
}

fn default_hint() -> Duration {
    Duration::from_secs(300)
}

fn optional_duration<'de, D: serde::Deserializer<'de>>(
    deserializer: D,
) -> Result<Option<Duration>, D::Error> {
    humantime_serde::deserialize(deserializer).map(Some)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(yaml: &str) -> Result<Vec<Relationship>, String> {
        let config: FederationConfig =
            serde_saphyr::from_str(yaml).map_err(|error| error.to_string())?;
        if let Some(endpoint) = &config.endpoint {
            endpoint.checked().map_err(|error| error.to_string())?;
        }
        config
            .relationships(&TrustDomain::parse("demo.mesh").unwrap())
            .map_err(|error| error.to_string())
    }

    const SPIFFE: &str = "with:\n- trustDomain: partner.example\n  url: https://partner.example/b\n  profile: https_spiffe\n";

    #[test]
    fn both_profiles_are_read() {
        let web = parse("with: [{ trustDomain: a.example, url: \"https://a.example/b\", profile: https_web, maxAge: 7days }]").unwrap();
        assert_eq!(web[0].profile, Profile::Web { ca_file: None });
        assert_eq!(web[0].max_age, Some(Duration::from_secs(7 * 86_400)));
        let more = "  spiffeId: spiffe://partner.example/control\n  bundleFile: partner.json\n";
        let spiffe = parse(&format!("{SPIFFE}{more}")).unwrap();
        assert!(matches!(&spiffe[0].profile, Profile::Spiffe(id) if id.path() == "/control"));
        assert!(parse("endpoint: { listen: \"127.0.0.1:0\", profile: https_spiffe }").is_ok());
        assert!(
            parse(
                "endpoint: { listen: \"127.0.0.1:0\", profile: https_web, certificate: a, key: b }"
            )
            .is_ok()
        );
    }

    #[test]
    fn what_cannot_work_is_said_with_its_field() {
        let web = |fields: &str| format!("with: [{{ profile: https_web, {fields} }}]");
        for (yaml, part) in [
            (
                web("trustDomain: demo.mesh, url: \"https://x/\""),
                "federation.with[0].trustDomain: is this mesh's own",
            ),
            (
                web("trustDomain: Demo, url: \"https://x/\""),
                "federation.with[0].trustDomain: \"Demo\"",
            ),
            (web("trustDomain: a.b, url: \"http://x/\""), "must be an https URL"),
            (web("trustDomain: a.b, url: \"https://u@x/\""), "must not hold a user name"),
            (web("trustDomain: a.b, url: x"), "is no URL"),
            (
                web("trustDomain: a.b, url: \"https://x/\", spiffeId: \"spiffe://a.b/c\""),
                "is for https_spiffe only",
            ),
            (web("trustDomain: a.b, url: \"https://x/\", maxAge: 1s"), "must be at least 1min"),
            (web("trustDomain: a.b, url: \"https://x/\", sequence: 1"), "unknown field"),
            (SPIFFE.to_owned(), "federation.with[0].spiffeId: is needed"),
            (
                format!("{SPIFFE}  spiffeId: spiffe://partner.example/c\n"),
                "federation.with[0].bundleFile: is needed",
            ),
            (
                format!("{SPIFFE}  spiffeId: spiffe://elsewhere.example/c\n"),
                "whose bundle is not known",
            ),
            (
                format!("{SPIFFE}  spiffeId: spiffe://partner.example/c\n  caFile: x\n"),
                "use bundleFile",
            ),
            (
                "endpoint: { listen: \"127.0.0.1:0\", profile: https_web }".to_owned(),
                "needs certificate and key",
            ),
            (
                "endpoint: { listen: \"127.0.0.1:0\", profile: https_spiffe, key: x }".to_owned(),
                "are for https_web",
            ),
            (
                "endpoint: { listen: \"127.0.0.1:0\", profile: https_spiffe, path: b }".to_owned(),
                "endpoint.path",
            ),
            (
                "endpoint: { listen: \"127.0.0.1:0\", profile: https_spiffe, refreshHint: 0s }"
                    .to_owned(),
                "endpoint.refreshHint",
            ),
            ("endpoint: { listen: \"127.0.0.1:0\", profile: https }".to_owned(), "unknown variant"),
        ] {
            let error = parse(&yaml).unwrap_err();
            assert!(error.contains(part), "{yaml}: {error}");
        }
        let twice = "with:\n- { trustDomain: a.b, url: \"https://x/\", profile: https_web }\n- { trustDomain: a.b, url: \"https://y/\", profile: https_web }\n";
        assert!(parse(twice).unwrap_err().contains("with[1].trustDomain: a.b stands there twice"));
        // An endpoint of another trust domain is well once that domain's bundle comes by itself.
        let other = format!(
            "{SPIFFE}  spiffeId: spiffe://a.b/c\n- {{ trustDomain: a.b, url: \"https://x/\", profile: https_web }}\n"
        );
        assert_eq!(parse(&other).unwrap().len(), 2);
    }
}
