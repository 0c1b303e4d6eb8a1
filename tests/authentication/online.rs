//! Servers that judge credentials, asked by the parts themselves: real servers, and a clock that is set by hand.
//!
//! What a sidecar makes of it is under test elsewhere; here is what needs the clock, TLS, or a thousand at once.

mod bounds;
mod clients;
mod introspection;
mod others;
pub(crate) mod parts;
