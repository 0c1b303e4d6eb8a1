//! What one type has to do with another, with a model of an Envoy: its clusters warm, its listeners name clusters.

use std::collections::{BTreeSet, VecDeque};

use proptest::prelude::*;

use super::*;
use crate::xds::Order;

const CLUSTERS: &str = "type.googleapis.com/hopgate.test.Cluster";
const ENDPOINTS: &str = "type.googleapis.com/hopgate.test.Endpoints";
const LISTENERS: &str = "type.googleapis.com/hopgate.test.Listener";

const KINDS: [Kind; 3] = [
    Kind::new(CLUSTERS, Batch::One).ordered(Order {
        after: &[],
        removed_after: &[LISTENERS],
        renews: Some(ENDPOINTS),
    }),
    Kind::new(ENDPOINTS, Batch::One).ordered(Order { removed_after: &[LISTENERS], ..Order::FREE }),
    Kind::new(LISTENERS, Batch::One).ordered(Order { after: &[CLUSTERS], ..Order::FREE }),
];

/// Clusters with a content, and listeners with the clusters that they name.
#[derive(Debug, Clone, Default, PartialEq)]
struct Snapshot {
    clusters: BTreeMap<String, String>,
    listeners: BTreeMap<String, BTreeSet<String>>,
}

struct Server {
    catalogue: Catalogue,
}

impl Server {
    fn new() -> Self {
        let tables = KINDS.map(|kind| (kind, SharedTable::empty()));
        Self { catalogue: Catalogue::new(tables.into()) }
    }

    fn publish(&mut self, snapshot: &Snapshot) {
        let bytes = |text: &str| text.as_bytes().to_vec();
        let listed = |of: &BTreeSet<String>| of.iter().cloned().collect::<Vec<_>>().join(",");
        let contents: [BTreeMap<String, Vec<u8>>; 3] = [
            snapshot.clusters.iter().map(|(name, text)| (name.clone(), bytes(text))).collect(),
            snapshot.clusters.keys().map(|name| (name.clone(), bytes(name))).collect(),
            snapshot.listeners.iter().map(|(n, of)| (n.clone(), bytes(&listed(of)))).collect(),
        ];
        let tables = self
            .catalogue
            .tables()
            .iter()
            .zip(contents)
            .map(|((kind, table), new)| (*kind, table.followed_by(kind, new).unwrap()));
        self.catalogue = Catalogue::new(tables.collect());
    }
}

/// An Envoy, as far as it matters: a cluster is of use once its endpoints came after it.
#[derive(Default)]
struct Envoy {
    clusters: BTreeMap<String, String>,
    warming: BTreeSet<String>,
    usable: BTreeSet<String>,
    endpoints: BTreeMap<String, String>,
    listeners: BTreeMap<String, BTreeSet<String>>,
    versions: BTreeMap<(String, String), String>,
    unanswered: VecDeque<DeltaDiscoveryResponse>,
    /// Clusters that waited for their endpoints when a stream broke. Should those never come, they take what they had, after
    /// their limit of time.
    abandoned: BTreeSet<String>,
}

impl Envoy {
    /// The first requests of a stream.
    fn connect(&mut self) -> Feed {
        self.unanswered.clear();
        self.abandoned.extend(self.warming.iter().cloned());
        let mut feed = Feed::new(KINDS.to_vec());
        for kind in [CLUSTERS, LISTENERS] {
            let brought = self.versions.iter().filter(|((of, _), _)| of == kind);
            let brought = brought.map(|((_, name), version)| (name.clone(), version.clone()));
            let request = DeltaDiscoveryRequest {
                type_url: kind.to_owned(),
                initial_resource_versions: brought.collect(),
                ..DeltaDiscoveryRequest::default()
            };
            feed.receive(request).unwrap();
        }
        let names: Vec<String> = self.clusters.keys().cloned().collect();
        if !names.is_empty() {
            let brought = self.versions.iter().filter(|((of, _), _)| of == ENDPOINTS);
            let brought = brought.map(|((_, name), version)| (name.clone(), version.clone()));
            let request = DeltaDiscoveryRequest {
                initial_resource_versions: brought.collect(),
                ..Self::asks(names)
            };
            feed.receive(request).unwrap();
        }
        feed
    }

