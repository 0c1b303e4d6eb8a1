//! The schemas for editors say what the parser takes: field by field, and for every shipped file.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};

use hopgate::policy::suite::Suite;
use hopgate::policy::{KINDS, parse, schema, yaml};
use serde_json::{Map, Value, json};

use super::{policy, root, stderr, stdout};

fn of(name: &str) -> Value {
    schema::of(name).unwrap_or_else(|error| panic!("{error}")).unwrap()
}

#[test]
fn a_schema_is_printed_for_each_kind_and_for_all() {
    for name in schema::names().map(Some).chain([None]) {
        let arguments: Vec<&str> = ["schema"].into_iter().chain(name).collect();
        let output = policy(&root(), &arguments);
        assert_eq!(output.status.code(), Some(0), "{}", stderr(&output));
        let printed: Value = serde_json::from_str(&stdout(&output)).unwrap();
        assert_eq!(printed["$schema"], "https://json-schema.org/draft/2020-12/schema");
        jsonschema::meta::validate(&printed).unwrap_or_else(|error| panic!("{name:?}: {error}"));
        jsonschema::draft202012::new(&printed).unwrap_or_else(|error| panic!("{name:?}: {error}"));
    }
    let output = policy(&root(), &["schema", "AccesPolicy"]);
    assert_eq!(output.status.code(), Some(2));
    assert!(stderr(&output).contains("did you mean `AccessPolicy`?"), "{}", stderr(&output));
}

/// Each object of the schema is written with one field that nobody knows: the parser then names those it does.
#[test]
fn every_field_that_the_parser_knows_is_in_the_schema_and_no_other() {
    let mut objects = 0;
    for kind in KINDS {
        let document = of(kind);
        let walk = Walk {
            document: &document,
            parse: &|text| match parse("probe", text) {
                Err(error) => error.to_string(),
                Ok(_) => "nothing is wrong".into(),
            },
        };
        let around = |spec: Value| {
            json!({
                "apiVersion": "hopgate.dev/v1alpha1", "kind": kind, "metadata": {"name": "a", "namespace": "b"}, "spec": spec,
            })
        };
        objects += walk.object(&document["properties"]["spec"], &around, "spec", 0);
        let named = |metadata: Value| {
            json!({
                "apiVersion": "hopgate.dev/v1alpha1", "kind": kind, "metadata": metadata, "spec": {},
            })
        };
        objects += walk.object(&document["properties"]["metadata"], &named, "metadata", 0);
    }
    let document = of("Suite");
    let walk = Walk {
        document: &document,
        parse: &|text| match Suite::parse("probe", text) {
            Err(error) => error.to_string(),
            Ok(_) => "nothing is wrong".into(),
        },
    };
    walk.compare(&document, &|suite| suite, "suite");
    walk.compare(
        &document["properties"]["workload"],
        &|workload| json!({ "workload": workload }),
        "workload",
    );
    objects += walk.object(&document["properties"]["users"]["additionalProperties"], &|user| json!({
        "resources": ["a"], "workload": {"namespace": "b"}, "users": {"u": user}, "cases": [{}],
    }), "users", 0);
    objects += walk.object(
        &document["properties"]["cases"]["items"],
        &|case| {
            json!({
                "resources": ["a"], "workload": {"namespace": "b"}, "cases": [case],
            })
        },
        "cases",
        0,
    );
    assert!(objects >= 30, "only {objects} objects were compared");
}

struct Walk<'w> {
    document: &'w Value,
    parse: &'w dyn Fn(&str) -> String,
}

