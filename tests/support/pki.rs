//! A small certificate authority for tests: SPIFFE leaves, their keys, and one whole workload identity.

use std::time::{Duration, SystemTime};

use hopgate::identity::{Bundles, PrivateKey, SpiffeId, TrustBundle, WorkloadIdentity, X509Svid};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, PublicKeyData, SanType, string::Ia5String,
};
use rustls::pki_types::CertificateDer;

/// A root that signs leaves.
pub struct Ca {
    issuer: Issuer<'static, KeyPair>,
    certificate: CertificateDer<'static>,
}

/// A leaf with its key.
pub struct Leaf {
    pub certificate: CertificateDer<'static>,
    pub key: KeyPair,
}

pub fn ca() -> Ca {
    ca_with(KeyPair::generate().unwrap(), |_| {})
}

/// A root with a key of the test's choice, that `change` may make as odd as a test needs it.
pub fn ca_with(key: KeyPair, change: impl FnOnce(&mut CertificateParams)) -> Ca {
    let mut params = authority(0);
    change(&mut params);
    let certificate = params.self_signed(&key).unwrap().der().clone();
    Ca { issuer: Issuer::new(params, key), certificate }
}

fn authority(depth: u8) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(depth));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params
}

impl Ca {
    /// The root in DER.
    pub fn root(&self) -> CertificateDer<'static> {
        self.certificate.clone()
    }

    /// A leaf for one SPIFFE ID, valid from an hour ago for a day.
    pub fn leaf(&self, id: &str) -> Leaf {
        let now = SystemTime::now();
        self.leaf_between(id, now - Duration::from_secs(3600), now + Duration::from_secs(86_400))
    }

    pub fn leaf_between(&self, id: &str, from: SystemTime, to: SystemTime) -> Leaf {
        self.leaf_with(|params| {
            params.subject_alt_names = vec![uri(id)];
            params.not_before = from.into();
            params.not_after = to.into();
        })
    }

    /// A leaf that `change` may make as odd as a test needs it.
    pub fn leaf_with(&self, change: impl FnOnce(&mut CertificateParams)) -> Leaf {
        let key = KeyPair::generate().unwrap();
        let certificate = self.certify(&key, change);
        Leaf { certificate, key }
    }

    /// A certificate for a key that somebody else holds.
    pub fn certify(
        &self,
        key: &impl PublicKeyData,
        change: impl FnOnce(&mut CertificateParams),
    ) -> CertificateDer<'static> {
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.is_ca = IsCa::ExplicitNoCa;
        // Two roots of one name (a rotation) are told apart by this alone.
        params.use_authority_key_identifier_extension = true;
        params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        params.extended_key_usages =
            vec![ExtendedKeyUsagePurpose::ServerAuth, ExtendedKeyUsagePurpose::ClientAuth];
        let now = SystemTime::now();
        params.not_before = (now - Duration::from_secs(3600)).into();
        params.not_after = (now + Duration::from_secs(86_400)).into();
        change(&mut params);
        params.signed_by(key, &self.issuer).unwrap().der().clone()
    }

    /// Its revocation list, in PEM, current for so long from now on.
    pub fn revocations(&self, revoked: &[&Leaf], life: Duration) -> String {
        let now = SystemTime::now();
        let revoked = revoked.iter().map(|leaf| {
            let (_, read) = x509_parser::parse_x509_certificate(&leaf.certificate).unwrap();
            rcgen::RevokedCertParams {
                serial_number: rcgen::SerialNumber::from_slice(read.raw_serial()),
                revocation_time: now.into(),
                reason_code: None,
                invalidity_date: None,
            }
        });
        let params = rcgen::CertificateRevocationListParams {
            this_update: (now - Duration::from_secs(3600)).into(),
            next_update: (now + life).into(),
            crl_number: rcgen::SerialNumber::from(1_u64),
            issuing_distribution_point: None,
            revoked_certs: revoked.collect(),
            key_identifier_method: rcgen::KeyIdMethod::Sha256,
        };
        params.signed_by(&self.issuer).unwrap().pem().unwrap()
    }

    /// An authority that this one signs; this one must allow a chain of that length.
    pub fn intermediate(&self) -> Self {
        self.intermediate_with(|_| {})
    }

    pub fn intermediate_with(&self, change: impl FnOnce(&mut CertificateParams)) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = authority(0);
        params.distinguished_name.push(rcgen::DnType::CommonName, "intermediate");
        params.use_authority_key_identifier_extension = true;
        change(&mut params);
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Self { issuer: Issuer::new(params, key), certificate }
    }

    /// The bundle of the trust domain that `id` is in.
    pub fn bundle(&self, id: &str) -> TrustBundle {
        let domain = SpiffeId::parse(id).unwrap().trust_domain();
        TrustBundle::new(domain, vec![self.root()]).unwrap()
    }

    /// A new certificate and key for `id`, with this root as the bundle.
    pub fn identity(&self, id: &str) -> WorkloadIdentity {
        let leaf = self.leaf(id);
        let bundle = self.bundle(id);
        let key = PrivateKey::from_pem(&leaf.key.serialize_pem()).unwrap();
        let svid = X509Svid::new(vec![leaf.certificate], key, &bundle, SystemTime::now()).unwrap();
        WorkloadIdentity { svid, bundles: Bundles::new(bundle) }
    }
}

/// One certificate as PEM.
pub fn pem(certificate: &[u8]) -> String {
    use base64::Engine as _;
    let body = base64::engine::general_purpose::STANDARD.encode(certificate);
    format!("-----BEGIN CERTIFICATE-----\n{body}\n-----END CERTIFICATE-----\n")
}

/// A URI SAN.
pub fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap())
}