    fn asks(names: Vec<String>) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            type_url: ENDPOINTS.to_owned(),
            resource_names_subscribe: names,
            ..DeltaDiscoveryRequest::default()
        }
    }

    fn take(&mut self, answer: DeltaDiscoveryResponse, feed: &mut Feed, refuse: bool) {
        let text = |resource: &envoy_types::pb::envoy::service::discovery::v3::Resource| {
            String::from_utf8(resource.resource.as_ref().unwrap().value.clone()).unwrap()
        };
        if refuse {
            let request = reply(&answer, Some("no"));
            feed.receive(request).unwrap();
            return;
        }
        for resource in &answer.resources {
            let (name, content) = (resource.name.clone(), text(resource));
            let key = (answer.type_url.clone(), name.clone());
            self.versions.insert(key, resource.version.clone());
            match answer.type_url.as_str() {
                CLUSTERS => {
                    let is_new = self.clusters.insert(name.clone(), content).is_none();
                    self.warming.insert(name.clone());
                    if is_new {
                        feed.receive(Self::asks(vec![name])).unwrap();
                    }
                }
                ENDPOINTS => {
                    self.endpoints.insert(name.clone(), content);
                    self.warming.remove(&name);
                    self.usable.insert(name);
                }
                _ => {
                    let names = content.split(',').filter(|name| !name.is_empty());
                    let names: BTreeSet<String> = names.map(ToOwned::to_owned).collect();
                    let missing: Vec<_> = names.difference(&self.usable).collect();
                    assert!(missing.is_empty(), "listener {name} came before {missing:?}");
                    self.listeners.insert(name, names);
                }
            }
        }
        for name in &answer.removed_resources {
            self.versions.remove(&(answer.type_url.clone(), name.clone()));
            match answer.type_url.as_str() {
                CLUSTERS => {
                    let user = self.listeners.iter().find(|(_, names)| names.contains(name));
                    assert_eq!(user, None, "cluster {name} went before its listener");
                    self.clusters.remove(name);
                    self.warming.remove(name);
                    self.usable.remove(name);
                    self.endpoints.remove(name);
                    self.versions.remove(&(ENDPOINTS.to_owned(), name.clone()));
                    let unsubscribe = DeltaDiscoveryRequest {
                        resource_names_unsubscribe: vec![name.clone()],
                        ..Self::asks(Vec::new())
                    };
                    feed.receive(unsubscribe).unwrap();
                }
                // Nobody is behind it. Whoever is called already keeps what it has.
                ENDPOINTS => {
                    if self.warming.remove(name) {
                        let user = self.listeners.iter().find(|(_, names)| names.contains(name));
                        assert_eq!(user, None, "cluster {name} is in use and lost its endpoints");
                        self.usable.insert(name.clone());
                    }
                }
                _ => drop(self.listeners.remove(name)),
            }
        }
        self.unanswered.push_back(answer);
    }

    /// Answers what can be answered: clusters only once all of them are warm.
    fn answer(&mut self, feed: &mut Feed) {
        let mut left = VecDeque::new();
        for answer in std::mem::take(&mut self.unanswered) {
            if answer.type_url == CLUSTERS && !self.warming.is_empty() {
                left.push_back(answer);
            } else {
                feed.receive(reply(&answer, None)).unwrap();
            }
        }
        self.unanswered = left;
    }

    fn finish(&mut self, feed: &mut Feed, server: &Server) {
        for _ in 0..1000 {
            match feed.next(&server.catalogue) {
                Some(answer) => self.take(answer.decode().unwrap(), feed, false),
                None if self.unanswered.is_empty() => return,
                None => {
                    let before = self.unanswered.len();
                    self.answer(feed);
                    if self.unanswered.len() == before {
                        let forever: Vec<_> = self.warming.difference(&self.abandoned).collect();
                        assert!(forever.is_empty(), "clusters warm for ever: {forever:?}");
                        self.usable.append(&mut self.warming);
                    }
                }
            }
        }
        panic!("it never comes to an end");
    }
}

