//! What stands in one certificate, for a person to look at: nothing is decided by it.

use std::net::IpAddr;
use std::time::{Duration, SystemTime};

use rustls::pki_types::CertificateDer;
use serde_json::{Value, json};
use x509_parser::prelude::{FromDer as _, GeneralName, ParsedExtension, X509Certificate};
use x509_parser::public_key::PublicKey;

use super::rfc3339;

/// What stands in one certificate.
#[derive(Debug, Clone)]
pub(super) struct Facts {
    pub(super) der: CertificateDer<'static>,
    pub(super) subject: String,
    pub(super) issuer: String,
    /// Alternative names, each with its kind.
    pub(super) names: Vec<(&'static str, String)>,
    pub(super) names_critical: bool,
    /// In lower-case hexadecimal.
    pub(super) serial: String,
    pub(super) key: String,
    pub(super) signature: String,
    /// Key usages, and whether the extension is critical; nothing without the extension.
    pub(super) usages: Option<(Vec<&'static str>, bool)>,
    /// Extended key usages; nothing without the extension.
    pub(super) purposes: Option<Vec<String>>,
    /// Whether it says that it is an authority, and how many authorities may follow; nothing without the extension.
    pub(super) constraints: Option<(bool, Option<u32>)>,
    pub(super) key_id: Option<String>,
    pub(super) authority_key_id: Option<String>,
    pub(super) not_before: SystemTime,
    pub(super) not_after: SystemTime,
    pub(super) sha256: String,
}

impl Facts {
    /// Reads a certificate; nothing when it is none.
    pub(super) fn read(der: &CertificateDer<'static>) -> Option<Self> {
        let (rest, certificate) = X509Certificate::from_der(der).ok()?;
        if !rest.is_empty() {
            return None;
        }
        let (mut key_id, mut authority_key_id) = (None, None);
        for extension in certificate.extensions() {
            match extension.parsed_extension() {
                ParsedExtension::SubjectKeyIdentifier(id) => key_id = Some(hex(id.0)),
                ParsedExtension::AuthorityKeyIdentifier(id) => {
                    authority_key_id = id.key_identifier.as_ref().map(|id| hex(id.0));
                }
                _ => {}
            }
        }
        let names = certificate.subject_alternative_name().ok().flatten();
        let usages = certificate.key_usage().ok().flatten();
        let purposes = certificate.extended_key_usage().ok().flatten();
        let constraints = certificate.basic_constraints().ok().flatten();
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
        Some(Self {
            der: der.clone(),
            subject: certificate.subject().to_string(),
            issuer: certificate.issuer().to_string(),
            names_critical: names.as_ref().is_some_and(|names| names.critical),
            names: names
                .map(|names| names.value.general_names.iter().map(name).collect())
                .unwrap_or_default(),
            serial: hex(certificate.raw_serial()),
            key: key(&certificate),
            signature: signature(&certificate.signature_algorithm.algorithm.to_id_string()),
            usages: usages.map(|usages| (usage_names(usages.value.flags), usages.critical)),
            purposes: purposes.map(|purposes| purpose_names(purposes.value)),
            constraints: constraints.map(|it| (it.value.ca, it.value.path_len_constraint)),
            key_id,
            authority_key_id,
            not_before: date(certificate.validity().not_before.timestamp()),
            not_after: date(certificate.validity().not_after.timestamp()),
            sha256: hex(digest.as_ref()),
        })
    }

    /// True for an authority: it may sign other certificates.
    pub(super) fn is_authority(&self) -> bool {
        self.constraints.is_some_and(|(authority, _)| authority)
    }

    /// What to call it: its SPIFFE ID, else another name, else its subject.
    pub(super) fn title(&self) -> String {
        let of = |kind| self.names.iter().find(|(found, _)| *found == kind).map(|(_, name)| name);
        let name = match self.is_authority() {
            true => None,
            false => of("URI").or_else(|| of("DNS")).or_else(|| of("IP")),
        };
        match name {
            Some(name) => name.clone(),
            None if !self.subject.is_empty() => self.subject.clone(),
            None => of("URI").cloned().unwrap_or_else(|| format!("serial {}", self.serial)),
        }
    }

    /// The URI names.
    pub(super) fn uris(&self) -> Vec<&str> {
        self.names
            .iter()
            .filter(|(kind, _)| *kind == "URI")
            .map(|(_, name)| name.as_str())
            .collect()
    }

    pub(super) fn json(&self) -> Value {
        let names: Vec<Value> =
            self.names.iter().map(|(kind, name)| json!({"kind": kind, "name": name})).collect();
        json!({
            "subject": self.subject,
            "issuer": self.issuer,
            "names": names,
            "serial": self.serial,
            "key": self.key,
            "signature": self.signature,
            "authority": self.is_authority(),
            "usages": self.usages.as_ref().map(|(usages, _)| usages),
            "purposes": self.purposes,
            "keyId": self.key_id,
            "authorityKeyId": self.authority_key_id,
            "notBefore": rfc3339(self.not_before),
            "notAfter": rfc3339(self.not_after),
            "sha256": self.sha256,
        })
    }
}

fn date(seconds: i64) -> SystemTime {
    let far = Duration::from_secs(seconds.unsigned_abs());
    let at = if seconds < 0 {
        SystemTime::UNIX_EPOCH.checked_sub(far)
    } else {
        SystemTime::UNIX_EPOCH.checked_add(far)
    };
    at.unwrap_or(SystemTime::UNIX_EPOCH)
}

fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn name(name: &GeneralName<'_>) -> (&'static str, String) {
    match name {
        GeneralName::URI(uri) => ("URI", (*uri).to_owned()),
        GeneralName::DNSName(name) => ("DNS", (*name).to_owned()),
        GeneralName::RFC822Name(mail) => ("email", (*mail).to_owned()),
        GeneralName::DirectoryName(name) => ("directory", name.to_string()),
        GeneralName::IPAddress(bytes) => ("IP", address(bytes)),
        GeneralName::RegisteredID(id) => ("id", id.to_id_string()),
        GeneralName::OtherName(id, _) => ("other", id.to_id_string()),
        GeneralName::X400Address(_) => ("x400", "(not shown)".to_owned()),
        GeneralName::EDIPartyName(_) => ("edi", "(not shown)".to_owned()),
        GeneralName::Invalid(..) => ("invalid", "(unreadable)".to_owned()),
    }
}

fn address(bytes: &[u8]) -> String {
    if let Ok(v4) = <[u8; 4]>::try_from(bytes) {
        return IpAddr::from(v4).to_string();
    }
    match <[u8; 16]>::try_from(bytes) {
        Ok(v6) => IpAddr::from(v6).to_string(),
        Err(_) => hex(bytes),
    }
}

fn key(certificate: &X509Certificate<'_>) -> String {
    let info = certificate.public_key();
    let algorithm = info.algorithm.algorithm.to_id_string();
    match info.parsed() {
        Ok(PublicKey::RSA(key)) => format!("RSA {}", key.key_size()),
        Ok(PublicKey::EC(_)) => {
            let curve = info.algorithm.parameters.as_ref().and_then(|it| it.as_oid().ok());
            match curve.map(|curve| curve.to_id_string()).as_deref() {
                Some("1.2.840.10045.3.1.7") => "EC P-256".to_owned(),
                Some("1.3.132.0.34") => "EC P-384".to_owned(),
                Some("1.3.132.0.35") => "EC P-521".to_owned(),
                Some(other) => format!("EC {other}"),
                None => "EC".to_owned(),
            }
        }
        _ if algorithm == "1.3.101.112" => "Ed25519".to_owned(),
        _ => algorithm,
    }
}

fn signature(algorithm: &str) -> String {
    match algorithm {
        "1.2.840.10045.4.3.2" => "ECDSA with SHA-256",
        "1.2.840.10045.4.3.3" => "ECDSA with SHA-384",
        "1.2.840.10045.4.3.4" => "ECDSA with SHA-512",
        "1.2.840.113549.1.1.11" => "RSA with SHA-256",
        "1.2.840.113549.1.1.12" => "RSA with SHA-384",
        "1.2.840.113549.1.1.13" => "RSA with SHA-512",
        "1.2.840.113549.1.1.10" => "RSA-PSS",
        "1.2.840.113549.1.1.5" => "RSA with SHA-1",
        "1.2.840.10045.4.1" => "ECDSA with SHA-1",
        "1.3.101.112" => "Ed25519",
        other => other,
    }
    .to_owned()
}

/// RFC 5280, section 4.2.1.3, in the order of its bits.
fn usage_names(flags: u16) -> Vec<&'static str> {
    [
        "digitalSignature",
        "contentCommitment",
        "keyEncipherment",
        "dataEncipherment",
        "keyAgreement",
        "keyCertSign",
        "cRLSign",
        "encipherOnly",
        "decipherOnly",
    ]
    .into_iter()
    .enumerate()
    .filter(|(bit, _)| (flags >> bit) & 1 == 1)
    .map(|(_, name)| name)
    .collect()
}

fn purpose_names(purposes: &x509_parser::extensions::ExtendedKeyUsage<'_>) -> Vec<String> {
    let known = [
        (purposes.any, "any"),
        (purposes.server_auth, "serverAuth"),
        (purposes.client_auth, "clientAuth"),
        (purposes.code_signing, "codeSigning"),
        (purposes.email_protection, "emailProtection"),
        (purposes.time_stamping, "timeStamping"),
        (purposes.ocsp_signing, "OCSPSigning"),
    ];
    let known = known.into_iter().filter(|(set, _)| *set).map(|(_, name)| name.to_owned());
    known.chain(purposes.other.iter().map(|id| id.to_id_string())).collect()
}
