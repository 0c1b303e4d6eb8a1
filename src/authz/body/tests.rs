use serde_json::json;

use super::*;
use crate::authz::headers::Interesting;
use crate::policy::MeshPolicySpec;
use crate::proto::check::{HeaderForm, Http};

const JSON: (&str, &str) = ("content-type", "application/json");
const WHOLE: (&str, &str) = (PARTIAL, "false");

/// What is known of a body, owned.
#[derive(Debug, PartialEq)]
enum Known {
    Absent,
    Truncated,
    Unreadable(&'static str),
    Value(Value),
}

fn ask(headers: &[(&str, &str)], body: Buffered<'_>, descriptors: Option<&Descriptors>) -> Known {
    let lines = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    ask_http(Http { headers: lines, ..with(body) }, descriptors, |body| match body.value() {
        BodyFacts::Absent => Known::Absent,
        BodyFacts::Truncated => Known::Truncated,
        BodyFacts::Unreadable(why) => Known::Unreadable(why),
        BodyFacts::Value(value) => Known::Value(value.clone()),
    })
}

fn with(Buffered { raw, text, size }: Buffered<'_>) -> Http<'_> {
    let path = "/shop.Orders/Place";
    Http { method: "POST", host: "h", path, raw_body: raw, body: text, size, ..Http::default() }
}

fn ask_http<T>(
    http: Http<'_>,
    descriptors: Option<&Descriptors>,
    question: impl Fn(&dyn Body) -> T,
) -> T {
    let mut mesh = MeshPolicySpec::absent();
    mesh.limits.body_bytes = 100;
    mesh.normalisation.duplicate_headers = crate::policy::DuplicateHeaders::AcceptUndecidable;
    mesh.normalisation.underscore_headers = crate::policy::UnderscoreHeaders::AcceptAsTwins;
    let found = Interesting::among(&http.headers);
    let request = HttpRequest::parse(http, &found, &mesh).unwrap();
    question(&LazyBody::new(&request, descriptors, &mesh.limits))
}

fn bytes(raw: &[u8]) -> Buffered<'_> {
    Buffered { raw, ..Buffered::default() }
}

#[test]
fn only_a_body_that_surely_came_whole_is_read() {
    let whole = Known::Value(json!({ "a": 1 }));
    let body = bytes(br#"{"a":1}"#);
    for (headers, expected) in [
        (vec![JSON, WHOLE], Known::Value(json!({ "a": 1 }))),
        (vec![JSON, WHOLE, ("content-length", "7")], Known::Value(json!({ "a": 1 }))),
        (vec![JSON, (PARTIAL, "true")], Known::Truncated),
        (vec![JSON, (PARTIAL, "False")], Known::Truncated),
        (vec![JSON, (PARTIAL, "")], Known::Truncated),
        // Envoy hides a client's own; should both come, in either order, the client's is not believed.
        (vec![JSON, WHOLE, (PARTIAL, "true")], Known::Truncated),
        (vec![JSON, (PARTIAL, "true"), WHOLE], Known::Truncated),
        (vec![JSON, WHOLE, WHOLE], Known::Truncated),
        (vec![JSON, (PARTIAL, "false,true")], Known::Truncated),
        (vec![JSON, WHOLE, ("x_envoy_auth_partial_body", "true")], Known::Truncated),
        (vec![JSON, ("x_envoy_auth_partial_body", "false")], Known::Truncated),
        (vec![JSON], Known::Unreadable(NOT_TOLD)),
        (vec![JSON, WHOLE, ("content-length", "8")], Known::Truncated),
        (vec![JSON, WHOLE, ("content-length", "6")], Known::Truncated),
        (vec![JSON, WHOLE, ("content-length", "+7")], Known::Truncated),
        (vec![JSON, WHOLE, ("content-length", "")], Known::Truncated),
        (
            vec![JSON, WHOLE, ("content-encoding", "gzip")],
            Known::Unreadable("the body is compressed"),
        ),
        (vec![WHOLE], Known::Unreadable("the body has no content-type")),
    ] {
        assert_eq!(ask(&headers, body, None), expected, "{headers:?}");
    }
    for (size, expected) in [
        (0, &whole),
        (7, &whole),
        (8, &Known::Truncated),
        (6, &Known::Truncated),
        (-1, &Known::Truncated),
        (i64::MAX, &Known::Truncated),
    ] {
        assert_eq!(ask(&[JSON, WHOLE], Buffered { size, ..body }, None), *expected, "{size}");
    }
    let text = Buffered { text: r#"{"a":1}"#, ..Buffered::default() };
    assert_eq!(ask(&[JSON, WHOLE], text, None), Known::Unreadable(AS_TEXT));
    let long = format!("\"{}\"", "a".repeat(100));
    assert_eq!(ask(&[JSON, WHOLE], bytes(long.as_bytes()), None), Known::Unreadable(TOO_LARGE));
}

#[test]
fn no_body_is_absent_and_one_that_was_not_handed_on_is_none() {
    let nothing = Buffered::default();
    assert_eq!(ask(&[], nothing, None), Known::Absent);
    assert_eq!(ask(&[WHOLE], nothing, None), Known::Absent);
    assert_eq!(ask(&[JSON, ("content-length", "0")], nothing, None), Known::Absent);
    // One that is there, and that the proxy was not told to hand on.
    assert_eq!(ask(&[JSON, ("content-length", "7")], nothing, None), Known::Truncated);
    assert_eq!(ask(&[JSON, ("transfer-encoding", "chunked")], nothing, None), Known::Truncated);
    // A client that says that its own body is whole and empty.
    assert_eq!(ask(&[JSON, WHOLE, ("content-length", "7")], nothing, None), Known::Truncated);
    assert_eq!(ask(&[JSON, (PARTIAL, "true")], nothing, None), Known::Truncated);
}

#[test]
fn a_body_is_read_by_its_content_type() {
    for (media, body, expected) in [
        ("application/json; charset=UTF-8", "[1]", Known::Value(json!([1]))),
        ("application/problem+json", "{}", Known::Value(json!({}))),
        ("APPLICATION/JSON", "null", Known::Value(Value::Null)),
        ("application/x-www-form-urlencoded", "a=1", Known::Value(json!({ "a": "1" }))),
        ("multipart/form-data; boundary=B", "--B--", Known::Value(json!({}))),
        (
            "application/json; charset=utf-16",
            "{}",
            Known::Unreadable("the body is in another character set than UTF-8"),
        ),
        ("application/json, text/plain", "{}", Known::Unreadable("the content-type is unreadable")),
        ("application/json; charset", "{}", Known::Unreadable("the content-type is unreadable")),
        ("text/plain", "{}", Known::Unreadable("a body of this content-type is not read")),
        ("application/jsonp", "{}", Known::Unreadable("a body of this content-type is not read")),
        (
            "application/grpc-web+proto",
            "{}",
            Known::Unreadable("a body of this content-type is not read"),
        ),
        ("application/grpc", "{}", Known::Unreadable("there are no extAuthz.grpcDescriptors")),
        ("application/json", "{\"a\":", Known::Unreadable("the body is not JSON")),
    ] {
        let known = ask(&[("content-type", media), WHOLE], bytes(body.as_bytes()), None);
        assert_eq!(known, expected, "{media}");
    }
}

#[test]
fn a_joined_header_of_two_lines_is_no_content_type() {
    let headers =
        vec![("content-type", &b"application/json,application/json"[..]), (PARTIAL, b"false")];
    let http = Http { headers, header_form: HeaderForm::Joined, ..with(bytes(b"{}")) };
    let readable = ask_http(http, None, |body| matches!(body.value(), BodyFacts::Value(_)));
    assert!(!readable);
}

#[test]
fn a_call_is_read_from_json_alone() {
    let rpc = |media: &'static str, raw: &'static [u8]| {
        let headers = vec![("content-type", media.as_bytes()), (PARTIAL, b"false")];
        ask_http(Http { headers, ..with(bytes(raw)) }, None, |body| match body.rpc() {
            RpcFacts::Call { method, tool } => Ok((method.to_owned(), tool.map(str::to_owned))),
            RpcFacts::Unreadable(why) => Err(why),
        })
    };
    let call = br#"{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"search"}}"#;
    let expected = ("tools/call".to_owned(), Some("search".to_owned()));
    assert_eq!(rpc("application/json", call), Ok(expected));
    let batch = br#"[{"jsonrpc":"2.0","id":1,"method":"tools/list"}]"#;
    assert_eq!(rpc("application/json", batch), Err("a batch of calls cannot be judged as one"));
    let twice = br#"{"jsonrpc":"2.0","method":"tools/list","method":"tools/call"}"#;
    assert_eq!(rpc("application/json", twice), Err("the body names a member twice"));
    let form = b"jsonrpc=2.0&method=tools/list";
    assert_eq!(rpc("application/x-www-form-urlencoded", form), Err("the body is not JSON"));
    assert_eq!(rpc("application/json", b""), Err("there is no body"));
}
