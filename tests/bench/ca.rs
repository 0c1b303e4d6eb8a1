//! Certificates per second that the authority signs on one core, with P-256 keys on both sides.
//!
//! One thread does what the signing service does for one caller that renews, without the wire: verify the chain that it
//! shows, read its request and check that it holds the key, sign, write the answer. Its parts are timed alone as well. What
//! a second on this machine is worth shows in the last line: bare signatures of the same kind.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::as_conversions,
    unreachable_pub,
    reason = "a bench fails loudly"
)]

use std::hint::black_box;
use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use aws_lc_rs::rand::SystemRandom;
use aws_lc_rs::signature::{ECDSA_P256_SHA256_ASN1_SIGNING, EcdsaKeyPair};
use hopgate::ca::{
    Attested, Attestor, Authority, Credentials, Lifetime, SigningRequest, Token, TokenStore,
};
use hopgate::identity::{PrivateKey, SpiffeId, TrustDomain};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;

const ROUNDS: usize = 5;
const SLICE: Duration = Duration::from_secs(1);

/// An authority, and a workload that renews.
struct Office {
    authority: Authority,
    attestor: Attestor,
    tokens: Arc<TokenStore>,
    chain: Vec<CertificateDer<'static>>,
    request: String,
    now: SystemTime,
}

impl Office {
    fn open(directory: &Path) -> Self {
        let now = SystemTime::now();
        let domain = TrustDomain::parse("bench.mesh").unwrap();
        let authority = Authority::open(directory, &domain, now).unwrap();
        let tokens = Arc::new(TokenStore::open(directory).unwrap());
        let attestor = Attestor::new(&authority, Arc::clone(&tokens)).unwrap();
        let key = PrivateKey::generate().unwrap();
        let mut params = rcgen::CertificateParams::default();
        params.distinguished_name = rcgen::DistinguishedName::new();
        let request = params.serialize_request(&key.to_key_pair().unwrap()).unwrap().pem().unwrap();
        let mut office = Self { authority, attestor, tokens, chain: Vec::new(), request, now };
        let id = SpiffeId::parse("spiffe://bench.mesh/ns/shop/sa/orders").unwrap();
        let token = office.tokens.create(&id, Duration::from_secs(60), now).unwrap();
        let token = Some(Token::Join(token.expose()));
        let credentials = Credentials { token, certificates: None };
        let attested = office.attestor.attest(&credentials, now).unwrap();
        let first = office.sign(attested, &SigningRequest::parse(&office.request).unwrap());
        let der = |pem: &String| CertificateDer::from_pem_slice(pem.as_bytes()).unwrap();
        office.chain = first.iter().take(2).map(der).collect();
        office
    }

    fn attest(&self) -> Attested {
        let credentials = Credentials { token: None, certificates: Some(&self.chain) };
        self.attestor.attest(&credentials, self.now).unwrap()
    }

    fn sign(&self, attested: Attested, request: &SigningRequest) -> Vec<String> {
        let unreleased =
            self.authority.sign(attested, request, Lifetime::DEFAULT, self.now).unwrap();
        unreleased.release(&self.tokens).unwrap().chain_pem()
    }
}

/// How often it can be done in a second: the best of some rounds, as everything else on a machine only takes away.
fn per_second(run: impl Fn()) -> f64 {
    let round = || {
        let began = Instant::now();
        let mut times = 0_u32;
        while began.elapsed() < SLICE {
            for _ in 0..20 {
                run();
            }
            times += 20;
        }
        f64::from(times) / began.elapsed().as_secs_f64()
    };
    (0..ROUNDS).map(|_| round()).fold(0.0, f64::max)
}

fn main() {
    let directory = std::env::temp_dir().join(format!("hopgate-bench-ca-{}", std::process::id()));
    let office = Office::open(&directory);
    eprintln!("four measurements of {} s each", ROUNDS);
    let whole = per_second(|| {
        let request = SigningRequest::parse(&office.request).unwrap();
        black_box(office.sign(office.attest(), &request));
    });
    let attest = per_second(|| drop(black_box(office.attest())));
    let parse = per_second(|| drop(black_box(SigningRequest::parse(&office.request).unwrap())));
    let pkcs8 = EcdsaKeyPair::generate_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, &SystemRandom::new());
    let pair = EcdsaKeyPair::from_pkcs8(&ECDSA_P256_SHA256_ASN1_SIGNING, pkcs8.unwrap().as_ref());
    let (pair, random) = (pair.unwrap(), SystemRandom::new());
    let bare = per_second(|| {
        black_box(pair.sign(&random, &[7; 400]).unwrap());
    });
    println!("{:<52} {:>10}", "one core, P-256", "per second");
    println!("{:<52} {whole:>10.0}", "certificates (verify the old, read, sign, write)");
    println!("{:<52} {attest:>10.0}", "  the shown chain verified");
    println!("{:<52} {parse:>10.0}", "  the request read, its signature verified");
    println!("{:<52} {bare:>10.0}", "bare ECDSA signatures");
    println!("a certificate costs as much as {:.1} bare signatures", bare / whole);
    drop(office);
    std::fs::remove_dir_all(directory).unwrap();
}
