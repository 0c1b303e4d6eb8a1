use super::*;

#[test]
fn hosts_match_exactly_or_below_a_name() {
    let exactly = HostPattern::Exactly("api.example".into());
    let below = HostPattern::Below("internal.example".into());
    assert!(exactly.covers("api.example"));
    for host in ["xapi.example", "a.api.example", "api.example.evil.example", ""] {
        assert!(!exactly.covers(host), "{host}");
    }
    for host in ["a.internal.example", "a.b.internal.example"] {
        assert!(below.covers(host), "{host}");
    }
    for host in
        ["internal.example", ".internal.example", "xinternal.example", "a.internal.example.evil"]
    {
        assert!(!below.covers(host), "{host}");
    }
}

#[test]
fn the_closest_name_wins_in_any_order() {
    let target = |name: &str, hosts: &[HostPattern]| Target {
        name: name.into(),
        hosts: hosts.to_vec(),
        header: "authorization".into(),
        state: watch::channel(State::default()).1,
    };
    let below = |suffix: &str| HostPattern::Below(suffix.into());
    let wide = || target("wide", &[below("example"), below("b.example")]);
    let close = || target("close", &[below("a.b.example")]);
    let exact = || target("exact", &[HostPattern::Exactly("x.a.b.example".into())]);
    for all in [vec![wide(), close(), exact()], vec![exact(), close(), wide()]] {
        let tokens = Tokens(Arc::new(all));
        for (host, expected) in [
            ("x.a.b.example", Some("exact")),
            ("y.a.b.example", Some("close")),
            ("z.x.a.b.example", Some("close")),
            ("a.b.example", Some("wide")),
            ("c.example", Some("wide")),
            ("example", None),
            ("other", None),
        ] {
            assert_eq!(tokens.target(host).map(|t| t.name.as_str()), expected, "{host}");
        }
    }
}
