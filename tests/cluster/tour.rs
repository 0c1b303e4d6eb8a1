//! The demo's tour in the cluster: the same things tried, under the names that the demo's report gives them.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::{STANDARD, URL_SAFE_NO_PAD};
use jsonwebtoken::{Algorithm, EncodingKey, Header};
use serde_json::{Value, json};
use tokio::process::Command;

use super::inside::{Pod, errors, run, text};
use super::load::Load;
use super::world::{ALICES, Answer, REFUND, World, claims, curl};
use crate::support::Scratch;

/// The steps of the demo's report, in its order.
pub const STEPS: [&str; 37] = [
    "a public page",
    "anonymous",
    "anonymous over gRPC",
    "own orders",
    "another's orders",
    "refund by a customer",
    "refund by support",
    "a machine without a role",
    "expired token",
    "wrong audience",
    "unsigned token",
    "HS/RS confusion",
    "forged signature",
    "unknown key",
    "altered claims",
    "garbage",
    "past orders",
    "an impostor service",
    "plaintext to the mTLS port",
    "no client certificate",
    "foreign certificate",
    "spoofed identity headers",
    "the same from inside",
    "a look-alike header",
    "a look-alike header",
    "credentials",
    "path with dots",
    "path with encoded dots",
    "path with encoded slashes",
    "a rule added",
    "the rule taken away",
    "a broken policy",
    "the typo mended",
    "certificates rotated",
    "a sidecar killed",
    "the sidecar restarted",
    "logs and decision logs",
];
const BOBS: &str = "/customers/bob/orders";
const ROUNDS: usize = 10;
const SETTLE: Duration = Duration::from_secs(60);

/// The rule that the tour adds, as a person would append it.
const SUPPORT_READS: &str = "
    - name: support-reads-all-orders
      allow:
        peers: [ns/shop/sa/web]
        users: { providers: [demo], roles: [support] }
        requests: [{ methods: [GET], paths: [\"/customers/{customer}/orders\"] }]
";
/// One letter too many.
const TYPO: &str = "
    - name: anybody-does-anything
      allow:
        users: {}
        requests: [{ methodz: [GET] }]
";

/// What was tried.
#[derive(Default)]
pub struct Steps {
    pub taken: usize,
    wrong: Vec<String>,
}

impl Steps {
    fn take(&mut self, name: &str, expected: &str, seen: &str) {
        self.check(name, expected, seen, expected == seen);
    }

    fn check(&mut self, name: &str, expected: &str, seen: &str, ok: bool) {
        assert_eq!(STEPS.get(self.taken), Some(&name), "the demo's tour goes another way");
        self.taken += 1;
        let line = format!("{} {name}: {seen}", if ok { "ok  " } else { "FAIL" });
        println!("{line}");
        if !ok {
            self.wrong.push(format!("{name}: expected `{expected}`, seen `{seen}`"));
        }
    }
}

/// Walks it, and panics if a step was not as it should be.
pub async fn walk(world: &World) {
    let mut steps = Steps::default();
    users(&mut steps, world).await;
    tokens(&mut steps, world).await;
    peers(&mut steps, world).await;
    headers(&mut steps, world).await;
    changes(&mut steps, world).await;
    faults(&mut steps, world).await;
    assert!(steps.wrong.is_empty(), "{:#?}", steps.wrong);
    assert_eq!(steps.taken, STEPS.len());
}

async fn users(steps: &mut Steps, world: &World) {
    let answer = world.ask("GET", "/", None, &[]).await;
    steps.take("a public page", "200 web", &answer.outcome("web"));

    let answer = world.ask("GET", ALICES, None, &[]).await;
    let challenge = answer.header("www-authenticate").unwrap_or("nothing");
    let asks = challenge.split(' ').next().unwrap();
    let seen = format!("{}, asks for {asks}", answer.outcome("web"));
    steps.take("anonymous", "401 at web, asks for Bearer", &seen);

    let grpc = ["-H", "content-type: application/grpc", "-H", "te: trailers"];
    let answer = world.ask("POST", REFUND, None, &grpc).await;
    let status = answer.header("grpc-status").unwrap_or("missing");
    let seen = format!("{} with grpc-status {status}", answer.status);
    steps.take("anonymous over gRPC", "200 with grpc-status 16", &seen);

    steps.take("own orders", "200 web > orders", &world.read("alice", ALICES).await);
    steps.take("another's orders", "403 at orders", &world.read("alice", BOBS).await);
    for (name, user, expected) in [
        ("refund by a customer", "alice", "403 at orders"),
        ("refund by support", "sue", "200 web > orders > payments"),
    ] {
        let token = world.token(user).await;
        let answer = world.ask("POST", REFUND, Some(&token), &[]).await;
        steps.take(name, expected, &answer.outcome("web"));
    }
    let seen = world.read("nightly-report", ALICES).await;
    steps.take("a machine without a role", "403 at web", &seen);
}

async fn tokens(steps: &mut Steps, world: &World) {
    let good = world.token("alice").await;
    let jwks = curl(&[&format!("http://{}/jwks", world.idp)]).await.unwrap();
    let jwks: Value = serde_json::from_str(&jwks.body).unwrap();
    let (key, kid) = (&jwks["keys"][0], jwks["keys"][0]["kid"].as_str().unwrap());
    let alice = claims(&good);
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());

    let none = json!({ "alg": "none", "typ": "at+jwt", "kid": kid });
    let confused = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::HS256) };
    let secret = EncodingKey::from_secret(public_pem(key).as_bytes());
    let own = own_key().await;
    let signed = |kid: &str| {
        let header = Header { kid: Some(kid.to_owned()), ..Header::new(Algorithm::RS256) };
        jsonwebtoken::encode(&header, &alice, &own).unwrap()
    };
    let bob = world.token("bob").await;
    let sue = claims(&world.token("sue").await);
    let [header, _, signature] = bob.split('.').collect::<Vec<_>>().try_into().unwrap();
    for (name, token) in [
        ("expired token", world.token_for("alice", "shop", -300).await),
        ("wrong audience", world.token_for("alice", "warehouse", 3600).await),
        ("unsigned token", format!("{}.{}.", part(&none), part(&alice))),
        ("HS/RS confusion", jsonwebtoken::encode(&confused, &alice, &secret).unwrap()),
        ("forged signature", signed(kid)),
        ("unknown key", signed("my-own")),
        ("altered claims", [header, &part(&sue), signature].join(".")),
        ("garbage", "not.a.token".to_owned()),
    ] {
        let answer = world.ask("GET", ALICES, Some(&token), &[]).await;
        let challenge = answer.header("www-authenticate").unwrap_or_default();
        let code = challenge.split_once("error=\"").and_then(|(_, rest)| rest.split('"').next());
        let seen = format!("{}, {}", answer.outcome("web"), code.unwrap_or("no error code"));
        steps.take(name, "401 at web, invalid_token", &seen);
    }
}

