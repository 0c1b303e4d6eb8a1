//! Policies through the public API: YAML tables of cases, and the exact texts of mistakes.

use std::borrow::Cow;
use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::{Duration, UNIX_EPOCH};

use hopgate::identity::{SpiffeId, TrustDomain};
use hopgate::policy::{
    AccessPolicy, Credentials, Decision, Facts, HeaderValue, Headers, NoBody, PolicySet,
    RequestFacts, Resource, UserFacts, UserParts, Workload, parse, yaml,
};
use serde::Deserialize;

/// One file of `tests/policies/cases`.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Table {
    policies: String,
    #[serde(default)]
    providers: Vec<String>,
    cases: Vec<Case>,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Case {
    name: String,
    peer: Option<String>,
    user: Option<User>,
    /// `GET /path`; absent for a TCP connection.
    request: Option<String>,
    #[serde(default)]
    headers: BTreeMap<String, Vec<String>>,
    #[serde(default)]
    now: u64,
    /// `allow rule`, `deny rule`, `undecidable rule`, `nothing` or `anonymous`.
    expect: String,
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct User {
    #[serde(default)]
    provider: Option<String>,
    sub: String,
    #[serde(default)]
    roles: Vec<String>,
    #[serde(default)]
    scopes: Vec<String>,
    #[serde(default)]
    claims: serde_json::Map<String, serde_json::Value>,
}

impl Headers for Case {
    fn value(&self, name: &str) -> HeaderValue<'_> {
        match self.headers.get(name).map(Vec::as_slice) {
            None | Some([]) => HeaderValue::Absent,
            Some([one]) => HeaderValue::One(one.as_bytes()),
            Some(_) => HeaderValue::Many,
        }
    }
}

#[test]
fn the_tables_decide_as_they_say() {
    let (mut count, mut wrong) = (0, Vec::new());
    for file in files("cases") {
        let text = std::fs::read_to_string(&file).unwrap();
        let source = file.file_name().unwrap().to_str().unwrap();
        let table: Table = yaml::parse_one(source, &text).unwrap_or_else(|error| panic!("{error}"));
        let policies = policies(source, &table.policies);
        let set = PolicySet::compile(&policies, &table.providers, &workload()).unwrap();
        let allowed = table.cases.iter().filter(|case| case.expect.starts_with("allow")).count();
        let refused = table.cases.len() - allowed;
        assert!(refused >= allowed, "{source}: every allow has its deny");
        for case in &table.cases {
            if outcome(&set, case) != case.expect {
                wrong.push(format!("{source}: {}: {}", case.name, outcome(&set, case)));
            }
            count += 1;
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    assert!(count > 40, "only {count} cases were found");
}

fn outcome(set: &PolicySet, case: &Case) -> String {
    let peer = case.peer.as_deref().map(|text| match text.strip_prefix("spiffe://") {
        Some(_) => SpiffeId::parse(text).unwrap(),
        None => SpiffeId::parse(&format!("spiffe://demo.mesh/{text}")).unwrap(),
    });
    let user = case.user.as_ref().map(|user| {
        UserFacts::new(UserParts {
            roles: user.roles.clone(),
            scopes: user.scopes.clone(),
            claims: user.claims.clone(),
            ..UserParts::of(user.provider.as_deref().unwrap_or("sso"), &user.sub)
        })
    });
    let target = case.request.as_deref().map(|text| text.split_once(' ').unwrap());
    let (path, query) = match target.map(|(_, target)| target.split_once('?')) {
        Some(Some((path, query))) => (path, Some(query)),
        Some(None) => (target.unwrap().1, None),
        None => ("/", None),
    };
    let segments: Vec<Cow<'_, str>> = path
        .strip_prefix('/')
        .unwrap()
        .split('/')
        .map(|segment| percent_encoding::percent_decode_str(segment).decode_utf8().unwrap())
        .collect();
    let request = target.map(|(method, _)| RequestFacts {
        method,
        host: "orders.shop",
        path,
        segments: &segments,
        query,
        headers: case,
        body: &NoBody,
    });
    let facts = Facts {
        peer: peer.as_ref(),
        user: user.as_ref(),
        request,
        ..Facts::at(UNIX_EPOCH + Duration::from_secs(case.now))
    };
    match set.decide(&facts) {
        Decision::Allow(rule) => format!("allow {}", rule.rule()),
        Decision::Deny(rule) => format!("deny {}", rule.rule()),
        Decision::Undecidable(rule, _) => format!("undecidable {}", rule.rule()),
        Decision::NothingAllows => "nothing".into(),
        Decision::NothingAllowsAnonymous => "anonymous".into(),
    }
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
                match PolicySet::compile(&policies, &providers, &workload()) {
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
    let none = PolicySet::compile(&[], &[], &workload()).unwrap();
    assert_eq!(none.presentation().user_header, "x-hopgate-user");
    assert_eq!(none.presentation().peer_header, "x-hopgate-peer");
    assert_eq!(none.presentation().credentials, Credentials::Strip);
    let text = |name: &str, identity: &str| {
        format!(
            "---\napiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\n\
             metadata: {{ name: {name}, namespace: shop }}\nspec: {{ identity: {{ {identity} }} }}\n"
        )
    };
    let both =
        text("a", "userHeader: x-user") + &text("b", "userHeader: x-user, credentials: Keep");
    let set = PolicySet::compile(&policies("p.yaml", &both), &[], &workload()).unwrap();
    assert_eq!(set.presentation().user_header, "x-user");
    assert_eq!(set.presentation().credentials, Credentials::Keep);
    assert_eq!(set.rule_count(), 0);
}

#[test]
fn rules_without_a_policy_admit_nobody() {
    let set = PolicySet::compile(&[], &[], &workload()).unwrap();
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
    let deep = "drainTimeout: ".to_owned() + &"[".repeat(100);
    assert!(read(&deep).is_err());
    let bomb = "a: &a [x,x,x,x,x,x,x,x]\nb: &b [*a,*a,*a,*a,*a,*a,*a,*a]\nc: &c [*b,*b,*b,*b,*b,*b,*b,*b]\n\
                d: &d [*c,*c,*c,*c,*c,*c,*c,*c]\ne: &e [*d,*d,*d,*d,*d,*d,*d,*d]\nf: [*e,*e,*e,*e,*e,*e,*e,*e]\n";
    assert!(yaml::parse_one::<serde_json::Value>("bomb.yaml", bomb).is_err());
    let huge = "a".repeat(17 * 1024 * 1024);
    assert!(yaml::parse_one::<String>("huge.yaml", &huge).is_err());
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
            Resource::IdentityProvider(_) | Resource::MeshPolicy(_) => None,
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
