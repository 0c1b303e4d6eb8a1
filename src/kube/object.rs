//! One Secret or ConfigMap that this process keeps something in: read whole, made once, replaced by version.
//!
//! A write names the version that it replaces, so of two writers one wins and the other is told. A write whose answer was
//! lost is looked for before anything is said of it.

use std::collections::BTreeMap;
use std::fmt;

use k8s_openapi::ByteString;
use k8s_openapi::NamespaceResourceScope;
use k8s_openapi::api::core::v1::{ConfigMap, Secret};
use kube::Resource;
use kube::api::{Api, ObjectMeta, PostParams};
use serde::Serialize;
use serde::de::DeserializeOwned;
use zeroize::Zeroizing;

use super::retry::{NoAnswer, Patience, until_answered};
use super::{Cluster, ObjectName};

/// The most that the values of one object take together; the API server takes no more of a Secret.
const MAX: usize = 1024 * 1024;

/// Values by name. In memory they are wiped; of what the HTTP client and the JSON parser held meanwhile, copies may remain.
pub type Values = BTreeMap<String, Zeroizing<String>>;

/// Which state of an object was seen or written; another state has another version.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ObjectVersion(String);

/// An object as it was read.
pub struct Held {
    /// What it holds.
    pub values: Values,
    /// Which state that is.
    pub version: ObjectVersion,
}

/// An object cannot be read or written.
#[derive(Debug, thiserror::Error)]
pub enum ObjectError {
    /// Somebody made it first.
    #[error("{0} exists already")]
    Exists(String),
    /// Somebody changed it meanwhile.
    #[error("{0} was changed by another process meanwhile")]
    Conflict(String),
    /// It is not there any more.
    #[error("{0} is gone")]
    Gone(String),
    /// More than an object can hold.
    #[error("{object} would hold {size} bytes; the most is {MAX}")]
    TooLarge {
        /// Which object.
        object: String,
        /// How much it would be.
        size: usize,
    },
    /// A value that is no text.
    #[error("{key} of {object} is not UTF-8 text")]
    NotText {
        /// Which object.
        object: String,
        /// Which value.
        key: String,
    },
    /// The answer is not such an object.
    #[error("the API server shows {0} without a version")]
    NoVersion(String),
    /// The API server refuses.
    #[error(
        "the API server does not {action} {object}; may the control plane's service account do this?"
    )]
    Refused {
        /// `show`, `make`, `replace`, ...
        action: &'static str,
        /// Which object.
        object: String,
        /// Its words.
        #[source]
        source: Box<kube::Error>,
    },
    /// The API server does not answer.
    #[error("the API server gives no answer about {object}")]
    Silent {
        /// Which object.
        object: String,
        /// What the last attempt came to, if it came to anything.
        #[source]
        source: Option<Box<kube::Error>>,
    },
}

/// A kind of object that holds named values.
pub trait Holds:
    Resource<Scope = NamespaceResourceScope, DynamicType = ()>
    + Clone
    + Serialize
    + DeserializeOwned
    + fmt::Debug
    + Send
    + Sync
    + 'static
{
    /// Takes the values out. A value that is not text is given by its name.
    ///
    /// # Errors
    /// With the name of the first value that is not text.
    fn take(&mut self) -> Result<Values, String>;

    /// Puts values in place of what is there.
    fn put(&mut self, values: &Values);

    /// Such an object without values.
    fn empty() -> Self;
}

/// One object. Cloning shares the connections.
pub struct Object<K> {
    api: Api<K>,
    name: String,
    place: String,
    patience: Patience,
}

impl<K: Clone> Clone for Object<K> {
    fn clone(&self) -> Self {
        let Self { api, name, place, patience } = self;
        Self { api: api.clone(), name: name.clone(), place: place.clone(), patience: *patience }
    }
}

