//! The command line: help texts as golden files, completions, exit codes.

use std::process::{Command, Output};

use crate::support::golden;

fn hopgate(arguments: &[&str]) -> Output {
    Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .args(arguments)
        .env_clear()
        .env("COLUMNS", "110")
        .output()
        .unwrap()
}

#[test]
fn help_is_as_agreed() {
    for verb in [
        &[][..],
        &["sidecar"],
        &["control"],
        &["control", "token"],
        &["envoy"],
        &["envoy", "bootstrap"],
        &["envoy", "drain"],
        &["demo"],
        &["demo", "serve"],
        &["policy"],
        &["policy", "check"],
        &["policy", "test"],
        &["policy", "schema"],
        &["explain"],
        &["policy", "replay"],
        &["policy", "graph"],
        &["policy", "import"],
        &["ca"],
        &["ca", "bundle"],
        &["capture"],
        &["capture", "up"],
        &["capture", "check"],
        &["capture", "down"],
        &["capture", "print"],
        &["cert"],
        &["cert", "inspect"],
        &["cert", "verify"],
        &["cert", "expiry"],
        &["token"],
        &["token", "inspect"],
        &["token", "mint"],
        &["token", "key"],
        &["inject"],
        &["revoke"],
        &["revoke", "workload"],
        &["revoke", "list"],
        &["revoke", "lift"],
        &["ca", "rotate"],
        &["ca", "status"],
        &["ca", "abort"],
        &["ca", "taint"],
        &["check"],
        &["status"],
        &["crds"],
        &["completions"],
    ] {
        let output = hopgate(&[verb, &["--help"]].concat());
        assert_eq!(output.status.code(), Some(0), "{verb:?}");
        let name =
            format!("help/hopgate{}.txt", verb.iter().map(|v| format!("-{v}")).collect::<String>());
        golden(&name, &String::from_utf8(output.stdout).unwrap());
    }
}

#[test]
fn completions_are_printed_for_each_shell() {
    for (shell, part) in
        [("bash", "_hopgate()"), ("zsh", "#compdef hopgate"), ("fish", "complete -c hopgate")]
    {
        let output = hopgate(&["completions", shell]);
        assert_eq!(output.status.code(), Some(0));
        assert!(String::from_utf8(output.stdout).unwrap().contains(part), "{shell}");
    }
    assert_eq!(hopgate(&["completions", "cmd"]).status.code(), Some(2));
}

#[test]
fn a_variable_that_means_nothing_is_told_on_stderr() {
    let output = Command::new(env!("CARGO_BIN_EXE_hopgate"))
        .args(["completions", "bash"])
        .env_clear()
        .env("HOPGATE_SIDECAR_CONFG", "x")
        .output()
        .unwrap();
    assert_eq!(output.status.code(), Some(0));
    assert_eq!(
        String::from_utf8(output.stderr).unwrap(),
        "warning: HOPGATE_SIDECAR_CONFG is set and means nothing; did you mean `HOPGATE_SIDECAR_CONFIG`?\n"
    );
}

#[test]
fn what_cannot_be_done_exits_with_2_and_says_why() {
    for (arguments, part) in [
        (&["sidecar"][..], "--config"),
        (&["sidecar", "--config", "/nonexistent.yaml"], "cannot read /nonexistent.yaml"),
        (&["frobnicate"], "unrecognized subcommand"),
        (&["ca", "status"], "--config CONTROL.yaml"),
        (&["explain", "--admin", "127.0.0.1:1"], "127.0.0.1:1: does it run?"),
        (&["check", "--kubeconfig", "/nonexistent"], "the kubeconfig /nonexistent cannot be used"),
        (&["sidecar", "--config", "x", "--listen", "nowhere"], "write IP:PORT"),
    ] {
        let output = hopgate(arguments);
        assert_eq!(output.status.code(), Some(2), "{arguments:?}");
        let stderr = String::from_utf8_lossy(&output.stderr);
        assert!(stderr.contains(part), "{arguments:?}: {stderr}");
        assert!(output.stdout.is_empty(), "talk goes to stderr");
    }
}
