//! The gate: one CheckRequest in, one verdict and one record out.
