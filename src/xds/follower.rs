//! The subscriber's end of an aggregated incremental stream, as a state machine: what it holds, and what it says.

use std::collections::{BTreeMap, HashMap};

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::envoy::service::discovery::v3::{
    DeltaDiscoveryRequest, DeltaDiscoveryResponse,
};
use envoy_types::pb::google::rpc::Status;

use super::stream::bounded_reason;

/// More names than these are not brought to a new stream, where they would not fit into one request: all is then sent
/// again.
const MAX_BROUGHT: usize = 16 * 1024;
/// A version that no content has.
const UNSETTLED: &str = "unsettled";
/// gRPC's code for an argument that is not taken.
const INVALID_ARGUMENT: i32 = 3;

/// What a subscriber holds, of every type that it follows. Only what was accepted is in it.
#[derive(Debug)]
pub struct Follower {
    /// In the order in which they are asked for, and so answered first.
    types: Vec<(&'static str, BTreeMap<String, String>)>,
}

/// One answer of the server, read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Update {
    /// Of which type.
    pub type_url: &'static str,
    /// Its name, by which it is accepted or refused.
    pub nonce: String,
    /// The revision of the whole type after it; empty when more answers belong to it.
    pub revision: String,
    /// New content, by name.
    pub resources: Vec<NewContent>,
    /// Names that are gone.
    pub removed: Vec<String>,
}

/// One resource of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct NewContent {
    /// Its name.
    pub name: String,
    /// Its version.
    pub version: String,
    /// Its encoded message.
    pub content: Vec<u8>,
}

/// The server broke the protocol.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unexpected {
    /// A type that was not asked for.
    #[error("an answer of type {0:?}, which was not asked for")]
    Type(String),
    /// A resource without content, or with content of another type.
    #[error("resource {0:?} has no content of the type asked for")]
    Content(String),
}

impl Follower {
    /// Follows everything of these types and holds nothing yet. The first is asked for first.
    #[must_use]
    pub fn new(types: impl IntoIterator<Item = &'static str>) -> Self {
        Self { types: types.into_iter().map(|type_url| (type_url, BTreeMap::new())).collect() }
    }

    /// It has accepted this before, perhaps in an earlier process.
    pub fn hold(&mut self, type_url: &str, name: String, version: String) {
        if let Some(held) = self.held(type_url) {
            held.insert(name, version);
        }
    }

    /// It may or may not have this: the next stream must tell what there is of it, be it that there is nothing.
    pub fn doubt(&mut self, type_url: &str, name: String) {
        self.hold(type_url, name, UNSETTLED.to_owned());
    }

    /// It holds nothing of this type any more: all is to be sent again.
    pub fn forget(&mut self, type_url: &str) {
        if let Some(held) = self.held(type_url) {
            held.clear();
        }
    }

    /// The version that it holds of a resource.
    #[must_use]
    pub fn holds(&self, type_url: &str, name: &str) -> Option<&str> {
        let (_, held) = self.types.iter().find(|(of, _)| *of == type_url)?;
        held.get(name).map(String::as_str)
    }

    /// The first requests of a new stream, one for each type. What is held is not sent again.
    #[must_use]
    pub fn begin(&self, node: &Node) -> Vec<DeltaDiscoveryRequest> {
        let requests = self.types.iter().enumerate().map(|(index, (type_url, held))| {
            let brought = if held.len() > MAX_BROUGHT {
                HashMap::new()
            } else {
                held.iter().map(|(name, version)| (name.clone(), version.clone())).collect()
            };
            DeltaDiscoveryRequest {
                // The server remembers it for the stream.
                node: (index == 0).then(|| node.clone()),
                type_url: (*type_url).to_owned(),
                initial_resource_versions: brought,
                ..DeltaDiscoveryRequest::default()
            }
        });
        requests.collect()
    }

    /// Reads an answer. Nothing is held of it before it is accepted.
    ///
    /// # Errors
    /// When the server breaks the protocol; the stream is then of no use.
    pub fn read(&self, answer: DeltaDiscoveryResponse) -> Result<Update, Unexpected> {
        let known = self.types.iter().find(|(of, _)| *of == answer.type_url);
        let Some((type_url, _)) = known else { return Err(Unexpected::Type(answer.type_url)) };
        let type_url = *type_url;
        let resources = answer.resources.into_iter().map(|resource| match resource.resource {
            Some(any) if any.type_url == type_url => Ok(NewContent {
                name: resource.name,
                version: resource.version,
                content: any.value,
            }),
            Some(_) | None => Err(Unexpected::Content(resource.name)),
        });
        Ok(Update {
            type_url,
            nonce: answer.nonce,
            revision: answer.system_version_info,
            resources: resources.collect::<Result<_, _>>()?,
            removed: answer.removed_resources,
        })
    }

