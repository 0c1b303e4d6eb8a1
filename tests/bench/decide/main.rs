//! What one decision of the rules costs, without the wire: by the number of rules, and by what a rule asks.
//!
//! Each is timed in this process, in turns within each round; the medians over the rounds are printed, and their ratios
//! to a baseline of the same round: a walk over all rules with the same matching functions, and one typed rule.

#![allow(
    missing_docs,
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::print_stdout,
    clippy::print_stderr,
    clippy::disallowed_methods,
    clippy::as_conversions,
    unreachable_pub,
    reason = "a bench fails loudly"
)]

mod engines;
mod request;

use std::fmt::Write as _;
use std::hint::black_box;
use std::time::{Duration, Instant};

use hopgate::identity::TrustDomain;
use hopgate::policy::{
    AccessPolicy, Decision, MeshPolicySpec, PolicySet, Resource, Surroundings, Workload, parse,
};
use request::Asking;

const ROUNDS: usize = 9;
/// How long one case is repeated within a round.
const SLICE: Duration = Duration::from_millis(60);

/// Something that is timed.
struct Case {
    name: String,
    /// What the ratio is to: another case by name.
    baseline: Option<String>,
    run: Box<dyn Fn()>,
    times: Vec<f64>,
}

fn main() {
    let mut cases = by_number();
    cases.extend(by_kind());
    cases.extend(by_engine());
    for round in 0..ROUNDS {
        eprintln!("round {} of {ROUNDS}", round + 1);
        for case in &mut cases {
            let time = time(&*case.run);
            case.times.push(time);
        }
    }
    println!("{:<44} {:>12}  ratio in the same round (median)", "decision", "ns (median)");
    for case in &cases {
        let ratio = case.baseline.as_ref().map(|name| {
            let baseline = cases.iter().find(|other| other.name == *name).expect("a baseline");
            let ratios = case.times.iter().zip(&baseline.times).map(|(own, other)| own / other);
            format!("{:.3} x {name}", median(ratios.collect()))
        });
        let nanoseconds = median(case.times.clone());
        println!("{:<44} {nanoseconds:>12.0}  {}", case.name, ratio.unwrap_or_default());
    }
}

/// The index and a walk, over ever more rules of which a handful may match.
fn by_number() -> Vec<Case> {
    let mut cases = Vec::new();
    for count in [10, 1_000, 10_000, 100_000] {
        let set = compile(&rules(count));
        let name = format!("{count} rules");
        let walk = format!("{count} rules, one after the other");
        let first = (count != 10).then(|| "10 rules".to_owned());
        cases.push(case(&name, first, set, |set, asking| {
            let decision = asking.decide(set);
            assert!(matches!(decision, Decision::Allow(_)), "{decision:?}");
        }));
        if count <= 10_000 {
            let set = compile(&rules(count));
            cases.push(case(&walk, Some(name), set, |set, asking| {
                black_box(asking.walk(set));
            }));
        }
    }
    cases
}

/// One rule that asks one thing.
fn by_kind() -> Vec<Case> {
    let typed = "typed rule: role, method, path";
    let rule = |part: &str| {
        format!(
            "- {{ name: r, allow: {{ users: {{ roles: [customer] }}, requests: [{{ methods: [GET], \
             paths: [\"/customers/{{customer}}/orders/**\"] }}]{part} }} }}"
        )
    };
    [
        (typed, "", None),
        ("the same with a native condition", ", when: user.sub == path.customer", Some(typed)),
        (
            "the same with an interpreted condition",
            ", when: \"user.roles.exists(r, r.startsWith('cust'))\"",
            Some(typed),
        ),
        (
            "the same in office hours and from the office",
            ", sources: [10.0.0.0/8], times: [{ zone: Europe/Berlin, from: \"00:00\", to: \"24:00\" }]",
            Some(typed),
        ),
    ]
    .into_iter()
    .map(|(name, part, baseline)| {
        let set = compile(&rule(part));
        case(name, baseline.map(str::to_owned), set, |set, asking| {
            let decision = asking.decide(set);
            assert!(matches!(decision, Decision::Allow(_)), "{decision:?}");
        })
    })
    .collect()
}

