use super::*;
use crate::xds::NewContent;
use crate::xds::own::POLICY_RESOURCE_TYPE;

fn resource(kind: &str, name: &str, generation: u64) -> PolicyResource {
    PolicyResource {
        kind: kind.to_owned(),
        namespace: "shop".to_owned(),
        name: name.to_owned(),
        generation,
        document: "{}".to_owned(),
    }
}

/// An answer that tells `told`, or that `gone` is gone; the last of a change has a revision.
fn answer(nonce: &str, told: Option<&PolicyResource>, gone: &[&str], last: bool) -> Update {
    Update {
        type_url: POLICY_RESOURCE_TYPE,
        nonce: nonce.to_owned(),
        revision: if last { "r".to_owned() } else { String::new() },
        resources: told
            .iter()
            .map(|resource| {
                let encoded = resource.encode();
                let version = encoded.version();
                NewContent { name: encoded.name, version, content: encoded.content }
            })
            .collect(),
        removed: gone.iter().map(ToString::to_string).collect(),
    }
}

fn policy(nonce: &str, name: &str, generation: u64, last: bool) -> Update {
    answer(nonce, Some(&resource("AccessPolicy", name, generation)), &[], last)
}

/// Names and generations.
fn say(set: &AssignedSet) -> String {
    let each = set.values().map(|resource| format!("{}{}", resource.name, resource.generation));
    each.collect::<Vec<_>>().join(" ")
}

fn words(words: &[Word]) -> String {
    let each = words.iter().map(|word| match word {
        Word::Accept(update) => format!("+{}", update.nonce),
        Word::Refuse(update, reason) => format!("-{}:{reason}", update.nonce),
        Word::AskAgain(names) => format!("?{}", names.join(",")),
    });
    each.collect::<Vec<_>>().join(" ")
}

fn in_force(ledger: &PolicyLedger) -> Option<String> {
    ledger.in_force().map(say)
}

/// With `a` and `b` in force.
fn begun() -> PolicyLedger {
    let good = [resource("AccessPolicy", "a", 1), resource("AccessPolicy", "b", 1)];
    PolicyLedger::new(Some(good.into_iter().map(|one| (one.resource_name(), one)).collect()))
}

fn no() -> Result<(), String> {
    Err("no".to_owned())
}

#[test]
fn nothing_is_tried_before_all_of_it_was_told() {
    let mut ledger = PolicyLedger::new(None);
    assert_eq!(in_force(&ledger), None);
    ledger.push(policy("1", "a", 1, false)).unwrap();
    assert_eq!(ledger.attempt(), None);
    ledger.push(policy("2", "b", 1, true)).unwrap();
    assert_eq!(ledger.attempt().map(|set| say(&set)).as_deref(), Some("a1 b1"));
    assert_eq!(ledger.attempt(), None, "one at a time");
    assert_eq!(in_force(&ledger), None);
    assert_eq!(words(&ledger.judged(Ok(()))), "+1 +2");
    assert_eq!(in_force(&ledger).as_deref(), Some("a1 b1"));
}

#[test]
fn that_there_is_nothing_is_all_there_is() {
    let mut ledger = PolicyLedger::new(None);
    ledger.push(answer("1", None, &[], true)).unwrap();
    assert_eq!(ledger.attempt(), Some(AssignedSet::new()));
    assert_eq!(words(&ledger.judged(Ok(()))), "+1");
    assert_eq!(in_force(&ledger).as_deref(), Some(""));
}

/// What is left out of the first set may be what refuses.
#[test]
fn a_first_set_is_never_taken_in_part() {
    let mut ledger = PolicyLedger::new(None);
    ledger.push(policy("1", "a", 1, false)).unwrap();
    ledger.push(policy("2", "bad", 1, true)).unwrap();
    ledger.attempt().unwrap();
    assert_eq!(words(&ledger.judged(no())), "-1:no -2:no");
    assert_eq!((in_force(&ledger), ledger.next_attempt()), (None, None));
    // Once it is good, all of it is, and what was refused is told and accepted once more.
    ledger.push(policy("3", "bad", 2, true)).unwrap();
    assert_eq!(say(&ledger.attempt().unwrap()), "a1 bad2");
    assert_eq!(words(&ledger.judged(Ok(()))), "+3 ?AccessPolicy/shop/a");
    assert_eq!(in_force(&ledger).as_deref(), Some("a1 bad2"));
}

