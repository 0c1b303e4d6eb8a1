//! How an authority is opened: from a vault, where the first start makes one, or from files that the operator supplies.

use std::path::Path;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::SystemTime;

use arc_swap::ArcSwap;
use tokio::sync::watch;
use zeroize::Zeroizing;

use crate::ca::generation::{Generation, Names, new_jwt_key};
use crate::ca::profile::Lifetime;
use crate::ca::state::{State, unix};
use crate::ca::store::{Directory, MAX_PEM, StoreError};
use crate::ca::supplied::SuppliedFiles;
use crate::ca::vault::{Files, Found, Kept, OldFiles, STATE, Vault, Version, seal, unseal};
use crate::identity::TrustDomain;
use crate::runtime::{read_secret, write_atomic};

use super::change::CONFLICTS;
use super::{Authority, AuthorityError, Current, Keeper, Trust};

/// The name of the JWT key beside an authority that the operator supplies.
const JWT_KEY: &str = "jwt.key";

impl Authority {
    /// Opens the authority in `directory`, or makes one if the directory is absent or empty.
    ///
    /// # Errors
    /// When the directory is in use, exposed, partial or damaged. A new root is never made over an old one.
    pub fn open(
        directory: &Path,
        domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        Self::open_in(Box::new(Directory::open(directory)?), domain, now)
    }

    /// Opens the authority in `vault`, or makes one if there never was one.
    ///
    /// # Errors
    /// When the vault fails or holds a part of an authority, or one that is damaged.
    pub fn open_in(
        vault: Box<dyn Vault>,
        domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let place = vault.place();
        Self::open_there(vault, domain, now).map_err(|error| error.at(&place))
    }

    fn open_there(
        vault: Box<dyn Vault>,
        domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let current = read_or_make(&*vault, domain, now)?;
        Self::ready(current, Keeper::Vault(vault), domain, now)
    }

    /// Opens what a vault holds.
    pub(super) fn open_kept(
        keeper: Keeper,
        domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let vault = keeper.vault().ok_or(AuthorityError::Supplied)?;
        let (Found::Kept(kept), version) = vault.load()? else {
            return Err(StoreError::Conflict(vault.place()).into());
        };
        let state = unseal(&kept.state)?;
        check_domain(&state, domain)?;
        let current = Current::read(state, kept.files, (&vault.place(), domain), now)?;
        Self::ready(current.at(version), keeper, domain, now)
    }

    fn ready(
        current: Current,
        keeper: Keeper,
        domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let authority = Self::assemble(current, keeper, domain)?;
        // An issuing certificate that expired while the process was down is replaced before it is tried.
        match authority.upkeep(now) {
            // Another replica just did it.
            Err(AuthorityError::Store(StoreError::Conflict(_))) => drop(authority.reload(now)?),
            done => drop(done?),
        }
        // Only another authority can replace one of its own that has ended: until it did, nothing is signed.
        if authority.can_sign(now) || !matches!(authority.keeper, Keeper::Enrolled(..)) {
            authority.current.load().try_out(domain, now)?;
        }
        Ok(authority)
    }

    /// Reads the vault again, and puts in force what another process wrote there. Says whether anything changed. With an
    /// authority that the operator supplies there is nothing to read.
    ///
    /// # Errors
    /// When the vault cannot be read, or holds nothing, a part, something damaged, or something older than what is in
    /// force; what is in force stays.
    pub fn reload(&self, now: SystemTime) -> Result<bool, AuthorityError> {
        let Some(vault) = self.keeper.vault() else { return Ok(false) };
        let place = vault.place();
        self.reload_from(vault, now).map_err(|error| error.at(&place))
    }

