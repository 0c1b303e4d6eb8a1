//! Nodes and edges, with nothing of how they are drawn.

/// A picture of who may call whom.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Graph {
    pub(super) nodes: Vec<Node>,
    pub(super) edges: Vec<Edge>,
}

/// The place of a node in the graph.
pub(super) type NodeId = usize;

/// One party.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Node {
    pub(super) kind: NodeKind,
    /// The lines that name it.
    pub(super) lines: Vec<String>,
}

/// What a node is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum NodeKind {
    /// What is guarded.
    Workload,
    /// A workload, or several, as a rule names it on the wire.
    Peer,
    /// Verified users or clients.
    User,
    /// Whoever comes, known or not.
    Anyone,
}

/// All rules of one effect from one party to a workload.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Edge {
    pub(super) from: NodeId,
    pub(super) to: NodeId,
    pub(super) style: EdgeStyle,
    /// The rules.
    pub(super) labels: Vec<String>,
}

/// What a rule does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) enum EdgeStyle {
    /// It admits.
    Allow,
    /// It refuses.
    Deny,
}

impl Graph {
    /// How many parties there are.
    #[must_use]
    pub fn node_count(&self) -> usize {
        self.nodes.len()
    }

    /// The node of this name; made where there is none.
    pub(super) fn node(&mut self, kind: NodeKind, lines: Vec<String>) -> NodeId {
        let node = Node { kind, lines };
        match self.nodes.iter().position(|known| *known == node) {
            Some(place) => place,
            None => {
                self.nodes.push(node);
                self.nodes.len() - 1
            }
        }
    }

    /// Adds a rule to the edge between two nodes.
    pub(super) fn edge(&mut self, (from, to): (NodeId, NodeId), style: EdgeStyle, label: String) {
        let same = |edge: &&mut Edge| edge.from == from && edge.to == to && edge.style == style;
        match self.edges.iter_mut().find(same) {
            Some(edge) if edge.labels.contains(&label) => {}
            Some(edge) => edge.labels.push(label),
            None => self.edges.push(Edge { from, to, style, labels: vec![label] }),
        }
    }
}
