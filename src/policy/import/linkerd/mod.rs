//! Linkerd: `Server`, `HTTPRoute`, `AuthorizationPolicy`, `MeshTLSAuthentication`, `NetworkAuthentication`,
//! `ServerAuthorization`.
//!
//! All of them only ever allow, so everything that has no translation is left out. A `Server` becomes the selector and
//! the port of a policy. Where routes belong to a server, a request is judged by the most special route that it matches:
//! an allow on one route says nothing of requests that another one takes.

mod client;
mod raw;
mod route;

use std::collections::BTreeMap;

use self::client::Clients;
use self::raw::{RawPolicy, RawPort, RawRef, RawServer, RawServerAuthorization};
use self::route::Route;
use super::ImportError;
use super::bound::Difference;
use super::document::Foreign;
use super::note::Notes;
use super::out::{Effect, Matcher, Pattern, Resource, Rule, Selector};

const GROUPS: [&str; 2] = ["policy.linkerd.io", "gateway.networking.k8s.io"];

/// What is guarded: pods and a port.
struct Server {
    name: String,
    namespace: String,
    labels: BTreeMap<String, String>,
    selector: Option<Selector>,
    port: u16,
    /// Each rule with its name, in the order in which they are found.
    rules: Vec<Rule>,
}

/// Translates the documents of Linkerd's kinds; others are told of.
pub(super) fn translate(
    documents: &[Foreign],
    notes: &mut Notes,
) -> Result<Vec<Resource>, ImportError> {
    let documents: Vec<&Foreign> = documents
        .iter()
        .filter(|document| {
            let known = GROUPS.contains(&document.group.as_str());
            if !known {
                let message = "this kind is not translated";
                notes.add(&document.subject(), "", Difference::LeftOut, message);
            }
            known
        })
        .collect();
    let mut servers = Vec::new();
    for document in documents.iter().filter(|document| document.kind == "Server") {
        servers.extend(server(document, notes)?);
    }
    let mut routes = Vec::new();
    for document in documents.iter().filter(|document| document.kind == "HTTPRoute") {
        routes.push(Route::read(document, notes)?);
    }
    let clients = Clients::read(&documents, notes)?;
    for document in &documents {
        match document.kind.as_str() {
            "AuthorizationPolicy" => policy(document, (&mut servers, &routes, &clients), notes)?,
            "ServerAuthorization" => authorization(document, (&mut servers, &routes), notes)?,
            "Server" | "HTTPRoute" | "MeshTLSAuthentication" | "NetworkAuthentication" => {}
            _ => notes.add(
                &document.subject(),
                "",
                Difference::LeftOut,
                "this kind is not translated",
            ),
        }
    }
    Ok(servers.into_iter().filter_map(Server::into_resource).collect())
}

fn server(document: &Foreign, notes: &mut Notes) -> Result<Option<Server>, ImportError> {
    let RawServer {
        pod_selector,
        external_workload_selector,
        port,
        _proxy_protocol: _,
        access_policy,
    } = document.spec()?;
    let subject = document.subject();
    let selector = pod_selector.unwrap_or_default();
    if external_workload_selector.is_some() || !selector.match_expressions.is_empty() {
        let message = "workloads are selected by labels that are equal, and by nothing else; what is allowed on it is left out";
        notes.add(&subject, "spec.podSelector", Difference::LeftOut, message);
        return Ok(None);
    }
    let port = match port {
        RawPort::Number(port) => port,
        RawPort::Name(name) => {
            let message = format!(
                "which port `{name}` is cannot be told here: write its number; what is allowed on it is left out"
            );
            notes.add(&subject, "spec.port", Difference::LeftOut, message);
            return Ok(None);
        }
    };
    let mut server = Server {
        name: document.name.clone(),
        namespace: document.namespace.clone(),
        labels: document.labels.clone(),
        selector: (!selector.match_labels.is_empty())
            .then_some(Selector { match_labels: selector.match_labels }),
        port,
        rules: Vec::new(),
    };
    let peers = match access_policy.as_deref() {
        None | Some("deny") => return Ok(Some(server)),
        Some("all-unauthenticated") => Matcher::everything().peers,
        Some("all-authenticated") => Some(vec!["*".to_owned()]),
        Some(other) => {
            let message =
                format!("`{other}` is left out: here nothing is admitted that no rule allows");
            notes.add(&subject, "spec.accessPolicy", Difference::AdmitsLess, message);
            return Ok(Some(server));
        }
    };
    let matcher = Matcher { peers, ..Matcher::default() };
    server.allow("access-policy", matcher, (&[], &[]));
    Ok(Some(server))
}

