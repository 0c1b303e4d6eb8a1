//! An issuing certificate that another authority signs: what it is asked with, and what must be true of its answer.

use std::path::PathBuf;

use rcgen::{
    CertificateParams, CustomExtension, DistinguishedName, DnType, KeyUsagePurpose, SanType,
};
use rustls::pki_types::CertificateDer;
use serde::{Deserialize, Serialize};
use zeroize::Zeroizing;

use crate::identity::{PrivateKey, TrustDomain};
use crate::runtime::read_limited;

use super::authority::AuthorityError;
use super::generation::Names;
use super::signer::{Certificate, key};
use super::store::MAX_PEM;
use super::supplied::signed;
use super::vault::{Files, digest, hex};

/// `basicConstraints` (RFC 5280, section 4.2.1.9), which rcgen does not put into requests.
const BASIC_CONSTRAINTS: [u64; 4] = [2, 5, 29, 19];
/// SEQUENCE { BOOLEAN TRUE, INTEGER 0 }: an authority that signs leaves only.
const AUTHORITY_OF_LEAVES: [u8; 8] = [0x30, 0x06, 0x01, 0x01, 0xff, 0x02, 0x01, 0x00];

/// On what terms the certificates of another authority are taken.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Terms {
    /// How the names of requests begin.
    pub prefix: String,
    /// The roots that a chain may end in, in PEM. Without the file it is the root of the first answer, for good.
    pub roots: Option<PathBuf>,
}

/// What another authority is asked to sign.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SigningOrder {
    /// The name of the request. It stays the same until there is an answer, over restarts too.
    pub name: String,
    /// PKCS #10, in PEM (RFC 2986).
    pub request: String,
}

/// What another authority answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SignedChain {
    /// In PEM: the certificate that was asked for, then those between it and the root. The root may stand in it too.
    pub certificates: String,
    /// In PEM: the root, as the other authority tells it.
    pub root: Option<String>,
}

/// A request that is out, as the journal has it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub struct Enrolment {
    /// The name of the request.
    pub name: String,
    /// When it was made, in seconds since 1970.
    pub since: u64,
    /// The SHA-256 of the file with its key.
    pub key_digest: String,
}

/// What was taken of an answer.
pub(super) struct Taken {
    /// The files of a generation with these names, but for its JWT key.
    pub(super) files: Files,
    pub(super) root: CertificateDer<'static>,
}

impl Enrolment {
    /// A new key, and a name that was never used.
    pub(super) fn new(prefix: &str, since: u64) -> Result<(Self, Files), AuthorityError> {
        let mut mark = [0_u8; 5];
        let random = |_| super::profile::ProfileError::Random;
        aws_lc_rs::rand::fill(&mut mark).map_err(random)?;
        let name = format!("{prefix}-{}", hex(&mark));
        let failed = |source| AuthorityError::Key { file: "a new issuing key".to_owned(), source };
        let pem = PrivateKey::generate().map_err(failed)?.to_pem();
        let enrolment = Self { name, since, key_digest: digest(&pem) };
        let files = [(enrolment.key_file(), pem)].into();
        Ok((enrolment, files))
    }

    /// Where its key is kept until there is an answer.
    pub(super) fn key_file(&self) -> String {
        format!("{}.key", self.name)
    }

    /// Its key, which must be the one that was written.
    pub(super) fn key<'a>(
        &self,
        files: &'a Files,
    ) -> Result<&'a Zeroizing<String>, AuthorityError> {
        let file = self.key_file();
        match files.get(&file) {
            Some(text) if digest(text) == self.key_digest => Ok(text),
            Some(_) => Err(AuthorityError::Damaged {
                file,
                problem: "is not the file that was written; restore it from a backup",
            }),
            None => Err(AuthorityError::Damaged {
                file,
                problem: "is missing; restore it from a backup",
            }),
        }
    }

    /// What is to be signed.
    pub(super) fn order(
        &self,
        files: &Files,
        domain: &TrustDomain,
    ) -> Result<SigningOrder, AuthorityError> {
        let file = self.key_file();
        let failed = |source| AuthorityError::Key { file: file.clone(), source };
        let pair = key(&file, self.key(files)?)?.to_key_pair().map_err(failed)?;
        let mut params = CertificateParams::default();
        params.distinguished_name = DistinguishedName::new();
        params.distinguished_name.push(DnType::CommonName, self.name.clone());
        let uri = format!("spiffe://{domain}");
        let name = |_| super::profile::ProfileError::Name(uri.clone());
        params.subject_alt_names = vec![SanType::URI(uri.as_str().try_into().map_err(name)?)];
        params.key_usages = vec![KeyUsagePurpose::KeyCertSign, KeyUsagePurpose::CrlSign];
        let mut constraints =
            CustomExtension::from_oid_content(&BASIC_CONSTRAINTS, AUTHORITY_OF_LEAVES.to_vec());
        constraints.set_criticality(true);
        params.custom_extensions = vec![constraints];
        let request = params.serialize_request(&pair).map_err(AuthorityError::Sign)?;
        let request = request.pem().map_err(AuthorityError::Sign)?;
        Ok(SigningOrder { name: self.name.clone(), request })
    }

    /// Takes an answer if its certificate is an authority's, for our key, and its chain ends in a root that is trusted for
    /// this: one of `terms`, else `known`, else the one that the answer names.
    pub(super) fn take(
        &self,
        (files, names): (&Files, &Names),
        answer: &SignedChain,
        (terms, known): (&Terms, Option<&Certificate>),
        domain: &TrustDomain,
    ) -> Result<Taken, AuthorityError> {
        let file = format!("the certificate of {}", self.name);
        let wrong = |problem| AuthorityError::Damaged { file: file.clone(), problem };
        let mut chain = Certificate::several(&file, &answer.certificates, domain)?.into_iter();
        let issuing = chain.next().ok_or_else(|| wrong("holds no PEM certificate"))?;
        let text = self.key(files)?;
        let pair = key(&self.key_file(), text)?;
        issuing
            .must_fit(&file, &self.key_file(), &pair)
            .map_err(|_| wrong("is for another key than the one that was asked for"))?;
        let roots = match (&terms.roots, known, &answer.root) {
            (Some(path), _, _) => {
                let name = path.display().to_string();
                Certificate::several(&name, &read_limited(path, MAX_PEM)?, domain)?
            }
            (None, Some(known), _) => vec![known.clone()],
            (None, None, Some(root)) => {
                Certificate::several("the root that it names", root, domain)?
            }
            (None, None, None) => {
                return Err(wrong(
                    "comes without a root; name the root in authority.certManager.roots",
                ));
            }
        };
        let is_root = |one: &Certificate| roots.iter().any(|root| root.der == one.der);
        let between: Vec<Certificate> = chain.filter(|one| !is_root(one)).collect();
        let last = between.last().unwrap_or(&issuing);
        let root = roots.iter().find(|root| signed(last, root)).ok_or_else(|| {
            wrong(
                "chains to a root that is not accepted; to change to it, name it in authority.certManager.roots",
            )
        })?;
        let mut files = Files::new();
        files.insert(names.root.clone(), Zeroizing::new(root.to_pem()));
        files.insert(names.issuing.clone(), Zeroizing::new(issuing.to_pem()));
        files.insert(names.issuing_key.clone(), text.clone());
        if !between.is_empty() {
            let text = between.iter().map(Certificate::to_pem).collect();
            files.insert(names.between.clone(), Zeroizing::new(text));
        }
        Ok(Taken { files, root: root.der.clone() })
    }
}
