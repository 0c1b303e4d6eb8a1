//! Userinfo and TokenReview.

use serde_json::{Value, json};

use super::parts::{Process, Server, json as says};

#[tokio::test]
async fn a_user_resource_is_asked_as_the_bearer() {
    let server = Server::new(|question| {
        assert_eq!((question.method.as_str(), question.path.as_str()), ("GET", "/me"));
        assert_eq!(question.body, "");
        match question.header("authorization") {
            "Bearer good" => says(200, &json!({ "sub": "ann" })),
            "Bearer nobody" => says(200, &json!({ "name": "ann" })),
            "Bearer odd" => says(200, &json!({ "sub": 7 })),
            "Bearer twice" => (200, "application/json", r#"{"sub":"a","sub":"b"}"#.into()),
            "Bearer list" => says(200, &json!([{ "sub": "ann" }])),
            "Bearer page" => (200, "text/html", "<p>Sign in</p>".into()),
            "Bearer away" => says(302, &json!({})),
            other => says(other.trim_start_matches("Bearer ").parse().unwrap(), &json!({})),
        }
    });
    let base = server.plain().await;
    let process = Process::new(&format!("userinfo: {{ url: {base}/me }}"), &[]);
    assert_eq!(process.user("good").await.as_deref(), Ok("ann"));
    assert_eq!(process.code("401").await, "credential_inactive");
    for token in ["nobody", "odd"] {
        let code = process.code(token).await;
        assert!(!["allow", "credential_inactive"].contains(&code), "{token}: {code}");
    }
    for token in ["twice", "list", "page", "204", "403", "404", "500"] {
        assert_eq!(process.code(token).await, "server_answer_unusable", "{token}");
    }
}

#[tokio::test]
async fn claims_stand_at_the_root_and_the_named_statuses_refuse() {
    let server = Server::new(|question| match question.header("authorization") {
        "Bearer good" => says(200, &json!({ "data": { "user": { "id": "u1" } } })),
        "Bearer shallow" => says(200, &json!({ "data": { "id": "u1" } })),
        "Bearer text" => says(200, &json!({ "data": { "user": "u1" } })),
        other => says(other.trim_start_matches("Bearer ").parse().unwrap(), &json!({})),
    });
    let base = server.plain().await;
    let spec = format!(
        "userinfo: {{ url: {base}/users/me, root: [data, user], refusals: [403, 410] }}\n\
         claims: {{ subject: [[id]] }}"
    );
    let process = Process::new(&spec, &[]);
    assert_eq!(process.user("good").await.as_deref(), Ok("u1"));
    for token in ["403", "410"] {
        assert_eq!(process.code(token).await, "credential_inactive");
    }
    for token in ["shallow", "text", "401", "404"] {
        assert_eq!(process.code(token).await, "server_answer_unusable", "{token}");
    }
}

/// What an API server answers.
fn review(status: Value) -> Value {
    json!({ "apiVersion": "authentication.k8s.io/v1", "kind": "TokenReview", "status": status })
}

fn good() -> Value {
    json!({
        "authenticated": true, "audiences": ["orders"],
        "user": {
            "username": "system:serviceaccount:shop:cart", "uid": "u-1",
            "groups": ["system:serviceaccounts"],
            "extra": { "authentication.kubernetes.io/pod-name": ["cart-1"] },
        },
    })
}

async fn reviewing(answer: impl Fn(&str) -> super::parts::Answer + Send + 'static) -> String {
    let server = Server::new(move |question| {
        let path = "/apis/authentication.k8s.io/v1/tokenreviews";
        assert_eq!((question.method.as_str(), question.path.as_str()), ("POST", path));
        if question.header("authorization") != "Bearer our-own" {
            return says(401, &json!({ "kind": "Status" }));
        }
        let asked = question.json();
        assert_eq!(asked["apiVersion"], "authentication.k8s.io/v1");
        assert_eq!(asked["kind"], "TokenReview");
        assert_eq!(asked["spec"]["audiences"], json!(["orders", "shop"]));
        answer(asked["spec"]["token"].as_str().unwrap())
    });
    server.plain().await
}

fn spec(base: &str) -> String {
    format!("tokenReview: {{ url: {base}/, tokenFile: own, audiences: [orders, shop] }}")
}

#[tokio::test]
async fn an_api_server_reviews_service_account_tokens() {
    let base = reviewing(|token| {
        let changed = |name: &str, value: Value| {
            let mut status = good();
            status[name] = value;
            says(201, &review(status))
        };
        match token {
            "good" => says(201, &review(good())),
            "other" => changed("audiences", json!(["payments", "shop"])),
            "bad" => says(201, &review(json!({ "error": "invalid bearer token" }))),
            "no" => changed("authenticated", json!(false)),
            "word" => changed("authenticated", json!("true")),
            "foreign" => changed("audiences", json!(["payments"])),
            "unaware" => changed("audiences", json!(null)),
            "nobody" => changed("user", json!({})),
            "empty" => says(201, &review(json!(null))),
            "kind" => says(200, &json!({ "kind": "Status", "status": good() })),
            other => says(other.parse().unwrap(), &review(good())),
        }
    })
    .await;
    let process = Process::new(&spec(&base), &[("own", b"our-own\n")]);
    for token in ["good", "other"] {
        let user = process.user(token).await;
        assert_eq!(user.as_deref(), Ok("system:serviceaccount:shop:cart"), "{token}");
    }
    for (token, expected) in [
        ("bad", "credential_inactive"),
        ("no", "credential_inactive"),
        ("word", "server_answer_unusable"),
        ("foreign", "server_audience_unconfirmed"),
        ("unaware", "server_audience_unconfirmed"),
        ("nobody", "server_answer_unusable"),
        ("empty", "server_answer_unusable"),
        ("kind", "server_answer_unusable"),
        ("202", "server_answer_unusable"),
        ("500", "server_answer_unusable"),
        ("403", "server_refuses_us"),
    ] {
        assert_eq!(process.code(token).await, expected, "{token}");
    }
}

#[tokio::test]
async fn our_own_token_is_renewed_without_forgetting_what_was_said() {
    let base = reviewing(|_| says(201, &review(good()))).await;
    let mut process = Process::new(&spec(&base), &[("own", b"stale")]);
    assert_eq!(process.code("t").await, "server_refuses_us");
    process.reload(&spec(&base), &[("own", b"our-own")]);
    assert_eq!(process.code("u").await, "allow");
    let asked = process.resolver.counts().asked;
    process.reload(&spec(&base), &[("own", b"another")]);
    assert_eq!(process.code("u").await, "allow", "still believed");
    assert_eq!(process.resolver.counts().asked, asked);
    assert_eq!(process.code("v").await, "server_refuses_us");
}
