//! The same Rego and the same inputs, judged in process and by a real OPA: they must agree, undefined included.

use std::path::Path;
use std::time::{Duration, SystemTime};

use hopgate::policy::{EngineAnswer, Rego};
use serde_json::{Value, json};

use crate::support::opa::{Opa, files};

/// Where what is computed with is no number: undefined to OPA, a failure, which refuses, in process.
const STRICTER: [(&str, usize); 1] = [("arithmetic", 18)];

#[tokio::test(flavor = "multi_thread")]
async fn rego_in_process_and_a_real_opa_agree() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policies/rego");
    let modules = files(&folder, &["rego"]);
    let data = folder.join("data.json");
    let mut served = modules.clone();
    served.push(data.clone());
    let opa = Opa::start(&served, None).await;
    let client = reqwest::Client::new();
    let inputs: Vec<Value> =
        serde_json::from_str(&std::fs::read_to_string(folder.join("inputs.json")).unwrap())
            .unwrap();
    let (mut wrong, mut seen) = (Vec::new(), Vec::new());
    for module in &modules {
        let name = module.file_stem().unwrap().to_str().unwrap();
        let rule = format!("agree/{name}/allow");
        let rego = compile(module, &data, &rule);
        for (place, input) in inputs.iter().enumerate() {
            let here = told(&rego.judge(input, SystemTime::now()));
            let answer = client
                .post(format!("{}/v1/data/{rule}", opa.base))
                .json(&json!({ "input": input }))
                .send()
                .await
                .unwrap();
            let there = read(answer.status().as_u16(), &answer.json().await.unwrap());
            if STRICTER.contains(&(name, place)) {
                assert_eq!((here, there), ("failed", "yes"), "{name}, input {place}");
            } else if here != there {
                wrong.push(format!("{name}, input {place}: {here} in process, {there} by OPA"));
            }
            seen.push((name.to_owned(), there));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    for kind in ["yes", "no", "undefined", "failed"] {
        assert!(seen.iter().any(|(_, said)| *said == kind), "no case is {kind}");
    }
    for module in &modules {
        let name = module.file_stem().unwrap().to_str().unwrap();
        let answers: Vec<_> =
            seen.iter().filter(|(of, _)| of == name).map(|(_, said)| *said).collect();
        assert!(answers.contains(&"yes"), "{name} never says yes");
        assert!(answers.iter().any(|said| *said != "yes"), "{name} never says anything else");
    }
}

fn compile(module: &Path, data: &Path, rule: &str) -> Rego {
    let read = |path: &Path| (path.display().to_string(), std::fs::read(path).unwrap());
    let (module, data) = (read(module), read(data));
    Rego::compile(
        (&[(module.0, module.1.as_slice())], &[(data.0, data.1.as_slice())]),
        (rule, Duration::from_secs(1)),
    )
    .unwrap_or_else(|error| panic!("{error}"))
}

fn told(answer: &EngineAnswer) -> &'static str {
    match answer {
        EngineAnswer::Yes => "yes",
        EngineAnswer::No => "no",
        EngineAnswer::Undefined => "undefined",
        EngineAnswer::Failed(_) => "failed",
        EngineAnswer::NotAsked => "not asked",
    }
}

/// As the gate reads OPA's answers.
fn read(status: u16, answer: &Value) -> &'static str {
    let allowed = match answer.get("result") {
        _ if status != 200 => return "failed",
        None => return "undefined",
        Some(Value::Object(result)) => result.get("allowed"),
        result => result,
    };
    match allowed {
        Some(Value::Bool(true)) => "yes",
        Some(Value::Bool(false)) => "no",
        Some(_) | None => "failed",
    }
}
