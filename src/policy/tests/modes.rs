//! Which policies decide: those that are enforced, and what there is where none is.

use super::*;

#[test]
fn what_is_not_enforced_is_judged_and_does_not_decide() {
    let text = |mode: &str| {
        format!(
            "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {{ name: a, namespace: shop }}\nspec: {{ rules: [\
             {{ name: all, allow: {{ requests: [{{ paths: [\"/**\"] }}] }} }}] }}\n---\n\
             apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {{ name: b, namespace: shop }}\nspec: {{ mode: {mode}, rules: [\
             {{ name: no, deny: {{ requests: [{{ paths: [/a] }}] }} }}] }}\n"
        )
    };
    let request = Request::new("GET", "/a");
    let facts = request.facts(None, None);
    let enforced = compile_policies(&policies(&text("Enforce")));
    assert!(matches!(enforced.decide(&facts), Decision::Deny(_)));
    assert_eq!(enforced.audit(&facts), None);
    let audited = compile_policies(&policies(&text("Audit")));
    assert!(matches!(audited.decide(&facts), Decision::Allow(_)));
    assert!(
        matches!(audited.audit(&facts), Some(Decision::Deny(rule)) if rule.as_str() == "shop/b#no")
    );
}

#[test]
fn a_workload_without_enforced_policy_is_guarded_unless_the_mesh_says_otherwise() {
    let request = Request::new("GET", "/a");
    let facts = request.facts(None, None);
    let compiled = |without_policy, policies: &[AccessPolicy]| {
        let mesh = MeshPolicySpec { without_policy, ..MeshPolicySpec::absent() };
        let around =
            Surroundings { workload: &workload(), mesh: &mesh, providers: &[], engines: &[] };
        PolicySet::compile(policies, &around).unwrap()
    };
    let audit = policies(
        &policy_text(&["{ name: no, deny: {} }"]).replace("spec:\n", "spec:\n  mode: Audit\n"),
    );
    let enforced = policies(&policy_text(&["{ name: no, deny: { requests: [{ paths: [/b] }] } }"]));
    assert_eq!(compiled(WithoutPolicy::Deny, &[]).decide(&facts), Decision::NothingAllows);
    assert_eq!(compiled(WithoutPolicy::AllowUnguarded, &[]).decide(&facts), Decision::Unguarded);
    assert_eq!(compiled(WithoutPolicy::AllowUnguarded, &audit).decide(&facts), Decision::Unguarded);
    assert_eq!(
        compiled(WithoutPolicy::AllowUnguarded, &enforced).decide(&facts),
        Decision::NothingAllows
    );
}
