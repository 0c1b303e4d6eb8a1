//! The shop in the cluster: requests to it, from the node and from its own pods, and tokens for them.

use std::time::{Duration, Instant};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use serde_json::Value;
use tokio::process::Command;

use super::inside::{Inside, Pod, run, text};

/// A user without meaning to the gate.
const SOMEBODY: &str = "10001";
const SETTLE: Duration = Duration::from_secs(60);
pub const ALICES: &str = "/customers/alice/orders";
pub const REFUND: &str = "/orders/1001/refund";

pub struct World {
    pub node: Inside,
    /// Addresses of the Services.
    pub web: String,
    pub orders: String,
    pub payments: String,
    pub idp: String,
}

/// An HTTP answer.
#[derive(Debug, Clone)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl World {
    pub async fn new(node: Inside) -> Self {
        let list = node.get("services -n shop").await;
        let address = |name: &str| {
            let mut items = list["items"].as_array().unwrap().iter();
            let found = items.find(|one| one["metadata"]["name"] == name).unwrap();
            found["spec"]["clusterIP"].as_str().unwrap().to_owned()
        };
        let [web, orders, payments, idp] = ["web", "orders", "payments", "idp"].map(address);
        Self { node, web, orders, payments, idp }
    }

    /// A token of one of the demo's people.
    pub async fn token(&self, name: &str) -> String {
        self.token_for(name, "shop", 3600).await
    }

    pub async fn token_for(&self, name: &str, audience: &str, lifetime: i64) -> String {
        let person = format!("grant_type=password&username={name}&password={name}-password");
        let machine =
            format!("grant_type=client_credentials&client_id={name}&client_secret={name}-secret");
        let who = if name == "nightly-report" { machine } else { person };
        let form = format!("{who}&audience={audience}&expires_in={lifetime}");
        let answer = curl(&[&format!("http://{}/token", self.idp), "-d", &form]).await;
        let body: Value = serde_json::from_str(&answer.unwrap().body).unwrap();
        body["access_token"].as_str().unwrap_or_else(|| panic!("{body}")).to_owned()
    }

    /// Through the front door, from the node: no workload of the mesh.
    pub async fn ask(
        &self,
        method: &str,
        path: &str,
        token: Option<&str>,
        more: &[&str],
    ) -> Answer {
        let url = format!("http://{}{path}", self.web);
        let header = token.map(|token| format!("authorization: Bearer {token}"));
        let mut arguments = vec!["-X", method, &url];
        if let Some(header) = &header {
            arguments.extend(["-H", header]);
        }
        arguments.extend(more);
        // Nobody there is an outcome too: the node hears of new endpoints within a second or so.
        let none = |why| Answer { status: 0, headers: Vec::new(), body: why };
        curl(&arguments).await.unwrap_or_else(none)
    }

    /// The outcome of a GET through the front door, by one of the people.
    pub async fn read(&self, name: &str, path: &str) -> String {
        let token = self.token(name).await;
        self.ask("GET", path, Some(&token), &[]).await.outcome("web")
    }

    /// Lets somebody ask until the outcome is the wanted one; gives the last outcome.
    pub async fn settle(&self, name: &str, path: &str, wanted: &str) -> String {
        let end = Instant::now() + SETTLE;
        loop {
            let outcome = self.read(name, path).await;
            if outcome == wanted || Instant::now() > end {
                return outcome;
            }
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    }

    /// A request that an application of this pod makes.
    pub async fn asked_by(&self, pod: &Pod, arguments: &[&str]) -> Result<Answer, String> {
        let process = self.node.process(pod, "app").await;
        let mut command = Command::new("nsenter");
        command.arg(format!("--net=/proc/{process}/ns/net"));
        let ids = [format!("--reuid={SOMEBODY}"), format!("--regid={SOMEBODY}")];
        command.arg("setpriv").args(ids).args(["--clear-groups", "curl"]);
        curl_by(command, arguments).await
    }

    /// A page of the sidecar's own, which nobody else in the pod can ask for.
    pub async fn admin(&self, pod: &Pod, method: &str, path: &str) -> Answer {
        self.socket(pod, "admin.sock", method, path).await
    }

    /// A page of Envoy's own.
    pub async fn envoy(&self, pod: &Pod, path: &str) -> Answer {
        self.socket(pod, "envoy-admin.sock", "GET", path).await
    }

    async fn socket(&self, pod: &Pod, name: &str, method: &str, path: &str) -> Answer {
        let process = self.node.process(pod, "hopgate").await;
        let socket = format!("/proc/{process}/root/run/hopgate/{name}");
        let url = format!("http://localhost{path}");
        curl(&["-X", method, "--unix-socket", &socket, &url]).await.unwrap()
    }
}

/// One request from the node.
pub async fn curl(arguments: &[&str]) -> Result<Answer, String> {
    curl_by(Command::new("curl"), arguments).await
}

async fn curl_by(mut command: Command, arguments: &[&str]) -> Result<Answer, String> {
    command.args(["-s", "-S", "-i", "-k", "--path-as-is", "--http1.1", "--max-time", "20"]);
    command.args(["-H", "expect:"]).args(arguments);
    let output = run(command, "").await;
    if !output.status.success() {
        return Err(String::from_utf8_lossy(&output.stderr).trim().to_owned());
    }
    let text = text(&output);
    Answer::parse(&text).ok_or_else(|| format!("no HTTP: {text}"))
}

impl Answer {
    fn parse(text: &str) -> Option<Self> {
        let (head, body) = text.split_once("\r\n\r\n")?;
        let mut lines = head.split("\r\n");
        let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
        let header = |line: &str| {
            let (name, value) = line.split_once(':')?;
            Some((name.to_ascii_lowercase(), value.trim().to_owned()))
        };
        let headers = lines.filter_map(header).collect();
        Some(Self { status, headers, body: body.to_owned() })
    }

    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(n, _)| n == name).map(|(_, value)| value.as_str())
    }

    /// What each service on the way said, in order; a gate that refused said nothing.
    pub fn hops(&self) -> Vec<Value> {
        let mut hops = Vec::new();
        let mut body = serde_json::from_str::<Value>(&self.body).unwrap_or(Value::Null);
        while body["service"].is_string() {
            let next = body["next"]["body"].clone();
            hops.push(body);
            body = next;
        }
        hops
    }

    /// `200 web > orders`, or `403 at orders` when the gate of orders refused, as the demo's report says it.
    pub fn outcome(&self, first: &str) -> String {
        let hops = self.hops();
        let asked = hops.last().is_none_or(|said| !said["next"].is_null());
        let all = ["web", "orders", "payments"];
        let refused = all.iter().skip_while(|name| **name != first).nth(hops.len());
        if let (true, Some(refused)) = (asked, refused) {
            return format!("{} at {refused}", self.status);
        }
        let names: Vec<&str> = hops.iter().map(|said| said["service"].as_str().unwrap()).collect();
        format!("{} {}", self.status, names.join(" > "))
    }
}

/// The claims of a token.
pub fn claims(token: &str) -> Value {
    let part = token.split('.').nth(1).unwrap();
    serde_json::from_slice(&URL_SAFE_NO_PAD.decode(part).unwrap()).unwrap()
}
