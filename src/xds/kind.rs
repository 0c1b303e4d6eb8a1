//! Types of resources, and how each is sent.

use super::stream::MAX_NAMES;

/// The largest resource in bytes, where its type says nothing else. It must fit into one message of a client.
pub const MAX_RESOURCE_BYTES: usize = 1024 * 1024;

/// How the resources of a type share answers.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Batch {
    /// One in each answer: a client accepts or refuses it alone.
    One,
    /// Many in one answer, up to a bound: they are accepted or refused together.
    Many,
}

/// A type of resource, and how it is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Kind {
    /// The type URL.
    pub type_url: &'static str,
    /// How its resources share answers.
    pub batch: Batch,
    /// What other types of the stream have to do with it.
    pub order: Order,
    /// The largest resource in bytes.
    pub max_bytes: usize,
    /// The most names that one subscriber may ask for.
    pub max_names: usize,
}

/// When the resources of a type are sent, as far as other types of the same stream (by type URL) have a say.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Order {
    /// Nothing is sent before everything of these types was sent and answered.
    pub after: &'static [&'static str],
    /// Nothing is removed before everything of these types was sent and accepted.
    pub removed_after: &'static [&'static str],
    /// With each resource that is sent, the one of the same name of this type is due again.
    pub renews: Option<&'static str>,
}

impl Order {
    /// No other type has a say.
    pub const FREE: Self = Self { after: &[], removed_after: &[], renews: None };
}

impl Kind {
    /// A type of which no other has a say, with the usual bounds.
    #[must_use]
    pub const fn new(type_url: &'static str, batch: Batch) -> Self {
        Self {
            type_url,
            batch,
            order: Order::FREE,
            max_bytes: MAX_RESOURCE_BYTES,
            max_names: MAX_NAMES,
        }
    }

    /// The same type, sent in this order.
    #[must_use]
    pub const fn ordered(self, order: Order) -> Self {
        Self { order, ..self }
    }

    /// The same type with other bounds: of a resource in bytes, and of the names that one subscriber may ask for.
    #[must_use]
    pub const fn bounded(self, max_bytes: usize, max_names: usize) -> Self {
        Self { max_bytes, max_names, ..self }
    }
}
