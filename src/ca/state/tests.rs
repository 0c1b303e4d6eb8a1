use super::*;

const DAY: Duration = Duration::from_secs(24 * 3600);

fn record(number: u32) -> Record {
    Record {
        number,
        phase: Phase::Prepared,
        made: 0,
        subject: format!("CN=root {number}"),
        validity: (0, 1),
        issuing_until: 1,
        issuing_keys: vec![format!("key {number}")],
        kid: format!("kid {number}"),
        longest_leaf: 3600,
        longest_token: 0,
        files: [(format!("{number}.root.pem"), "digest".to_owned())].into(),
    }
}

fn born() -> State {
    State::unborn("demo.mesh").born(record(1)).unwrap()
}

fn now() -> SystemTime {
    at(1_790_000_000)
}

fn phases(state: &State) -> Vec<Phase> {
    assert_eq!(state.contradiction(), None, "{state:?}");
    state.generations.iter().map(|record| record.phase).collect()
}

#[test]
fn a_change_goes_through_its_steps_in_order() {
    use Phase::{Active, Prepared, Published, Retired};
    let born = born();
    assert_eq!((phases(&born), born.sequence), (vec![Active], 1));
    let prepared = born.clone().prepare(record(2), None, now()).unwrap();
    assert_eq!((phases(&prepared), prepared.sequence), (vec![Active, Prepared], 1));
    let published = prepared.clone().publish(now()).unwrap();
    assert_eq!((phases(&published), published.sequence), (vec![Active, Published], 2));
    let active = published.clone().activate(DAY, now()).unwrap();
    assert_eq!((phases(&active), active.sequence), (vec![Published, Active], 2));
    let order = Order { issued_before: 1_790_000_001, within: 24 * 3600 };
    assert_eq!(active.reissue, Some(order));
    let retired = active.clone().retire().unwrap();
    assert_eq!((phases(&retired), retired.sequence), (vec![Retired, Active], 3));
    assert_eq!((&retired.rotation, retired.reissue), (&None, None));
    assert!(retired.generation(1).unwrap().files.is_empty(), "its keys are destroyed");
    assert_eq!(retired.next_number(), 3);

    // Nothing else follows from any of them.
    let illegal = |state: &State, allowed: &[&str]| {
        let s = || state.clone();
        let steps = [
            ("prepare", s().prepare(record(s().next_number()), None, now()).is_ok()),
            ("publish", s().publish(now()).is_ok()),
            ("activate", s().activate(DAY, now()).is_ok()),
            ("retire", s().retire().is_ok()),
            ("abort", s().abort(DAY, now()).is_ok()),
        ];
        for (name, done) in steps {
            assert_eq!(done, allowed.contains(&name), "{name} of {state:?}");
        }
    };
    illegal(&State::unborn("demo.mesh"), &[]);
    illegal(&born, &["prepare"]);
    illegal(&prepared, &["publish", "abort"]);
    illegal(&published, &["activate", "abort"]);
    illegal(&active, &["retire", "abort"]);
    illegal(&retired, &["prepare"]);
    assert!(born.clone().prepare(record(3), None, now()).is_err(), "numbers are not left out");
    assert!(retired.prepare(record(2), None, now()).is_err(), "and not used twice");
}

#[test]
fn going_back_before_the_new_one_signed_just_drops_it() {
    let prepared = born().prepare(record(2), None, now()).unwrap();
    let dropped = prepared.clone().abort(DAY, now()).unwrap();
    assert_eq!(phases(&dropped), [Phase::Active, Phase::Retired]);
    assert_eq!(dropped.sequence, 1, "nobody was told of it");
    let dropped = prepared.publish(now()).unwrap().abort(DAY, now()).unwrap();
    assert_eq!(phases(&dropped), [Phase::Active, Phase::Retired]);
    assert_eq!((dropped.sequence, dropped.reissue), (3, None));
    assert!(dropped.prepare(record(3), None, now()).is_ok());
}

#[test]
fn going_back_after_the_new_one_signed_replaces_every_leaf_once_more() {
    let active = born().prepare(record(2), None, now()).unwrap().publish(now()).unwrap();
    let active = active.activate(DAY, now()).unwrap();
    let later = now() + DAY;
    let back = active.abort(DAY / 2, later).unwrap();
    assert_eq!(phases(&back), [Phase::Active, Phase::Published], "the new root stays trusted");
    let change = back.rotation.clone().unwrap();
    assert_eq!((change.from, change.to, change.step), (2, 1, Step::Reissuing));
    assert_eq!(back.reissue.unwrap().issued_before, unix(later) + 1);
    assert_eq!(back.clone().abort(DAY, later), Err(IllegalStep::GoingBack));
    let retired = back.retire().unwrap();
    assert_eq!(phases(&retired), [Phase::Active, Phase::Retired]);
}

#[test]
fn an_order_stands_until_it_is_carried_out() {
    let tainted = born().taint(record(1), DAY, now()).unwrap();
    assert!(tainted.reissue.is_some() && tainted.active().is_some());
    assert_eq!(phases(&tainted), [Phase::Active]);
    assert_eq!(tainted.clone().reissued().reissue, None);
    assert!(tainted.taint(record(2), DAY, now()).is_err(), "not the active generation");
    let active = born().prepare(record(2), None, now()).unwrap().publish(now()).unwrap();
    let active = active.activate(DAY, now()).unwrap();
    assert!(active.reissued().reissue.is_some(), "a change of the root needs it to its end");
}

#[test]
fn only_some_retired_generations_are_remembered() {
    let mut state = born();
    for _ in 0..20 {
        let next = record(state.next_number());
        state = state.prepare(next, None, now()).unwrap().publish(now()).unwrap();
        state = state.activate(DAY, now()).unwrap().retire().unwrap();
    }
    assert_eq!(state.generations.len(), 9);
    assert_eq!(state.next_number(), 22);
    for _ in 0..20 {
        let next = record(state.next_number());
        state = state.prepare(next, None, now()).unwrap().abort(DAY, now()).unwrap();
    }
    assert_eq!(state.next_number(), 42, "numbers of dropped ones are not used again");
    assert_eq!(state.contradiction(), None);
}

#[test]
fn a_state_that_contradicts_itself_is_found_out() {
    let good = born().prepare(record(2), None, now()).unwrap().publish(now()).unwrap();
    assert_eq!(good.contradiction(), None);
    assert_eq!(State::unborn("demo.mesh").contradiction(), None);
    let bad: [fn(&mut State); 11] = [
        |s| s.format = 2,
        |s| s.sequence = 0,
        |s| s.generations.clear(),
        |s| s.generations.swap(0, 1),
        |s| s.generations[1].number = 1,
        |s| s.generations[1].phase = Phase::Active,
        |s| s.generations[0].phase = Phase::Published,
        |s| s.generations[0].files.clear(),
        |s| s.rotation = None,
        |s| s.rotation.as_mut().unwrap().to = 3,
        |s| s.rotation.as_mut().unwrap().step = Step::Reissuing,
    ];
    for (index, change) in bad.into_iter().enumerate() {
        let mut state = good.clone();
        change(&mut state);
        assert!(state.contradiction().is_some(), "{index}");
    }
}