    fn reload_from(&self, vault: &dyn Vault, now: SystemTime) -> Result<bool, AuthorityError> {
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load_full();
        let (found, version) = vault.load()?;
        let Found::Kept(kept) = found else {
            let known_by = "this process signs with what was in it".to_owned();
            return Err(StoreError::Vanished { place: vault.place(), known_by }.into());
        };
        if version == current.version {
            return Ok(false);
        }
        let state = unseal(&kept.state)?;
        check_domain(&state, &self.domain)?;
        if let Some(problem) = state.precedes(&current.state) {
            return Err(StoreError::Older { place: vault.place(), problem }.into());
        }
        let changed = state != current.state;
        let next = Current::read(state, kept.files, (&vault.place(), &self.domain), now)?;
        if changed {
            next.try_out(&self.domain, now)?;
        }
        self.take(next.at(version))?;
        Ok(changed)
    }

    /// Opens an authority that the operator supplies. Its JWT key, which signs no certificate, is made and kept in
    /// `directory`.
    ///
    /// # Errors
    /// When a file is missing, exposed or does not fit the others.
    pub fn supplied(
        files: &SuppliedFiles,
        directory: &Path,
        domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Self, AuthorityError> {
        let jwt = jwt_key(directory)?;
        let current = read_supplied(files, jwt, domain, now)?;
        Self::assemble(current, Keeper::Operator(files.clone()), domain)
    }

    /// Reads the files that the operator supplies once more, and takes them if they changed and fit each other. Says
    /// whether it did. An authority that is kept here has nothing to read.
    ///
    /// # Errors
    /// When they do not fit; what was in force stays.
    pub fn refresh(&self, now: SystemTime) -> Result<bool, AuthorityError> {
        let Keeper::Operator(supplied) = &self.keeper else { return Ok(false) };
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load_full();
        let (files, others) = supplied.read(&self.domain)?;
        let same = files.iter().all(|(name, text)| current.files.get(name) == Some(text))
            && current.files.len() == files.len().saturating_add(1)
            && others == current.others;
        if same {
            return Ok(false);
        }
        let jwt = current.files.get(&Names::new(1, 1).jwt).cloned();
        let jwt = jwt.ok_or(AuthorityError::Supplied)?;
        let mut next = read_supplied(supplied, jwt, &self.domain, now)?;
        let grown = current.state.sequence.saturating_add(1);
        next.state.sequence = next.state.sequence.max(grown);
        self.take(next)?;
        Ok(true)
    }

    fn assemble(
        current: Current,
        keeper: Keeper,
        domain: &TrustDomain,
    ) -> Result<Self, AuthorityError> {
        let trust: Trust = current.trust(domain)?;
        Ok(Self {
            domain: domain.clone(),
            keeper,
            current: ArcSwap::from_pointee(current),
            changing: Mutex::new(()),
            trust: watch::Sender::new(Arc::new(trust)),
        })
    }
}

/// Reads the operator's files, and tries them out.
fn read_supplied(
    supplied: &SuppliedFiles,
    jwt: Zeroizing<String>,
    domain: &TrustDomain,
    now: SystemTime,
) -> Result<Current, AuthorityError> {
    let names = Names::new(1, 1);
    let (mut files, others) = supplied.read(domain)?;
    files.insert(names.jwt.clone(), jwt);
    let record = Generation::assemble(1, &names, &files, domain)?.record(&files, now);
    let mut state = State::unborn(domain.as_str()).born(record)?;
    // It is kept nowhere, and must grow over restarts.
    state.sequence = unix(now);
    let mut current = Current::read(state, files, ("the supplied files", domain), now)?;
    current.others = others;
    current.try_out(domain, now)?;
    Ok(current)
}

/// What the vault holds. Where there never was anything, the first generation is made; of several processes that do so at
/// the same time one wins, and the others read what it made.
fn read_or_make(
    vault: &dyn Vault,
    domain: &TrustDomain,
    now: SystemTime,
) -> Result<Current, AuthorityError> {
    let mut conflicts = 0;
    loop {
        let (found, version) = vault.load()?;
        let made = match found {
            Found::Nothing => mint(vault, State::unborn(domain.as_str()), &version, (domain, now)),
            Found::Old(files) => take_over(vault, &files, &version, (domain, now)),
            Found::Kept(kept) => {
                let state = unseal(&kept.state)?;
                check_domain(&state, domain)?;
                // The intention to make one, as versions before this one wrote it down first.
                if state.generations.is_empty() {
                    mint(vault, State::unborn(domain.as_str()), &version, (domain, now))
                } else {
                    let place = (&*vault.place(), domain);
                    Ok(Current::read(state, kept.files, place, now)?.at(version))
                }
            }
        };
        match made {
            Err(AuthorityError::Store(StoreError::Conflict(_))) if conflicts < CONFLICTS => {
                conflicts += 1;
            }
            made => return made,
        }
    }
}

/// The first generation.
fn mint(
    vault: &dyn Vault,
    unborn: State,
    over: &Version,
    (domain, now): (&TrustDomain, SystemTime),
) -> Result<Current, AuthorityError> {
    let (record, files) = Generation::mint(unborn.next_number(), domain, now)?;
    let current = begin(vault, (unborn.born(record)?, files), over, (domain, now))?;
    tracing::info!(trust_domain = %domain, "made a new root and issuing key");
    Ok(current)
}

/// The layout before there were generations becomes the first generation, with a new JWT key.
fn take_over(
    vault: &dyn Vault,
    old: &OldFiles,
    over: &Version,
    (domain, now): (&TrustDomain, SystemTime),
) -> Result<Current, AuthorityError> {
    let names = Names::new(1, 1);
    let mut files = Files::new();
    files.insert(names.root.clone(), Zeroizing::new(old.root.clone()));
    files.insert(names.root_key.clone(), old.root_key.clone());
    files.insert(names.issuing.clone(), Zeroizing::new(old.issuing.clone()));
    files.insert(names.issuing_key.clone(), old.issuing_key.clone());
    files.insert(names.jwt.clone(), new_jwt_key(&names.jwt)?);
    let mut record = Generation::assemble(1, &names, &files, domain)?.record(&files, now);
    // What it signed before is not known.
    record.longest_leaf = Lifetime::LONGEST.as_duration().as_secs();
    let state = State::unborn(domain.as_str()).born(record)?;
    let current = begin(vault, (state, files), over, (domain, now))?;
    tracing::info!(trust_domain = %domain, "took over an authority of the layout before");
    Ok(current)
}

fn begin(
    vault: &dyn Vault,
    (state, files): (State, Files),
    over: &Version,
    (domain, now): (&TrustDomain, SystemTime),
) -> Result<Current, AuthorityError> {
    let sealed = seal(&state)?;
    let current = Current::read(state, files.clone(), (&vault.place(), domain), now)?;
    // At a moment at which all of it is valid: an issuing certificate of old may have ended, which upkeep mends.
    current.try_out(domain, current.active.window().not_before)?;
    let roots = current.bundle(domain)?.to_pem();
    let version = vault.save(&Kept { state: sealed, files }, &roots, over)?;
    Ok(current.at(version))
}

pub(super) fn check_domain(state: &State, domain: &TrustDomain) -> Result<(), AuthorityError> {
    if state.trust_domain == domain.as_str() {
        return Ok(());
    }
    Err(AuthorityError::OtherDomain {
        file: STATE.to_owned(),
        found: state.trust_domain.clone(),
        expected: domain.clone(),
    })
}

/// The JWT key in `directory`, made if it is absent. Losing it costs the JWT-SVIDs that it signed, and nothing else.
fn jwt_key(directory: &Path) -> Result<Zeroizing<String>, AuthorityError> {
    let path = directory.join(JWT_KEY);
    if !path.exists() {
        std::fs::create_dir_all(directory).map_err(|source| StoreError::Io {
            action: "create",
            path: directory.to_path_buf(),
            source,
        })?;
        write_atomic(&path, new_jwt_key(JWT_KEY)?.as_bytes(), 0o600)?;
        tracing::info!(path = %path.display(), "made a new key for JWT-SVIDs");
    }
    Ok(read_secret(&path, MAX_PEM)?)
}
