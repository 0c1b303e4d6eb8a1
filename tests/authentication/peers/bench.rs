//! A mesh, a partner and a proxy on the wire, for tests of what it forwards.

use std::collections::HashMap;
use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hopgate::authn::{
    Absent, Caller, CertificateAuthority, ClientAuthorities, ForwardHeader, ForwardRules,
    ForwardTrust, PeerEvidence, ProxyRule, Verifier, WireEvidence, WireRules, WorkloadRoots,
};
use hopgate::identity::{Members, SpiffeId, TrustBundle};
use hopgate::policy::{CertificateSubject, HeaderValue, Headers};
use rustls::pki_types::CertificateDer;

use super::pki::{self, Authority, named};
use super::{PRINCIPAL, domain, encoded, uri};
use crate::authentication::mint::{NOW, at};

pub const PROXY: &str = "spiffe://demo.mesh/ns/edge/sa/gateway";
pub const XFCC: &str = "x-forwarded-client-cert";

pub struct Lines(HashMap<String, Vec<Vec<u8>>>);

impl Headers for Lines {
    fn value(&self, name: &str) -> HeaderValue<'_> {
        match self.0.get(name).map(Vec::as_slice) {
            None | Some([]) => HeaderValue::Absent,
            Some([one]) => HeaderValue::One(one),
            Some(_) => HeaderValue::Many,
        }
    }
}

pub fn lines(of: &[(&str, &str)]) -> Lines {
    let mut all: HashMap<String, Vec<Vec<u8>>> = HashMap::new();
    for (name, value) in of {
        all.entry((*name).to_owned()).or_default().push(value.as_bytes().to_vec());
    }
    Lines(all)
}

/// A mesh, a partner, a proxy on the wire and what it is believed.
pub struct Bench {
    pub mesh: Authority,
    pub partner: Authority,
    pub proxy: CertificateDer<'static>,
    pub principal: &'static str,
    pub roots: Option<WorkloadRoots>,
    pub clients: ClientAuthorities,
    pub rule: ProxyRule,
    pub verifier: Verifier,
    pub now: u64,
}

impl Bench {
    pub fn new() -> Self {
        let (mesh, partner) = (pki::root("Mesh"), pki::root("Partner CA"));
        let bundle = TrustBundle::new(domain(), vec![mesh.der.clone()]).unwrap();
        let authority =
            CertificateAuthority::compile(partner.pem.as_bytes(), None, CertificateSubject::Dns)
                .unwrap();
        Self {
            proxy: mesh.leaf(|p| p.subject_alt_names = vec![uri(PROXY)]),
            principal: PROXY,
            roots: Some(WorkloadRoots::compile(&bundle).unwrap()),
            clients: ClientAuthorities::new(vec![(Arc::from("partners"), Arc::new(authority))]),
            rule: ProxyRule {
                id: SpiffeId::parse(PROXY).unwrap(),
                header: ForwardHeader::Xfcc,
                absent: Absent::Refuse,
                trust: ForwardTrust::Roots,
            },
            verifier: Verifier::new(1).unwrap(),
            now: NOW,
            mesh,
            partner,
        }
    }

    pub fn workload(&self) -> CertificateDer<'static> {
        self.mesh.leaf(|p| p.subject_alt_names = vec![uri(PRINCIPAL)])
    }

    pub fn client(&self) -> CertificateDer<'static> {
        self.partner.leaf(|p| named(p, &["a.example"]))
    }

    /// Asked twice: known or not, the answer is the same.
    pub fn told(&self, headers: &[(&str, &str)]) -> String {
        let once = || {
            let certificate = encoded(&pki::pem(&self.proxy));
            let forward = ForwardRules::new(vec![self.rule.clone()]).unwrap();
            let lines = lines(headers);
            let evidence = WireEvidence {
                peer: PeerEvidence { principal: self.principal, certificate: &certificate },
                headers: Some(&lines),
            };
            let own = domain();
            let rules = WireRules {
                members: Members::of(&own),
                forward: &forward,
                roots: self.roots.as_ref(),
                clients: &self.clients,
            };
            match self.verifier.on_the_wire(&evidence, &rules, at(self.now)) {
                Ok(Some(wire)) => {
                    let caller = match &wire.caller {
                        Caller::Workload(peer) => peer.id().to_string(),
                        Caller::Client(proven) => proven.client.subject().to_owned(),
                    };
                    let via = wire.via.as_ref().map(|proxy| format!(" via {}", proxy.id()));
                    caller + via.unwrap_or_default().as_str()
                }
                Ok(None) => "nobody".to_owned(),
                Err(refused) => refused.code().to_owned(),
            }
        };
        let first = once();
        assert_eq!(first, once());
        first
    }
}

pub fn via(caller: &str) -> String {
    format!("{caller} via {PROXY}")
}

pub fn hash(der: &[u8]) -> String {
    let digest = aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, der);
    digest.as_ref().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// As Envoy writes it, with what it says of the names.
pub fn xfcc(leaf: &CertificateDer<'_>, names: &str) -> String {
    let (hash, cert) = (hash(leaf), encoded(&pki::pem(leaf)));
    format!("By={PROXY};Hash={hash};Cert=\"{cert}\";Subject=\"CN=a\\\"b\\,c\"{names}")
}

pub fn bytes(der: &[u8]) -> String {
    format!(":{}:", STANDARD.encode(der))
}
