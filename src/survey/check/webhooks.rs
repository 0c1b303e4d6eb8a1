//! Webhooks: registered, trusted by the API server, reached by it, and doing what they are for.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::Value;

use super::{count, name};
use crate::kube::NotSeen;
use crate::kube::inject::SIDECAR_CONTAINER;
use crate::survey::finding::Finding;
use crate::survey::seen::{Plane, Seen};

const REACH: &str = "see that the API server reaches port 443 of the control plane's Service (network policies, firewalls of managed clusters), and the log of its pods";

pub(super) fn all(plane: &Plane) -> Vec<Finding> {
    if plane.config.is_err() {
        return Vec::new();
    }
    if plane.webhooks.is_empty() {
        return vec![Finding::warning(
            "webhooks/registered",
            format!(
                "{} has none: no pod gets a gate, and no resource is judged before it is stored",
                name(plane)
            ),
            "set webhooks.enabled in the chart",
        )];
    }
    let mut findings = vec![registered(plane)];
    findings.extend(plane.policy_tried.as_ref().map(policy));
    findings.push(match &plane.pod_tried {
        Some((namespace, tried)) => pod(namespace, tried),
        None => Finding::warning(
            "webhooks/injection",
            format!("was not tried: no namespace asks for gates of revision {}", plane.revision),
            "kubectl label namespace NAME hopgate.dev/inject=enabled, and restart its workloads",
        ),
    });
    findings
}

fn registered(plane: &Plane) -> Finding {
    const CHECK: &str = "webhooks/registered";
    let (mut wrong, mut open, mut webhooks) = (Vec::new(), Vec::new(), 0);
    for (kind, name, seen) in &plane.webhooks {
        let configuration = match seen {
            Ok(configuration) => configuration,
            Err(why) => {
                wrong.push(format!("{kind} {name}: {why}"));
                continue;
            }
        };
        let all = configuration.get("webhooks").and_then(Value::as_array).into_iter().flatten();
        for webhook in all {
            webhooks += 1;
            let text = |pointer: &str| webhook.pointer(pointer).and_then(Value::as_str);
            let named = text("/name").unwrap_or("?");
            match (text("/clientConfig/caBundle"), &plane.roots) {
                (None | Some(""), _) => wrong.push(format!("{named}: has no caBundle")),
                (Some(bundle), Ok(roots)) if !is(bundle, roots) => {
                    wrong.push(format!("{named}: its caBundle is not the authority of the mesh"));
                }
                (Some(_), Ok(_) | Err(_)) => {}
            }
            if text("/failurePolicy") == Some("Ignore") {
                open.push(format!("{named}: failurePolicy is Ignore"));
            }
        }
    }
    if !wrong.is_empty() {
        return Finding::error(
            CHECK,
            format!("{} of {} cannot work", count(wrong.len(), "webhook"), name(plane)),
            "the control plane writes caBundle within seconds of its start: see its log; what is missing comes with the chart",
        )
        .with(wrong);
    }
    if !open.is_empty() {
        return Finding::warning(
            CHECK,
            "what nobody judged passes: pods run unguarded while the control plane is away",
            "set failurePolicy to Fail, as the chart does",
        )
        .with(open);
    }
    let trusted =
        if plane.roots.is_ok() { ", and the API server knows their authority" } else { "" };
    Finding::ok(CHECK, format!("{} of {} there{trusted}", count(webhooks, "webhook"), name(plane)))
}

fn is(bundle: &str, roots: &str) -> bool {
    STANDARD.decode(bundle).is_ok_and(|bytes| bytes == roots.as_bytes())
}

/// What came of a policy that must be refused.
fn policy(tried: &Seen<Value>) -> Finding {
    const CHECK: &str = "webhooks/validation";
    match tried {
        Ok(_) => Finding::error(
            CHECK,
            "a policy that the parser refuses would be stored: nobody judges resources",
            "see rules and namespaceSelector of the ValidatingWebhookConfiguration",
        ),
        Err(why) if is_denial(why) => Finding::ok(
            CHECK,
            "the API server reaches it: a policy that must be refused is refused",
        ),
        Err(why) => failed(CHECK, "whether resources are judged", why),
    }
}

/// What came of a pod.
fn pod(namespace: &str, tried: &Seen<Value>) -> Finding {
    const CHECK: &str = "webhooks/injection";
    let tried = match tried {
        Ok(tried) => tried,
        Err(why) if why.to_string().contains("violates PodSecurity") => {
            return Finding::error(
                CHECK,
                format!("pods with a gate are refused in {namespace}: {why}"),
                "exempt the namespace from Pod Security's enforce, or let a CNI plugin capture and set injection.capture to Cni",
            );
        }
        Err(why) => return failed(CHECK, &format!("whether pods in {namespace} get gates"), why),
    };
    let containers = tried.pointer("/spec/initContainers").and_then(Value::as_array);
    let mut containers = containers.into_iter().flatten();
    if containers.any(|one| one.get("name").is_some_and(|name| name == SIDECAR_CONTAINER)) {
        return Finding::ok(
            CHECK,
            format!("the API server reaches it: a pod in {namespace} gets its gate"),
        );
    }
    Finding::error(
        CHECK,
        format!("a pod in {namespace} would run without a gate"),
        "see the namespaceSelector of the MutatingWebhookConfiguration, and the labels of the namespace",
    )
}

fn is_denial(why: &NotSeen) -> bool {
    matches!(why, NotSeen::Refused { message, .. } if message.contains("denied the request"))
}

fn failed(check: &'static str, what: &str, why: &NotSeen) -> Finding {
    match why {
        NotSeen::Refused { message, .. } if message.contains("failed calling webhook") => {
            Finding::error(check, format!("the API server does not reach it: {message}"), REACH)
        }
        NotSeen::Refused { status, message } if *status < 500 && is_denial(why) => {
            Finding::error(check, format!("it was refused: {message}"), "see what is said")
        }
        NotSeen::Refused { .. } | NotSeen::Unreached(_) => Finding::warning(
            check,
            format!("{what} could not be tried: {why}"),
            "you need the right to create such an object (as a dry run only)",
        ),
    }
}
