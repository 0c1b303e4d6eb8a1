//! The three services behind the gates: web -> orders -> payments.
//!
//! They hold no line of auth code. Each answers with what it saw, so that the tour can tell what reached it.

use axum::extract::{Path, State};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderName, Method, StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::{get, post};
use axum::{Json, Router};
use serde::{Deserialize, Serialize};
use serde_json::{Value, json};

/// Who called, as the sidecar tells the service.
pub(crate) const USER_HEADER: &str = "x-hopgate-user";
/// Which workload called, as the sidecar tells the service.
pub(crate) const PEER_HEADER: &str = "x-hopgate-peer";

/// What a service passes on from the request it answers to the one it makes.
const PASSED_ON: [HeaderName; 1] = [header::AUTHORIZATION];
const PASSED_ON_BY_NAME: [&str; 3] = ["x-request-id", "traceparent", "tracestate"];

/// The names of the three.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Name {
    Web,
    Orders,
    Payments,
}

impl Name {
    /// In the order of the hops.
    pub(crate) const ALL: [Self; 3] = [Self::Web, Self::Orders, Self::Payments];

    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Web => "web",
            Self::Orders => "orders",
            Self::Payments => "payments",
        }
    }
}

/// What a service saw of a request, as it says in its answer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Saw {
    pub(crate) path: String,
    pub(crate) user: Option<String>,
    pub(crate) peer: Option<String>,
    /// Headers that could be taken for the two above: other spellings and second copies. There should be none.
    pub(crate) look_alikes: Vec<String>,
    /// Whether a credential reached the service.
    pub(crate) authorization: bool,
}

/// The answer of a service.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Said {
    pub(crate) service: Name,
    pub(crate) saw: Saw,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) result: Option<Value>,
    /// What the next service said, where one was asked.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub(crate) next: Option<Next>,
}

/// The answer of the next hop.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub(crate) struct Next {
    pub(crate) status: u16,
    /// Its JSON, or its text where it was not JSON.
    pub(crate) body: Value,
}

/// How a service reaches the next one.
#[derive(Debug, Clone)]
pub(crate) struct Onward {
    pub(crate) client: reqwest::Client,
    /// `http://host`, without a slash at the end: the outbound listener of its own Envoy, or the next service by its name
    /// where connections are captured.
    pub(crate) base: String,
}

#[derive(Debug, Clone)]
struct Context {
    name: Name,
    onward: Option<Onward>,
}

/// The pages of one service.
pub(crate) fn router(name: Name, onward: Option<Onward>) -> Router {
    let router = match name {
        Name::Web => Router::new()
            .route("/", get(answer))
            .route("/customers/{customer}/orders", get(pass_on))
            .route("/orders/{order}/refund", post(pass_on)),
        Name::Orders => Router::new()
            .route("/customers/{customer}/orders", get(list_orders))
            .route("/orders/{order}/refund", post(refund)),
        Name::Payments => Router::new().route("/payments/{order}/refund", post(pay_back)),
    };
    // Whatever the gate lets through is answered, so that a hole in it shows as a 404 that a service wrote.
    router.fallback(not_found).with_state(Context { name, onward })
}

async fn answer(State(context): State<Context>, request: Parts) -> Response {
    Json(context.say(&request, None, None)).into_response()
}

async fn not_found(State(context): State<Context>, request: Parts) -> Response {
    (StatusCode::NOT_FOUND, Json(context.say(&request, None, None))).into_response()
}

async fn pass_on(State(context): State<Context>, request: Parts) -> Response {
    let path = request.uri.path().to_owned();
    context.ask_next(&request, &path).await
}

async fn list_orders(
    State(context): State<Context>,
    Path(customer): Path<String>,
    request: Parts,
) -> Response {
    let orders: &[u32] = match customer.as_str() {
        "alice" => &[1001, 1003],
        "bob" => &[1002],
        _ => &[],
    };
    let result = json!({ "customer": customer, "orders": orders });
    Json(context.say(&request, Some(result), None)).into_response()
}

async fn refund(
    State(context): State<Context>,
    Path(order): Path<String>,
    request: Parts,
) -> Response {
    context.ask_next(&request, &format!("/payments/{order}/refund")).await
}

async fn pay_back(
    State(context): State<Context>,
    Path(order): Path<String>,
    request: Parts,
) -> Response {
    let result = json!({ "order": order, "refunded": true });
    Json(context.say(&request, Some(result), None)).into_response()
}

impl Context {
    fn say(&self, request: &Parts, result: Option<Value>, next: Option<Next>) -> Said {
        let saw = Saw::of(request.uri.path(), &request.headers);
        Said { service: self.name, saw, result, next }
    }

    /// Asks the next service for `path` with the same method, and answers with its status.
    async fn ask_next(&self, request: &Parts, path: &str) -> Response {
        let Some(onward) = &self.onward else {
            return StatusCode::NOT_FOUND.into_response();
        };
        let next = match onward.ask(request.method.clone(), path, &request.headers).await {
            Ok(next) => next,
            Err(error) => Next { status: 502, body: Value::String(error.to_string()) },
        };
        let status = StatusCode::from_u16(next.status).unwrap_or(StatusCode::BAD_GATEWAY);
        (status, Json(self.say(request, None, Some(next)))).into_response()
    }
}

