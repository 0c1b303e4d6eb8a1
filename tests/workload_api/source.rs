//! A workload whose certificate comes from a Workload API: followed, verified, kept over outages, and used by a real Envoy.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hopgate::certs::{self, Renewal, RenewalHandle};
use hopgate::identity::{SpiffeId, WorkloadIdentity};
use hopgate::proto::workload::{X509svid, X509svidResponse};
use hopgate::runtime::{Clock, Tasks};
use hopgate::sidecar::Bound;
use tokio::sync::{oneshot, watch};

use super::endpoint::{Endpoint, ORDERS, WEB};
use super::impostor::Impostor;
use crate::discovery::workload::{SERVER, Workload, dial, get, serial};
use crate::support::Scratch;
use crate::support::envoy::eventually;
use crate::support::jwt::JwtKey;
use crate::support::pki::{self, Ca};

/// A renewal from a Workload API that runs.
struct Follower {
    identity: watch::Receiver<Option<Arc<WorkloadIdentity>>>,
    handle: RenewalHandle,
    _stop: oneshot::Sender<()>,
}

impl Follower {
    fn start(socket: &Path, clock: &Clock) -> Self {
        let text = format!("workloadApi: {{ socket: \"unix:{}\" }}", socket.display());
        let config: certs::Config = serde_saphyr::from_str(&text).unwrap();
        let id = SpiffeId::parse(ORDERS).unwrap();
        let renewal = Renewal::new(&config, id, clock.clone()).unwrap();
        let (identity, handle) = (renewal.identity(), renewal.handle());
        let mut tasks = Tasks::new();
        tasks.spawn("renewal", renewal.run(tasks.drain()));
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(async move {
            let shutdown = async { drop(stopped.await) };
            tasks.run(shutdown, Duration::from_secs(2)).await.unwrap();
        });
        Self { identity, handle, _stop: stop }
    }

    fn serial(&self) -> Option<String> {
        self.identity.borrow().as_ref().map(|held| held.svid.leaf().serial().to_owned())
    }

    async fn holds(&self, serial: &str) -> bool {
        eventually(async || self.serial().as_deref() == Some(serial)).await
    }

    async fn says(&self, words: &str) -> bool {
        let said = || self.handle.status().last_error.unwrap_or_default();
        eventually(async || said().contains(words)).await
    }
}

#[tokio::test]
async fn the_identity_follows_the_workload_api_with_every_bundle() {
    let (ca, partner) = (pki::ca(), pki::ca().bundle("spiffe://partner.mesh/x"));
    let (own, theirs, strange) = (JwtKey::new("one"), JwtKey::new("two"), JwtKey::new("three"));
    let make = || {
        let mut identity = ca.identity(ORDERS);
        identity.bundles = identity
            .bundles
            .with_foreign(partner.clone())
            .with_jwt(own.bundle("demo.mesh"))
            .with_jwt(theirs.bundle("partner.mesh"))
            .with_jwt(strange.bundle("strange.mesh"));
        identity
    };
    let endpoint = Endpoint::start(Some(make())).await;
    let follower = Follower::start(&endpoint.socket(), &Clock::system());
    assert!(follower.holds(&endpoint.serial()).await, "{:?}", follower.handle.status());
    let held = || follower.identity.borrow().clone().unwrap();
    let keyed = eventually(async || held().bundles.jwt().count() == 2);
    assert!(keyed.await, "keys come on their own stream, and only of domains that are trusted");
    let bundles = held().bundles.clone();
    assert_eq!(bundles.own(), &ca.bundle(ORDERS));
    assert_eq!(bundles.foreign().collect::<Vec<_>>(), [&partner]);
    assert_eq!(bundles.jwt_of(partner.domain()), Some(&theirs.bundle("partner.mesh")));

    endpoint.show(Some(make()));
    assert!(follower.holds(&endpoint.serial()).await, "a rotation arrives");
    assert_eq!(held().bundles, bundles);
}

