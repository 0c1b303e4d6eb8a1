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

fn asks(names: &[&str], nonce: &str) -> DiscoveryRequest {
    DiscoveryRequest {
        resource_names: names.iter().map(|name| (*name).to_owned()).collect(),
        type_url: TYPE.to_owned(),
        response_nonce: nonce.to_owned(),
        ..DiscoveryRequest::default()
    }
}

fn refuses(names: &[&str], nonce: &str) -> DiscoveryRequest {
    let status = Status { code: 13, message: "KEY_VALUES_MISMATCH".to_owned(), details: vec![] };
    DiscoveryRequest { error_detail: Some(status), ..asks(names, nonce) }
}

fn stream() -> StateOfTheWorld {
    StateOfTheWorld::new(TYPE)
}

/// Everything that is owed now, as content.
fn drain(stream: &mut StateOfTheWorld, table: &Table) -> Vec<String> {
    std::iter::from_fn(|| stream.next(table))
        .map(|response| {
            assert_eq!(response.resources.len(), 1, "one resource per response");
            assert_eq!(response.type_url, TYPE);
            String::from_utf8(response.resources[0].value.clone()).unwrap()
        })
        .collect()
}

#[test]
fn only_what_is_subscribed_is_answered_and_once() {
    let table = table(&[("a", "A"), ("b", "B"), ("c", "C")]);
    let mut stream = stream();
    assert!(stream.next(&table).is_none(), "nobody asked");
    assert_eq!(stream.receive(asks(&["a", "c", "a"], "")), Ok(Receipt::Nothing));
    assert_eq!(drain(&mut stream, &table), ["A", "C"]);
    assert!(stream.next(&table).is_none(), "nothing changed");
}

#[test]
fn an_unknown_name_blocks_nothing_and_is_answered_when_it_appears() {
    let mut stream = stream();
    stream.receive(asks(&["a", "nobody"], "")).unwrap();
    assert_eq!(drain(&mut stream, &table(&[("a", "A")])), ["A"]);
    assert_eq!(drain(&mut stream, &table(&[("a", "A"), ("nobody", "N")])), ["N"]);
}

#[test]
fn there_is_no_wildcard() {
    for names in [&[][..], &["*"][..]] {
        let mut stream = stream();
        stream.receive(asks(names, "")).unwrap();
        assert!(stream.next(&table(&[("a", "A")])).is_none());
    }
}

#[test]
fn a_second_request_before_any_answer_adds_names() {
    let table = table(&[("default", "D"), ("ROOTCA", "R")]);
    let mut stream = stream();
    stream.receive(asks(&["default"], "")).unwrap();
    assert_eq!(drain(&mut stream, &table), ["D"]);
    stream.receive(asks(&["default", "ROOTCA"], "")).unwrap();
    assert_eq!(drain(&mut stream, &table), ["R"], "what was sent is not sent again");
}

#[test]
fn each_answer_is_acknowledged_by_its_own_nonce_and_once() {
    let table = table(&[("a", "A"), ("b", "B")]);
    let mut stream = stream();
    stream.receive(asks(&["a", "b"], "")).unwrap();
    assert_eq!(drain(&mut stream, &table), ["A", "B"]);
    let acked = |name: &str| {
        let version = table.get(name).unwrap().version().to_owned();
        Ok(Receipt::Acked { name: name.to_owned(), version })
    };
    assert_eq!(stream.receive(asks(&["a", "b"], "1")), acked("a"));
    assert_eq!(stream.receive(asks(&["a", "b"], "2")), acked("b"));
    assert_eq!(stream.receive(asks(&["a", "b"], "2")), Ok(Receipt::Nothing));
    assert_eq!(stream.receive(asks(&["a", "b"], "77")), Ok(Receipt::Nothing));
}

#[test]
fn a_refused_version_is_not_sent_again_until_it_changes() {
    let bad = table(&[("a", "bad")]);
    let mut stream = stream();
    stream.receive(asks(&["a"], "")).unwrap();
    assert_eq!(drain(&mut stream, &bad), ["bad"]);
    let refused = stream.receive(refuses(&["a"], "1")).unwrap();
    let reason = "KEY_VALUES_MISMATCH".to_owned();
    let version = bad.get("a").unwrap().version().to_owned();
    assert_eq!(refused, Receipt::Nacked { resource: Some(("a".to_owned(), version)), reason });
    assert!(stream.next(&bad).is_none());
    assert!(stream.next(&table(&[("a", "bad")])).is_none(), "the same content in a new table");
    assert_eq!(drain(&mut stream, &table(&[("a", "good")])), ["good"]);
}

