//! A resource that answers with the user of the token it is asked with: OpenID Connect userinfo, Directus `/users/me`.

use http::{HeaderValue, header};
use serde_json::{Map, Value};

use super::asked::Reach;
use super::{Judgement, OnlineFault};
use crate::authn::json;

/// Asks as the bearer of the token. Only the named statuses are a no.
pub(super) async fn ask(
    reach: &Reach<'_>,
    token: &str,
    (root, refusals): (&[String], &[u16]),
) -> Result<Judgement, OnlineFault> {
    // A credential that cannot stand in a header is nobody's.
    let Ok(mut bearer) = HeaderValue::from_str(&format!("Bearer {token}")) else {
        return Ok(Judgement::Inactive);
    };
    bearer.set_sensitive(true);
    let headers = [
        (header::ACCEPT, HeaderValue::from_static("application/json")),
        (header::AUTHORIZATION, bearer),
    ];
    let answer = reach.client.get(reach.url, &headers, reach.limits).await?;
    if refusals.contains(&answer.status) {
        return Ok(Judgement::Inactive);
    }
    if answer.status != 200 {
        return Err(OnlineFault::Status(answer.status));
    }
    let whole = json::object(&answer.body).map_err(OnlineFault::Json)?;
    let claims = descend(whole, root).ok_or(OnlineFault::Member("root"))?;
    Ok(Judgement::Active { claims, expires: None })
}

fn descend(mut object: Map<String, Value>, path: &[String]) -> Option<Map<String, Value>> {
    for name in path {
        match object.remove(name) {
            Some(Value::Object(inner)) => object = inner,
            Some(_) | None => return None,
        }
    }
    Some(object)
}
