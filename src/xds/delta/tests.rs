use envoy_types::pb::google::rpc::Status;
use zeroize::Zeroizing;

use super::*;

const TYPE: &str = "type.example/Thing";

fn table(resources: &[(&str, &str)]) -> Table {
    let mut table = Table::new(TYPE);
    for (name, content) in resources {
        table.insert(*name, Zeroizing::new(content.as_bytes().to_vec()));
    }
    table
}

fn owned(names: &[&str]) -> Vec<String> {
    names.iter().map(|name| (*name).to_owned()).collect()
}

fn changes(subscribe: &[&str], unsubscribe: &[&str], nonce: &str) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: TYPE.to_owned(),
        resource_names_subscribe: owned(subscribe),
        resource_names_unsubscribe: owned(unsubscribe),
        response_nonce: nonce.to_owned(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn brings(subscribe: &[&str], versions: &[(&str, &str)]) -> DeltaDiscoveryRequest {
    let versions = versions.iter().map(|(n, v)| ((*n).to_owned(), (*v).to_owned())).collect();
    DeltaDiscoveryRequest { initial_resource_versions: versions, ..changes(subscribe, &[], "") }
}

fn refuses(nonce: &str) -> DeltaDiscoveryRequest {
    let status = Status { code: 13, message: "bad".repeat(1000), details: vec![] };
    DeltaDiscoveryRequest { error_detail: Some(status), ..changes(&[], &[], nonce) }
}

fn stream(subscribe: &[&str]) -> Delta {
    let mut stream = Delta::new(TYPE);
    assert_eq!(stream.receive(changes(subscribe, &[], "")), Ok(Receipt::Nothing));
    stream
}

/// Everything that is owed now: `name=content`, or `-name` for one that does not exist.
fn drain(stream: &mut Delta, table: &Table) -> Vec<String> {
    std::iter::from_fn(|| stream.next(table))
        .flat_map(|response| {
            assert!(response.resources.len() <= 1, "one resource per response");
            let removed = response.removed_resources.iter().map(|name| format!("-{name}"));
            let there = response.resources.iter().map(|resource| {
                let any = resource.resource.as_ref().unwrap();
                assert_eq!(resource.version, table.get(&resource.name).unwrap().version());
                format!("{}={}", resource.name, String::from_utf8_lossy(&any.value))
            });
            there.chain(removed).collect::<Vec<_>>()
        })
        .collect()
}

#[test]
fn only_what_is_subscribed_is_answered_and_once() {
    let table = table(&[("a", "A"), ("b", "B"), ("c", "C")]);
    assert!(Delta::new(TYPE).next(&table).is_none(), "nobody asked");
    let mut stream = stream(&["a", "c"]);
    assert_eq!(drain(&mut stream, &table), ["a=A", "c=C"]);
    assert!(stream.next(&table).is_none());
}

#[test]
fn an_unknown_name_is_said_to_be_missing_at_once_and_once() {
    let mut stream = stream(&["a", "nobody", "nothing"]);
    let first = table(&[("a", "A")]);
    assert_eq!(drain(&mut stream, &first), ["a=A", "-nobody", "-nothing"]);
    assert!(stream.next(&first).is_none());
    assert_eq!(drain(&mut stream, &table(&[("a", "A"), ("nobody", "N")])), ["nobody=N"]);
}

#[test]
fn there_is_no_wildcard() {
    let table = table(&[("a", "A")]);
    for names in [&[][..], &["*"][..]] {
        assert!(stream(names).next(&table).is_none(), "{names:?}");
    }
}

#[test]
fn a_stale_nonce_still_changes_the_subscription() {
    let mut stream = stream(&["a"]);
    drain(&mut stream, &table(&[("a", "A1")]));
    let newer = table(&[("a", "A2"), ("b", "B")]);
    assert_eq!(drain(&mut stream, &newer), ["a=A2"]);
    assert_eq!(stream.receive(changes(&["b"], &[], "1")), Ok(Receipt::Nothing));
    assert_eq!(drain(&mut stream, &newer), ["b=B"]);
}

#[test]
fn versions_that_a_client_brings_are_not_sent_again() {
    let table = table(&[("a", "A"), ("b", "B")]);
    let a = table.get("a").unwrap().version();
    let mut stream = Delta::new(TYPE);
    stream.receive(brings(&["a", "b"], &[("a", a), ("b", "older"), ("c", "unasked")])).unwrap();
    assert_eq!(drain(&mut stream, &table), ["b=B"]);
    stream.receive(brings(&["a"], &[("a", a)])).unwrap();
    assert_eq!(
        drain(&mut stream, &table),
        ["a=A"],
        "only the first request of a stream may say so"
    );
}

#[test]
fn what_a_client_brings_and_the_server_lost_is_missing() {
    let mut stream = Delta::new(TYPE);
    stream.receive(brings(&["a"], &[("a", "older")])).unwrap();
    assert_eq!(drain(&mut stream, &table(&[])), ["-a"]);
}

#[test]
fn a_name_that_is_asked_for_again_is_answered_again() {
    let table = table(&[("a", "A")]);
    let mut stream = stream(&["a"]);
    drain(&mut stream, &table);
    stream.receive(changes(&["a"], &[], "1")).unwrap();
    assert_eq!(drain(&mut stream, &table), ["a=A"]);
}

#[test]
fn an_unsubscribed_name_is_silent() {
    let mut stream = stream(&["a", "b"]);
    drain(&mut stream, &table(&[("a", "A"), ("b", "B")]));
    stream.receive(changes(&[], &["a"], "2")).unwrap();
    assert_eq!(drain(&mut stream, &table(&[("a", "A2"), ("b", "B2")])), ["b=B2"]);
    stream.receive(changes(&["b"], &["b"], "3")).unwrap();
    assert_eq!(drain(&mut stream, &table(&[("b", "B2")])), ["b=B2"], "left and joined again");
}

#[test]
fn a_refused_version_is_not_sent_again_until_it_changes() {
    let bad = table(&[("a", "bad")]);
    let mut stream = stream(&["a"]);
    drain(&mut stream, &bad);
    let Ok(Receipt::Nacked { resource, reason }) = stream.receive(refuses("1")) else {
        panic!("a refusal")
    };
    let version = bad.get("a").unwrap().version().to_owned();
    assert_eq!(resource, Some(("a".to_owned(), version)));
    assert_eq!(reason.len(), 400, "bounded");
    assert!(stream.next(&bad).is_none());
    assert_eq!(drain(&mut stream, &table(&[("a", "good")])), ["a=good"]);
    let version = table(&[("a", "good")]).get("a").unwrap().version().to_owned();
    let acked = Receipt::Acked { name: "a".to_owned(), version };
    assert_eq!(stream.receive(changes(&[], &[], "2")), Ok(acked));
}

#[test]
fn a_refusal_of_nothing_known_is_still_counted() {
    let mut stream = stream(&["nobody"]);
    drain(&mut stream, &table(&[]));
    assert!(matches!(stream.receive(refuses("1")), Ok(Receipt::Nacked { resource: None, .. })));
}

#[test]
fn a_slow_client_gets_the_latest_and_nothing_between() {
    let mut stream = stream(&["a"]);
    let mut last = table(&[]);
    for round in 0..1000 {
        last = table(&[("a", &round.to_string())]);
    }
    assert_eq!(drain(&mut stream, &last), ["a=999"]);
}

#[test]
fn breaking_the_protocol_ends_the_stream() {
    let mut request = changes(&["a"], &[], "");
    request.type_url = "type.example/Other".to_owned();
    assert!(matches!(Delta::new(TYPE).receive(request), Err(Violation::Type { .. })));
    let mut stream = stream(&[]);
    let mut outcome = Ok(Receipt::Nothing);
    for round in 0..300 {
        outcome = stream.receive(changes(&[&round.to_string()], &[], ""));
        if outcome.is_err() {
            break;
        }
    }
    assert_eq!(outcome, Err(Violation::TooManyNames), "also name by name");
}
