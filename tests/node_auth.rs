//! The worked example `examples/node-auth`: its own `run.sh` starts Node, the gate and a real Envoy, the commands of its
//! README are run as they are written, and tokens that its auth service never made are refused.

use std::collections::BTreeMap;
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant, SystemTime};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::{Value, json};

use crate::support::envoy;
use crate::support::{Scratch, node};

/// The ports that the example is written with.
const PORTS: [&str; 6] = ["8080", "9001", "15020", "3001", "3002", "3003"];
const READY: Duration = Duration::from_secs(60);

fn example() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("examples/node-auth")
}

/// The example, started by its own script in a copy of its folder, on ports of its own.
struct Shop {
    scratch: Scratch,
    script: Child,
    ports: BTreeMap<&'static str, u16>,
}

impl Shop {
    fn start(name: &str) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let scratch = Scratch::new(name);
        // Bound together, so that no two are the same.
        let free: Vec<_> = PORTS.map(|_| TcpListener::bind("127.0.0.1:0").unwrap()).into();
        let chosen = free.iter().map(|listener| listener.local_addr().unwrap().port());
        let ports: BTreeMap<_, _> = PORTS.into_iter().zip(chosen).collect();
        drop(free);
        copy(&example(), scratch.path(), &ports);
        // It ends when this process does, however that ends: `cat` waits for its input to be closed.
        let script = Command::new("bash")
            .args(["-c", "./run.sh >run.log 2>&1 & cat >/dev/null; kill $! 2>/dev/null; wait $!"])
            .current_dir(scratch.path())
            .env("HOPGATE", env!("CARGO_BIN_EXE_hopgate"))
            .env("HOPGATE_ENVOY", envoy::binary())
            .env("NODE", node::binary())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let shop = Self { scratch, script, ports };
        let end = Instant::now() + READY;
        while !shop.log("run.log").contains("the door is open") {
            let logs = || {
                let names = ["run.log", "logs/auth.log", "logs/gate.log", "logs/door.log"];
                names.map(|name| format!("{name}:\n{}", shop.log(name))).join("\n")
            };
            assert!(Instant::now() < end, "the example does not start:\n{}", logs());
            assert!(!shop.log("run.log").contains("error:"), "it ended:\n{}", logs());
            std::thread::sleep(Duration::from_millis(50));
        }
        shop
    }

    fn log(&self, name: &str) -> String {
        std::fs::read_to_string(self.scratch.path().join(name)).unwrap_or_default()
    }

    fn url(&self, path: &str) -> String {
        format!("http://127.0.0.1:{}{path}", self.ports["8080"])
    }

    /// A form in JSON to the auth service, by way of the door.
    async fn post(&self, path: &str, body: Value) -> (u16, Value) {
        let answer = reqwest::Client::new().post(self.url(path)).json(&body).send().await.unwrap();
        let status = answer.status().as_u16();
        (status, serde_json::from_slice(&answer.bytes().await.unwrap()).unwrap_or(Value::Null))
    }

    async fn login(&self, name: &str) -> Value {
        let body = json!({ "name": name, "password": format!("{name}-demo-password") });
        let (status, answer) = self.post("/login", body).await;
        assert_eq!(status, 200, "{answer}");
        answer
    }

    async fn me(&self, token: &str) -> u16 {
        let request = reqwest::Client::new().get(self.url("/users/me")).bearer_auth(token);
        request.send().await.unwrap().status().as_u16()
    }

    /// The codes of this many denials that the gate recorded, in order. Records are written a moment after the answer.
    fn denials(&self, number: usize) -> Vec<String> {
        let end = Instant::now() + Duration::from_secs(10);
        loop {
            let log = self.log("logs/gate.log");
            let records = log.lines().filter_map(|line| serde_json::from_str::<Value>(line).ok());
            let codes: Vec<_> =
                records.filter_map(|record| record["code"].as_str().map(str::to_owned)).collect();
            if codes.len() >= number || Instant::now() > end {
                return codes;
            }
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    fn secret(&self) -> Vec<u8> {
        std::fs::read(self.scratch.path().join("resources/hs.key")).unwrap()
    }

    /// As Ctrl-C does.
    fn end(&mut self) {
        drop(self.script.stdin.take());
        drop(self.script.wait());
    }
}

impl Drop for Shop {
    fn drop(&mut self) {
        self.end();
    }
}

/// Copies the files, with other ports in them. What running the example made is left where it is.
fn copy(from: &Path, to: &Path, ports: &BTreeMap<&'static str, u16>) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_name() == "logs" || entry.file_name() == "hs.key" {
            continue;
        }
        if entry.path().is_dir() {
            copy(&entry.path(), &target, ports);
            continue;
        }
        let mut text = std::fs::read_to_string(entry.path()).unwrap();
        for (written, port) in ports {
            // By way of a mark: a new port may look like another old one.
            text = text.replace(written, &format!("<{port}>"));
        }
        for port in ports.values() {
            text = text.replace(&format!("<{port}>"), &port.to_string());
        }
        std::fs::write(&target, text).unwrap();
        std::fs::set_permissions(&target, entry.metadata().unwrap().permissions()).unwrap();
    }
}