impl<K: Holds> Object<K> {
    /// The object of that name. Nothing is asked yet.
    #[must_use]
    pub fn new(cluster: &Cluster, name: &ObjectName, patience: Patience) -> Self {
        let client = cluster.client();
        let namespace = name.namespace.as_deref().unwrap_or_else(|| client.default_namespace());
        let place = format!("{} {namespace}/{}", K::kind(&()), name.name);
        let api = Api::namespaced(client.clone(), namespace);
        Self { api, name: name.name.clone(), place, patience }
    }

    /// Kind, namespace and name, for people.
    #[must_use]
    pub fn place(&self) -> &str {
        &self.place
    }

    /// What it holds now, after every write that was answered before. `None`: there is no such object.
    ///
    /// # Errors
    /// When the API server refuses or does not answer, or a value is no text.
    pub async fn read(&self) -> Result<Option<Held>, ObjectError> {
        match self.fetch().await? {
            None => Ok(None),
            Some(object) => self.held(object).map(Some),
        }
    }

    /// Makes it.
    ///
    /// # Errors
    /// [`ObjectError::Exists`] when there is one already, and as [`Object::read`].
    pub async fn create(&self, values: &Values) -> Result<ObjectVersion, ObjectError> {
        self.check_size(values)?;
        let mut object = K::empty();
        *object.meta_mut() = ObjectMeta {
            name: Some(self.name.clone()),
            labels: Some(
                [("app.kubernetes.io/managed-by".to_owned(), "hopgate".to_owned())].into(),
            ),
            ..ObjectMeta::default()
        };
        object.put(values);
        let post = PostParams::default();
        match until_answered(self.patience, || self.api.create(&post, &object)).await {
            Ok(made) => self.version(&made),
            Err(NoAnswer::Refused(error)) if is(&error, 409) => {
                self.written(values).await?.ok_or_else(|| ObjectError::Exists(self.place.clone()))
            }
            Err(error) => Err(self.failed("make", error)),
        }
    }

    /// Puts `values` in place of what `over` is the version of. What others wrote beside the values stays.
    ///
    /// # Errors
    /// [`ObjectError::Conflict`] when it has another version by now, [`ObjectError::Gone`] when it is not there any more,
    /// and as [`Object::read`].
    pub async fn replace(
        &self,
        values: &Values,
        over: &ObjectVersion,
    ) -> Result<ObjectVersion, ObjectError> {
        self.check_size(values)?;
        let gone = || ObjectError::Gone(self.place.clone());
        let conflict = || ObjectError::Conflict(self.place.clone());
        let mut object = self.fetch().await?.ok_or_else(gone)?;
        if self.version(&object)? != *over {
            return Err(conflict());
        }
        object.put(values);
        // Its version stands in it, and so does its UID: neither a newer state nor another object is overwritten.
        let post = PostParams::default();
        let replace = || self.api.replace(&self.name, &post, &object);
        match until_answered(self.patience, replace).await {
            Ok(replaced) => self.version(&replaced),
            Err(NoAnswer::Refused(error)) if is(&error, 409) => {
                self.written(values).await?.ok_or_else(conflict)
            }
            Err(NoAnswer::Refused(error)) if is(&error, 404) => Err(gone()),
            Err(error) => Err(self.failed("replace", error)),
        }
    }

    /// After a conflict: it may be our own write, whose answer was lost.
    async fn written(&self, values: &Values) -> Result<Option<ObjectVersion>, ObjectError> {
        let held = self.read().await?.filter(|held| held.values == *values);
        Ok(held.map(|held| held.version))
    }

    async fn fetch(&self) -> Result<Option<K>, ObjectError> {
        until_answered(self.patience, || self.api.get_opt(&self.name))
            .await
            .map_err(|error| self.failed("show", error))
    }

    fn held(&self, mut object: K) -> Result<Held, ObjectError> {
        let version = self.version(&object)?;
        let values = object
            .take()
            .map_err(|key| ObjectError::NotText { object: self.place.clone(), key })?;
        Ok(Held { values, version })
    }

    fn version(&self, object: &K) -> Result<ObjectVersion, ObjectError> {
        ObjectVersion::read(object.meta()).ok_or_else(|| ObjectError::NoVersion(self.place.clone()))
    }