impl Walk<'_> {
    /// Compares the fields of this object with the parser's, then those of the objects inside it.
    fn object(
        &self,
        schema: &Value,
        around: &dyn Fn(Value) -> Value,
        at: &str,
        depth: usize,
    ) -> usize {
        let schema = self.resolve(schema);
        let mut compared = 0;
        assert!(depth < 12, "{at} is nested without end");
        for branch in ["oneOf", "anyOf"] {
            for branch in schema[branch].as_array().into_iter().flatten() {
                compared += self.object(branch, around, at, depth);
            }
        }
        if let Some(items) = schema.get("items") {
            let inside = |value: Value| around(json!([value]));
            compared += self.object(items, &inside, &format!("{at}[]"), depth + 1);
        }
        let Some(properties) = schema["properties"].as_object() else { return compared };
        self.compare(schema, around, at);
        compared += 1;
        for (name, inner) in properties {
            let inside = |value: Value| {
                let mut fields = Map::new();
                // What a field may need beside it comes first: a mistake in it would hide the one that is looked for.
                if at.ends_with("rules[]") && name != "name" {
                    fields.insert("name".into(), "a".into());
                }
                fields.insert(name.clone(), value);
                around(Value::Object(fields))
            };
            compared += self.object(inner, &inside, &format!("{at}.{name}"), depth + 1);
        }
        compared
    }

    fn compare(&self, schema: &Value, around: &dyn Fn(Value) -> Value, at: &str) {
        let said = (self.parse)(&around(json!({ "zzz": 1 })).to_string());
        let mut known: BTreeSet<&str> = expected(&said);
        match at {
            // A table is taken apart before its case is read.
            "cases" => drop(known.insert("each")),
            // One of the ways is a word of its own.
            "spec.introspection.auth" => assert!(known.remove("none"), "{said}"),
            // Read only to be refused with a reason.
            "spec.response.query.set[]" => assert!(known.remove("whenPresent"), "{said}"),
            _ => {}
        }
        let listed: BTreeSet<&str> =
            schema["properties"].as_object().unwrap().keys().map(String::as_str).collect();
        assert_eq!(listed, known, "{at}: the schema, then the parser, which says: {said}");
    }

    fn resolve<'s>(&'s self, schema: &'s Value) -> &'s Value {
        match schema["$ref"].as_str() {
            Some(pointer) => self.resolve(self.document.pointer(&pointer[1..]).unwrap()),
            None => schema,
        }
    }
}

/// The fields that an error names: expected one of `a`, `b` (did you mean `a`?).
fn expected(said: &str) -> BTreeSet<&str> {
    let list = said.split("expected ").nth(1).unwrap_or_default();
    list.split(" (did you mean").next().unwrap().split('`').skip(1).step_by(2).collect()
}

#[test]
fn every_shipped_file_is_valid_and_a_typo_in_one_is_not() {
    let all = schema::of_resources().unwrap_or_else(|error| panic!("{error}"));
    let resources = jsonschema::draft202012::new(&all).unwrap();
    let suites = jsonschema::draft202012::new(&of("Suite")).unwrap();
    let (mut seen, mut tables) = (0, 0);
    for folder in ["examples", "tests/policies/cases", "src/demo/files"] {
        for file in yaml_files(&root().join(folder)) {
            let text = std::fs::read_to_string(&file).unwrap();
            if file.to_string_lossy().ends_with(".test.yaml") {
                let suite: Value = yaml::parse_one("suite", &text).unwrap();
                let errors: Vec<String> =
                    suites.iter_errors(&suite).map(|e| e.to_string()).collect();
                assert!(errors.is_empty(), "{}: {errors:?}", file.display());
                tables += 1;
            } else if text.contains("apiVersion: hopgate.dev/") {
                seen += validate(&file, &text, &resources);
            }
        }
    }
    assert!(seen >= 40 && tables >= 6, "{seen} resources and {tables} suites");
}

fn validate(file: &Path, text: &str, validator: &jsonschema::Validator) -> usize {
    let mut seen = 0;
    for document in text.split("\n---\n") {
        let value: Value = yaml::parse_one("example", document).unwrap();
        if !value["apiVersion"].as_str().is_some_and(|version| version.starts_with("hopgate.dev/"))
        {
            continue;
        }
        let errors: Vec<String> = validator.iter_errors(&value).map(|e| e.to_string()).collect();
        assert!(errors.is_empty(), "{}: {errors:?}", file.display());
        let mut typo = value.clone();
        typo["spec"]["zzz"] = json!(1);
        assert!(!validator.is_valid(&typo), "{}", file.display());
        seen += 1;
    }
    seen
}

fn yaml_files(folder: &Path) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            found.extend(yaml_files(&path));
        } else if path.extension().is_some_and(|extension| extension == "yaml") {
            found.push(path);
        }
    }
    found.sort();
    found
}
