//! Health, readiness, metrics and read-only dumps over HTTP on loopback.
