//! Doors for proxies that do not ask by gRPC: Envoy's HTTP service, nginx's `auth_request`, Traefik's ForwardAuth and
//! Caddy's `forward_auth`.
//!
//! A door turns what its proxy asks into the value that a CheckRequest decodes to, has it judged like any other, and tells
//! the answer in HTTP. It believes nobody but its own proxy: whoever else asks is refused, whatever it says. No certificate
//! is seen through a door, so the gate sees no peer.

mod asked;
mod config;
mod reply;
mod server;

pub use config::{DoorAddress, DoorConfig, DoorProxy, InvalidDoorAddress};
pub(in crate::sidecar) use config::{relocate, validate};
pub(in crate::sidecar) use server::HttpDoor;
