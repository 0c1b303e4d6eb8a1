use super::*;

#[test]
fn hosts_are_normalised_or_refused() {
    for (authority, host) in [
        ("orders.shop", "orders.shop"),
        ("Orders.Shop.:8080", "orders.shop"),
        ("[::1]:80", "::1"),
        ("[2001:DB8:0:0::1]", "2001:db8::1"),
        ("127.0.0.1:8080", "127.0.0.1"),
        ("127.0.0.1.", "127.0.0.1"),
        ("1.2.3.example", "1.2.3.example"),
        ("my_service.ns-2", "my_service.ns-2"),
    ] {
        assert_eq!(normalise_host(authority).unwrap(), host);
    }
    for bad in [
        "",
        "a,b",
        "u@h",
        "h:",
        "h:x",
        "h:99999",
        "h h",
        "[::1",
        "h:80:80",
        "h/..",
        "h\u{e9}",
        ".",
        "h..",
        "a..b",
        ".h",
        "..",
        "[]",
        "[]:80",
        "[1]",
        "[.]",
        "[1.2.3.4]",
        "[::1%25eth0]",
        "[::1].",
        "127.1",
        "0x7f.1",
        "0x7F000001",
        "1.2.3.4.5",
        "2130706433",
        "0177.0.0.1",
        "127.0.0.01",
        "256.1.1.1",
        "a.0x",
        "a.1",
    ] {
        assert_eq!(normalise_host(bad), Err(Malformed::Authority), "{bad}");
    }
}

#[test]
fn a_method_is_written_in_upper_case() {
    let read = |method| {
        let http = Http { method, host: "h", path: "/", ..Http::default() };
        HttpRequest::parse(http, &Interesting::default(), &MeshPolicySpec::absent())
            .map(|request| request.method)
    };
    for method in ["GET", "DELETE", "M-SEARCH", "VERSION-CONTROL", "X_1"] {
        assert_eq!(read(method).unwrap(), method);
    }
    for method in ["", "GET ", "GET,POST", "G\u{c9}T"] {
        assert_eq!(read(method).unwrap_err(), Malformed::Method, "{method}");
    }
    for method in ["get", "Get", "gET", "deLETE", "M-search"] {
        assert_eq!(read(method).unwrap_err(), Malformed::LowerCaseMethod, "{method}");
    }
}

type Switch = fn(&mut crate::policy::Normalisation);

/// What a GET of `/a` at `h` with these headers comes to, under a mesh with this switch.
fn read(headers: &[(&str, &str)], switch: Option<Switch>) -> Result<(), &'static str> {
    let lines = headers.iter().map(|(name, value)| (*name, value.as_bytes())).collect();
    read_http(Http { headers: lines, ..get() }, switch)
}

fn get() -> Http<'static> {
    Http { method: "GET", host: "h", path: "/a?b", ..Http::default() }
}