/// Every `$ ` line of the README's console blocks with the lines that it shows for it.
fn commands(readme: &str) -> Vec<(String, String)> {
    let mut commands: Vec<(String, String)> = Vec::new();
    let blocks = readme.split("```console\n").skip(1);
    for line in blocks.flat_map(|block| block.split("```").next().unwrap().lines()) {
        if let Some(command) = line.strip_prefix("$ ") {
            commands.push((command.to_owned(), String::new()));
        } else if !line.is_empty() {
            let (_, shown) = commands.last_mut().unwrap();
            shown.push_str(line);
            shown.push('\n');
        }
    }
    commands
}

/// `…` stands for anything.
fn shows(shown: &str, real: &str) -> bool {
    let mut parts = shown.split('…');
    let Some(mut rest) = real.strip_prefix(parts.next().unwrap()) else { return false };
    for part in parts {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.is_empty()
}

#[tokio::test]
async fn the_readme_is_true_word_by_word() {
    let mut shop = Shop::start("node-auth-readme");
    let commands = commands(&shop.log("README.md"));
    assert!(commands.len() > 20, "only {} commands", commands.len());
    let mut script = String::new();
    for (command, _) in &commands {
        script.push_str(command);
        script.push_str("\nprintf '\\036'\n");
    }
    let output = Command::new("bash").args(["-c", &script]).output().unwrap();
    let told = String::from_utf8_lossy(&output.stderr);
    assert_eq!(told, "", "curl is needed, and bash");
    let real = String::from_utf8(output.stdout).unwrap();
    for ((command, shown), real) in commands.iter().zip(real.split('\x1e')) {
        assert!(shows(shown, real), "$ {command}\nis said to give\n{shown}\nand gives\n{real}");
    }

    // It ends all that it started.
    shop.end();
    for (name, port) in &shop.ports {
        assert!(TcpStream::connect(("127.0.0.1", *port)).is_err(), "{name} still listens");
    }
}

#[test]
fn what_a_readme_shows_is_compared_and_not_only_run() {
    assert!(shows("{\"id\":\"…\"} 401\n", "{\"id\":\"a7\"} 401\n"));
    for other in ["{\"id\":\"a7\"} 200\n", "{\"id\":\"a7\"} 401\nmore\n", ""] {
        assert!(!shows("{\"id\":\"…\"} 401\n", other), "{other}");
    }
}

/// A token in three parts, its signature by this key; an empty key makes none.
fn sign(header: &Value, claims: &Value, key: &[u8]) -> String {
    let part = |value: &Value| URL_SAFE_NO_PAD.encode(value.to_string());
    let signed = format!("{}.{}", part(header), part(claims));
    if key.is_empty() {
        return format!("{signed}.");
    }
    let key = aws_lc_rs::hmac::Key::new(aws_lc_rs::hmac::HMAC_SHA256, key);
    format!("{signed}.{}", URL_SAFE_NO_PAD.encode(aws_lc_rs::hmac::sign(&key, signed.as_bytes())))
}

#[tokio::test]
async fn only_what_the_auth_service_signed_as_an_access_token_passes() {
    let shop = Shop::start("node-auth-tokens");
    let secret = shop.secret();
    let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs();
    let header = json!({ "alg": "HS256", "typ": "at+jwt" });
    let claims = json!({
        "iss": "https://auth.shop.example", "aud": "shop", "sub": "u-1", "roles": ["admin"],
        "iat": now, "exp": now + 900, "jti": "x",
    });
    let with = |name: &str, value: Value| {
        let mut claims = claims.clone();
        match value {
            Value::Null => drop(claims.as_object_mut().unwrap().remove(name)),
            value => claims[name] = value,
        }
        claims
    };
    // The same, by the right key: the rest differ from it in one thing each.
    assert_eq!(shop.me(&sign(&header, &claims, &secret)).await, 200);
    let login = shop.login("alice").await;
    let token = login["access_token"].as_str().unwrap();
    assert_eq!(shop.me(token).await, 200);

    let (signed, signature) = token.rsplit_once('.').unwrap();
    let (head, _) = signed.split_once('.').unwrap();
    let tampered = format!("{head}.{}.{signature}", URL_SAFE_NO_PAD.encode(claims.to_string()));
    let expired = with("exp", json!(now - 60));
    let refused = [
        ("other claims under its signature", tampered, "bad_signature"),
        ("without its signature", format!("{signed}."), "bad_signature"),
        ("another secret", sign(&header, &claims, &[7; 48]), "bad_signature"),
        (
            "alg none",
            sign(&json!({ "alg": "none", "typ": "at+jwt" }), &claims, b""),
            "algorithm_not_allowed",
        ),
        ("expired", sign(&header, &expired, &secret), "token_expired"),
        ("without an end", sign(&header, &with("exp", Value::Null), &secret), "missing_expiry"),
        ("too old", sign(&header, &with("iat", json!(now - 3600)), &secret), "token_too_old"),
        ("for others", sign(&header, &with("aud", json!("bank")), &secret), "wrong_audience"),
        (
            "of others",
            sign(&header, &with("iss", json!("https://x.example")), &secret),
            "unknown_issuer",
        ),
        (
            "no access token",
            sign(&json!({ "alg": "HS256", "typ": "JWT" }), &claims, &secret),
            "token_type_not_allowed",
        ),
        ("a refresh token", login["refresh_token"].as_str().unwrap().to_owned(), "token_malformed"),
    ];
    for (what, token, _) in &refused {
        assert_eq!(shop.me(token).await, 401, "{what}");
    }
    let codes: Vec<_> = refused.iter().map(|(_, _, code)| *code).collect();
    assert_eq!(shop.denials(codes.len()), codes);
}

#[tokio::test]
async fn a_sign_in_goes_on_by_its_newest_refresh_token_alone() {
    let shop = Shop::start("node-auth-refresh");
    let refresh = async |token: &Value| {
        let (status, answer) = shop.post("/refresh", json!({ "refresh_token": token })).await;
        (
            status,
            answer["access_token"].as_str().unwrap_or_default().to_owned(),
            answer["refresh_token"].clone(),
        )
    };
    let (mine, other) = (shop.login("alice").await, shop.login("alice").await);
    let (status, access, second) = refresh(&mine["refresh_token"]).await;
    assert_eq!(status, 200);
    assert_eq!(shop.me(&access).await, 200);
    let (status, _, third) = refresh(&second).await;
    assert_eq!(status, 200);
    assert_eq!(refresh(&second).await.0, 401, "used before");
    assert_eq!(refresh(&third).await.0, 401, "its family ended with that");
    let (status, _, newer) = refresh(&other["refresh_token"]).await;
    assert_eq!(status, 200, "another sign-in of the same user goes on");
    assert_eq!(shop.post("/logout", json!({ "refresh_token": newer })).await.0, 204);
    assert_eq!(refresh(&newer).await.0, 401);
    for bad in [json!(null), json!(7), json!(""), json!("a.b"), json!({ "a": 1 })] {
        assert_eq!(refresh(&bad).await.0, 401, "{bad}");
    }
    for (name, password) in [("alice", "adam-demo-password"), ("nobody", "x"), ("__proto__", "")] {
        let body = json!({ "name": name, "password": password });
        assert_eq!(shop.post("/login", body).await.0, 401, "{name}");
    }
}

#[test]
fn the_services_contain_no_authentication() {
    for name in ["users.mjs", "products.mjs"] {
        let text = std::fs::read_to_string(example().join("services").join(name)).unwrap();
        let text = text.to_lowercase();
        for word in ["authorization", "bearer", "token", "jwt", "crypto", "role", "password"] {
            assert!(!text.contains(word), "{name} speaks of {word}");
        }
    }
}
