//! SVG, drawn so that it can be read without this program: columns, curves, a legend.

use std::fmt::Write as _;

use super::layout::{Direction, Layout, Place, Route, Size, arrange};
use super::model::{Edge, EdgeStyle, Graph, Node, NodeKind};

const MARGIN: f64 = 28.0;
const LINE_HEIGHT: f64 = 17.0;
const LABEL_LINE: f64 = 14.0;
/// Wider than a letter of the fonts below is on average, so that texts stay inside their boxes.
const LETTER: f64 = 7.4;
const LABEL_LETTER: f64 = 6.2;
const LEGEND_HEIGHT: f64 = 34.0;
/// Longer lines are cut: a picture is no place for long lists.
const MAX_LETTERS: usize = 48;

impl Graph {
    /// An SVG picture.
    #[must_use]
    pub fn svg(&self) -> String {
        let nodes: Vec<Size> = self.nodes.iter().map(Node::size).collect();
        let labels: Vec<Size> = self.edges.iter().map(Edge::size).collect();
        let layout = arrange(self, &nodes, &labels);
        let width = layout.width.max(LEGEND_WIDTH) + 2.0 * MARGIN;
        let height = layout.height + 2.0 * MARGIN + LEGEND_HEIGHT;
        let mut out = String::new();
        add(
            &mut out,
            format_args!(
                "<svg xmlns=\"http://www.w3.org/2000/svg\" width=\"{width:.0}\" height=\"{height:.0}\" \
                 viewBox=\"0 0 {width:.0} {height:.0}\" role=\"img\" aria-label=\"Who may call whom\">"
            ),
        );
        out.push_str(STYLE);
        add(&mut out, format_args!("<rect class=\"paper\" width=\"100%\" height=\"100%\"/>"));
        add(&mut out, format_args!("<g transform=\"translate({MARGIN} {MARGIN})\">"));
        for (edge, route) in self.edges.iter().zip(&layout.edges) {
            draw_line(&mut out, edge, route, &layout);
        }
        for (edge, route) in self.edges.iter().zip(&layout.edges) {
            draw_label(&mut out, edge, route);
        }
        for (node, place) in self.nodes.iter().zip(&layout.nodes) {
            draw_node(&mut out, node, place);
        }
        add(&mut out, format_args!("</g>"));
        legend(&mut out, height - LEGEND_HEIGHT / 2.0 - 8.0);
        out.push_str("</svg>\n");
        out
    }
}

impl Node {
    fn size(&self) -> Size {
        let longest = self.lines.iter().map(|line| letters(line)).max().unwrap_or_default();
        let padding = match self.kind {
            NodeKind::Workload | NodeKind::Peer => 28.0,
            NodeKind::User | NodeKind::Anyone => 40.0,
        };
        Size {
            width: f64::from(longest) * LETTER + padding,
            height: f64::from(count(&self.lines)) * LINE_HEIGHT + 18.0,
        }
    }
}

impl Edge {
    fn size(&self) -> Size {
        let longest = self.labels.iter().map(|label| letters(label)).max().unwrap_or_default();
        Size {
            width: f64::from(longest) * LABEL_LETTER + 12.0,
            height: f64::from(count(&self.labels)) * LABEL_LINE + 6.0,
        }
    }
}

fn letters(line: &str) -> u32 {
    u32::try_from(shown(line).chars().count()).unwrap_or(u32::MAX)
}

fn count(lines: &[String]) -> u32 {
    u32::try_from(lines.len()).unwrap_or(u32::MAX)
}

fn shown(line: &str) -> String {
    if line.chars().count() <= MAX_LETTERS {
        return line.to_owned();
    }
    line.chars().take(MAX_LETTERS - 1).chain(['…']).collect()
}

/// From the end of one box to the beginning of the next, and flat through what is passed.
fn draw_line(out: &mut String, edge: &Edge, route: &Route, layout: &Layout) {
    let (left, right) = match route.direction {
        Direction::Forth => (edge.from, edge.to),
        Direction::Back => (edge.to, edge.from),
    };
    let (Some(left), Some(right)) = (layout.nodes.get(left), layout.nodes.get(right)) else {
        return;
    };
    let mut x = left.left + left.width;
    let mut y = route.ends.0;
    let mut path = format!("M{x:.1} {y:.1}");
    for stop in route.stops.iter().chain([right]) {
        let last = std::ptr::eq(stop, right);
        let (next_x, next_y) = (stop.left, if last { route.ends.1 } else { stop.middle });
        let bend = (x + next_x) / 2.0;
        let _infallible =
            write!(path, " C{bend:.1} {y:.1} {bend:.1} {next_y:.1} {next_x:.1} {next_y:.1}");
        x = stop.left + stop.width;
        y = next_y;
        if !last {
            let _infallible = write!(path, " H{x:.1}");
        }
    }
    let (class, marker) = match edge.style {
        EdgeStyle::Allow => ("allow", "arrow"),
        EdgeStyle::Deny => ("deny", "bar"),
    };
    let end = match route.direction {
        Direction::Forth => "marker-end",
        Direction::Back => "marker-start",
    };
    add(out, format_args!("<path class=\"edge {class}\" d=\"{path}\" {end}=\"url(#{marker})\"/>"));
}

