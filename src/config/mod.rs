//! Files, environment and flags become validated configuration.
