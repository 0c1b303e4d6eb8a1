//! Keys found through a metadata document.

use axum::extract::Request;
use serde_json::{Value, json};

use super::*;
use crate::policy::Http;

/// What stands at each path, and what was asked for, query included.
type Pages = (BTreeMap<String, String>, Vec<String>);

#[derive(Clone, Default)]
struct Site(Arc<StdMutex<Pages>>);

impl Site {
    #[expect(clippy::disallowed_methods, reason = "ends with the runtime of its test")]
    async fn start() -> (Self, String) {
        let site = Self::default();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let base = format!("http://{}", listener.local_addr().unwrap());
        let router = Router::new().fallback(Self::page).with_state(site.clone());
        tokio::spawn(async move { axum::serve(listener, router).await.unwrap() });
        (site, base)
    }

    async fn page(State(site): State<Self>, request: Request) -> Response {
        let path = request.uri().path_and_query().unwrap().to_string();
        let mut inside = site.0.lock().unwrap();
        inside.1.push(path.clone());
        inside.0.get(&path).map_or_else(
            || StatusCode::NOT_FOUND.into_response(),
            |text| text.clone().into_response(),
        )
    }

    fn put(&self, path: &str, page: &impl ToString) {
        self.0.lock().unwrap().0.insert(path.to_owned(), page.to_string());
    }

    fn asked(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().1)
    }
}

fn discovered(issuer: &str, url: Option<&str>, jwks_uri: Option<&str>) -> Providers {
    let keys = Keys::Discovery {
        url: url.map(str::to_owned),
        jwks_uri: jwks_uri.map(str::to_owned),
        life: KeyLife::default(),
    };
    compiled("sso", issuer, &[Algorithm::EdDSA], keys)
}

fn document(issuer: &str, base: &str) -> Value {
    json!({
        "issuer": issuer,
        "jwks_uri": format!("{base}/keys"),
        "introspection_endpoint": format!("{base}/introspect"),
        "userinfo_endpoint": "http://elsewhere.example/userinfo",
        "token_endpoint": format!("{base}/token"),
    })
}

fn keys() -> String {
    format!("{{\"keys\":[{FIRST}]}}")
}

#[tokio::test]
async fn a_document_leads_to_keys_and_endpoints() {
    for (path, suffix) in [("", ""), ("", "/"), ("/realms/shop", ""), ("/realms/shop", "/")] {
        let (site, base) = Site::start().await;
        let issuer = format!("{base}{path}{suffix}");
        let place = format!("{path}/.well-known/openid-configuration");
        site.put(&place, &document(&issuer, &base));
        site.put("/keys", &keys());
        let providers = discovered(&issuer, None, None);
        let mut bench = Bench::start(&providers);
        assert_eq!(bench.handle.endpoints("nobody"), None);
        let update = bench.update().await;
        assert!(providers.with_update(&update).unwrap().missing_keys().is_empty());
        assert_eq!(site.asked(), [place.as_str(), "/keys"]);
        let endpoints = bench.handle.endpoints("sso").unwrap();
        let expected = Endpoints {
            introspection: Some(format!("{base}/introspect")),
            userinfo: None,
            token: Some(format!("{base}/token")),
        };
        assert_eq!(endpoints, expected, "what may not be asked is left out");
        assert_eq!(bench.status().uri, format!("{base}{place}"));
    }
}

#[tokio::test]
async fn the_document_and_the_key_set_may_be_written_down() {
    let (site, base) = Site::start().await;
    site.put(
        "/elsewhere?appid=1",
        &document("https://sso.example/v2", "https://not.asked.example"),
    );
    site.put("/mine", &keys());
    let (url, own) = (format!("{base}/elsewhere?appid=1"), format!("{base}/mine"));
    let mut bench = Bench::start(&discovered("https://sso.example/v2", Some(&url), Some(&own)));
    assert_eq!(bench.update().await.keys().usable(), 1);
    assert_eq!(site.asked(), ["/elsewhere?appid=1", "/mine"]);
}

