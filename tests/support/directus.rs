//! A real Directus: one for the test binary. Only for the longer tests; see [`wanted`].

use std::path::Path;
use std::sync::OnceLock;
use std::time::{Duration, Instant};

use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::served::{Probe, Served, installed};

/// What it signs its tokens with (`SECRET` in `directus-serve.sh`).
pub const SECRET: &str = "a-secret-of-directus-that-is-long-enough";
const ADMIN: &str = "admin-static-token";

/// True when the longer tests are run. Says so when not.
pub fn wanted() -> bool {
    if std::env::var_os("HOPGATE_LONG").is_some() {
        return true;
    }
    println!("this test needs a Directus and belongs to `make test-all`");
    false
}

fn server() -> &'static Served {
    static SERVER: OnceLock<Result<Served, String>> = OnceLock::new();
    let start = || {
        let probe = Probe { path: "/server/ping", form: None };
        Served::start("directus", &installed("HOPGATE_DIRECTUS", "directus-11.17.4")?, &probe)
    };
    match SERVER.get_or_init(start) {
        Ok(server) => server,
        Err(reason) => panic!("no Directus: {reason}"),
    }
}

pub struct Directus {
    served: &'static Served,
    http: reqwest::Client,
}

impl Directus {
    pub fn new() -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        let http = reqwest::Client::builder().timeout(Duration::from_secs(60)).build().unwrap();
        Self { served: server(), http }
    }

    pub fn base(&self) -> &str {
        &self.served.base
    }

    /// A new user; its id. The mail address is `<name>@example.com`, the password `<name>-password`.
    pub async fn user(&self, name: &str, more: &Value) -> String {
        let mut user = json!({
            "email": format!("{name}@example.com"), "password": format!("{name}-password"),
            "status": "active",
        });
        for (field, value) in more.as_object().unwrap() {
            user[field] = value.clone();
        }
        let (status, answer) = self.ask(Method::POST, "/users", Some(ADMIN), Some(&user)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["data"]["id"].as_str().unwrap().to_owned()
    }

    /// A change of a user by the administrator.
    pub async fn change(&self, id: &str, change: &Value) {
        let path = format!("/users/{id}");
        let (status, answer) = self.ask(Method::PATCH, &path, Some(ADMIN), Some(change)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
    }

    /// A policy of Directus by which users may read their own record and the names of roles; its id.
    pub async fn reads_itself(&self) -> String {
        let policy = json!({ "name": "reads itself", "permissions": [
            { "collection": "directus_users", "action": "read", "fields": ["id", "status", "role"],
              "permissions": { "id": { "_eq": "$CURRENT_USER" } } },
            { "collection": "directus_roles", "action": "read", "fields": ["name"], "permissions": {} },
        ] });
        let (status, answer) =
            self.ask(Method::POST, "/policies", Some(ADMIN), Some(&policy)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["data"]["id"].as_str().unwrap().to_owned()
    }

    /// The access token of a sign-in.
    pub async fn login(&self, name: &str) -> String {
        let body = json!({
            "email": format!("{name}@example.com"), "password": format!("{name}-password"),
        });
        let (status, answer) = self.ask(Method::POST, "/auth/login", None, Some(&body)).await;
        assert_eq!(status, StatusCode::OK, "{answer}");
        answer["data"]["access_token"].as_str().unwrap().to_owned()
    }

    /// The token in the mail by which a user may set a new password.
    pub async fn reset_token(&self, name: &str) -> String {
        let email = format!("{name}@example.com");
        let body = json!({ "email": email });
        let (status, answer) =
            self.ask(Method::POST, "/auth/password/request", None, Some(&body)).await;
        assert!(status.is_success(), "{answer}");
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(token) = mailed(&self.served.directory, &email) {
                return token;
            }
            assert!(Instant::now() < end, "no mail to {email}");
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    }

    /// What it answers itself to a request with this token.
    pub async fn ask(
        &self,
        method: Method,
        path: &str,
        token: Option<&str>,
        body: Option<&Value>,
    ) -> (StatusCode, Value) {
        let mut request = self.http.request(method, format!("{}{path}", self.base()));
        if let Some(token) = token {
            request = request.bearer_auth(token);
        }
        if let Some(body) = body {
            request = request.json(body);
        }
        let answer = request.send().await.unwrap();
        let status = answer.status();
        let text = answer.text().await.unwrap();
        (status, serde_json::from_str(&text).unwrap_or(Value::Null))
    }
}

/// The token in a mail to this address. Lines of a mail are folded with `=` at their end.
fn mailed(directory: &Path, to: &str) -> Option<String> {
    let mails = std::fs::read_dir(directory).ok()?.flatten();
    let mails = mails.filter(|entry| entry.file_name().to_string_lossy().starts_with("mail."));
    let mut texts = mails.filter_map(|entry| std::fs::read_to_string(entry.path()).ok());
    let text = texts.find(|text| text.contains(to))?;
    let text = text.replace("=\r\n", "").replace("=\n", "").replace("=3D", "=");
    let (_, rest) = text.split_once("token=")?;
    let is_part = |c: char| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.');
    let token: String = rest.chars().take_while(|c| is_part(*c)).collect();
    (token.split('.').count() == 3).then_some(token)
}
