//! A signing request, read strictly. Only its public key is used; whatever else it asks for must agree with
//! what was proven, or the request is refused. Nothing that was asked for is dropped in silence.

use std::collections::BTreeSet;

use rcgen::SubjectPublicKeyInfo;
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certification_request::{X509CertificationRequest, X509CertificationRequestInfo};
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_SIG_ECDSA_WITH_SHA256,
    OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ED25519, OID_X509_ORGANIZATION_NAME,
};
use x509_parser::prelude::{
    FromDer as _, GeneralName, ParsedExtension, X509Extension, X509Version,
};

use crate::identity::SpiffeId;

/// The longest request in bytes of PEM. One with a P-384 key and a long SPIFFE ID stays below 4 KiB.
const MAX_LENGTH: usize = 8 * 1024;
/// The most names that one request may ask for. An honest one asks for its SPIFFE ID and its few DNS names.
const MAX_NAMES: usize = 64;

/// The first byte of every request: a universal, constructed SEQUENCE.
const SEQUENCE: u8 = 0x30;

/// What is taken from a request: a public key whose owner signed the request, and the names it asked for.
#[derive(Debug)]
pub struct SigningRequest {
    public_key: SubjectPublicKeyInfo,
    names: Names,
}

/// The names that a request asks for.
#[derive(Debug, Default)]
struct Names {
    uris: Vec<String>,
    /// In lower case.
    dns: Vec<String>,
}

/// Why a request is refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum InvalidRequest {
    /// It is longer than any honest request.
    #[error("the request is longer than {MAX_LENGTH} bytes")]
    TooLong,
    /// Not exactly one PEM block of a certificate request.
    #[error("the request is not exactly one PEM block \"CERTIFICATE REQUEST\"")]
    NotOnePemBlock,
    /// The block is no certificate request, or something follows it.
    #[error("the request is not readable")]
    Unreadable,
    /// Only P-256, P-384 and Ed25519 are signed.
    #[error("the key is not P-256, P-384 or Ed25519")]
    KeyKind,
    /// Who sent it does not hold the key.
    #[error("the request's own signature is wrong")]
    Signature,
    /// It asks to become an authority.
    #[error("the request asks for the rights of an authority")]
    Authority,
    /// It asks for an email, an IP address or another name that no workload gets.
    #[error("the request asks for a name that is neither URI nor DNS name")]
    NameKind,
    /// It asks for more names than any workload has.
    #[error("the request asks for more than {MAX_NAMES} names")]
    Names,
    /// It asks for a subject. Who a workload is, its SPIFFE ID says.
    #[error("the request asks for a subject; only an organization (O) may stand in it")]
    Subject,
    /// It asks for another identity than the proven one.
    #[error("the request asks for another identity")]
    ForeignName,
    /// It asks for a DNS name that the configuration does not give to the proven workload.
    #[error("the request asks for DNS name {0:?}, which its workload does not have")]
    DnsName(String),
    /// It asks to use the key for something that no workload does.
    #[error("the request asks for a key usage other than digitalSignature")]
    KeyUsage,
    /// It asks to use the certificate for something that no workload does.
    #[error("the request asks for an extended key usage other than serverAuth and clientAuth")]
    ExtendedKeyUsage,
    /// It asks for an extension that no workload gets.
    #[error("the request asks for extension {0}")]
    Extension(String),
    /// It asks for something twice.
    #[error("the request asks for {0} twice")]
    Twice(String),
    /// It carries an attribute that means something elsewhere.
    #[error("the request carries attribute {0}")]
    Attribute(String),
    /// It is signed with an algorithm that is not in use.
    #[error(
        "the request is signed with algorithm {0}; use ECDSA with SHA-256 or SHA-384, or Ed25519"
    )]
    SignatureKind(String),
}

impl SigningRequest {
    /// Reads a PEM request and checks all of it that needs no knowledge of the caller.
    ///
    /// # Errors
    /// When anything in it is not understood or not allowed.
    pub fn parse(pem: &str) -> Result<Self, InvalidRequest> {
        let der = only_block(pem)?;
        // The parser is lax about the class of the outermost tag, which no signature covers.
        if der.first() != Some(&SEQUENCE) {
            return Err(InvalidRequest::Unreadable);
        }
        let (rest, request) =
            X509CertificationRequest::from_der(&der).map_err(|_| InvalidRequest::Unreadable)?;
        if !rest.is_empty() {
            return Err(InvalidRequest::Unreadable);
        }
        let info = &request.certification_request_info;
        // The only version there is (RFC 2986).
        if info.version != X509Version::V1 {
            return Err(InvalidRequest::Unreadable);
        }
        let public_key = public_key(&info.subject_pki)?;
        check_signature(&request)?;
        check_subject(info)?;
        let names = asked(info)?;
        Ok(Self { public_key, names })
    }

    /// Checks the names it asked for against the proven identity and its DNS names (in lower case). No name at all is
    /// fine.
    ///
    /// # Errors
    /// When it asked for any other name.
    pub fn check_names(
        &self,
        proven: &SpiffeId,
        dns_names: &[String],
    ) -> Result<(), InvalidRequest> {
        let Names { uris, dns } = &self.names;
        match uris.as_slice() {
            [] => {}
            [uri] if uri == proven.as_str() => {}
            _ => return Err(InvalidRequest::ForeignName),
        }
        match dns.iter().find(|name| !dns_names.contains(name)) {
            None => Ok(()),
            Some(name) => Err(InvalidRequest::DnsName(name.clone())),
        }
    }

    pub(super) fn public_key(&self) -> &SubjectPublicKeyInfo {
        &self.public_key
    }
}

