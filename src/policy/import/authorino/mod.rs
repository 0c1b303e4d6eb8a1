//! Authorino: `AuthConfig`.
//!
//! One of its authentications must succeed and all of its authorizations; so each way to be authenticated becomes an
//! allow rule that asks for everything, and where one authorization has no translation nothing is left to allow.

mod pattern;
mod raw;

use serde_json::{Map, Value, json};

use self::pattern::Reader;
use self::raw::{RawAuthConfig, RawAuthentication, RawAuthorization, RawCredentials, RawJwt};
use super::ImportError;
use super::bound::Difference;
use super::document::Foreign;
use super::note::Notes;
use super::out::{Asked, Effect, Matcher, Pattern, Resource, Rule};
use crate::policy::Condition;

/// Translates every `AuthConfig`; other kinds are told of.
pub(super) fn translate(
    documents: &[Foreign],
    notes: &mut Notes,
) -> Result<Vec<Resource>, ImportError> {
    let mut resources = Vec::new();
    for document in documents {
        if document.kind == "AuthConfig" && document.group == "authorino.kuadrant.io" {
            config(document, notes, &mut resources)?;
        } else {
            let message = "this kind is not translated";
            notes.add(&document.subject(), "", Difference::LeftOut, message);
        }
    }
    Ok(resources)
}

fn config(
    document: &Foreign,
    notes: &mut Notes,
    resources: &mut Vec<Resource>,
) -> Result<(), ImportError> {
    let raw: RawAuthConfig = document.spec()?;
    let subject = document.subject();
    elsewhere(&subject, &raw, notes);
    let hosts: Vec<String> = raw.hosts.iter().filter_map(|host| host_of(host)).collect();
    if hosts.len() < raw.hosts.len() {
        let message = "a host with a port, or with a star inside, is left out";
        notes.add(&subject, "spec.hosts", Difference::AdmitsLess, message);
    }
    if hosts.is_empty() {
        notes.add(&subject, "spec.hosts", Difference::LeftOut, "no host is left");
        return Ok(());
    }
    let Some(when) = conditions(&subject, &raw, notes) else { return Ok(()) };
    let mut rules = Vec::new();
    for (name, authentication) in &raw.authentication {
        let field = format!("spec.authentication.{name}");
        match identity(document, name, authentication) {
            Ok(Identity::Provider { name: provider, spec }) => {
                if spec.get("audienceCheck").is_some() {
                    let message = "any audience is taken, as there; name yours and take `audienceCheck: Off` away";
                    notes.add(&subject, field, Difference::Elsewhere, message);
                }
                resources.push(Resource::provider((provider.clone(), &document.namespace), spec));
                let users = Asked { providers: Some(vec![provider]), ..Asked::default() };
                rules.push((name, Matcher { users: Some(users), ..Matcher::default() }));
            }
            Ok(Identity::Nobody) => {
                // Whoever signed in elsewhere is nobody there, and somebody with claims here.
                let users = Asked { anonymous: Some("Only"), ..Asked::default() };
                rules.push((name, Matcher { users: Some(users), ..Matcher::default() }));
            }
            Err(why) => notes.add(&subject, field, Difference::LeftOut, why),
        }
    }
    let finish = |(name, matcher): (&String, Matcher)| {
        let pattern = Pattern { hosts: Some(hosts.clone()), ..Pattern::http() };
        let matcher = Matcher { requests: Some(vec![pattern]), when: when.clone(), ..matcher };
        Rule { name: rule_name(name), effect: Effect::Allow(matcher) }
    };
    let rules: Vec<Rule> = rules.into_iter().map(finish).collect();
    if rules.is_empty() {
        notes.add(
            &subject,
            "spec.authentication",
            Difference::LeftOut,
            "no way to be authenticated is left",
        );
        return Ok(());
    }
    let message = "it holds for every workload of the namespace that is called by these hosts; say with a selector which serve them";
    notes.add(&subject, "spec.hosts", Difference::Elsewhere, message);
    resources.push(Resource::policy((document.name.clone(), &document.namespace), None, rules));
    Ok(())
}

/// What every request has to meet, whoever sends it; nothing where that cannot be said.
fn conditions(subject: &str, raw: &RawAuthConfig, notes: &mut Notes) -> Option<Vec<String>> {
    let reader = Reader { named: &raw.patterns };
    let mut when = Vec::new();
    if !raw.when.is_empty() {
        let message =
            "what does not meet `when` is admitted there without any check; here no rule admits it";
        notes.add(subject, "spec.when", Difference::AdmitsLess, message);
        match reader.all(&raw.when) {
            Some(condition) => when.push(condition),
            None => {
                let message = "its conditions have no translation, so nothing is allowed";
                notes.add(subject, "spec.when", Difference::LeftOut, message);
                return None;
            }
        }
    }
    for (name, authorization) in &raw.authorization {
        match demand(&reader, authorization) {
            Ok(condition) => when.push(condition),
            Err(why) => {
                let field = format!("spec.authorization.{name}");
                let message =
                    format!("{why}; since all authorizations must pass, nothing is allowed");
                notes.add(subject, field, Difference::LeftOut, message);
                return None;
            }
        }
    }
    let condition = when.join(" && ");
    if !when.is_empty()
        && let Err(error) = Condition::compile(&condition)
    {
        let message =
            format!("the condition it needs is not accepted, so nothing is allowed: {error}");
        notes.add(subject, "spec.authorization", Difference::LeftOut, message);
        return None;
    }
    Some(when)
}

