//! Where the workloads behind a service are.

use std::collections::BTreeMap;
use std::net::SocketAddr;

use serde::{Deserialize, Serialize};

use super::workload::OutboundMode;

/// One workload behind a port of a service.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ServiceEndpoint {
    /// Its address, and the port of the application there.
    pub address: SocketAddr,
    /// How it is spoken to.
    pub transport: Transport,
    /// Whether it takes new connections.
    pub readiness: Readiness,
}

/// How an endpoint is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// By mTLS. Only once it is proven that traffic to it is captured: otherwise TLS arrives at the application itself.
    Mtls,
    /// In plaintext, to whoever is there.
    Plain,
}

/// Whether an endpoint takes new connections.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Readiness {
    /// It does.
    Ready,
    /// It is going away and still serves: it is called only where no other is left.
    Terminating,
    /// It does not.
    NotReady,
}

/// The endpoints that are called, each once. One that is said to be both takes mTLS, as the last thing that can be wrong
/// is plaintext.
pub(super) fn called(
    endpoints: &[ServiceEndpoint],
    mode: OutboundMode,
) -> BTreeMap<SocketAddr, Transport> {
    let mut known: BTreeMap<SocketAddr, (Readiness, Transport)> = BTreeMap::new();
    for ServiceEndpoint { address, transport, readiness } in endpoints {
        let (held_readiness, held_transport) =
            known.entry(*address).or_insert((*readiness, *transport));
        *held_readiness = (*held_readiness).min(*readiness);
        *held_transport = (*held_transport).min(*transport);
    }
    known.retain(|_, (_, transport)| match (transport, mode) {
        (Transport::Mtls, _) | (Transport::Plain, OutboundMode::Any) => true,
        (Transport::Plain, OutboundMode::MeshOnly) => false,
    });
    let of = |wanted: Readiness| {
        let found = known.iter().filter(move |(_, (readiness, _))| *readiness == wanted);
        found.map(|(address, (_, transport))| (*address, *transport)).collect()
    };
    let ready: BTreeMap<_, _> = of(Readiness::Ready);
    // Left out rather than listed as unwell: below one half that is well Envoy would turn to all of them.
    if ready.is_empty() { of(Readiness::Terminating) } else { ready }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn endpoint(address: &str, transport: Transport, readiness: Readiness) -> ServiceEndpoint {
        ServiceEndpoint { address: address.parse().unwrap(), transport, readiness }
    }

    fn at(endpoints: &[ServiceEndpoint], mode: OutboundMode) -> Vec<(String, Transport)> {
        let called = called(endpoints, mode).into_iter();
        called.map(|(address, transport)| (address.to_string(), transport)).collect()
    }

    #[test]
    fn those_that_go_away_are_called_only_when_no_other_is_left() {
        use Readiness::{NotReady, Ready, Terminating};
        let going = endpoint("10.0.0.2:80", Transport::Mtls, Terminating);
        let not = endpoint("10.0.0.3:80", Transport::Mtls, NotReady);
        let all = [endpoint("10.0.0.1:80", Transport::Mtls, Ready), going, not];
        assert_eq!(at(&all, OutboundMode::Any), [("10.0.0.1:80".to_owned(), Transport::Mtls)]);
        let left = [("10.0.0.2:80".to_owned(), Transport::Mtls)];
        assert_eq!(at(&[going, not], OutboundMode::Any), left);
        assert_eq!(at(&[not], OutboundMode::Any), []);
    }

    #[test]
    fn an_endpoint_that_is_said_twice_counts_once_and_takes_no_plaintext() {
        let twice = [
            endpoint("10.0.0.1:80", Transport::Plain, Readiness::Ready),
            endpoint("10.0.0.1:80", Transport::Mtls, Readiness::Terminating),
        ];
        let once = [("10.0.0.1:80".to_owned(), Transport::Mtls)];
        assert_eq!(at(&twice, OutboundMode::Any), once);
    }

    #[test]
    fn plaintext_stays_inside_when_only_the_mesh_may_be_called() {
        let both = [
            endpoint("10.0.0.1:80", Transport::Plain, Readiness::Ready),
            endpoint("10.0.0.2:80", Transport::Mtls, Readiness::Ready),
        ];
        assert_eq!(at(&both, OutboundMode::Any).len(), 2);
        let mesh = [("10.0.0.2:80".to_owned(), Transport::Mtls)];
        assert_eq!(at(&both, OutboundMode::MeshOnly), mesh);
    }
}
