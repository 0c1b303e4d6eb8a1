//! How an authority changes: the new state is written down first, then it is in force, then it is announced.

use std::sync::{Arc, PoisonError};
use std::time::{Duration, SystemTime};

use crate::ca::generation::Generation;
use crate::ca::jwt::JwtLifetime;
use crate::ca::profile::Lifetime;
use crate::ca::state::{IllegalStep, Record, State};
use crate::ca::store::StoreError;
use crate::ca::vault::{Files, Kept, seal};

use super::{Authority, AuthorityError, Current, Keeper, Trust, Upkeep};

/// How often something that does not depend on what another process wrote is tried again after it wrote first.
pub(super) const CONFLICTS: usize = 5;

/// A state to come, with files that it names and the state of now does not have.
pub(super) type Draft = (State, Files);

impl Authority {
    /// Makes a new root, issuing key and JWT key, which nobody is told of yet. `within`: over which time the leaves are
    /// to be replaced later on, if not at the usual pace.
    ///
    /// # Errors
    /// When a change is under way already, or cannot be written down. So for each of these steps; the state of before
    /// then stays.
    pub fn prepare(&self, within: Option<Duration>, now: SystemTime) -> Result<(), AuthorityError> {
        if matches!(self.keeper, Keeper::Enrolled(..)) {
            return Err(AuthorityError::Elsewhere);
        }
        self.change(now, |current| {
            let number = current.state.next_number();
            let (record, files) = Generation::mint(number, &self.domain, now)?;
            Ok((current.state.clone().prepare(record, within, now)?, files))
        })
    }

    /// Puts the new root into the bundles.
    ///
    /// # Errors
    /// When nothing is prepared, or it cannot be written down.
    pub fn publish(&self, now: SystemTime) -> Result<(), AuthorityError> {
        self.change(now, |current| Ok((current.state.clone().publish(now)?, Files::new())))
    }

    /// Lets the new generation sign. Whether every sidecar trusts it is for the caller to know.
    ///
    /// # Errors
    /// When it is not published, or it cannot be written down.
    pub fn activate(&self, within: Duration, now: SystemTime) -> Result<(), AuthorityError> {
        self.change(now, |current| Ok((current.state.clone().activate(within, now)?, Files::new())))
    }

    /// Lets the change that is under way go on without regard to sidecars that are not connected.
    ///
    /// # Errors
    /// When no change is under way, or it cannot be written down.
    pub fn without_absent(&self, now: SystemTime) -> Result<(), AuthorityError> {
        self.change(now, |current| Ok((current.state.clone().without_absent()?, Files::new())))
    }

    /// Takes the old root out of the bundles and destroys its keys.
    ///
    /// # Errors
    /// When the new generation is not active, or it cannot be written down.
    pub fn retire(&self, now: SystemTime) -> Result<(), AuthorityError> {
        self.change(now, |current| Ok((current.state.clone().retire()?, Files::new())))
    }

    /// Goes back to the old generation.
    ///
    /// # Errors
    /// When no change is under way, it goes back already, or it cannot be written down.
    pub fn abort(&self, within: Duration, now: SystemTime) -> Result<(), AuthorityError> {
        self.change(now, |current| Ok((current.state.clone().abort(within, now)?, Files::new())))
    }

    /// Gives the active generation a new issuing key and has every leaf replaced within `within`.
    ///
    /// # Errors
    /// When somebody else signs our issuing certificate, or it cannot be written down.
    pub fn taint(&self, within: Duration, now: SystemTime) -> Result<(), AuthorityError> {
        if matches!(self.keeper, Keeper::Enrolled(..)) {
            return Err(AuthorityError::Elsewhere);
        }
        self.change(now, |current| {
            let record = current.state.active().ok_or(IllegalStep::Unborn)?;
            let new = current.active.new_issuing(record, &current.files, (&self.domain, now))?;
            let (record, files) = new.ok_or(AuthorityError::Supplied)?;
            Ok((current.state.clone().taint(record, within, now)?, files))
        })
    }

    /// Takes back the order to replace leaves. During a change of the root it stays.
    ///
    /// # Errors
    /// When it cannot be written down.
    pub fn reissued(&self, now: SystemTime) -> Result<(), AuthorityError> {
        self.change(now, |current| Ok((current.state.clone().reissued(), Files::new())))
    }

    /// Replaces issuing certificates once two thirds of their lives are over. Certificates that the old one signed stay
    /// good: they carry it with them.
    ///
    /// # Errors
    /// When the new one cannot be signed or stored; the old one then stays.
    pub fn upkeep(&self, now: SystemTime) -> Result<Upkeep, AuthorityError> {
        let current = self.current.load_full();
        let due: Vec<u32> = current
            .generations
            .iter()
            .filter(|held| held.issuing_is_due(now))
            .map(|held| held.number)
            .collect();
        if due.is_empty() {
            return Ok(Upkeep::NothingDue);
        }
        match self.keeper {
            Keeper::Operator(_) => return Ok(Upkeep::OperatorMustReplace),
            Keeper::Enrolled(..) => return Ok(Upkeep::OtherMustSign),
            Keeper::Vault(_) => {}
        }
        for number in due {
            if let Some(upkeep) = self.replace_issuing(number, now)? {
                return Ok(upkeep);
            }
        }
        Ok(Upkeep::Replaced)
    }

