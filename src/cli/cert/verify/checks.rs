//! The checks of `hopgate cert verify`, by the code that a handshake uses.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rustls::client::{verify_server_cert_signed_by_trust_anchor, verify_server_name};
use rustls::pki_types::{CertificateDer, ServerName, UnixTime};
use rustls::server::{ParsedCertificate, WebPkiClientVerifier};
use rustls::{CertificateError, Error, RootCertStore};
use serde_json::{Value, json};

use super::super::facts::Facts;
use super::super::remark;
use super::super::{GroupKind, Loaded};
use crate::cli::moment;
use crate::cli::terminal::{Style, Tone, plain};
use crate::identity::{SpiffeId, TrustBundle, TrustDomain};

/// Roots, and of which trust domain; without one they count for the one that the certificate names.
type Bundle = (Option<TrustDomain>, Vec<CertificateDer<'static>>);
/// Verifies a chain for a name at a time.
type Verify = dyn Fn(&[CertificateDer<'_>], &ServerName<'_>, UnixTime) -> Result<(), Error>;

/// Whom to trust.
pub(super) enum Roots {
    /// Bundles of trust domains.
    Bundles(Vec<Bundle>),
    /// The roots of this system.
    System(Box<Verify>),
}

/// What must hold beside the chain.
pub(super) struct Demands<'a> {
    pub(super) id: Option<&'a SpiffeId>,
    pub(super) name: Option<&'a str>,
    pub(super) now: SystemTime,
}

/// One check: what it found when it passed, nothing when it was not reached, or why it failed.
pub(super) struct Check {
    pub(super) name: &'static str,
    pub(super) result: Result<Option<String>, String>,
}

/// What the checks of one chain came to.
pub(super) struct Verdict {
    pub(super) title: String,
    pub(super) checks: Vec<Check>,
    until: SystemTime,
}

impl Roots {
    pub(super) fn of(loaded: &[Loaded], domain: Option<&TrustDomain>) -> anyhow::Result<Self> {
        let mut bundles = Vec::new();
        for group in loaded.iter().flat_map(|loaded| &loaded.groups) {
            let GroupKind::Bundle(own) = &group.kind else { continue };
            let roots = group.certificates.iter().map(|facts| facts.der.clone()).collect();
            bundles.push((own.clone().or_else(|| domain.cloned()), roots));
        }
        anyhow::ensure!(!bundles.is_empty(), "--bundle: holds no roots");
        Ok(Self::Bundles(bundles))
    }

    pub(super) fn system() -> anyhow::Result<Self> {
        use rustls::client::danger::ServerCertVerifier as _;
        let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
        let verifier = rustls_platform_verifier::Verifier::new(provider)?;
        Ok(Self::System(Box::new(move |chain, name, now| {
            let (leaf, rest) = chain.split_first().ok_or(Error::NoCertificatesPresented)?;
            verifier.verify_server_cert(leaf, rest, name, &[], now).map(drop)
        })))
    }
}

impl Verdict {
    /// Checks one chain, leaf first.
    pub(super) fn new(
        (leaf, rest): (&Facts, &[Facts]),
        roots: &Roots,
        demands: &Demands<'_>,
    ) -> Self {
        let mut run = Run { checks: Vec::new() };
        let until = rest.iter().fold(leaf.not_after, |until, facts| until.min(facts.not_after));
        match roots {
            Roots::Bundles(bundles) => run.svid((leaf, rest), bundles, demands),
            Roots::System(verify) => run.web((leaf, rest), verify.as_ref(), demands),
        }
        Self { title: leaf.title(), checks: run.checks, until }
    }

    pub(super) fn is_verified(&self) -> bool {
        self.checks.iter().all(|check| matches!(check.result, Ok(Some(_))))
    }

    pub(super) fn outcome(&self, now: SystemTime, style: Style) -> String {
        if self.is_verified() {
            let until = moment::show(self.until, now);
            return format!("{} until {until}", style.paint(Tone::Good, "verified"));
        }
        let failed = self.checks.iter().find_map(|check| check.result.as_ref().err());
        let why = failed.map_or("a check was not reached", String::as_str);
        format!("{}: {}", style.paint(Tone::Bad, "refused"), plain(why))
    }

    pub(super) fn json(&self) -> Value {
        let checks = self.checks.iter().map(|check| match &check.result {
            Ok(Some(said)) => json!({"check": check.name, "result": "passed", "found": said}),
            Ok(None) => json!({"check": check.name, "result": "not_reached"}),
            Err(why) => json!({"check": check.name, "result": "failed", "reason": why}),
        });
        json!({
            "title": self.title,
            "outcome": if self.is_verified() { "verified" } else { "refused" },
            "checks": checks.collect::<Vec<_>>(),
        })
    }
}

/// Once a check failed, the others are not reached.
struct Run {
    checks: Vec<Check>,
}

impl Run {
    fn check(&mut self, name: &'static str, check: impl FnOnce() -> Result<String, String>) {
        let failed = self.checks.iter().any(|check| check.result.is_err());
        let result = if failed { Ok(None) } else { check().map(Some) };
        self.checks.push(Check { name, result });
    }

    fn svid(
        &mut self,
        (leaf, rest): (&Facts, &[Facts]),
        bundles: &[Bundle],
        demands: &Demands<'_>,
    ) {
        self.check("form", || match remark::leaf(leaf).as_slice() {
            [] => Ok("an X509-SVID".to_owned()),
            [first, ..] => Err(first.clone()),
        });
        let id = leaf.uris().first().and_then(|uri| SpiffeId::parse(uri).ok());
        if let Some(wanted) = demands.id {
            self.check("identity", || match &id {
                Some(id) if id == wanted => Ok(id.to_string()),
                Some(id) => Err(format!("it names {id}, not {wanted}")),
                None => Err("it names nobody".to_owned()),
            });
        }
        self.name(leaf, demands);
        self.dates(leaf, demands.now);
        let mut chosen = None;
        self.check("bundle", || {
            let domain = id.as_ref().map(SpiffeId::trust_domain).ok_or("it names nobody")?;
            let (bundle, said) = choose(&domain, bundles)?;
            chosen = Some(bundle);
            Ok(said)
        });
        let chain: Vec<CertificateDer<'_>> = rest.iter().map(|facts| facts.der.clone()).collect();
        let at = unix(demands.now);
        self.check("chain", || {
            let bundle = chosen.as_ref().ok_or("there is no bundle")?;
            let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
            let verifier =
                WebPkiClientVerifier::builder_with_provider(bundle.to_root_store(), provider)
                    .build()
                    .map_err(|error| error.to_string())?;
            verifier.verify_client_cert(&leaf.der, &chain, at).map_err(|error| reason(&error))?;
            Ok(format!("it leads to a root of {}", bundle.domain()))
        });
        self.check("purpose", || {
            let bundle = chosen.as_ref().ok_or("there is no bundle")?;
            serves(&leaf.der, &chain, (&bundle.to_root_store(), at))?;
            Ok("as client and as server".to_owned())
        });
    }

    fn web(&mut self, (leaf, rest): (&Facts, &[Facts]), verify: &Verify, demands: &Demands<'_>) {
        self.check("form", || match leaf.is_authority() {
            true => Err("it is an authority".to_owned()),
            false => Ok("a leaf".to_owned()),
        });
        self.name(leaf, demands);
        self.dates(leaf, demands.now);
        self.check("chain", || {
            let chain: Vec<_> =
                std::iter::once(leaf).chain(rest).map(|facts| facts.der.clone()).collect();
            let name = demands.name.unwrap_or_default();
            let name = ServerName::try_from(name).map_err(|error| error.to_string())?;
            verify(&chain, &name, unix(demands.now)).map_err(|error| reason(&error))?;
            Ok("it leads to a root of this system".to_owned())
        });
    }

    fn name(&mut self, leaf: &Facts, demands: &Demands<'_>) {
        let Some(wanted) = demands.name else { return };
        self.check("name", || {
            let name = ServerName::try_from(wanted)
                .map_err(|_| format!("{wanted:?} is neither a DNS name nor an IP address"))?;
            let parsed = ParsedCertificate::try_from(&leaf.der).map_err(|error| reason(&error))?;
            verify_server_name(&parsed, &name).map_err(|error| reason(&error))?;
            Ok(wanted.to_owned())
        });
    }

    fn dates(&mut self, leaf: &Facts, now: SystemTime) {
        self.check("dates", || {
            if now < leaf.not_before {
                return Err(format!("not valid before {}", moment::show(leaf.not_before, now)));
            }
            if now > leaf.not_after {
                return Err(format!("expired at {}", moment::show(leaf.not_after, now)));
            }
            Ok(format!("until {}", moment::show(leaf.not_after, now)))
        });
    }
}

/// The bundle that may vouch for a trust domain: its own, and no other's.
fn choose(domain: &TrustDomain, bundles: &[Bundle]) -> Result<(TrustBundle, String), String> {
    let own = bundles.iter().find(|(of, _)| of.as_ref() == Some(domain));
    let unnamed = bundles.iter().find(|(of, _)| of.is_none());
    let (roots, said) = match (own, unnamed) {
        (Some((_, roots)), _) => (roots, format!("that of {domain}")),
        (None, Some((_, roots))) => {
            (roots, format!("taken as that of {domain}, which it does not say"))
        }
        (None, None) => {
            let known: Vec<&str> =
                bundles.iter().filter_map(|(of, _)| of.as_ref()).map(TrustDomain::as_str).collect();
            return Err(format!("there is none of {domain}, only of {}", known.join(", ")));
        }
    };
    let bundle =
        TrustBundle::new(domain.clone(), roots.clone()).map_err(|error| error.to_string())?;
    Ok((bundle, said))
}

fn serves(
    leaf: &CertificateDer<'_>,
    chain: &[CertificateDer<'_>],
    (roots, at): (&RootCertStore, UnixTime),
) -> Result<(), String> {
    let provider = rustls::crypto::aws_lc_rs::default_provider();
    let parsed = ParsedCertificate::try_from(leaf).map_err(|error| reason(&error))?;
    let algorithms = provider.signature_verification_algorithms.all;
    verify_server_cert_signed_by_trust_anchor(&parsed, roots, chain, at, algorithms)
        .map_err(|error| reason(&error))
}

fn unix(at: SystemTime) -> UnixTime {
    let since = at.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    UnixTime::since_unix_epoch(since)
}

/// In the words of a person.
fn reason(error: &Error) -> String {
    let Error::InvalidCertificate(fault) = error else { return error.to_string() };
    match fault {
        CertificateError::UnknownIssuer => {
            "no root of the bundle signed it, nor an authority that came with it".to_owned()
        }
        CertificateError::BadSignature => "a signature in the chain is wrong".to_owned(),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => {
            "a certificate of the chain has expired".to_owned()
        }
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "a certificate of the chain is not valid yet".to_owned()
        }
        CertificateError::InvalidPurpose | CertificateError::InvalidPurposeContext { .. } => {
            "its extended key usage does not allow it".to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "the name is not among its names".to_owned()
        }
        other => other.to_string(),
    }
}
