//! What README and docs show is what the product takes: every YAML block is loaded by its own loader, and every code of a
//! refusal is explained.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hopgate::authz::{CODES, Code};
use hopgate::policy::parse;
use hopgate::policy::suite::Suite;

use crate::support::{Scratch, golden};

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

/// A part of a sidecar's configuration, beside what each has.
fn around_a_part(block: &str) -> String {
    let mut whole = "workload: { trustDomain: demo.mesh, namespace: shop, serviceAccount: orders }\n\
        resources: [resources]\nextAuthz: { listen: [\"unix:authz.sock\"] }\nadmin: { listen: \"unix:admin.sock\" }\n"
        .to_owned();
    if !block.contains("\ncertificates:") {
        whole += "certificates: { files: { certificate: c.pem, key: k.pem, bundle: b.pem } }\n";
    }
    whole + block
}

#[test]
fn every_yaml_block_is_taken_by_the_product() {
    let scratch = Scratch::new("documents");
    let (mut resources, mut configurations, mut suites, mut planes) = (0, 0, 0, 0);
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
            } else if block.starts_with("trustDomain:") {
                let file = scratch.write("control.yaml", block);
                hopgate::config::control(&file)
                    .unwrap_or_else(|error| panic!("{page}: {error}\n{block}"));
                planes += 1;
            } else if block.starts_with("# control.yaml\n") {
                // A part of one, beside what each has.
                let whole = "trustDomain: demo.mesh\nlisten: \"127.0.0.1:0\"\ndirectory: ca\n";
                let file = scratch.write("control.yaml", &(whole.to_owned() + block));
                hopgate::config::control(&file)
                    .unwrap_or_else(|error| panic!("{page}: {error}\n{block}"));
                planes += 1;
            } else if block.starts_with("# sidecar.yaml\n") {
                let file = scratch.write("sidecar.yaml", &around_a_part(block));
                hopgate::config::sidecar(&file, Default::default())
                    .unwrap_or_else(|error| panic!("{page}: {error}\n{block}"));
                configurations += 1;
            } else if block.starts_with("# values.yaml\n") {
                let schema = std::fs::read(root().join("helm/hopgate/values.schema.json")).unwrap();
                let schema = serde_json::from_slice(&schema).unwrap();
                let values: serde_json::Value = serde_saphyr::from_str(block).unwrap();
                jsonschema::validate(&schema, &values)
                    .unwrap_or_else(|error| panic!("{page}: {error}\n{block}"));
            } else if block.starts_with("# services.yaml\n") {
                let file: hopgate::mesh::captured::ServicesFile =
                    serde_saphyr::from_str(block).unwrap_or_else(|error| panic!("{page}: {error}"));
                file.services(&hopgate::identity::TrustDomain::parse("demo.mesh").unwrap())
                    .unwrap();
            } else if block.contains("kind: ClusterRole") {
                let role: Result<k8s_openapi::api::rbac::v1::ClusterRole, _> =
                    serde_saphyr::from_str(block);
                role.unwrap_or_else(|error| panic!("{page}: {error}\n{block}"));
            } else if block.contains("kind: Role\n") {
                let role: Result<k8s_openapi::api::rbac::v1::Role, _> =
                    serde_saphyr::from_str(block);
                role.unwrap_or_else(|error| panic!("{page}: {error}\n{block}"));
            } else if block.starts_with("resources:") {
                Suite::parse(&page, block).unwrap_or_else(|error| panic!("{error}\n{block}"));
                suites += 1;
            } else {
                panic!("{page}: a block that nothing loads:\n{block}");
            }
        }
    }
    assert!(resources >= 4 && configurations >= 1, "{resources} and {configurations}");
    assert!(suites >= 1 && planes >= 1);
}

/// The page is made from the list of the product, so that nothing in it is another code or status.
#[test]
fn every_refusal_is_explained() {
    let mut page = "# Refusals\n\n\
        Every refusal has a code. It stands in the decision log (`code`, beside `reason` and often `hint`), in the dynamic \
        metadata\nand in the metric `hopgate_authz_checks`. The client learns the status and a request id, and, with 401, which \
        schemes are taken here.\nThis page is made from the product's own list.\n\n\
        | code | status | meaning |\n| --- | --- | --- |\n"
        .to_owned();
    for Code { name, status, meaning } in CODES {
        page += &format!("| `{name}` | {} | {meaning} |\n", status.http());
    }
    golden("../../docs/refusals.md", &page);
}

