//! Tokens and certificates through the public functions: what is proven, what is refused and under which code.

mod codes;
mod jose_vectors;
mod mint;
pub(crate) mod online;
mod outage;
mod outbound;
mod peers;
mod presets;
mod proof;
mod tokens;
