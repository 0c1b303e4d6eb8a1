//! An answer of the gate, told to a proxy over HTTP.
//!
//! The gate answers with one CheckResponse whoever asks, and this carries it out as far as HTTP can. So there is one place
//! that allows, and what Envoy would make of an answer and what another proxy makes of it cannot drift apart. Anything in it
//! that HTTP cannot say makes a refusal; the gate knows what a door can do and refuses such requests itself, with a record.

use axum::body::Body;
use envoy_types::pb::envoy::config::core::v3::{HeaderValue as EnvoyHeader, HeaderValueOption};
use envoy_types::pb::envoy::service::auth::v3::check_response::HttpResponse;
use envoy_types::pb::envoy::service::auth::v3::{
    CheckResponse, DeniedHttpResponse, OkHttpResponse,
};
use http::header::{COOKIE, HeaderMap, HeaderName, HeaderValue};
use http::{Response, StatusCode};
use prost::Message as _;

use super::config::DoorProxy;

/// Envoy takes from the request what this names, after it has set what it copies.
const TO_REMOVE: HeaderName = HeaderName::from_static("x-envoy-auth-headers-to-remove");
/// The status of a refusal, for nginx, which takes only two of them.
const STATUS: HeaderName = HeaderName::from_static("x-hopgate-status");

