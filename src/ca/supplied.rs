//! An authority that the operator supplies: an issuing certificate with its key, what stands between it and its root, and
//! one or more trusted roots. The names of the files are the operator's; Istio's `cacerts` is one way to name them.

use std::path::{Path, PathBuf};

use rustls::pki_types::CertificateDer;
use x509_parser::prelude::{FromDer as _, X509Certificate};
use zeroize::Zeroizing;

use crate::identity::TrustDomain;
use crate::runtime::{read_limited, read_secret};

use super::authority::AuthorityError;
use super::generation::Names;
use super::signer::{Certificate, key, pem};
use super::store::MAX_PEM;
use super::vault::Files;

/// Files of an authority that the operator supplies. The root's key may stay offline.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SuppliedFiles {
    /// The trusted roots: the one that the issuing certificate chains to, and others.
    pub root: PathBuf,
    /// The issuing certificate.
    pub certificate: PathBuf,
    /// Its key, mode 0600.
    pub key: PathBuf,
    /// Certificates between the issuing certificate and its root. The issuing certificate and roots may stand in it too.
    pub chain: Option<PathBuf>,
}

impl SuppliedFiles {
    /// The files of a directory as Istio's `cacerts` Secret has them: `root-cert.pem`, `ca-cert.pem`, `ca-key.pem` and
    /// `cert-chain.pem`.
    #[must_use]
    pub fn cacerts(directory: &Path) -> Self {
        Self {
            root: directory.join("root-cert.pem"),
            certificate: directory.join("ca-cert.pem"),
            key: directory.join("ca-key.pem"),
            chain: Some(directory.join("cert-chain.pem")),
        }
    }

    /// The files, each path changed by `change`.
    pub fn each(&mut self, change: impl Fn(&mut PathBuf)) {
        let Self { root, certificate, key, chain } = self;
        for path in [root, certificate, key].into_iter().chain(chain) {
            change(path);
        }
    }

    /// Reads them as the files of generation 1, and the roots that it does not chain to.
    pub(super) fn read(
        &self,
        domain: &TrustDomain,
    ) -> Result<(Files, Vec<CertificateDer<'static>>), AuthorityError> {
        let name = |path: &Path| path.display().to_string();
        let text = read_limited(&self.root, MAX_PEM)?;
        let roots = Certificate::several(&name(&self.root), &text, domain)?;
        let issuing = read_limited(&self.certificate, MAX_PEM)?;
        let issuing = Certificate::authority(&name(&self.certificate), &issuing, domain)?;
        let between = match &self.chain {
            None => Vec::new(),
            Some(path) => {
                let chain =
                    Certificate::several(&name(path), &read_limited(path, MAX_PEM)?, domain)?;
                let known = |one: &Certificate| {
                    one.der == issuing.der || roots.iter().any(|root| root.der == one.der)
                };
                chain.into_iter().filter(|one| !known(one)).collect()
            }
        };
        let text = read_secret(&self.key, MAX_PEM)?;
        let pair = key(&name(&self.key), &text)?;
        issuing.must_fit(&name(&self.certificate), &name(&self.key), &pair)?;
        let last = between.last().unwrap_or(&issuing);
        let signer = roots.iter().position(|root| signed(last, root));
        let signer = signer.ok_or_else(|| AuthorityError::Damaged {
            file: name(&self.root),
            problem: "holds no root that signed the chain of the issuing certificate",
        })?;
        let names = Names::new(1, 1);
        let mut files = Files::new();
        let mut others = Vec::new();
        for (index, root) in roots.iter().enumerate() {
            if index == signer {
                files.insert(names.root.clone(), Zeroizing::new(pem(&root.der)));
            } else {
                others.push(root.der.clone());
            }
        }
        files.insert(names.issuing.clone(), Zeroizing::new(pem(&issuing.der)));
        files.insert(names.issuing_key.clone(), text);
        if !between.is_empty() {
            let text = between.iter().map(|one| pem(&one.der)).collect();
            files.insert(names.between, Zeroizing::new(text));
        }
        Ok((files, others))
    }
}

/// True if the key of `by` made the signature of `certificate`, and its name says so.
pub(super) fn signed(certificate: &Certificate, by: &Certificate) -> bool {
    let parsed = X509Certificate::from_der(&certificate.der).ok();
    let Some(((_, one), (_, by))) = parsed.zip(X509Certificate::from_der(&by.der).ok()) else {
        return false;
    };
    one.issuer().as_raw() == by.subject().as_raw()
        && one.verify_signature(Some(by.public_key())).is_ok()
}
