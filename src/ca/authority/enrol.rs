//! An authority whose issuing certificate another authority signs. The key is made here and kept in the vault from before
//! it is shown to anybody; what comes back is in force only once it was tried.

use std::path::Path;
use std::time::SystemTime;

use crate::ca::enrolment::{Enrolment, SignedChain, SigningOrder, Taken, Terms};
use crate::ca::generation::{Generation, Names, new_jwt_key};
use crate::ca::state::{Record, State, unix};
use crate::ca::store::StoreError;
use crate::ca::vault::{Files, Found, Kept, Vault, Version, seal, unseal};
use crate::identity::TrustDomain;

use super::change::{CONFLICTS, Draft};
use super::open::check_domain;
use super::{Authority, AuthorityError, Current, Keeper};

/// What became of the opening of an authority that another one signs for.
pub enum Opened {
    /// It signs.
    Ready(Box<Authority>),
    /// It was asked for, and there is no answer yet.
    Waiting(Box<Waiting>),
}

/// An authority that waits for its first certificate.
pub struct Waiting {
    vault: Box<dyn Vault>,
    terms: Terms,
    domain: TrustDomain,
    state: State,
    enrolment: Enrolment,
    files: Files,
    version: Version,
    order: SigningOrder,
}

/// What an answer led to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Enrolled {
    /// The generation that signs has a new issuing certificate under the same root.
    Renewed,
    /// The chain ends in another root: a change of the root begins.
    NewRoot,
}

impl Authority {
    /// Opens the authority in `vault`. Where there never was one, a key is made and written down, and a certificate for it
    /// is waited for.
    ///
    /// # Errors
    /// As [`Authority::open_in`].
    pub fn open_enrolled(
        vault: Box<dyn Vault>,
        terms: Terms,
        domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Opened, AuthorityError> {
        let place = vault.place();
        let opened = Waiting::open(vault, terms, domain, now);
        opened.map_err(|error| error.at(&place))
    }

    /// What another authority is to sign, while there is such an order.
    ///
    /// # Errors
    /// When the order cannot be drawn up.
    pub fn signing_order(&self) -> Result<Option<SigningOrder>, AuthorityError> {
        let current = self.current.load();
        let enrolment = current.state.enrolment.as_ref();
        enrolment.map(|one| one.order(&current.files, &self.domain)).transpose()
    }

    /// True when another authority is to be asked for a new issuing certificate: two thirds of the life of the one in
    /// force are over.
    #[must_use]
    pub fn enrolment_is_due(&self, now: SystemTime) -> bool {
        matches!(self.keeper, Keeper::Enrolled(..))
            && self.current.load().active.issuing_is_due(now)
    }

    /// Makes a new key and orders a certificate for it, if none is ordered yet.
    ///
    /// # Errors
    /// When no other authority signs for this one, or it cannot be written down.
    pub fn enrol(&self, now: SystemTime) -> Result<(), AuthorityError> {
        let Keeper::Enrolled(_, terms) = &self.keeper else { return Err(AuthorityError::Own) };
        self.change(now, |current| {
            if current.state.enrolment.is_some() {
                return Ok((current.state.clone(), Files::new()));
            }
            let (enrolment, files) = Enrolment::new(&terms.prefix, unix(now))?;
            Ok((current.state.clone().enrol(enrolment), files))
        })
    }

    /// Takes the answer to the order of that name.
    ///
    /// # Errors
    /// When it does not fit, nothing of that name was ordered, or it cannot be written down; what was in force stays, and
    /// so does the order.
    pub fn enrolled(
        &self,
        name: &str,
        answer: &SignedChain,
        now: SystemTime,
    ) -> Result<Enrolled, AuthorityError> {
        let Keeper::Enrolled(_, terms) = &self.keeper else { return Err(AuthorityError::Own) };
        let mut outcome = Enrolled::Renewed;
        self.change(now, |current| {
            let ordered = current.state.enrolment.as_ref().filter(|one| one.name == name);
            let enrolment = ordered.ok_or(AuthorityError::NotOrdered)?;
            let (draft, became) =
                current.answered((enrolment, terms), answer, (&self.domain, now))?;
            outcome = became;
            Ok(draft)
        })?;
        Ok(outcome)
    }

    /// Gives the order of that name up, with its key.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn give_up_enrolment(&self, name: &str, now: SystemTime) -> Result<(), AuthorityError> {
        self.change(now, |current| {
            let mut state = current.state.clone();
            state.enrolment = state.enrolment.filter(|one| one.name != name);
            Ok((state, Files::new()))
        })
    }
}

