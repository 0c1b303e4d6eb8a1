use std::cell::RefCell;

use super::*;
use crate::control::{ChangeStanding, GenerationStanding, ReissueStanding};

fn generation(number: u32, phase: &str) -> GenerationStanding {
    GenerationStanding {
        number,
        phase: phase.to_owned(),
        subject: format!("CN=hopgate root {number}"),
        not_before: "2026-01-01T00:00:00Z".to_owned(),
        not_after: "2036-01-01T00:00:00Z".to_owned(),
        issuing_not_after: "2027-01-01T00:00:00Z".to_owned(),
        key_id: format!("{number}a"),
        kid: format!("kid{number}"),
    }
}

fn standing(step: Option<&str>, done: usize, awaited: Vec<AwaitedStanding>) -> Standing {
    Standing {
        trust_domain: "demo.mesh".to_owned(),
        sequence: 2,
        generations: vec![generation(1, "active"), generation(2, "published")],
        change: step.map(|step| ChangeStanding {
            from: 1,
            to: 2,
            step: step.to_owned(),
            since: "2026-01-01T00:00:00Z".to_owned(),
            going_back: false,
            without_absent: false,
        }),
        reissue: None,
        request: None,
        refusal: None,
        leads: true,
        connected: 2,
        acknowledged: 2,
        done,
        awaited,
        let_go: 0,
    }
}

fn stuck(seconds: u64) -> Vec<AwaitedStanding> {
    let id = "spiffe://demo.mesh/ns/shop/sa/web".to_owned();
    vec![AwaitedStanding::Sidecar { id, for_seconds: seconds }]
}

#[test]
fn each_change_is_one_line_and_a_stuck_sidecar_is_named() {
    let mut lines = Lines::default();
    let publishing = |seconds| standing(Some("publishing"), 1, stuck(seconds));
    let line = "root 2 is published; acknowledged: 1 of 2 sidecars";
    assert_eq!(lines.changes(&publishing(0)), [line]);
    assert!(lines.changes(&publishing(9)).is_empty(), "nothing changed");
    let named = |seconds: u64| format!("stuck for {seconds}s: spiffe://demo.mesh/ns/shop/sa/web");
    assert_eq!(lines.changes(&publishing(10)), [named(10)]);
    assert!(lines.changes(&publishing(69)).is_empty(), "named already");
    assert_eq!(lines.changes(&publishing(70)), [named(70)]);
    let until = "2026-01-01T01:00:00Z".to_owned();
    let reissuing = standing(Some("reissuing"), 2, vec![AwaitedStanding::Absent { until }]);
    assert_eq!(
        lines.changes(&reissuing),
        [
            "root 2 signs; leaves of root 1 replaced: 2 of 2 sidecars",
            "waits until 2026-01-01T01:00:00Z, when certificates of sidecars that are not connected have ended (--without-absent waives it)",
        ]
    );
    assert!(lines.changes(&reissuing).is_empty());
    assert_eq!(
        lines.changes(&standing(None, 2, vec![])),
        ["root 1 signs; no change of the root is under way"]
    );
}

#[test]
fn who_is_not_connected_is_waited_for_for_a_reason_or_let_go() {
    let until = "2026-01-01T01:00:00Z".to_owned();
    let gone = |name: &str, pod: &str| AwaitedStanding::Gone {
        id: format!("spiffe://demo.mesh/ns/shop/sa/{name}"),
        pod: pod.to_owned(),
        until: until.clone(),
    };
    let both = vec![gone("web", "there"), gone("vm", "notKnown")];
    let mut lines = Lines::default();
    let said = lines.changes(&standing(Some("publishing"), 2, both.clone()));
    let waits = "waits for spiffe://demo.mesh/ns/shop/sa/web, which is not connected and whose pod is there, until its \
                 certificate ends at 2026-01-01T01:00:00Z; for spiffe://demo.mesh/ns/shop/sa/vm, which is not \
                 connected and of whose pod nothing is known, until its certificate ends at 2026-01-01T01:00:00Z";
    assert_eq!(said, ["root 2 is published; acknowledged: 2 of 2 sidecars", waits]);
    let less = |awaited: &[AwaitedStanding], let_go| Standing {
        let_go,
        ..standing(Some("publishing"), 2, awaited.to_vec())
    };
    let let_go = "not waited for, as their pods are gone: 1 sidecars";
    assert_eq!(lines.changes(&less(&both, 1)), [let_go]);
    assert!(lines.changes(&less(&both, 1)).is_empty(), "said already");
    let mut out = Vec::new();
    crate::cli::ca::report::text(&less(&both, 1), &mut out).unwrap();
    let out = String::from_utf8(out).unwrap();
    assert!(out.contains(waits) && out.contains(let_go), "{out}");
}

#[test]
fn it_is_followed_to_the_end_through_a_restart_of_the_control_plane() {
    let answers = RefCell::new(vec![
        Ok(standing(None, 2, vec![])),
        Err(anyhow::anyhow!("cannot ask")),
        Err(anyhow::anyhow!("cannot ask")),
        Ok(standing(Some("reissuing"), 2, vec![])),
    ]);
    let judge = |standing: &Standing| match standing.change {
        Some(_) => Outcome::NotYet,
        None => Outcome::Done,
    };
    let mut said = Vec::new();
    let first = standing(Some("publishing"), 2, vec![]);
    let ask = || answers.borrow_mut().pop().unwrap();
    let (last, done) = follow(first, ask, judge, &mut said).unwrap();
    assert!(done && last.change.is_none());
    let said = String::from_utf8(said).unwrap();
    assert_eq!(said.matches("cannot ask; trying on").count(), 1);
    assert!(said.contains("the control plane answers again"));
    let judge = |_: &Standing| Outcome::Failed;
    let first = standing(None, 2, vec![]);
    assert!(!follow(first, || unreachable!("it ended"), judge, &mut Vec::new()).unwrap().1);
}

#[test]
fn status_is_a_table_and_knows_who_is_stuck() {
    let mut out = Vec::new();
    let mut tainted = standing(None, 1, stuck(61));
    tainted.reissue = Some(ReissueStanding {
        issued_before: "2026-01-01T00:00:00Z".to_owned(),
        within_seconds: 60,
        due: "2026-01-01T00:01:00Z".to_owned(),
    });
    crate::cli::ca::report::text(&tainted, &mut out).unwrap();
    let expected = "\
authority of demo.mesh; bundle 2, acknowledged by 2 of 2 sidecars
root  phase      subject            until                 issuing until         signs leaves as
1     active     CN=hopgate root 1  2036-01-01T00:00:00Z  2027-01-01T00:00:00Z  1a
2     published  CN=hopgate root 2  2036-01-01T00:00:00Z  2027-01-01T00:00:00Z  2a
leaves replaced (due 2026-01-01T00:01:00Z): 1 of 2 sidecars
stuck for 61s: spiffe://demo.mesh/ns/shop/sa/web
";
    assert_eq!(String::from_utf8(out).unwrap(), expected);
    assert!(crate::cli::ca::report::is_stuck(&tainted));
    assert!(!crate::cli::ca::report::is_stuck(&standing(Some("publishing"), 1, stuck(59))));
}
