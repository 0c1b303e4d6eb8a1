//! A small certificate authority for tests: SPIFFE leaves, their keys, and one whole workload identity.

use std::time::{Duration, SystemTime};

use hopgate::identity::{Bundles, PrivateKey, SpiffeId, TrustBundle, WorkloadIdentity, X509Svid};
use rcgen::{
    BasicConstraints, CertificateParams, DistinguishedName, ExtendedKeyUsagePurpose, IsCa, Issuer,
    KeyPair, KeyUsagePurpose, SanType, string::Ia5String,
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
    let key = KeyPair::generate().unwrap();
    let mut params = CertificateParams::default();
    params.distinguished_name = DistinguishedName::new();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    let certificate = params.self_signed(&key).unwrap().der().clone();
    Ca { issuer: Issuer::new(params, key), certificate }
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
        let certificate = params.signed_by(&key, &self.issuer).unwrap().der().clone();
        Leaf { certificate, key }
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

/// A URI SAN.
pub fn uri(text: &str) -> SanType {
    SanType::URI(Ia5String::try_from(text).unwrap())
}
