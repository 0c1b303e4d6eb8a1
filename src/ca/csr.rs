//! A signing request, read strictly. Only its public key is used; whatever else it asks for must agree with
//! what was proven, or the request is refused. Nothing that was asked for is dropped in silence.

use rcgen::SubjectPublicKeyInfo;
use rustls::pki_types::CertificateSigningRequestDer;
use rustls::pki_types::pem::PemObject as _;
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::cri_attributes::ParsedCriAttribute;
use x509_parser::oid_registry::{
    OID_EC_P256, OID_KEY_TYPE_EC_PUBLIC_KEY, OID_NIST_EC_P384, OID_SIG_ED25519, Oid,
};
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension};

use crate::identity::SpiffeId;

/// The longest request in bytes of PEM. One with a P-384 key and a long SPIFFE ID stays below 4 KiB.
const MAX_LENGTH: usize = 8 * 1024;

/// The first byte of every request: a universal, constructed SEQUENCE.
const SEQUENCE: u8 = 0x30;

/// What is taken from a request: a public key whose owner signed the request, and the names it asked for.
#[derive(Debug)]
pub struct SigningRequest {
    public_key: SubjectPublicKeyInfo,
    names: Vec<String>,
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
    /// It asks for a name other than a URI.
    #[error("the request asks for a name that is no URI")]
    NameKind,
    /// It asks for another identity than the proven one.
    #[error("the request asks for another identity")]
    ForeignName,
    /// It asks for an extension that no workload gets.
    #[error("the request asks for extension {0}")]
    Extension(String),
    /// It carries an attribute that means something elsewhere.
    #[error("the request carries attribute {0}")]
    Attribute(String),
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
        let public_key = public_key(&info.subject_pki)?;
        request.verify_signature().map_err(|_| InvalidRequest::Signature)?;
        let mut names = Vec::new();
        let mut asked = 0;
        for attribute in info.iter_attributes() {
            match attribute.parsed_attribute() {
                ParsedCriAttribute::ExtensionRequest(request) => {
                    asked += 1;
                    for extension in &request.extensions {
                        check_extension(&extension.oid, extension.parsed_extension(), &mut names)?;
                    }
                }
                // Meant for revocation by hand; it has no effect here.
                ParsedCriAttribute::ChallengePassword(_) => {}
                ParsedCriAttribute::UnsupportedAttribute => {
                    return Err(InvalidRequest::Attribute(attribute.oid.to_id_string()));
                }
            }
        }
        if asked > 1 {
            return Err(InvalidRequest::Unreadable);
        }
        Ok(Self { public_key, names })
    }

    /// Checks the names it asked for against the proven identity. No name at all is fine.
    ///
    /// # Errors
    /// When it asked for any other name.
    pub fn check_names(&self, proven: &SpiffeId) -> Result<(), InvalidRequest> {
        match self.names.as_slice() {
            [] => Ok(()),
            [name] if name == proven.as_str() => Ok(()),
            _ => Err(InvalidRequest::ForeignName),
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

fn check_extension(
    oid: &Oid<'_>,
    extension: &ParsedExtension<'_>,
    names: &mut Vec<String>,
) -> Result<(), InvalidRequest> {
    match extension {
        ParsedExtension::SubjectAlternativeName(asked) => {
            for name in &asked.general_names {
                let GeneralName::URI(uri) = name else { return Err(InvalidRequest::NameKind) };
                names.push((*uri).to_owned());
            }
            Ok(())
        }
        ParsedExtension::BasicConstraints(asked) if asked.ca => Err(InvalidRequest::Authority),
        ParsedExtension::KeyUsage(asked) if asked.key_cert_sign() || asked.crl_sign() => {
            Err(InvalidRequest::Authority)
        }
        // Every leaf gets both usages anyway, and never an authority's.
        ParsedExtension::BasicConstraints(_)
        | ParsedExtension::KeyUsage(_)
        | ParsedExtension::ExtendedKeyUsage(_) => Ok(()),
        _ => Err(InvalidRequest::Extension(oid.to_id_string())),
    }
}