fn draw_label(out: &mut String, edge: &Edge, route: &Route) {
    let Some(place) = route.stops.get(route.label) else { return };
    let class = match edge.style {
        EdgeStyle::Allow => "allow",
        EdgeStyle::Deny => "deny",
    };
    let top = place.middle - place.height / 2.0;
    add(
        out,
        format_args!(
            "<rect class=\"label {class}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"4\"/>",
            place.left, place.width, place.height
        ),
    );
    let x = place.left + place.width / 2.0;
    for (row, label) in (0_u32..).zip(&edge.labels) {
        let y = top + f64::from(row) * LABEL_LINE + LABEL_LINE;
        let label = escaped(&shown(label));
        add(
            out,
            format_args!("<text class=\"small {class}\" x=\"{x:.1}\" y=\"{y:.1}\">{label}</text>"),
        );
    }
}

fn draw_node(out: &mut String, node: &Node, place: &Place) {
    let (class, radius) = match node.kind {
        NodeKind::Workload => ("workload", 6.0),
        NodeKind::Peer => ("peer", 0.0),
        NodeKind::User => ("user", place.height / 2.0),
        NodeKind::Anyone => ("anyone", place.height / 2.0),
    };
    let top = place.middle - place.height / 2.0;
    add(
        out,
        format_args!(
            "<rect class=\"node {class}\" x=\"{:.1}\" y=\"{top:.1}\" width=\"{:.1}\" height=\"{:.1}\" rx=\"{radius:.1}\"/>",
            place.left, place.width, place.height
        ),
    );
    let x = place.left + place.width / 2.0;
    for (row, line) in (0_u32..).zip(&node.lines) {
        let y = top + 9.0 + f64::from(row) * LINE_HEIGHT + 13.0;
        let weight = if row == 0 { "name" } else { "more" };
        let line = escaped(&shown(line));
        add(out, format_args!("<text class=\"{weight}\" x=\"{x:.1}\" y=\"{y:.1}\">{line}</text>"));
    }
}

const LEGEND_WIDTH: f64 = 560.0;

fn legend(out: &mut String, y: f64) {
    let mut x = MARGIN;
    for (class, text, width) in [
        ("workload", "guarded workload", 130.0),
        ("peer", "peer on the wire", 126.0),
        ("user", "verified user", 106.0),
        ("anyone", "anyone", 72.0),
    ] {
        let radius = if class == "peer" { 0 } else { 5 };
        add(
            out,
            format_args!(
                "<rect class=\"node {class}\" x=\"{x:.0}\" y=\"{:.1}\" width=\"14\" height=\"10\" rx=\"{radius}\"/>",
                y - 9.0
            ),
        );
        add(
            out,
            format_args!("<text class=\"legend\" x=\"{:.0}\" y=\"{y:.1}\">{text}</text>", x + 20.0),
        );
        x += width;
    }
    for (class, text, marker) in [("allow", "allow", "arrow"), ("deny", "deny", "bar")] {
        add(
            out,
            format_args!(
                "<path class=\"edge {class}\" d=\"M{x:.0} {0:.1} H{1:.0}\" marker-end=\"url(#{marker})\"/>",
                y - 4.0,
                x + 22.0
            ),
        );
        add(
            out,
            format_args!("<text class=\"legend\" x=\"{:.0}\" y=\"{y:.1}\">{text}</text>", x + 32.0),
        );
        x += 70.0;
    }
}

const STYLE: &str = "<style>\n\
.paper{fill:#ffffff}\n\
text{font-family:system-ui,-apple-system,'Segoe UI',Helvetica,Arial,sans-serif;text-anchor:middle}\n\
.name{font-size:13px;font-weight:600;fill:#1d232b}\n\
.more{font-size:12px;fill:#46505c}\n\
.small{font-size:11px;fill:#2d3a4a}\n\
.small.deny{fill:#b3261e}\n\
.legend{font-size:11px;fill:#5a6472;text-anchor:start}\n\
.node{stroke-width:1.4}\n\
.workload{fill:#dbe9ff;stroke:#2457a6}\n\
.peer{fill:#eef0f3;stroke:#5a6472}\n\
.user{fill:#def3e2;stroke:#2c7a3f}\n\
.anyone{fill:#fff3d6;stroke:#9a6b00;stroke-dasharray:4 3}\n\
.edge{fill:none;stroke-width:1.5}\n\
.edge.allow{stroke:#5a7190}\n\
.edge.deny{stroke:#b3261e;stroke-dasharray:6 4}\n\
.label{fill:#ffffff;stroke:#c5d0de;stroke-width:1}\n\
.label.deny{stroke:#e3a29d}\n\
</style>\n\
<defs>\n\
<marker id=\"arrow\" viewBox=\"0 0 10 10\" refX=\"9\" refY=\"5\" markerWidth=\"8\" markerHeight=\"8\" orient=\"auto-start-reverse\"><path d=\"M0 0L10 5L0 10z\" fill=\"#5a7190\"/></marker>\n\
<marker id=\"bar\" viewBox=\"0 0 10 10\" refX=\"8\" refY=\"5\" markerWidth=\"9\" markerHeight=\"9\" orient=\"auto-start-reverse\"><path d=\"M2 1L8 9M8 1L2 9\" stroke=\"#b3261e\" stroke-width=\"2\" fill=\"none\"/></marker>\n\
</defs>\n";

fn escaped(text: &str) -> String {
    let mut safe = String::with_capacity(text.len());
    for c in text.chars() {
        match c {
            '&' => safe.push_str("&amp;"),
            '<' => safe.push_str("&lt;"),
            '>' => safe.push_str("&gt;"),
            '"' => safe.push_str("&quot;"),
            // No document of XML may hold them.
            c if c.is_control() => safe.push('\u{fffd}'),
            c => safe.push(c),
        }
    }
    safe
}

/// Writing to a text cannot fail.
fn add(out: &mut String, line: std::fmt::Arguments<'_>) {
    let _infallible = writeln!(out, "{line}");
}