#[test]
fn a_bad_one_is_refused_and_what_it_was_before_stays() {
    let mut ledger = begun();
    ledger.push(policy("1", "a", 2, true)).unwrap();
    ledger.attempt().unwrap();
    assert_eq!(words(&ledger.judged(no())), "-1:no");
    assert_eq!(in_force(&ledger).as_deref(), Some("a1 b1"));
    // Another one is taken all the same, on top of what is in force.
    ledger.push(policy("2", "c", 1, true)).unwrap();
    assert_eq!(say(&ledger.attempt().unwrap()), "a2 b1 c1", "perhaps it makes the other good");
    assert!(ledger.judged(no()).is_empty());
    assert_eq!(say(&ledger.next_attempt().unwrap()), "a1 b1 c1");
    assert_eq!(words(&ledger.judged(Ok(()))), "+2 ?AccessPolicy/shop/a");
    assert_eq!(in_force(&ledger).as_deref(), Some("a1 b1 c1"));
    ledger.push(policy("3", "a", 2, true)).unwrap();
    ledger.attempt().unwrap();
    assert_eq!(words(&ledger.judged(no())), "-3:no", "and no more is asked for");
    assert_eq!(ledger.next_attempt(), None);
}

#[test]
fn one_of_several_is_not_refused_for_the_fault_of_another() {
    let mut ledger = begun();
    ledger.push(policy("1", "a", 2, false)).unwrap();
    ledger.push(policy("2", "bad", 1, false)).unwrap();
    ledger.push(answer("3", None, &["AccessPolicy/shop/b"], false)).unwrap();
    ledger.push(answer("4", Some(&resource("IdentityProvider", "sso", 1)), &[], true)).unwrap();
    ledger.attempt().unwrap();
    let mut said = Vec::new();
    let mut outcome = no();
    loop {
        said.extend(ledger.judged(outcome));
        let Some(set) = ledger.next_attempt() else { break };
        outcome = if say(&set).contains("bad") { no() } else { Ok(()) };
    }
    // Providers come first, what goes comes last; then the refused one is asked for once more.
    assert_eq!(words(&said), "+4 +1 -2:no +3 ?AccessPolicy/shop/bad");
    assert_eq!(in_force(&ledger).as_deref(), Some("a2 sso1"));
}

#[test]
fn what_was_refused_for_lack_of_another_is_asked_for_when_that_comes() {
    let mut ledger = begun();
    ledger.push(policy("1", "needs-sso", 1, true)).unwrap();
    ledger.attempt().unwrap();
    assert_eq!(words(&ledger.judged(no())), "-1:no");
    let sso = resource("IdentityProvider", "sso", 1);
    ledger.push(answer("2", Some(&sso), &[], true)).unwrap();
    assert_eq!(say(&ledger.attempt().unwrap()), "a1 b1 needs-sso1 sso1");
    assert_eq!(words(&ledger.judged(Ok(()))), "+2 ?AccessPolicy/shop/needs-sso");
    ledger.push(policy("3", "needs-sso", 1, true)).unwrap();
    ledger.attempt().unwrap();
    assert_eq!(words(&ledger.judged(Ok(()))), "+3");
}

#[test]
fn what_cannot_be_read_is_refused_and_keeps_a_first_set_back() {
    let mut damaged = policy("1", "a", 1, true);
    damaged.resources[0].content.truncate(3);
    let mut ledger = begun();
    assert!(ledger.push(damaged.clone()).is_err());
    assert_eq!(ledger.attempt(), None);
    assert_eq!(in_force(&ledger).as_deref(), Some("a1 b1"));
    let mut ledger = PolicyLedger::new(None);
    assert!(ledger.push(damaged).is_err());
    ledger.push(policy("2", "b", 1, true)).unwrap();
    assert_eq!(ledger.attempt(), None, "part of a first set");
    ledger.push(policy("3", "a", 2, true)).unwrap();
    assert_eq!(say(&ledger.attempt().unwrap()), "a2 b1");
}

#[test]
fn what_comes_into_force_after_its_stream_is_gone_is_in_force() {
    let mut ledger = begun();
    ledger.push(policy("1", "a", 2, true)).unwrap();
    ledger.attempt().unwrap();
    ledger.push(policy("2", "c", 1, true)).unwrap();
    ledger.disconnect();
    // The next stream tells all that was not accepted, while the attempt still runs.
    ledger.push(policy("1", "a", 2, true)).unwrap();
    assert_eq!(ledger.attempt(), None, "one at a time");
    assert!(ledger.judged(Ok(())).is_empty(), "nobody is told on another stream");
    assert_eq!(in_force(&ledger).as_deref(), Some("a2 b1"));
    ledger.attempt().unwrap();
    assert_eq!(words(&ledger.judged(Ok(()))), "+1");
    assert_eq!(in_force(&ledger).as_deref(), Some("a2 b1"));
}
