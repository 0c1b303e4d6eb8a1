//! Workloads of trust domains that the mesh federates with: each by its own roots, and by no others.

use hopgate::authn::{ClientAuthorities, ForwardTrust, WorkloadRoots};
use hopgate::identity::{SpiffeId, TrustBundle, TrustDomain};
use rustls::pki_types::CertificateDer;

use super::bench::{Bench, PROXY, XFCC, via, xfcc};
use super::pki::{self, Authority};
use super::{PRINCIPAL, domain, encoded, uri};
use crate::authentication::mint::NOW;

const PARTNER: &str = "spiffe://partner.example/ns/shop/sa/web";
const THIRD: &str = "spiffe://third.example/ns/shop/sa/web";

/// A mesh that federates with `partner.example` and `third.example`; somebody holds the connection, and no provider has
/// authorities of its own.
struct Site {
    bench: Bench,
    partner: Authority,
    third: Authority,
}

impl Site {
    fn new() -> Self {
        let mut bench = Bench::new();
        bench.clients = ClientAuthorities::none();
        let mut site = Self { bench, partner: pki::root("Partner"), third: pki::root("Third") };
        site.federate(&["partner.example", "third.example"]);
        site
    }

    fn federate(&mut self, with: &[&str]) {
        let own = TrustBundle::new(domain(), vec![self.bench.mesh.der.clone()]).unwrap();
        let mut roots = WorkloadRoots::compile(&own).unwrap();
        for (name, authority) in
            [("partner.example", &self.partner), ("third.example", &self.third)]
        {
            if with.contains(&name) {
                let name = TrustDomain::parse(name).unwrap();
                let bundle = TrustBundle::new(name, vec![authority.der.clone()]).unwrap();
                roots.add_foreign(&bundle).unwrap();
            }
        }
        self.bench.roots = Some(roots);
    }

    /// Who is told to call, with this certificate.
    fn told(
        &mut self,
        id: &'static str,
        leaf: &CertificateDer<'static>,
        headers: &[(&str, &str)],
    ) -> String {
        self.bench.principal = id;
        self.bench.proxy = leaf.clone();
        self.bench.told(headers)
    }
}

fn leaf(authority: &Authority, id: &str) -> CertificateDer<'static> {
    authority.leaf(|p| p.subject_alt_names = vec![uri(id)])
}

#[test]
fn each_trust_domain_is_believed_about_its_own_workloads_only() {
    let mut site = Site::new();
    for (id, own) in [(PRINCIPAL, 0), (PARTNER, 1), (THIRD, 2)] {
        for signer in 0..3 {
            let authority = [&site.bench.mesh, &site.partner, &site.third][signer];
            let certificate = leaf(authority, id);
            let expected = match (signer == own, id == PRINCIPAL) {
                (true, _) => id,
                (false, true) => "workload_untrusted",
                (false, false) => "foreign_untrusted",
            };
            assert_eq!(site.told(id, &certificate, &[]), expected, "{id} by {signer}");
        }
    }
    let stranger = leaf(&pki::root("Partner"), PARTNER);
    assert_eq!(site.told(PARTNER, &stranger, &[]), "foreign_untrusted", "a root of the same name");
}

#[test]
fn whoever_is_not_federated_is_foreign() {
    let mut site = Site::new();
    let certificate = leaf(&site.partner, PARTNER);
    assert_eq!(site.told(PARTNER, &certificate, &[]), PARTNER);
    // Removed: with the new roots what the old ones proved is forgotten.
    site.federate(&["third.example"]);
    assert_eq!(site.told(PARTNER, &certificate, &[]), "foreign_trust_domain");
    site.federate(&[]);
    assert_eq!(site.told(PARTNER, &certificate, &[]), "foreign_trust_domain");
    let own = leaf(&site.bench.mesh, PRINCIPAL);
    assert_eq!(site.told(PRINCIPAL, &own, &[]), PRINCIPAL);
    site.bench.roots = None;
    assert_eq!(site.told(PARTNER, &certificate, &[]), "foreign_trust_domain");
}

#[test]
fn names_and_dates_are_judged_as_for_anybody() {
    let mut site = Site::new();
    let certificate = leaf(&site.partner, PARTNER);
    assert_eq!(site.told(THIRD, &certificate, &[]), "principal_mismatch");
    assert_eq!(site.told(PARTNER, &certificate, &[]), PARTNER);
    site.bench.now = NOW + 61;
    assert_eq!(site.told(PARTNER, &certificate, &[]), "certificate_expired");
    site.bench.now = NOW - 61;
    assert_eq!(site.told(PARTNER, &certificate, &[]), "certificate_not_yet_valid");
}

fn chain(leaf: &CertificateDer<'_>, rest: &[&CertificateDer<'_>]) -> String {
    let pem: String = std::iter::once(&leaf).chain(rest).map(|der| pki::pem(der)).collect();
    xfcc(leaf, &format!(";Chain=\"{}\"", encoded(&pem)))
}

