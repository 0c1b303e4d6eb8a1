//! `hopgate capture` in network namespaces of its own: which connections its rules redirect, in both families and by both
//! tools.

use std::path::Path;
use std::process::Command;

use serde_json::{Value, json};

use crate::support::Scratch;

/// Network namespaces and rules are root's.
fn is_root() -> bool {
    use std::os::unix::fs::MetadataExt as _;
    std::fs::metadata("/proc/self").unwrap().uid() == 0
}

fn lab(tool: &str) -> Value {
    let scratch = Scratch::new(&format!("capture-{tool}"));
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/capture/lab.py");
    let mut command = Command::new("timeout");
    // Variables of the tests mean nothing to the program, which would say so.
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("HOPGATE_") {
            command.env_remove(name);
        }
    }
    let output = command
        .args(["120", "unshare", "-n", "python3", "-B"])
        .arg(script)
        .args([env!("CARGO_BIN_EXE_hopgate"), tool])
        .arg(scratch.path())
        .output()
        .unwrap();
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    serde_json::from_slice(&output.stdout).unwrap()
}

fn check(tool: &str) {
    if !is_root() {
        println!("not run: network namespaces need root");
        return;
    }
    let found = lab(tool);
    let tried = "IPv4: tried, and captured\nIPv6: tried, and captured\n";
    let serves = "IPv4: loaded; not tried, because something serves captured connections already\n\
                  IPv6: loaded; not tried, because something serves captured connections already\n";
    let family = json!({
        "app calls out": "outbound",
        "root calls out": "outbound",
        "envoy calls out": "neighbour",
        "sidecar calls out": "neighbour",
        "app calls loopback": "app",
        "app calls its own address": "outbound",
        "envoy calls the pod's address": "inbound",
        "envoy calls from the escape address": "app",
        "sidecar probes the pod's address": "app",
        "neighbour calls the app": "inbound",
        "neighbour calls a port that nobody serves": "inbound",
        "neighbour calls the sidecar": "sidecar",
    });
    let excluded = json!({
        "port": "neighbour",
        "network": "neighbour",
        "user": "neighbour",
        "anything else": "outbound",
        "inbound port": "app",
        "another inbound port": "inbound",
    });
    let expected = json!({
        "without rules": ["neighbour", "app"],
        "up without NET_ADMIN": [2, true],
        "up": [0, tried],
        "check with rules": [0, tried],
        "up beside a proxy that serves": [0, serves],
        "v4": family,
        "v6": family,
        "up with exclusions": [0],
        "a connection from before": "still here",
        "v4 with exclusions": excluded,
        "v6 with exclusions": excluded,
        "exclusions are gone": ["outbound", "inbound"],
        "down": [0, 0],
        "after down": ["neighbour", "neighbour", "app"],
        "the address is gone": true,
    });
    for (case, expected) in expected.as_object().unwrap() {
        assert_eq!(&found[case], expected, "{case}: {found:#}");
    }
    let unchecked = &found["check without rules"];
    assert_eq!(unchecked[0], 2, "{unchecked}");
    assert!(unchecked[1].as_str().unwrap().contains("is not captured"), "{unchecked}");
    let foreign = &found["behind foreign rules"];
    assert_eq!(foreign[0], 2, "{foreign}");
    assert!(foreign[1].as_str().unwrap().contains("is not captured"), "{foreign}");
}

#[test]
fn nftables_capture_what_they_should_and_nothing_else() {
    check("nft");
}

#[test]
fn iptables_do_the_same() {
    check("iptables");
}

#[test]
fn rules_are_printed_and_bad_lists_refused() {
    let run = |arguments: &[&str]| {
        let command =
            Command::new(env!("CARGO_BIN_EXE_hopgate")).arg("capture").args(arguments).output();
        let output = command.unwrap();
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).unwrap();
        (output.status.code(), text(output.stdout), text(output.stderr))
    };
    let (code, printed, _) = run(&["print", "--exclude-outbound-ports", "5432"]);
    assert_eq!(code, Some(0));
    crate::support::golden("capture/nft.txt", &printed);
    let (code, printed, _) =
        run(&["print", "--with", "iptables", "--exclude-outbound-cidrs", "10.0.0.0/8,fd00::/8"]);
    assert_eq!(code, Some(0));
    crate::support::golden("capture/iptables.txt", &printed);
    for (arguments, words) in [
        (["print", "--exclude-outbound-cidrs", "10.0.0.1/8"], "write 10.0.0.0/8"),
        (["up", "--exclude-inbound-ports", "15006"], "port of the gate itself"),
        (["up", "--exclude-uids", "root"], "is no user"),
        (["print", "--exclude-outbound-ports", ""], "empty entry"),
    ] {
        let (code, printed, said) = run(&arguments);
        assert_eq!((code, printed.as_str()), (Some(2), ""), "{arguments:?}");
        assert!(said.contains(words), "{arguments:?}: {said}");
    }
}

/// In an empty PATH there is nothing to load rules with, and nothing is done.
#[test]
fn a_missing_program_is_said() {
    let scratch = Scratch::new("capture-nothing");
    for (with, words) in [
        ("nft", "nft is not in PATH"),
        ("iptables", "iptables, ip6tables"),
        ("auto", "neither nft nor iptables is in PATH"),
    ] {
        let output = Command::new(env!("CARGO_BIN_EXE_hopgate"))
            .args(["capture", "up", "--with", with])
            .env("PATH", scratch.path())
            .output()
            .unwrap();
        assert_eq!(output.status.code(), Some(2));
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(said.contains(words), "{with}: {said}");
    }
}
