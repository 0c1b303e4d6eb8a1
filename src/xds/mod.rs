//! Discovery streams, state-of-the-world and delta.
