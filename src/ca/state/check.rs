//! Whether a state that was read can be true. A journal that contradicts itself is not used.

use super::{FORMAT, Phase, State, Step};

impl State {
    /// What is wrong with this state, if anything.
    pub(in crate::ca) fn contradiction(&self) -> Option<&'static str> {
        if self.format != FORMAT {
            return Some(
                "is of another format; use the version of hopgate that wrote it, or a newer one",
            );
        }
        let count = |phase| self.generations.iter().filter(|r| r.phase == phase).count();
        let mut numbers: Vec<u32> = self.generations.iter().map(|record| record.number).collect();
        let ordered = numbers.is_sorted() && numbers.first().is_none_or(|first| *first > 0);
        numbers.dedup();
        if !ordered || numbers.len() != self.generations.len() {
            return Some("counts its generations wrongly");
        }
        if self.generations.is_empty() {
            return (self.rotation.is_some() || self.sequence > 0)
                .then_some("names no generation, yet something was in force");
        }
        if count(Phase::Active) != 1 {
            return Some("has not exactly one active generation");
        }
        if self.sequence == 0 {
            return Some("has no sequence number");
        }
        let damaged = |r: &super::Record| {
            (r.phase == Phase::Retired) != r.files.is_empty() || r.issuing_keys.is_empty()
        };
        if self.generations.iter().any(damaged) {
            return Some("does not say which files a generation has");
        }
        self.contradiction_of_change(count(Phase::Prepared), count(Phase::Published))
    }

    /// By what it is seen that this state, which was read just now, came before `known`, if it did.
    pub(in crate::ca) fn precedes(&self, known: &Self) -> Option<&'static str> {
        let newest = |state: &Self| state.generations.last().map(|record| record.number);
        if self.sequence < known.sequence {
            return Some("its bundle is older");
        }
        (newest(self) < newest(known)).then_some("a generation is missing")
    }

    fn contradiction_of_change(&self, prepared: usize, published: usize) -> Option<&'static str> {
        let wrong = Some("contradicts itself about the change of the root");
        let Some(change) = &self.rotation else {
            return if prepared + published == 0 { None } else { wrong };
        };
        let phase = |number| self.generation(number).map(|record| record.phase);
        let (from, to) = match change.step {
            Step::Prepared => (Phase::Active, Phase::Prepared),
            Step::Publishing => (Phase::Active, Phase::Published),
            Step::Reissuing => (Phase::Published, Phase::Active),
        };
        let fits = phase(change.from) == Some(from) && phase(change.to) == Some(to);
        let alone = prepared + published == 1;
        let order = (change.step == Step::Reissuing) <= self.reissue.is_some();
        let back = !change.going_back || change.step == Step::Reissuing;
        if fits && alone && order && back { None } else { wrong }
    }
}
