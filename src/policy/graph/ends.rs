//! Where lines leave and enter the boxes.

use super::layout::{Direction, Place, Route};
use super::model::Edge;

/// An edge with the boxes at its ends.
pub(super) struct Line {
    left: usize,
    right: usize,
    stops: Vec<Place>,
    direction: Direction,
}

/// Between two lines that meet at one side of a box.
const LINE_GAP: f64 = 11.0;

impl Line {
    pub(super) fn new(
        edge: &Edge,
        direction: Direction,
        stops: &[usize],
        places: &[Place],
    ) -> Self {
        let (left, right) = match direction {
            Direction::Forth => (edge.from, edge.to),
            Direction::Back => (edge.to, edge.from),
        };
        let stops = stops.iter().filter_map(|stop| places.get(*stop)).copied().collect();
        Self { left, right, stops, direction }
    }

    /// Lines that meet at a side of a box stand there below each other, in the order of where they come from.
    pub(super) fn route(&self, all: &[Self], places: &[Place]) -> Route {
        let leaves = |line: &Self| line.stops.first().map_or(0.0, |stop| stop.middle);
        let enters = |line: &Self| line.stops.last().map_or(0.0, |stop| stop.middle);
        let left = all.iter().filter(|line| line.left == self.left).map(leaves).collect();
        let right = all.iter().filter(|line| line.right == self.right).map(enters).collect();
        let ends = (
            spread(places.get(self.left), left, leaves(self)),
            spread(places.get(self.right), right, enters(self)),
        );
        Route { stops: self.stops.clone(), label: 0, direction: self.direction, ends }
    }
}

/// Where at the side of a box the line stands that comes from this height.
fn spread(place: Option<&Place>, mut heights: Vec<f64>, own: f64) -> f64 {
    let Some(place) = place else { return 0.0 };
    heights.sort_by(f64::total_cmp);
    let count = heights.iter().fold(0.0, |count, _| count + 1.0);
    let rank = heights.iter().take_while(|height| **height < own).fold(0.0, |rank, _| rank + 1.0);
    let gap = LINE_GAP.min((place.height - 14.0) / count);
    place.middle + (rank - (count - 1.0) / 2.0) * gap
}
