//! What a sidecar tells of itself, in the metadata of its first request's node.

use std::collections::HashMap;

use envoy_types::pb::envoy::config::core::v3::Node;
use envoy_types::pb::google::protobuf::value::Kind;
use envoy_types::pb::google::protobuf::{Struct, Value};

/// The key of the metadata under which it stands.
pub const NODE_METADATA: &str = "hopgate";

/// How much of each text is read.
const MAX_CHARACTERS: usize = 100;

/// What a sidecar says it runs. Nothing of it is proven: it is for people, for seeing whether certificates were replaced,
/// and for telling the pods of one workload apart. Who the sidecar is stands in its certificate.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Running {
    /// The version of its hopgate.
    pub version: String,
    /// The serial number of the certificate that it serves, in lower-case hexadecimal.
    pub serial: String,
    /// The key identifier of the authority that issued it, in lower-case hexadecimal.
    pub authority_key_id: String,
    /// The UID of its pod; empty where it has none.
    pub pod_uid: String,
}

impl Running {
    /// Reads what stands in the node; what is absent is empty.
    #[must_use]
    pub fn of(node: Option<&Node>) -> Self {
        let own = node.and_then(|node| node.metadata.as_ref()?.fields.get(NODE_METADATA));
        let Some(Value { kind: Some(Kind::StructValue(own)) }) = own else {
            return Self::default();
        };
        let text = |name: &str| match own.fields.get(name) {
            Some(Value { kind: Some(Kind::StringValue(text)) }) => {
                text.chars().take(MAX_CHARACTERS).collect()
            }
            _ => String::new(),
        };
        Self {
            version: text("version"),
            serial: text("serial"),
            authority_key_id: text("authorityKeyId"),
            pod_uid: text("podUid"),
        }
    }

    /// The node that says this, named `id`.
    #[must_use]
    pub fn node(&self, id: &str) -> Node {
        let text = |text: &String| Value { kind: Some(Kind::StringValue(text.clone())) };
        let own = HashMap::from([
            ("version".to_owned(), text(&self.version)),
            ("serial".to_owned(), text(&self.serial)),
            ("authorityKeyId".to_owned(), text(&self.authority_key_id)),
            ("podUid".to_owned(), text(&self.pod_uid)),
        ]);
        let own = Value { kind: Some(Kind::StructValue(Struct { fields: own })) };
        let metadata = Struct { fields: HashMap::from([(NODE_METADATA.to_owned(), own)]) };
        Node { id: id.to_owned(), metadata: Some(metadata), ..Node::default() }
    }
}