    fn check_size(&self, values: &Values) -> Result<(), ObjectError> {
        let size = values.iter().map(|(name, value)| name.len() + value.len()).sum();
        if size <= MAX {
            return Ok(());
        }
        Err(ObjectError::TooLarge { object: self.place.clone(), size })
    }

    fn failed(&self, action: &'static str, error: NoAnswer) -> ObjectError {
        ObjectError::of(action, self.place.clone(), error)
    }
}

impl ObjectError {
    pub(super) fn of(action: &'static str, object: String, error: NoAnswer) -> Self {
        match error {
            NoAnswer::Refused(source) => Self::Refused { action, object, source: source.into() },
            NoAnswer::Silent(source) => Self::Silent { object, source: source.map(Box::new) },
        }
    }
}

fn is(error: &kube::Error, code: u16) -> bool {
    matches!(error, kube::Error::Api(status) if status.code == code)
}

impl ObjectVersion {
    /// As text, for whoever keeps it beside what was read.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The version that stands in the metadata of an object.
    #[must_use]
    pub fn read(metadata: &ObjectMeta) -> Option<Self> {
        let (uid, version) = metadata.uid.as_ref().zip(metadata.resource_version.as_ref())?;
        Some(Self(format!("{uid}/{version}")))
    }

    /// UID and resource version.
    pub(super) fn parts(&self) -> (String, String) {
        let (uid, version) = self.0.split_once('/').unwrap_or((&self.0, ""));
        (uid.to_owned(), version.to_owned())
    }

    /// The version of that text.
    #[must_use]
    pub fn of(text: &str) -> Self {
        Self(text.to_owned())
    }
}

impl<K> fmt::Debug for Object<K> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Object").field("place", &self.place).finish_non_exhaustive()
    }
}

impl Holds for Secret {
    fn take(&mut self) -> Result<Values, String> {
        let mut values = Values::new();
        for (name, ByteString(bytes)) in std::mem::take(&mut self.data).unwrap_or_default() {
            match String::from_utf8(bytes) {
                Ok(text) => drop(values.insert(name, Zeroizing::new(text))),
                Err(error) => {
                    drop(Zeroizing::new(error.into_bytes()));
                    return Err(name);
                }
            }
        }
        Ok(values)
    }

    fn put(&mut self, values: &Values) {
        let bytes = |text: &Zeroizing<String>| ByteString(text.as_bytes().to_vec());
        self.data = Some(values.iter().map(|(name, text)| (name.clone(), bytes(text))).collect());
        self.string_data = None;
    }

    fn empty() -> Self {
        Self::default()
    }
}

impl Holds for ConfigMap {
    fn take(&mut self) -> Result<Values, String> {
        if let Some(name) = self.binary_data.iter().flat_map(BTreeMap::keys).next() {
            return Err(name.clone());
        }
        let data = std::mem::take(&mut self.data).unwrap_or_default();
        Ok(data.into_iter().map(|(name, text)| (name, Zeroizing::new(text))).collect())
    }

    fn put(&mut self, values: &Values) {
        let text = |text: &Zeroizing<String>| text.as_str().to_owned();
        self.data = Some(values.iter().map(|(name, value)| (name.clone(), text(value))).collect());
        self.binary_data = None;
    }

    fn empty() -> Self {
        Self::default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_value_that_is_no_text_is_named() {
        let data = [("a".to_owned(), ByteString(vec![0xff]))].into();
        let mut secret = Secret { data: Some(data), ..Secret::default() };
        assert_eq!(secret.take().unwrap_err(), "a");
        let binary = [("b".to_owned(), ByteString(vec![b'x']))].into();
        let mut map = ConfigMap { binary_data: Some(binary), ..ConfigMap::default() };
        assert_eq!(map.take().unwrap_err(), "b");
        let values: Values = [("c".to_owned(), Zeroizing::new("text".to_owned()))].into();
        secret.put(&values);
        assert_eq!(secret.take().unwrap(), values);
        map.put(&values);
        assert_eq!(map.take().unwrap(), values);
    }
}
