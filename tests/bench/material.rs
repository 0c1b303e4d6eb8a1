//! What a Check is made of: a token, a peer certificate, rules, and the request as Envoy sends it.

use std::fmt::Write as _;
use std::time::{Duration, SystemTime};

use aws_lc_rs::encoding::{AsDer as _, Pkcs8V1Der};
use aws_lc_rs::rsa::{KeyPair, KeySize};
use aws_lc_rs::signature::KeyPair as _;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use envoy_types::pb::envoy::config::core::v3::{HeaderMap, HeaderValue};
use envoy_types::pb::envoy::service::auth::v3::attribute_context::{
    HttpRequest, Peer, Request, TlsSession,
};
use envoy_types::pb::envoy::service::auth::v3::{AttributeContext, CheckRequest};
use envoy_types::pb::google::protobuf::Timestamp;
use prost::Message as _;

const PEER: &str = "spiffe://bench.mesh/ns/shop/sa/web";

/// An API key, and its hash as a key file holds it.
pub const API_KEY: &str = "hk_bench_4f1d0c2b7a9e48d3b6c5a1e2f3d4c5b6";
pub const OPAQUE: &str = "ory_at_3Jd7-opaque-token-of-a-usual-length-0123456789abcdef";

pub struct Material {
    signers: [Signer; 3],
    certificate: String,
}

/// A key of one kind.
struct Signer {
    algorithm: jsonwebtoken::Algorithm,
    key: jsonwebtoken::EncodingKey,
    jwk: String,
}

/// Which key signs.
#[derive(Clone, Copy)]
pub enum Signed {
    Rs256,
    Es256,
    EdDsa,
}

impl Material {
    pub fn make() -> Self {
        Self { signers: [rsa(), ec(), ed()], certificate: certificate() }
    }

    /// A provider of JWTs, whose keys are of all kinds.
    pub fn tokens(&self) -> String {
        let jwks: Vec<&str> = self.signers.iter().map(|signer| signer.jwk.as_str()).collect();
        provider(&format!(
            "issuer: https://sso.bench\n  audiences: [orders]\n  algorithms: [RS256, ES256, EdDSA]\n  keys:\n    inline: {{\"keys\":[{}]}}",
            jwks.join(",")
        ))
    }

    /// A provider whose server judges opaque tokens.
    pub fn introspection(&self, url: &str) -> String {
        provider(&format!("introspection: {{ url: {url}, auth: none, ttl: 1h }}"))
    }

    /// A provider of API keys, and its key file.
    pub fn api_keys(&self) -> (String, String) {
        let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, API_KEY.as_bytes());
        let hash: String = digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect();
        let keys = format!("keys: [{{ id: bench, sha256: {hash}, roles: [customer] }}]\n");
        (provider("apiKeys: { file: keys.txt }"), keys)
    }

    /// So many tokens, each another text.
    pub fn distinct(&self, signed: Signed, count: usize) -> Vec<String> {
        let signer = &self.signers[match signed {
            Signed::Rs256 => 0,
            Signed::Es256 => 1,
            Signed::EdDsa => 2,
        }];
        (0..count).map(|number| signer.token(number)).collect()
    }

    /// One rule that matches; the others differ in path, peer or role.
    pub fn policy(&self, rules: usize) -> String {
        let mut text = "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\nmetadata: { name: orders, namespace: shop }\n\
             spec:\n  selector: { matchLabels: { app: orders } }\n  rules:\n\
             \x20   - name: read-orders\n      allow:\n        peers: [ns/shop/sa/web]\n\
             \x20       users: { providers: [sso], roles: [customer] }\n\
             \x20       requests: [{ methods: [GET], paths: [\"/customers/{customer}/orders/**\"] }]\n"
            .to_owned();
        for i in 1..rules {
            let (path, peer, role) = match i % 3 {
                0 => (format!("/area-{i}/{{id}}/**"), "web".to_owned(), "customer".to_owned()),
                1 => (
                    "/customers/{customer}/orders/**".to_owned(),
                    format!("job-{i}"),
                    "customer".to_owned(),
                ),
                _ => (
                    "/customers/{customer}/orders/**".to_owned(),
                    "web".to_owned(),
                    format!("role-{i}"),
                ),
            };
            write!(
                text,
                "    - name: rule-{i}\n      allow:\n        peers: [ns/shop/sa/{peer}]\n\
                 \x20       users: {{ providers: [sso], roles: [{role}] }}\n\
                 \x20       requests: [{{ methods: [GET], paths: [\"{path}\"] }}]\n"
            )
            .unwrap();
        }
        text
    }

    pub fn check_request(&self, credential: &str) -> Vec<u8> {
        let path = "/customers/alice/orders/2026-11-01?page=2";
        let authorization = format!("Bearer {credential}");
        let headers = [
            (":method", "GET"),
            (":path", path),
            (":authority", "orders.shop"),
            (":scheme", "https"),
            ("user-agent", "okhttp/4.12.0"),
            ("accept", "application/json"),
            ("accept-encoding", "gzip"),
            ("accept-language", "en"),
            ("authorization", authorization.as_str()),
            ("x-request-id", "f6160f36-6a6d-4c79-b4c1-3fc0ee65e2ad"),
            ("x-forwarded-proto", "https"),
            ("x-forwarded-for", "10.1.2.3"),
            ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01"),
            ("x-envoy-external-address", "10.1.2.3"),
            ("content-type", "application/json"),
            ("cookie", "theme=dark; session=abcdef"),
        ];
        let headers = headers
            .into_iter()
            .map(|(key, value)| HeaderValue {
                key: key.into(),
                raw_value: value.into(),
                ..HeaderValue::default()
            })
            .collect();
        let http = HttpRequest {
            id: "16495020614297668449".into(),
            method: "GET".into(),
            header_map: Some(HeaderMap { headers }),
            path: path.into(),
            host: "orders.shop".into(),
            scheme: "https".into(),
            protocol: "HTTP/1.1".into(),
            ..HttpRequest::default()
        };
        let source = Peer {
            principal: PEER.into(),
            certificate: self.certificate.clone(),
            ..Peer::default()
        };
        let destination =
            Peer { principal: "spiffe://bench.mesh/ns/shop/sa/orders".into(), ..Peer::default() };
        CheckRequest {
            attributes: Some(AttributeContext {
                source: Some(source),
                destination: Some(destination),
                request: Some(Request {
                    time: Some(Timestamp { seconds: 1_790_000_000, nanos: 5 }),
                    http: Some(http),
                }),
                tls_session: Some(TlsSession { sni: "orders.shop.hopgate.internal".into() }),
                ..AttributeContext::default()
            }),
        }
        .encode_to_vec()
    }
}