fn read_http(http: Http<'_>, switch: Option<Switch>) -> Result<(), &'static str> {
    let mut mesh = MeshPolicySpec::absent();
    if let Some(switch) = switch {
        switch(&mut mesh.normalisation);
    }
    let found = Interesting::among(&http.headers);
    HttpRequest::parse(http, &found, &mesh).map(|_| ()).map_err(Malformed::code)
}

const UNDECIDABLE: Option<Switch> =
    Some(|n| n.duplicate_headers = DuplicateHeaders::AcceptUndecidable);
const TWINS: Option<Switch> = Some(|n| n.underscore_headers = UnderscoreHeaders::AcceptAsTwins);
const IGNORED: Option<Switch> = Some(|n| n.override_headers = OverrideHeaders::AcceptIgnored);
const AS_WRITTEN: Option<Switch> =
    Some(|n| n.lower_case_methods = LowerCaseMethods::AcceptAsWritten);
const UPPER: Option<Switch> = Some(|n| n.lower_case_methods = LowerCaseMethods::AcceptAsUpperCase);

#[test]
fn a_header_of_which_there_may_be_one_comes_once() {
    let refused = Err("request_duplicate_header");
    for (name, value) in [
        ("content-type", "application/json"),
        ("content-range", "bytes 0-1/2"),
        ("origin", "https://a.example"),
        ("access-control-request-method", "DELETE"),
        ("max-forwards", "1"),
        ("sec-fetch-site", "same-origin"),
        ("sec-websocket-key", "x3JJHMbDL1EzLkh9GBhXDw=="),
        ("x-envoy-auth-partial-body", "false"),
        ("cookie", "a=1"),
        ("date", "Tue, 15 Nov 1994 08:12:31 GMT"),
        ("from", "a@b.example"),
        ("if-modified-since", "Tue, 15 Nov 1994 08:12:31 GMT"),
        ("if-unmodified-since", "Tue, 15 Nov 1994 08:12:31 GMT"),
        ("if-range", "\"a,b\""),
        ("referer", "https://a.example/?a,b"),
        ("content-disposition", "inline"),
        ("content-location", "/a,b"),
    ] {
        assert_eq!(read(&[(name, value)], None), Ok(()), "{name}");
        assert_eq!(read(&[(name, value), ("a", "1"), (name, value)], None), refused, "{name}");
        assert_eq!(read(&[(name, value), (name, value)], UNDECIDABLE), Ok(()), "{name}");
    }
    // One line that Envoy made of two.
    for name in ["content-type", "origin", "sec-fetch-site"] {
        assert_eq!(read(&[(name, "a,b")], None), refused, "{name}");
        assert_eq!(read(&[(name, "a,b")], UNDECIDABLE), Ok(()), "{name}");
    }
    // Where a request ends, and whose it is, is never left open.
    for (name, value) in [("host", "h"), ("content-length", "1"), ("transfer-encoding", "chunked")]
    {
        assert_eq!(read(&[(name, value)], None), Ok(()), "{name}");
        for switch in [None, UNDECIDABLE] {
            assert_eq!(read(&[(name, value), (name, value)], switch), refused, "{name}");
            let both = [(name, value), ("date", "a"), (name, value), ("date", "a")];
            assert_eq!(read(&both, switch), refused, "{name}");
        }
    }
    assert_eq!(read(&[("content-length", "1,1")], UNDECIDABLE), refused);
    // Any other may come again.
    assert_eq!(read(&[("accept", "a"), ("accept", "b"), ("x-a", "1"), ("x-a", "2")], None), Ok(()));
}

#[test]
fn a_request_names_one_authority() {
    let refused = Err("request_mixed_authority");
    assert_eq!(read(&[("host", "h"), (":authority", "h")], None), Ok(()));
    assert_eq!(read(&[("host", "evil")], None), refused);
    assert_eq!(read(&[("host", "H")], None), refused);
    assert_eq!(read(&[("host", "")], None), refused);
    assert_eq!(read(&[(":authority", "evil")], None), Err("request_pseudo_header"));
    for path in ["http://h/a", "https://evil/a", "HTTP://evil/a?b"] {
        assert_eq!(read_http(Http { path, ..get() }, None), refused, "{path}");
    }
    for path in ["*", "h:443", "://h/a"] {
        assert_eq!(read_http(Http { path, ..get() }, None), Err("path_not_absolute"), "{path}");
    }
    assert_eq!(read_http(Http { path: "/http://h/a", ..get() }, None), Err("path_empty_segment"));
    assert_eq!(read_http(Http { path: "/a?b=http://h/a", ..get() }, None), Ok(()));
}

#[test]
fn lower_case_methods_are_judged_as_the_mesh_says() {
    let method = |method, switch: Option<Switch>| {
        let mut mesh = MeshPolicySpec::absent();
        if let Some(switch) = switch {
            switch(&mut mesh.normalisation);
        }
        let http = Http { method, ..get() };
        let request = HttpRequest::parse(http, &Interesting::default(), &mesh);
        let request = request.map_err(Malformed::code)?;
        // A proof of possession was made for the method as it was sent.
        assert_eq!(request.evidence().method, method);
        Ok(request.method.into_owned())
    };
    assert_eq!(method("DELETE", None).as_deref(), Ok("DELETE"));
    assert_eq!(method("delete", None), Err("request_method_lower_case"));
    assert_eq!(method("delete", AS_WRITTEN).as_deref(), Ok("delete"));
    assert_eq!(method("DeLeTe", UPPER).as_deref(), Ok("DELETE"));
    for switch in [None, AS_WRITTEN, UPPER] {
        assert_eq!(method("de lete", switch), Err("request_method"));
        assert_eq!(method("", switch), Err("request_method"));
    }
}

#[test]
fn a_header_that_overrides_says_what_the_request_says() {
    for (name, same, other) in [
        ("x-http-method-override", "GET", "DELETE"),
        ("x-http-method", "GET", "get"),
        ("x-method-override", "GET", ""),
        ("x-original-url", "/a?b", "/admin"),
        ("x-rewrite-url", "http://h/a?b", "http://h/admin"),
        ("x-http-host-override", "H", "h:1"),
    ] {
        assert_eq!(read(&[(name, same)], None), Ok(()), "{name}");
        assert_eq!(read(&[(name, other)], None), Err("request_override"), "{name}");
        let twice = [(name, same), (name, other)];
        assert_eq!(read(&twice, None), Err("request_override"), "{name}");
        assert_eq!(read(&[(name, other)], IGNORED), Ok(()), "{name}");
        let twin = name.replacen('-', "_", 1);
        assert_eq!(read(&[(&twin, other)], TWINS), Err("request_override"), "{twin}");
    }
}

#[test]
fn an_underscore_makes_a_header_a_twin_or_the_request_refused() {
    for name in ["x_tenant", "_", "x-hopgate_user", "content_type"] {
        let line = [(name, "a")];
        assert_eq!(read(&line, None), Err("request_underscore_header"), "{name}");
        assert_eq!(read(&line, TWINS), Ok(()), "{name}");
    }
    assert_eq!(read(&[("x-tenant", "a_b")], None), Ok(()));
}

#[test]
fn header_lines_are_counted_and_named_in_lower_case() {
    let lines = |count: usize| -> Vec<(&str, &str)> { vec![("x-a", "1"); count] };
    let most = MeshPolicySpec::absent().limits.header_lines;
    assert_eq!(read(&lines(most), None), Ok(()));
    assert_eq!(read(&lines(most + 1), None), Err("request_too_many_headers"));
    for name in ["X-Tenant", "x-tenanT", ""] {
        assert_eq!(read(&[(name, "a")], None), Err("request_headers"), "{name}");
    }
}

#[test]
fn every_class_has_a_code_of_its_own_and_a_switch() {
    use crate::authz::{Ambiguity, AmbiguousPath};
    let path = [
        AmbiguousPath::EncodedSeparator,
        AmbiguousPath::DotSegment,
        AmbiguousPath::EmptySegment,
        AmbiguousPath::Backslash,
        AmbiguousPath::Semicolon,
        AmbiguousPath::DoubleEncoded,
        AmbiguousPath::ControlCharacter,
        AmbiguousPath::NotText,
    ];
    let rest = [
        Malformed::DuplicateHeader,
        Malformed::MixedAuthority,
        Malformed::LowerCaseMethod,
        Malformed::Override,
        Malformed::UnderscoreHeader,
    ];
    let all: Vec<Malformed> = path.into_iter().map(Malformed::Path).chain(rest).collect();
    let classes: Vec<Ambiguity> = all.iter().filter_map(|one| one.ambiguity()).collect();
    assert_eq!(classes, Ambiguity::ALL);
    let codes: std::collections::BTreeSet<&str> = all.iter().map(|one| one.code()).collect();
    assert_eq!(codes.len(), Ambiguity::ALL.len());
    // The labels of the metric are the switches of the resource.
    let switches = MeshPolicySpec::absent().to_json()["normalisation"].clone();
    let switches: Vec<String> = switches.as_object().unwrap().keys().cloned().collect();
    assert_eq!(switches, Ambiguity::ALL.map(Ambiguity::switch));
}

#[test]
fn both_ends_of_the_connection_are_told() {
    use crate::policy::{Forwarded, TrustedHops};
    use crate::proto::check::Peer;
    let peer = |address, port| Peer {
        address: Some(Address::Socket { address, port }),
        ..Peer::default()
    };
    let mut mesh = MeshPolicySpec::absent();
    mesh.trusted_hops = TrustedHops::Count(std::num::NonZeroU8::MIN);
    let check = |source, port, sni| Check {
        source: Some(peer(source, Some(4000))),
        destination: Some(peer("10.0.0.2", port)),
        sni,
        http: Some(Http { headers: vec![("x-forwarded-for", b"203.0.113.7")], ..get() }),
        has_attributes: true,
        ..Check::default()
    };
    let connection = |check| Request::read(check, &mesh).1.unwrap().connection;
    let read = connection(check("::ffff:10.0.0.1", Some(8443), Some("orders.shop")));
    assert_eq!(read.source, Some("10.0.0.1".parse().unwrap()));
    assert_eq!(read.forwarded, Forwarded::Known("203.0.113.7".parse().unwrap()));
    assert_eq!(read.port, Some(8443));
    assert_eq!(read.sni, Some("orders.shop"));
    // Envoy sends an empty server name on plaintext, and a port number that is none is none.
    let read = connection(check("/run/a.sock", Some(70_000), Some("")));
    assert_eq!((read.source, read.port, read.sni), (None, None, None));
}
