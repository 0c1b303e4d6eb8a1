//! The fields of a rule that speak of the request: facts that match, that do not, and that leave it unknown.

use super::fields::{differs, matches, unknown};
use super::*;

#[test]
fn hosts_ports_and_names() {
    let request = Request::new("GET", "/a");
    let facts = |host: &'static str, port, sni| {
        let facts = request.facts(None, None);
        let target = facts.request.map(|request| RequestFacts { host, ..request });
        Facts {
            request: target,
            connection: Connection { port, sni, ..Connection::default() },
            ..facts
        }
    };
    let shop = facts("shop.example", Some(8080), Some("DB.shop.example"));
    let below = facts("a.b.shop.example", Some(1), None);
    matches("requests: [{ hosts: [shop.example] }]", &shop);
    assert_eq!(differs("requests: [{ hosts: [shop.example] }]", &below), Difference::Host);
    matches("requests: [{ hosts: [\"*.shop.example\"] }]", &below);
    for host in ["shop.example", "evilshop.example", "shop.example.evil"] {
        let other = facts(host, Some(1), None);
        assert_eq!(
            differs("requests: [{ hosts: [\"*.shop.example\"] }]", &other),
            Difference::Host
        );
        matches("notRequests: [{ hosts: [\"*.shop.example\"] }]", &other);
    }
    matches("requests: [{ ports: [80, 8080] }]", &shop);
    assert_eq!(differs("requests: [{ ports: [80, 8080] }]", &below), Difference::Port);
    let untold = facts("shop.example", None, None);
    assert_eq!(unknown("requests: [{ ports: [80] }]", &untold), UndecidableReason::NoPort);
    matches("requests: [{ sni: [db.shop.example] }]", &shop);
    assert_eq!(differs("requests: [{ sni: [db.shop.example] }]", &below), Difference::Sni);
    // A bare connection has a port and a server name, and nothing of HTTP.
    let connection = Facts {
        connection: Connection {
            port: Some(5432),
            sni: Some("db.shop.example"),
            ..Connection::default()
        },
        ..Facts::at(now())
    };
    matches("requests: [{ ports: [5432] }]", &connection);
    matches("requests: [{ sni: [\"*.shop.example\"], ports: [5432] }]", &connection);
    for part in
        ["hosts: [db.shop.example]", "methods: [GET]", "paths: [\"/**\"]", "headers: { x-a: [b] }"]
    {
        let part = format!("requests: [{{ {part}, ports: [5432] }}]");
        assert_eq!(differs(&part, &connection), Difference::Connection);
    }
}

#[test]
fn methods_paths_and_grpc() {
    let get = Request::new("GET", "/admin/users");
    let facts = get.facts(None, None);
    matches("requests: [{ methods: [GET], paths: [\"/admin/{x}\"] }]", &facts);
    assert_eq!(
        differs("requests: [{ methods: [HEAD], paths: [\"/admin/{x}\"] }]", &facts),
        Difference::Method
    );
    assert_eq!(differs("requests: [{ paths: [\"/admin\"] }]", &facts), Difference::Path);
    let call = Request::new("POST", "/shop.Orders/Get");
    let call = call.facts(None, None);
    matches("requests: [{ grpc: [shop.Orders/Get] }]", &call);
    matches("requests: [{ grpc: [\"shop.Orders/*\"] }]", &call);
    assert_eq!(differs("requests: [{ grpc: [shop.Orders/Put] }]", &call), Difference::Path);
    let get = Request::new("GET", "/shop.Orders/Get");
    assert_eq!(
        differs("requests: [{ grpc: [shop.Orders/Get] }]", &get.facts(None, None)),
        Difference::Method
    );
}