/// The provider's public key, which everybody knows, as PEM: SubjectPublicKeyInfo of RFC 8017 and RFC 5280.
fn public_pem(jwk: &Value) -> String {
    fn der(tag: u8, content: &[u8]) -> Vec<u8> {
        let length = content.len();
        let length = match u8::try_from(length) {
            Ok(short) if short < 128 => vec![short],
            Ok(_) | Err(_) => [&[0x82][..], &u16::try_from(length).unwrap().to_be_bytes()].concat(),
        };
        [&[tag][..], &length, content].concat()
    }
    let integer = |name: &str| {
        let bytes = URL_SAFE_NO_PAD.decode(jwk[name].as_str().unwrap()).unwrap();
        let positive = if bytes[0] < 128 { bytes } else { [&[0][..], &bytes].concat() };
        der(2, &positive)
    };
    let key = der(0x30, &[integer("n"), integer("e")].concat());
    let rsa = [6, 9, 0x2a, 0x86, 0x48, 0x86, 0xf7, 0x0d, 1, 1, 1, 5, 0];
    let info = [der(0x30, &rsa), der(3, &[&[0][..], &key].concat())].concat();
    let text = STANDARD.encode(der(0x30, &info));
    let lines = text.as_bytes().chunks(64).map(|line| std::str::from_utf8(line).unwrap());
    let body = lines.collect::<Vec<_>>().join("\n");
    format!("-----BEGIN PUBLIC KEY-----\n{body}\n-----END PUBLIC KEY-----\n")
}

/// A key that nobody should believe.
async fn own_key() -> EncodingKey {
    let mut command = Command::new("openssl");
    command.args(["genrsa", "2048"]);
    EncodingKey::from_rsa_pem(text(&run(command, "").await).as_bytes()).unwrap()
}

