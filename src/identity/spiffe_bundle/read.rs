//! Reading a bundle document, entry by entry.

use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use jsonwebtoken::jwk::Jwk;
use rustls::pki_types::CertificateDer;
use serde_json::{Map, Value};
use x509_parser::prelude::{FromDer as _, GeneralName, X509Certificate};

use super::{InvalidSpiffeBundle, JWT_SVID, SpiffeBundle, X509_SVID, jwk};
use crate::identity::{InvalidBundle, JwtBundle, SpiffeId, TrustBundle, TrustDomain};

/// A key, or a part of one, that readers must ignore.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Ignored {
    /// The place of the key in `keys`, counted from 1.
    pub position: usize,
    /// Why.
    pub why: WhyIgnored,
}

/// Why a key, or a part of one, is ignored.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhyIgnored {
    /// It is for something else than X509-SVIDs and JWT-SVIDs (Trust Domain and Bundle, section 4.2.2).
    #[error("its use {0:?} is unknown")]
    Use(String),
    /// A type of key, or a curve, that is not known for this use (section 4.2.1).
    #[error("its key type {0:?} is unknown for this use")]
    KeyType(String),
    /// An X.509 authority without its certificate (X509-SVID, section 6.2).
    #[error("it has no certificate in x5c")]
    NoCertificate,
    /// More than one certificate: only the first counts (X509-SVID, section 6.2).
    #[error("of its {0} certificates all but the first")]
    MoreCertificates(usize),
}