fn snapshot(clusters: &[(&str, &str)], listeners: &[(&str, &[&str])]) -> Snapshot {
    let named = |names: &[&str]| names.iter().map(ToString::to_string).collect();
    Snapshot {
        clusters: clusters.iter().map(|(n, c)| ((*n).to_owned(), (*c).to_owned())).collect(),
        listeners: listeners.iter().map(|(n, c)| ((*n).to_owned(), named(c))).collect(),
    }
}

/// The type and the names of each answer up to where the subscriber has to say something.
fn told(
    feed: &mut Feed,
    server: &Server,
) -> Vec<(String, Vec<String>, Vec<String>, DeltaDiscoveryResponse)> {
    let answers = std::iter::from_fn(|| feed.next(&server.catalogue));
    let told = answers.map(|answer| {
        let answer = answer.decode().unwrap();
        let names = answer.resources.iter().map(|one| one.name.clone()).collect();
        let kind = answer.type_url.rsplit('.').next().unwrap().to_owned();
        (kind, names, answer.removed_resources.clone(), answer)
    });
    told.collect()
}

#[test]
fn listeners_wait_for_warm_clusters_and_removed_clusters_for_listeners() {
    let mut server = Server::new();
    server.publish(&snapshot(&[("a", "1")], &[("l", &["a"])]));
    let mut envoy = Envoy::default();
    let mut feed = envoy.connect();
    let first = told(&mut feed, &server);
    assert_eq!(first.len(), 1, "the listener waits: {first:?}");
    feed.receive(Envoy::asks(vec!["a".to_owned()])).unwrap();
    let endpoints = told(&mut feed, &server);
    assert_eq!((endpoints.len(), endpoints[0].0.as_str()), (1, "Endpoints"));
    feed.receive(reply(&endpoints[0].3, None)).unwrap();
    assert!(told(&mut feed, &server).is_empty());
    feed.receive(reply(&first[0].3, None)).unwrap();
    let listeners = told(&mut feed, &server);
    assert_eq!((listeners.len(), listeners[0].0.as_str()), (1, "Listener"));
    feed.receive(reply(&listeners[0].3, None)).unwrap();

    // Another cluster in its place: added first, then named, then the old one goes.
    server.publish(&snapshot(&[("b", "1")], &[("l", &["b"])]));
    let added = told(&mut feed, &server);
    let said: Vec<_> =
        added.iter().map(|(kind, n, r, _)| (kind.as_str(), n.len(), r.len())).collect();
    assert_eq!(said, [("Cluster", 1, 0)]);
    feed.receive(reply(&added[0].3, None)).unwrap();
    let named = told(&mut feed, &server);
    assert_eq!((named.len(), named[0].0.as_str()), (1, "Listener"));
    feed.receive(reply(&named[0].3, Some("no"))).unwrap();
    assert!(told(&mut feed, &server).is_empty(), "the old listener stays, and what it names");
    server.publish(&snapshot(&[("b", "1")], &[("l", &["b"]), ("m", &[])]));
    let again = told(&mut feed, &server);
    assert_eq!(again[0].1, ["m"], "what was refused is not sent again");
    feed.receive(reply(&again[0].3, None)).unwrap();
    assert!(told(&mut feed, &server).is_empty());
    server.publish(&snapshot(&[("b", "1"), ("c", "1")], &[("l", &["b", "c"]), ("m", &[])]));
    let more = told(&mut feed, &server);
    feed.receive(reply(&more[0].3, None)).unwrap();
    let renamed = told(&mut feed, &server);
    assert_eq!(renamed[0].1, ["l"]);
    feed.receive(reply(&renamed[0].3, None)).unwrap();
    let gone = told(&mut feed, &server);
    assert_eq!((gone[0].0.as_str(), gone[0].2.as_slice()), ("Cluster", &["a".to_owned()][..]));
}

