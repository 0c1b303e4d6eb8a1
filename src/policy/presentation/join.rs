//! What several policies of one workload say together.

use std::fmt::Debug;

use crate::policy::field::FieldPath;
use crate::policy::problem::{InvalidRule, Problem};
use crate::policy::set::SelectedPolicy;

/// Longer values are not shown beside one another.
const LONGEST_SHOWN: usize = 60;

/// The one value that all policies choose that choose any.
pub(super) fn agreed<T: PartialEq + Debug>(
    selected: &[SelectedPolicy<'_>],
    at: &FieldPath,
    choice: impl Fn(&SelectedPolicy<'_>) -> Option<T>,
    problems: &mut Vec<InvalidRule>,
) -> Option<T> {
    let mut first: Option<(T, &SelectedPolicy<'_>)> = None;
    for policy in selected {
        let Some(chosen) = choice(policy) else { continue };
        match &first {
            None => first = Some((chosen, policy)),
            Some((agreed, _)) if *agreed == chosen => {}
            Some((agreed, other)) => {
                let (here, there) = (format!("{chosen:?}"), format!("{agreed:?}"));
                let message = if here.len().max(there.len()) > LONGEST_SHOWN {
                    format!(
                        "is another than in {} ({}); both select this workload",
                        other.metadata, other.origin
                    )
                } else {
                    format!(
                        "is {here} here and {there} in {} ({}); both select this workload",
                        other.metadata, other.origin
                    )
                };
                problems.push(policy.problem(Problem::new(at.clone(), message)));
            }
        }
    }
    first.map(|(value, _)| value)
}

/// All items of all policies; `is_same` says which are about one thing, and those must be equal.
pub(super) fn union<'p, T: PartialEq + Clone + 'p>(
    selected: &'p [SelectedPolicy<'_>],
    at: &FieldPath,
    choice: impl Fn(&'p SelectedPolicy<'_>) -> &'p [T],
    is_same: impl Fn(&T, &T) -> bool,
    problems: &mut Vec<InvalidRule>,
) -> Vec<T> {
    let mut all: Vec<(&T, &SelectedPolicy<'_>)> = Vec::new();
    for policy in selected {
        for (place, item) in choice(policy).iter().enumerate() {
            match all.iter().find(|(there, _)| is_same(there, item)) {
                None => all.push((item, policy)),
                Some((there, _)) if *there == item => {}
                Some((_, other)) => {
                    let message = format!(
                        "is another than in {} ({}); both select this workload",
                        other.metadata, other.origin
                    );
                    problems.push(policy.problem(Problem::new(at.item(place), message)));
                }
            }
        }
    }
    all.into_iter().map(|(item, _)| item.clone()).collect()
}