/// Something in an answer that HTTP cannot say.
#[derive(Debug, thiserror::Error)]
#[error("the answer cannot be told over HTTP: {0}")]
struct NotTold(&'static str);

/// The response to a proxy that asked about a request with these headers.
pub(super) fn reply(answer: &[u8], proxy: DoorProxy, asked: &HeaderMap) -> Response<Body> {
    tell(answer, proxy, asked).unwrap_or_else(|error| {
        tracing::error!(%error, ?proxy, "a request was refused");
        fault(proxy)
    })
}

/// The refusal of what could not be judged to its end.
pub(super) fn fault(proxy: DoorProxy) -> Response<Body> {
    let mut response = Response::new(Body::empty());
    refuse(&mut response, proxy, StatusCode::INTERNAL_SERVER_ERROR);
    response
}

fn tell(answer: &[u8], proxy: DoorProxy, asked: &HeaderMap) -> Result<Response<Body>, NotTold> {
    let CheckResponse { status, dynamic_metadata: _, http_response } =
        CheckResponse::decode(answer).map_err(|_| NotTold("it is no CheckResponse"))?;
    let code = status.ok_or(NotTold("it has no status"))?.code;
    match (code, http_response) {
        (0, Some(HttpResponse::OkResponse(ok))) => allow(ok, proxy, asked),
        // Here Envoy would let the request pass, so the gate never says so.
        (0, _) => Err(NotTold("it allows and says something else too")),
        (_, Some(HttpResponse::DeniedResponse(denied))) => deny(denied, proxy),
        (_, _) => Err(NotTold("it refuses and says something else too")),
    }
}

fn allow(
    answer: OkHttpResponse,
    proxy: DoorProxy,
    asked: &HeaderMap,
) -> Result<Response<Body>, NotTold> {
    #[expect(deprecated, reason = "named so that no field is forgotten")]
    let OkHttpResponse {
        headers,
        headers_to_remove,
        dynamic_metadata: _,
        response_headers_to_add,
        query_parameters_to_set,
        query_parameters_to_remove,
    } = answer;
    if !query_parameters_to_set.is_empty() || !query_parameters_to_remove.is_empty() {
        return Err(NotTold("it changes the query"));
    }
    let mut response = Response::new(Body::empty());
    let set = headers.into_iter().map(header).collect::<Result<Vec<_>, _>>()?;
    let added = response_headers_to_add.into_iter().map(header).collect::<Result<Vec<_>, _>>()?;
    let is_removed = |name: &HeaderName| {
        headers_to_remove.iter().any(|removed| removed.eq_ignore_ascii_case(name.as_str()))
    };
    let told = response.headers_mut();
    // One that is set for the application, or kept from it, is not told for the client too: the proxy could not tell the
    // two apart.
    for (name, value) in added {
        if !is_removed(&name) && !set.iter().any(|(other, _)| *other == name) {
            told.append(name, value);
        }
    }
    told.extend(set);
    match proxy {
        DoorProxy::Envoy if headers_to_remove.is_empty() => {}
        DoorProxy::Envoy => {
            let names = HeaderValue::try_from(headers_to_remove.join(","));
            told.insert(TO_REMOVE, names.map_err(|_| NotTold("a name to remove is none"))?);
        }
        // They are configured to hand on exactly the cookies of the answer, so it always has those that are left.
        DoorProxy::Nginx | DoorProxy::Traefik | DoorProxy::Caddy => {
            let removed = headers_to_remove.iter().any(|name| name.eq_ignore_ascii_case("cookie"));
            if !removed && !told.contains_key(COOKIE) {
                let kept: Vec<&[u8]> =
                    asked.get_all(COOKIE).iter().map(HeaderValue::as_bytes).collect();
                if !kept.is_empty() {
                    let kept = HeaderValue::from_bytes(&kept.join(&b"; "[..]));
                    told.insert(COOKIE, kept.map_err(|_| NotTold("the cookies cannot be sent"))?);
                }
            }
        }
    }
    Ok(response)
}

fn deny(answer: DeniedHttpResponse, proxy: DoorProxy) -> Result<Response<Body>, NotTold> {
    let DeniedHttpResponse { status, headers, body } = answer;
    let code = status.map(|status| status.code).and_then(|code| u16::try_from(code).ok());
    let code = code.and_then(|code| StatusCode::from_u16(code).ok());
    let mut response = Response::new(Body::from(body));
    for option in headers {
        let (name, value) = header(option)?;
        response.headers_mut().append(name, value);
    }
    refuse(&mut response, proxy, code.ok_or(NotTold("its status is none"))?);
    Ok(response)
}

/// Sets a status that the proxy takes for a refusal, whatever the refusal is.
fn refuse(response: &mut Response<Body>, proxy: DoorProxy, status: StatusCode) {
    *response.status_mut() = match proxy {
        // nginx takes these two alone; anything else becomes its own error 500. A redirection comes as 401.
        DoorProxy::Nginx if status == StatusCode::UNAUTHORIZED || status.is_redirection() => {
            StatusCode::UNAUTHORIZED
        }
        DoorProxy::Nginx => StatusCode::FORBIDDEN,
        // 5xx is an error to Envoy, and under `failure_mode_allow` an error lets the request pass.
        DoorProxy::Envoy if status.is_server_error() => StatusCode::FORBIDDEN,
        // 2xx would let it pass, and 1xx is no answer.
        DoorProxy::Envoy | DoorProxy::Traefik | DoorProxy::Caddy
            if status.is_success() || status.is_informational() =>
        {
            StatusCode::FORBIDDEN
        }
        DoorProxy::Envoy | DoorProxy::Traefik | DoorProxy::Caddy => status,
    };
    if proxy == DoorProxy::Nginx {
        response.headers_mut().insert(STATUS, HeaderValue::from(status.as_u16()));
    }
}

fn header(option: HeaderValueOption) -> Result<(HeaderName, HeaderValue), NotTold> {
    #[expect(deprecated, reason = "named so that no field is forgotten")]
    let HeaderValueOption { header, append: _, append_action: _, keep_empty_value: _ } = option;
    let EnvoyHeader { key, value, raw_value: _ } = header.ok_or(NotTold("a header is missing"))?;
    // `:path` among them, which HTTP has no header for.
    let name =
        HeaderName::try_from(key).map_err(|_| NotTold("a header has no name that can be sent"))?;
    let value = HeaderValue::from_bytes(value.as_bytes());
    Ok((name, value.map_err(|_| NotTold("a header has no value that can be sent"))?))
}

#[cfg(test)]
mod tests;