/// What is no part of who may do what.
fn elsewhere(subject: &str, raw: &RawAuthConfig, notes: &mut Notes) {
    if raw.response.is_some() {
        let message = "what the application and the client are told stands in `identity` and `response` of an AccessPolicy";
        notes.add(subject, "spec.response", Difference::Elsewhere, message);
    }
    if !raw.metadata.is_empty() {
        let message = "nothing is fetched here; what asks for it has no translation";
        notes.add(subject, "spec.metadata", Difference::Elsewhere, message);
    }
    if !raw.callbacks.is_empty() {
        let message = "nobody is called back; every decision is recorded here";
        notes.add(subject, "spec.callbacks", Difference::Elsewhere, message);
    }
}

fn host_of(host: &str) -> Option<String> {
    let name = host.strip_prefix("*.").unwrap_or(host);
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '.' | '_');
    (!name.is_empty() && name.chars().all(plain)).then(|| host.to_ascii_lowercase())
}

fn rule_name(name: &str) -> String {
    let fits = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    name.chars().map(|c| if fits(c) { c } else { '-' }).collect()
}

/// What one authorization demands, as a condition.
fn demand(reader: &Reader<'_>, raw: &RawAuthorization) -> Result<String, &'static str> {
    let RawAuthorization {
        pattern_matching,
        opa,
        kubernetes_subject_access_review,
        spicedb,
        when,
        _priority: _,
        _cache: _,
        _metrics: _,
    } = raw;
    if opa.is_some() {
        return Err(
            "Rego that is written for another input has no translation; a PolicyEngine can run it once it is fitted",
        );
    }
    if kubernetes_subject_access_review.is_some() {
        return Err("the Kubernetes API is not asked who may do what");
    }
    if spicedb.is_some() {
        return Err("SpiceDB is not asked here; a PolicyEngine can ask it");
    }
    let patterns =
        pattern_matching.as_ref().ok_or("this kind of authorization is not known here")?;
    let demanded =
        reader.all(&patterns.patterns).ok_or("one of its patterns has no translation")?;
    if when.is_empty() {
        return Ok(demanded);
    }
    // Only where the condition can be denied exactly may what does not meet it pass.
    let unless = reader.none(when).ok_or("its `when` has no translation")?;
    Ok(format!("({unless} || {demanded})"))
}

enum Identity {
    Provider { name: String, spec: Value },
    Nobody,
}

/// What one authentication becomes.
fn identity(
    document: &Foreign,
    name: &str,
    raw: &RawAuthentication,
) -> Result<Identity, &'static str> {
    let RawAuthentication {
        jwt,
        api_key,
        x509,
        anonymous,
        kubernetes_token_review,
        oauth2_introspection,
        plain,
        credentials,
        when,
        overrides,
        defaults,
        _priority: _,
        _cache: _,
        _metrics: _,
    } = raw;
    if !when.is_empty() {
        return Err("an authentication that holds only at times has no translation");
    }
    if overrides.is_some() || defaults.is_some() {
        return Err("claims that are set beside the token have no translation");
    }
    if anonymous.is_some() {
        return Ok(Identity::Nobody);
    }
    if api_key.is_some() {
        return Err(
            "keys of Secrets are not read: make new ones with `hopgate token key`, and write an IdentityProvider with `apiKeys`",
        );
    }
    if x509.is_some() {
        return Err("write an IdentityProvider with `certificates` and the file of the authority");
    }
    if kubernetes_token_review.is_some() {
        return Err("write an IdentityProvider with `tokenReview`");
    }
    if oauth2_introspection.is_some() {
        return Err("write an IdentityProvider with `introspection` and the file of its secret");
    }
    if plain.is_some() {
        return Err("an identity that something else put into the request proves nothing here");
    }
    let RawJwt { issuer_url, jwks_url, _ttl: _ } =
        jwt.as_ref().ok_or("this kind of authentication is not known here")?;
    let issuer = issuer_url
        .as_ref()
        .ok_or("a JWT without an issuer is not taken here: write an IdentityProvider")?;
    let mut spec = Map::new();
    spec.insert("issuer".to_owned(), json!(issuer));
    spec.insert("audienceCheck".to_owned(), json!("Off"));
    let keys = match jwks_url {
        Some(url) => json!({ "jwksUri": url }),
        None => json!({ "discovery": {} }),
    };
    spec.insert("keys".to_owned(), keys);
    let url = jwks_url.as_ref().unwrap_or(issuer);
    if let Some(host) = super::plaintext_host(url) {
        spec.insert("http".to_owned(), json!({ "plaintextHosts": [host] }));
    }
    if let Some(place) = credentials.as_ref().and_then(place) {
        spec.insert("from".to_owned(), json!([place]));
    }
    let name = format!("{}-{}", document.name, name.to_ascii_lowercase().replace('_', "-"));
    Ok(Identity::Provider { name, spec: Value::Object(spec) })
}

/// Where the token stands; nothing for the place that is the default here too.
fn place(raw: &RawCredentials) -> Option<Value> {
    let RawCredentials { authorization_header, custom_header, query_string, cookie } = raw;
    if let Some(header) = custom_header {
        return Some(json!({ "header": header.name.to_ascii_lowercase() }));
    }
    if let Some(query) = query_string {
        return Some(json!({ "query": query.name }));
    }
    if let Some(cookie) = cookie {
        return Some(json!({ "cookie": cookie.name }));
    }
    let prefix = authorization_header.as_ref()?.prefix.as_deref()?;
    (prefix != "Bearer").then(|| json!({ "header": "authorization", "scheme": prefix }))
}