/// Why one key makes the whole document unusable.
#[derive(Debug, thiserror::Error)]
pub enum KeyProblem {
    /// No JSON object.
    #[error("it is no JSON object")]
    NotAnObject,
    /// A member is missing or not of the form that it must have.
    #[error("its member `{0}` is missing or malformed")]
    Member(&'static str),
    /// A private key, which whoever reads the document now has.
    #[error("its member `{0}` is private: the key must be replaced")]
    Private(&'static str),
    /// `x5c` holds something else than certificates in DER as Base64.
    #[error("its first x5c is no certificate in Base64")]
    Certificate,
    /// A leaf: it would vouch for whatever its owner signs.
    #[error("its certificate is not one of an authority (CA and keyCertSign)")]
    NotAnAuthority,
    /// An authority that is named like a workload (X509-SVID, section 3.2).
    #[error("its certificate is of an authority, and names a workload")]
    NamesAWorkload,
    /// The certificate cannot be a trust anchor.
    #[error("its certificate cannot be used: {0}")]
    Anchor(InvalidBundle),
    /// The members and the certificate are of different keys (RFC 7517, section 4.7).
    #[error("its certificate is of another key than its members say")]
    OtherKey,
}

/// Members of private keys (RFC 7518, sections 6.2.2, 6.3.2 and 6.4).
const PRIVATE: [&str; 8] = ["d", "p", "q", "dp", "dq", "qi", "oth", "k"];

pub(super) fn document(
    domain: &TrustDomain,
    text: &str,
) -> Result<SpiffeBundle, InvalidSpiffeBundle> {
    let value: Value = serde_json::from_str(text).map_err(InvalidSpiffeBundle::NotJson)?;
    let Value::Object(document) = value else { return Err(InvalidSpiffeBundle::NoKeys) };
    let Some(Value::Array(keys)) = document.get("keys") else {
        return Err(InvalidSpiffeBundle::NoKeys);
    };
    let (mut roots, mut jwt, mut ignored) = (Vec::new(), Vec::new(), Vec::new());
    for (index, key) in keys.iter().enumerate() {
        let position = index + 1;
        match entry(domain, key) {
            Ok(Entry::Root(root, why)) => {
                roots.push(root);
                ignored.extend(why.map(|why| Ignored { position, why }));
            }
            Ok(Entry::Jwt(key)) => jwt.push(*key),
            Ok(Entry::Ignored(why)) => ignored.push(Ignored { position, why }),
            Err(problem) => return Err(InvalidSpiffeBundle::Key { position, problem }),
        }
    }
    let x509 = match roots.is_empty() {
        true => None,
        false => Some(TrustBundle::new(domain.clone(), roots)?),
    };
    Ok(SpiffeBundle {
        domain: domain.clone(),
        x509,
        jwt: JwtBundle::new(domain.clone(), jwt)?,
        sequence: number(&document, "spiffe_sequence")?,
        refresh_hint: number(&document, "spiffe_refresh_hint")?.map(Duration::from_secs),
        ignored,
    })
}

enum Entry {
    /// A root, and what was ignored beside it.
    Root(CertificateDer<'static>, Option<WhyIgnored>),
    Jwt(Box<Jwk>),
    Ignored(WhyIgnored),
}

fn number(
    document: &Map<String, Value>,
    name: &'static str,
) -> Result<Option<u64>, InvalidSpiffeBundle> {
    match document.get(name) {
        None => Ok(None),
        Some(value) => value.as_u64().map(Some).ok_or(InvalidSpiffeBundle::Number(name)),
    }
}

fn entry(domain: &TrustDomain, key: &Value) -> Result<Entry, KeyProblem> {
    let Value::Object(key) = key else { return Err(KeyProblem::NotAnObject) };
    let kind = text(key, "kty")?;
    let usage = text(key, "use")?;
    match usage {
        X509_SVID => x509(domain, key, kind),
        JWT_SVID => jwt(key, kind),
        other => Ok(Entry::Ignored(WhyIgnored::Use(other.to_owned()))),
    }
}

fn text<'k>(key: &'k Map<String, Value>, name: &'static str) -> Result<&'k str, KeyProblem> {
    key.get(name).and_then(Value::as_str).ok_or(KeyProblem::Member(name))
}

fn refuse_private(key: &Map<String, Value>) -> Result<(), KeyProblem> {
    match PRIVATE.into_iter().find(|name| key.contains_key(*name)) {
        Some(name) => Err(KeyProblem::Private(name)),
        None => Ok(()),
    }
}

fn x509(domain: &TrustDomain, key: &Map<String, Value>, kind: &str) -> Result<Entry, KeyProblem> {
    if !matches!(kind, "EC" | "RSA" | "OKP") {
        return Ok(Entry::Ignored(WhyIgnored::KeyType(kind.to_owned())));
    }
    refuse_private(key)?;
    let certificates = match key.get("x5c") {
        None => return Ok(Entry::Ignored(WhyIgnored::NoCertificate)),
        Some(Value::Array(certificates)) => certificates,
        Some(_) => return Err(KeyProblem::Member("x5c")),
    };
    let Some(first) = certificates.first() else {
        return Ok(Entry::Ignored(WhyIgnored::NoCertificate));
    };
    let base64 = first.as_str().ok_or(KeyProblem::Certificate)?;
    let der = STANDARD.decode(base64).map_err(|_| KeyProblem::Certificate)?;
    check_authority(&der)?;
    let root = CertificateDer::from(der);
    TrustBundle::new(domain.clone(), vec![root.clone()]).map_err(KeyProblem::Anchor)?;
    let Some(actual) = jwk::of_certificate(&root) else {
        let curve = key.get("crv").and_then(Value::as_str).unwrap_or_default();
        return Ok(Entry::Ignored(WhyIgnored::KeyType(format!("{kind} {curve}"))));
    };
    if !jwk::fits(key, &actual) {
        return Err(KeyProblem::OtherKey);
    }
    let more = (certificates.len() > 1).then_some(WhyIgnored::MoreCertificates(certificates.len()));
    Ok(Entry::Root(root, more))
}

/// A signing certificate (X509-SVID, sections 3.2, 4.1 and 4.3).
fn check_authority(der: &[u8]) -> Result<(), KeyProblem> {
    let (rest, certificate) =
        X509Certificate::from_der(der).map_err(|_| KeyProblem::Certificate)?;
    if !rest.is_empty() {
        return Err(KeyProblem::Certificate);
    }
    let usage = certificate.key_usage().map_err(|_| KeyProblem::Certificate)?;
    let signs = usage.is_none_or(|usage| usage.value.key_cert_sign());
    if !certificate.is_ca() || !signs {
        return Err(KeyProblem::NotAnAuthority);
    }
    let names = certificate.subject_alternative_name().map_err(|_| KeyProblem::Certificate)?;
    let workload = names
        .iter()
        .flat_map(|names| &names.value.general_names)
        .any(|name| matches!(name, GeneralName::URI(uri) if SpiffeId::parse(uri).is_ok()));
    if workload { Err(KeyProblem::NamesAWorkload) } else { Ok(()) }
}

fn jwt(key: &Map<String, Value>, kind: &str) -> Result<Entry, KeyProblem> {
    let unknown = |what: &str| Ok(Entry::Ignored(WhyIgnored::KeyType(what.to_owned())));
    match kind {
        "EC" => {
            let curve = text(key, "crv")?;
            let Some(size) = jwk::coordinate(curve) else { return unknown(curve) };
            for name in ["x", "y"] {
                jwk::bytes(key, name)
                    .filter(|bytes| bytes.len() == size)
                    .ok_or(KeyProblem::Member(name))?;
            }
        }
        "RSA" => {
            for name in ["n", "e"] {
                jwk::bytes(key, name).ok_or(KeyProblem::Member(name))?;
            }
        }
        other => return unknown(other),
    }
    refuse_private(key)?;
    let kid = text(key, "kid").ok().filter(|kid| !kid.is_empty());
    kid.ok_or(KeyProblem::Member("kid"))?;
    let wanted = ["kty", "crv", "x", "y", "n", "e", "kid"];
    let bare: Map<String, Value> = key
        .iter()
        .filter(|(name, _)| wanted.contains(&name.as_str()))
        .map(|(name, value)| (name.clone(), value.clone()))
        .collect();
    let parsed: Jwk =
        serde_json::from_value(Value::Object(bare)).map_err(|_| KeyProblem::Member("kty"))?;
    Ok(Entry::Jwt(Box::new(jwk::bare(&parsed))))
}