/// What the source can refuse with is in the list, and what is in the list the source can refuse with.
#[test]
fn the_list_of_refusals_is_complete() {
    let mut written = String::new();
    let mut produced = BTreeSet::new();
    for file in sources(&root().join("src")) {
        let path = file.strip_prefix(root().join("src")).unwrap();
        if path == Path::new("authz/code.rs") {
            continue;
        }
        let text = std::fs::read_to_string(&file).unwrap();
        let shipped = text.split("#[cfg(test)]\nmod tests {").next().unwrap();
        if is_of_a_refusal(path) {
            produced.extend(codes(shipped));
        }
        let denials = shipped.split("Denial::new(").skip(1);
        produced.extend(denials.filter_map(|call| {
            Some(call.trim_start().strip_prefix('"')?.split_once('"')?.0.to_owned())
        }));
        written += shipped;
    }
    let listed: BTreeSet<String> = CODES.iter().map(|code| code.name.to_owned()).collect();
    let unlisted: Vec<&String> = produced.difference(&listed).collect();
    assert!(unlisted.is_empty(), "not in authz::CODES: {unlisted:?}");
    assert!(produced.len() > 120, "only {} codes were found", produced.len());
    for name in listed.difference(&produced) {
        assert!(written.contains(&format!("\"{name}\"")), "nothing refuses with {name}");
    }
}

/// Codes of fetches and of tokens for other servers refuse nobody.
fn is_of_a_refusal(path: &Path) -> bool {
    let others = ["authn/refresh", "authn/http", "authn/outbound"];
    let judges = ["authn", "authz"].iter().any(|module| path.starts_with(module));
    judges && !others.iter().any(|module| path.starts_with(module))
}

/// The texts in the bodies of `fn code(..) -> &'static str`.
fn codes(text: &str) -> Vec<String> {
    let bodies = text.split("fn code(").skip(1);
    let bodies = bodies.map(|body| body.split("\n    }\n").next().unwrap());
    let texts = bodies.flat_map(|body| body.split("=> \"").skip(1));
    texts
        .map(|rest| rest.split('"').next().unwrap().to_owned())
        .filter(|code| code != "allow")
        .collect()
}

fn sources(directory: &Path) -> Vec<PathBuf> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(directory).unwrap() {
        let path = entry.unwrap().path();
        if path.file_stem().is_some_and(|name| name == "tests") {
            continue;
        }
        if path.is_dir() {
            files.extend(sources(&path));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            files.push(path);
        }
    }
    files
}

const BEGIN: &str = "<!-- The names, from the table in the source -->\n";
const END: &str = "<!-- The end of the names -->\n";

#[test]
fn the_page_of_conditions_shows_the_names_as_they_are() {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/docs/conditions.md");
    let page = std::fs::read_to_string(path).unwrap();
    let (before, rest) = page.split_once(BEGIN).expect(BEGIN);
    let (shown, after) = rest.split_once(END).expect(END);
    let expected = format!("\n{}", hopgate::policy::ConditionNames);
    if std::env::var_os("HOPGATE_BLESS").is_some() {
        std::fs::write(path, format!("{before}{BEGIN}{expected}{END}{after}")).unwrap();
        return;
    }
    assert_eq!(shown, expected, "docs/conditions.md differs; HOPGATE_BLESS=1 writes it anew");
}

/// A table that names tests is worth what they are: each is there.
#[test]
fn the_tests_that_the_page_of_spiffe_names_exist() {
    let page = std::fs::read_to_string(root().join("docs/spiffe.md")).unwrap();
    let rows = page.lines().filter(|line| line.starts_with("| ")).skip(2);
    let mut sources = String::new();
    for folder in ["src", "tests"] {
        gather(&root().join(folder), &mut sources);
    }
    let mut seen = 0;
    for row in rows {
        let (_, tests) = row.trim_end_matches('|').trim_end().rsplit_once('|').unwrap();
        let names: Vec<&str> = tests.split('`').skip(1).step_by(2).collect();
        assert!(!names.is_empty(), "a row without a test: {row}");
        for name in names {
            assert!(sources.contains(&format!("fn {name}()")), "there is no test {name}: {row}");
            seen += 1;
        }
    }
    assert!(seen > 40, "{seen}");
}

