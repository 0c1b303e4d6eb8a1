//! Who is answered what: the table of codes and texts, and what stands in each answer.

use hopgate::identity::{Bundles, JwtBundle, Leaf, PrivateKey, TrustDomain, WorkloadIdentity};
use hopgate::proto::workload::{
    JwtBundlesRequest, JwtsvidRequest, ValidateJwtsvidRequest, X509BundlesRequest, X509svidRequest,
};
use prost_types::value::Kind;
use serde_json::json;
use tonic::{Code, Request, Status};

use super::endpoint::{Client, Endpoint, ORDERS, WEB, asked};
use crate::support::jwt::{JwtKey, now};
use crate::support::pki;

type Table = Vec<(&'static str, Result<(), Status>)>;

/// Calls every method in the same manner.
async fn all(client: &mut Client, dress: fn(&mut tonic::metadata::MetadataMap)) -> Table {
    fn dressed<T>(message: T, dress: fn(&mut tonic::metadata::MetadataMap)) -> Request<T> {
        let mut request = Request::new(message);
        dress(request.metadata_mut());
        request
    }
    let audience = vec!["payments".to_owned()];
    let jwt = JwtsvidRequest { audience, spiffe_id: String::new() };
    let validate =
        ValidateJwtsvidRequest { audience: "payments".to_owned(), svid: "a.b.c".to_owned() };
    let svids = client.fetch_x509svid(dressed(X509svidRequest {}, dress)).await;
    let bundles = client.fetch_x509_bundles(dressed(X509BundlesRequest {}, dress)).await;
    let keys = client.fetch_jwt_bundles(dressed(JwtBundlesRequest {}, dress)).await;
    vec![
        ("FetchX509SVID", svids.map(drop)),
        ("FetchX509Bundles", bundles.map(drop)),
        ("FetchJWTBundles", keys.map(drop)),
        ("FetchJWTSVID", client.fetch_jwtsvid(dressed(jwt, dress)).await.map(drop)),
        ("ValidateJWTSVID", client.validate_jwtsvid(dressed(validate, dress)).await.map(drop)),
    ]
}

fn assert_refused(table: Table, code: Code, text: &str) {
    for (method, answer) in table {
        let status = answer.expect_err(method);
        assert_eq!((status.code(), status.message()), (code, text), "{method}");
    }
}

#[tokio::test]
async fn without_the_security_header_every_method_refuses() {
    let endpoint = Endpoint::start(Some(pki::ca().identity(ORDERS))).await;
    let mut client = endpoint.client().await;
    let text = "security header missing from request";
    for dress in [
        |_: &mut tonic::metadata::MetadataMap| {},
        |metadata: &mut tonic::metadata::MetadataMap| {
            metadata.insert("workload.spiffe.io", "True".parse().unwrap());
        },
        |metadata: &mut tonic::metadata::MetadataMap| {
            metadata.insert("workload.spiffe.io", "".parse().unwrap());
        },
        |metadata: &mut tonic::metadata::MetadataMap| {
            metadata.append("workload.spiffe.io", "true".parse().unwrap());
            metadata.append("workload.spiffe.io", "true".parse().unwrap());
        },
    ] {
        assert_refused(all(&mut client, dress).await, Code::InvalidArgument, text);
    }
    let text = endpoint.metrics.text();
    let line = r#"calls_total{method="FetchX509SVID",code="invalid_argument"} 4"#;
    assert!(text.contains(line), "{text}");
}

#[tokio::test]
async fn a_caller_that_is_not_listed_has_no_identity() {
    let endpoint = Endpoint::for_others(Some(pki::ca().identity(ORDERS))).await;
    let mut client = endpoint.client().await;
    let table = all(&mut client, |metadata| {
        metadata.insert("workload.spiffe.io", "true".parse().unwrap());
    });
    assert_refused(table.await, Code::PermissionDenied, "no identity issued");
    // Without the header it learns not even that.
    let table = all(&mut client, |_| {}).await;
    assert_refused(table, Code::InvalidArgument, "security header missing from request");
}

#[tokio::test]
async fn strangers_cannot_keep_the_workload_out() {
    let endpoint = Endpoint::for_others(Some(pki::ca().identity(ORDERS))).await;
    let mut clients = Vec::new();
    let mut turned_away = 0;
    for _ in 0..40 {
        let mut client = endpoint.client().await;
        match client.fetch_x509svid(asked(X509svidRequest {})).await {
            Err(status) if status.code() == Code::PermissionDenied => clients.push(client),
            Err(_) => turned_away += 1,
            Ok(_) => panic!("a stranger got an identity"),
        }
    }
    assert!(clients.len() <= 16 && turned_away >= 24, "{} {turned_away}", clients.len());
}

#[tokio::test]
async fn a_method_that_is_not_served_is_unimplemented() {
    let endpoint = Endpoint::start(Some(pki::ca().identity(ORDERS))).await;
    let mut grpc = tonic::client::Grpc::new(super::endpoint::channel(&endpoint.socket()).await);
    grpc.ready().await.unwrap();
    let path = http::uri::PathAndQuery::from_static("/SpiffeWorkloadAPI/FetchWITSVID");
    let codec = tonic_prost::ProstCodec::<X509svidRequest, X509svidRequest>::default();
    let answer = grpc.unary(asked(X509svidRequest {}), path, codec).await;
    assert_eq!(answer.unwrap_err().code(), Code::Unimplemented);
}

#[tokio::test]
async fn the_x509_answers_hold_chain_key_and_every_bundle() {
    let (ca, foreign, key) = (pki::ca(), pki::ca(), JwtKey::new("one"));
    let partner = "spiffe://partner.mesh/ns/shop/sa/x";
    let mut identity = ca.identity(ORDERS);
    identity.bundles = identity.bundles.with_foreign(foreign.bundle(partner));
    identity.bundles = identity.bundles.with_jwt(key.bundle("partner.mesh"));
    let endpoint = Endpoint::start(Some(identity)).await;
    let mut client = endpoint.client().await;

    let stream = client.fetch_x509svid(asked(X509svidRequest {})).await.unwrap();
    let answer = stream.into_inner().message().await.unwrap().unwrap();
    let [svid] = answer.svids.as_slice() else { panic!("one SVID") };
    assert_eq!(svid.spiffe_id, ORDERS);
    let leaf = Leaf::parse(&svid.x509_svid).unwrap();
    assert_eq!((leaf.id().as_str(), leaf.serial()), (ORDERS, endpoint.serial().as_str()));
    let pem = format!("-----BEGIN PRIVATE KEY-----\n{}\n-----END PRIVATE KEY-----\n", {
        use base64::Engine as _;
        base64::engine::general_purpose::STANDARD.encode(&svid.x509_svid_key)
    });
    assert_eq!(PrivateKey::from_pem(&pem).unwrap().public_key().unwrap(), leaf.public_key());
    assert_eq!(svid.bundle, ca.root().to_vec());
    let federated: Vec<_> = answer.federated_bundles.iter().collect();
    assert_eq!(federated, [(&"spiffe://partner.mesh".to_owned(), &foreign.root().to_vec())]);

    let stream = client.fetch_x509_bundles(asked(X509BundlesRequest {})).await.unwrap();
    let answer = stream.into_inner().message().await.unwrap().unwrap();
    assert_eq!(answer.bundles["spiffe://demo.mesh"], ca.root().to_vec());
    assert_eq!(answer.bundles["spiffe://partner.mesh"], foreign.root().to_vec());
    assert_eq!(answer.bundles.len(), 2);

    let stream = client.fetch_jwt_bundles(asked(JwtBundlesRequest {})).await.unwrap();
    let answer = stream.into_inner().message().await.unwrap().unwrap();
    let read = |domain: &str| {
        let json = String::from_utf8(answer.bundles[&format!("spiffe://{domain}")].clone());
        JwtBundle::from_jwks(TrustDomain::parse(domain).unwrap(), &json.unwrap()).unwrap()
    };
    assert!(read("demo.mesh").keys().is_empty(), "the own domain is there, with no keys yet");
    assert_eq!(read("partner.mesh"), key.bundle("partner.mesh"));
}

/// An identity that trusts the JWT keys of its own domain and of a partner's.
fn with_keys(own: &JwtKey, partner: &JwtKey) -> WorkloadIdentity {
    let ca = pki::ca();
    let mut identity = ca.identity(ORDERS);
    identity.bundles = Bundles::new(identity.bundles.own().clone())
        .with_jwt(own.bundle("demo.mesh"))
        .with_jwt(partner.bundle("partner.mesh"));
    identity
}

#[tokio::test]
async fn a_token_is_validated_with_the_keys_of_its_own_trust_domain() {
    let (own, partner) = (JwtKey::new("one"), JwtKey::new("two"));
    let endpoint = Endpoint::start(Some(with_keys(&own, &partner))).await;
    let mut client = endpoint.client().await;
    let mut validate = async |audience: &str, svid: String| {
        let request = ValidateJwtsvidRequest { audience: audience.to_owned(), svid };
        client.validate_jwtsvid(asked(request)).await.map(tonic::Response::into_inner)
    };
    let good = validate("orders", own.token(WEB, "orders")).await.unwrap();
    assert_eq!(good.spiffe_id, WEB);
    let claims = good.claims.unwrap().fields;
    assert_eq!(claims["sub"].kind, Some(Kind::StringValue(WEB.to_owned())));
    assert!(matches!(claims["exp"].kind, Some(Kind::NumberValue(end)) if end > 1.0e9));
    assert!(matches!(claims["aud"].kind, Some(Kind::ListValue(_))));

    let them = "spiffe://partner.mesh/billing";
    assert_eq!(validate("orders", partner.token(them, "orders")).await.unwrap().spiffe_id, them);

    let over = json!({ "sub": WEB, "aud": "orders", "exp": now() - 1 });
    // Whoever is revoked is refused by its token, under every name of the mesh, and by whatever certificate it was got.
    let revoked = "the workload that the token names is revoked";
    for (id, serial) in [(WEB, None), ("spiffe://old.mesh/ns/shop/sa/web", None), (WEB, Some("a1"))]
    {
        endpoint.revoke(&[(id, serial)]);
        let status = validate("orders", own.token(WEB, "orders")).await.unwrap_err();
        assert_eq!((status.code(), status.message()), (Code::InvalidArgument, revoked), "{id}");
        validate("orders", own.token(ORDERS, "orders")).await.unwrap();
    }
    endpoint.revoke(&[]);
    validate("orders", own.token(WEB, "orders")).await.unwrap();

    for (name, audience, token, words) in [
        ("another audience", "payments", own.token(WEB, "orders"), "audience"),
        ("a foreign key", "orders", partner.token(WEB, "orders"), "no key \"two\""),
        ("our key for them", "orders", own.token(them, "orders"), "no key \"one\""),
        ("nobody's domain", "orders", own.token("spiffe://x.mesh/a", "orders"), "x.mesh"),
        ("expired", "orders", own.sign(&over), "expired"),
        ("garbage", "orders", "a.b.c".to_owned(), "compact"),
        ("no audience", "", own.token(WEB, "orders"), "audience must be specified"),
        ("no token", "orders", String::new(), "svid must be specified"),
    ] {
        let status = validate(audience, token).await.expect_err(name);
        assert_eq!(status.code(), Code::InvalidArgument, "{name}");
        assert!(status.message().contains(words), "{name}: {}", status.message());
    }
}

#[tokio::test]
async fn a_token_is_for_an_audience_and_for_the_workload_alone() {
    let endpoint = Endpoint::start(Some(pki::ca().identity(ORDERS))).await;
    let mut client = endpoint.client().await;
    let mut fetch = async |audience: &[&str], spiffe_id: &str| {
        let audience = audience.iter().map(|&one| one.to_owned()).collect();
        let request = JwtsvidRequest { audience, spiffe_id: spiffe_id.to_owned() };
        let status = client.fetch_jwtsvid(asked(request)).await.unwrap_err();
        (status.code(), status.message().to_owned())
    };
    let none = (Code::InvalidArgument, "audience must be specified".to_owned());
    assert_eq!(fetch(&[], "").await, none);
    assert_eq!(fetch(&["payments", ""], "").await, none);
    assert_eq!(fetch(&["payments"], "orders").await.0, Code::InvalidArgument);
    let denied = (Code::PermissionDenied, "no identity issued".to_owned());
    assert_eq!(fetch(&["payments"], WEB).await, denied);
    let (code, text) = fetch(&["payments"], ORDERS).await;
    assert_eq!(code, Code::Unimplemented, "{text}");
    assert!(text.contains("files, which hold no JWT-SVIDs"), "{text}");
}