#[test]
fn a_slash_at_the_end_neither_widens_an_allow_nor_narrows_a_deny() {
    let decide = |effect: &str, part: &str, path: &str| {
        let set = compile(&[format!("{{ name: r, {effect}: {{ {part} }} }}")]);
        let request = Request::new("GET", path);
        let facts = request.facts(None, None);
        let matched = set.examine(&facts).remove(0).fate == Fate::Matched;
        match set.decide(&facts) {
            Decision::Allow(_) | Decision::Deny(_) => assert!(matched),
            _ => assert!(!matched),
        }
        matched
    };
    let named = "requests: [{ paths: [/admin] }]";
    assert!(decide("deny", named, "/admin") && decide("deny", named, "/admin/"));
    assert!(decide("allow", named, "/admin") && !decide("allow", named, "/admin/"));
    let but = "requests: [{ methods: [GET] }], notRequests: [{ paths: [/admin] }]";
    assert!(!decide("allow", but, "/admin") && !decide("allow", but, "/admin/"));
    assert!(!decide("deny", but, "/admin") && decide("deny", but, "/admin/"));
    let slash = "requests: [{ paths: [/admin/] }]";
    assert!(decide("deny", slash, "/admin") && decide("deny", slash, "/admin/"));
    let but = "requests: [{ methods: [GET] }], notRequests: [{ paths: [\"/admin/\", \"/x/**\"] }]";
    assert!(
        !decide("allow", but, "/admin") && !decide("allow", but, "/x") && decide("allow", but, "/")
    );
}

#[test]
fn headers_and_query() {
    let request =
        Request::new("GET", "/a").header("x-tenant", &["acme"]).header("x-twice", &["a", "b"]);
    let facts = request.facts(None, None);
    matches("requests: [{ headers: { x-tenant: [globex, acme] } }]", &facts);
    assert_eq!(
        differs("requests: [{ headers: { x-tenant: [globex] } }]", &facts),
        Difference::Header
    );
    assert_eq!(differs("requests: [{ headers: { x-absent: [a] } }]", &facts), Difference::Header);
    for part in ["requests", "notRequests"] {
        assert_eq!(
            unknown(&format!("{part}: [{{ headers: {{ x-twice: [a] }} }}]"), &facts),
            UndecidableReason::HeaderRepeated("x-twice".into())
        );
    }
    matches("notRequests: [{ headers: { x-absent: [a] } }]", &facts);
    matches("requests: [{ query: { page: [\"2\"] } }]", &facts);
    assert_eq!(differs("requests: [{ query: { page: [\"3\"] } }]", &facts), Difference::Query);
    assert_eq!(differs("requests: [{ query: { other: [\"2\"] } }]", &facts), Difference::Query);
    let twice =
        facts.request.map(|request| RequestFacts { query: Some("page=1&page=2"), ..request });
    let twice = Facts { request: twice, ..facts };
    assert_eq!(
        unknown("requests: [{ query: { page: [\"2\"] } }]", &twice),
        UndecidableReason::QueryAmbiguous("page".into())
    );
}

struct Call(RpcFacts<'static>);

impl Body for Call {
    fn value(&self) -> BodyFacts<'_> {
        BodyFacts::Absent
    }

    fn rpc(&self) -> RpcFacts<'_> {
        self.0
    }
}

#[test]
fn json_rpc_calls() {
    let request = Request::new("POST", "/mcp");
    let search = Call(RpcFacts::Call { method: "tools/call", tool: Some("search") });
    let list = Call(RpcFacts::Call { method: "tools/list", tool: None });
    let facts = |body: &'static Call| {
        let facts = request.facts(None, None);
        Facts { request: facts.request.map(|request| RequestFacts { body, ..request }), ..facts }
    };
    let (search, list) = (facts(Box::leak(Box::new(search))), facts(Box::leak(Box::new(list))));
    matches("requests: [{ rpc: [{ tool: search }] }]", &search);
    matches("requests: [{ rpc: [{ method: tools/call, tool: search }] }]", &search);
    assert_eq!(differs("requests: [{ rpc: [{ tool: delete }] }]", &search), Difference::Rpc);
    matches("requests: [{ rpc: [{ method: tools/list }] }]", &list);
    assert_eq!(differs("requests: [{ rpc: [{ method: tools/call }] }]", &list), Difference::Rpc);
    let none = request.facts(None, None);
    for part in ["requests", "notRequests"] {
        assert_eq!(
            unknown(&format!("{part}: [{{ rpc: [{{ tool: search }}] }}]"), &none),
            UndecidableReason::BodyUnreadable("there is no body")
        );
    }
}