async fn peers(steps: &mut Steps, world: &World) {
    let (web, orders, payments) = (
        world.node.pod("web").await,
        world.node.pod("orders").await,
        world.node.pod("payments").await,
    );
    let sue = format!("authorization: Bearer {}", world.token("sue").await);
    let refund = |address: &str| format!("http://{address}/payments/1001/refund");

    let url = refund(&world.payments);
    let answer = world.asked_by(&web, &["-X", "POST", "-H", &sue, &url]).await.unwrap();
    steps.take("past orders", "403 at payments", &answer.outcome("payments"));

    // Somebody in the network takes over the address of orders: what is open to it ends, and what is new leads to payments.
    let to = format!("{}:8081", payments.ip());
    let rules = [
        format!(
            "-t nat CHANGE PREROUTING -d {} -p tcp --dport 8081 -j DNAT --to-destination {to}",
            orders.ip()
        ),
        format!(
            "CHANGE FORWARD -d {} -p tcp --dport 8081 -j REJECT --reject-with tcp-reset",
            orders.ip()
        ),
    ];
    for rule in &rules {
        iptables(&rule.replace("CHANGE", "-I")).await;
    }
    let before = (decisions(world, &payments).await, unknown_servers(world, &web).await);
    let url = refund(&world.orders);
    // The first may have gone to a connection that has just ended.
    let mut answers = Vec::new();
    for _ in 0..2 {
        answers.push(world.asked_by(&web, &["-X", "POST", "-H", &sue, &url]).await);
    }
    let after = (decisions(world, &payments).await, unknown_servers(world, &web).await);
    for rule in &rules {
        iptables(&rule.replace("CHANGE", "-D")).await;
    }
    let last = answers.last().unwrap().clone();
    let answered = answers.into_iter().any(|answer| !answer.unwrap().hops().is_empty());
    let last = last.unwrap();
    let asked = if !answered && before.0 == after.0 {
        "payments never asked"
    } else {
        "payments was asked"
    };
    assert!(
        after.1 > before.1,
        "another server's certificate was not what web's Envoy turned away"
    );
    let seen = format!("{}, {asked}", last.status);
    steps.take("an impostor service", "503, payments never asked", &seen);

    let port = format!("{}:8081", payments.ip());
    let seen = match curl(&[&format!("http://{port}/")]).await {
        Ok(answer) => format!("{} over plaintext", answer.status),
        Err(_) => "closed without an answer".to_owned(),
    };
    steps.take("plaintext to the mTLS port", "closed without an answer", &seen);

    let url = format!("https://{port}/");
    turned_away(steps, "no client certificate", curl(&[&url]).await);
    let foreign = Scratch::new("foreign");
    let (key, certificate) = (foreign.path().join("key.pem"), foreign.path().join("cert.pem"));
    let (key, certificate) = (key.to_str().unwrap(), certificate.to_str().unwrap());
    let mut command = Command::new("openssl");
    command.args(["req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", "/"]);
    command.args(["-addext", "subjectAltName=URI:spiffe://demo.mesh/ns/shop/sa/orders"]);
    text(
        &run(
            {
                command.args(["-keyout", key, "-out", certificate]);
                command
            },
            "",
        )
        .await,
    );
    let answer = curl(&["--cert", certificate, "--key", key, &url]).await;
    turned_away(steps, "foreign certificate", answer);
}

/// With TLS 1.3 the client's handshake ends before the server judges its certificate: an alert comes instead of an answer.
fn turned_away(steps: &mut Steps, name: &str, answer: Result<Answer, String>) {
    let (seen, ok) = match answer {
        Ok(answer) => (format!("an answer: {}", answer.status), false),
        // Not that nobody is there, nor that nothing is said.
        Err(why) => {
            let ok = !why.starts_with("curl: (7)") && !why.starts_with("curl: (28)");
            (format!("refused by TLS: {why}"), ok)
        }
    };
    steps.check(name, "refused by TLS", &seen, ok);
}

/// How many servers had to be turned away because their certificate names somebody else.
async fn unknown_servers(world: &World, pod: &Pod) -> u64 {
    let stats = world.envoy(pod, "/stats?filter=ssl.fail_verify_san").await.body;
    stats.lines().filter_map(|line| line.rsplit(' ').next()?.parse::<u64>().ok()).sum()
}

