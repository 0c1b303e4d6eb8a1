//! The material of one generation, read from its files and checked as a whole.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use rcgen::CertificateParams;
use zeroize::Zeroizing;

use crate::identity::{PrivateKey, SpiffeId, TrustDomain};

use super::authority::AuthorityError;
use super::jwt::JwtSigner;
use super::profile::{self, Lifetime, Window};
use super::signer::{Certificate, Signer, key, mint_issuing, mint_root};
use super::state::{Phase, Record, unix};
use super::store::StoreError;
use super::vault::{Files, digest};

/// A generation that is not retired.
pub(super) struct Generation {
    pub(super) number: u32,
    pub(super) root: Certificate,
    /// Absent where somebody else signs our issuing certificate.
    pub(super) root_key: Option<PrivateKey>,
    pub(super) signer: Signer,
    /// Certificates between the issuing certificate and the root.
    pub(super) between: Vec<Certificate>,
    pub(super) jwt: Arc<JwtSigner>,
}

/// The names of a generation's files.
pub(super) struct Names {
    pub(super) root: String,
    pub(super) root_key: String,
    pub(super) issuing: String,
    pub(super) issuing_key: String,
    pub(super) between: String,
    pub(super) jwt: String,
}

impl Names {
    /// `turn` counts the issuing keys of the generation: a new one must not overwrite the one in force.
    pub(super) fn new(number: u32, turn: usize) -> Self {
        Self {
            root: format!("{number}.root.pem"),
            root_key: format!("{number}.root.key"),
            issuing: format!("{number}.issuing-{turn}.pem"),
            issuing_key: format!("{number}.issuing-{turn}.key"),
            between: format!("{number}.between-{turn}.pem"),
            jwt: format!("{number}.jwt.key"),
        }
    }

    /// The names of the files in force of `record`.
    pub(super) fn of(record: &Record) -> Self {
        Self::new(record.number, record.issuing_keys.len())
    }
}

impl Generation {
    /// Reads what `record` names. A file that is missing, or that is not the one that was written, is refused.
    pub(super) fn read(
        record: &Record,
        files: &Files,
        (place, domain): (&str, &TrustDomain),
    ) -> Result<Self, AuthorityError> {
        let missing: Vec<&str> = record
            .files
            .keys()
            .map(String::as_str)
            .filter(|name| !files.contains_key(*name))
            .collect();
        if !missing.is_empty() {
            let missing = missing.join(", ");
            return Err(StoreError::Partial { place: place.to_owned(), missing }.into());
        }
        for (name, expected) in &record.files {
            if files.get(name).is_none_or(|text| digest(text) != *expected) {
                let problem = "is not the file that was written; restore it from a backup";
                return Err(AuthorityError::Damaged { file: name.clone(), problem });
            }
        }
        let names = Names::of(record);
        let generation = Self::assemble(record.number, &names, files, domain)?;
        if record.issuing_keys.last().is_none_or(|id| *id != generation.signer.key_id) {
            let problem = "is not the issuing certificate that the state names";
            return Err(AuthorityError::Damaged { file: names.issuing, problem });
        }
        Ok(generation)
    }

    /// Reads the files of those names, whether or not a state names them already.
    pub(super) fn assemble(
        number: u32,
        names: &Names,
        files: &Files,
        domain: &TrustDomain,
    ) -> Result<Self, AuthorityError> {
        let text = |name: &str| {
            files.get(name).map(|text| text.as_str()).ok_or_else(|| AuthorityError::Damaged {
                file: name.to_owned(),
                problem: "is missing",
            })
        };
        let root = Certificate::authority(&names.root, text(&names.root)?, domain)?;
        let root_key = match files.get(&names.root_key) {
            None => None,
            Some(pem) => {
                let key = key(&names.root_key, pem)?;
                root.must_fit(&names.root, &names.root_key, &key)?;
                Some(key)
            }
        };
        let issuing_key = key(&names.issuing_key, text(&names.issuing_key)?)?;
        let signer = Signer::new(
            (&names.issuing, text(&names.issuing)?),
            (&names.issuing_key, &issuing_key),
            domain,
        )?;
        let between = match files.get(&names.between) {
            None => Vec::new(),
            Some(pem) => Certificate::several(&names.between, pem, domain)?,
        };
        let jwt = Arc::new(JwtSigner::new(&names.jwt, text(&names.jwt)?, domain)?);
        Ok(Self { number, root, root_key, signer, between, jwt })
    }

