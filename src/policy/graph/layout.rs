//! Where everything stands: columns from left to right, nothing over anything else.
//!
//! The labels of an edge are laid out like a node, in a column of their own between its ends, so that no label lies on a
//! node, on another label or on a line. Where an edge passes columns, it has a place of its own in each.

use super::ends::Line;
use super::model::{Graph, NodeId};

/// Between two columns, for the curves.
const COLUMN_GAP: f64 = 44.0;
/// Between two boxes of a column.
const ROW_GAP: f64 = 18.0;
const SWEEPS: usize = 12;

/// The size of a box.
#[derive(Debug, Clone, Copy)]
pub(super) struct Size {
    pub(super) width: f64,
    pub(super) height: f64,
}

/// A box with its place: the middle of its left side.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Place {
    pub(super) left: f64,
    pub(super) middle: f64,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// Everything in its place.
#[derive(Debug)]
pub(super) struct Layout {
    /// Of each node of the graph.
    pub(super) nodes: Vec<Place>,
    /// Of each edge of the graph.
    pub(super) edges: Vec<Route>,
    pub(super) width: f64,
    pub(super) height: f64,
}

/// How an edge runs from left to right, its ends left out.
#[derive(Debug)]
pub(super) struct Route {
    /// What it passes; one of them holds its labels.
    pub(super) stops: Vec<Place>,
    /// Which of them.
    pub(super) label: usize,
    /// Which way the arrow points.
    pub(super) direction: Direction,
    /// Where it leaves the box on the left and enters the one on the right.
    pub(super) ends: (f64, f64),
}

/// Which way an arrow points on a line that is drawn from left to right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Direction {
    Forth,
    Back,
}

/// A box before it has a place.
struct Cell {
    size: Size,
    column: usize,
    /// Boxes in the column before and behind that a line joins it with.
    before: Vec<usize>,
    behind: Vec<usize>,
    middle: f64,
}

/// Lays a graph out. `labels` are the sizes of the labels of each edge.
pub(super) fn arrange(graph: &Graph, nodes: &[Size], labels: &[Size]) -> Layout {
    let directions = acyclic(graph);
    let columns = columns(graph, &directions);
    let mut cells: Vec<Cell> =
        nodes.iter().zip(&columns).map(|(size, column)| Cell::new(*size, *column)).collect();
    let mut routes = Vec::with_capacity(graph.edges.len());
    for ((edge, direction), label) in graph.edges.iter().zip(&directions).zip(labels) {
        let (from, to) = match direction {
            Direction::Forth => (edge.from, edge.to),
            Direction::Back => (edge.to, edge.from),
        };
        let first = columns.get(from).copied().unwrap_or_default() + 1;
        let last = columns.get(to).copied().unwrap_or_default();
        let mut stops = Vec::new();
        let mut at = from;
        for column in first..last {
            let size = if column == first { *label } else { Size { width: 0.0, height: 6.0 } };
            let stop = cells.len();
            cells.push(Cell::new(size, column));
            join(&mut cells, at, stop);
            stops.push(stop);
            at = stop;
        }
        join(&mut cells, at, to);
        routes.push(stops);
    }
    let order = ordered(&mut cells);
    place(&mut cells, &order);
    finish(graph, &cells, (&order, routes, directions))
}

impl Cell {
    fn new(size: Size, column: usize) -> Self {
        Self { size, column, before: Vec::new(), behind: Vec::new(), middle: 0.0 }
    }
}

fn join(cells: &mut [Cell], from: usize, to: usize) {
    if let Some(cell) = cells.get_mut(from) {
        cell.behind.push(to);
    }
    if let Some(cell) = cells.get_mut(to) {
        cell.before.push(from);
    }
}

/// Turns edges around until there is no circle: those that lead back on a walk from every node.
fn acyclic(graph: &Graph) -> Vec<Direction> {
    #[derive(Clone, Copy, PartialEq)]
    enum Mark {
        New,
        Open,
        Done,
    }
    let mut outgoing: Vec<Vec<(usize, NodeId)>> = vec![Vec::new(); graph.nodes.len()];
    for (place, edge) in graph.edges.iter().enumerate() {
        if let Some(list) = outgoing.get_mut(edge.from) {
            list.push((place, edge.to));
        }
    }
    let mut marks = vec![Mark::New; graph.nodes.len()];
    let mut directions = vec![Direction::Forth; graph.edges.len()];
    let incoming: std::collections::HashSet<NodeId> =
        graph.edges.iter().map(|edge| edge.to).collect();
    // From those that nobody calls first, so that callers stand left.
    let mut starts: Vec<NodeId> = (0..graph.nodes.len()).collect();
    starts.sort_by_key(|node| incoming.contains(node));
    for start in starts {
        let mut stack = vec![(start, 0)];
        while let Some((node, next)) = stack.pop() {
            let Some(mark) = marks.get_mut(node) else { continue };
            if next == 0 {
                if *mark != Mark::New {
                    continue;
                }
                *mark = Mark::Open;
            }
            match outgoing.get(node).and_then(|list| list.get(next)).copied() {
                None => *mark = Mark::Done,
                Some((edge, to)) => {
                    stack.push((node, next + 1));
                    match marks.get(to) {
                        Some(Mark::Open) => {
                            if let Some(direction) = directions.get_mut(edge) {
                                *direction = Direction::Back;
                            }
                        }
                        Some(Mark::New) => stack.push((to, 0)),
                        Some(Mark::Done) | None => {}
                    }
                }
            }
        }
    }
    directions
}