impl Server {
    /// Adds a rule for these requests and not for those; for the whole port where there are none.
    fn allow(&mut self, name: &str, matcher: Matcher, (requests, not): (&[Pattern], &[Pattern])) {
        let with_port =
            |pattern: &Pattern| Pattern { ports: Some(vec![self.port]), ..pattern.clone() };
        let mut patterns: Vec<Pattern> = requests.iter().map(with_port).collect();
        if patterns.is_empty() {
            patterns.push(with_port(&Pattern::default()));
        }
        let matcher = Matcher { requests: Some(patterns), not_requests: not.to_vec(), ..matcher };
        let count = self.rules.iter().filter(|rule| rule.name.starts_with(name)).count();
        let name = if count == 0 { name.to_owned() } else { format!("{name}-{}", count + 1) };
        self.rules.push(Rule { name, effect: Effect::Allow(matcher) });
    }

    fn into_resource(self) -> Option<Resource> {
        let Self { name, namespace, labels: _, selector, port: _, rules } = self;
        (!rules.is_empty()).then(|| Resource::policy((name, &namespace), selector, rules))
    }
}

fn policy(
    document: &Foreign,
    (servers, routes, clients): (&mut [Server], &[Route], &Clients),
    notes: &mut Notes,
) -> Result<(), ImportError> {
    let RawPolicy { target_ref, required_authentication_refs } = document.spec()?;
    let Some(matcher) = clients.all(document, &required_authentication_refs, notes) else {
        return Ok(());
    };
    let RawRef { kind, name, namespace, .. } = &target_ref;
    let subject = document.subject();
    let here = namespace.as_ref().unwrap_or(&document.namespace);
    let mut found = false;
    for server in servers.iter_mut().filter(|server| server.namespace == *here) {
        let of_server: Vec<&Route> =
            routes.iter().filter(|route| route.is_of(&server.name, here)).collect();
        match kind.as_str() {
            "Server" if server.name != *name => continue,
            "Server" | "Namespace" => {
                found = true;
                let patterns: Vec<Pattern> =
                    of_server.iter().flat_map(|route| route.patterns()).cloned().collect();
                // Where there are routes, what matches none of them is answered with 404.
                if of_server.is_empty() || !patterns.is_empty() {
                    server.allow(&document.name, matcher.clone(), (&patterns, &[]));
                }
            }
            "HTTPRoute" => {
                let Some(route) = of_server.iter().find(|route| route.name == *name) else {
                    continue;
                };
                found = true;
                if route.alone(&of_server).len() < route.patterns().count() {
                    let message = "another route has a match that is not known here and may take its requests, so they are not allowed";
                    notes.add(&subject, "spec.targetRef", Difference::LeftOut, message);
                }
                for (pattern, not) in route.alone(&of_server) {
                    server.allow(&document.name, matcher.clone(), (&[pattern], &not));
                }
            }
            _ => {}
        }
    }
    if !found {
        let message = format!(
            "the {kind} {name} is not among the files, or was left out; without it nothing is allowed"
        );
        notes.add(&subject, "spec.targetRef", Difference::LeftOut, message);
    }
    Ok(())
}

fn authorization(
    document: &Foreign,
    (servers, routes): (&mut [Server], &[Route]),
    notes: &mut Notes,
) -> Result<(), ImportError> {
    let RawServerAuthorization { server: wanted, client } = document.spec()?;
    let matchers = client::of_authorization(document, &client, notes)?;
    let subject = document.subject();
    let expressions = wanted.selector.as_ref().is_some_and(|all| !all.match_expressions.is_empty());
    if expressions {
        let message = "servers are selected by labels that are equal, and by nothing else";
        notes.add(&subject, "spec.server.selector", Difference::LeftOut, message);
        return Ok(());
    }
    let is_wanted = |server: &Server| match (&wanted.name, &wanted.selector) {
        (Some(name), _) => server.name == *name,
        (None, Some(selector)) => {
            selector.match_labels.iter().all(|(name, value)| server.labels.get(name) == Some(value))
        }
        (None, None) => false,
    };
    let mut found = false;
    for server in servers
        .iter_mut()
        .filter(|server| server.namespace == document.namespace && is_wanted(server))
    {
        found = true;
        let patterns: Vec<Pattern> = routes
            .iter()
            .filter(|route| route.is_of(&server.name, &document.namespace))
            .flat_map(Route::patterns)
            .cloned()
            .collect();
        for matcher in &matchers {
            server.allow(&document.name, matcher.clone(), (&patterns, &[]));
        }
    }
    if !found {
        let message = "no Server that it names is among the files, or it was left out; without it nothing is allowed";
        notes.add(&subject, "spec.server", Difference::LeftOut, message);
    }
    Ok(())
}
