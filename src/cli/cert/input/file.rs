//! Files: PEM, DER, SPIFFE bundles.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject as _;
use zeroize::Zeroizing;

use super::super::facts::Facts;
use super::{Group, GroupKind, Loaded};
use crate::identity::{SpiffeBundle, TrustBundle, TrustDomain};
use crate::runtime::read_bytes;

const LIMIT: u64 = 4 * 1024 * 1024;
const PRIVATE: &[u8] = b"PRIVATE KEY";

pub(super) fn read(path: &Path) -> anyhow::Result<Loaded> {
    // A file may hold a private key beside its certificate.
    found(&Zeroizing::new(read_bytes(path, LIMIT)?))
}

pub(super) fn stdin() -> anyhow::Result<Loaded> {
    let mut bytes = Zeroizing::new(Vec::new());
    std::io::stdin().lock().take(LIMIT).read_to_end(&mut bytes).context("cannot read stdin")?;
    found(&bytes)
}

fn found(bytes: &[u8]) -> anyhow::Result<Loaded> {
    let start = bytes.iter().position(|byte| !byte.is_ascii_whitespace()).unwrap_or_default();
    match bytes.get(start..) {
        Some([b'{', ..]) => spiffe(std::str::from_utf8(bytes).context("the JSON is not UTF-8")?),
        Some([0x30, ..]) => der(bytes),
        _ => pem(bytes),
    }
}

fn loaded(form: &'static str, group: Group, notes: Vec<String>) -> Loaded {
    Loaded { place: String::new(), form, groups: vec![group], notes }
}

fn der(bytes: &[u8]) -> anyhow::Result<Loaded> {
    let certificate = CertificateDer::from(bytes.to_vec());
    anyhow::ensure!(Facts::read(&certificate).is_some(), "is DER, and no certificate");
    Ok(loaded("DER file", group(&[certificate])?, Vec::new()))
}

fn pem(bytes: &[u8]) -> anyhow::Result<Loaded> {
    let certificates = CertificateDer::pem_slice_iter(bytes)
        .collect::<Result<Vec<_>, _>>()
        .map_err(|_| anyhow::anyhow!("the PEM text cannot be read"))?;
    let has_key = bytes.windows(PRIVATE.len()).any(|window| window == PRIVATE);
    if certificates.is_empty() {
        anyhow::ensure!(!has_key, "holds a private key and no certificate");
        anyhow::bail!("holds no certificate: it is neither PEM, nor DER, nor a SPIFFE bundle");
    }
    let note = "the file holds a private key too, which is not shown".to_owned();
    Ok(loaded("PEM file", group(&certificates)?, has_key.then_some(note).into_iter().collect()))
}

/// Roots when all are authorities, else a chain.
fn group(certificates: &[CertificateDer<'static>]) -> anyhow::Result<Group> {
    let mut group = Group::read(None, GroupKind::Chain(None), certificates)?;
    if group.certificates.iter().all(Facts::is_authority) {
        group.kind = GroupKind::Bundle(None);
    }
    Ok(group)
}

/// Which trust domain it is of does not stand in it.
fn spiffe(text: &str) -> anyhow::Result<Loaded> {
    let unnamed = TrustDomain::parse("unnamed")?;
    let bundle = SpiffeBundle::parse(&unnamed, text)?;
    let mut notes = vec![format!("keys of JWT-SVIDs: {}", bundle.jwt().keys().len())];
    if let Some(sequence) = bundle.sequence() {
        notes.push(format!("sequence: {sequence}"));
    }
    if let Some(hint) = bundle.refresh_hint() {
        notes.push(format!("to be looked at again after {} s", hint.as_secs()));
    }
    let ignored = bundle.ignored().iter();
    notes.extend(ignored.map(|it| format!("key {} is ignored: {}", it.position, it.why)));
    let roots = bundle.x509().map(TrustBundle::roots).unwrap_or_default();
    anyhow::ensure!(!roots.is_empty(), "the SPIFFE bundle holds no X.509 authority");
    Ok(loaded("SPIFFE bundle", Group::read(None, GroupKind::Bundle(None), roots)?, notes))
}
