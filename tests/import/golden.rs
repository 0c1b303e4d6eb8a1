//! `tests/import/<system>/*.yaml`: each is translated, and the outcome compared with a golden file.

use std::path::{Path, PathBuf};

use hopgate::policy::import::{Options, System, import};

use crate::support::golden;

fn options() -> Options {
    Options {
        trust_domain: "mesh.example".to_owned(),
        root_namespace: "istio-system".to_owned(),
        namespaces: vec!["shop".to_owned()],
    }
}

fn translated(system: System, name: &str) -> usize {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/import").join(name);
    let mut files: Vec<PathBuf> =
        std::fs::read_dir(&folder).unwrap().map(|entry| entry.unwrap().path()).collect();
    files.retain(|file| file.extension().is_some_and(|extension| extension == "yaml"));
    files.sort();
    for file in &files {
        let text = std::fs::read_to_string(file).unwrap();
        let source = file.file_name().unwrap().to_str().unwrap().to_owned();
        let told = match import(system, &[(source.clone(), text)], &options()) {
            Ok(translation) => {
                let mut told = translation.yaml().unwrap();
                for note in translation.notes() {
                    told.push_str(&format!("# {note}\n"));
                }
                told
            }
            Err(error) => format!("# error: {error}\n"),
        };
        golden(&format!("import/{name}/{}.txt", source.trim_end_matches(".yaml")), &told);
    }
    files.len()
}

#[test]
fn istio_becomes_what_was_agreed() {
    assert!(translated(System::Istio, "istio") >= 8);
}

#[test]
fn linkerd_becomes_what_was_agreed() {
    assert!(translated(System::Linkerd, "linkerd") >= 3);
}

#[test]
fn authorino_becomes_what_was_agreed() {
    assert!(translated(System::Authorino, "authorino") >= 3);
}

#[test]
fn what_is_not_understood_is_refused_with_its_field() {
    let head = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: a, namespace: shop }\n";
    for (spec, part) in [
        ("{ rules: [ { from: [ { source: { principal: [x] } } ] } ] }", "principal"),
        ("{ action: MAYBE }", "MAYBE"),
        ("{ rules: [ { to: [ { operation: { ports: [http] } } ] } ] }", "`http` is no port"),
        (
            "{ rules: [ { from: [ { source: { ipBlocks: [10.0.0.0/40] } } ] } ] }",
            "no address and no range",
        ),
        ("{ rules: [ { from: [ { source: {} } ] } ] }", "says nothing"),
        ("{ rules: [ { when: [ { key: source.ip } ] } ] }", "neither `values` nor `notValues`"),
        ("{ selector: { matchExpressions: [] } }", "matchExpressions"),
    ] {
        let files = [("policy.yaml".to_owned(), format!("{head}spec: {spec}\n"))];
        let error = import(System::Istio, &files, &options()).expect_err(spec).to_string();
        assert!(error.contains(part), "{spec}: {error}");
        assert!(error.contains("AuthorizationPolicy shop/a (policy.yaml)"), "{error}");
    }
}

#[test]
fn a_deny_of_the_whole_mesh_is_never_dropped_in_silence() {
    let text = "apiVersion: security.istio.io/v1\nkind: AuthorizationPolicy\nmetadata: { name: a, namespace: istio-system }\n\
                spec: { action: DENY, rules: [ { from: [ { source: { namespaces: [dev] } } ] } ] }\n";
    let files = [("policy.yaml".to_owned(), text.to_owned())];
    let nowhere = Options { namespaces: Vec::new(), ..options() };
    let error = import(System::Istio, &files, &nowhere).unwrap_err().to_string();
    assert!(error.contains("--namespace"), "{error}");
    let there = import(System::Istio, &files, &options()).unwrap();
    assert!(there.yaml().unwrap().contains("namespace: shop"));
}
