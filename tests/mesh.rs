//! Pods on a network of their own: network namespaces with a real Envoy, a real sidecar and an application each, and the
//! capture rules. Needs root, and the programs `ip`, `nft` and `setpriv`.

mod changes;
mod network;
mod pod;
mod revoked;
mod traffic;
