//! What is wrong is said with its field.

use super::*;

fn faults(change: impl FnOnce(&mut CapturedWorkload, &mut Vec<Service>)) -> String {
    let (mut workload, mut services) = (workload(), vec![orders(), service("db", &[], &["b"])]);
    change(&mut workload, &mut services);
    Captured::new(workload, &services).unwrap_err().to_string()
}

type Change = fn(&mut CapturedWorkload, &mut Vec<Service>);

#[test]
fn every_fault_of_the_workload_is_named_by_its_field() {
    let cases: [(Change, &str); 9] = [
        (|w, _| w.addresses.clear(), "capture.addresses: needs at least one entry"),
        (
            |w, _| w.addresses[0] = "127.0.0.1".parse().unwrap(),
            "capture.addresses[0]: 127.0.0.1 is no address of a service or a pod",
        ),
        (|w, _| w.ports[1].number = 0, "capture.ports[1].port: port 0"),
        (|w, _| w.ports[1].number = 8080, "capture.ports[1].port: port 8080 is declared twice"),
        (|w, _| w.ports[1].number = 15006, "capture.ports[1].port: 15006 is a port of the gate"),
        (
            |w, _| w.ports[4].mtls = MtlsMode::Permissive,
            "capture.ports[4].mtls: a server that speaks first cannot be had in Permissive",
        ),
        (
            |w, _| {
                let larger = crate::mesh::LargerBody::Refuse;
                w.ports[2].request_body = Some(crate::mesh::RequestBody { max_bytes: 1, larger });
            },
            "capture.ports[2].requestBody: is only for the protocol http",
        ),
        (|w, _| w.authz_timeout = Duration::ZERO, "capture.authzTimeout: must be between"),
        (
            |w, _| w.sidecar.sds = "10.0.0.1:1".parse().unwrap(),
            "capture.sds: 10.0.0.1:1 can be reached from other machines",
        ),
    ];
    for (change, expected) in cases {
        let said = faults(change);
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn every_fault_of_a_service_is_named_by_its_field() {
    let cases: [(Change, &str); 13] = [
        (|_, s| s[1].name = name("orders"), "services[1].name: orders.shop is the name of two"),
        (
            |_, s| s[1].addresses = addresses(&["10.96.0.50"]),
            "services[1].ports[0].port: 10.96.0.50:80 is also orders.shop:80",
        ),
        (
            |w, s| {
                s[0].addresses = w.addresses.clone();
                s[0].ports[0].number = 8080;
            },
            "services[0].ports[0].port: 10.77.0.11:8080 is also this pod",
        ),
        (|_, s| s[0].ports[1].number = 80, "services[0].ports[1].port: port 80 is declared twice"),
        (|_, s| s[0].ports[0].number = 0, "services[0].ports[0].port: port 0"),
        (
            |_, s| s[0].addresses[1] = "::1".parse().unwrap(),
            "services[0].addresses[1]: ::1 is no address",
        ),
        (
            |_, s| s[0].accounts.push(id("spiffe://other.mesh/a")),
            "services[0].accounts: mesh.test and other.mesh are two trust domains",
        ),
        (
            |_, s| s[0].accounts.clear(),
            "services[0].ports[0].endpoints[0].transport: an endpoint with mTLS needs `accounts`",
        ),
        (
            |_, s| s[0].ports[0].endpoints[0].address.set_port(0),
            "services[0].ports[0].endpoints[0].address: port 0",
        ),
        (
            |_, s| s[0].ports[0].endpoints[0] = endpoint("127.0.0.1:80", Transport::Plain),
            "services[0].ports[0].endpoints[0].address: 127.0.0.1 is no address",
        ),
        (
            |_, s| s[0].ports[0].endpoints[0] = endpoint("169.254.169.254:80", Transport::Mtls),
            "endpoints[0].address: 169.254.169.254 is no address",
        ),
        (
            |_, s| s[0].ports[0].endpoints[0] = endpoint("[fe80::1]:80", Transport::Mtls),
            "endpoints[0].address: fe80::1 is no address",
        ),
        (
            |_, s| s[0].ports[0].endpoints[0] = endpoint("[::ffff:127.0.0.1]:80", Transport::Mtls),
            "endpoints[0].address: ::ffff:127.0.0.1 is no address",
        ),
    ];
    for (change, expected) in cases {
        let said = faults(change);
        assert!(said.contains(expected), "{expected}: {said}");
    }
}

#[test]
fn all_faults_come_at_once() {
    let said = faults(|workload, services| {
        workload.ports[0].number = 0;
        services[0].ports[0].number = 0;
    });
    assert_eq!(said.lines().count(), 2, "{said}");
}

#[test]
fn a_name_that_is_too_long_is_none() {
    assert!(Name::try_from("a".repeat(63)).is_ok());
    assert!(Name::try_from("a".repeat(64)).is_err());
}