impl Onward {
    async fn ask(
        &self,
        method: Method,
        path: &str,
        headers: &HeaderMap,
    ) -> Result<Next, reqwest::Error> {
        let mut passed_on = HeaderMap::new();
        let by_name = PASSED_ON_BY_NAME.iter().map(|name| HeaderName::from_static(name));
        for name in PASSED_ON.into_iter().chain(by_name) {
            for value in headers.get_all(&name) {
                passed_on.append(name.clone(), value.clone());
            }
        }
        let url = format!("{}{path}", self.base);
        let response = self.client.request(method, url).headers(passed_on).send().await?;
        let status = response.status().as_u16();
        let text = response.text().await?;
        let body = serde_json::from_str(&text).unwrap_or(Value::String(text));
        Ok(Next { status, body })
    }
}

impl Saw {
    fn of(path: &str, headers: &HeaderMap) -> Self {
        let one = |name| {
            let value = headers.get(name)?;
            Some(String::from_utf8_lossy(value.as_bytes()).into_owned())
        };
        Self {
            path: path.to_owned(),
            user: one(USER_HEADER),
            peer: one(PEER_HEADER),
            look_alikes: look_alikes(headers),
            authorization: headers.contains_key(header::AUTHORIZATION),
        }
    }
}

fn look_alikes(headers: &HeaderMap) -> Vec<String> {
    let mut found = Vec::new();
    for name in headers.keys() {
        let genuine = name == USER_HEADER || name == PEER_HEADER;
        let plain = name.as_str().replace('_', "-");
        let ours = plain == USER_HEADER || plain == PEER_HEADER;
        if ours && (!genuine || headers.get_all(name).iter().count() > 1) {
            found.push(name.as_str().to_owned());
        }
    }
    found
}

#[cfg(test)]
mod tests {
    use axum::body::Body;
    use axum::extract::Request;
    use http_body_util::BodyExt as _;
    use tokio::net::TcpListener;
    use tokio::task::JoinSet;
    use tower::ServiceExt as _;

    use super::*;

    async fn said(router: Router, request: Request) -> (u16, Said) {
        let response = router.oneshot(request).await.unwrap();
        let status = response.status().as_u16();
        let body = response.into_body().collect().await.unwrap().to_bytes();
        (status, serde_json::from_slice(&body).unwrap())
    }

    fn request(method: &str, path: &str) -> axum::http::request::Builder {
        Request::builder().method(method).uri(path)
    }

    #[tokio::test]
    async fn a_refund_goes_through_all_three_and_says_what_each_saw() {
        let mut servers = JoinSet::new();
        let client = crate::demo::http::client().unwrap();
        let mut onward = None;
        for name in [Name::Payments, Name::Orders] {
            let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
            let address = listener.local_addr().unwrap();
            let pages = router(name, onward.take());
            servers.spawn(async move { axum::serve(listener, pages).await });
            onward = Some(Onward { client: client.clone(), base: format!("http://{address}") });
        }
        let asked = request("POST", "/orders/1002/refund")
            .header("authorization", "Bearer t")
            .header("x-hopgate-user", "sue")
            .body(Body::empty());
        let (status, web) = said(router(Name::Web, onward), asked.unwrap()).await;
        assert_eq!(status, 200);
        assert_eq!((web.service, web.saw.user.as_deref()), (Name::Web, Some("sue")));
        let orders: Said = serde_json::from_value(web.next.unwrap().body).unwrap();
        assert_eq!((orders.service, orders.saw.user), (Name::Orders, None), "not passed on");
        let payments: Said = serde_json::from_value(orders.next.unwrap().body).unwrap();
        assert_eq!((payments.service, payments.saw.authorization), (Name::Payments, true));
        assert_eq!(payments.saw.path, "/payments/1002/refund");
    }

    #[tokio::test]
    async fn look_alikes_and_second_copies_are_told() {
        let asked = request("GET", "/")
            .header("X_Hopgate_User", "admin")
            .header("x-hopgate-peer", "one")
            .header("x-hopgate-peer", "two")
            .header("x-hopgate-userx", "other")
            .body(Body::empty());
        let (_, said) = said(router(Name::Web, None), asked.unwrap()).await;
        let mut look_alikes = said.saw.look_alikes;
        look_alikes.sort();
        assert_eq!(look_alikes, ["x-hopgate-peer", "x_hopgate_user"]);
    }

    #[tokio::test]
    async fn an_unknown_page_is_answered_by_the_service() {
        let asked = request("GET", "/internal/keys").body(Body::empty()).unwrap();
        let (status, said) = said(router(Name::Payments, None), asked).await;
        assert_eq!((status, said.saw.path.as_str()), (404, "/internal/keys"));
    }
}
