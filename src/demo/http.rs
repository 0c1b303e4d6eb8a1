//! The demo's callers: a well-behaved HTTP client, and one that sends exactly what it is told.

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use serde_json::Value;
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _};
use tokio::net::TcpStream;

use super::service::{Name, Said};

/// No answer of the demo takes longer.
const DEADLINE: Duration = Duration::from_secs(10);
/// No answer of the demo is longer.
const MAX_ANSWER: u64 = 64 * 1024;

/// A client could not be made, or a request got no HTTP answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpError {
    /// The client's TLS part could not be set up.
    #[error("cannot set up the HTTP client")]
    Tls(#[from] rustls::Error),
    /// The request failed.
    #[error("no answer over HTTP")]
    Request(#[from] reqwest::Error),
    /// The connection failed.
    #[error("cannot talk to {0}")]
    Connection(SocketAddr, #[source] std::io::Error),
    /// Nothing came in time.
    #[error("no answer from {0} within {DEADLINE:?}")]
    Silent(SocketAddr),
    /// What came is not HTTP.
    #[error("the answer from {0} is not HTTP")]
    NotHttp(SocketAddr),
}

/// A client for plain HTTP on loopback. It takes no proxy, follows no redirect and trusts no certificate.
pub(crate) fn client() -> Result<reqwest::Client, HttpError> {
    let provider = Arc::new(rustls::crypto::aws_lc_rs::default_provider());
    let tls = rustls::ClientConfig::builder_with_provider(provider)
        .with_safe_default_protocol_versions()?
        .with_root_certificates(rustls::RootCertStore::empty())
        .with_no_client_auth();
    Ok(reqwest::Client::builder()
        .tls_backend_preconfigured(tls)
        .no_proxy()
        .redirect(reqwest::redirect::Policy::none())
        .timeout(DEADLINE)
        .build()?)
}

/// An HTTP answer.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// Names in lower case.
    pub(crate) headers: Vec<(String, String)>,
    pub(crate) body: String,
}

impl Answer {
    /// Sends a request and reads the whole answer.
    pub(crate) async fn to(request: reqwest::RequestBuilder) -> Result<Self, HttpError> {
        let response = request.send().await?;
        let headers = response.headers().iter().map(|(name, value)| {
            (name.as_str().to_owned(), String::from_utf8_lossy(value.as_bytes()).into_owned())
        });
        Ok(Self {
            status: response.status().as_u16(),
            headers: headers.collect(),
            body: response.text().await?,
        })
    }

    /// The first header of that name.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// What each service on the way said, in order; a gate that refused said nothing.
    pub(crate) fn hops(&self) -> Vec<Said> {
        let mut hops = Vec::new();
        let mut body = serde_json::from_str::<Value>(&self.body).unwrap_or(Value::Null);
        while let Ok(said) = serde_json::from_value::<Said>(body) {
            body = said.next.as_ref().map_or(Value::Null, |next| next.body.clone());
            hops.push(said);
        }
        hops
    }

    /// The outcome in a few words, for a request whose first hop was `first`: `200 web > orders`, or
    /// `403 at orders` when the gate of orders refused.
    pub(crate) fn outcome(&self, first: Name) -> String {
        let hops = self.hops();
        let next_was_asked = hops.last().is_none_or(|said| said.next.is_some());
        let refused = Name::ALL.iter().skip_while(|name| **name != first).nth(hops.len());
        if next_was_asked && let Some(refused) = refused {
            return format!("{} at {}", self.status, refused.as_str());
        }
        let names: Vec<_> = hops.iter().map(|said| said.service.as_str()).collect();
        format!("{} {}", self.status, names.join(" > "))
    }
}

/// Sends one request over a connection of its own, byte for byte: no client library would send these paths.
pub(crate) async fn send_raw(
    address: SocketAddr,
    method: &str,
    target: &str,
    headers: &[(&str, &str)],
) -> Result<Answer, HttpError> {
    let mut request =
        format!("{method} {target} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n");
    for (name, value) in headers {
        request.push_str(&format!("{name}: {value}\r\n"));
    }
    request.push_str("\r\n");
    let failed = |error| HttpError::Connection(address, error);
    let exchange = async {
        let stream = TcpStream::connect(address).await.map_err(failed)?;
        exchange(stream, request.as_bytes()).await.map_err(failed)
    };
    let answer = tokio::time::timeout(DEADLINE, exchange).await;
    let answer = answer.map_err(|_| HttpError::Silent(address))??;
    parse(&answer).ok_or(HttpError::NotHttp(address))
}

/// Writes `request`, then reads until the other side closes.
pub(crate) async fn exchange<S>(mut stream: S, request: &[u8]) -> std::io::Result<Vec<u8>>
where
    S: AsyncRead + AsyncWrite + Unpin,
{
    stream.write_all(request).await?;
    stream.flush().await?;
    let mut answer = Vec::new();
    stream.take(MAX_ANSWER).read_to_end(&mut answer).await?;
    Ok(answer)
}

/// Enough of HTTP/1.1 for an answer that ends with its connection.
fn parse(answer: &[u8]) -> Option<Answer> {
    let text = String::from_utf8_lossy(answer);
    let (head, body) = text.split_once("\r\n\r\n")?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.strip_prefix("HTTP/1.1 ")?.get(..3)?.parse().ok()?;
    let headers = lines.filter_map(|line| {
        let (name, value) = line.split_once(':')?;
        Some((name.to_ascii_lowercase(), value.trim().to_owned()))
    });
    let mut answer = Answer { status, headers: headers.collect(), body: body.to_owned() };
    if answer.header("transfer-encoding") == Some("chunked") {
        answer.body = without_chunks(body)?;
    }
    Some(answer)
}

fn without_chunks(mut rest: &str) -> Option<String> {
    let mut body = String::new();
    loop {
        let (size, after) = rest.split_once("\r\n")?;
        let size = usize::from_str_radix(size, 16).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.push_str(after.get(..size)?);
        rest = after.get(size..)?.strip_prefix("\r\n")?;
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn answer(status: u16, body: &Value) -> Answer {
        Answer { status, headers: Vec::new(), body: body.to_string() }
    }

    fn said(service: &str, next: Option<Value>) -> Value {
        let saw = json!({ "path": "/", "user": null, "peer": null, "look_alikes": [], "authorization": false });
        match next {
            Some(next) => json!({ "service": service, "saw": saw, "next": next }),
            None => json!({ "service": service, "saw": saw }),
        }
    }

    #[test]
    fn an_outcome_names_the_gate_that_refused() {
        let refusal = json!({ "error": "forbidden" });
        assert_eq!(answer(401, &refusal).outcome(Name::Web), "401 at web");
        let at_orders = said("web", Some(json!({ "status": 403, "body": refusal })));
        assert_eq!(answer(403, &at_orders).outcome(Name::Web), "403 at orders");
        let orders = said("orders", Some(json!({ "status": 403, "body": "" })));
        let at_payments = said("web", Some(json!({ "status": 403, "body": orders })));
        assert_eq!(answer(403, &at_payments).outcome(Name::Web), "403 at payments");
        assert_eq!(answer(403, &refusal).outcome(Name::Payments), "403 at payments");
    }

    #[test]
    fn an_outcome_names_the_services_that_answered() {
        assert_eq!(answer(200, &said("web", None)).outcome(Name::Web), "200 web");
        let next = json!({ "status": 200, "body": said("orders", None) });
        assert_eq!(answer(200, &said("web", Some(next))).outcome(Name::Web), "200 web > orders");
    }

    #[test]
    fn raw_answers_are_read_whole_and_in_chunks() {
        let plain =
            parse(b"HTTP/1.1 403 Forbidden\r\nX-A: b\r\ncontent-length: 2\r\n\r\nno").unwrap();
        assert_eq!((plain.status, plain.header("x-a"), &*plain.body), (403, Some("b"), "no"));
        let chunked = parse(
            b"HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n2\r\nab\r\n1\r\nc\r\n0\r\n\r\n",
        );
        assert_eq!(chunked.unwrap().body, "abc");
        assert!(parse(b"\x15\x03\x01").is_none());
    }
}
