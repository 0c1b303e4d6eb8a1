use std::net::Ipv4Addr;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn brake(failures: u32, max_entries: usize) -> Brake {
    Brake::new(BrakeRules {
        failures: NonZeroU32::new(failures).unwrap(),
        within: 60 * SECOND,
        hold: 30 * SECOND,
        max_entries,
    })
}

fn at(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + seconds)
}

fn address(text: &str) -> BrakeKey<'static> {
    BrakeKey::Address(text.parse().unwrap())
}

fn nth(n: u32) -> BrakeKey<'static> {
    BrakeKey::Address(IpAddr::V4(Ipv4Addr::from_bits(n)))
}

#[test]
fn enough_failures_hold_and_one_fewer_does_not() {
    let brake = brake(3, 64);
    let (guilty, innocent) = (address("192.0.2.1"), address("192.0.2.2"));
    for _ in 0..2 {
        brake.failed(guilty, at(0));
        assert_eq!(brake.held(guilty, at(0)), None);
    }
    brake.failed(guilty, at(0));
    assert_eq!(brake.held(guilty, at(0)), Some(30 * SECOND));
    assert_eq!(brake.held(guilty, at(10)), Some(20 * SECOND));
    assert_eq!(brake.held(innocent, at(0)), None);
    // Failing on does not hold longer.
    brake.failed(guilty, at(20));
    assert_eq!(brake.held(guilty, at(20)), Some(10 * SECOND));
    assert_eq!(brake.held(guilty, at(30)), None);
    assert_eq!(brake.held(guilty, at(31)), None);
}

#[test]
fn slow_failures_drain() {
    let brake = brake(3, 64);
    // One in twenty seconds is what drains.
    for n in 0..100 {
        brake.failed(address("192.0.2.1"), at(n * 20));
        assert_eq!(brake.held(address("192.0.2.1"), at(n * 20)), None, "{n}");
    }
    // One in ten is more.
    let held = (0..100).find(|n| {
        brake.failed(address("192.0.2.2"), at(n * 10));
        brake.held(address("192.0.2.2"), at(n * 10)).is_some()
    });
    assert!(held.is_some_and(|n| (2..10).contains(&n)), "{held:?}");
}

#[test]
fn who_fails_again_after_a_hold_is_held_sooner() {
    let brake = brake(3, 64);
    let key = address("192.0.2.1");
    for _ in 0..3 {
        brake.failed(key, at(0));
    }
    assert_eq!(brake.held(key, at(30)), None);
    brake.failed(key, at(30));
    assert!(brake.held(key, at(30)).is_some());
    // After a long peace all is forgiven.
    brake.failed(key, at(1_000));
    brake.failed(key, at(1_000));
    assert_eq!(brake.held(key, at(1_000)), None);
}

#[test]
fn an_address_is_a_network_of_one_customer() {
    let brake = brake(1, 64);
    brake.failed(address("2001:db8:0:1::7"), at(0));
    brake.failed(address("192.0.2.1"), at(0));
    for (held, text) in [
        (true, "2001:db8:0:1::7"),
        (true, "2001:db8:0:1:ffff::"),
        (false, "2001:db8:0:2::7"),
        (true, "192.0.2.1"),
        (true, "::ffff:192.0.2.1"),
        (false, "192.0.2.0"),
        (false, "::ffff:192.0.2.2"),
    ] {
        assert_eq!(brake.held(address(text), at(0)).is_some(), held, "{text}");
    }
}

