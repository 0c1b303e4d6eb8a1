//! One request is answered alike at every door, gRPC's among them: the gate is not told where it came from.

use serde_json::{Value, json};

use super::{Gate, POLICY, provider};
use crate::support::ask::{Meaning, channel, http, meaning};
use crate::support::issuer::Issuer;
use crate::support::raw::{self, Answer};

/// What is asked: method, path and headers of the original.
type Original<'t> = (&'static str, &'static str, Vec<(&'t str, &'t str)>);

const HOST: &str = "orders.shop";
const CLIENT: &str = "203.0.113.9";

/// The same question as each proxy asks it.
async fn at_door(gate: &Gate, example: &str, (method, path, headers): &Original<'_>) -> Answer {
    let asked: [(&str, &str); 4] = match example {
        "envoy-http" => {
            let mut all = vec![("host", HOST), ("x-hopgate-client-address", CLIENT)];
            all.extend(headers);
            return raw::ask(&gate.door, &format!("{method} /check{path}"), &all, "").await;
        }
        "nginx" => [
            ("host", HOST),
            ("x-original-method", method),
            ("x-original-uri", path),
            ("x-forwarded-for", CLIENT),
        ],
        _ => [
            ("x-forwarded-host", HOST),
            ("x-forwarded-method", method),
            ("x-forwarded-uri", path),
            ("x-forwarded-for", CLIENT),
        ],
    };
    let all: Vec<_> = asked.iter().chain(headers).copied().collect();
    raw::ask(&gate.door, "GET /", &all, "").await
}

async fn by_grpc(gate: &Gate, (method, path, headers): &Original<'_>) -> Meaning {
    use envoy_types::pb::envoy::service::auth::v3::authorization_client::AuthorizationClient;
    let mut client = AuthorizationClient::new(channel(gate.authz.as_ref().unwrap()));
    meaning(client.check(http(method, path, headers)).await.unwrap().into_inner())
}

/// Method, target and headers.
type Question = (&'static str, &'static str, Vec<(&'static str, String)>);

#[tokio::test]
async fn a_request_is_answered_alike_at_every_door() {
    let issuer = Issuer::new();
    let alice = format!("Bearer {}", issuer.token(&json!({})));
    let adam = format!("Bearer {}", issuer.token(&json!({ "roles": ["admin"] })));
    let expired = format!("Bearer {}", issuer.token(&json!({ "exp": 1 })));
    let session = format!("theme=dark; session={}", issuer.token(&json!({})));
    let by = |token: &'_ str| vec![("authorization", token.to_owned())];
    let questions: Vec<Question> = vec![
        ("GET", "/orders/7?a=1", by(&alice)),
        ("POST", "/orders/7", by(&alice)),
        ("GET", "/admin/x", by(&adam)),
        ("GET", "/admin/x", by(&alice)),
        ("GET", "/orders/7", vec![]),
        ("GET", "/orders/7", by(&expired)),
        ("GET", "/orders/7", by("Basic YTpi")),
        ("GET", "/public", vec![]),
        ("HEAD", "/public", vec![]),
        ("GET", "/orders/7", vec![("cookie", session)]),
        ("GET", "/orders/../admin/x", by(&alice)),
        ("GET", "/orders/%2e%2e/admin", by(&alice)),
        ("get", "/public", vec![]),
        ("GET", "/marked", vec![("x-mark", "good".to_owned())]),
        ("GET", "/orders/7", vec![("accept", "text/html".to_owned())]),
        ("GET", "/public", vec![("x-http-method-override", "DELETE".to_owned())]),
        ("GET", "/public", vec![("x-original-url", "/admin/x".to_owned())]),
    ];
    for example in ["envoy-http", "nginx", "traefik", "caddy"] {
        let files = [("policy.yaml", POLICY.to_owned()), ("sso.yaml", provider(&issuer))];
        let files: Vec<(&str, &str)> = files.iter().map(|(name, text)| (*name, &**text)).collect();
        let gate = Gate::start(example, "edge=127.0.0.1:0", &files).await;
        for (method, path, headers) in &questions {
            let headers = headers.iter().map(|(name, value)| (*name, value.as_str())).collect();
            let original: Original<'_> = (method, path, headers);
            let (here, there) =
                (at_door(&gate, example, &original).await, by_grpc(&gate, &original).await);
            compare(example, &original, &here, &there);
        }
        let records = gate.records().await;
        assert_eq!(records.len(), 2 * questions.len());
        for pair in records.chunks(2) {
            assert_eq!(pair[0]["source.address"], CLIENT);
            assert_eq!(essence(&pair[0]), essence(&pair[1]), "{example}");
        }
    }
}

fn compare(example: &str, original: &Original<'_>, here: &Answer, there: &Meaning) {
    let (method, path, _) = original;
    let what = format!("{example}: {method} {path}");
    assert_eq!(here.status == 200, there.allowed, "{what}: {here:?}");
    let meant = if there.allowed { 200 } else { there.status };
    let told = match example {
        "nginx" if !there.allowed => here.header("x-hopgate-status").unwrap().parse().unwrap(),
        _ => i32::from(here.status),
    };
    assert_eq!(told, meant, "{what}");
    for name in ["x-hopgate-user", "x-hopgate-peer", "www-authenticate", "content-type"] {
        let (here, there) = (here.header(name), there.header(name).map(str::to_owned));
        assert_eq!(here, there, "{what}: {name}");
    }
    if let Some(left) = there.header("cookie") {
        assert_eq!(here.header("cookie").unwrap(), left, "{what}");
    }
    // What HEAD is answered has no body on the wire.
    if *method != "HEAD" {
        let ids = |body: &str, id: Option<&str>| body.replace(id.unwrap_or("-"), "ID");
        let here_id = here.header("x-request-id");
        assert_eq!(
            ids(&here.body, here_id.as_deref()),
            ids(&there.body, there.header("x-request-id")),
            "{what}"
        );
    }
    if example == "envoy-http" && there.allowed {
        let removed = here.header("x-envoy-auth-headers-to-remove").unwrap();
        assert_eq!(removed.split(',').collect::<Vec<_>>(), there.removed, "{what}");
    }
}

/// A record without what differs from one request to the next.
fn essence(record: &Value) -> Value {
    let mut record = record.clone();
    let fields = record.as_object_mut().unwrap();
    for name in ["time", "request.id", "duration_us", "source.address"] {
        fields.remove(name);
    }
    record
}