    /// A new root, issuing certificate and JWT key: what to record, and the files.
    pub(super) fn mint(
        number: u32,
        domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<(Record, Files), AuthorityError> {
        let names = Names::new(number, 1);
        let (root_pem, root_key) = mint_root(&names.root_key, domain, now)?;
        let root = Certificate::authority(&names.root, &root_pem, domain)?;
        let (issuing, issuing_key) = mint_issuing((&root, &root_key), domain, now)?;
        let mut files = Files::new();
        files.insert(names.root.clone(), Zeroizing::new(root_pem));
        files.insert(names.root_key.clone(), root_key.to_pem());
        files.insert(names.issuing.clone(), Zeroizing::new(issuing));
        files.insert(names.issuing_key.clone(), issuing_key.to_pem());
        files.insert(names.jwt.clone(), new_jwt_key(&names.jwt)?);
        let record = Self::assemble(number, &names, &files, domain)?.record(&files, now);
        Ok((record, files))
    }

    /// What a state says of this generation, made of exactly these files.
    pub(super) fn record(&self, files: &Files, now: SystemTime) -> Record {
        Record {
            number: self.number,
            phase: Phase::Prepared,
            made: unix(now),
            subject: self.root.subject.clone(),
            validity: (unix(self.root.window.not_before), unix(self.root.window.not_after)),
            issuing_until: unix(self.signer.certificate.window.not_after),
            issuing_keys: vec![self.signer.key_id.clone()],
            kid: self.jwt.kid().to_owned(),
            longest_leaf: Lifetime::DEFAULT.as_duration().as_secs(),
            longest_token: 0,
            files: digests(files),
        }
    }

    /// The record and all files of this generation with a new issuing key, which `held` are the files of now.
    /// `None` where somebody else signs our issuing certificate.
    pub(super) fn new_issuing(
        &self,
        record: &Record,
        held: &Files,
        (domain, now): (&TrustDomain, SystemTime),
    ) -> Result<Option<(Record, Files)>, AuthorityError> {
        let Some(root_key) = &self.root_key else { return Ok(None) };
        let (certificate, key) = mint_issuing((&self.root, root_key), domain, now)?;
        let names = Names::new(self.number, record.issuing_keys.len().saturating_add(1));
        let mut fresh = Files::new();
        fresh.insert(names.issuing.clone(), Zeroizing::new(certificate));
        fresh.insert(names.issuing_key.clone(), key.to_pem());
        self.reissued(record, held, (names, fresh), domain).map(Some)
    }

    /// The record and all files of this generation with another issuing certificate: `fresh`, under these names.
    pub(super) fn reissued(
        &self,
        record: &Record,
        held: &Files,
        (names, fresh): (Names, Files),
        domain: &TrustDomain,
    ) -> Result<(Record, Files), AuthorityError> {
        let old = Names::of(record);
        let replaced = [&old.issuing, &old.issuing_key, &old.between];
        let stays = |name: &String| record.files.contains_key(name) && !replaced.contains(&name);
        let mut files: Files = BTreeMap::new();
        for (name, text) in held.iter().filter(|(name, _)| stays(name)) {
            files.insert(name.clone(), text.clone());
        }
        files.extend(fresh);
        let new = Self::assemble(self.number, &names, &files, domain)?;
        let mut record = record.clone();
        record.issuing_keys.push(new.signer.key_id.clone());
        record.issuing_until = unix(new.signer.certificate.window.not_after);
        record.files = digests(&files);
        Ok((record, files))
    }

    /// The time in which the whole chain above a leaf is valid.
    pub(super) fn window(&self) -> Window {
        let chain = self.signer.certificate.window.intersect(self.root.window);
        self.between.iter().fold(chain, |window, between| window.intersect(between.window))
    }

    pub(super) fn leaf(
        &self,
        id: &SpiffeId,
        lifetime: Lifetime,
        now: SystemTime,
    ) -> Result<CertificateParams, AuthorityError> {
        Ok(profile::leaf(id, lifetime, self.window(), now)?)
    }

    /// True once two thirds of the issuing certificate's life are over and a new one would live longer.
    pub(super) fn issuing_is_due(&self, now: SystemTime) -> bool {
        let window = self.signer.certificate.window;
        let life = window.not_after.duration_since(window.not_before).unwrap_or(Duration::ZERO);
        let left = window.not_after.duration_since(now).unwrap_or(Duration::ZERO);
        left <= life / 3 && (window.not_after != self.root.window.not_after || left.is_zero())
    }
}

/// The SHA-256 of each file.
pub(super) fn digests(files: &Files) -> BTreeMap<String, String> {
    files.iter().map(|(name, text)| (name.clone(), digest(text))).collect()
}

/// A new key for JWT-SVIDs, in PEM.
pub(super) fn new_jwt_key(file: &str) -> Result<Zeroizing<String>, AuthorityError> {
    let failed = |source| AuthorityError::Key { file: file.to_owned(), source };
    Ok(PrivateKey::generate().map_err(failed)?.to_pem())
}
