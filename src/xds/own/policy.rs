//! A resource of hopgate's own kinds, on its way to a sidecar.

use prost::Message as _;

use crate::proto::discovery;

use super::Encoded;

/// A resource that is for one sidecar, as it is written. Whether it can be used, the parser says that reads files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PolicyResource {
    /// Its kind.
    pub kind: String,
    /// Its namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Grows with each change of what it says; 0 where nobody counts.
    pub generation: u64,
    /// The resource, in JSON.
    pub document: String,
}

/// A message is no resource.
#[derive(Debug, thiserror::Error)]
pub enum InvalidPolicyResource {
    /// The bytes are no such message.
    #[error("the resource {name:?} is no PolicyResource message")]
    Unreadable {
        /// The name of the resource.
        name: String,
        /// What is wrong.
        #[source]
        source: prost::DecodeError,
    },
    /// Name and content differ.
    #[error("the resource {name:?} holds {found:?}")]
    Name {
        /// The name of the resource.
        name: String,
        /// What the content would be named.
        found: String,
    },
}

impl PolicyResource {
    /// The name of the resource: kind, namespace and name.
    #[must_use]
    pub fn resource_name(&self) -> String {
        format!("{}/{}/{}", self.kind, self.namespace, self.name)
    }

    /// Reads a resource.
    ///
    /// # Errors
    /// When the message is damaged, or name and content differ.
    pub fn decode(name: &str, content: &[u8]) -> Result<Self, InvalidPolicyResource> {
        let discovery::PolicyResource { kind, namespace, name: own, generation, document } =
            discovery::PolicyResource::decode(content).map_err(|source| {
                InvalidPolicyResource::Unreadable { name: name.to_owned(), source }
            })?;
        let resource = Self { kind, namespace, name: own, generation, document };
        let found = resource.resource_name();
        if found == name {
            return Ok(resource);
        }
        Err(InvalidPolicyResource::Name { name: name.to_owned(), found })
    }

    /// The resource that says this.
    #[must_use]
    pub fn encode(&self) -> Encoded {
        let message = discovery::PolicyResource {
            kind: self.kind.clone(),
            namespace: self.namespace.clone(),
            name: self.name.clone(),
            generation: self.generation,
            document: self.document.clone(),
        };
        Encoded { name: self.resource_name(), content: message.encode_to_vec() }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_encoded_is_read_again_under_its_own_name_only() {
        let resource = PolicyResource {
            kind: "AccessPolicy".to_owned(),
            namespace: "shop".to_owned(),
            name: "orders".to_owned(),
            generation: 3,
            document: "{}".to_owned(),
        };
        let Encoded { name, content } = resource.encode();
        assert_eq!(name, "AccessPolicy/shop/orders");
        assert_eq!(PolicyResource::decode(&name, &content).unwrap(), resource);
        let other = PolicyResource::decode("AccessPolicy/shop/others", &content).unwrap_err();
        assert!(other.to_string().contains("AccessPolicy/shop/orders"), "{other}");
        assert!(PolicyResource::decode(&name, &content[1..]).is_err());
    }
}
