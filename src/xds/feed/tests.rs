mod names;
mod order;

use envoy_types::pb::envoy::service::discovery::v3::DeltaDiscoveryResponse;
use envoy_types::pb::google::rpc::Status;

use super::*;
use crate::xds::{Batch, SharedTable};

const ONE: Kind = Kind::new("type.googleapis.com/hopgate.test.One", Batch::One);
const MANY: Kind = Kind::new("type.googleapis.com/hopgate.test.Many", Batch::Many);

/// A server's side of what is published.
struct Published(Catalogue);

impl Published {
    fn nothing() -> Self {
        let table = SharedTable::empty;
        Self(Catalogue::new(vec![(ONE, table()), (MANY, table())]))
    }

    fn set(&mut self, kind: Kind, contents: &[(&str, &str)]) {
        let contents =
            contents.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec()));
        let contents: BTreeMap<_, _> = contents.collect();
        let tables = self.0.tables().iter().map(|(other, table)| {
            if *other != kind {
                return (*other, Arc::clone(table));
            }
            (kind, table.followed_by(&kind, contents.clone()).unwrap())
        });
        self.0 = Catalogue::new(tables.collect());
    }

    fn version(&self, kind: Kind, name: &str) -> String {
        self.0.table(kind.type_url).unwrap().version(name).unwrap().to_string()
    }
}

fn feed() -> Feed {
    Feed::new(vec![ONE, MANY])
}

fn ask(kind: Kind, names: &[&str]) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: kind.type_url.to_owned(),
        resource_names_subscribe: names.iter().map(ToString::to_string).collect(),
        ..DeltaDiscoveryRequest::default()
    }
}

fn reply(answer: &DeltaDiscoveryResponse, refusal: Option<&str>) -> DeltaDiscoveryRequest {
    DeltaDiscoveryRequest {
        type_url: answer.type_url.clone(),
        response_nonce: answer.nonce.clone(),
        error_detail: refusal
            .map(|message| Status { message: message.to_owned(), ..Status::default() }),
        ..DeltaDiscoveryRequest::default()
    }
}

fn next(feed: &mut Feed, published: &Published) -> Option<DeltaDiscoveryResponse> {
    feed.next(&published.0).map(|answer| {
        let decoded = answer.decode().unwrap();
        assert_eq!(prost::Message::encoded_len(&decoded), answer.size());
        decoded
    })
}

fn all(feed: &mut Feed, published: &Published) -> Vec<DeltaDiscoveryResponse> {
    std::iter::from_fn(|| next(feed, published)).collect()
}

fn names(answer: &DeltaDiscoveryResponse) -> Vec<&str> {
    answer.resources.iter().map(|resource| resource.name.as_str()).collect()
}

#[test]
fn whoever_asks_for_everything_gets_it_and_later_only_what_changes() {
    let mut published = Published::nothing();
    published.set(ONE, &[("a", "1"), ("b", "1")]);
    published.set(MANY, &[("x", "1"), ("y", "1")]);
    let mut feed = feed();
    assert_eq!(next(&mut feed, &published), None, "nobody asked");
    feed.receive(ask(ONE, &[])).unwrap();
    feed.receive(ask(MANY, &["*"])).unwrap();
    let answers = all(&mut feed, &published);
    let told: Vec<_> = answers.iter().map(names).collect();
    assert_eq!(told, [vec!["a"], vec!["b"], vec!["x", "y"]], "one by one, and many at once");
    let content = answers[0].resources[0].resource.as_ref().unwrap();
    assert_eq!((content.type_url.as_str(), content.value.as_slice()), (ONE.type_url, &b"1"[..]));
    assert_eq!(answers[0].resources[0].version, published.version(ONE, "a"));
    assert_eq!(answers[0].system_version_info, "", "half of it is no revision");
    let revision = published.0.table(ONE.type_url).unwrap().revision();
    assert_eq!(answers[1].system_version_info, revision);

    published.set(MANY, &[("x", "1"), ("z", "1")]);
    let answers = all(&mut feed, &published);
    assert_eq!(answers.len(), 1);
    assert_eq!(
        (names(&answers[0]), &answers[0].removed_resources),
        (vec!["z"], &vec!["y".to_owned()])
    );
    assert_eq!(next(&mut feed, &published), None);
}

#[test]
fn a_first_answer_comes_even_if_there_is_nothing() {
    let published = Published::nothing();
    let mut feed = feed();
    feed.receive(ask(MANY, &[])).unwrap();
    let answers = all(&mut feed, &published);
    assert_eq!(answers.len(), 1);
    assert!(answers[0].resources.is_empty() && answers[0].removed_resources.is_empty());
    assert_eq!(answers[0].system_version_info, SharedTable::empty().revision());
}