impl Current {
    /// The next state, if the answer fits.
    fn answered(
        &self,
        (enrolment, terms): (&Enrolment, &Terms),
        answer: &SignedChain,
        (domain, now): (&TrustDomain, SystemTime),
    ) -> Result<(Draft, Enrolled), AuthorityError> {
        let (number, state) = (self.active.number, &self.state);
        let record = state.generation(number).ok_or(AuthorityError::NotOrdered)?;
        let turn = record.issuing_keys.len().saturating_add(1);
        let names = Names::new(number, turn);
        let known = Some(&self.active.root);
        let take =
            |names: &Names| enrolment.take((&self.files, names), answer, (terms, known), domain);
        let taken = take(&names)?;
        let mut state = state.clone();
        state.enrolment = None;
        if taken.root == self.active.root.der {
            let (record, files) =
                self.active.reissued(record, &self.files, (names, taken.files), domain)?;
            return Ok(((state.replace(record), files), Enrolled::Renewed));
        }
        let number = state.next_number();
        let (record, files) = first(number, take(&Names::new(number, 1))?, (domain, now))?;
        Ok(((state.prepare(record, None, now)?, files), Enrolled::NewRoot))
    }
}

/// The first record of a generation that another authority signed.
fn first(
    number: u32,
    taken: Taken,
    (domain, now): (&TrustDomain, SystemTime),
) -> Result<(Record, Files), AuthorityError> {
    let names = Names::new(number, 1);
    let mut files = taken.files;
    files.insert(names.jwt.clone(), new_jwt_key(&names.jwt)?);
    let generation = Generation::assemble(number, &names, &files, domain)?;
    Current::probe(&generation, domain, now)?;
    let record = generation.record(&files, now);
    Ok((record, files))
}

impl Waiting {
    fn open(
        vault: Box<dyn Vault>,
        terms: Terms,
        domain: &TrustDomain,
        now: SystemTime,
    ) -> Result<Opened, AuthorityError> {
        for _ in 0..CONFLICTS {
            let (found, version) = vault.load()?;
            let (state, files) = match found {
                Found::Nothing => (State::unborn(domain.as_str()), Files::new()),
                Found::Old(_) => return Err(AuthorityError::Own),
                Found::Kept(kept) => (unseal(&kept.state)?, kept.files),
            };
            check_domain(&state, domain)?;
            if !state.generations.is_empty() {
                let ready = Authority::open_kept(Keeper::Enrolled(vault, terms), domain, now)?;
                return Ok(Opened::Ready(Box::new(ready)));
            }
            if let Some(enrolment) = state.enrolment.clone() {
                let order = enrolment.order(&files, domain)?;
                let domain = domain.clone();
                let waiting =
                    Self { vault, terms, domain, state, enrolment, files, version, order };
                return Ok(Opened::Waiting(Box::new(waiting)));
            }
            // First the key, then the question: who restarts meanwhile asks the same.
            let (enrolment, files) = Enrolment::new(&terms.prefix, unix(now))?;
            let state = state.enrol(enrolment);
            match vault.save(&Kept { state: seal(&state)?, files }, "", &version) {
                Ok(_) | Err(StoreError::Conflict(_)) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(StoreError::Conflict(vault.place()).into())
    }

    /// What is to be signed.
    #[must_use]
    pub fn order(&self) -> &SigningOrder {
        &self.order
    }

    /// Takes the answer, which makes the first generation.
    ///
    /// # Errors
    /// When it does not fit, or cannot be written down.
    pub fn answered(
        self,
        answer: &SignedChain,
        now: SystemTime,
    ) -> Result<Authority, AuthorityError> {
        let place = self.vault.place();
        self.first(answer, now).map_err(|error| error.at(&place))
    }

    fn first(self, answer: &SignedChain, now: SystemTime) -> Result<Authority, AuthorityError> {
        let Self { vault, terms, domain, mut state, enrolment, files, version, order: _ } = self;
        let number = state.next_number();
        let kept = (&files, &Names::new(number, 1));
        let taken = enrolment.take(kept, answer, (&terms, None), &domain)?;
        let (record, files) = first(number, taken, (&domain, now))?;
        state.enrolment = None;
        let state = state.born(record)?;
        let sealed = seal(&state)?;
        let current = Current::read(state, files.clone(), (&vault.place(), &domain), now)?;
        let roots = current.bundle(&domain)?.to_pem();
        match vault.save(&Kept { state: sealed, files }, &roots, &version) {
            // Another replica took the answer first: what it made of it is in force.
            Ok(_) | Err(StoreError::Conflict(_)) => {}
            Err(error) => return Err(error.into()),
        }
        Authority::open_kept(Keeper::Enrolled(vault, terms), &domain, now)
    }
}

impl Terms {
    /// Makes a relative path relative to `base`.
    pub fn resolve(&mut self, base: &Path) {
        if let Some(path) = &mut self.roots {
            *path = base.join(&*path);
        }
    }
}