    /// Holds what `update` brought; the request says so.
    pub fn accept(&mut self, update: &Update) -> DeltaDiscoveryRequest {
        if let Some(held) = self.held(update.type_url) {
            for NewContent { name, version, content: _ } in &update.resources {
                held.insert(name.clone(), version.clone());
            }
            for name in &update.removed {
                held.remove(name);
            }
        }
        Self::said(update, None)
    }

    /// Keeps what was held; the request says why.
    #[must_use]
    pub fn refuse(update: &Update, reason: &str) -> DeltaDiscoveryRequest {
        let message = bounded_reason(reason).to_string();
        let status = Status { code: INVALID_ARGUMENT, message, ..Status::default() };
        Self::said(update, Some(status))
    }

    /// Asks for these once more, whatever is held of them.
    #[must_use]
    pub fn ask_again(type_url: &str, names: Vec<String>) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            type_url: type_url.to_owned(),
            resource_names_subscribe: names,
            ..DeltaDiscoveryRequest::default()
        }
    }

    fn held(&mut self, type_url: &str) -> Option<&mut BTreeMap<String, String>> {
        self.types.iter_mut().find(|(of, _)| *of == type_url).map(|(_, held)| held)
    }

    fn said(update: &Update, error_detail: Option<Status>) -> DeltaDiscoveryRequest {
        DeltaDiscoveryRequest {
            type_url: update.type_url.to_owned(),
            response_nonce: update.nonce.clone(),
            error_detail,
            ..DeltaDiscoveryRequest::default()
        }
    }
}

#[cfg(test)]
mod tests {
    use envoy_types::pb::envoy::service::discovery::v3::Resource;
    use envoy_types::pb::google::protobuf::Any;

    use super::*;

    const TYPE: &str = "type.googleapis.com/hopgate.test.Thing";

    fn answer(name: &str, version: &str, removed: &[&str]) -> DeltaDiscoveryResponse {
        let resource = Resource {
            name: name.to_owned(),
            version: version.to_owned(),
            resource: Some(Any { type_url: TYPE.to_owned(), value: b"content".to_vec() }),
            ..Resource::default()
        };
        DeltaDiscoveryResponse {
            type_url: TYPE.to_owned(),
            nonce: "7".to_owned(),
            resources: vec![resource],
            removed_resources: removed.iter().map(ToString::to_string).collect(),
            ..DeltaDiscoveryResponse::default()
        }
    }

    #[test]
    fn only_what_was_accepted_is_brought_to_the_next_stream() {
        let mut follower = Follower::new([TYPE]);
        follower.hold(TYPE, "old".to_owned(), "1".to_owned());
        let update = follower.read(answer("new", "2", &["old"])).unwrap();
        let refusal = Follower::refuse(&update, "no");
        assert_eq!((refusal.response_nonce.as_str(), refusal.error_detail.unwrap().code), ("7", 3));
        let brought = |follower: &Follower| {
            let requests = follower.begin(&Node { id: "me".to_owned(), ..Node::default() });
            assert_eq!(requests[0].node.as_ref().unwrap().id, "me");
            requests[0].initial_resource_versions.clone()
        };
        assert_eq!(brought(&follower), HashMap::from([("old".to_owned(), "1".to_owned())]));
        assert_eq!(follower.accept(&update).error_detail, None);
        assert_eq!(brought(&follower), HashMap::from([("new".to_owned(), "2".to_owned())]));
        follower.forget(TYPE);
        assert!(brought(&follower).is_empty());
    }

    #[test]
    fn too_much_to_bring_is_asked_for_again() {
        let mut follower = Follower::new([TYPE]);
        for n in 0..=MAX_BROUGHT {
            follower.hold(TYPE, n.to_string(), "1".to_owned());
        }
        assert!(follower.begin(&Node::default())[0].initial_resource_versions.is_empty());
    }

    #[test]
    fn an_answer_of_another_type_is_not_read() {
        let follower = Follower::new([TYPE]);
        let other =
            DeltaDiscoveryResponse { type_url: "other".to_owned(), ..answer("a", "1", &[]) };
        assert_eq!(follower.read(other), Err(Unexpected::Type("other".to_owned())));
        let mut empty = answer("a", "1", &[]);
        empty.resources[0].resource = None;
        assert_eq!(follower.read(empty), Err(Unexpected::Content("a".to_owned())));
    }
}
