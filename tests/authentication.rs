//! Tokens and certificates through the public functions: what is proven, what is refused and under which code.

mod codes;
mod jose_vectors;
mod mint;
mod peers;
mod tokens;