#[tokio::test]
async fn a_document_of_another_issuer_or_without_keys_is_refused() {
    let (site, base) = Site::start().await;
    site.put("/keys", &keys());
    let url = format!("{base}/document");
    let issuer = "https://login.example/{tenantid}/v2.0";
    let without = |name: &str| {
        let mut document = document("https://sso.example", &base);
        document.as_object_mut().unwrap().remove(name);
        document
    };
    let with = |name: &str, value: Value| {
        let mut document = document("https://sso.example", &base);
        document[name] = value;
        document
    };
    let bench = Bench::start(&discovered("https://sso.example", Some(&url), None));
    for (fetches, (document, code)) in (2..).zip([
        (document("https://sso.example/", &base).to_string(), "issuer_mismatch"),
        (document("https://SSO.example", &base).to_string(), "issuer_mismatch"),
        (document(issuer, &base).to_string(), "issuer_mismatch"),
        (without("issuer").to_string(), "invalid_document"),
        (with("issuer", json!(["https://sso.example"])).to_string(), "invalid_document"),
        (without("jwks_uri").to_string(), "invalid_document"),
        (with("jwks_uri", json!(1)).to_string(), "invalid_document"),
        (with("jwks_uri", json!("http://sso.example/keys")).to_string(), "insecure_uri"),
        (with("jwks_uri", json!("http://169.254.169.254/")).to_string(), "forbidden_address"),
        (with("jwks_uri", json!("file:///keys")).to_string(), "invalid_uri"),
        (r#"{"issuer":"https://sso.example","issuer":"x"}"#.to_owned(), "invalid_document"),
        ("<html>".to_owned(), "invalid_document"),
    ]) {
        bench.fetched(fetches - 1).await;
        site.put("/document", &document);
        bench.advance(120);
        let status = bench.fetched(fetches).await;
        assert_eq!(status.last_error.map(|error| error.code()), Some(code), "{document}");
        assert_eq!(status.health, KeyHealth::Missing);
    }
    assert!(!site.asked().contains(&"/keys".to_owned()), "no key set was asked for");
    assert_eq!(bench.handle.endpoints("sso"), None);
}

#[test]
fn https_leads_to_https_only() {
    let client = HttpClient::new(&HttpOptions::system()).unwrap();
    let read = |uri: &str, base: &str| {
        let body = document("https://sso.example", base).to_string();
        super::super::discovery::Document::read(
            body.as_bytes(),
            (uri, "https://sso.example"),
            &client,
        )
        .map(|document| document.endpoints.token)
        .map_err(|error| error.code())
    };
    let local = "http://127.0.0.1:1";
    assert_eq!(read("https://sso.example/x", local), Err("invalid_document"));
    assert_eq!(read("HTTPS://sso.example/x", local), Err("invalid_document"));
    assert_eq!(read("http://127.0.0.1:2/x", local), Ok(Some(format!("{local}/token"))));
    let secure = "https://keys.example";
    assert_eq!(read("http://127.0.0.1:2/x", secure), Ok(Some(format!("{secure}/token"))));
}

#[tokio::test]
async fn a_provider_is_reached_as_its_resource_says() {
    let (site, base) = Site::start().await;
    site.put("/keys", &keys());
    let uri = "http://sso.invalid/keys";
    let reached = |http: Http| {
        let keys = Keys::JwksUri { uri: uri.to_owned(), life: KeyLife::default() };
        let mut spec = IdentityProviderSpec::for_tokens(
            TokenRules::new("https://sso.example", vec![Algorithm::EdDSA], keys),
            ClaimRules::for_audiences(vec!["orders".into()]),
        );
        spec.http = http;
        let metadata = Metadata { name: "sso".into(), namespace: "shop".into() };
        Providers::new(&[IdentityProvider { metadata, spec }], &Files::none())
    };
    let refused = reached(Http::default()).unwrap_err().to_string();
    assert!(refused.contains("plain http"), "{refused}");
    let unread = Http { ca: Some(std::path::PathBuf::from("ca.pem").into()), ..Http::default() };
    let refused = reached(unread).unwrap_err().to_string();
    assert!(refused.contains("ca.pem was not read"), "{refused}");
    let through = Http {
        ca: None,
        proxy: Some(base),
        allow_addresses: Vec::new(),
        plaintext_hosts: vec!["sso.invalid".to_owned()],
    };
    let mut bench = Bench::start(&reached(through).unwrap());
    assert_eq!(bench.update().await.keys().usable(), 1);
    assert_eq!(site.asked().len(), 1);
}