#[test]
fn whoever_comes_back_gets_only_what_changed() {
    let mut published = Published::nothing();
    published.set(MANY, &[("same", "1"), ("changed", "1"), ("gone", "1")]);
    let brought =
        ["same", "changed", "gone"].map(|name| (name.to_owned(), published.version(MANY, name)));
    published.set(MANY, &[("same", "1"), ("changed", "2"), ("new", "1")]);
    let mut feed = feed();
    let request =
        DeltaDiscoveryRequest { initial_resource_versions: brought.into(), ..ask(MANY, &[]) };
    feed.receive(request).unwrap();
    let answers = all(&mut feed, &published);
    assert_eq!(answers.len(), 1);
    assert_eq!(names(&answers[0]), ["changed", "new"]);
    assert_eq!(answers[0].removed_resources, ["gone"]);
    // What it brought it has acknowledged before.
    let same = published.version(MANY, "same");
    assert!(feed.has_acknowledged(MANY.type_url, "same", Some(&same)));
    assert!(!feed.has_acknowledged(MANY.type_url, "new", Some(&published.version(MANY, "new"))));
    assert!(!feed.has_acknowledged(MANY.type_url, "gone", None), "told, not yet acknowledged");
    feed.receive(reply(&answers[0], None)).unwrap();
    assert!(feed.has_acknowledged(MANY.type_url, "gone", None));
}

#[test]
fn what_is_accepted_and_refused_is_known_by_name_and_version() {
    let mut published = Published::nothing();
    published.set(ONE, &[("a", "1")]);
    let mut feed = feed();
    feed.receive(ask(ONE, &[])).unwrap();
    let first = all(&mut feed, &published).remove(0);
    let one = published.version(ONE, "a");
    assert_eq!((feed.acknowledged(ONE.type_url, "a"), feed.unanswered()), (None, 1));
    let accepted = vec![("a".into(), Some(one.as_str().into()))];
    let heard = feed.receive(reply(&first, None)).unwrap().unwrap();
    assert_eq!(heard.answered, Some(Answered { names: accepted, refused: None }));
    let heard = feed.receive(reply(&first, None)).unwrap().unwrap();
    assert_eq!(heard.answered, None, "said twice");
    assert!(feed.has_acknowledged(ONE.type_url, "a", Some(&one)));

    published.set(ONE, &[("a", "2")]);
    let two = published.version(ONE, "a");
    let second = all(&mut feed, &published).remove(0);
    let refused = vec![("a".into(), Some(two.as_str().into()))];
    let heard = feed.receive(reply(&second, Some("not by me"))).unwrap().unwrap();
    let refusal = Some("not by me".into());
    assert_eq!(heard.answered, Some(Answered { names: refused, refused: refusal.clone() }));
    let heard = feed.receive(reply(&second, Some("not by me"))).unwrap().unwrap();
    assert_eq!(heard.answered, Some(Answered { names: Vec::new(), refused: refusal }), "of what?");
    assert_eq!(
        feed.acknowledged(ONE.type_url, "a").as_deref(),
        Some(&*one),
        "it keeps the old one"
    );
    assert!(!feed.has_acknowledged(ONE.type_url, "a", Some(&two)));
    let (type_url, name, refusal) = feed.refusals().next().unwrap();
    assert_eq!((type_url, &**name), (ONE.type_url, "a"));
    assert_eq!((refusal.version.as_deref(), &*refusal.reason), (Some(&*two), "not by me"));
    assert_eq!(next(&mut feed, &published), None, "what was refused is not sent again");

    published.set(ONE, &[("a", "3")]);
    let third = all(&mut feed, &published).remove(0);
    feed.receive(reply(&third, None)).unwrap();
    assert_eq!((feed.refusals().count(), feed.unanswered()), (0, 0));
    assert!(feed.has_acknowledged(ONE.type_url, "a", Some(&published.version(ONE, "a"))));
}

#[test]
fn an_answer_that_was_replaced_is_no_longer_waited_for() {
    let mut published = Published::nothing();
    published.set(ONE, &[("a", "1")]);
    let mut feed = feed();
    feed.receive(ask(ONE, &[])).unwrap();
    let first = all(&mut feed, &published).remove(0);
    published.set(ONE, &[("a", "2")]);
    let second = all(&mut feed, &published).remove(0);
    assert_eq!(feed.unanswered(), 1);
    feed.receive(reply(&second, None)).unwrap();
    assert_eq!(feed.receive(reply(&first, None)).unwrap().unwrap().answered, None);
    assert!(feed.has_acknowledged(ONE.type_url, "a", Some(&published.version(ONE, "a"))));
}