#[test]
fn a_credential_counts_by_what_tells_it_from_others() {
    for (text, counted) in [
        ("aaa.bbb.ccc", "aaa.bbb"),
        ("aaa.bbb.", "aaa.bbb"),
        ("aaa.bbb", "aaa.bbb"),
        ("0123456789abcdef", "01234567"),
        ("hk_0123456789abcdef", "hk_01234567"),
        ("hk_live_0123456789abcdef", "hk_live_01234567"),
        ("a.b.c.d.e.f.g.h.i.j", "a.b.c.d."),
        // Too far in to be a name.
        ("0123456789abcdefgh_ijkl", "01234567"),
        ("short", "short"),
        ("", ""),
        ("..", "."),
    ] {
        assert_eq!(distinctive(text.as_bytes()), counted.as_bytes(), "{text}");
    }
    let brake = brake(2, 64);
    let key = BrakeKey::Credential;
    brake.failed(key("head.payload.one"), at(0));
    brake.failed(key("head.payload.two"), at(0));
    assert!(brake.held(key("head.payload.three"), at(0)).is_some());
    assert!(brake.held(key("head.payloads.one"), at(0)).is_none());
    brake.failed(key("hk_live_AAAAAAAA1"), at(0));
    brake.failed(key("hk_live_AAAAAAAA2"), at(0));
    assert!(brake.held(key("hk_live_AAAAAAAA3"), at(0)).is_some());
    assert!(brake.held(key("hk_live_BBBBBBBB1"), at(0)).is_none());
}

#[test]
fn a_clock_that_goes_back_holds_nobody_longer() {
    let brake = brake(2, 64);
    let key = address("192.0.2.1");
    let later = at(100_000);
    brake.failed(key, later);
    brake.failed(key, later);
    assert!(brake.held(key, later).is_some());
    // A day earlier it is held for thirty seconds from there, not for a day.
    assert_eq!(brake.held(key, at(0)), Some(30 * SECOND));
    assert_eq!(brake.held(key, at(29)), Some(SECOND));
    assert_eq!(brake.held(key, at(30)), None);
    // Failures of that future are at most as bad as now's.
    assert_eq!(brake.held(key, at(200)), None);
    brake.failed(address("192.0.2.2"), later);
    brake.failed(address("192.0.2.2"), at(0));
    brake.failed(address("192.0.2.2"), at(200));
    assert_eq!(brake.held(address("192.0.2.2"), at(200)), None);
    // Nor does a time before 1970 panic.
    let before = SystemTime::UNIX_EPOCH - SECOND;
    brake.failed(key, before);
    assert_eq!(brake.held(address("192.0.2.9"), before), None);
}

/// A million strangers with one failure each: who was held stays held, who was nearly held is still counted, and no
/// stranger is held.
#[test]
fn a_flood_frees_nobody_and_holds_nobody() {
    let brake = brake(4, 1024);
    let (held, nearly) = (address("203.0.113.1"), address("203.0.113.2"));
    for _ in 0..4 {
        brake.failed(held, at(0));
    }
    for _ in 0..3 {
        brake.failed(nearly, at(0));
    }
    for n in 0..1_000_000 {
        brake.failed(nth(n), at(1));
    }
    assert_eq!(brake.held(held, at(1)), Some(29 * SECOND));
    assert!((0..1_000_000).step_by(97).all(|n| brake.held(nth(n), at(1)).is_none()));
    brake.failed(nearly, at(1));
    assert!(brake.held(nearly, at(1)).is_some());
}

/// Even a table full of held keys counts for those who are in it, and never against those who are not.
#[test]
fn a_table_full_of_held_keys_holds_no_innocents() {
    let brake = brake(1, 64);
    for n in 0..10_000 {
        brake.failed(nth(n), at(0));
    }
    let held = (0..10_000).filter(|n| brake.held(nth(*n), at(0)).is_some()).count();
    assert_eq!(held, 32);
    assert!((10_000..20_000).all(|n| brake.held(nth(n), at(0)).is_none()));
    // Credentials have their own places.
    brake.failed(BrakeKey::Credential("guess-guess-guess"), at(0));
    assert!(brake.held(BrakeKey::Credential("guess-guess-guess"), at(0)).is_some());
    // When the holds are over, the places are free.
    brake.failed(nth(50_000), at(30));
    assert!(brake.held(nth(50_000), at(30)).is_some());
}
