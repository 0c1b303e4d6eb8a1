//! Other policy engines as targets of rules: in process, and as real servers behind a real sidecar.

mod agreement;
mod local;
mod opa;
mod servers;
mod target;

use serde_json::Value;

use crate::support::ask::{Meaning, Sidecar, meaning};
use crate::support::issuer::Issuer;

/// A policy of which each rule asks the engine `other`.
pub(crate) const POLICY: &str = r#"
apiVersion: hopgate.dev/v1alpha1
kind: AccessPolicy
metadata: { name: orders, namespace: shop }
spec:
  rules:
    - name: asked
      allow:
        requests: [{ paths: ["/orders/**", "/documents/**"] }]
        engine: other
    - name: open
      allow:
        requests: [{ paths: ["/open"] }]
    - name: shut
      deny:
        requests: [{ paths: ["/shut/**"] }]
        engine: other
    - name: else-open
      allow:
        requests: [{ paths: ["/shut/**"] }]
"#;

/// A resource of this kind named `other`.
pub(crate) fn engine(spec: &str) -> String {
    let spec: String = spec.lines().map(|line| format!("  {line}\n")).collect();
    format!(
        "apiVersion: hopgate.dev/v1alpha1\nkind: PolicyEngine\nmetadata: {{ name: other, namespace: shop }}\nspec:\n{spec}"
    )
}

/// A sidecar whose rules ask this engine, and who issues tokens to its users.
pub(crate) async fn sidecar(name: &str, spec: &str, files: &[(&str, &str)]) -> (Sidecar, Issuer) {
    let issuer = Issuer::new();
    let (provider, engine) = (issuer.provider(), engine(spec));
    let mut all =
        vec![("sso.yaml", provider.as_str()), ("policy.yaml", POLICY), ("engine.yaml", &engine)];
    all.extend_from_slice(files);
    (Sidecar::start(name, &all).await, issuer)
}

/// What the sidecar makes of a request with this token.
pub(crate) async fn ask(sidecar: &mut Sidecar, method: &str, path: &str, token: &str) -> Meaning {
    let bearer = format!("Bearer {token}");
    let headers = [("authorization", bearer.as_str())];
    let headers = if token.is_empty() { &headers[..0] } else { &headers[..] };
    let request = crate::support::ask::http(method, path, headers);
    meaning(sidecar.ask(request).await)
}

/// The code of the refusal of the last record.
pub(crate) fn last_record(log: &str) -> Value {
    serde_json::from_str(log.lines().last().unwrap()).unwrap()
}