#[test]
fn who_does_not_read_gets_the_latest_and_nothing_between() {
    let mut published = Published::nothing();
    let mut feed = feed();
    feed.receive(ask(MANY, &[])).unwrap();
    all(&mut feed, &published);
    for text in ["1", "2", "3", "4"] {
        published.set(MANY, &[("a", text), (text, "passing")]);
    }
    let answers = all(&mut feed, &published);
    assert_eq!(answers.len(), 1);
    assert_eq!(names(&answers[0]), ["4", "a"]);
    let passed = ["1", "2", "3"];
    assert!(answers[0].removed_resources.iter().all(|name| !passed.contains(&name.as_str())));
}

#[test]
fn ten_thousand_resources_travel_in_bounded_answers_and_leave_nothing_behind() {
    let mut published = Published::nothing();
    let many: Vec<String> = (0..10_000).map(|n| format!("{n:05}")).collect();
    let contents: Vec<(&str, &str)> = many.iter().map(|name| (name.as_str(), "revoked")).collect();
    published.set(MANY, &contents);
    let mut feed = feed();
    feed.receive(ask(MANY, &[])).unwrap();
    let answers = all(&mut feed, &published);
    assert_eq!(answers.len(), 10);
    assert_eq!(answers.iter().map(|answer| answer.resources.len()).sum::<usize>(), 10_000);
    assert_eq!(feed.unanswered(), 10_000);
    for answer in &answers {
        feed.receive(reply(answer, None)).unwrap();
    }
    assert_eq!(feed.unanswered(), 0);
    for name in ["00000", "05000", "09999"] {
        assert!(feed.has_acknowledged(MANY.type_url, name, Some(&published.version(MANY, name))));
    }
    // A change while a subscriber is half-way: it gets the rest, then the change.
    let mut late = self::feed();
    late.receive(ask(MANY, &[])).unwrap();
    next(&mut late, &published).unwrap();
    published.set(MANY, &contents[1..]);
    let rest = all(&mut late, &published);
    assert_eq!(rest.len(), 10);
    assert_eq!(rest[9].removed_resources, ["00000"]);
}

#[test]
fn content_is_encoded_once_for_all() {
    let mut published = Published::nothing();
    published.set(MANY, &[("a", "a long content that nobody wants to copy")]);
    let mut answers = (0..2).map(|_| {
        let mut feed = feed();
        feed.receive(ask(MANY, &[])).unwrap();
        feed.next(&published.0).unwrap().into_frames()
    });
    let (one, two) = (answers.next().unwrap(), answers.next().unwrap());
    assert_eq!(one.len(), 2, "a head of its own, and what is shared");
    assert_eq!(one[1].as_ptr(), two[1].as_ptr());
}

/// Whoever puts several answers into force together waits for the one that says by its revision that it is the last.
#[test]
fn the_last_answer_of_a_change_says_so() {
    let all = |contents: &[(&str, &str)]| {
        let contents = contents.iter().map(|(n, t)| ((*n).to_owned(), t.as_bytes().to_vec()));
        SharedTable::empty().followed_by(&ONE, contents.collect()).unwrap()
    };
    let first = all(&[("a", "1"), ("b", "1"), ("c", "1"), ("d", "1")]);
    let mut feed = feed();
    feed.receive(ask(ONE, &[])).unwrap();
    let mut said = |table: &Arc<SharedTable>| {
        let catalogue = Catalogue::new(vec![(ONE, Arc::clone(table))]);
        let mut said = Vec::new();
        while let Some(answer) = feed.next(&catalogue) {
            let answer = answer.decode().unwrap();
            let names = answer.resources.iter().map(|one| one.name.clone());
            let names: Vec<String> = names.chain(answer.removed_resources).collect();
            said.push((names.concat(), answer.system_version_info));
            assert!(said.len() < 10);
        }
        said
    };
    let part = first.only(["a", "b", "c"]);
    let told = said(&part);
    assert_eq!(told.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "b", "c"]);
    assert_eq!(told.iter().filter(|(_, revision)| !revision.is_empty()).count(), 1);
    assert_eq!(told[2].1, part.revision());
    // What did not change stands behind what did.
    let other = all(&[("a", "2"), ("c", "1"), ("d", "1")]).only(["a", "c", "d"]);
    let told = said(&other);
    assert_eq!(told.iter().map(|(name, _)| name.as_str()).collect::<Vec<_>>(), ["a", "b", "d"]);
    assert_eq!(
        (told[0].1.as_str(), told[1].1.as_str(), told[2].1.as_str()),
        ("", "", other.revision())
    );
    let changed = all(&[("a", "3"), ("c", "1"), ("d", "1")]).only(["a", "c", "d"]);
    assert_eq!(said(&changed), [("a".to_owned(), changed.revision().to_owned())]);
    assert!(said(&other.only(["a", "c", "d"])).len() == 1, "back again");
}
