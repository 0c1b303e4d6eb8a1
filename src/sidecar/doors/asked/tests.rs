use super::*;

fn door(yaml: &str) -> DoorConfig {
    crate::policy::yaml::parse_one("door.yaml", yaml).unwrap()
}

fn nginx() -> DoorConfig {
    door("{ name: a, proxy: Nginx, listen: ['unix:a'], port: 443 }")
}

fn parts(method: &str, target: &str, headers: &[(&str, &str)]) -> Parts {
    let mut request = http::Request::builder().method(method).uri(target);
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    request.body(()).unwrap().into_parts().0
}

fn read<'r>(door: &'r DoorConfig, parts: &'r Parts) -> Result<Check<'r>, DoorFault> {
    Asked { door, parts, body: b"" }.check()
}

const GOOD: [(&str, &str); 4] = [
    ("host", "shop.example"),
    ("x-original-method", "DELETE"),
    ("x-original-uri", "/orders/7?a=%2e"),
    ("x-forwarded-for", "10.0.0.1, 203.0.113.9"),
];

#[test]
fn nginx_names_the_request_in_headers() {
    let (door, parts) = (nginx(), parts("GET", "/check", &GOOD));
    let check = read(&door, &parts).unwrap();
    let source = check.source.unwrap().address;
    assert_eq!(source, Some(Address::Socket { address: "203.0.113.9", port: None }));
    let destination = check.destination.unwrap().address;
    assert_eq!(destination, Some(Address::Socket { address: "", port: Some(443) }));
    let http = check.http.unwrap();
    assert_eq!((http.method, http.path), ("DELETE", "/orders/7?a=%2e"));
    assert_eq!((http.host, http.header_form), ("shop.example", HeaderForm::Lines));
    let names: Vec<&str> = http.headers.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, [":method", ":path", ":authority", "x-forwarded-for"]);
}

#[test]
fn what_is_missing_or_comes_twice_is_refused_by_name() {
    let door = nginx();
    for name in ["host", "x-original-method", "x-original-uri", "x-forwarded-for"] {
        let without: Vec<_> = GOOD.into_iter().filter(|(header, _)| *header != name).collect();
        let request = parts("GET", "/orders/7", &without);
        assert_eq!(read(&door, &request).unwrap_err(), DoorFault::Missing(name));
        let value = GOOD.iter().find(|(header, _)| *header == name).unwrap().1;
        let mut twice = GOOD.to_vec();
        twice.push((name, value));
        let request = parts("GET", "/", &twice);
        assert_eq!(read(&door, &request).unwrap_err(), DoorFault::Repeated(name));
        let mut empty = without;
        empty.push((name, ""));
        let request = parts("GET", "/", &empty);
        assert_eq!(read(&door, &request).unwrap_err(), DoorFault::Unreadable(name));
    }
    for client in
        ["unknown", "10.0.0.1,", "1.2.3.4:80", "[::1]", "fe80::1%eth0", "unix:", "1.2.3.4 5"]
    {
        let mut headers = GOOD;
        headers[3].1 = client;
        let request = parts("GET", "/", &headers);
        let fault = read(&door, &request).unwrap_err();
        assert_eq!(fault, DoorFault::Unreadable("x-forwarded-for"), "{client}");
    }
}

#[test]
fn each_proxy_is_read_in_its_own_headers_only() {
    let traefik = door("{ name: a, proxy: Traefik, listen: ['unix:a'] }");
    let request = parts("GET", "/orders/7", &GOOD);
    let fault = read(&traefik, &request).unwrap_err();
    assert_eq!(fault, DoorFault::Missing("x-forwarded-method"));
    let forwarded = [
        ("host", "hopgate:9002"),
        ("x-forwarded-method", "PUT"),
        ("x-forwarded-uri", "/a"),
        ("x-forwarded-host", "shop.example"),
        ("x-forwarded-for", "2001:db8::7"),
        ("x-original-uri", "/public"),
        ("x-envoy-auth-partial-body", "false"),
        ("x-tag", "1"),
        ("x-tag", "2"),
    ];
    let request = parts("GET", "/check", &forwarded);
    let http = read(&traefik, &request).unwrap().http.unwrap();
    assert_eq!((http.method, http.path, http.host), ("PUT", "/a", "shop.example"));
    let lines: Vec<_> = http.headers.iter().map(|(name, _)| *name).collect();
    assert!(lines.contains(&"x-original-uri"), "the client's own, which the application sees too");
    assert!(!lines.contains(&"x-envoy-auth-partial-body"), "{lines:?}");
    assert_eq!(lines.iter().filter(|name| **name == "x-tag").count(), 2);
    // The word of the client about a body is not believed; that it came is.
    let with_body = Asked { door: &traefik, parts: &request, body: b"{}" }.check().unwrap();
    let lines = with_body.http.unwrap().headers;
    let partial: Vec<_> =
        lines.iter().filter(|(name, _)| *name == "x-envoy-auth-partial-body").collect();
    assert_eq!(partial, [&("x-envoy-auth-partial-body", &b"false"[..])]);
    let fault = read(&nginx(), &request).unwrap_err();
    assert_eq!(fault, DoorFault::Missing("x-original-method"));
}

#[test]
fn envoy_asks_in_the_words_of_the_request() {
    let envoy = door("{ name: a, proxy: Envoy, listen: ['unix:a'], pathPrefix: /check }");
    let headers = [
        ("host", "shop.example"),
        ("x-hopgate-client-address", "203.0.113.9"),
        ("x-envoy-internal", "true"),
        ("x-envoy-expected-rq-timeout-ms", "1000"),
        ("content-length", "0"),
        ("x-tag", "1,2"),
    ];
    let request = parts("POST", "/check/orders?a=1", &headers);
    let check = Asked { door: &envoy, parts: &request, body: b"hello" }.check().unwrap();
    let http = check.http.unwrap();
    assert_eq!((http.method, http.path), ("POST", "/orders?a=1"));
    assert_eq!((http.header_form, http.raw_body), (HeaderForm::Joined, &b"hello"[..]));
    let names: Vec<&str> = http.headers.iter().map(|(name, _)| *name).collect();
    assert_eq!(names, [":method", ":path", ":authority", "x-tag"]);
    for target in ["/orders", "/checks", "/check", "/check?a", "/chec", "*", "http://x/check/a"] {
        let request = parts("GET", target, &headers);
        assert_eq!(read(&envoy, &request).unwrap_err(), DoorFault::Target, "{target}");
    }
    let nobody = parts("GET", "/check/a", &[("host", "shop.example")]);
    let fault = read(&envoy, &nobody).unwrap_err();
    assert_eq!(fault, DoorFault::Missing("x-hopgate-client-address"));
}