/// The rules of [`by_number`] in other languages.
fn by_engine() -> Vec<Case> {
    let baseline = "100 rules";
    let set = compile(&rules(100));
    let mut cases = vec![case(baseline, Some("10 rules".to_owned()), set, |set, asking| {
        assert!(matches!(asking.decide(set), Decision::Allow(_)));
    })];
    let asking = || Asking::new();
    for count in [1, 100] {
        let (rego, asking) = (engines::rego(count), asking());
        let run = move || engines::ask_rego(&rego, &asking);
        cases.push(other(format!("{count} rules in Rego, in process"), baseline, run));
    }
    for count in [1, 100] {
        let (casbin, asking) = (engines::casbin(count), asking());
        let run = move || engines::ask_casbin(&casbin, &asking);
        cases.push(other(format!("{count} lines of Casbin"), baseline, run));
    }
    cases
}

fn other(name: String, baseline: &str, run: impl Fn() + 'static) -> Case {
    Case { name, baseline: Some(baseline.to_owned()), run: Box::new(run), times: Vec::new() }
}

fn case(
    name: &str,
    baseline: Option<String>,
    set: PolicySet,
    run: impl Fn(&PolicySet, &Asking) + 'static,
) -> Case {
    let asking = Asking::new();
    let run = Box::new(move || run(&set, &asking));
    Case { name: name.to_owned(), baseline, run, times: Vec::new() }
}

/// Rules for as many services and roles, of which one admits the request.
fn rules(count: usize) -> String {
    let mut text = String::new();
    for number in 0..count {
        let name = if number == count / 2 { "orders".to_owned() } else { format!("s{number}") };
        writeln!(
            text,
            "- {{ name: r{number}, allow: {{ peers: [ns/shop/sa/web], users: {{ roles: [customer, r{number}] }}, \
             requests: [{{ methods: [GET], paths: [\"/customers/{{customer}}/{name}/**\"] }}] }} }}"
        )
        .unwrap();
    }
    text
}

/// A policy of a file of its own for every 10,000 rules: a file may have 16 MiB.
fn compile(rules: &str) -> PolicySet {
    let lines: Vec<&str> = rules.lines().collect();
    let policies: Vec<AccessPolicy> = lines
        .chunks(10_000)
        .enumerate()
        .flat_map(|(number, lines)| policy(number, lines))
        .collect();
    let workload = Workload {
        trust_domain: TrustDomain::parse("demo.mesh").unwrap(),
        namespace: "shop".to_owned(),
        labels: std::collections::BTreeMap::new(),
    };
    let around = Surroundings {
        workload: &workload,
        mesh: &MeshPolicySpec::absent(),
        providers: &[],
        engines: &[],
    };
    PolicySet::compile(&policies, &around).unwrap()
}

fn policy(number: usize, rules: &[&str]) -> Vec<AccessPolicy> {
    let mut text = format!(
        "apiVersion: hopgate.dev/v1alpha1\nkind: AccessPolicy\nmetadata: {{ name: p{number}, namespace: shop }}\nspec:\n  rules:\n"
    );
    for rule in rules {
        writeln!(text, "    {rule}").unwrap();
    }
    parse("bench.yaml", &text)
        .unwrap()
        .into_iter()
        .map(|resource| match resource {
            Resource::AccessPolicy(policy) => policy,
            _ => unreachable!("only policies are made"),
        })
        .collect()
}

/// Nanoseconds a run, over at least [`SLICE`].
fn time(run: &dyn Fn()) -> f64 {
    let mut runs = 0_u32;
    let began = Instant::now();
    while began.elapsed() < SLICE {
        for _ in 0..8 {
            run();
        }
        runs += 8;
    }
    began.elapsed().as_nanos() as f64 / f64::from(runs)
}

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}
