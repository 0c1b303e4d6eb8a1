//! Policies through the public API: the exact texts of mistakes, and what the tables of cases must hold.

use std::path::{Path, PathBuf};
use std::sync::LazyLock;
use std::time::UNIX_EPOCH;

use hopgate::identity::TrustDomain;
use hopgate::policy::suite::{Case, Outcome, Suite};
use hopgate::policy::{
    AccessPolicy, Credentials, Decision, Facts, MeshPolicySpec, PolicySet, Resource, Surroundings,
    Workload, parse, yaml,
};
use serde::Deserialize;

/// The cases themselves are run by `hopgate policy test`; here it is counted that they refuse at least as often as they
/// allow.
#[test]
fn every_allow_has_its_deny() {
    let mut count = 0;
    for file in files("cases").iter().filter(|file| file.to_string_lossy().ends_with(".test.yaml"))
    {
        let name = file.display().to_string();
        let text = std::fs::read_to_string(file).unwrap();
        let suite = Suite::parse(&name, &text).unwrap_or_else(|error| panic!("{error}"));
        let allows = |case: &&Case| case.expected.outcome == Outcome::Allow;
        let allowed = suite.cases.iter().filter(allows).count();
        assert!(suite.cases.len() >= 2 * allowed, "{name}");
        count += suite.cases.len();
    }
    assert!(count > 40, "only {count} cases were found");
}

/// `tests/policies/mistakes.yaml`: a text and what is said of it, word for word.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mistakes {
    mistakes: Vec<Mistake>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Mistake {
    yaml: String,
    says: String,
}

#[test]
fn mistakes_are_told_word_for_word() {
    let file = root().join("mistakes.yaml");
    let text = std::fs::read_to_string(&file).unwrap();
    let table: Mistakes = yaml::parse_one("mistakes.yaml", &text).unwrap_or_else(|e| panic!("{e}"));
    let mut wrong = Vec::new();
    for mistake in &table.mistakes {
        let said = match parse("policies/shop.yaml", &mistake.yaml) {
            Err(error) => error.to_string(),
            Ok(resources) => {
                let policies = only_policies(resources);
                let providers = ["sso".to_owned()];
                match PolicySet::compile(&policies, &around(&providers)) {
                    Ok(_) => "nothing is wrong".into(),
                    Err(errors) => {
                        let errors: Vec<String> = errors.iter().map(ToString::to_string).collect();
                        errors.join("\n")
                    }
                }
            }
        };
        if said != mistake.says.trim_end() {
            wrong.push(format!("--- for\n{}says\n{said}\n", mistake.yaml));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn presentation_is_agreed_or_default() {
    let none = PolicySet::compile(&[], &around(&[])).unwrap();
    assert_eq!(none.presentation().user_header, "x-hopgate-user");
    assert_eq!(none.presentation().peer_header, "x-hopgate-peer");
    assert_eq!(none.presentation().credentials, Credentials::Strip);
    let text = |name: &str, identity: &str| {
        format!(
            "---\napiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\n\
             metadata: {{ name: {name}, namespace: shop }}\nspec: {{ identity: {{ {identity} }} }}\n"
        )
    };
    let both = text("a", "userHeader: x-user")
        + text("b", "userHeader: x-user, credentials: Keep").as_str();
    let set = PolicySet::compile(&policies("p.yaml", &both), &around(&[])).unwrap();
    assert_eq!(set.presentation().user_header, "x-user");
    assert_eq!(set.presentation().credentials, Credentials::Keep);
    assert_eq!(set.rule_count(), 0);
}

#[test]
fn rules_without_a_policy_admit_nobody() {
    let set = PolicySet::compile(&[], &around(&[])).unwrap();
    let facts = Facts::at(UNIX_EPOCH);
    assert_eq!(set.decide(&facts), Decision::NothingAllows);
}

#[test]
fn a_configuration_file_is_read_with_the_same_errors() {
    #[derive(Debug, Deserialize)]
    #[serde(rename_all = "camelCase", deny_unknown_fields)]
    struct Config {
        #[expect(dead_code, reason = "only its absence of errors counts")]
        drain_timeout: String,
    }
    let read = |text: &str| yaml::parse_one::<Config>("sidecar.yaml", text);
    assert!(read("drainTimeout: 10s\n").is_ok());
    let error = read("# comment\ndrainTimeuot: 10s\n").unwrap_err();
    assert_eq!(error.place(), Some((2, 1)));
    assert_eq!(error.field(), "drainTimeuot");
    assert_eq!(
        error.to_string(),
        "sidecar.yaml:2:1: drainTimeuot: unknown field `drainTimeuot`, expected only `drainTimeout` \
         (did you mean `drainTimeout`?)"
    );
    assert!(read("drainTimeout: 10s\n---\ndrainTimeout: 10s\n").is_err());
    assert!(read("").is_err());
    let deep = "drainTimeout: ".to_owned() + "[".repeat(100).as_str();
    assert!(read(&deep).is_err());
    let bomb = "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]\n";
    assert!(yaml::parse_one::<serde_json::Value>("bomb.yaml", bomb).is_err());
    let huge = "a".repeat(17 * 1024 * 1024);
    assert!(yaml::parse_one::<String>("huge.yaml", &huge).is_err());
}

fn around(providers: &[String]) -> Surroundings<'_> {
    static WORKLOAD: LazyLock<Workload> = LazyLock::new(workload);
    static MESH: LazyLock<MeshPolicySpec> = LazyLock::new(MeshPolicySpec::absent);
    Surroundings { workload: &WORKLOAD, mesh: &MESH, providers, engines: &[] }
}

fn workload() -> Workload {
    Workload {
        trust_domain: TrustDomain::parse("demo.mesh").unwrap(),
        namespace: "shop".into(),
        labels: [("app".to_owned(), "orders".to_owned())].into(),
    }
}

fn policies(source: &str, text: &str) -> Vec<AccessPolicy> {
    only_policies(parse(source, text).unwrap_or_else(|error| panic!("{error}")))
}

fn only_policies(resources: Vec<Resource>) -> Vec<AccessPolicy> {
    resources
        .into_iter()
        .filter_map(|resource| match resource {
            Resource::AccessPolicy(policy) => Some(policy),
            Resource::IdentityProvider(_) | Resource::MeshPolicy(_) | Resource::PolicyEngine(_) => {
                None
            }
        })
        .collect()
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policies")
}

fn files(folder: &str) -> Vec<PathBuf> {
    let mut files: Vec<PathBuf> = std::fs::read_dir(root().join(folder))
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .filter(|path| path.extension().is_some_and(|e| e == "yaml"))
        .collect();
    files.sort();
    files
}
