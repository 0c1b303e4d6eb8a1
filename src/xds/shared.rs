//! Resources that many subscribers get: encoded once, shared by every stream.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Weak};

use bytes::Bytes;
use envoy_types::pb::envoy::service::discovery::v3::{DeltaDiscoveryResponse, Resource};
use envoy_types::pb::google::protobuf::Any;
use prost::Message as _;
use zeroize::{Zeroize as _, Zeroizing};

use super::kind::Kind;
use super::resource::content_version;

/// A resource is too large to be sent.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("resource {name:?} has {size} bytes, at most {most} can be sent")]
pub struct TooLarge {
    /// Its name.
    pub name: String,
    /// Its size in bytes.
    pub size: usize,
    /// The bound.
    pub most: usize,
}

/// The content of a resource before it is shared.
///
/// It may hold a private key: no `Debug`, and wiped on drop.
pub struct Content {
    version: String,
    bytes: Zeroizing<Vec<u8>>,
}

impl Content {
    /// A content whose version is known, because equal contents may be written as different bytes.
    #[must_use]
    pub fn of_version(version: String, bytes: Zeroizing<Vec<u8>>) -> Self {
        Self { version, bytes }
    }
}

/// Its version is the hash of its bytes.
impl From<Vec<u8>> for Content {
    fn from(bytes: Vec<u8>) -> Self {
        Self { version: content_version(&bytes), bytes: Zeroizing::new(bytes) }
    }
}

/// All resources of one type. Immutable, replaced whole. What did not change is shared with the table before.
pub struct SharedTable {
    revision: String,
    resources: BTreeMap<Arc<str>, SharedResource>,
    since: Option<Since>,
}

/// One resource: its version, and its bytes as a field of an answer.
#[derive(Clone)]
pub(super) struct SharedResource {
    version: Arc<str>,
    field: Bytes,
}

/// What changed against the table before.
struct Since {
    // Only its address is used. It is not given to another table while this exists.
    table: Weak<SharedTable>,
    changed: Arc<[Arc<str>]>,
}

impl SharedTable {
    /// A table without resources.
    #[must_use]
    pub fn empty() -> Arc<Self> {
        Arc::new(Self::of(BTreeMap::new(), None))
    }

    /// The table that follows `self`: it holds `contents`, encoded messages of this kind by name. When nothing changed it is
    /// `self`.
    ///
    /// # Errors
    /// When a resource is larger than its kind may be.
    pub fn followed_by<C: Into<Content>>(
        self: &Arc<Self>,
        kind: &Kind,
        contents: BTreeMap<String, C>,
    ) -> Result<Arc<Self>, TooLarge> {
        let mut resources = BTreeMap::new();
        let mut changed = Vec::new();
        for (name, content) in contents {
            let Content { version, bytes } = content.into();
            let kept = self.resources.get_key_value(name.as_str());
            match kept.filter(|(_, resource)| *resource.version == version) {
                Some((name, resource)) => {
                    resources.insert(Arc::clone(name), resource.clone());
                }
                None if bytes.len() > kind.max_bytes => {
                    return Err(TooLarge { name, size: bytes.len(), most: kind.max_bytes });
                }
                None => {
                    let resource = SharedResource::encode(&name, version, (kind.type_url, bytes));
                    let name: Arc<str> = name.into();
                    changed.push(Arc::clone(&name));
                    resources.insert(name, resource);
                }
            }
        }
        let removed = self.resources.keys().filter(|name| !resources.contains_key(*name));
        changed.extend(removed.cloned());
        if changed.is_empty() {
            return Ok(Arc::clone(self));
        }
        changed.sort_unstable();
        let since = Since { table: Arc::downgrade(self), changed: changed.into() };
        Ok(Arc::new(Self::of(resources, Some(since))))
    }

    /// A table of those resources of this one that have these names. Their bytes are shared.
    #[must_use]
    pub fn only<'n>(&self, names: impl IntoIterator<Item = &'n str>) -> Arc<Self> {
        let named = names.into_iter().filter_map(|name| self.resources.get_key_value(name));
        let resources = named.map(|(name, resource)| (Arc::clone(name), resource.clone()));
        Arc::new(Self::of(resources.collect(), None))
    }

    fn of(resources: BTreeMap<Arc<str>, SharedResource>, since: Option<Since>) -> Self {
        let mut listed = Vec::new();
        for (name, resource) in &resources {
            // No name and no version holds a zero byte.
            for part in [name.as_bytes(), b"\0", resource.version.as_bytes(), b"\0"] {
                listed.extend_from_slice(part);
            }
        }
        Self { revision: content_version(&listed), resources, since }
    }

    /// The hash of all names and versions.
    #[must_use]
    pub fn revision(&self) -> &str {
        &self.revision
    }

    /// The version of a resource: the hash of its content.
    #[must_use]
    pub fn version(&self, name: &str) -> Option<&Arc<str>> {
        self.resources.get(name).map(|resource| &resource.version)
    }

    /// All names, in order.
    pub fn names(&self) -> impl ExactSizeIterator<Item = &Arc<str>> {
        self.resources.keys()
    }

    /// The names whose content is not what it was in `before`, in order, when that is the table right before this one.
    pub(super) fn changed_since(&self, before: &Arc<Self>) -> Option<Arc<[Arc<str>]>> {
        let since = self.since.as_ref()?;
        std::ptr::eq(since.table.as_ptr(), Arc::as_ptr(before)).then(|| Arc::clone(&since.changed))
    }

    pub(super) fn field(&self, name: &str) -> Option<Bytes> {
        self.resources.get(name).map(|resource| resource.field.clone())
    }
}

