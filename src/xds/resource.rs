//! The resources of one type, by name.

use std::collections::BTreeMap;

use aws_lc_rs::digest::{SHA256, digest};
use envoy_types::pb::google::protobuf::Any;
use zeroize::Zeroizing;

use super::shared::Content;

/// How much of the digest stands in a version: 128 bits, in hexadecimal.
const VERSION_BYTES: usize = 16;

/// One resource as it goes over the wire. It may hold a private key: no `Debug`, and wiped on drop.
pub struct Resource {
    version: String,
    content: Zeroizing<Vec<u8>>,
}

/// All resources of one type. Immutable once published, and replaced whole.
pub struct Table {
    type_url: &'static str,
    resources: BTreeMap<String, Resource>,
}

impl Table {
    /// An empty table for resources of `type_url`.
    #[must_use]
    pub fn new(type_url: &'static str) -> Self {
        Self { type_url, resources: BTreeMap::new() }
    }

    /// Adds or replaces a resource, given its encoded message.
    pub fn insert(&mut self, name: impl Into<String>, content: Zeroizing<Vec<u8>>) {
        let version = content_version(&content);
        self.resources.insert(name.into(), Resource { version, content });
    }

    /// The resource of that name.
    #[must_use]
    pub fn get(&self, name: &str) -> Option<&Resource> {
        self.resources.get(name)
    }

    /// All names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.resources.keys().map(String::as_str)
    }

    /// The type URL of every resource here.
    #[must_use]
    pub fn type_url(&self) -> &'static str {
        self.type_url
    }

    /// Every resource, for a table that subscribers share.
    #[must_use]
    pub fn contents(&self) -> BTreeMap<String, Content> {
        let contents = self.resources.iter().map(|(name, Resource { version, content })| {
            (name.clone(), Content::of_version(version.clone(), content.clone()))
        });
        contents.collect()
    }

    pub(super) fn any(&self, resource: &Resource) -> Any {
        Any { type_url: self.type_url.to_owned(), value: resource.content.to_vec() }
    }
}

impl Resource {
    /// The hash of the content: equal content has an equal version, also after a restart.
    #[must_use]
    pub fn version(&self) -> &str {
        &self.version
    }
}

/// The version of a content: its hash, so that equal content has an equal version.
#[must_use]
pub fn content_version(content: &[u8]) -> String {
    let hash = digest(&SHA256, content);
    hash.as_ref().iter().take(VERSION_BYTES).map(|byte| format!("{byte:02x}")).collect()
}
