use super::*;

fn exclusions(inbound: &str, outbound: &str, networks: &str, uids: &str) -> Exclusions {
    Exclusions {
        inbound_ports: inbound.parse().unwrap(),
        outbound_ports: outbound.parse().unwrap(),
        outbound_networks: networks.parse().unwrap(),
        uids: uids.parse().unwrap(),
    }
}

/// As measured against the kernel, byte for byte.
const MEASURED: &str = "table inet hopgate
delete table inet hopgate
table inet hopgate {
  set in_skip_ports { type inet_service; elements = { 15000, 15001, 15006, 15020, 15021 } }
  set out_skip_ports { type inet_service; flags interval; }
  set out_skip4 { type ipv4_addr; flags interval; }
  set out_skip6 { type ipv6_addr; flags interval; }
  set mesh_uids { typeof meta skuid; elements = { 1337, 1338 } }
  chain pre {
    type nat hook prerouting priority -100; policy accept;
    iifname \"lo\" return
    meta l4proto != tcp return
    tcp flags & (fin|syn|rst|ack) != syn return
    tcp dport @in_skip_ports return
    meta l4proto tcp redirect to :15006
  }
  chain out {
    type nat hook output priority -100; policy accept;
    meta l4proto != tcp return
    tcp flags & (fin|syn|rst|ack) != syn return
    oifname \"lo\" ip saddr 127.0.0.6 return
    oifname \"lo\" ip6 saddr ::6 return
    oifname \"lo\" ip daddr != 127.0.0.0/8 meta skuid 1337 tcp dport != @in_skip_ports redirect to :15006
    oifname \"lo\" ip6 daddr != ::1 meta skuid 1337 tcp dport != @in_skip_ports redirect to :15006
    meta skuid @mesh_uids return
    ip daddr 127.0.0.0/8 return
    ip6 daddr ::1 return
    tcp dport @out_skip_ports return
    ip daddr @out_skip4 return
    ip6 daddr @out_skip6 return
    meta l4proto tcp redirect to :15001
  }
}
";

#[test]
fn the_rules_are_those_that_were_measured() {
    let capture = Capture::default();
    assert_eq!(capture.nft(), MEASURED);
    assert_eq!(
        capture.iptables(Family::V6),
        "*nat
:HOPGATE_IN - [0:0]
:HOPGATE_OUT - [0:0]
-A HOPGATE_IN -i lo -j RETURN
-A HOPGATE_IN -p tcp ! --syn -j RETURN
-A HOPGATE_IN -p tcp -m multiport --dports 15000,15001,15006,15020,15021 -j RETURN
-A HOPGATE_IN -p tcp -j REDIRECT --to-ports 15006
-A HOPGATE_OUT -p tcp ! --syn -j RETURN
-A HOPGATE_OUT -o lo -s ::6/128 -j RETURN
-A HOPGATE_OUT -o lo ! -d ::1/128 -m owner --uid-owner 1337 -p tcp -m multiport --dports 15000,15001,15006,15020,15021 -j RETURN
-A HOPGATE_OUT -o lo ! -d ::1/128 -p tcp -m owner --uid-owner 1337 -j REDIRECT --to-ports 15006
-A HOPGATE_OUT -m owner --uid-owner 1337 -j RETURN
-A HOPGATE_OUT -m owner --uid-owner 1338 -j RETURN
-A HOPGATE_OUT -d ::1/128 -j RETURN
-A HOPGATE_OUT -p tcp -j REDIRECT --to-ports 15001
COMMIT
"
    );
}

