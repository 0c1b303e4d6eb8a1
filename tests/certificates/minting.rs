//! JWT-SVIDs: who gets one of the control plane, what stands in it, and which key signs it while the root changes.

use std::time::{Duration, SystemTime};

use hopgate::ca::rotation::{self, Connected, FleetView, Next};
use hopgate::ca::{AttestRefused, JwtLifetime, MintError};
use hopgate::identity::{Audiences, Bundles, JwtSvid, PrivateKey, X509Svid};
use hopgate::proto::identity::MintRequest;
use hopgate::proto::identity::jwt_svid_service_client::JwtSvidServiceClient;
use hopgate::runtime::Clock;
use serde_json::{Value, json};
use tonic::transport::Channel;
use tonic::{Code, Request, Status};

use crate::support::pki;

use super::foreign::{dns, leaf, pem};
use super::parts::{
    Call, Directory, ORDERS, Office, PAYMENTS, Plane, connect, csr, ders, hours, id, start_of_time,
};

fn seconds(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn unix(time: SystemTime) -> u64 {
    time.duration_since(SystemTime::UNIX_EPOCH).unwrap().as_secs()
}

async fn certified(plane: &Plane, workload: &str, clock: &Clock) -> X509Svid {
    let key = PrivateKey::generate().unwrap();
    let call = Call {
        port: plane.port,
        trusts: &plane.bundle,
        certificate: None,
        authorization: &[format!("Bearer {}", plane.token(workload, clock))],
        csr: csr(&key, |_| {}),
        seconds: 0,
    };
    let chain = call.send(clock).await.unwrap();
    X509Svid::new(ders(&chain[..2]), key, &plane.bundle, clock.now()).unwrap()
}

async fn dial(plane: &Plane, svid: Option<&X509Svid>, clock: &Clock) -> Channel {
    let shown = svid.map(|svid| (svid.chain().to_vec(), svid.key().to_pem().to_string()));
    connect(plane.port, &plane.bundle, shown, clock).await.unwrap()
}

async fn mint(channel: Channel, audience: &[&str]) -> Result<String, Status> {
    let audience = audience.iter().map(|&one| one.to_owned()).collect();
    let answer = JwtSvidServiceClient::new(channel).mint(MintRequest { audience }).await?;
    Ok(answer.into_inner().svid)
}

fn part(token: &str, index: usize) -> Value {
    use base64::Engine as _;
    let part = token.split('.').nth(index).unwrap();
    let json = base64::engine::general_purpose::URL_SAFE_NO_PAD.decode(part).unwrap();
    serde_json::from_slice(&json).unwrap()
}

#[tokio::test]
async fn a_token_names_whom_the_certificate_names_and_says_nothing_more() {
    let directory = Directory::new();
    let clock = Clock::manual(start_of_time());
    let plane = Plane::start(&directory, &clock).await;
    let orders = certified(&plane, ORDERS, &clock).await;
    let channel = dial(&plane, Some(&orders), &clock).await;

    let token = mint(channel.clone(), &["payments", "mail", "payments"]).await.unwrap();
    let bundles = plane.publisher.current().bundles.clone();
    let kid = bundles.jwt().next().unwrap().keys()[0].common.key_id.clone().unwrap();
    assert_eq!(part(&token, 0), json!({ "typ": "JWT", "alg": "ES256", "kid": kid }));
    let now = unix(clock.now());
    let claims = json!({
        "sub": id(ORDERS).as_str(), "aud": ["mail", "payments"], "iat": now, "exp": now + 300,
    });
    assert_eq!(part(&token, 1), claims);
    let svid = JwtSvid::verify(&token, &bundles, "mail", clock.now()).unwrap();
    assert_eq!(svid.id(), &id(ORDERS));
    let mut foreign = Bundles::new(bundles.own().clone());
    assert!(JwtSvid::verify(&token, &foreign, "mail", clock.now()).is_err());
    let other = Directory::new();
    foreign = Plane::start(&other, &clock).await.publisher.current().bundles.clone();
    assert!(JwtSvid::verify(&token, &foreign, "mail", clock.now()).is_err());

    // Its certificate has 90 seconds left: so has the token.
    clock.advance(hours(1) - seconds(90));
    let token = mint(channel.clone(), &["mail"]).await.unwrap();
    assert_eq!(part(&token, 1)["exp"], unix(orders.leaf().not_after()));
    // The connection is older than the end of its certificate.
    clock.advance(seconds(91));
    let refused = mint(channel, &["mail"]).await.unwrap_err();
    assert_eq!(
        (refused.code(), refused.message()),
        (Code::Unauthenticated, "client certificate not trusted")
    );
    let text = plane.metrics.text();
    for line in [
        "minting_requests_total{outcome=\"Issued\"} 2",
        "minting_requests_total{outcome=\"Unproven\"} 1",
        "minting_duration_seconds_count 3",
    ] {
        assert!(text.contains(line), "{line} in {text}");
    }
    plane.stop().await;
}

#[tokio::test]
async fn nothing_but_a_certificate_of_the_mesh_gets_a_token() {
    let (directory, clock) = (Directory::new(), Clock::manual(start_of_time()));
    let corp = pki::ca();
    directory.write("corp.pem", &pem(&corp.root()), 0o644);
    let attest = format!(
        "attest: {{ x509: [{{ name: corp, caFile: corp.pem, workloads: \
         [{{ certificate: {{ dns: build-7.corp.example }}, workload: {ORDERS} }}] }}] }}\n"
    );
    let plane = Plane::start_with(&directory, &clock, "127.0.0.1:0", &attest).await;
    let refusal = async |channel: Channel, audience: &[&str]| {
        let status = mint(channel, audience).await.unwrap_err();
        (status.code(), status.message().to_owned())
    };
    let none = (Code::Unauthenticated, "a client certificate is needed".to_owned());
    assert_eq!(refusal(dial(&plane, None, &clock).await, &["a"]).await, none);
    // Not even a join token, which would get a certificate.
    let mut request = Request::new(MintRequest { audience: vec!["a".to_owned()] });
    let bearer = format!("Bearer {}", plane.token(ORDERS, &clock));
    request.metadata_mut().insert("authorization", bearer.parse().unwrap());
    let mut client = JwtSvidServiceClient::new(dial(&plane, None, &clock).await);
    assert_eq!(client.mint(request).await.unwrap_err().code(), Code::Unauthenticated);
    // A foreign certificate that gets a certificate of ours gets no token.
    let machine = leaf(&corp, |p| p.subject_alt_names = vec![dns("build-7.corp.example")]);
    let shown = (vec![machine.certificate.clone()], machine.key.serialize_pem());
    let channel = connect(plane.port, &plane.bundle, Some(shown.clone()), &clock).await.unwrap();
    let key = PrivateKey::generate().unwrap();
    let call = Call {
        port: plane.port,
        trusts: &plane.bundle,
        certificate: None,
        authorization: &[],
        csr: csr(&key, |_| {}),
        seconds: 0,
    };
    call.send_as(&clock, Some(shown)).await.unwrap();
    let foreign = (Code::Unauthenticated, "a client certificate of this mesh is needed".to_owned());
    assert_eq!(refusal(channel, &["a"]).await, foreign);

    let orders = certified(&plane, ORDERS, &clock).await;
    let channel = dial(&plane, Some(&orders), &clock).await;
    let long = "x".repeat(513);
    let many = ["1", "2", "3", "4", "5", "6", "7", "8", "9"];
    for (audience, words) in [
        (&[][..], "audience must be specified"),
        (&["a", ""], "audience must be specified"),
        (&[long.as_str()], "longer than 512 bytes"),
        (&["a\nb"], "control character"),
        (&many, "at most 8"),
    ] {
        let (code, text) = refusal(channel.clone(), audience).await;
        assert_eq!(code, Code::InvalidArgument, "{text}");
        assert!(text.contains(words), "{text}");
    }
    mint(channel, &many[1..]).await.unwrap();
    plane.stop().await;
}

#[tokio::test]
async fn a_revoked_workload_and_a_revoked_certificate_get_none() {
    let (directory, clock) = (Directory::new(), Clock::system());
    let plane = Plane::start(&directory, &clock).await;
    let [old, new] =
        [certified(&plane, ORDERS, &clock).await, certified(&plane, ORDERS, &clock).await];
    let other = certified(&plane, PAYMENTS, &clock).await;
    let revoke = async |arguments: &str| {
        let said = super::revoked::said(&directory.path("ca"), arguments).await;
        assert_eq!(said.0, Some(0), "{}", said.1);
    };
    let code = async |svid: &X509Svid| {
        let minted = mint(dial(&plane, Some(svid), &clock).await, &["a"]).await;
        minted.err().map(|status| (status.code(), status.message().to_owned()))
    };
    let denied = |text: &str| Some((Code::PermissionDenied, text.to_owned()));
    let serial = old.leaf().serial().to_owned();
    revoke(&format!("workload {ORDERS} --serial {serial} --reason leaked")).await;
    assert_eq!(code(&old).await, denied("this certificate is revoked; a token is needed"));
    assert_eq!(code(&new).await, None);
    revoke(&format!("workload {ORDERS} --reason leaked")).await;
    assert_eq!(code(&new).await, denied("this workload is revoked"));
    assert_eq!(code(&other).await, None);
    revoke(&format!("lift {ORDERS}")).await;
    assert_eq!(code(&new).await, None);
    plane.stop().await;
}

#[tokio::test]
async fn who_asks_too_often_waits_and_still_gets_its_certificate() {
    let (directory, clock) = (Directory::new(), Clock::manual(start_of_time()));
    let limits = "jwtSvidLifetime: 1m\nlimits: { perWorkload: { perMinute: 60, burst: 2 } }\n";
    let plane = Plane::start_with(&directory, &clock, "127.0.0.1:0", limits).await;
    let orders = certified(&plane, ORDERS, &clock).await;
    let channel = dial(&plane, Some(&orders), &clock).await;
    for _ in 0..2 {
        let token = mint(channel.clone(), &["a"]).await.unwrap();
        assert_eq!(part(&token, 1)["exp"], unix(clock.now()) + 60, "as configured");
    }
    let refused = mint(channel.clone(), &["a"]).await.unwrap_err();
    assert_eq!(refused.code(), Code::ResourceExhausted);
    assert_eq!(refused.metadata().get("retry-after").unwrap(), "1");
    let other = certified(&plane, PAYMENTS, &clock).await;
    mint(dial(&plane, Some(&other), &clock).await, &["a"]).await.unwrap();
    let renewed = Call {
        port: plane.port,
        trusts: &plane.bundle,
        certificate: Some(&orders),
        authorization: &[],
        csr: csr(&PrivateKey::generate().unwrap(), |_| {}),
        seconds: 0,
    };
    renewed.send(&clock).await.unwrap();
    clock.advance(seconds(1));
    mint(channel, &["a"]).await.unwrap();
    plane.stop().await;
}

/// Whoever verifies by the bundles of any moment in the life of a token finds its key, whatever the operator does.
#[test]
fn no_step_of_a_change_of_the_root_leaves_a_token_that_cannot_be_verified() {
    let directory = Directory::new();
    let (start, lifetime) = (start_of_time(), JwtLifetime::new(seconds(300)).unwrap());
    let office = Office::open(&directory.path("ca"), start);
    let authority = &office.authority;
    let audiences = Audiences::new(vec!["a".to_owned()]).unwrap();
    let mut tokens: Vec<(SystemTime, String, String)> = Vec::new();
    let mut kids = Vec::new();
    let mut now = start;
    let svid = |now| office.issue(ORDERS, hours(1), now);
    let mut held = svid(now);
    // Aborted once while only published, once after it signed, then carried through.
    let mut aborts = vec![start + seconds(60), start + seconds(400)];
    let mut rotations = vec![start + seconds(30), start + seconds(300), start + seconds(2000)];
    for _ in 0..500 {
        now += seconds(10);
        if rotations.first().is_some_and(|at| *at <= now) && authority.state().rotation.is_none() {
            rotations.remove(0);
            authority.prepare(None, now).unwrap();
            authority.without_absent(now).unwrap();
        }
        let stepping = authority.state().rotation.map(|change| change.step);
        let key_id = held.leaf().authority_key_id().unwrap().to_owned();
        let fleet = FleetView {
            connected: vec![Connected {
                id: id(ORDERS),
                // It takes a while each time.
                acknowledged: unix(now).is_multiple_of(60),
                key_id,
                since: now,
            }],
            ..FleetView::empty(start - hours(9))
        };
        if aborts.first().is_some_and(|at| *at <= now) && stepping.is_some() {
            aborts.remove(0);
            authority.abort(seconds(5), now).unwrap();
        } else {
            match rotation::next(&authority.state(), &fleet, now) {
                Next::Publish => authority.publish(now).unwrap(),
                Next::Activate => authority.activate(seconds(5), now).unwrap(),
                Next::Retire => authority.retire(now).unwrap(),
                Next::Reissued => authority.reissued(now).unwrap(),
                Next::Nothing | Next::Wait(_) => {}
            }
        }
        if authority.state().reissue.is_some() {
            held = svid(now);
        }
        let holder = office.attestor.holder(Some(svid(now).chain()), now).unwrap();
        let minted = authority.mint(&holder, &audiences, lifetime, now).unwrap();
        assert_eq!(minted.expires(), now + seconds(300));
        assert_eq!(minted.kid(), authority.jwt_signer().kid());
        kids.push(minted.kid().to_owned());
        tokens.push((minted.expires(), minted.kid().to_owned(), minted.token().to_owned()));
        tokens.retain(|(end, ..)| now < *end);
        let bundles = authority.trust().borrow().bundles.clone();
        for (_, kid, token) in &tokens {
            let verified = JwtSvid::verify(token, &bundles, "a", now);
            assert!(verified.is_ok(), "{kid} at {:?}: {:?}", now, authority.state());
        }
    }
    assert_eq!((aborts.len(), rotations.len()), (0, 0));
    let state = authority.state();
    assert!(state.rotation.is_none() && state.generations.len() == 4, "{state:?}");
    // Each that signed did so in turn, and what is retired is withdrawn.
    kids.dedup();
    assert_eq!(kids.len(), 4, "first, the aborted one, first again, the last: {kids:?}");
    assert_eq!((&kids[0], state.active().unwrap().kid.as_str()), (&kids[2], kids[3].as_str()));
    let bundle = authority.jwt_bundle();
    assert_eq!(bundle.keys().len(), 1);
    assert!(bundle.key(&kids[3]).is_some() && bundle.key(&kids[0]).is_none());
    // What is waited for stands in the journal, and a restart knows it.
    drop(office);
    let again = Office::open(&directory.path("ca"), now);
    assert_eq!(again.authority.state().active().unwrap().longest_token, 300);
}

#[test]
fn a_token_that_would_be_over_at_once_is_not_signed_and_no_certificate_is_no_holder() {
    let directory = Directory::new();
    let now = start_of_time();
    let office = Office::open(&directory.path("ca"), now);
    let svid = office.issue(ORDERS, hours(1), now);
    let end = svid.leaf().not_after();
    let audiences = Audiences::new(vec!["a".to_owned()]).unwrap();
    let holder = office.attestor.holder(Some(svid.chain()), end).unwrap();
    let minted = office.authority.mint(&holder, &audiences, JwtLifetime::DEFAULT, end);
    assert!(matches!(minted.err(), Some(MintError::Ends)));
    let none = office.attestor.holder(None, now).unwrap_err();
    assert!(matches!(none, AttestRefused::NoCertificate), "{none}");
    let over = office.attestor.holder(Some(svid.chain()), end + seconds(1)).unwrap_err();
    assert!(matches!(over, AttestRefused::Certificate(_)), "{over}");
    let other = Directory::new();
    let stranger = Office::open(&other.path("ca"), now).issue(ORDERS, hours(1), now);
    let foreign = office.attestor.holder(Some(stranger.chain()), now).unwrap_err();
    assert!(matches!(foreign, AttestRefused::Certificate(_)), "{foreign}");
}