/// Every edge leads at least two columns to the right; between nodes there is always one for labels.
fn columns(graph: &Graph, directions: &[Direction]) -> Vec<usize> {
    let mut columns = vec![0_usize; graph.nodes.len()];
    // Without circles this ends after as many rounds as there are nodes.
    for _ in 0..graph.nodes.len() {
        let mut changed = false;
        for (edge, direction) in graph.edges.iter().zip(directions) {
            let (from, to) = match direction {
                Direction::Forth => (edge.from, edge.to),
                Direction::Back => (edge.to, edge.from),
            };
            let least = columns.get(from).copied().unwrap_or_default() + 2;
            if let Some(column) = columns.get_mut(to).filter(|column| **column < least) {
                *column = least;
                changed = true;
            }
        }
        if !changed {
            break;
        }
    }
    columns
}

/// The boxes of each column from top to bottom, so that few lines cross.
fn ordered(cells: &mut [Cell]) -> Vec<Vec<usize>> {
    let last = cells.iter().map(|cell| cell.column).max().unwrap_or_default();
    let mut order: Vec<Vec<usize>> = vec![Vec::new(); last + 1];
    for (place, cell) in cells.iter().enumerate() {
        if let Some(column) = order.get_mut(cell.column) {
            column.push(place);
        }
    }
    let mut rank = vec![0.0; cells.len()];
    let renumber = |order: &[Vec<usize>], rank: &mut Vec<f64>| {
        for column in order {
            for (row, cell) in (0_u32..).zip(column) {
                if let Some(rank) = rank.get_mut(*cell) {
                    *rank = f64::from(row);
                }
            }
        }
    };
    renumber(&order, &mut rank);
    for sweep in 0..SWEEPS {
        for column in &mut order {
            let wanted = |cell: &usize| {
                let neighbours = cells
                    .get(*cell)
                    .map(|cell| if sweep % 2 == 0 { &cell.before } else { &cell.behind });
                mean(neighbours.into_iter().flatten().filter_map(|other| rank.get(*other)))
                    .unwrap_or_else(|| rank.get(*cell).copied().unwrap_or_default())
            };
            column.sort_by(|a, b| wanted(a).total_cmp(&wanted(b)));
        }
        renumber(&order, &mut rank);
    }
    order
}

fn mean<'v>(values: impl Iterator<Item = &'v f64>) -> Option<f64> {
    let (sum, count) = values.fold((0.0, 0_u32), |(sum, count), value| (sum + value, count + 1));
    (count > 0).then(|| sum / f64::from(count))
}

/// Heights: each box near those that it is joined with, none nearer to the next one than the gap.
fn place(cells: &mut [Cell], order: &[Vec<usize>]) {
    for column in order {
        stack(cells, column, |_| 0.0);
    }
    for sweep in 0..SWEEPS {
        let columns: Box<dyn Iterator<Item = &Vec<usize>>> = match sweep % 2 {
            0 => Box::new(order.iter()),
            _ => Box::new(order.iter().rev()),
        };
        for column in columns {
            let wanted: Vec<f64> = column
                .iter()
                .filter_map(|cell| cells.get(*cell))
                .map(|cell| {
                    let joined = cell.before.iter().chain(&cell.behind);
                    mean(joined.filter_map(|other| cells.get(*other)).map(|other| &other.middle))
                        .unwrap_or(cell.middle)
                })
                .collect();
            stack(cells, column, |row| wanted.get(row).copied().unwrap_or_default());
        }
    }
}

