//! Discovery streams, state-of-the-world and delta.
//!
//! What a stream answers, and when, is decided by two pure state machines, [`StateOfTheWorld`] and [`Delta`], over a
//! [`Table`] of resources whose version is the hash of their content. [`SecretService`] is the thin driver that moves
//! bytes: it pulls one answer at a time, so that a slow client never makes a queue grow; whatever it reads next is
//! the latest.
//!
//! Promised by both machines:
//! - only subscribed names are answered, and one unknown name never blocks the others; there is no wildcard;
//! - one resource per response, because a client that refuses one of two applies an undefined part of them;
//! - a refused version is not sent again until its content changes;
//! - what was sent stays with the client: a name that leaves the table is never emptied.

mod delta;
mod resource;
mod secret_service;
mod state_of_the_world;
mod stream;

pub use delta::Delta;
pub use resource::{Resource, Table};
pub use secret_service::{SECRET_TYPE, SecretService};
pub use state_of_the_world::StateOfTheWorld;
pub use stream::{Machine, Observer, Receipt, Violation};
