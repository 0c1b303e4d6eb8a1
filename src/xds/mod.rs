//! Discovery streams, state-of-the-world and delta.
//!
//! What a stream answers, and when, is decided by two pure state machines, [`StateOfTheWorld`] and [`Delta`], over a
//! [`Table`] of resources whose version is the hash of their content. [`SecretService`] is the thin driver that moves
//! bytes: it pulls one answer at a time, so that a slow client never makes a queue grow; whatever it reads next is
//! the latest.
//!
//! [`AggregatedService`] serves resources that many subscribers share, with [`Feed`] as its machine: there everything of
//! a type may be asked for, each stream costs a few pointers, and the types have an order among them ([`Order`]). What an
//! Envoy needs of it says [`mod@envoy`].
//!
//! Promised by both machines for secrets:
//! - only subscribed names are answered, and one unknown name never blocks the others; there is no wildcard;
//! - one resource per response, because a client that refuses one of two applies an undefined part of them;
//! - a refused version is not sent again until its content changes;
//! - what was sent stays with the client: a name that leaves the table is never emptied.

mod aggregated;
mod answer;
mod delta;
pub mod envoy;
mod feed;
mod feed_type;
mod follower;
mod kind;
pub mod own;
mod resource;
mod secret_service;
mod shared;
mod standing;
mod state_of_the_world;
mod stream;
mod subscription;

pub use aggregated::{AggregatedService, Door, Session, SharedFeed};
pub use answer::Answer;
pub use delta::Delta;
pub use feed::{Answered, Feed, Heard, Refusal, Told};
pub use follower::{Follower, NewContent, Unexpected, Update};
pub use kind::{Batch, Kind, MAX_RESOURCE_BYTES, Order};
pub use resource::{Resource, Table, content_version};
pub use secret_service::{SECRET_TYPE, SecretService};
pub use shared::{Catalogue, Content, SharedTable, TooLarge};
pub use state_of_the_world::StateOfTheWorld;
pub use stream::{Machine, Observer, Receipt, StreamId, Violation};
pub use subscription::Subscription;