#[test]
fn a_refusal_of_one_leaves_the_other_alone() {
    let table = table(&[("a", "A"), ("b", "bad")]);
    let mut stream = stream();
    stream.receive(asks(&["a", "b"], "")).unwrap();
    drain(&mut stream, &table);
    assert!(matches!(stream.receive(asks(&["a", "b"], "1")), Ok(Receipt::Acked { .. })));
    assert!(matches!(stream.receive(refuses(&["a", "b"], "2")), Ok(Receipt::Nacked { .. })));
    assert!(stream.next(&table).is_none());
}

#[test]
fn a_version_alone_is_no_refusal() {
    let table = table(&[("a", "A")]);
    let mut stream = stream();
    stream.receive(asks(&["a"], "")).unwrap();
    drain(&mut stream, &table);
    let odd = DiscoveryRequest { version_info: "another".to_owned(), ..asks(&["a"], "1") };
    assert!(matches!(stream.receive(odd), Ok(Receipt::Acked { .. })));
}

#[test]
fn an_overtaken_request_changes_no_names() {
    let mut stream = stream();
    stream.receive(asks(&["a"], "")).unwrap();
    assert_eq!(drain(&mut stream, &table(&[("a", "A1")])), ["A1"]);
    let newer = table(&[("a", "A2"), ("b", "B")]);
    assert_eq!(drain(&mut stream, &newer), ["A2"]);
    assert_eq!(stream.receive(asks(&["b"], "1")), Ok(Receipt::Nothing), "written before A2 came");
    assert!(stream.next(&newer).is_none());
    assert!(matches!(stream.receive(asks(&["a", "b"], "2")), Ok(Receipt::Acked { .. })));
    assert_eq!(drain(&mut stream, &newer), ["B"]);
}

#[test]
fn a_name_that_is_asked_for_again_is_answered_again() {
    let table = table(&[("a", "A"), ("b", "B")]);
    let mut stream = stream();
    stream.receive(asks(&["a", "b"], "")).unwrap();
    drain(&mut stream, &table);
    stream.receive(asks(&["b"], "2")).unwrap();
    assert!(stream.next(&table).is_none());
    stream.receive(asks(&["a", "b"], "2")).unwrap();
    assert_eq!(drain(&mut stream, &table), ["A"]);
}

#[test]
fn a_client_that_comes_back_with_its_last_version_is_answered() {
    let table = table(&[("a", "A")]);
    for nonce in ["", "41"] {
        let mut stream = stream();
        let version_info = table.get("a").unwrap().version().to_owned();
        stream.receive(DiscoveryRequest { version_info, ..asks(&["a"], nonce) }).unwrap();
        assert_eq!(drain(&mut stream, &table), ["A"], "nonce {nonce:?}");
    }
}

#[test]
fn a_slow_client_gets_the_latest_and_nothing_between() {
    let mut stream = stream();
    stream.receive(asks(&["a"], "")).unwrap();
    let mut last = table(&[]);
    for round in 0..1000 {
        last = table(&[("a", &round.to_string())]);
    }
    assert_eq!(drain(&mut stream, &last), ["999"]);
}

#[test]
fn what_leaves_the_table_is_not_emptied() {
    let mut stream = stream();
    stream.receive(asks(&["a"], "")).unwrap();
    drain(&mut stream, &table(&[("a", "A")]));
    assert!(stream.next(&table(&[])).is_none());
    assert!(stream.next(&table(&[("a", "A")])).is_none());
}

#[test]
fn breaking_the_protocol_ends_the_stream() {
    let other = DiscoveryRequest { type_url: "type.example/Other".to_owned(), ..asks(&["a"], "") };
    assert!(matches!(stream().receive(other), Err(Violation::Type { .. })));
    let many: Vec<String> = (0..257).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(stream().receive(asks(&many, "")), Err(Violation::TooManyNames));
    let long = "a".repeat(2049);
    assert_eq!(stream().receive(asks(&[&long], "")), Err(Violation::NameTooLong));
    let untyped = DiscoveryRequest { type_url: String::new(), ..asks(&["a"], "") };
    assert!(stream().receive(untyped).is_ok());
}