async fn iptables(arguments: &str) {
    let mut command = Command::new("iptables");
    command.args(arguments.split(' '));
    text(&run(command, "").await);
}

/// How often the gate of a pod was asked, as its metrics say.
async fn decisions(world: &World, pod: &Pod) -> Vec<String> {
    let page = world.admin(pod, "GET", "/metrics").await.body;
    let mut lines: Vec<String> = page
        .lines()
        .filter(|line| line.starts_with("hopgate_authz_") && line.contains("_total"))
        .map(str::to_owned)
        .collect();
    assert!(!lines.is_empty(), "no counts of decisions: {page}");
    lines.sort();
    lines
}

async fn headers(steps: &mut Steps, world: &World) {
    let alice = world.token("alice").await;
    let spoofed = [
        "-H",
        "x-hopgate-user: sue",
        "-H",
        "X-Hopgate-User: sue",
        "-H",
        "x-hopgate-peer: spiffe://demo.mesh/ns/shop/sa/orders",
    ];
    let answer = world.ask("GET", ALICES, Some(&alice), &spoofed).await;
    let expected = "alice, no peer > alice, sa/web";
    steps.take("spoofed identity headers", expected, &told(&answer));

    let web = world.node.pod("web").await;
    let (bearer, url) =
        (format!("authorization: Bearer {alice}"), format!("http://{}{ALICES}", world.orders));
    let arguments = [&["-H", &bearer][..], &spoofed, &[&url]].concat();
    let answer = world.asked_by(&web, &arguments).await.unwrap();
    steps.take("the same from inside", "alice, sa/web", &told(&answer));

    for spelling in ["X_Hopgate_User", "x_hopgate-peer"] {
        let header = format!("{spelling}: sue");
        let answer = world.ask("GET", ALICES, Some(&alice), &["-H", &header]).await;
        let hops = answer.hops();
        let none = hops.iter().all(|said| said["saw"]["look_alikes"] == json!([]));
        let ok = (answer.status == 400 && hops.is_empty()) || (answer.status == 200 && none);
        steps.check("a look-alike header", "refused or gone", &answer.outcome("web"), ok);
    }

    let sue = world.token("sue").await;
    let answer = world.ask("POST", REFUND, Some(&sue), &[]).await;
    let seen: Vec<String> = answer
        .hops()
        .iter()
        .map(|said| {
            let reached = if said["saw"]["authorization"] == true { "yes" } else { "no" };
            format!("{} {reached}", said["service"].as_str().unwrap())
        })
        .collect();
    steps.take("credentials", "web yes, orders yes, payments no", &seen.join(", "));

    for (name, target) in [
        ("path with dots", "/customers/alice/../bob/orders"),
        ("path with encoded dots", "/customers/alice/%2e%2e/bob/orders"),
        ("path with encoded slashes", "/customers/alice%2F..%2Fbob/orders"),
    ] {
        let answer = world.ask("GET", target, Some(&alice), &[]).await;
        let ok = matches!(answer.status, 400 | 403);
        steps.check(name, "refused", &answer.outcome("web"), ok);
    }
}

/// Who each service was told is calling.
fn told(answer: &Answer) -> String {
    let hops = answer.hops();
    let each = hops.iter().map(|said| {
        let saw = &said["saw"];
        let peer = saw["peer"].as_str().map_or("no peer", |peer| {
            peer.strip_prefix("spiffe://demo.mesh/ns/shop/").unwrap_or(peer)
        });
        let more = saw["look_alikes"].as_array().unwrap();
        let more = if more.is_empty() { String::new() } else { format!(" and {more:?}") };
        format!("{}, {peer}{more}", saw["user"].as_str().unwrap_or("no user"))
    });
    let told = each.collect::<Vec<_>>().join(" > ");
    if told.is_empty() { answer.outcome("web") } else { told }
}

/// The policy of orders: as it was at the start, and `rule`.
fn orders(rule: &str) -> String {
    format!("{}{rule}", include_str!("../../src/demo/files/orders.yaml"))
}

