//! The same rules told to engines in process.

use std::fmt::Write as _;
use std::time::Duration;

use hopgate::policy::{
    Casbin, CasbinField, Credentials, EngineAnswer, InputParts, Rego, RequestInput,
};

use crate::request::Asking;

const MODEL: &str = "[request_definition]\nr = sub, obj, act\n[policy_definition]\np = sub, obj, act\n\
    [policy_effect]\ne = some(where (p.eft == allow))\n\
    [matchers]\nm = r.sub == p.sub && keyMatch2(r.obj, p.obj) && r.act == p.act\n";

/// As many rules as `count`, of which one admits the request, each a body of the same rule.
pub fn rego(count: usize) -> Rego {
    let mut text = String::from("package envoy.authz\nimport rego.v1\ndefault allow := false\n");
    for number in 0..count {
        let name = if number == count / 2 { "orders".to_owned() } else { format!("s{number}") };
        writeln!(
            text,
            "allow if {{\n  input.hopgate.peer.id == \"spiffe://demo.mesh/ns/shop/sa/web\"\n\
             \x20 input.attributes.request.http.method == \"GET\"\n  input.parsed_path[0] == \"customers\"\n\
             \x20 input.parsed_path[2] == \"{name}\"\n\
             \x20 some role in input.hopgate.user.roles\n  role in {{\"customer\", \"r{number}\"}}\n}}"
        )
        .unwrap();
    }
    let files = [("bench.rego".to_owned(), text.as_bytes())];
    Rego::compile((&files, &[]), ("envoy/authz/allow", Duration::from_secs(1))).unwrap()
}

/// With the input made anew, as for each request.
pub fn ask_rego(rego: &Rego, asking: &Asking) {
    let facts = asking.facts();
    let parts = InputParts {
        source: Default::default(),
        destination: Default::default(),
        http: Some(RequestInput {
            target: "/customers/alice/orders/7",
            authority: "orders.shop",
            scheme: "https",
            protocol: "HTTP/2",
            headers: &[],
            body: "",
        }),
        context_extensions: &[],
        hidden: Default::default(),
    };
    let input = parts.whole(&facts, Credentials::Strip).unwrap();
    assert_eq!(rego.judge(&input, facts.now), EngineAnswer::Yes);
}

/// As many lines, of which one admits the request.
pub fn casbin(count: usize) -> Casbin {
    let mut lines = String::new();
    for number in 0..count {
        let name = if number == count / 2 { "orders".to_owned() } else { format!("s{number}") };
        writeln!(lines, "p, alice, /customers/:customer/{name}/:id, GET").unwrap();
    }
    let fields = ["user.sub", "request.path", "request.method"];
    let fields = fields.map(|name| CasbinField::named(name).expect(name));
    Casbin::compile(("model.conf", MODEL.as_bytes()), ("policy.csv", lines.as_bytes()), &fields)
        .unwrap()
}

pub fn ask_casbin(casbin: &Casbin, asking: &Asking) {
    assert_eq!(casbin.judge(&asking.facts()), EngineAnswer::Yes);
}