impl SharedResource {
    fn encode(
        name: &str,
        version: String,
        (type_url, mut content): (&str, Zeroizing<Vec<u8>>),
    ) -> Self {
        let wire = Resource {
            name: name.to_owned(),
            version: version.clone(),
            resource: Some(Any {
                type_url: type_url.to_owned(),
                value: std::mem::take(&mut *content),
            }),
            ..Resource::default()
        };
        // The encoding of a message with one field is that field; fields of several messages add up to one.
        let mut field = DeltaDiscoveryResponse { resources: vec![wire], ..Default::default() };
        // It may hold a private key: wiped when the last subscriber has it.
        let shared = Bytes::from_owner(Zeroizing::new(field.encode_to_vec()));
        let contents = field.resources.iter_mut().filter_map(|wire| wire.resource.as_mut());
        contents.for_each(|content| content.value.zeroize());
        Self { version: version.into(), field: shared }
    }
}

impl fmt::Debug for SharedTable {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let versions = self.resources.iter().map(|(name, resource)| (name, &resource.version));
        f.debug_map().entries(versions).finish()
    }
}

/// The tables of all types that a server has, in the order in which they are sent.
#[derive(Debug, Clone)]
pub struct Catalogue {
    tables: Vec<(Kind, Arc<SharedTable>)>,
}

impl Catalogue {
    /// No tables: of no type it is known yet what there is.
    #[must_use]
    pub fn unknown() -> Self {
        Self { tables: Vec::new() }
    }

    /// Tables by type; the first is sent first.
    #[must_use]
    pub fn new(tables: Vec<(Kind, Arc<SharedTable>)>) -> Self {
        Self { tables }
    }

    /// All tables in their order.
    #[must_use]
    pub fn tables(&self) -> &[(Kind, Arc<SharedTable>)] {
        &self.tables
    }

    /// The table of one type.
    #[must_use]
    pub fn table(&self, type_url: &str) -> Option<&Arc<SharedTable>> {
        self.tables.iter().find(|(kind, _)| kind.type_url == type_url).map(|(_, table)| table)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::kind::{Batch, MAX_RESOURCE_BYTES};

    const THING: Kind = Kind::new("type.googleapis.com/hopgate.test.Thing", Batch::Many);

    fn contents(of: &[(&str, &str)]) -> BTreeMap<String, Vec<u8>> {
        of.iter().map(|(name, text)| ((*name).to_owned(), text.as_bytes().to_vec())).collect()
    }

    #[test]
    fn unchanged_content_is_shared_and_changes_are_listed() {
        let first = SharedTable::empty().followed_by(&THING, contents(&[("a", "1"), ("b", "1")]));
        let first = first.unwrap();
        let second = first.followed_by(&THING, contents(&[("a", "1"), ("c", "1")])).unwrap();
        assert_eq!(first.field("a").unwrap().as_ptr(), second.field("a").unwrap().as_ptr());
        let changed = second.changed_since(&first).unwrap();
        assert_eq!(changed.iter().map(|name| &**name).collect::<Vec<_>>(), ["b", "c"]);
        assert_ne!(first.revision(), second.revision());
        let third = second.followed_by(&THING, contents(&[("a", "1"), ("c", "1")])).unwrap();
        assert!(Arc::ptr_eq(&second, &third), "nothing changed");
        assert!(second.changed_since(&SharedTable::empty()).is_none());
    }

    #[test]
    fn versions_and_revisions_are_those_of_the_content() {
        let one = SharedTable::empty().followed_by(&THING, contents(&[("a", "1")])).unwrap();
        let two = SharedTable::empty().followed_by(&THING, contents(&[("a", "2")])).unwrap();
        let back = two.followed_by(&THING, contents(&[("a", "1")])).unwrap();
        assert_eq!((one.version("a"), one.revision()), (back.version("a"), back.revision()));
        assert_ne!(one.version("a"), two.version("a"));
        assert_eq!(one.version("b"), None);
    }

    #[test]
    fn a_part_of_a_table_shares_its_bytes() {
        let all = contents(&[("a", "1"), ("b", "1"), ("c", "1")]);
        let all = SharedTable::empty().followed_by(&THING, all).unwrap();
        let part = all.only(["c", "a", "d"]);
        assert_eq!(part.names().map(|name| &**name).collect::<Vec<_>>(), ["a", "c"]);
        assert_eq!(all.field("a").unwrap().as_ptr(), part.field("a").unwrap().as_ptr());
        assert_eq!(part.revision(), all.only(["a", "c"]).revision());
        assert_ne!(part.revision(), all.revision());
        assert_eq!(all.only([]).revision(), SharedTable::empty().revision());
    }

    #[test]
    fn a_resource_that_no_message_can_carry_is_refused() {
        let huge = BTreeMap::from([("a".to_owned(), vec![0; MAX_RESOURCE_BYTES + 1])]);
        let refused = SharedTable::empty().followed_by(&THING, huge).unwrap_err();
        let (size, most) = (MAX_RESOURCE_BYTES + 1, MAX_RESOURCE_BYTES);
        assert_eq!(refused, TooLarge { name: "a".to_owned(), size, most });
    }
}
