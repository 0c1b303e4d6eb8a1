//! Workloads, for people.

use std::io::Write;
use std::time::Duration;

use crate::cli::moment::rough;
use crate::cli::terminal::{Style, Tone, plain};
use crate::survey::{Mesh, Rates, Workload};

const HEAD: [&str; 9] = [
    "NAMESPACE",
    "POD",
    "IDENTITY",
    "CERTIFICATE",
    "REVISION",
    "IN FORCE",
    "GATE",
    "DECISIONS/S",
    "REFUSED/S",
];
/// So much of a revision tells it from others.
const REVISION: usize = 12;
/// What is not known.
const UNKNOWN: &str = "-";

/// A row for each workload; below, what is wrong.
pub(super) fn text(mesh: &Mesh, style: Style, out: &mut dyn Write) -> anyhow::Result<()> {
    let Mesh { workloads, missing } = mesh;
    let rows: Vec<[String; 9]> = workloads.iter().map(row).collect();
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        let widest = cells.map(|cell| cell.chars().count()).max().unwrap_or_default();
        widest.max(HEAD.get(column).map_or(0, |head| head.len()))
    };
    let widths: Vec<usize> = (0..HEAD.len()).map(width).collect();
    let line = |cells: &[String]| {
        let cells = cells.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}"));
        cells.collect::<Vec<_>>().join("  ").trim_end().to_owned()
    };
    if workloads.is_empty() {
        writeln!(out, "no pod has a gate here, or should have one (-A looks in all namespaces)")?;
    } else {
        writeln!(out, "{}", line(&HEAD.map(str::to_owned)))?;
    }
    for (row, workload) in rows.iter().zip(workloads) {
        let line = line(row);
        let is_well = workload.problems.is_empty();
        writeln!(out, "{}", if is_well { line } else { style.paint(Tone::Attention, &line) })?;
    }
    let problems = workloads.iter().flat_map(|one| {
        one.problems.iter().map(move |problem| format!("{}/{}: {problem}", one.namespace, one.pod))
    });
    let problems: Vec<String> = missing.iter().cloned().chain(problems).collect();
    if !problems.is_empty() {
        writeln!(out)?;
    }
    for problem in problems {
        writeln!(out, "{}", style.paint(Tone::Bad, &plain(&problem)))?;
    }
    Ok(())
}

fn row(workload: &Workload) -> [String; 9] {
    let Workload {
        namespace,
        pod,
        id,
        certificate,
        revision,
        policies,
        gate,
        decisions,
        problems: _,
    } = workload;
    let unknown = || UNKNOWN.to_owned();
    let span = |seconds| rough(Duration::from_secs(seconds));
    let certificate = certificate.map_or_else(unknown, |life| {
        format!("{} old, {} left", span(life.age_seconds), span(life.left_seconds))
    });
    let revision = revision
        .as_ref()
        .map_or_else(unknown, |revision| plain(revision).chars().take(REVISION).collect());
    let policies = policies
        .map_or_else(unknown, |policies| format!("{} of {}", policies.running, policies.told));
    let gate = gate.as_ref().map_or_else(unknown, |gate| match gate.revision.as_str() {
        "" => plain(&gate.version),
        revision => format!("{} ({})", plain(&gate.version), plain(revision)),
    });
    let per_second = |rate: fn(&Rates) -> f64| {
        decisions.as_ref().map_or_else(unknown, |rates| format!("{:.1}", rate(rates)))
    };
    let mut refused = per_second(|rates| rates.refused_per_second);
    if let Some((code, _)) = decisions.as_ref().and_then(|rates| rates.refused.first()) {
        refused = format!("{refused} ({})", plain(code));
    }
    [
        plain(namespace),
        plain(pod),
        id.as_deref().map_or_else(unknown, plain),
        certificate,
        revision,
        policies,
        gate,
        per_second(|rates| rates.per_second),
        refused,
    ]
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::terminal::Colour;
    use crate::kube::inject::Injected;
    use crate::survey::{Life, Programmed};

    fn workload(pod: &str) -> Workload {
        Workload {
            namespace: "shop".to_owned(),
            pod: pod.to_owned(),
            id: None,
            certificate: None,
            revision: None,
            policies: None,
            gate: None,
            decisions: None,
            problems: Vec::new(),
        }
    }

    #[test]
    fn what_is_not_known_is_a_dash_and_what_is_wrong_stands_below() {
        let well = Workload {
            id: Some("spiffe://demo.mesh/ns/shop/sa/orders".to_owned()),
            certificate: Some(Life { age_seconds: 720, left_seconds: 2880 }),
            revision: Some("0123456789abcdef".to_owned()),
            policies: Some(Programmed { told: 3, running: 3 }),
            gate: Some(Injected { revision: "default".to_owned(), version: "0.1.0".to_owned() }),
            decisions: Some(Rates {
                per_second: 12.25,
                refused_per_second: 0.5,
                refused: vec![("no_rule_allows".to_owned(), 0.5)],
                refused_in_all: 9.0,
            }),
            ..workload("orders-1")
        };
        let bad = Workload {
            problems: vec!["has no gate, and should\x1b[2J have one".to_owned()],
            ..workload("web-1")
        };
        let mesh =
            Mesh { workloads: vec![well, bad], missing: vec!["no control plane".to_owned()] };
        let style = Style { colour: Colour::None, width: 100 };
        let mut out = Vec::new();
        text(&mesh, style, &mut out).unwrap();
        let expected = "\
NAMESPACE  POD       IDENTITY                              CERTIFICATE              REVISION      IN FORCE  GATE             DECISIONS/S  REFUSED/S
shop       orders-1  spiffe://demo.mesh/ns/shop/sa/orders  12 min old, 48 min left  0123456789ab  3 of 3    0.1.0 (default)  12.2         0.5 (no_rule_allows)
shop       web-1     -                                     -                        -             -         -                -            -

no control plane
shop/web-1: has no gate, and should\\u{1b}[2J have one
";
        assert_eq!(String::from_utf8(out).unwrap(), expected);
        let nothing = Mesh { workloads: Vec::new(), missing: Vec::new() };
        let mut out = Vec::new();
        text(&nothing, style, &mut out).unwrap();
        assert!(out.starts_with(b"no pod has a gate here"));
    }
}
