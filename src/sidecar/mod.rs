//! The process beside a workload: ext_authz, SDS and admin.
