//! Filled by what it names.
