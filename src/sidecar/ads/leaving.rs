//! Services that are no part of the mesh any more, for as long as connections to them may stand.
//!
//! With its chain Envoy drains the connections to a service, which takes its drain time. Were the cluster taken away at once,
//! all that is asked on them would fail until they are closed.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::Duration;

use tokio::time::Instant;

use crate::mesh::captured::Service;

/// Envoy begins to drain once it has taken the listener, which comes after all else.
const GRACE: Duration = Duration::from_secs(5);

/// Remembers services for a while.
pub(super) struct Leaving {
    stay: Duration,
    last: Arc<Vec<Service>>,
    held: Vec<(Service, Instant)>,
    told: Arc<Vec<Service>>,
}

impl Leaving {
    /// `drain_time`: how long Envoy drains connections.
    pub(super) fn new(drain_time: Duration) -> Self {
        let none = Arc::new(Vec::new());
        Self { stay: drain_time + GRACE, last: Arc::clone(&none), held: Vec::new(), told: none }
    }

    /// Those that were among the services of before, not so long ago, and are not among these. Only with the ports that
    /// are gone: a service may lose one of several. The same value as long as nothing changes.
    pub(super) fn follow(
        &mut self,
        services: &Arc<Vec<Service>>,
        now: Instant,
    ) -> Arc<Vec<Service>> {
        if !Arc::ptr_eq(services, &self.last) {
            let there: BTreeSet<(String, u16)> = meshed(services)
                .flat_map(|one| one.ports.iter().map(|port| (one.to_string(), port.number)))
                .collect();
            let until = now + self.stay;
            self.held.extend(meshed(&self.last).map(|one| (one.clone(), until)));
            for (service, _) in &mut self.held {
                let name = service.to_string();
                service.ports.retain(|port| !there.contains(&(name.clone(), port.number)));
            }
            self.last = Arc::clone(services);
        }
        self.held.retain(|(service, until)| *until > now && !service.ports.is_empty());
        if !self.told.iter().eq(self.held.iter().map(|(service, _)| service)) {
            self.told = Arc::new(self.held.iter().map(|(service, _)| service.clone()).collect());
        }
        Arc::clone(&self.told)
    }
}

fn meshed(services: &[Service]) -> impl Iterator<Item = &Service> {
    services.iter().filter(|one| one.is_meshed() && !one.addresses.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::identity::SpiffeId;
    use crate::mesh::Name;
    use crate::mesh::captured::{AppProtocol, ServicePort};

    const DRAIN: Duration = Duration::from_secs(10);

    fn service(name: &str, ports: &[u16]) -> Service {
        let port = |number: &u16| ServicePort {
            number: *number,
            protocol: AppProtocol::Http,
            endpoints: Vec::new(),
        };
        Service {
            name: Name::try_from(name.to_owned()).unwrap(),
            namespace: Name::try_from("shop".to_owned()).unwrap(),
            addresses: vec!["10.96.0.50".parse().unwrap()],
            accounts: vec![SpiffeId::parse("spiffe://demo.mesh/ns/shop/sa/b").unwrap()],
            ports: ports.iter().map(port).collect(),
        }
    }

    #[test]
    fn what_is_gone_stays_until_envoy_has_drained_it() {
        let (mut leaving, start) = (Leaving::new(DRAIN), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let both = Arc::new(vec![service("a", &[80, 81]), service("b", &[80])]);
        assert!(leaving.follow(&both, at(0)).is_empty(), "none was there before");
        let one = Arc::new(vec![service("a", &[80])]);
        let gone = leaving.follow(&one, at(1));
        assert_eq!(*gone, [service("a", &[81]), service("b", &[80])]);
        assert!(Arc::ptr_eq(&gone, &leaving.follow(&one, at(15))), "nothing changed");
        assert!(leaving.follow(&one, at(16)).is_empty(), "10 s and 5 s later");
    }

    #[test]
    fn what_comes_back_is_not_leaving_and_may_leave_again() {
        let (mut leaving, start) = (Leaving::new(DRAIN), Instant::now());
        let at = |seconds| start + Duration::from_secs(seconds);
        let (there, none) = (Arc::new(vec![service("a", &[80])]), Arc::new(Vec::new()));
        leaving.follow(&there, at(0));
        assert_eq!(leaving.follow(&none, at(1)).len(), 1);
        let back = Arc::new(vec![service("a", &[80])]);
        assert!(leaving.follow(&back, at(2)).is_empty());
        let none = Arc::new(Vec::new());
        assert_eq!(leaving.follow(&none, at(10)).len(), 1);
        assert_eq!(leaving.follow(&none, at(24)).len(), 1, "counted anew");
        assert!(leaving.follow(&none, at(25)).is_empty());
    }

    #[test]
    fn what_was_no_part_of_the_mesh_leaves_nothing() {
        let (mut leaving, now) = (Leaving::new(DRAIN), Instant::now());
        let headless = Service { addresses: Vec::new(), ..service("a", &[80]) };
        let other = Service { accounts: Vec::new(), ..service("b", &[80]) };
        leaving.follow(&Arc::new(vec![headless, other]), now);
        assert!(leaving.follow(&Arc::new(Vec::new()), now).is_empty());
        // But what becomes no part of it.
        leaving.follow(&Arc::new(vec![service("b", &[80])]), now);
        let other = Service { accounts: Vec::new(), ..service("b", &[80]) };
        assert_eq!(leaving.follow(&Arc::new(vec![other]), now).len(), 1);
    }
}