fn only_block(pem: &str) -> Result<CertificateSigningRequestDer<'static>, InvalidRequest> {
    if pem.len() > MAX_LENGTH {
        return Err(InvalidRequest::TooLong);
    }
    let text = pem.trim_ascii();
    let one_block = text.matches("-----BEGIN ").count() == 1
        && text.starts_with("-----BEGIN ")
        && text.ends_with("-----")
        && text.matches("-----END ").count() == 1;
    if !one_block {
        return Err(InvalidRequest::NotOnePemBlock);
    }
    CertificateSigningRequestDer::from_pem_slice(text.as_bytes())
        .map_err(|_| InvalidRequest::NotOnePemBlock)
}

fn public_key(
    info: &x509_parser::x509::SubjectPublicKeyInfo<'_>,
) -> Result<SubjectPublicKeyInfo, InvalidRequest> {
    let algorithm = &info.algorithm;
    let key = &info.subject_public_key.data;
    let fits = if algorithm.algorithm == OID_KEY_TYPE_EC_PUBLIC_KEY {
        let curve = algorithm.parameters.as_ref().and_then(|p| p.as_oid().ok());
        let length = match curve {
            Some(curve) if curve == OID_EC_P256 => 65,
            Some(curve) if curve == OID_NIST_EC_P384 => 97,
            Some(_) | None => return Err(InvalidRequest::KeyKind),
        };
        // Uncompressed points only: what every peer understands.
        key.len() == length && key.first() == Some(&4)
    } else {
        algorithm.algorithm == OID_SIG_ED25519 && algorithm.parameters.is_none() && key.len() == 32
    };
    if !fits {
        return Err(InvalidRequest::KeyKind);
    }
    SubjectPublicKeyInfo::from_der(info.raw).map_err(|_| InvalidRequest::KeyKind)
}

fn check_signature(request: &X509CertificationRequest<'_>) -> Result<(), InvalidRequest> {
    let algorithm = &request.signature_algorithm.algorithm;
    let known = [OID_SIG_ECDSA_WITH_SHA256, OID_SIG_ECDSA_WITH_SHA384, OID_SIG_ED25519];
    if !known.contains(algorithm) {
        return Err(InvalidRequest::SignatureKind(algorithm.to_id_string()));
    }
    request.verify_signature().map_err(|_| InvalidRequest::Signature)
}

/// Istio's agents write an organization, mostly an empty one. It names nobody.
fn check_subject(info: &X509CertificationRequestInfo<'_>) -> Result<(), InvalidRequest> {
    let mut attributes = info.subject.iter_attributes();
    if attributes.all(|attribute| *attribute.attr_type() == OID_X509_ORGANIZATION_NAME) {
        Ok(())
    } else {
        Err(InvalidRequest::Subject)
    }
}

fn asked(info: &X509CertificationRequestInfo<'_>) -> Result<Names, InvalidRequest> {
    let mut names = Names::default();
    let mut asked = 0;
    for attribute in info.iter_attributes() {
        match attribute.parsed_attribute() {
            ParsedCriAttribute::ExtensionRequest(request) => {
                asked += 1;
                let mut seen = BTreeSet::new();
                for extension in &request.extensions {
                    if !seen.insert(extension.oid.to_id_string()) {
                        return Err(InvalidRequest::Twice(extension.oid.to_id_string()));
                    }
                    check_extension(extension, &mut names)?;
                }
            }
            // A password for a later revocation: nobody here would ever look at it.
            ParsedCriAttribute::ChallengePassword(_) | ParsedCriAttribute::UnsupportedAttribute => {
                return Err(InvalidRequest::Attribute(attribute.oid.to_id_string()));
            }
        }
    }
    if asked > 1 {
        return Err(InvalidRequest::Twice("extensions".to_owned()));
    }
    Ok(names)
}

fn check_extension(extension: &X509Extension<'_>, names: &mut Names) -> Result<(), InvalidRequest> {
    match extension.parsed_extension() {
        ParsedExtension::SubjectAlternativeName(asked) => {
            if asked.general_names.len() > MAX_NAMES {
                return Err(InvalidRequest::Names);
            }
            for name in &asked.general_names {
                match name {
                    GeneralName::URI(uri) => names.uris.push((*uri).to_owned()),
                    GeneralName::DNSName(name) => names.dns.push(name.to_ascii_lowercase()),
                    _ => return Err(InvalidRequest::NameKind),
                }
            }
            Ok(())
        }
        ParsedExtension::BasicConstraints(asked)
            if asked.ca || asked.path_len_constraint.is_some() =>
        {
            Err(InvalidRequest::Authority)
        }
        ParsedExtension::BasicConstraints(_) => Ok(()),
        ParsedExtension::KeyUsage(asked) if asked.key_cert_sign() || asked.crl_sign() => {
            Err(InvalidRequest::Authority)
        }
        // What every leaf gets; to ask for it is harmless, to ask for more is not.
        ParsedExtension::KeyUsage(asked) if asked.flags == 1 => Ok(()),
        ParsedExtension::KeyUsage(_) => Err(InvalidRequest::KeyUsage),
        ParsedExtension::ExtendedKeyUsage(asked) => {
            let more = asked.any
                || asked.code_signing
                || asked.email_protection
                || asked.time_stamping
                || asked.ocsp_signing
                || !asked.other.is_empty();
            if more { Err(InvalidRequest::ExtendedKeyUsage) } else { Ok(()) }
        }
        _ => Err(InvalidRequest::Extension(extension.oid.to_id_string())),
    }
}
