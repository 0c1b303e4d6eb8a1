//! The steps from one state to the next.

use std::time::{Duration, SystemTime};

use super::{Change, Enrolment, Order, Phase, REMEMBERED, Record, State, Step, unix};

/// A step does not follow from this state.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum IllegalStep {
    /// One change at a time.
    #[error("a change of the root is under way already; see `hopgate ca status`")]
    UnderWay,
    /// There is nothing to go on with, or to go back from.
    #[error("no change of the root is under way")]
    NothingUnderWay,
    /// Another step comes first.
    #[error("this step is not the next one of the change that is under way")]
    OutOfOrder,
    /// It goes back already.
    #[error("the change of the root is going back already")]
    GoingBack,
    /// Nothing signs yet.
    #[error("the authority has no active generation")]
    Unborn,
}

impl State {
    /// The first generation. It is active at once: nobody trusts anything else yet.
    pub(in crate::ca) fn born(mut self, record: Record) -> Result<Self, IllegalStep> {
        if !self.generations.is_empty() {
            return Err(IllegalStep::OutOfOrder);
        }
        self.generations.push(Record { phase: Phase::Active, ..record });
        self.sequence = self.sequence.saturating_add(1);
        Ok(self)
    }

    /// A new generation that nobody knows of yet. `within`: over which time its leaves are to replace the old ones.
    pub(in crate::ca) fn prepare(
        mut self,
        record: Record,
        within: Option<Duration>,
        now: SystemTime,
    ) -> Result<Self, IllegalStep> {
        if self.rotation.is_some() {
            return Err(IllegalStep::UnderWay);
        }
        let from = self.active().ok_or(IllegalStep::Unborn)?.number;
        if record.number != self.next_number() {
            return Err(IllegalStep::OutOfOrder);
        }
        self.rotation = Some(Change {
            from,
            to: record.number,
            step: Step::Prepared,
            since: unix(now),
            going_back: false,
            without_absent: false,
            within: within.map(whole_seconds),
        });
        self.generations.push(Record { phase: Phase::Prepared, ..record });
        Ok(self)
    }

    /// The new root comes into the bundles.
    pub(in crate::ca) fn publish(mut self, now: SystemTime) -> Result<Self, IllegalStep> {
        let change = self.advance((Step::Prepared, Step::Publishing), now)?;
        self.set(change.to, Phase::Published);
        self.sequence = self.sequence.saturating_add(1);
        Ok(self)
    }

    /// The new generation signs from now on, and every leaf of the old one is to be replaced within `within`.
    pub(in crate::ca) fn activate(
        mut self,
        within: Duration,
        now: SystemTime,
    ) -> Result<Self, IllegalStep> {
        let change = self.advance((Step::Publishing, Step::Reissuing), now)?;
        self.set(change.from, Phase::Published);
        self.set(change.to, Phase::Active);
        self.reissue = Some(Order::new(within, now));
        Ok(self)
    }

    /// The old root goes out of the bundles.
    pub(in crate::ca) fn retire(mut self) -> Result<Self, IllegalStep> {
        let change = self.rotation.take().ok_or(IllegalStep::NothingUnderWay)?;
        if change.step != Step::Reissuing {
            return Err(IllegalStep::OutOfOrder);
        }
        self.bury(change.from);
        self.sequence = self.sequence.saturating_add(1);
        self.reissue = None;
        Ok(self)
    }

    /// Back to the old generation. Before the new one signed, it just goes. After that its leaves are about, so the
    /// change is turned round: the old generation signs again, every leaf is replaced once more, and the new root goes
    /// last.
    pub(in crate::ca) fn abort(
        mut self,
        within: Duration,
        now: SystemTime,
    ) -> Result<Self, IllegalStep> {
        let change = self.rotation.take().ok_or(IllegalStep::NothingUnderWay)?;
        match change.step {
            Step::Prepared => self.bury(change.to),
            Step::Publishing => {
                self.bury(change.to);
                self.sequence = self.sequence.saturating_add(1);
            }
            Step::Reissuing if change.going_back => return Err(IllegalStep::GoingBack),
            Step::Reissuing => {
                self.set(change.to, Phase::Published);
                self.set(change.from, Phase::Active);
                self.rotation = Some(Change {
                    from: change.to,
                    to: change.from,
                    step: Step::Reissuing,
                    since: unix(now),
                    going_back: true,
                    without_absent: change.without_absent,
                    within: change.within,
                });
                self.reissue = Some(Order::new(within, now));
            }
        }
        Ok(self)
    }

    /// Sidecars that are not connected do not count from now on, in the change that is under way.
    pub(in crate::ca) fn without_absent(mut self) -> Result<Self, IllegalStep> {
        let change = self.rotation.as_mut().ok_or(IllegalStep::NothingUnderWay)?;
        change.without_absent = true;
        Ok(self)
    }

    /// Every leaf is to be replaced within `within`. `record` is the active generation with its new issuing key.
    pub(in crate::ca) fn taint(
        mut self,
        record: Record,
        within: Duration,
        now: SystemTime,
    ) -> Result<Self, IllegalStep> {
        let number = self.active().ok_or(IllegalStep::Unborn)?.number;
        if record.number != number {
            return Err(IllegalStep::OutOfOrder);
        }
        self = self.replace(record);
        self.reissue = Some(Order::new(within, now));
        Ok(self)
    }

    /// A generation has other files, or signed a longer leaf; what it may do stays.
    pub(in crate::ca) fn replace(mut self, record: Record) -> Self {
        for held in &mut self.generations {
            if held.number == record.number {
                let phase = held.phase;
                *held = Record { phase, ..record };
                break;
            }
        }
        self
    }

    /// Another authority is asked for a certificate.
    pub(in crate::ca) fn enrol(mut self, enrolment: Enrolment) -> Self {
        self.enrolment = Some(enrolment);
        self
    }

    /// The order to replace certificates was carried out.
    pub(in crate::ca) fn reissued(mut self) -> Self {
        if self.rotation.is_none() {
            self.reissue = None;
        }
        self
    }

    fn advance(
        &mut self,
        (expected, next): (Step, Step),
        now: SystemTime,
    ) -> Result<Change, IllegalStep> {
        let change = self.rotation.as_mut().ok_or(IllegalStep::NothingUnderWay)?;
        if change.step != expected {
            return Err(IllegalStep::OutOfOrder);
        }
        change.step = next;
        change.since = unix(now);
        Ok(change.clone())
    }

    fn set(&mut self, number: u32, phase: Phase) {
        for record in &mut self.generations {
            if record.number == number {
                record.phase = phase;
            }
        }
    }

    /// Retires a generation: its files go, what it was is remembered for a while.
    fn bury(&mut self, number: u32) {
        self.set(number, Phase::Retired);
        for record in &mut self.generations {
            if record.number == number {
                record.files.clear();
            }
        }
        let retired = |record: &Record| record.phase == Phase::Retired;
        let mut surplus =
            self.generations.iter().filter(|r| retired(r)).count().saturating_sub(REMEMBERED);
        self.generations.retain(|record| {
            // The newest stays in any case: its number must not be used again.
            let goes = surplus > 0 && retired(record) && record.number != number;
            surplus = surplus.saturating_sub(usize::from(goes));
            !goes
        });
    }
}

impl Order {
    /// Everything obtained up to and including this second: it may have been signed before the moment.
    fn new(within: Duration, now: SystemTime) -> Self {
        Self { issued_before: unix(now).saturating_add(1), within: whole_seconds(within) }
    }
}

fn whole_seconds(duration: Duration) -> u32 {
    u32::try_from(duration.as_secs()).unwrap_or(u32::MAX)
}