/// Puts the boxes of a column where they are wanted, as far as the order and the gap let them: those that would touch
/// form a group around the middle of their wishes.
fn stack(cells: &mut [Cell], column: &[usize], wanted: impl Fn(usize) -> f64) {
    struct Group {
        first: usize,
        /// Where its first box would have its middle.
        start: f64,
        /// From the middle of its first box to that of the next group's first.
        length: f64,
        wishes: Vec<f64>,
    }
    let height = |row: usize| {
        let cell = column.get(row).and_then(|cell| cells.get(*cell));
        cell.map_or(0.0, |cell| cell.size.height)
    };
    let mut groups: Vec<Group> = Vec::new();
    for row in 0..column.len() {
        let step = height(row) / 2.0 + ROW_GAP + height(row + 1) / 2.0;
        let mut group =
            Group { first: row, start: wanted(row), length: step, wishes: vec![wanted(row)] };
        while let Some(above) = groups.last() {
            if above.start + above.length <= group.start {
                break;
            }
            let Some(above) = groups.pop() else { break };
            let shifted = group.wishes.iter().map(|wish| wish - above.length);
            let wishes: Vec<f64> = above.wishes.iter().copied().chain(shifted).collect();
            group = Group {
                first: above.first,
                start: mean(wishes.iter()).unwrap_or_default(),
                length: above.length + group.length,
                wishes,
            };
        }
        groups.push(group);
    }
    let mut rows = Vec::with_capacity(column.len());
    for (place, group) in groups.iter().enumerate() {
        let end = groups.get(place + 1).map_or(column.len(), |next| next.first);
        let mut middle = group.start;
        for row in group.first..end {
            rows.push((row, middle));
            middle += height(row) / 2.0 + ROW_GAP + height(row + 1) / 2.0;
        }
    }
    for (row, middle) in rows {
        if let Some(cell) = column.get(row).and_then(|cell| cells.get_mut(*cell)) {
            cell.middle = middle;
        }
    }
}

fn finish(
    graph: &Graph,
    cells: &[Cell],
    (order, routes, directions): (&[Vec<usize>], Vec<Vec<usize>>, Vec<Direction>),
) -> Layout {
    let mut lefts = Vec::with_capacity(order.len());
    let mut left = 0.0;
    for column in order {
        let widths = column.iter().filter_map(|cell| cells.get(*cell)).map(|cell| cell.size.width);
        let width = widths.fold(0.0, f64::max);
        lefts.push((left, width));
        left += width + COLUMN_GAP;
    }
    let top = cells.iter().map(|cell| cell.middle - cell.size.height / 2.0);
    let top = top.fold(f64::INFINITY, f64::min);
    let bottom = cells.iter().map(|cell| cell.middle + cell.size.height / 2.0);
    let bottom = bottom.fold(f64::NEG_INFINITY, f64::max);
    let places: Vec<Place> = cells
        .iter()
        .map(|cell| {
            let (left, width) = lefts.get(cell.column).copied().unwrap_or_default();
            let Size { width: own, height } = cell.size;
            // Lines pass over the whole column, so that what is behind a narrow box is reached straight.
            let (left, width) =
                if own > 0.0 { (left + (width - own) / 2.0, own) } else { (left, width) };
            Place { left, middle: cell.middle - top, width, height }
        })
        .collect();
    let lines: Vec<Line> = graph
        .edges
        .iter()
        .zip(directions)
        .zip(&routes)
        .map(|((edge, direction), stops)| Line::new(edge, direction, stops, &places))
        .collect();
    let edges = lines.iter().map(|line| line.route(&lines, &places)).collect();
    let nodes = places.iter().take(graph.nodes.len()).copied().collect();
    let (width, height) = match cells.is_empty() {
        true => (0.0, 0.0),
        false => (left - COLUMN_GAP, bottom - top),
    };
    Layout { nodes, edges, width, height }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::policy::graph::model::{EdgeStyle, NodeKind};

    #[test]
    fn nothing_overlaps_even_where_everybody_calls_everybody() {
        let mut graph = Graph::default();
        for name in 0..7 {
            graph.node(NodeKind::Workload, vec![format!("w{name}")]);
        }
        for from in 0..7 {
            for to in (0..7).filter(|to| *to != from) {
                graph.edge((from, to), EdgeStyle::Allow, format!("{from}-{to}"));
            }
        }
        let nodes = vec![Size { width: 100.0, height: 40.0 }; graph.nodes.len()];
        let labels = vec![Size { width: 60.0, height: 20.0 }; graph.edges.len()];
        let layout = arrange(&graph, &nodes, &labels);
        let boxes: Vec<Place> = layout
            .nodes
            .iter()
            .copied()
            .chain(layout.edges.iter().flat_map(|route| route.stops.iter().copied()))
            .collect();
        assert!(boxes.len() > 80, "{}", boxes.len());
        for (place, a) in boxes.iter().enumerate() {
            assert!(a.left >= 0.0 && a.left + a.width <= layout.width + 0.01);
            for b in boxes.iter().skip(place + 1) {
                let apart_in_x = a.left + a.width <= b.left || b.left + b.width <= a.left;
                let gap = (a.middle - b.middle).abs() - (a.height + b.height) / 2.0;
                assert!(apart_in_x || gap > 1.0, "{a:?} {b:?}");
            }
        }
    }
}