#[tokio::test]
async fn what_is_not_this_workload_s_own_is_refused_and_the_good_one_kept() {
    let ca = pki::ca();
    let (good, clock) = (ca.identity(ORDERS), Clock::system());
    let server = Impostor::start().await;
    let follower = Follower::start(&server.socket(), &clock);
    server.say(answer(&good));
    assert!(follower.holds(good.svid.leaf().serial()).await);
    let now = SystemTime::now();
    let hour = Duration::from_secs(3600);
    let over = ca.leaf_between(ORDERS, now - 2 * hour, now - hour);
    let early = ca.leaf_between(ORDERS, now + hour, now + 2 * hour);
    for (name, odd, words) in [
        ("another workload's", answer(&ca.identity(WEB)), "none of the SVIDs"),
        ("one that says it is ours", renamed(&ca.identity(WEB)), "not spiffe://demo.mesh"),
        ("of a stranger's root", other_roots(&ca.identity(ORDERS)), "refused: the chain"),
        ("over", with_leaf(&ca, &over), "refused: the chain"),
        ("not yet valid", with_leaf(&ca, &early), "refused: the chain"),
        ("with another key", swapped(&ca.identity(ORDERS), &good), "does not belong"),
        ("without roots", without_roots(&ca.identity(ORDERS)), "holds no certificate"),
        ("cut short", cut(&ca.identity(ORDERS)), "no sequence of DER"),
        ("with no SVID", X509svidResponse::default(), "none of the SVIDs"),
    ] {
        let before = follower.handle.status().failures;
        server.say(odd);
        let refused = async || follower.handle.status().failures > before;
        assert!(eventually(refused).await, "{name} is not refused");
        let reason = follower.handle.status().last_error.unwrap_or_default();
        assert!(reason.contains(words), "{name}: {reason}");
        assert_eq!(follower.serial().as_deref(), Some(good.svid.leaf().serial()), "{name}");
    }
    let better = ca.identity(ORDERS);
    server.say(answer(&better));
    assert!(follower.holds(better.svid.leaf().serial()).await, "the stream went on");
}

#[tokio::test]
async fn a_foreign_bundle_that_cannot_be_read_is_left_out() {
    let ca = pki::ca();
    let server = Impostor::start().await;
    let follower = Follower::start(&server.socket(), &Clock::system());
    let identity = ca.identity(ORDERS);
    let mut said = answer(&identity);
    let partner = pki::ca();
    for (name, roots) in [
        ("spiffe://partner.mesh", partner.root().to_vec()),
        ("spiffe://broken.mesh", b"x".to_vec()),
        ("spiffe://empty.mesh", Vec::new()),
        ("partner2.mesh", partner.root().to_vec()),
        // Whoever federates does not speak for the own domain.
        ("spiffe://demo.mesh", partner.root().to_vec()),
    ] {
        said.federated_bundles.insert(name.to_owned(), roots);
    }
    server.say(said);
    assert!(follower.holds(identity.svid.leaf().serial()).await);
    let held = follower.identity.borrow().clone().unwrap();
    let foreign: Vec<_> = held.bundles.foreign().map(|bundle| bundle.domain().as_str()).collect();
    assert_eq!(foreign, ["partner.mesh"]);
    assert_eq!(held.bundles.own(), &ca.bundle(ORDERS));
}

#[tokio::test]
async fn an_outage_costs_nothing_and_a_withdrawal_counts() {
    let ca = pki::ca();
    let first = ca.identity(ORDERS);
    let server = Impostor::start().await;
    let follower = Follower::start(&server.socket(), &Clock::system());
    server.say(answer(&first));
    assert!(follower.holds(first.svid.leaf().serial()).await);

    server.refuse(Some(tonic::Status::permission_denied("no identity issued")));
    server.break_off(tonic::Status::unavailable("restarting"));
    assert!(follower.says("no identity issued").await, "an agent that has just started");
    assert_eq!(follower.serial().as_deref(), Some(first.svid.leaf().serial()), "it is kept");

    server.refuse(None);
    let second = ca.identity(ORDERS);
    server.say(answer(&second));
    assert!(follower.holds(second.svid.leaf().serial()).await, "the connection is made again");

    server.break_off(tonic::Status::permission_denied("no identity issued"));
    assert!(eventually(async || follower.serial().is_none()).await, "it was taken back");
    let status = follower.handle.status();
    assert!(status.last_error.is_some_and(|said| said.contains("no identity issued")));
}

#[tokio::test]
async fn a_certificate_that_ends_in_an_outage_is_not_served() {
    let ca = pki::ca();
    let clock = Clock::manual(SystemTime::now());
    let endpoint = Endpoint::start(Some(ca.identity(ORDERS))).await;
    let follower = Follower::start(&endpoint.socket(), &clock);
    assert!(follower.holds(&endpoint.serial()).await);
    endpoint.stop().await;
    assert!(follower.says("Workload API").await);
    assert!(follower.serial().is_some());
    clock.advance(Duration::from_secs(86_401));
    assert!(eventually(async || follower.serial().is_none()).await);
}

/// A whole sidecar; stopped with the test.
struct Whole {
    scratch: Scratch,
    _stop: oneshot::Sender<()>,
}

