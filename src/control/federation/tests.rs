//! What tests of this module share: bundles that are made up, a time.

use std::time::{Duration, SystemTime};

use rcgen::{BasicConstraints, CertificateParams, IsCa, KeyPair, KeyUsagePurpose};
use rustls::pki_types::CertificateDer;

use crate::identity::{Bundles, JwtBundle, SpiffeBundle, TrustBundle, TrustDomain};

use super::Foreign;

/// A directory of one test, removed at its end.
pub(super) struct Scratch(std::path::PathBuf);

impl Scratch {
    pub(super) fn new(name: &str) -> Self {
        let path = std::env::temp_dir().join(format!("hopgate-{name}-{}", std::process::id()));
        drop(std::fs::remove_dir_all(&path));
        std::fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(super) fn path(&self) -> &std::path::Path {
        &self.0
    }
}

impl Drop for Scratch {
    fn drop(&mut self) {
        drop(std::fs::remove_dir_all(&self.0));
    }
}

pub(super) fn start() -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000)
}

/// A bundle of `partner.example` with one root of its own.
pub(super) fn bundle(name: &str) -> SpiffeBundle {
    bundle_of("partner.example", name)
}

pub(super) fn bundle_of(domain: &str, name: &str) -> SpiffeBundle {
    let domain = TrustDomain::parse(domain).unwrap();
    let mut params = CertificateParams::default();
    params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
    params.key_usages = vec![KeyUsagePurpose::KeyCertSign];
    params.distinguished_name.push(rcgen::DnType::CommonName, name);
    let root = params.self_signed(&KeyPair::generate().unwrap()).unwrap();
    let root = CertificateDer::from(root.der().to_vec());
    let x509 = TrustBundle::new(domain.clone(), vec![root]).unwrap();
    SpiffeBundle::new(x509, &JwtBundle::empty(domain)).unwrap()
}

#[test]
fn foreign_bundles_stand_beside_the_own_one_and_never_in_its_place() {
    let own = bundle_of("demo.mesh", "own").x509().unwrap().clone();
    let (partner, impostor) = (bundle("a"), bundle_of("demo.mesh", "impostor"));
    let foreign = Foreign(
        [&partner, &impostor]
            .map(|bundle| (bundle.domain().clone(), std::sync::Arc::new(bundle.clone())))
            .into(),
    );
    let bundles = foreign.join(Bundles::new(own.clone()));
    assert_eq!(bundles.own(), &own);
    assert_eq!(bundles.of(partner.domain()), partner.x509());
    assert_eq!(bundles.foreign().count(), 1);
    assert_eq!(bundles.of(&TrustDomain::parse("third.example").unwrap()), None);
}
