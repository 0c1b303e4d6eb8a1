//! A workload's own certificate: when to renew, from whom, and where it is kept.