impl Whole {
    async fn start(scratch: Scratch, rest: &str) -> Self {
        drop(rustls::crypto::aws_lc_rs::default_provider().install_default());
        scratch.write("resources/none.yaml", RESOURCES);
        let config = scratch.write(
            "sidecar.yaml",
            &format!(
                "workload: {{ trustDomain: demo.mesh, namespace: shop, serviceAccount: orders }}\n\
                 resources: [resources]\nextAuthz: {{ listen: [\"unix:authz.sock\"] }}\n\
                 admin: {{ listen: \"unix:admin.sock\" }}\ndecisionLog: {{ path: decisions.log }}\n{rest}"
            ),
        );
        let config = hopgate::config::sidecar(&config, Default::default()).unwrap();
        let bound = Bound::build(config, Clock::system()).await.unwrap();
        let (stop, stopped) = oneshot::channel::<()>();
        tokio::spawn(bound.run(async { drop(stopped.await) }));
        Self { scratch, _stop: stop }
    }

    fn path(&self, name: &str) -> std::path::PathBuf {
        self.scratch.path().join(name)
    }
}

const RESOURCES: &str = "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\n\
    metadata: { name: all, namespace: shop }\nspec: { rules: [{ name: all, allow: { peers: [\"*\"] } }] }\n";

/// Writes a new certificate of `ca` for the files source, and gives its serial.
fn renew(ca: &Ca, scratch: &Scratch) -> String {
    let identity = ca.identity(ORDERS);
    let key = scratch.path().join("key.pem");
    hopgate::runtime::write_atomic(&key, identity.svid.key().to_pem().as_bytes(), 0o600).unwrap();
    scratch.write("roots.pem", &identity.bundles.own().to_pem());
    scratch.write("cert.pem", &identity.svid.chain_pem());
    identity.svid.leaf().serial().to_owned()
}

#[tokio::test]
async fn an_envoy_uses_what_its_sidecar_got_from_another_sidecar_s_workload_api() {
    let ca = pki::ca();
    let files = Scratch::new("wl-first");
    let serial_of_first = renew(&ca, &files);
    let first = Whole::start(
        files,
        "certificates: { files: { certificate: cert.pem, key: key.pem, bundle: roots.pem } }\n\
         workloadApi: { listen: \"unix:workload.sock\" }\n",
    )
    .await;
    let socket = first.path("workload.sock");
    let second = Whole::start(
        Scratch::new("wl-second"),
        &format!(
            "certificates: {{ workloadApi: {{ socket: \"unix:{}\" }} }}\nsds: {{ listen: \"unix:sds.sock\" }}\n",
            socket.display()
        ),
    )
    .await;
    let server = Workload::start(ORDERS, SERVER, second.path("sds.sock")).await;
    server.envoy.live().await;
    let http = server.envoy.listener("inbound|http").await;
    let web = ca.leaf(WEB);
    let mut stream = dial(http, Some(&web)).await.unwrap();
    assert_eq!(serial(&stream), serial_of_first);
    assert_eq!(get(&mut stream, "/").await.unwrap().0, 200);

    let renewed = renew(&ca, &first.scratch);
    let seen = async || dial(http, Some(&web)).await.is_ok_and(|stream| serial(&stream) == renewed);
    assert!(eventually(seen).await, "a rotation goes all the way");
}

/// An identity as the wire has it.
fn answer(identity: &WorkloadIdentity) -> X509svidResponse {
    let svid = X509svid {
        spiffe_id: identity.svid.id().to_string(),
        x509_svid: identity.svid.chain().iter().flat_map(|der| der.to_vec()).collect(),
        x509_svid_key: identity.svid.key().to_pkcs8().to_vec(),
        bundle: identity.bundles.own().roots().iter().flat_map(|der| der.to_vec()).collect(),
        hint: String::new(),
    };
    X509svidResponse { svids: vec![svid], ..X509svidResponse::default() }
}

fn changed(identity: &WorkloadIdentity, change: impl FnOnce(&mut X509svid)) -> X509svidResponse {
    let mut answer = answer(identity);
    change(&mut answer.svids[0]);
    answer
}

fn renamed(identity: &WorkloadIdentity) -> X509svidResponse {
    changed(identity, |svid| svid.spiffe_id = ORDERS.to_owned())
}

fn other_roots(identity: &WorkloadIdentity) -> X509svidResponse {
    changed(identity, |svid| svid.bundle = pki::ca().root().to_vec())
}

fn swapped(identity: &WorkloadIdentity, key: &WorkloadIdentity) -> X509svidResponse {
    changed(identity, |svid| svid.x509_svid_key = key.svid.key().to_pkcs8().to_vec())
}

fn without_roots(identity: &WorkloadIdentity) -> X509svidResponse {
    changed(identity, |svid| svid.bundle.clear())
}

fn cut(identity: &WorkloadIdentity) -> X509svidResponse {
    changed(identity, |svid| svid.x509_svid.truncate(svid.x509_svid.len() - 1))
}

fn with_leaf(ca: &Ca, leaf: &pki::Leaf) -> X509svidResponse {
    changed(&ca.identity(ORDERS), |svid| {
        svid.x509_svid = leaf.certificate.to_vec();
        svid.x509_svid_key = leaf.key.serialize_der();
    })
}
