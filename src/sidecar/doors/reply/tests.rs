use super::*;
use crate::proto::answer::{self, HeaderText, Mutations, RefusalStatus};

const PROXIES: [DoorProxy; 4] =
    [DoorProxy::Envoy, DoorProxy::Nginx, DoorProxy::Traefik, DoorProxy::Caddy];
const STATUSES: [RefusalStatus; 6] = [
    RefusalStatus::BadRequest,
    RefusalStatus::Unauthorized,
    RefusalStatus::Forbidden,
    RefusalStatus::TooManyRequests,
    RefusalStatus::Internal,
    RefusalStatus::Unavailable,
];

fn allowed(set: Vec<(&'static str, &'static str)>) -> Vec<u8> {
    let removed = answer::removals(["x-hopgate-peer", "authorization"]);
    let set = set.into_iter().map(|(name, value)| (name, HeaderText::encode(value))).collect();
    let mutations = Mutations { set, removed: &removed, ..Mutations::default() };
    answer::allow(&mutations, &[]).as_bytes().to_vec()
}

fn value<'r>(response: &'r Response<Body>, name: &str) -> Option<&'r str> {
    response.headers().get(name).map(|value| value.to_str().unwrap())
}

#[test]
fn an_allowing_answer_sets_and_envoy_is_told_what_to_remove() {
    let answer = allowed(vec![("x-hopgate-user", "alice")]);
    for proxy in PROXIES {
        let response = reply(&answer, proxy, &HeaderMap::new());
        assert_eq!(response.status(), 200);
        assert_eq!(value(&response, "x-hopgate-user"), Some("alice"));
        let removed = value(&response, "x-envoy-auth-headers-to-remove");
        let told = (proxy == DoorProxy::Envoy).then_some("x-hopgate-peer,authorization");
        assert_eq!(removed, told, "{proxy:?}");
    }
}

#[test]
fn the_cookies_that_are_left_are_always_told_where_the_proxy_hands_on_those_alone() {
    let mut asked = HeaderMap::new();
    asked.append(COOKIE, HeaderValue::from_static("a=1"));
    asked.append(COOKIE, HeaderValue::from_bytes(b"b=\xfc").unwrap());
    let untouched = allowed(vec![]);
    let edited = allowed(vec![("cookie", "a=1")]);
    for proxy in PROXIES {
        let left = |answer: &[u8]| reply(answer, proxy, &asked).headers().get(COOKIE).cloned();
        assert_eq!(left(&edited).unwrap(), "a=1");
        let whole = HeaderValue::from_bytes(b"a=1; b=\xfc").unwrap();
        assert_eq!(left(&untouched), (proxy != DoorProxy::Envoy).then_some(whole));
        let mutations = Mutations { removed_too: vec!["cookie"], ..Mutations::default() };
        assert_eq!(left(answer::allow(&mutations, &[]).as_bytes()), None);
    }
}

#[test]
fn no_refusal_has_a_status_by_which_a_proxy_lets_pass() {
    for status in STATUSES {
        let headers = [("www-authenticate", HeaderText::encode("Bearer"))];
        let answer = answer::deny(status, &headers, "no", &[]);
        for proxy in PROXIES {
            let response = reply(answer.as_bytes(), proxy, &HeaderMap::new());
            let told = response.status().as_u16();
            match proxy {
                DoorProxy::Nginx => {
                    assert_eq!(told, if status.http() == 401 { 401 } else { 403 });
                    assert_eq!(
                        value(&response, "x-hopgate-status"),
                        Some(&*status.http().to_string())
                    );
                }
                DoorProxy::Envoy => {
                    assert_eq!(told, if status.http() < 500 { status.http() } else { 403 })
                }
                DoorProxy::Traefik | DoorProxy::Caddy => assert_eq!(told, status.http()),
            }
            assert_eq!(value(&response, "www-authenticate"), Some("Bearer"));
        }
    }
    let redirection = |proxy| {
        let mut response = Response::new(Body::empty());
        refuse(&mut response, proxy, StatusCode::FOUND);
        response.status().as_u16()
    };
    assert_eq!(PROXIES.map(redirection), [302, 401, 302, 302]);
}

#[test]
fn what_http_cannot_say_is_refused() {
    let with_path = allowed(vec![(":path", "/")]);
    // An empty message, and code 0 beside nothing or a refusal: Envoy would let all of them pass.
    let refused = answer::deny(RefusalStatus::Forbidden, &[], "", &[]);
    let mut allows_and_refuses = refused.as_bytes().to_vec();
    assert_eq!(allows_and_refuses[..4], [0x0a, 2, 8, 7]);
    allows_and_refuses[3] = 0;
    let nothing_else = [0x0a, 0];
    let broken = [0xff];
    for answer in [&with_path[..], &[], &nothing_else, &allows_and_refuses, &broken] {
        for proxy in PROXIES {
            let response = reply(answer, proxy, &HeaderMap::new());
            let told = response.status().as_u16();
            let expected = match proxy {
                DoorProxy::Envoy | DoorProxy::Nginx => 403,
                DoorProxy::Traefik | DoorProxy::Caddy => 500,
            };
            assert_eq!(told, expected, "{proxy:?}");
            assert!(value(&response, "x-hopgate-user").is_none());
        }
    }
}
