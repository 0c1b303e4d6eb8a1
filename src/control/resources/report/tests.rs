use serde_json::json;

use super::*;
use crate::identity::SpiffeId;
use crate::kube::index::Verdict;

fn known(generation: u64, status: &Value) -> Known {
    let object = json!({
        "apiVersion": "hopgate.dev/v1alpha1",
        "kind": "MeshPolicy",
        "metadata": { "name": "mesh", "namespace": "root", "generation": generation },
        "spec": {},
        "status": status,
    });
    let resources = vec![KnownResource {
        held: Arc::new(Held::read(&object).unwrap()),
        verdict: Verdict::Accepted,
        name: "MeshPolicy/root/mesh".to_owned(),
        version: format!("v{generation}").into(),
    }];
    Known { resources, ..Known::default() }
}

fn programmed(selected: usize, running: usize) -> BTreeMap<Arc<str>, Programming> {
    let programming = Programming { selected, running, ..Programming::default() };
    BTreeMap::from([(Arc::from("MeshPolicy/root/mesh"), programming)])
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_800_000_000 + seconds)
}

/// The one status that is due.
fn one(written: &mut Written, known: &Known, running: usize, now: SystemTime) -> Option<Value> {
    let (mut due, _) = written.due(known, &programmed(3, running), (now, true));
    assert!(due.len() < 2);
    due.pop().map(|due| due.status)
}

#[test]
fn what_stands_already_is_not_written_again() {
    let mut written = Written::default();
    let first = one(&mut written, &known(1, &Value::Null), 3, at(0)).unwrap();
    assert_eq!(first["sidecars"]["running"], 3);
    // As the API server tells it back, beside what somebody else wrote.
    let mut stands = first.clone();
    stands["other"] = json!(1);
    stands["conditions"]
        .as_array_mut()
        .unwrap()
        .insert(0, json!({ "type": "Theirs", "status": "True" }));
    assert_eq!(one(&mut written, &known(1, &stands), 3, at(60)), None);
    // Another process may have written the same before.
    assert_eq!(one(&mut Written::default(), &known(1, &stands), 3, at(60)), None);
    assert!(one(&mut written, &known(2, &stands), 3, at(60)).is_some(), "a new generation");
}

#[test]
fn what_was_written_counts_before_it_comes_back_and_not_for_ever() {
    let mut written = Written::default();
    let nothing = known(1, &Value::Null);
    let first = one(&mut written, &nothing, 3, at(0)).unwrap();
    written.0.insert(nothing.resources[0].held.key.clone(), (first, at(0)));
    assert_eq!(one(&mut written, &nothing, 3, at(1)), None);
    assert!(one(&mut written, &nothing, 3, at(31)).is_some(), "it was lost");
}

#[test]
fn numbers_wait_and_conditions_do_not() {
    let mut written = Written::default();
    let nothing = known(1, &Value::Null);
    let key = nothing.resources[0].held.key.clone();
    let first = one(&mut written, &nothing, 1, at(0)).unwrap();
    written.0.insert(key, (first.clone(), at(0)));
    let told = known(1, &first);
    let (due, waits) = written.due(&told, &programmed(3, 2), (at(1), true));
    assert!(due.is_empty() && waits, "only a number changed");
    assert!(one(&mut written, &told, 2, at(6)).is_some());
    let all = one(&mut written, &told, 3, at(1)).unwrap();
    assert_eq!(all["conditions"][1]["status"], "True", "the condition changed");
}

#[test]
fn a_resource_that_is_gone_is_forgotten() {
    let mut written = Written::default();
    let nothing = known(1, &Value::Null);
    let key = nothing.resources[0].held.key.clone();
    written.0.insert(key, (Value::Null, at(0)));
    written.due(&Known::default(), &BTreeMap::new(), (at(1), true));
    assert!(written.0.is_empty());
}

#[test]
fn a_refusal_says_whose_it_is() {
    let id = SpiffeId::parse("spiffe://demo.mesh/ns/shop/sa/orders").unwrap();
    let refusal = Some((id, Arc::from("no provider sso")));
    let told = sidecars(Programming { selected: 1, running: 0, refusing: 1, refusal });
    let words = told.refusal.unwrap();
    assert_eq!(words, "spiffe://demo.mesh/ns/shop/sa/orders: no provider sso");
}

/// A control plane that starts anew hears of its sidecars one by one.
#[test]
fn that_sidecars_are_on_their_way_back_is_no_news() {
    let mut written = Written::default();
    let all = one(&mut written, &known(1, &Value::Null), 3, at(0)).unwrap();
    let stands = known(1, &all);
    let (due, waits) = written.due(&stands, &programmed(1, 0), (at(1), false));
    assert!(due.is_empty() && waits);
    assert_eq!(written.due(&stands, &programmed(1, 0), (at(21), true)).0.len(), 1);
    // A new generation, and what was not in force before, are said at once.
    assert_eq!(written.due(&known(2, &all), &programmed(1, 0), (at(1), false)).0.len(), 1);
    let (due, _) = written.due(&known(1, &Value::Null), &programmed(3, 1), (at(1), false));
    assert_eq!(due.len(), 1);
}