#[test]
fn authorities_in_between_come_from_the_header_that_envoy_writes() {
    let mut site = Site::new();
    let issuing = site.partner.intermediate("Partner issuing", |_| {});
    let certificate = leaf(&issuing, PARTNER);
    let told = chain(&certificate, &[&issuing.der]);
    let bare = xfcc(&certificate, "");
    assert_eq!(site.told(PARTNER, &certificate, &[]), "foreign_untrusted");
    assert_eq!(site.told(PARTNER, &certificate, &[(XFCC, &bare)]), "foreign_untrusted");
    assert_eq!(site.told(PARTNER, &certificate, &[(XFCC, &told)]), PARTNER);

    // Whoever writes it proves nothing by it.
    let forged = pki::root("Partner").intermediate("Partner issuing", |_| {});
    let by_forged = leaf(&forged, PARTNER);
    let told = chain(&by_forged, &[&forged.der]);
    assert_eq!(site.told(PARTNER, &by_forged, &[(XFCC, &told)]), "foreign_untrusted");
    let told = chain(&by_forged, &[&forged.der, &issuing.der, &site.partner.der]);
    assert_eq!(site.told(PARTNER, &by_forged, &[(XFCC, &told)]), "foreign_untrusted");
    // An authority of the partner's cannot make a workload of ours, whatever chain is told.
    let ours = leaf(&issuing, PRINCIPAL);
    let told = chain(&ours, &[&issuing.der, &site.partner.der]);
    assert_eq!(site.told(PRINCIPAL, &ours, &[(XFCC, &told)]), "workload_untrusted");
    let third = leaf(&issuing, THIRD);
    let told = chain(&third, &[&issuing.der]);
    assert_eq!(site.told(THIRD, &third, &[(XFCC, &told)]), "foreign_untrusted");
    // Ours through an authority of ours that this workload does not know by itself.
    let own_issuing = site.bench.mesh.intermediate("Mesh issuing", |_| {});
    let own = leaf(&own_issuing, PRINCIPAL);
    assert_eq!(site.told(PRINCIPAL, &own, &[]), "workload_untrusted");
    let told = chain(&own, &[&own_issuing.der]);
    assert_eq!(site.told(PRINCIPAL, &own, &[(XFCC, &told)]), PRINCIPAL);
    // A chain of somebody else's certificate, a header twice, nonsense.
    let other = chain(&leaf(&own_issuing, PRINCIPAL), &[&own_issuing.der]);
    let fresh = leaf(&own_issuing, PRINCIPAL);
    for header in [other.as_str(), "nonsense", ""] {
        assert_eq!(site.told(PRINCIPAL, &fresh, &[(XFCC, header)]), "workload_untrusted");
    }
    let told = chain(&fresh, &[&own_issuing.der]);
    assert_eq!(site.told(PRINCIPAL, &fresh, &[(XFCC, &told), (XFCC, &told)]), "workload_untrusted");
}

#[test]
fn a_proxy_may_forward_foreign_workloads_and_is_never_enough_for_them() {
    let mut site = Site::new();
    let proxy = leaf(&site.bench.mesh, PROXY);
    let good = xfcc(&leaf(&site.partner, PARTNER), "");
    let forged = xfcc(&leaf(&site.third, PARTNER), "");
    for trust in [ForwardTrust::Roots, ForwardTrust::Proxy] {
        site.bench.rule.trust = trust;
        assert_eq!(site.told(PROXY, &proxy, &[(XFCC, &good)]), via(PARTNER));
        assert_eq!(site.told(PROXY, &proxy, &[(XFCC, &forged)]), "forwarded_untrusted");
    }
}

#[test]
fn a_foreign_workload_speaks_for_itself_alone() {
    let mut site = Site::new();
    site.bench.rule.id = SpiffeId::parse(PARTNER).unwrap();
    let certificate = leaf(&site.partner, PARTNER);
    let ours = xfcc(&leaf(&site.bench.mesh, PRINCIPAL), "");
    assert_eq!(site.told(PARTNER, &certificate, &[(XFCC, &ours)]), PARTNER);
    assert_eq!(site.told(PARTNER, &certificate, &[]), PARTNER);
}

#[test]
fn an_alias_of_the_mesh_is_vouched_for_by_the_mesh() {
    use hopgate::authn::{ForwardRules, PeerEvidence, WireEvidence, WireRules};
    use hopgate::identity::Members;
    let site = Site::new();
    let (own, aliases) = (domain(), [TrustDomain::parse("partner.example").unwrap()]);
    let members = Members::of(&own).with_aliases(&aliases);
    let told = |certificate: &CertificateDer<'static>| {
        let certificate = encoded(&pki::pem(certificate));
        let peer = PeerEvidence { principal: PARTNER, certificate: &certificate };
        let rules = WireRules {
            members,
            forward: &ForwardRules::nobody(),
            roots: site.bench.roots.as_ref(),
            clients: &site.bench.clients,
        };
        let evidence = WireEvidence { peer, headers: None };
        let told = site.bench.verifier.on_the_wire(
            &evidence,
            &rules,
            crate::authentication::mint::at(NOW),
        );
        told.map(|wire| wire.is_some()).map_err(|refused| refused.code())
    };
    assert_eq!(told(&leaf(&site.bench.mesh, PARTNER)), Ok(true));
    assert_eq!(told(&leaf(&site.partner, PARTNER)), Err("workload_untrusted"));
}