#[test]
fn what_is_left_out_stands_in_the_rules_and_nothing_else() {
    let capture = Capture::new(exclusions(
        "9090",
        "5432, 25",
        "10.0.0.0/9,fd00::/8,10.128.0.0/9,10.1.0.0/16",
        "1000,1337",
    ));
    let text = capture.nft();
    for line in [
        "elements = { 15000, 15001, 15006, 15020, 15021, 9090 } }",
        "set out_skip_ports { type inet_service; flags interval; elements = { 25, 5432 } }",
        "set out_skip4 { type ipv4_addr; flags interval; elements = { 10.0.0.0/8 } }",
        "set out_skip6 { type ipv6_addr; flags interval; elements = { fd00::/8 } }",
        "elements = { 1337, 1338, 1000 } }",
        "meta skuid 1337 tcp dport",
    ] {
        assert!(text.contains(line), "{line}\n{text}");
    }
    let v4 = capture.iptables(Family::V4);
    assert!(
        v4.contains("-A HOPGATE_OUT -d 10.0.0.0/8 -j RETURN\n") && !v4.contains("fd00"),
        "{v4}"
    );
    assert!(v4.contains("-A HOPGATE_OUT -p tcp -m multiport --dports 25,5432 -j RETURN\n"), "{v4}");
    assert_eq!(v4.matches("--uid-owner 1000 -j RETURN").count(), 1);
    let [pre, out] = capture.nft_chains();
    assert_eq!((pre.rules, pre.port, out.rules, out.port), (5, 15006, 13, 15001));
}

#[test]
fn many_ports_take_several_rules_of_iptables() {
    let ports: Vec<String> = (9001..=9020).map(|port: u16| port.to_string()).collect();
    let capture =
        Capture::new(Exclusions { inbound_ports: ports.join(",").parse().unwrap(), ..none() });
    let rules = capture.iptables_rules(Family::V4);
    let multiport: Vec<&String> = rules.iter().filter(|rule| rule.contains("multiport")).collect();
    assert_eq!(multiport.len(), 4);
    for rule in multiport {
        let list = rule.split("--dports ").nth(1).unwrap().split(' ').next().unwrap();
        assert!(list.split(',').count() <= 15, "{rule}");
    }
}

#[test]
fn lists_are_read_strictly() {
    for bad in ["", " ", "80,", ",80", "0", "65536", "+80", "080", "8o", "80 81", "80;81", "1-2"] {
        assert!(bad.parse::<Ports>().is_err(), "{bad:?}");
    }
    for port in OWN_PORTS {
        assert_eq!(port.to_string().parse::<Ports>(), Err(InvalidExclusion::OwnPort(port)));
    }
    for bad in
        ["", "10.0.0.0", "10.0.0.1/8", "10.0.0.0/33", "::1", "fd00::1/8", "10.0.0.0/8 a", "x/8"]
    {
        assert!(bad.parse::<Networks>().is_err(), "{bad:?}");
    }
    let error = "10.0.0.1/8".parse::<Networks>().unwrap_err().to_string();
    assert!(error.contains("write 10.0.0.0/8"), "{error}");
    for bad in ["", "-1", "root", "4294967295", "4294967296", "01"] {
        assert!(bad.parse::<Uids>().is_err(), "{bad:?}");
    }
    let many: Vec<String> = (1000..1065).map(|port: u16| port.to_string()).collect();
    assert_eq!(many.join(",").parse::<Ports>(), Err(InvalidExclusion::TooMany(65)));
    assert_eq!(" 81, 80,80 ".parse::<Ports>().unwrap().to_string(), "80,81");
    assert_eq!("0".parse::<Uids>().unwrap().to_string(), "0");
    assert_eq!("::/0,0.0.0.0/0".parse::<Networks>().unwrap().to_string(), "0.0.0.0/0,::/0");
}

#[test]
fn an_example_is_something_that_is_captured() {
    let example = |capture: &Capture, uid| {
        [Family::V4, Family::V6].map(|family| capture.example(family, uid).map(|to| to.to_string()))
    };
    let all = Capture::default();
    assert_eq!(example(&all, 0), [Some("192.0.2.1:9".into()), Some("[2001:db8::1]:9".into())]);
    assert_eq!(example(&all, 1337), [None, None]);
    let some = Capture::new(exclusions("1", "9,80", "192.0.2.0/24,::/0", "1000"));
    assert_eq!(example(&some, 0), [Some("198.51.100.1:443".into()), None]);
    assert_eq!(example(&some, 1000), [None, None]);
}

fn none() -> Exclusions {
    Exclusions::default()
}
