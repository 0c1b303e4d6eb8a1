//! cert-manager, played by the test: it approves requests and signs them with a root of its own.

use std::time::{Duration, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::CustomResourceDefinition;
use kube::api::{Api, ApiResource, DynamicObject, ListParams, Patch, PatchParams};
use kube::core::GroupVersionKind;
use rcgen::{
    BasicConstraints, CertificateParams, DnType, IsCa, Issuer, KeyPair, KeyUsagePurpose,
    PublicKeyData as _, SubjectPublicKeyInfo,
};
use serde_json::{Value, json};
use x509_parser::certification_request::X509CertificationRequest;
use x509_parser::pem::Pem;
use x509_parser::prelude::{FromDer as _, ParsedExtension};

use crate::support::kube::Namespace;

/// A root that signs.
pub struct Root {
    pub pem: String,
    issuer: Issuer<'static, KeyPair>,
}

/// What is wrong with an answer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Flaw {
    None,
    OtherKey,
    NoAuthority,
}

impl Root {
    pub fn new(name: &str, now: SystemTime) -> Self {
        let key = KeyPair::generate().unwrap();
        let mut params = authority(name, now, Duration::from_secs(3650 * 24 * 3600));
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let certificate = params.self_signed(&key).unwrap();
        let pem = certificate.pem();
        Self { issuer: Issuer::from_ca_cert_der(certificate.der(), key).unwrap(), pem }
    }

    /// Signs what a request asks for, after a look at it.
    fn sign(&self, request: &Value, (now, life): (SystemTime, Duration), flaw: Flaw) -> String {
        let spec = &request["spec"];
        assert_eq!(
            (&spec["isCA"], &spec["usages"]),
            (&json!(true), &json!(["cert sign", "crl sign"]))
        );
        let pem = STANDARD.decode(spec["request"].as_str().unwrap()).unwrap();
        let (_, pem) = x509_parser::pem::parse_x509_pem(&pem).unwrap();
        let key = asked_key(&pem);
        let mut params = authority("issuing", now, life);
        if flaw == Flaw::NoAuthority {
            params.is_ca = IsCa::ExplicitNoCa;
            params.key_usages = vec![KeyUsagePurpose::DigitalSignature];
        }
        let other = KeyPair::generate().unwrap();
        let other = SubjectPublicKeyInfo::from_der(&other.subject_public_key_info()).unwrap();
        let key = if flaw == Flaw::OtherKey { other } else { key };
        params.signed_by(&key, &self.issuer).unwrap().pem()
    }
}

fn authority(name: &str, now: SystemTime, life: Duration) -> CertificateParams {
    let mut params = CertificateParams::default();
    params.distinguished_name.push(DnType::CommonName, name);
    params.not_before = (now - Duration::from_secs(3600)).into();
    params.not_after = (now + life).into();
    params.is_ca = IsCa::Ca(BasicConstraints::Constrained(0));
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
    params.use_authority_key_identifier_extension = true;
    params
}

/// The key of a request that is signed by it and asks to be an authority of leaves, as cert-manager checks.
fn asked_key(pem: &Pem) -> SubjectPublicKeyInfo {
    let (_, request) = X509CertificationRequest::from_der(&pem.contents).unwrap();
    request.verify_signature().unwrap();
    let mut constraints = None;
    let mut usage = None;
    for extension in request.requested_extensions().unwrap() {
        match extension {
            ParsedExtension::BasicConstraints(found) => constraints = Some(found.clone()),
            ParsedExtension::KeyUsage(found) => usage = Some(*found),
            _ => {}
        }
    }
    let constraints = constraints.unwrap();
    assert!(constraints.ca && constraints.path_len_constraint == Some(0), "{constraints:?}");
    let usage = usage.unwrap();
    assert!(usage.key_cert_sign() && usage.crl_sign() && !usage.digital_signature());
    SubjectPublicKeyInfo::from_der(request.certification_request_info.subject_pki.raw).unwrap()
}

/// The requests of one namespace.
pub struct Requests {
    api: Api<DynamicObject>,
}

impl Requests {
    pub async fn of(shop: &Namespace) -> Self {
        let text = include_str!("certificate-request-crd.yaml");
        let definition: Value = serde_saphyr::from_str(text).unwrap();
        let definitions: Api<CustomResourceDefinition> = Api::all(shop.client.clone());
        let name = "certificaterequests.cert-manager.io";
        let apply = PatchParams::apply("test").force();
        definitions.patch(name, &apply, &Patch::Apply(definition)).await.unwrap();
        let kind = GroupVersionKind::gvk("cert-manager.io", "v1", "CertificateRequest");
        let kind = ApiResource::from_gvk(&kind);
        let api = Api::namespaced_with(shop.client.clone(), &shop.name, &kind);
        for _ in 0..100 {
            if api.list(&ListParams::default()).await.is_ok() {
                return Self { api };
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("the API server does not serve CertificateRequests");
    }

    pub async fn names(&self) -> Vec<String> {
        let all = self.api.list(&ListParams::default()).await.unwrap();
        all.items.into_iter().map(|one| one.metadata.name.unwrap()).collect()
    }

    /// Waits for a request that has no answer yet.
    pub async fn open(&self) -> DynamicObject {
        for _ in 0..600 {
            let all = self.api.list(&ListParams::default()).await.unwrap();
            let mut open = all.items.into_iter().filter(|one| one.data["status"].is_null());
            if let Some(one) = open.next() {
                return one;
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        panic!("nobody asks for a certificate");
    }

    /// Sets the status of a request.
    pub async fn answer(&self, request: &DynamicObject, status: Value) {
        let name = request.metadata.name.as_deref().unwrap();
        let patch = json!({ "status": status });
        self.api.patch_status(name, &PatchParams::default(), &Patch::Merge(patch)).await.unwrap();
    }

    /// Approves and signs the next request.
    pub async fn sign(&self, root: &Root, (now, life): (SystemTime, Duration), flaw: Flaw) {
        let request = self.open().await;
        self.answer(&request, json!({ "conditions": [condition("Approved", "True", "Policy")] }))
            .await;
        let certificate = root.sign(&request.data, (now, life), flaw);
        let conditions =
            [condition("Approved", "True", "Policy"), condition("Ready", "True", "Issued")];
        let status = json!({
            "conditions": conditions,
            "certificate": STANDARD.encode(certificate), "ca": STANDARD.encode(&root.pem),
        });
        self.answer(&request, status).await;
    }
}

pub fn condition(kind: &str, status: &str, reason: &str) -> Value {
    json!({ "type": kind, "status": status, "reason": reason, "message": "said on purpose" })
}
