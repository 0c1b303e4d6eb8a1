//! Mermaid and DOT.

use std::fmt::Write as _;

use super::model::{Edge, EdgeStyle, Graph, Node, NodeKind};

impl Graph {
    /// A flowchart of Mermaid, which GitHub and GitLab draw inside Markdown.
    #[must_use]
    pub fn mermaid(&self) -> String {
        let mut text = "flowchart LR\n".to_owned();
        for (id, Node { kind, lines }) in self.nodes.iter().enumerate() {
            let label = lines.iter().map(|line| escaped(line)).collect::<Vec<_>>().join("<br/>");
            let (open, close, class) = match kind {
                NodeKind::Workload => ("[", "]", "workload"),
                NodeKind::Peer => ("[[", "]]", "peer"),
                NodeKind::User => ("([", "])", "user"),
                NodeKind::Anyone => ("((", "))", "anyone"),
            };
            line(&mut text, format_args!("    n{id}{open}\"{label}\"{close}:::{class}"));
        }
        for Edge { from, to, style, labels } in &self.edges {
            let label = labels.iter().map(|label| escaped(label)).collect::<Vec<_>>().join("<br/>");
            let arrow = match style {
                EdgeStyle::Allow => format!("-->|\"{label}\"|"),
                EdgeStyle::Deny => format!("-. \"refused: {label}\" .-x"),
            };
            line(&mut text, format_args!("    n{from} {arrow} n{to}"));
        }
        let denied = self.edges.iter().enumerate().filter(|(_, e)| e.style == EdgeStyle::Deny);
        for (place, _) in denied {
            line(&mut text, format_args!("    linkStyle {place} stroke:#b3261e,color:#b3261e"));
        }
        text.push_str("    classDef workload fill:#dbe9ff,stroke:#2457a6,color:#10233f\n");
        text.push_str("    classDef peer fill:#eef0f3,stroke:#5a6472,color:#1d232b\n");
        text.push_str("    classDef user fill:#def3e2,stroke:#2c7a3f,color:#10301a\n");
        text.push_str("    classDef anyone fill:#fff3d6,stroke:#9a6b00,color:#3d2b00\n");
        text
    }

    /// The language of Graphviz.
    #[must_use]
    pub fn dot(&self) -> String {
        let mut text = "digraph hopgate {\n    rankdir=LR;\n".to_owned();
        text.push_str("    node [fontname=\"sans-serif\", style=filled];\n");
        text.push_str("    edge [fontname=\"sans-serif\", fontsize=10];\n");
        for (id, Node { kind, lines }) in self.nodes.iter().enumerate() {
            let label = lines.iter().map(|line| quoted(line)).collect::<Vec<_>>().join("\\n");
            let (shape, fill) = match kind {
                NodeKind::Workload => ("box", "#dbe9ff"),
                NodeKind::Peer => ("component", "#eef0f3"),
                NodeKind::User => ("oval", "#def3e2"),
                NodeKind::Anyone => ("doublecircle", "#fff3d6"),
            };
            line(
                &mut text,
                format_args!("    n{id} [label=\"{label}\", shape={shape}, fillcolor=\"{fill}\"];"),
            );
        }
        for Edge { from, to, style, labels } in &self.edges {
            let label = labels.iter().map(|label| quoted(label)).collect::<Vec<_>>().join("\\n");
            let look = match style {
                EdgeStyle::Allow => String::new(),
                EdgeStyle::Deny => {
                    ", style=dashed, arrowhead=tee, color=\"#b3261e\", fontcolor=\"#b3261e\""
                        .to_owned()
                }
            };
            line(&mut text, format_args!("    n{from} -> n{to} [label=\"{label}\"{look}];"));
        }
        text.push_str("}\n");
        text
    }
}

/// Mermaid knows the entities of HTML by name and by number.
fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '"' => safe.push_str("#quot;"),
            '#' => safe.push_str("#35;"),
            '&' => safe.push_str("#amp;"),
            '<' => safe.push_str("#lt;"),
            '>' => safe.push_str("#gt;"),
            '`' => safe.push_str("#96;"),
            c => safe.push(c),
        }
    }
    safe
}

fn quoted(text: &str) -> String {
    text.replace('\\', "\\\\").replace('"', "\\\"")
}

/// Writing to a text cannot fail.
fn line(text: &mut String, line: std::fmt::Arguments<'_>) {
    let _infallible = writeln!(text, "{line}");
}
