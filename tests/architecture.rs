//! The direction of imports: a module may use only what stands below it.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};

/// Which modules each module may import. `main.rs` and `lib.rs` are not in it: the first imports `cli` only,
/// the second only declares.
const MAY_IMPORT: &[(&str, &[&str])] = &[
    ("runtime", &[]),
    ("telemetry", &[]),
    ("proto", &[]),
    ("identity", &[]),
    ("policy", &["identity"]),
    ("mesh", &["identity", "policy", "proto"]),
    ("authn", &["identity", "policy", "runtime", "telemetry", "proto"]),
    ("revocation", &["identity", "policy", "runtime", "telemetry", "proto"]),
    ("authz", &["authn", "revocation", "identity", "policy", "runtime", "telemetry", "proto"]),
    ("certs", &["identity", "policy", "runtime", "telemetry", "proto"]),
    ("ca", &["revocation", "identity", "policy", "runtime", "telemetry", "proto"]),
    ("xds", &["revocation", "identity", "policy", "runtime", "telemetry", "proto"]),
    ("kube", &["mesh", "revocation", "identity", "policy", "runtime", "telemetry", "proto"]),
    ("admin", &["identity", "policy", "runtime", "telemetry", "proto"]),
    (
        "sidecar",
        &[
            "identity",
            "policy",
            "runtime",
            "telemetry",
            "proto",
            "authn",
            "authz",
            "certs",
            "revocation",
            "mesh",
            "xds",
            "admin",
        ],
    ),
    (
        "control",
        &[
            "identity",
            "policy",
            "runtime",
            "telemetry",
            "proto",
            "authn",
            "certs",
            "revocation",
            "ca",
            "mesh",
            "xds",
            "kube",
            "admin",
        ],
    ),
    (
        "demo",
        &[
            "identity",
            "policy",
            "runtime",
            "telemetry",
            "proto",
            "authn",
            "authz",
            "certs",
            "revocation",
            "ca",
            "mesh",
            "xds",
            "admin",
            "sidecar",
            "control",
        ],
    ),
    ("survey", &["identity", "policy", "runtime", "mesh", "kube"]),
    (
        "config",
        &[
            "identity",
            "policy",
            "runtime",
            "telemetry",
            "proto",
            "authn",
            "authz",
            "certs",
            "revocation",
            "ca",
            "mesh",
            "xds",
            "admin",
            "sidecar",
            "control",
            "demo",
        ],
    ),
    (
        "cli",
        &[
            "identity",
            "policy",
            "runtime",
            "telemetry",
            "proto",
            "authn",
            "authz",
            "certs",
            "revocation",
            "ca",
            "mesh",
            "kube",
            "xds",
            "kube",
            "admin",
            "sidecar",
            "control",
            "demo",
            "survey",
            "config",
        ],
    ),
];

/// Modules that compute only: no runtime, no network, no cluster, no file, no environment, no clock.
const PURE: &[&str] = &["policy", "identity", "mesh"];
const IMPURE_WORDS: &[&str] = &[
    "tokio",
    "tonic::",
    "kube::",
    "std::fs",
    "std::env",
    "std::net::Tcp",
    "SystemTime::now",
    "Instant::now",
];

#[test]
fn imports_point_down() {
    let mut wrong = Vec::new();
    for (module, allowed) in MAY_IMPORT {
        for file in sources(module) {
            for imported in imports(&file) {
                if imported != *module && !allowed.contains(&imported.as_str()) {
                    wrong.push(format!("{} imports crate::{imported}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "against the direction table:\n{}", wrong.join("\n"));
}

#[test]
fn every_module_is_in_the_table() {
    let in_tree: BTreeSet<String> = fs::read_dir(root().join("src"))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.is_dir())
        .map(|path| path.file_name().unwrap().to_string_lossy().into_owned())
        .collect();
    let in_table: BTreeSet<String> =
        MAY_IMPORT.iter().map(|(name, _)| (*name).to_owned()).collect();
    assert_eq!(in_tree, in_table);
}

#[test]
fn pure_modules_name_no_runtime() {
    let mut wrong = Vec::new();
    for module in PURE {
        for file in sources(module) {
            let text = without_tests(&fs::read_to_string(&file).unwrap());
            for word in IMPURE_WORDS {
                if text.contains(word) {
                    wrong.push(format!("{} names {word}", file.display()));
                }
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn main_knows_only_the_command_line() {
    let main = fs::read_to_string(root().join("src/main.rs")).unwrap();
    for line in main.lines().filter(|line| line.contains("hopgate::")) {
        assert!(line.contains("hopgate::cli"), "main.rs: {line}");
    }
}

/// What serves a workload knows only proven callers: to suppose some is for the command line.
#[test]
fn only_the_command_line_rehearses() {
    let may = [
        "src/cli/",
        "src/authz/rehearse.rs",
        "src/authz/callers.rs",
        "src/authz/mod.rs",
        "src/authz/record/tests.rs",
    ];
    let mut wrong = Vec::new();
    for (module, _) in MAY_IMPORT {
        for file in sources(module) {
            let name = file.strip_prefix(root()).unwrap().display().to_string();
            let text = fs::read_to_string(&file).unwrap();
            let words = ["rehearse", "Rehearsal", "Supposed"];
            if !may.iter().any(|may| name.starts_with(may))
                && words.iter().any(|w| text.contains(w))
            {
                wrong.push(name);
            }
        }
    }
    assert!(wrong.is_empty(), "{wrong:?}");
}

#[test]
fn an_upward_import_would_be_seen() {
    let found = imported_modules("use crate::{authz::gate, cli};\nlet x = crate::sidecar::run();");
    assert_eq!(found, ["authz", "cli", "sidecar"].map(String::from).into());
}

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

fn sources(module: &str) -> Vec<PathBuf> {
    fn walk(directory: &Path, found: &mut Vec<PathBuf>) {
        for entry in fs::read_dir(directory).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                walk(&path, found);
            } else if path.extension().is_some_and(|e| e == "rs") {
                found.push(path);
            }
        }
    }
    let mut found = Vec::new();
    walk(&root().join("src").join(module), &mut found);
    assert!(!found.is_empty(), "src/{module} has no source");
    found
}

fn imports(file: &Path) -> BTreeSet<String> {
    imported_modules(&fs::read_to_string(file).unwrap())
}

fn without_tests(text: &str) -> String {
    text.split("#[cfg(test)]").next().unwrap_or_default().to_owned()
}

/// The first path segments after each `crate::`, braces included, comments left out.
fn imported_modules(text: &str) -> BTreeSet<String> {
    let code: String = text
        .lines()
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect::<Vec<_>>()
        .join("\n");
    let mut found = BTreeSet::new();
    for (at, _) in code.match_indices("crate::") {
        let rest = &code[at + "crate::".len()..];
        if let Some(group) = rest.strip_prefix('{') {
            let mut depth = 1;
            let mut word = String::new();
            let mut at_start = true;
            for c in group.chars() {
                match c {
                    '{' => depth += 1,
                    '}' => depth -= 1,
                    _ => {}
                }
                if depth == 1 && (c.is_alphanumeric() || c == '_') && at_start {
                    word.push(c);
                    continue;
                }
                if !word.is_empty() {
                    found.insert(std::mem::take(&mut word));
                    at_start = false;
                }
                if depth == 1 && c == ',' {
                    at_start = true;
                }
                if depth == 0 {
                    break;
                }
            }
        } else {
            let word: String =
                rest.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect();
            found.insert(word);
        }
    }
    found.remove("");
    found
}
