//! What whoever installs may do, and what the control plane may.

use super::{count, name};
use crate::kube::rights::Right;
use crate::survey::finding::Finding;
use crate::survey::seen::{Plane, Seen};

pub(super) fn of_installer(asked: &[(Right, Seen<bool>)]) -> Finding {
    let next = "install as somebody who has these rights, such as a cluster administrator";
    judge("installer/rights", "you", asked, next)
}

pub(super) fn of_control_plane(plane: &Plane) -> Finding {
    let next =
        "apply the chart of the control plane's version again, or the role in docs/kubernetes.md";
    judge("control-plane/rights", name(plane), &plane.rights, next)
}

fn judge(
    check: &'static str,
    who: &str,
    asked: &[(Right, Seen<bool>)],
    next: &'static str,
) -> Finding {
    let unknown = asked.iter().find_map(|(_, has)| has.as_ref().err());
    if let Some(why) = unknown {
        return Finding::unseen(check, &format!("the rights of {who}"), why);
    }
    let missing: Vec<&Right> =
        asked.iter().filter(|(_, has)| *has == Ok(false)).map(|(right, _)| right).collect();
    let needed = asked.len();
    if missing.is_empty() {
        let has = if who == "you" { "have" } else { "has" };
        return Finding::ok(check, format!("{who} {has} all {needed} rights that are needed"));
    }
    let lacks = if who == "you" { "lack" } else { "lacks" };
    let missed = count(missing.len(), "right");
    let seen = format!("{who} {lacks} {missed} of {needed} that are needed");
    Finding::error(check, seen, next).with(by_object(&missing))
}

/// A line for each kind of object, with all that may not be done to it.
fn by_object(rights: &[&Right]) -> Vec<String> {
    let mut lines: Vec<(String, Vec<&str>)> = Vec::new();
    for right in rights {
        let object = right.object();
        match lines.iter_mut().find(|(of, _)| *of == object) {
            Some((_, verbs)) => verbs.push(right.verb),
            None => lines.push((object, vec![right.verb])),
        }
    }
    lines.into_iter().map(|(object, verbs)| format!("{object}: {}", verbs.join(", "))).collect()
}
