//! Who signed whom among some certificates.

use x509_parser::prelude::{FromDer as _, X509Certificate};

use super::facts::Facts;

/// One certificate in the drawing, with those that it signed below it.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Node {
    /// Its place among the certificates.
    pub(super) index: usize,
    pub(super) below: Vec<Self>,
}

/// Draws each certificate below its issuer, where that is among them; the others stand at the top.
pub(super) fn forest(all: &[Facts]) -> Vec<Node> {
    let issuers: Vec<Option<usize>> = all.iter().map(|facts| issuer(facts, all)).collect();
    let top = |index: usize| issuers.get(index).is_none_or(|issuer| issuer.is_none());
    let mut trees: Vec<Node> =
        (0..all.len()).filter(|index| top(*index)).map(|index| node(index, &issuers, 0)).collect();
    // Authorities that signed one another in a circle have no top: they are drawn side by side.
    let mut drawn = Vec::new();
    trees.iter().for_each(|tree| collect(tree, &mut drawn));
    let rest = (0..all.len()).filter(|index| !drawn.contains(index));
    trees.extend(rest.map(|index| Node { index, below: Vec::new() }).collect::<Vec<_>>());
    trees
}

fn node(index: usize, issuers: &[Option<usize>], depth: usize) -> Node {
    let below = issuers.iter().enumerate().filter(|(_, issuer)| **issuer == Some(index));
    // Deeper than any chain that is taken anywhere.
    let below = below.filter(|_| depth < 16).map(|(child, _)| node(child, issuers, depth + 1));
    Node { index, below: below.collect() }
}

fn collect(node: &Node, into: &mut Vec<usize>) {
    into.push(node.index);
    node.below.iter().for_each(|below| collect(below, into));
}

/// The other certificate whose key signed this one.
fn issuer(facts: &Facts, all: &[Facts]) -> Option<usize> {
    if signed_by(facts, facts) {
        return None;
    }
    all.iter().position(|other| other.der != facts.der && signed_by(facts, other))
}

/// True when names, key identifiers and the signature say so.
pub(super) fn signed_by(facts: &Facts, by: &Facts) -> bool {
    if facts.issuer != by.subject {
        return false;
    }
    if let (Some(wanted), Some(found)) = (&facts.authority_key_id, &by.key_id)
        && wanted != found
    {
        return false;
    }
    let (Ok((_, certificate)), Ok((_, issuer))) =
        (X509Certificate::from_der(&facts.der), X509Certificate::from_der(&by.der))
    else {
        return false;
    };
    certificate.verify_signature(Some(issuer.public_key())).is_ok()
}

/// The lines of the drawing: what stands before each certificate, and its place among them.
pub(super) fn lines(trees: &[Node]) -> Vec<(String, usize)> {
    let mut lines = Vec::new();
    for tree in trees {
        lines.push((String::new(), tree.index));
        branches(&tree.below, "", &mut lines);
    }
    lines
}

fn branches(nodes: &[Node], before: &str, lines: &mut Vec<(String, usize)>) {
    for (place, node) in nodes.iter().enumerate() {
        let last = place + 1 == nodes.len();
        let (corner, go_on) = if last { ("└─ ", "   ") } else { ("├─ ", "│  ") };
        lines.push((format!("{before}{corner}"), node.index));
        branches(&node.below, &format!("{before}{go_on}"), lines);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn leaf(index: usize) -> Node {
        Node { index, below: Vec::new() }
    }

    #[test]
    fn branches_are_drawn_with_their_corners() {
        let tree = Node {
            index: 0,
            below: vec![Node { index: 1, below: vec![leaf(2), leaf(3)] }, leaf(4)],
        };
        let drawn: Vec<String> = lines(&[tree, leaf(5)])
            .iter()
            .map(|(before, index)| format!("{before}{index}"))
            .collect();
        assert_eq!(drawn, ["0", "├─ 1", "│  ├─ 2", "│  └─ 3", "└─ 4", "5"]);
    }
}