/// Pages that lead somewhere: README, docs, the chart and the examples.
fn linked_pages() -> Vec<PathBuf> {
    let mut pages = vec![root().join("README.md"), root().join("helm/hopgate/README.md")];
    for folder in ["docs", "examples"] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let path = entry.unwrap().path();
            pages.push(if path.is_dir() { path.join("README.md") } else { path });
        }
    }
    pages.retain(|page| page.exists());
    pages
}

/// A heading as it stands behind `#` in a link.
fn anchor(heading: &str) -> String {
    let kept = heading.trim_start_matches('#').trim().to_lowercase();
    kept.chars()
        .filter(|c| c.is_alphanumeric() || "-_ ".contains(*c))
        .collect::<String>()
        .replace(' ', "-")
}

#[test]
fn every_link_leads_somewhere() {
    let mut followed = 0;
    for page in linked_pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        for rest in text.split("](").skip(1) {
            let link = rest.split(')').next().unwrap();
            if link.starts_with("http") || link.contains(' ') {
                continue;
            }
            let (path, heading) = link.split_once('#').unwrap_or((link, ""));
            let target =
                if path.is_empty() { page.clone() } else { page.parent().unwrap().join(path) };
            assert!(target.exists(), "{}: {link}", page.display());
            if !heading.is_empty() {
                let text = std::fs::read_to_string(&target).unwrap();
                let mut headings = text.lines().filter(|line| line.starts_with('#')).map(anchor);
                assert!(headings.any(|one| one == heading), "{}: {link}", page.display());
            }
            followed += 1;
        }
    }
    assert!(followed > 80, "{followed}");
}

#[test]
fn every_page_and_every_example_is_listed() {
    let list = std::fs::read_to_string(root().join("docs/README.md")).unwrap();
    for (folder, link) in [("docs", "]("), ("examples", "](../examples/")] {
        for entry in std::fs::read_dir(root().join(folder)).unwrap() {
            let name = entry.unwrap().file_name().into_string().unwrap();
            let listed = name == "README.md" || list.contains(&format!("{link}{name})"));
            assert!(listed, "docs/README.md does not list {folder}/{name}");
        }
    }
}

/// The help text of the command that these words begin with, as the golden files have it.
fn help_of(words: &[&str]) -> String {
    let verbs = words.iter().take_while(|word| word.bytes().all(|c| c.is_ascii_lowercase()));
    let verbs: Vec<&str> = verbs.copied().collect();
    let helps = root().join("tests/golden/help");
    let helps = (0..=verbs.len()).rev().map(|many| {
        let path: String = verbs.iter().take(many).map(|verb| format!("-{verb}")).collect();
        std::fs::read_to_string(helps.join(format!("hopgate{path}.txt")))
    });
    helps.flatten().next().unwrap()
}

/// Whoever copies a command from a page is not told that there is no such flag.
#[test]
fn every_command_that_a_page_shows_exists() {
    let mut seen = 0;
    for page in linked_pages() {
        let text = std::fs::read_to_string(&page).unwrap();
        // Pipes and further commands end one; what stands between backticks is one, too.
        let commands = text.split(['\n', '`', '|', ';', '&']).filter_map(|command| {
            let command = command.trim().trim_start_matches("$ ");
            command.strip_prefix("hopgate ").or_else(|| command.strip_prefix("/hopgate "))
        });
        for command in commands {
            let command = command.split(" #").next().unwrap();
            let words: Vec<&str> = command.split_whitespace().collect();
            let is_verb = words.first().is_some_and(|word| {
                help_of(&[]).contains(&format!("\n  {} ", word.trim_end_matches(',')))
            });
            if !is_verb {
                continue;
            }
            let help = help_of(&words);
            for flag in words.iter().filter(|word| word.starts_with("--")) {
                let flag = flag.split('=').next().unwrap().trim_end_matches([',', '.', ')', ':']);
                let known =
                    help.lines().any(|line| line.split([' ', ',']).any(|word| word == flag));
                assert!(known, "{}: hopgate {command}: {flag}", page.display());
                seen += 1;
            }
        }
    }
    assert!(seen > 60, "{seen}");
}

fn gather(folder: &Path, into: &mut String) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            gather(&path, into);
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            into.push_str(&std::fs::read_to_string(path).unwrap());
        }
    }
}
