//! Simulated sidecars.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use hopgate::ca::{Attestor, Authority, Credentials, Lifetime, SigningRequest, Token, TokenStore};
use hopgate::certs::ControlServer;
use hopgate::identity::{
    Bundles, PrivateKey, SpiffeId, TrustBundle, TrustDomain, WorkloadIdentity, X509Svid,
};
use hopgate::runtime::Clock;
use hopgate::xds::own::{KINDS, Running};
use hopgate::xds::{Follower, Subscription};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::task::JoinSet;

/// How many connect at once.
const AT_ONCE: usize = 32;

/// So many certificates by the authority that the control plane will find.
pub fn identities(directory: &Path, count: usize) -> Vec<WorkloadIdentity> {
    let domain = TrustDomain::parse("bench.mesh").unwrap();
    let now = SystemTime::now();
    let directory = directory.join("ca");
    let authority = Authority::open(&directory, &domain, now).unwrap();
    let tokens = Arc::new(TokenStore::open(&directory).unwrap());
    let attestor = Attestor::new(&authority, Arc::clone(&tokens)).unwrap();
    let issue = |n: usize| {
        let id = SpiffeId::for_service_account(&domain, "bench", &format!("s-{n}")).unwrap();
        let token = tokens.create(&id, Duration::from_secs(60), now).unwrap();
        let credentials =
            Credentials { token: Some(Token::Join(token.expose())), certificates: None };
        let attested = attestor.attest(&credentials, now).unwrap();
        let key = PrivateKey::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = params.serialize_request(&key.to_key_pair().unwrap()).unwrap();
        let request = SigningRequest::parse(&request.pem().unwrap()).unwrap();
        let lifetime = Lifetime::new(Duration::from_secs(3600)).unwrap();
        let issued = authority.sign(attested, &request, lifetime, now).unwrap();
        let chain = issued.release(&tokens).unwrap().chain_pem();
        let chain = chain[..2].iter().map(|pem| CertificateDer::from_pem_slice(pem.as_bytes()));
        let chain = chain.collect::<Result<_, _>>().unwrap();
        let svid = X509Svid::new(chain, key, &authority.bundle(), now).unwrap();
        WorkloadIdentity { svid, bundles: Bundles::new(authority.bundle()) }
    };
    (0..count).map(issue).collect()
}

/// Connects all of them; each then acknowledges whatever it is told.
pub async fn connect(port: u16, identities: Vec<WorkloadIdentity>) -> JoinSet<()> {
    let mut sidecars = JoinSet::new();
    let mut opening = JoinSet::new();
    for identity in identities {
        if opening.len() >= AT_ONCE {
            sidecars.spawn(listen(opening.join_next().await.unwrap().unwrap()));
        }
        opening.spawn(open(port, identity));
    }
    while let Some(opened) = opening.join_next().await {
        sidecars.spawn(listen(opened.unwrap()));
    }
    sidecars
}

async fn open(port: u16, identity: WorkloadIdentity) -> (Subscription, Follower) {
    let server = ControlServer::parse(&format!("https://localhost:{port}")).unwrap();
    let roots: &TrustBundle = identity.bundles.own();
    let channel = server.connect(Some(&identity), roots, &Clock::system()).await.unwrap();
    let follower = Follower::new(KINDS.map(|kind| kind.type_url));
    let node = Running::default().node(identity.svid.id().as_str());
    (Subscription::open(channel, follower.begin(&node)).await.unwrap(), follower)
}

async fn listen((mut subscription, mut follower): (Subscription, Follower)) {
    while let Ok(Some(answer)) = subscription.next().await {
        let update = follower.read(answer).unwrap();
        let said = follower.accept(&update);
        subscription.say(said).await.unwrap();
    }
}
