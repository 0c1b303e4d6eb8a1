//! What is fixed in every pod that has a gate: ports, users and the places of sockets.
//!
//! The capture rules, the generated Envoy configuration and the injected containers all rest on these values. They are
//! written here once; a value that differed in one of them would be a hole or an outage.

/// The TCP port of Envoy where captured outgoing connections arrive. Loopback only.
pub const OUTBOUND_PORT: u16 = 15001;
/// The TCP port of Envoy where captured incoming connections arrive, of both families.
pub const INBOUND_PORT: u16 = 15006;
/// The TCP port where Envoy would have its admin page. Nothing listens there (it is a unix socket), and nothing of
/// the application may.
pub const ENVOY_ADMIN_PORT: u16 = 15000;
/// The TCP port of the sidecar that the cluster may call: the metrics, and the application's probes.
pub const SIDECAR_PORT: u16 = 15020;
/// The TCP port of the sidecar where the kubelet asks whether the gate works.
pub const HEALTH_PORT: u16 = 15021;

/// The ports of the gate itself: never captured, and never the application's.
pub const OWN_PORTS: [u16; 5] =
    [ENVOY_ADMIN_PORT, OUTBOUND_PORT, INBOUND_PORT, SIDECAR_PORT, HEALTH_PORT];

/// The user that Envoy runs as. What it sends is not captured: nothing else in the pod may run as this user.
pub const ENVOY_UID: u32 = 1337;
/// The user that the sidecar runs as. What it sends is not captured either, nor sent back to Envoy on loopback, so that
/// its probes reach the application.
pub const SIDECAR_UID: u32 = 1338;
/// The group of both, which owns the sockets that they share.
pub const GATE_GID: u32 = 1337;

/// The address that Envoy connects to the application from, IPv4. The capture rules leave it alone.
pub const ESCAPE_V4: std::net::Ipv4Addr = std::net::Ipv4Addr::new(127, 0, 0, 6);
/// The same for IPv6. It must be on the loopback interface, where it is put together with the rules.
pub const ESCAPE_V6: std::net::Ipv6Addr = std::net::Ipv6Addr::new(0, 0, 0, 0, 0, 0, 0, 6);

/// The directory of the sockets below.
pub const RUN: &str = "/run/hopgate";
/// Where the sidecar serves Envoy's configuration and secrets.
pub const XDS_SOCKET: &str = "/run/hopgate/xds.sock";
/// Where Envoy asks whether a request is allowed.
pub const AUTHZ_SOCKET: &str = "/run/hopgate/authz.sock";
/// Envoy's admin page.
pub const ENVOY_ADMIN_SOCKET: &str = "/run/hopgate/envoy-admin.sock";
/// What Envoy is started with. The sidecar writes it, before it says that it has started.
pub const ENVOY_BOOTSTRAP: &str = "/run/hopgate/envoy.json";
/// The directory of the socket that the application may use. A volume of its own: whoever reaches the others can take the
/// workload's private key and its place.
pub const WORKLOAD_RUN: &str = "/run/hopgate/workload";
/// The SPIFFE Workload API, for the application.
pub const WORKLOAD_SOCKET: &str = "/run/hopgate/workload/workload.sock";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sockets_stand_in_the_directory_of_the_gate_and_ports_differ() {
        for socket in [XDS_SOCKET, AUTHZ_SOCKET, ENVOY_ADMIN_SOCKET, WORKLOAD_SOCKET] {
            assert!(socket.strip_prefix(RUN).is_some_and(|rest| rest.starts_with('/')), "{socket}");
        }
        let mut ports = OWN_PORTS.to_vec();
        ports.dedup();
        assert_eq!(ports.len(), OWN_PORTS.len());
        assert_ne!(ENVOY_UID, SIDECAR_UID);
    }
}
