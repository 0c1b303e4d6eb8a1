//! What the control plane tells its sidecars, from the publisher to the Envoys, and back.

mod envoys;
mod first_word;
mod many;
pub mod parts;
mod seen;
mod sidecars;
mod streams;