#[test]
fn endpoints_come_again_with_every_change_of_their_cluster() {
    let mut server = Server::new();
    server.publish(&snapshot(&[("a", "1"), ("b", "1")], &[]));
    let mut envoy = Envoy::default();
    let mut feed = envoy.connect();
    envoy.finish(&mut feed, &server);
    server.publish(&snapshot(&[("a", "2"), ("b", "1")], &[]));
    let said: Vec<_> = told(&mut feed, &server).into_iter().map(|(k, n, ..)| (k, n)).collect();
    let a = || vec!["a".to_owned()];
    assert_eq!(said, [("Cluster".to_owned(), a()), ("Endpoints".to_owned(), a())]);
}

#[test]
fn who_comes_back_is_told_what_is_gone_in_the_right_order() {
    let mut server = Server::new();
    server.publish(&snapshot(&[("a", "1"), ("b", "1")], &[("l", &["a"])]));
    let mut envoy = Envoy::default();
    let mut feed = envoy.connect();
    envoy.finish(&mut feed, &server);
    // The server comes back with something else.
    let mut server = Server::new();
    let last = snapshot(&[("b", "1")], &[("l", &["b"])]);
    server.publish(&last);
    let mut feed = envoy.connect();
    envoy.finish(&mut feed, &server);
    assert_eq!((&envoy.clusters, &envoy.listeners), (&last.clusters, &last.listeners));
}

#[derive(Debug, Clone)]
enum Step {
    Publish(Snapshot),
    Take,
    Refuse,
    Answer,
    Reconnect,
}

fn any_snapshot() -> impl Strategy<Value = Snapshot> {
    let clusters = prop::collection::btree_map(0u8..5, 0u8..3, 0..5);
    let listeners =
        prop::collection::btree_map(0u8..2, prop::collection::btree_set(0u8..5, 0..5), 0..3);
    (clusters, listeners).prop_map(|(clusters, listeners)| Snapshot {
        // Only what is there is named: that is checked before anything is published.
        listeners: listeners
            .into_iter()
            .map(|(name, names)| {
                let names = names.into_iter().filter(|name| clusters.contains_key(name));
                (format!("l{name}"), names.map(|name| format!("c{name}")).collect())
            })
            .collect(),
        clusters: clusters.into_iter().map(|(n, c)| (format!("c{n}"), c.to_string())).collect(),
    })
}

fn any_step() -> impl Strategy<Value = Step> {
    prop_oneof![
        2 => any_snapshot().prop_map(Step::Publish),
        6 => Just(Step::Take),
        1 => Just(Step::Refuse),
        4 => Just(Step::Answer),
        1 => Just(Step::Reconnect),
    ]
}

proptest! {
    #[test]
    fn no_listener_ever_names_a_cluster_that_cannot_be_used(
        steps in prop::collection::vec(any_step(), 1..80),
        last in any_snapshot(),
    ) {
        let mut server = Server::new();
        let mut envoy = Envoy::default();
        let mut feed = envoy.connect();
        for step in steps {
            match step {
                Step::Publish(snapshot) => server.publish(&snapshot),
                Step::Take | Step::Refuse => {
                    if let Some(answer) = feed.next(&server.catalogue) {
                        let answer = answer.decode().unwrap();
                        // That a listener is gone nobody refuses.
                        let of_listeners = answer.type_url == LISTENERS && !answer.resources.is_empty();
                        let refuse = matches!(step, Step::Refuse) && of_listeners;
                        envoy.take(answer, &mut feed, refuse);
                    }
                }
                Step::Answer => envoy.answer(&mut feed),
                Step::Reconnect => feed = envoy.connect(),
            }
        }
        envoy.finish(&mut feed, &server);
        // In the end it has what is published; with new content also where it refused something.
        let mut last = last;
        for of in last.listeners.values_mut() {
            last.clusters.insert("last".to_owned(), "1".to_owned());
            of.insert("last".to_owned());
        }
        server.publish(&last);
        envoy.finish(&mut feed, &server);
        prop_assert_eq!(&envoy.clusters, &last.clusters);
        prop_assert_eq!(&envoy.listeners, &last.listeners);
    }
}
