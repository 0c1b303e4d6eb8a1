//! `RequestAuthentication`: whose tokens count.

use serde_json::{Map, Value, json};

use super::super::bound::Difference;
use super::super::document::Foreign;
use super::super::note::Notes;
use super::super::out::Resource;
use super::super::{ImportError, Options, plaintext_host, wrong};
use super::namespaces;
use super::provider::Known;
use super::raw::{RawAuthentication, RawHeader, RawJwtRule, selector};

/// Adds a provider for every rule, and remembers for which workloads it held.
pub(super) fn translate(
    document: &Foreign,
    options: &Options,
    notes: &mut Notes,
    (known, resources): (&mut Vec<Known>, &mut Vec<Resource>),
) -> Result<(), ImportError> {
    let raw: RawAuthentication = document.spec()?;
    let RawAuthentication { selector: select, target_ref, target_refs, jwt_rules } = raw;
    let subject = document.subject();
    if target_ref.is_some() || !target_refs.is_empty() {
        let message = "it is attached to a gateway or service, which has no translation";
        notes.add(&subject, "spec.targetRefs", Difference::LeftOut, message);
        return Ok(());
    }
    let Some(namespaces) = namespaces(document, options) else {
        let message = "it holds in every namespace of the mesh; say with --namespace into which namespaces to copy it";
        notes.add(&subject, "metadata.namespace", Difference::LeftOut, message);
        return Ok(());
    };
    let select = selector(select);
    if select.is_some() {
        let message = "there its tokens count for the selected workloads, here in the whole namespace; translated rules name it \
                       only where it surely held";
        notes.add(&subject, "spec.selector", Difference::Elsewhere, message);
    }
    let several = jwt_rules.len() > 1;
    for (place, rule) in jwt_rules.iter().enumerate() {
        let name = match several {
            true => format!("{}-{}", document.name, place + 1),
            false => document.name.clone(),
        };
        let Some(spec) = provider(document, (rule, place), notes)? else { continue };
        for namespace in &namespaces {
            resources.push(Resource::provider((name.clone(), namespace), spec.clone()));
            known.push(Known {
                name: name.clone(),
                issuer: rule.issuer.clone(),
                namespace: namespace.clone(),
                selector: select.clone(),
            });
        }
    }
    Ok(())
}

fn provider(
    document: &Foreign,
    (rule, place): (&RawJwtRule, usize),
    notes: &mut Notes,
) -> Result<Option<Value>, ImportError> {
    let RawJwtRule {
        issuer,
        audiences,
        jwks_uri: _,
        jwks: _,
        from_headers,
        from_params,
        from_cookies,
        output_payload_to_header,
        output_claim_to_headers,
        forward_original_token,
        _timeout: _,
    } = rule;
    let at = format!("spec.jwtRules[{place}]");
    let subject = document.subject();
    let mut spec = Map::new();
    spec.insert("issuer".to_owned(), json!(issuer));
    if audiences.is_empty() {
        let message =
            "any audience is taken, as there; name yours and take `audienceCheck: Off` away";
        notes.add(&subject, format!("{at}.audiences"), Difference::Elsewhere, message);
        spec.insert("audienceCheck".to_owned(), json!("Off"));
    } else {
        spec.insert("audiences".to_owned(), json!(audiences));
    }
    keys(document, (rule, &at), &mut spec)?;
    let mut dropped = Vec::new();
    let mut from = places(from_headers, &mut dropped);
    from.extend(from_params.iter().map(|name| json!({ "query": name })));
    from.extend(from_cookies.iter().map(|name| json!({ "cookie": name })));
    for header in dropped {
        let message = format!("a token behind this text in the header {header} has no translation");
        notes.add(&subject, format!("{at}.fromHeaders"), Difference::LeftOut, message);
    }
    let named = from_headers.len() + from_params.len() + from_cookies.len();
    if named > 0 && from.is_empty() {
        let message = "no place is left where its tokens could be";
        notes.add(&subject, at, Difference::LeftOut, message);
        return Ok(None);
    }
    if from.is_empty() {
        let message =
            "the query parameter access_token is not read; only the header authorization is";
        notes.add(&subject, at.clone(), Difference::AdmitsLess, message);
    } else {
        spec.insert("from".to_owned(), json!(from));
    }
    spec.insert("claims".to_owned(), json!({ "scopes": [["scope"]] }));
    let message = "only signatures by RS256 are taken; name others in `algorithms`";
    notes.add(&subject, at.clone(), Difference::AdmitsLess, message);
    if output_payload_to_header.is_some() || !output_claim_to_headers.is_empty() {
        let message = "what the application is told stands in `identity` of its AccessPolicy";
        notes.add(&subject, at.clone(), Difference::Elsewhere, message);
    }
    if *forward_original_token == Some(true) {
        let message = "write `identity: { credentials: Keep }` in the AccessPolicy of a workload that is to get the token";
        notes.add(&subject, format!("{at}.forwardOriginalToken"), Difference::Elsewhere, message);
    }
    Ok(Some(Value::Object(spec)))
}

/// Where the keys come from.
fn keys(
    document: &Foreign,
    (rule, at): (&RawJwtRule, &str),
    spec: &mut Map<String, Value>,
) -> Result<(), ImportError> {
    let RawJwtRule { issuer, jwks_uri, jwks, .. } = rule;
    match (jwks_uri, jwks) {
        (None, None) => {
            spec.insert("keys".to_owned(), json!({ "discovery": {} }));
            if let Some(host) = plaintext_host(issuer) {
                spec.insert("http".to_owned(), json!({ "plaintextHosts": [host] }));
            }
        }
        (Some(uri), None) => {
            spec.insert("keys".to_owned(), json!({ "jwksUri": uri }));
            if let Some(host) = plaintext_host(uri) {
                spec.insert("http".to_owned(), json!({ "plaintextHosts": [host] }));
            }
        }
        (None, Some(text)) => {
            let keys: Value = serde_json::from_str(text)
                .map_err(|_| wrong(document, format!("{at}.jwks"), "is no JSON"))?;
            spec.insert("keys".to_owned(), json!({ "inline": keys }));
        }
        (Some(_), Some(_)) => {
            return Err(wrong(document, at.to_owned(), "has both `jwksUri` and `jwks`"));
        }
    }
    Ok(())
}

/// A scheme is one word and a blank; another prefix has no translation.
fn places(headers: &[RawHeader], dropped: &mut Vec<String>) -> Vec<Value> {
    let mut places = Vec::new();
    for RawHeader { name, prefix } in headers {
        let header = name.to_ascii_lowercase();
        match prefix.strip_suffix(' ') {
            _ if prefix.is_empty() => places.push(json!({ "header": header })),
            Some(scheme) if !scheme.is_empty() && !scheme.contains(' ') => {
                places.push(json!({ "header": header, "scheme": scheme }));
            }
            Some(_) | None => dropped.push(header),
        }
    }
    places
}
