//! What is asked for by name, and what no client may do.

use super::*;

#[test]
fn names_are_answered_each_for_itself() {
    let mut published = Published::nothing();
    published.set(MANY, &[("a", "1"), ("b", "1"), ("c", "1")]);
    let mut feed = feed();
    feed.receive(ask(MANY, &["a", "unknown"])).unwrap();
    let answers = all(&mut feed, &published);
    assert_eq!(
        (names(&answers[0]), answers[0].removed_resources.as_slice()),
        (vec!["a"], &["unknown".to_owned()][..])
    );
    assert_eq!(feed.acknowledged(MANY.type_url, "c"), None, "not asked for");
    published.set(MANY, &[("a", "1"), ("b", "2"), ("c", "2")]);
    assert_eq!(next(&mut feed, &published), None);

    feed.receive(ask(MANY, &["a", "b"])).unwrap();
    let answers = all(&mut feed, &published);
    assert_eq!(names(&answers[0]), ["a", "b"], "asked again, answered again");

    let unsubscribe = vec!["a".to_owned()];
    feed.receive(DeltaDiscoveryRequest {
        resource_names_unsubscribe: unsubscribe,
        ..ask(MANY, &[])
    })
    .unwrap();
    published.set(MANY, &[("a", "3"), ("b", "3")]);
    assert_eq!(names(&all(&mut feed, &published)[0]), ["b"]);
}

#[test]
fn an_unknown_type_is_passed_over_and_too_many_names_end_the_stream() {
    let mut published = Published::nothing();
    published.set(MANY, &[("a", "1")]);
    let mut feed = feed();
    let unknown = Kind::new("type.googleapis.com/hopgate.test.Later", Batch::One);
    assert_eq!(feed.receive(ask(unknown, &[])), Ok(None));
    assert_eq!(next(&mut feed, &published), None);
    feed.receive(ask(MANY, &[])).unwrap();
    assert_eq!(names(&next(&mut feed, &published).unwrap()), ["a"]);
    let many: Vec<String> = (0..300).map(|n| n.to_string()).collect();
    let many: Vec<&str> = many.iter().map(String::as_str).collect();
    assert_eq!(feed.receive(ask(ONE, &many)), Err(Violation::TooManyNames));
    let long = "n".repeat(3000);
    assert_eq!(feed.receive(ask(ONE, &[&long])), Err(Violation::NameTooLong));
}

mod model {
    use super::*;
    use proptest::prelude::*;

    #[derive(Debug, Clone)]
    enum Step {
        Publish(Kind, Vec<(u8, u8)>),
        Draw,
        Answer(bool),
        Reconnect,
    }

    fn step() -> impl Strategy<Value = Step> {
        let kind = prop_oneof![Just(ONE), Just(MANY)];
        prop_oneof![
            (kind, prop::collection::vec((0..6u8, 0..3u8), 0..6))
                .prop_map(|(k, c)| Step::Publish(k, c)),
            Just(Step::Draw),
            any::<bool>().prop_map(Step::Answer),
            Just(Step::Reconnect),
        ]
    }

    type Key = (String, String);

    /// A subscriber that keeps all it is sent, and what the server may believe that it accepted.
    #[derive(Default)]
    struct Subscriber {
        holds: BTreeMap<Key, String>,
        open: Vec<DeltaDiscoveryResponse>,
        waits: BTreeMap<Key, String>,
        accepted: BTreeMap<Key, Option<String>>,
    }

    impl Subscriber {
        fn take(&mut self, answer: DeltaDiscoveryResponse) {
            for (key, version) in told(&answer) {
                self.waits.insert(key.clone(), answer.nonce.clone());
                match version {
                    Some(version) => self.holds.insert(key, version),
                    None => self.holds.remove(&key),
                };
            }
            self.open.push(answer);
        }

        fn accept(&mut self, answer: &DeltaDiscoveryResponse) {
            for (key, version) in told(answer) {
                if self.waits.get(&key) == Some(&answer.nonce) {
                    self.accepted.insert(key, version);
                }
            }
        }

        fn reconnect(&mut self) -> Feed {
            self.open.clear();
            self.waits.clear();
            let held = self.holds.iter();
            self.accepted =
                held.map(|(key, version)| (key.clone(), Some(version.clone()))).collect();
            connect(self)
        }
    }

    fn told(answer: &DeltaDiscoveryResponse) -> Vec<(Key, Option<String>)> {
        let key = |name: &String| (answer.type_url.clone(), name.clone());
        let there = answer.resources.iter().map(|r| (key(&r.name), Some(r.version.clone())));
        let gone = answer.removed_resources.iter().map(|name| (key(name), None));
        there.chain(gone).collect()
    }

    fn connect(subscriber: &Subscriber) -> Feed {
        let mut feed = feed();
        for kind in [ONE, MANY] {
            let of_kind = subscriber.holds.iter().filter(|((of, _), _)| of == kind.type_url);
            let brought = of_kind.map(|((_, name), version)| (name.clone(), version.clone()));
            let request = DeltaDiscoveryRequest {
                initial_resource_versions: brought.collect(),
                ..ask(kind, &[])
            };
            feed.receive(request).unwrap();
        }
        feed
    }

    proptest! {
        #[test]
        fn in_the_end_a_subscriber_has_what_is_published(steps in prop::collection::vec(step(), 1..60)) {
            let mut published = Published::nothing();
            let mut subscriber = Subscriber::default();
            let mut feed = connect(&subscriber);
            for step in steps {
                match step {
                    Step::Publish(kind, contents) => {
                        let contents: Vec<_> =
                            contents.iter().map(|(n, c)| (n.to_string(), c.to_string())).collect();
                        let contents: Vec<_> =
                            contents.iter().map(|(n, c)| (n.as_str(), c.as_str())).collect();
                        published.set(kind, &contents);
                    }
                    Step::Draw => {
                        if let Some(answer) = next(&mut feed, &published) {
                            subscriber.take(answer);
                        }
                    }
                    Step::Answer(yes) => {
                        if let Some(answer) = subscriber.open.pop() {
                            let refusal = (!yes).then_some("no");
                            feed.receive(reply(&answer, refusal)).unwrap();
                            if yes {
                                subscriber.accept(&answer);
                            }
                        }
                    }
                    Step::Reconnect => feed = subscriber.reconnect(),
                }
            }
            for answer in all(&mut feed, &published) {
                subscriber.take(answer);
            }
            let mut expected = BTreeMap::new();
            for (kind, table) in published.0.tables() {
                for name in table.names() {
                    let version = table.version(name).unwrap().to_string();
                    expected.insert((kind.type_url.to_owned(), name.to_string()), version);
                }
            }
            prop_assert_eq!(&subscriber.holds, &expected);
            for ((type_url, name), version) in &expected {
                let key = (type_url.clone(), name.clone());
                let accepted = subscriber.accepted.get(&key) == Some(&Some(version.clone()));
                prop_assert_eq!(feed.has_acknowledged(type_url, name, Some(version)), accepted);
            }
        }
    }
}