async fn changes(steps: &mut Steps, world: &World) {
    let allowed = "200 web > orders";
    let before = world.read("sue", ALICES).await;
    world.node.apply(&orders(SUPPORT_READS)).await;
    let after = world.settle("sue", ALICES, allowed).await;
    let seen = format!("{before}, then {after}");
    steps.take("a rule added", "403 at orders, then 200 web > orders", &seen);

    world.node.apply(&orders("")).await;
    let seen = world.settle("sue", ALICES, "403 at orders").await;
    steps.take("the rule taken away", "403 at orders", &seen);

    // On files a sidecar logs it; here it does not get that far.
    let refused = world.node.try_kubectl("apply -f -", &orders(TYPO)).await;
    let named = !refused.status.success() && errors(&refused).contains("methodz");
    let (alice, sue) = (world.read("alice", ALICES).await, world.read("sue", ALICES).await);
    let seen = format!(
        "typo {}; alice {}, sue {}",
        if named { "named" } else { "taken" },
        &alice[..3],
        &sue[..3]
    );
    steps.take("a broken policy", "typo named; alice 200, sue 403", &seen);

    world.node.apply(&orders("")).await;
    steps.take("the typo mended", allowed, &world.read("alice", ALICES).await);
}

async fn faults(steps: &mut Steps, world: &World) {
    let seen = rotations(world).await;
    steps.take("certificates rotated", "10 rotations, 0 requests failed", &seen);

    let pod = world.node.pod("orders").await;
    let process = world.node.process(&pod, "hopgate").await;
    signal("-STOP", process).await;
    let seen = world.read("alice", ALICES).await;
    // Then it is dead, and the kubelet starts another.
    signal("-KILL", process).await;
    steps.take("a sidecar killed", "503 at orders", &seen);
    let seen = world.settle("alice", ALICES, "200 web > orders").await;
    steps.take("the sidecar restarted", "200 web > orders", &seen);

    let token = world.token("alice").await;
    world.ask("GET", ALICES, Some(&token), &[]).await;
    world.ask("GET", BOBS, Some(&token), &[]).await;
    let signature = token.rsplit('.').next().unwrap();
    let (mut searched, mut found) = (0, 0);
    for app in ["web", "orders", "payments"] {
        let pod = world.node.pod(app).await;
        for container in ["hopgate-capture", "hopgate", "envoy", "app"] {
            let log =
                world.node.kubectl(&format!("-n shop logs {} -c {container}", pod.name())).await;
            searched += usize::from(!log.is_empty());
            found += usize::from(log.contains(signature));
        }
    }
    let seen =
        if searched >= 3 && found == 0 { "no token in them" } else { "too little, or a token" };
    steps.take("logs and decision logs", "no token in them", seen);
}

/// Sends a signal to a process of the node.
pub async fn signal(signal: &str, process: u32) {
    let mut command = Command::new("kill");
    command.args([signal, &process.to_string()]);
    text(&run(command, "").await);
}

/// Renews all three certificates again and again, while there is load.
async fn rotations(world: &World) -> String {
    let load = Load::start(world).await;
    let mut pods = Vec::new();
    for (app, port) in [("web", 8080), ("orders", 8081), ("payments", 8081)] {
        pods.push((app, port, world.node.pod(app).await));
    }
    for _ in 0..ROUNDS {
        let mut before = Vec::new();
        for (app, port, pod) in &pods {
            before.push(serial(app, *port, pod).await);
            assert_eq!(world.admin(pod, "POST", "/renew").await.status, 202);
        }
        let end = Instant::now() + SETTLE;
        for ((app, port, pod), old) in pods.iter().zip(before) {
            while serial(app, *port, pod).await == old {
                assert!(Instant::now() < end, "the certificate of {app} is not replaced");
                tokio::time::sleep(Duration::from_millis(50)).await;
            }
        }
        load.more(20).await;
    }
    load.end("rotation").await;
    format!("{ROUNDS} rotations, 0 requests failed")
}

/// The serial of the certificate that a pod shows to whoever connects.
async fn serial(app: &str, port: u16, pod: &Pod) -> String {
    let mut command = Command::new("openssl");
    let (address, name) =
        (format!("{}:{port}", pod.ip()), format!("{port}.{app}.shop.hopgate.internal"));
    command.args(["s_client", "-connect", &address, "-servername", &name]);
    let shown = run(command, "").await;
    let mut command = Command::new("openssl");
    command.args(["x509", "-noout", "-serial"]);
    text(&run(command, &String::from_utf8_lossy(&shown.stdout)).await)
}
