//! `PeerAuthentication`: what is strict becomes a rule that refuses whoever has no certificate.

use super::super::bound::Difference;
use super::super::document::Foreign;
use super::super::note::Notes;
use super::super::out::{Effect, Matcher, Pattern, Resource, Rule};
use super::super::{ImportError, Options, wrong};
use super::namespaces;
use super::raw::{RawMode, RawMtls, RawPeerAuthentication, selector};

pub(super) fn translate(
    document: &Foreign,
    options: &Options,
    notes: &mut Notes,
) -> Result<Vec<Resource>, ImportError> {
    let raw: RawPeerAuthentication = document.spec()?;
    let RawPeerAuthentication { selector: select, mtls, port_level_mtls } = raw;
    let subject = document.subject();
    let mode = mtls.map_or(RawMode::Unset, |RawMtls { mode }| mode);
    let mut strict = Vec::new();
    let mut open = Vec::new();
    for (port, RawMtls { mode }) in &port_level_mtls {
        let number = port
            .parse::<u16>()
            .map_err(|_| wrong(document, format!("spec.portLevelMtls.{port}"), "is no port"))?;
        match mode {
            RawMode::Strict => strict.push(number),
            RawMode::Permissive | RawMode::Disable => open.push(number),
            RawMode::Unset => {}
        }
    }
    let ports = |ports: Vec<u16>| {
        (!ports.is_empty()).then(|| vec![Pattern { ports: Some(ports), ..Pattern::default() }])
    };
    let (requests, not_requests) = match mode {
        RawMode::Strict => (None, ports(open).unwrap_or_default()),
        RawMode::Permissive | RawMode::Disable | RawMode::Unset if !strict.is_empty() => {
            (ports(strict), Vec::new())
        }
        RawMode::Permissive | RawMode::Disable | RawMode::Unset => {
            let message = "nothing is strict in it, so it refuses nobody; whether a rule asks for a peer is said in each rule";
            notes.add(&subject, "spec.mtls", Difference::Elsewhere, message);
            return Ok(Vec::new());
        }
    };
    let problem = "it holds in every namespace of the mesh; say with --namespace into which namespaces to copy it";
    let Some(namespaces) = namespaces(document, options) else {
        return Err(ImportError::Deny { subject, problem: problem.to_owned() });
    };
    let message = "it becomes a rule that refuses whoever has no certificate; a more special PeerAuthentication that is less \
                   strict does not undo it here";
    notes.add(&subject, "spec.mtls", Difference::RefusesMore, message);
    let not_peers = vec!["*".to_owned()];
    let matcher = Matcher { not_peers, requests, not_requests, ..Matcher::default() };
    let select = selector(select);
    let resource = |namespace: &String| {
        let rule = Rule {
            name: "only-with-a-certificate".to_owned(),
            effect: Effect::Deny(matcher.clone()),
        };
        let name = format!("{}-mtls", document.name);
        Resource::policy((name, namespace), select.clone(), vec![rule])
    };
    Ok(namespaces.iter().map(resource).collect())
}
