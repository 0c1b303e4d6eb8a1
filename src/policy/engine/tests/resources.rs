//! What can be written, and what is said of mistakes.

use std::path::Path;
use std::time::Duration;

use super::{engine, kind};
use crate::policy::{Credentials, EngineKind, parse};

#[test]
fn what_is_left_out_has_a_safe_value() {
    let EngineKind::Rego(rego) = kind("  rego: { policyFiles: [a.rego] }\n") else { panic!() };
    assert_eq!(rego.rule, "envoy/authz/allow");
    assert_eq!(rego.time_limit, Duration::from_millis(20));
    let EngineKind::Opa(opa) = kind("  opa: { url: \"http://127.0.0.1:8181\" }\n") else {
        panic!()
    };
    assert_eq!(opa.path, "envoy/authz/allow");
    assert_eq!(opa.sent.credentials, Credentials::Strip);
    assert_eq!(opa.patience.timeout, Duration::from_secs(1));
}

#[test]
fn files_stand_beside_the_resource_that_names_them() {
    let engine = engine("  rego: { policyFiles: [a.rego, b/c.rego], dataFiles: [d.json] }\n");
    let files: Vec<&Path> = engine.files().iter().map(|file| file.path()).collect();
    assert_eq!(files, ["shop/a.rego", "shop/b/c.rego", "shop/d.json"].map(Path::new));
}

#[test]
fn mistakes_name_the_field() {
    for (spec, says) in [
        ("  {}", "needs one of `rego`, `casbin`, `opa`"),
        ("  rego: { policyFiles: [a.rego] }\n  opa: { url: \"http://x\" }", "has several"),
        ("  rego: { policyFiles: [] }", "spec.rego.policyFiles: is empty"),
        ("  rego: { policyFiles: [a, a] }", "written twice"),
        ("  rego: { policyFiles: [a], rule: /envoy }", "is no path of a rule"),
        ("  rego: { policyFiles: [a], rule: data.envoy.allow }", "is no path of a rule"),
        ("  rego: { policyFiles: [a], timeLimit: 5s }", "spec.rego.timeLimit"),
        ("  rego: { policyFile: a }", "did you mean `policyFiles`?"),
        ("  rego: { policyFiles: [a] }\n  http: { caFile: x }", "spec.http: there is no server"),
        ("  casbin: { modelFile: m, policyFile: p, request: [] }", "spec.casbin.request: is empty"),
        (
            "  casbin: { modelFile: m, policyFile: p, request: [user.subj] }",
            "did you mean `user.sub`?",
        ),
        ("  opa: { url: opa }", "spec.opa.url"),
        ("  opa: { url: \"http://h?x\" }", "has a query or a fragment"),
        ("  opa: { url: \"http://h\", headers: [X-Tenant] }", "spec.opa.headers[0]"),
        ("  opa: { url: \"http://h\", credentials: Maybe }", "spec.opa.credentials"),
        (
            "  subjectAccessReview: { url: \"https://h\", tokenFile: t }",
            "needs one of `resource` and `nonResource`",
        ),
        (
            "  subjectAccessReview: { url: \"https://h\", tokenFile: t, resource: { resource: orders, namespace: \"{ns}\" } }",
            "there is no `path`",
        ),
        (
            "  subjectAccessReview: { url: \"https://h\", tokenFile: t, resource: { path: \"/a/{name}\", resource: orders, namespace: \"{nme}\" } }",
            "did you mean `name`?",
        ),
        (
            "  openFga: { url: \"https://h\", store: x, model: y, userType: user, relations: { GET: r }, objects: [{ path: /a, type: t, id: i }] }",
            "`x` is no ULID",
        ),
        (
            "  openFga: { url: \"https://h\", store: 01HVMMBCMGZNT3SED4Z17ECXCA, model: 01HVMMBCMGZNT3SED4Z17ECXCA, userType: \"user:*\", relations: { GET: r }, objects: [{ path: /a, type: t, id: i }] }",
            "spec.openFga.userType",
        ),
        ("  extAuthz: { url: \"grpc://h\" }", "is no http or https URL"),
        ("  extAuthz: { url: \"http://h\", ttl: 5s }", "unknown field `ttl`"),
        ("  extAuthz: { url: \"http://h\" }", "spec.extAuthz.url: `http://h` is plain http"),
        (
            "  opa: { url: \"http://10.0.0.7:8181\" }",
            "spec.opa.url: `http://10.0.0.7:8181` is plain http",
        ),
    ] {
        let text = format!(
            "apiVersion: hopgate.dev/v1alpha1\nkind: PolicyEngine\nmetadata: {{ name: e, namespace: shop }}\nspec:\n{spec}\n"
        );
        let said = parse("engines.yaml", &text).expect_err(spec).to_string();
        assert!(said.contains(says), "{spec}\n{said}");
        assert!(said.starts_with("engines.yaml:"), "{said}");
    }
}
