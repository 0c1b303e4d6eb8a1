//! What README and docs show is what the product takes: every YAML block is loaded by its own loader, and every code of a
//! refusal is explained.

use std::path::{Path, PathBuf};

use hopgate::policy::parse;

use crate::support::Scratch;

fn root() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR"))
}

/// README and every page of docs.
fn pages() -> Vec<(String, String)> {
    let mut files = vec![root().join("README.md")];
    for entry in std::fs::read_dir(root().join("docs")).unwrap() {
        files.push(entry.unwrap().path());
    }
    files.sort();
    let read = |path: &PathBuf| std::fs::read_to_string(path).unwrap();
    files.iter().map(|path| (path.display().to_string(), read(path))).collect()
}

fn yaml_blocks(page: &str) -> Vec<&str> {
    page.split("```yaml\n").skip(1).map(|rest| rest.split("```").next().unwrap()).collect()
}

#[test]
fn every_yaml_block_is_taken_by_the_product() {
    let scratch = Scratch::new("documents");
    let (mut resources, mut configurations) = (0, 0);
    for (page, text) in pages() {
        for block in yaml_blocks(&text) {
            if block.contains("apiVersion: hopgate.dev") {
                parse(&page, block).unwrap_or_else(|error| panic!("{error}\n{block}"));
                resources += 1;
            } else if block.starts_with("workload:") {
                let file = scratch.write("sidecar.yaml", block);
                hopgate::config::sidecar(&file, Default::default())
                    .unwrap_or_else(|error| panic!("{page}: {error}\n{block}"));
                configurations += 1;
            } else {
                panic!("{page}: a block that nothing loads:\n{block}");
            }
        }
    }
    assert!(resources >= 4 && configurations >= 1, "{resources} and {configurations}");
}

#[test]
fn every_code_of_authentication_is_explained() {
    let page = std::fs::read_to_string(root().join("docs/authentication.md")).unwrap();
    let mut codes = 0;
    for directory in [
        "src/authn",
        "src/authn/place",
        "src/authn/peer",
        "src/authn/certificate",
        "src/authn/dpop",
        "src/authn/online",
    ] {
        for entry in std::fs::read_dir(root().join(directory)).unwrap() {
            codes += explained(&entry.unwrap().path(), &page);
        }
    }
    assert!(codes > 90, "only {codes} codes were found");
}

/// How many codes a source file has; each must stand in the page.
fn explained(file: &Path, page: &str) -> usize {
    if file.extension().is_none_or(|extension| extension != "rs") {
        return 0;
    }
    let text = std::fs::read_to_string(file).unwrap();
    let mut count = 0;
    // The bodies of `fn code(..) -> &'static str`.
    for body in text.split("fn code(").skip(1) {
        let body = body.split("\n    }\n").next().unwrap();
        for code in body.split("=> \"").skip(1).map(|rest| rest.split('"').next().unwrap()) {
            assert!(
                page.contains(&format!("`{code}`")),
                "{code} of {} is not explained",
                file.display()
            );
            count += 1;
        }
    }
    count
}
