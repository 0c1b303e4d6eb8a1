//! What Helm makes of the chart.

use super::{CHOICES, file, objects, rendered};
use crate::support::golden;
use crate::support::helm::{Helm, RELEASES, charts, conform, text};

#[test]
fn lint_finds_nothing_under_any_choice() {
    let helm = Helm::new();
    for (name, choice) in CHOICES {
        let fixed = ["lint", "hopgate", "--strict", "--kube-version", "1.34"];
        let told = text(&helm.run(&[&fixed, choice].concat()));
        assert!(told.contains("1 chart(s) linted, 0 chart(s) failed"), "{name}: {told}");
        assert!(!told.contains("[WARNING]") && !told.contains("[ERROR]"), "{name}: {told}");
    }
}

#[test]
fn schemas_of_kubernetes_take_every_rendering() {
    let helm = Helm::new();
    for (name, choice) in CHOICES {
        let manifests = rendered(&helm, "hopgate-system", choice);
        for release in RELEASES {
            let told = conform(release, &manifests);
            let (valid, skipped) = (&told["summary"]["valid"], &told["summary"]["skipped"]);
            let all = objects(&manifests).len();
            let counted = valid.as_u64().unwrap() + skipped.as_u64().unwrap();
            assert_eq!(counted, u64::try_from(all).unwrap(), "{name}, {release}: {told:#}");
            assert!(skipped.as_u64().unwrap() <= 2, "{name}, {release}: {told:#}");
        }
    }
    // The schemas do refuse.
    let manifests = rendered(&helm, "hopgate-system", &[]);
    for (from, to) in [("replicas: 1", "replicas: one"), ("replicas: 1", "replica: 1")] {
        assert!(manifests.contains(from));
        for release in RELEASES {
            let told = conform(release, &manifests.replace(from, to));
            assert_eq!(told["summary"]["invalid"], 1, "{to}, {release}: {told:#}");
        }
    }
}

#[test]
fn the_default_rendering_is_as_agreed_and_always_the_same() {
    let helm = Helm::new();
    let first = rendered(&helm, "hopgate-system", &["--set", "crds.install=false"]);
    golden("chart/default.yaml", &first);
    let everything = CHOICES.iter().find(|(name, _)| *name == "everything").unwrap().1;
    let twice = [(); 2].map(|()| rendered(&helm, "hopgate-system", everything));
    assert_eq!(twice[0], twice[1]);
}

/// A key that is made at render time changes with each upgrade, and stands in the release for everybody who reads it.
#[test]
fn nothing_is_made_up_or_looked_up_at_render_time() {
    let mut looked_at = 0;
    for entry in std::fs::read_dir(charts().join("hopgate/templates")).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            continue;
        }
        let text = std::fs::read_to_string(&path).unwrap();
        let actions = text.split("{{").skip(1).map(|rest| rest.split("}}").next().unwrap());
        for action in
            actions.filter(|action| !action.trim_start_matches('-').trim().starts_with("/*"))
        {
            let words = action.split(|c: char| !(c.is_alphanumeric() || c == '.'));
            for word in words {
                let random =
                    word.starts_with("rand") || word.starts_with("gen") || word.starts_with("uuid");
                let other =
                    ["now", "lookup", "shuffle", "htpasswd", "bcrypt", "env", "getHostByName"];
                assert!(!random && !other.contains(&word), "{}: {{{{{action}}}}}", path.display());
            }
            looked_at += 1;
        }
    }
    assert!(looked_at > 100, "{looked_at}");
}

#[test]
fn the_chart_has_the_version_of_the_product() {
    let version = env!("CARGO_PKG_VERSION");
    let chart = file("Chart.yaml");
    for line in [format!("version: {version}"), format!("appVersion: {version}")] {
        assert!(chart.lines().any(|found| found == line), "{line} in {chart}");
    }
}
