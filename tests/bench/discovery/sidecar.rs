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
use hopgate::xds::own::{KINDS, POLICY_KIND, PolicyResource, Running};
use hopgate::xds::{Follower, Subscription};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use tokio::sync::watch;
use tokio::task::JoinSet;

/// Which generation of the policy how many sidecars have acknowledged.
#[derive(Clone)]
pub struct Progress(Arc<watch::Sender<(u64, usize)>>);

impl Progress {
    pub fn new() -> Self {
        Self(Arc::new(watch::Sender::new((0, 0))))
    }

    fn acknowledged(&self, generation: u64) {
        self.0.send_modify(|(now, count)| {
            if *now < generation {
                (*now, *count) = (generation, 0);
            }
            *count += usize::from(*now == generation);
        });
    }

    /// Waits until so many have that generation.
    pub async fn until(&self, generation: u64, count: usize) {
        let mut progress = self.0.subscribe();
        progress.wait_for(|(now, have)| *now >= generation && *have >= count).await.unwrap();
    }
}

/// How many connect at once.
const AT_ONCE: usize = 32;

/// So many certificates of one workload by the authority that the control plane will find.
pub fn identities(directory: &Path, count: usize) -> Vec<WorkloadIdentity> {
    let domain = TrustDomain::parse("bench.mesh").unwrap();
    let now = SystemTime::now();
    let directory = directory.join("ca");
    let authority = Authority::open(&directory, &domain, now).unwrap();
    let tokens = Arc::new(TokenStore::open(&directory).unwrap());
    let attestor = Attestor::new(&authority, Arc::clone(&tokens)).unwrap();
    let issue = |_: usize| {
        let id = SpiffeId::for_service_account(&domain, "bench", "s").unwrap();
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
pub async fn connect(
    port: u16,
    identities: Vec<(WorkloadIdentity, Option<String>)>,
    progress: &Progress,
) -> JoinSet<()> {
    let mut sidecars = JoinSet::new();
    let mut opening = JoinSet::new();
    for (identity, pod) in identities {
        if opening.len() >= AT_ONCE {
            let opened = opening.join_next().await.unwrap().unwrap();
            sidecars.spawn(listen(opened, progress.clone()));
        }
        opening.spawn(open(port, identity, pod));
    }
    while let Some(opened) = opening.join_next().await {
        sidecars.spawn(listen(opened.unwrap(), progress.clone()));
    }
    sidecars
}

/// One that has a pod asks for its resources, too.
async fn open(
    port: u16,
    identity: WorkloadIdentity,
    pod: Option<String>,
) -> (Subscription, Follower) {
    let server = ControlServer::parse(&format!("https://localhost:{port}")).unwrap();
    let roots: &TrustBundle = identity.bundles.own();
    let channel = server.connect(Some(&identity), roots, &Clock::system()).await.unwrap();
    let types = KINDS.into_iter().chain(pod.is_some().then_some(POLICY_KIND));
    let follower = Follower::new(types.map(|kind| kind.type_url));
    let running = Running { pod_uid: pod.unwrap_or_default(), ..Running::default() };
    let node = running.node(identity.svid.id().as_str());
    (Subscription::open(channel, follower.begin(&node)).await.unwrap(), follower)
}

async fn listen((mut subscription, mut follower): (Subscription, Follower), progress: Progress) {
    while let Ok(Some(answer)) = subscription.next().await {
        let update = follower.read(answer).unwrap();
        let said = follower.accept(&update);
        subscription.say(said).await.unwrap();
        if update.type_url == POLICY_KIND.type_url {
            for resource in &update.resources {
                let read = PolicyResource::decode(&resource.name, &resource.content).unwrap();
                progress.acknowledged(read.generation);
            }
        }
    }
}
