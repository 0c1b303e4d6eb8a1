//! A real Keycloak: its discovery, its keys and their rotation, its roles, its sessions. Each question goes to a real
//! sidecar over gRPC.

mod harness;
mod rotation;
mod sessions;
mod tokens;

use serde_json::Value;

use crate::support::ask::{Meaning, Sidecar, get, http, meaning};
use crate::support::keycloak::Realm;

/// A provider for this realm, with more fields of its `spec` (each with its line break, indented by two).
fn provider(realm: &Realm, more: &str) -> String {
    format!(
        "apiVersion: hopgate.dev/v1alpha1\nkind: IdentityProvider\n\
         metadata: {{ name: keycloak, namespace: shop }}\n\
         spec:\n  preset: keycloak\n  issuer: {}\n  audiences: [orders]\n{more}",
        realm.issuer()
    )
}

const POLICY: &str = r#"
apiVersion: hopgate.dev/v1alpha1
kind: AccessPolicy
metadata: { name: orders, namespace: shop }
spec:
  selector: { matchLabels: { app: orders } }
  rules:
    - name: any-user
      allow:
        users: { providers: [keycloak] }
        requests: [{ methods: [GET], paths: ["/me"] }]
    - name: readers
      allow:
        users: { providers: [keycloak], roles: [read] }
        requests: [{ methods: [GET], paths: ["/orders/**"] }]
    - name: support
      allow:
        users: { providers: [keycloak], roles: [support] }
        requests: [{ methods: [POST], paths: ["/orders/{id}/note"] }]
    - name: refunds
      allow:
        users: { providers: [keycloak], roles: [refund] }
        requests: [{ methods: [POST], paths: ["/orders/{id}/refund"] }]
    - name: night-shift
      allow:
        users: { providers: [keycloak], groups: ["/staff/night"] }
        requests: [{ methods: [GET], paths: ["/night"] }]
"#;

/// A sidecar that asks this realm.
async fn sidecar(name: &str, realm: &Realm, more: &str) -> Sidecar {
    let files = [("keycloak.yaml", &*provider(realm, more)), ("orders.yaml", POLICY)];
    Sidecar::start(name, &files).await
}

/// What comes of a request with this token.
async fn ask(sidecar: &mut Sidecar, method: &str, path: &str, token: &str) -> Meaning {
    let bearer = format!("Bearer {token}");
    meaning(sidecar.ask(http(method, path, &[("authorization", &bearer)])).await)
}

/// What comes of `GET /me`, which every user may.
async fn me(sidecar: &mut Sidecar, token: &str) -> Meaning {
    let bearer = format!("Bearer {token}");
    meaning(sidecar.ask(get("/me", &[("authorization", &bearer)])).await)
}

/// Stops it; what it recorded of each denial, in order.
async fn reasons(sidecar: Sidecar) -> Vec<String> {
    let log = sidecar.stop().await;
    let records = log.lines().map(|line| serde_json::from_str::<Value>(line).unwrap());
    records.filter_map(|record| record["code"].as_str().map(str::to_owned)).collect()
}

/// The value of a counter on the admin page.
async fn count(sidecar: &Sidecar, name: &str) -> u64 {
    let (status, text) = sidecar.page("/metrics").await;
    assert_eq!(status, 200);
    let line = text.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("no {name} in:\n{text}")).parse().unwrap()
}
