//! The control plane: told on stdin what to publish, it says on stdout how many microseconds the last acknowledgement
//! took.

use std::path::Path;
use std::time::{Duration, Instant, SystemTime};

use hopgate::control::discovery::{Fleet, Publisher};
use hopgate::control::{Config, Control};
use hopgate::identity::{SpiffeId, TrustBundle};
use hopgate::runtime::{Address, Clock, Tasks};
use hopgate::xds::own::{
    REISSUE_ORDER_TYPE, REVOKED_WORKLOAD_TYPE, ReissueOrder, RevokedWorkload, TRUST_BUNDLE_TYPE,
};

/// Where the bench's API server leaves what an administrator needs. It names files beside it.
pub const KUBECONFIG: &str = "kube/admin.kubeconfig";

pub fn serve(directory: &Path) {
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let mut text = "trustDomain: bench.mesh\nlisten: \"127.0.0.1:0\"\ndirectory: ca\nserverNames: [localhost]\n"
            .to_owned();
        if directory.join(KUBECONFIG).exists() {
            text += &format!(
                "kubernetes: {{ kubeconfig: {KUBECONFIG} }}\nresources: {{ rootNamespace: root }}\n"
            );
        }
        let mut config: Config = serde_saphyr::from_str(&text).unwrap();
        config.resolve(directory);
        let control = Control::bind(&config, Clock::system()).await.unwrap();
        let Address::Tcp(address) = control.address().clone() else { panic!("TCP") };
        let (publisher, fleet) = (control.publisher(), control.fleet());
        std::fs::write(directory.join("roots.pem"), control.bundle().to_pem()).unwrap();
        let mut tasks = Tasks::new();
        control.start(&mut tasks).unwrap();
        let commands = tokio::spawn(async move {
            println!("{}", address.port());
            let next = || tokio::task::spawn_blocking(|| std::io::stdin().lines().next());
            let mut count = 0;
            while let Ok(Some(Ok(line))) = next().await {
                let took = obey(&line, &mut count, (&publisher, &fleet)).await;
                println!("{}", took.as_micros());
            }
        });
        let ended = async { drop(commands.await) };
        tasks.run(ended, Duration::from_secs(1)).await.unwrap();
    });
}

async fn obey(line: &str, count: &mut usize, (publisher, fleet): (&Publisher, &Fleet)) -> Duration {
    let since = Instant::now();
    match line {
        "root" => publisher.change(|published| {
            let own = published.bundles.own().roots().iter().take(1).cloned();
            let roots = own.chain([root()]).collect();
            let domain = published.bundles.own().domain().clone();
            let own = TrustBundle::new(domain, roots).unwrap();
            published.bundles = published.bundles.clone().with_own(own);
        }),
        "revoke" => publisher.change(|published| {
            let n = published.revoked.len();
            let id = format!("spiffe://bench.mesh/ns/bench/sa/gone-{n}");
            let id = SpiffeId::parse(&id).unwrap();
            let revoked = RevokedWorkload {
                id,
                serial: None,
                until: None,
                reason: "a bench".to_owned(),
                by: "uid 0".to_owned(),
            };
            published.revoked.insert(revoked.name(), revoked);
        }),
        "reissue" => publisher.change(|published| {
            let within = Duration::from_secs(
                published.reissue.map_or(3600, |order| order.within.as_secs() + 1),
            );
            published.reissue = Some(ReissueOrder { issued_before: SystemTime::now(), within });
        }),
        connected => *count = connected.split(' ').nth(1).unwrap().parse().unwrap(),
    }
    let published = publisher.current();
    let bundle = published.bundle_version(published.bundles.own().domain()).unwrap();
    let mut wanted = vec![(TRUST_BUNDLE_TYPE, "bench.mesh".to_owned(), bundle)];
    if let Some(revoked) = published.revoked.values().last() {
        let encoded = revoked.encode();
        wanted.push((REVOKED_WORKLOAD_TYPE, encoded.name.clone(), encoded.version()));
    }
    if let Some(order) = &published.reissue {
        let encoded = order.encode();
        wanted.push((REISSUE_ORDER_TYPE, encoded.name.clone(), encoded.version()));
    }
    let mut changes = fleet.changes();
    for (type_url, name, version) in wanted {
        loop {
            changes.mark_unchanged();
            let answer = fleet.acknowledged((type_url, &name), Some(&version));
            if answer.acknowledged >= *count && answer.lagging.is_empty() {
                break;
            }
            // Many acknowledgements come together; asking after each would measure the asking.
            tokio::time::sleep(Duration::from_millis(2)).await;
            changes.changed().await.unwrap();
        }
    }
    since.elapsed()
}

fn root() -> rustls::pki_types::CertificateDer<'static> {
    let key = rcgen::KeyPair::generate().unwrap();
    let mut params = rcgen::CertificateParams::default();
    params.is_ca = rcgen::IsCa::Ca(rcgen::BasicConstraints::Unconstrained);
    params.self_signed(&key).unwrap().der().clone()
}
