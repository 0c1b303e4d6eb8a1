//! Pure: from workloads and identities to Envoy configuration.
