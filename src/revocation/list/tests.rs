use std::time::Duration;

use super::*;
use crate::identity::TrustDomain;
use crate::revocation::{Until, Words};

const ORDERS: &str = "spiffe://mesh.example/ns/shop/sa/orders";
const ORDERS_OLD: &str = "spiffe://old.example/ns/shop/sa/orders";

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + seconds)
}

fn revoked(id: &str, serial: Option<&str>, until: Until) -> Revocation {
    Revocation {
        subject: Subject::Workload(RevokedWorkload {
            id: SpiffeId::parse(id).unwrap(),
            serial: serial.map(|serial| Serial::parse(serial).unwrap()),
        }),
        since: at(0),
        until,
        reason: Words::parse("key leaked").unwrap(),
        by: Words::parse("uid 0").unwrap(),
    }
}

struct Mesh {
    own: TrustDomain,
    aliases: Vec<TrustDomain>,
}

fn mesh(aliases: &[&str]) -> Mesh {
    let domain = |name: &str| TrustDomain::parse(name).unwrap();
    Mesh { own: domain("mesh.example"), aliases: aliases.iter().map(|name| domain(name)).collect() }
}

impl Mesh {
    fn refuses(&self, list: &RevocationList, id: &str, of: Certificate<'_>, now: u64) -> bool {
        let members = Members::of(&self.own).with_aliases(&self.aliases);
        list.find(id, of, members, at(now)).is_some()
    }
}

#[test]
fn a_workload_is_refused_with_every_certificate_and_no_other_workload_is() {
    let list = RevocationList::new([revoked(ORDERS, None, Until::Lifted)]).unwrap();
    let mesh = mesh(&[]);
    assert!(mesh.refuses(&list, ORDERS, Certificate::Serial("0a"), 0));
    assert!(mesh.refuses(&list, ORDERS, Certificate::Unseen, 1_000_000_000));
    assert!(mesh.refuses(&list, ORDERS, Certificate::Unneeded, 0));
    for other in [
        "spiffe://mesh.example/ns/shop/sa/orders2",
        "spiffe://mesh.example/ns/shop/sa/order",
        "spiffe://mesh.example/ns/shop/sa/Orders",
        "spiffe://mesh.example/x/ns/shop/sa/orders",
        "spiffe://other.example/ns/shop/sa/orders",
        "spiffe://mesh.example",
        "/ns/shop/sa/orders",
        "",
    ] {
        assert!(!mesh.refuses(&list, other, Certificate::Unseen, 0), "{other}");
    }
    assert!(!mesh.refuses(&RevocationList::empty(), ORDERS, Certificate::Unseen, 0));
}

#[test]
fn one_certificate_is_refused_and_its_successor_is_not() {
    let list = RevocationList::new([revoked(ORDERS, Some("00AB01"), Until::Lifted)]);
    let (list, mesh) = (list.unwrap(), mesh(&[]));
    // As DER and as tools write it.
    for serial in ["ab01", "00ab01"] {
        assert!(mesh.refuses(&list, ORDERS, Certificate::Serial(serial), 0), "{serial}");
    }
    for serial in ["ab02", "ab0100", "b01", ""] {
        assert!(!mesh.refuses(&list, ORDERS, Certificate::Serial(serial), 0), "{serial}");
    }
    assert!(!mesh.refuses(&list, ORDERS, Certificate::Unneeded, 0));
    // A token alone: nobody knows by which certificate it was got.
    assert!(mesh.refuses(&list, ORDERS, Certificate::Unseen, 0));
}

#[test]
fn a_revocation_ends_at_its_own_end() {
    let list = RevocationList::new([
        revoked(ORDERS, None, Until::Moment(at(60))),
        revoked(ORDERS, Some("ab"), Until::Moment(at(120))),
        revoked(ORDERS, Some("cd"), Until::Moment(at(90))),
    ])
    .unwrap();
    let mesh = mesh(&[]);
    let refused = |of, now| mesh.refuses(&list, ORDERS, of, now);
    assert!(refused(Certificate::Serial("ee"), 59) && !refused(Certificate::Serial("ee"), 60));
    assert!(refused(Certificate::Serial("cd"), 89) && !refused(Certificate::Serial("cd"), 90));
    assert!(refused(Certificate::Serial("ab"), 119) && !refused(Certificate::Serial("ab"), 120));
    // As long as any certificate is refused.
    assert!(refused(Certificate::Unseen, 119) && !refused(Certificate::Unseen, 120));
}

#[test]
fn a_mesh_of_several_names_has_one_workload() {
    let list = RevocationList::new([revoked(ORDERS, None, Until::Lifted)]).unwrap();
    assert!(mesh(&["old.example"]).refuses(&list, ORDERS_OLD, Certificate::Unseen, 0));
    assert!(!mesh(&[]).refuses(&list, ORDERS_OLD, Certificate::Unseen, 0));
    // Somebody else's mesh is not ours, though its workload has the same path.
    let list = RevocationList::new([revoked(ORDERS_OLD, None, Until::Lifted)]).unwrap();
    assert!(!mesh(&[]).refuses(&list, ORDERS, Certificate::Unseen, 0));
    assert!(mesh(&[]).refuses(&list, ORDERS_OLD, Certificate::Unseen, 0));
    assert!(mesh(&["old.example"]).refuses(&list, ORDERS, Certificate::Unseen, 0));
    // Both are there, with different ends.
    let both = [
        revoked(ORDERS, None, Until::Moment(at(10))),
        revoked(ORDERS_OLD, None, Until::Moment(at(20))),
    ];
    let list = RevocationList::new(both).unwrap();
    assert!(mesh(&["old.example"]).refuses(&list, ORDERS, Certificate::Unseen, 15));
    assert!(!mesh(&[]).refuses(&list, ORDERS, Certificate::Unseen, 15));
}

#[test]
fn of_two_the_longer_counts_and_too_many_are_none() {
    for order in [[60, 120], [120, 60]] {
        let both = order.map(|end| revoked(ORDERS, None, Until::Moment(at(end))));
        let list = RevocationList::new(both).unwrap();
        assert_eq!(list.len(), 1);
        assert!(mesh(&[]).refuses(&list, ORDERS, Certificate::Unseen, 119), "{order:?}");
    }
    let many = |count: usize| {
        (0..count)
            .map(|n| revoked(&format!("spiffe://mesh.example/ns/a/sa/w{n}"), None, Until::Lifted))
    };
    assert_eq!(RevocationList::new(many(MAX_REVOCATIONS)).unwrap().len(), MAX_REVOCATIONS);
    assert_eq!(RevocationList::new(many(MAX_REVOCATIONS + 1)), Err(TooMany));
}