    fn replace_issuing(
        &self,
        number: u32,
        now: SystemTime,
    ) -> Result<Option<Upkeep>, AuthorityError> {
        let mut outcome = None;
        self.change(now, |current| {
            let found = current.generation(number).zip(current.state.generation(number));
            let Some((held, record)) = found else {
                return Ok((current.state.clone(), Files::new()));
            };
            match held.new_issuing(record, &current.files, (&self.domain, now))? {
                Some((record, files)) => Ok((current.state.clone().replace(record), files)),
                None => {
                    outcome = Some(Upkeep::OperatorMustReplace);
                    Ok((current.state.clone(), Files::new()))
                }
            }
        })?;
        Ok(outcome)
    }

    /// Writes down that leaves may live this long, before the first one does: what is retired waits for the last leaf.
    pub(super) fn remember_lifetime(
        &self,
        lifetime: Lifetime,
        now: SystemTime,
    ) -> Result<(), AuthorityError> {
        let seconds = lifetime.as_duration().as_secs();
        let current = self.current.load();
        let mut trusted = current.state.generations.iter().filter(|r| r.phase.is_trusted());
        if self.is_supplied() || trusted.all(|r| r.longest_leaf >= seconds) {
            return Ok(());
        }
        self.remember(now, |record| record.longest_leaf = record.longest_leaf.max(seconds))
    }

    /// The same for tokens. Says what is in force once it is written down: what comes later may not know it.
    pub(super) fn remember_token(
        &self,
        lifetime: JwtLifetime,
        now: SystemTime,
    ) -> Result<Arc<Current>, AuthorityError> {
        let seconds = lifetime.as_duration().as_secs();
        loop {
            let current = self.current.load_full();
            let active = current.state.active();
            if self.is_supplied() || active.is_some_and(|r| r.longest_token >= seconds) {
                return Ok(current);
            }
            self.remember(now, |record| record.longest_token = record.longest_token.max(seconds))?;
        }
    }

    /// An authority that is supplied retires nothing by itself.
    fn is_supplied(&self) -> bool {
        matches!(self.keeper, Keeper::Operator(_))
    }

    /// Writes something down about every generation that is trusted.
    fn remember(&self, now: SystemTime, what: impl Fn(&mut Record)) -> Result<(), AuthorityError> {
        let draft = |current: &Current| {
            let mut state = current.state.clone();
            state.generations.iter_mut().filter(|r| r.phase.is_trusted()).for_each(&what);
            Ok((state, Files::new()))
        };
        for _ in 0..CONFLICTS {
            match self.write_down(draft, None) {
                // Another replica wrote first: what it wrote is the ground for the same once more.
                Err(AuthorityError::Store(StoreError::Conflict(_))) => drop(self.reload(now)?),
                done => return done,
            }
        }
        self.write_down(draft, None)
    }

    pub(super) fn change(
        &self,
        now: SystemTime,
        mut draft: impl FnMut(&Current) -> Result<Draft, AuthorityError>,
    ) -> Result<(), AuthorityError> {
        match self.write_down(&mut draft, Some(now)) {
            // Somebody wrote first. If it says the same as before (a label was set, say) the step still follows; else
            // whoever decided it must look again.
            Err(AuthorityError::Store(StoreError::Conflict(place))) => match self.reload(now)? {
                true => Err(StoreError::Conflict(place).into()),
                false => self.write_down(draft, Some(now)),
            },
            done => done,
        }
    }

    /// `now`: try out what comes, too.
    fn write_down(
        &self,
        mut draft: impl FnMut(&Current) -> Result<Draft, AuthorityError>,
        now: Option<SystemTime>,
    ) -> Result<(), AuthorityError> {
        let vault = self.keeper.vault().ok_or(AuthorityError::Supplied)?;
        let _changing = self.changing.lock().unwrap_or_else(PoisonError::into_inner);
        let current = self.current.load_full();
        let (state, new_files) = draft(&current)?;
        if state == current.state {
            return Ok(());
        }
        let mut files = current.files.clone();
        files.extend(new_files);
        let at = now.unwrap_or(current.active.root.window.not_before);
        // Read as a restart would read it: what could not be opened again is not written.
        let sealed = seal(&state)?;
        crate::ca::vault::unseal(&sealed)?;
        let next = Current::read(state, files, (&vault.place(), &self.domain), at)?;
        if now.is_some() {
            next.try_out(&self.domain, at)?;
        }
        let trust = next.trust(&self.domain)?;
        let roots = trust.bundles.own().to_pem();
        let kept = Kept { state: sealed, files: next.files.clone() };
        let version = vault.save(&kept, &roots, &current.version)?;
        self.put_in_force(next.at(version), trust);
        Ok(())
    }

    /// Puts in force and announces what is written down, or what the operator supplied.
    pub(super) fn take(&self, next: Current) -> Result<(), AuthorityError> {
        let trust = next.trust(&self.domain)?;
        self.put_in_force(next, trust);
        Ok(())
    }

    fn put_in_force(&self, next: Current, trust: Trust) {
        self.current.store(Arc::new(next));
        self.trust.send_if_modified(|held| {
            let changed = **held != trust;
            if changed {
                *held = Arc::new(trust);
            }
            changed
        });
    }
}