fn provider(spec: &str) -> String {
    format!(
        "apiVersion: hopgate.dev/v1alpha1\nkind: IdentityProvider\nmetadata: {{ name: sso, namespace: shop }}\nspec:\n  {spec}\n"
    )
}

impl Signer {
    fn token(&self, number: usize) -> String {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
        let claims = serde_json::json!({
            "iss": "https://sso.bench", "aud": ["orders", "account"], "sub": "alice", "iat": now, "exp": now + 3600,
            "jti": format!("onrtac:{number:08x}"), "azp": "web", "sid": "c0ffee00-1111-2222-3333-444455556666",
            "roles": ["customer", "reader"], "scope": "openid email orders:read", "preferred_username": "alice",
            "email": "alice@example.com", "email_verified": true, "tenant": "acme",
        });
        let mut header = jsonwebtoken::Header::new(self.algorithm);
        header.kid = Some(format!("{:?}", self.algorithm));
        jsonwebtoken::encode(&header, &claims, &self.key).unwrap()
    }
}

fn rsa() -> Signer {
    let key = KeyPair::generate(KeySize::Rsa2048).unwrap();
    let pkcs8: Pkcs8V1Der<'_> = key.as_der().unwrap();
    let public = key.public_key();
    let modulus = URL_SAFE_NO_PAD.encode(public.modulus().big_endian_without_leading_zero());
    let exponent = URL_SAFE_NO_PAD.encode(public.exponent().big_endian_without_leading_zero());
    let pem = pem("PRIVATE KEY", pkcs8.as_ref());
    Signer {
        algorithm: jsonwebtoken::Algorithm::RS256,
        key: jsonwebtoken::EncodingKey::from_rsa_pem(pem.as_bytes()).unwrap(),
        jwk: format!(
            r#"{{"kty":"RSA","kid":"RS256","alg":"RS256","use":"sig","n":"{modulus}","e":"{exponent}"}}"#
        ),
    }
}

fn ec() -> Signer {
    use rcgen::PublicKeyData as _;
    let key = rcgen::KeyPair::generate().unwrap();
    let point = key.der_bytes();
    let (x, y) = (URL_SAFE_NO_PAD.encode(&point[1..33]), URL_SAFE_NO_PAD.encode(&point[33..65]));
    Signer {
        algorithm: jsonwebtoken::Algorithm::ES256,
        key: jsonwebtoken::EncodingKey::from_ec_pem(key.serialize_pem().as_bytes()).unwrap(),
        jwk: format!(
            r#"{{"kty":"EC","crv":"P-256","kid":"ES256","alg":"ES256","use":"sig","x":"{x}","y":"{y}"}}"#
        ),
    }
}

fn ed() -> Signer {
    use rcgen::PublicKeyData as _;
    let key = rcgen::KeyPair::generate_for(&rcgen::PKCS_ED25519).unwrap();
    let x = URL_SAFE_NO_PAD.encode(key.der_bytes());
    Signer {
        algorithm: jsonwebtoken::Algorithm::EdDSA,
        key: jsonwebtoken::EncodingKey::from_ed_pem(key.serialize_pem().as_bytes()).unwrap(),
        jwk: format!(
            r#"{{"kty":"OKP","crv":"Ed25519","kid":"EdDSA","alg":"EdDSA","use":"sig","x":"{x}"}}"#
        ),
    }
}

/// A leaf as a mesh's CA issues it, encoded as Envoy sends it.
fn certificate() -> String {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut parameters = rcgen::CertificateParams::default();
    parameters.distinguished_name = rcgen::DistinguishedName::new();
    parameters.subject_alt_names = vec![rcgen::SanType::URI(PEER.try_into().unwrap())];
    parameters.is_ca = rcgen::IsCa::ExplicitNoCa;
    parameters.key_usages = vec![rcgen::KeyUsagePurpose::DigitalSignature];
    let now = SystemTime::now();
    parameters.not_before = (now - Duration::from_secs(120)).into();
    parameters.not_after = (now + Duration::from_secs(3600)).into();
    let pem = parameters.self_signed(&key).unwrap().pem();
    const UNRESERVED: &percent_encoding::AsciiSet =
        &percent_encoding::NON_ALPHANUMERIC.remove(b'-').remove(b'.').remove(b'_').remove(b'~');
    percent_encoding::utf8_percent_encode(&pem.replace("\r\n", "\n"), UNRESERVED).to_string()
}

fn pem(label: &str, der: &[u8]) -> String {
    let body = base64::engine::general_purpose::STANDARD.encode(der);
    let lines: Vec<&str> =
        body.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap()).collect();
    format!("-----BEGIN {label}-----\n{}\n-----END {label}-----\n", lines.join("\n"))
}
