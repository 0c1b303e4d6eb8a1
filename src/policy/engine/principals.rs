//! Who is calling, as engines are told it: what was verified, under the names that conditions use.

use serde_json::{Value, json};

use super::super::facts::{Facts, Groups, UserFacts};
use crate::identity::SpiffeId;

/// `user`, `client` and `peer` of a request; `null` for whoever is not there.
#[must_use]
pub fn principals(facts: &Facts<'_>) -> Value {
    json!({
        "user": facts.user.map(user),
        "client": facts.client.map(user),
        "peer": facts.peer.map(peer),
    })
}

fn user(user: &UserFacts) -> Value {
    json!({
        "provider": user.provider(),
        "sub": user.subject(),
        "roles": user.roles(),
        "scopes": user.scopes(),
        "groups": match user.groups() {
            Groups::Known(groups) => Some(groups),
            Groups::Unknown => None,
        },
        "tenant": user.tenant(),
        "email": user.email(),
        "claims": user.claims(),
    })
}

fn peer(id: &SpiffeId) -> Value {
    let account = id.service_account();
    json!({
        "id": id.as_str(),
        "trustDomain": id.trust_domain().as_str(),
        "namespace": account.map(|(namespace, _)| namespace),
        "serviceAccount": account.map(|(_, account)| account),
    })
}
