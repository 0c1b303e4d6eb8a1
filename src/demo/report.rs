//! The outcome of a tour: for people a table, for machines JSON.

use std::fmt::Write as _;
use std::time::Duration;

use serde::Serialize;

/// One thing that was tried.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Step {
    /// What it shows.
    pub name: String,
    /// What was done.
    pub tried: String,
    /// What should come of it.
    pub expected: String,
    /// What came of it.
    pub seen: String,
    /// Whether that is as expected.
    pub ok: bool,
}

/// A whole tour.
#[derive(Debug, Clone, Serialize)]
pub struct Report {
    /// Every step, in order.
    pub steps: Vec<Step>,
    /// The version of the Envoy that took part.
    pub envoy: String,
    /// How long it took, with the start of everything.
    pub seconds: f64,
}

/// Whether the table may use colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Colour {
    /// For a terminal.
    Ansi,
    /// For everything else.
    None,
}

impl Report {
    /// Puts a report together.
    #[must_use]
    pub fn new(steps: Vec<Step>, envoy: String, took: Duration) -> Self {
        Self { steps, envoy, seconds: (took.as_secs_f64() * 10.0).round() / 10.0 }
    }

    /// Whether every step was as expected. A tour without steps shows nothing, so it is not.
    #[must_use]
    pub fn is_ok(&self) -> bool {
        !self.steps.is_empty() && self.steps.iter().all(|step| step.ok)
    }

    /// The table.
    #[must_use]
    pub fn table(&self, colour: Colour) -> String {
        let heads = ["", "step", "tried", "expected", "seen"];
        let rows: Vec<[&str; 5]> = self.steps.iter().map(Step::cells).collect();
        let mut widths = heads.map(width);
        for row in &rows {
            for (widest, cell) in widths.iter_mut().zip(row) {
                *widest = (*widest).max(width(cell));
            }
        }
        let mut text = String::new();
        line(&mut text, &heads, &widths, None);
        for (row, step) in rows.iter().zip(&self.steps) {
            let paint = match colour {
                Colour::None => None,
                Colour::Ansi if step.ok => Some("\x1b[32m"),
                Colour::Ansi => Some("\x1b[31m"),
            };
            line(&mut text, row, &widths, paint);
        }
        let good = self.steps.iter().filter(|step| step.ok).count();
        let all = self.steps.len();
        let _infallible = writeln!(
            text,
            "\n{good} of {all} as expected, with Envoy {}, in {} s",
            self.envoy, self.seconds
        );
        text
    }
}

impl Step {
    fn cells(&self) -> [&str; 5] {
        let mark = if self.ok { "ok" } else { "FAILED" };
        [mark, &self.name, &self.tried, &self.expected, &self.seen]
    }
}

/// Letters, not bytes. What the tour prints is Latin text, one column for each.
fn width(text: &str) -> usize {
    text.chars().count()
}

/// One line; its first cell painted.
fn line(text: &mut String, cells: &[&str; 5], widths: &[usize; 5], paint: Option<&str>) {
    let mut row = String::new();
    for (at, (cell, width)) in cells.iter().zip(widths).enumerate() {
        let padded = format!("{cell:width$}");
        match paint {
            Some(colour) if at == 0 => row.push_str(&format!("{colour}{padded}\x1b[0m")),
            _ => row.push_str(&padded),
        }
        row.push_str("  ");
    }
    text.push_str(row.trim_end());
    text.push('\n');
}

#[cfg(test)]
mod tests {
    use super::*;

    fn report(seen: &str) -> Report {
        let step = |name: &str, seen: &str| Step {
            name: name.to_owned(),
            tried: "GET /".to_owned(),
            expected: "200 web".to_owned(),
            seen: seen.to_owned(),
            ok: seen == "200 web",
        };
        let steps = vec![step("front page", "200 web"), step("again", seen)];
        Report::new(steps, "1.40.0".to_owned(), Duration::from_millis(1234))
    }

    #[test]
    fn the_table_is_aligned() {
        let expected = "        step        tried  expected  seen\n\
                        ok      front page  GET /  200 web   200 web\n\
                        FAILED  again       GET /  200 web   403\n\
                        \n\
                        1 of 2 as expected, with Envoy 1.40.0, in 1.2 s\n";
        assert_eq!(report("403").table(Colour::None), expected);
        assert!(report("403").table(Colour::Ansi).contains("\x1b[31mFAILED\x1b[0m"));
    }

    #[test]
    fn it_is_well_only_if_every_step_is() {
        assert!(report("200 web").is_ok());
        assert!(!report("403").is_ok());
        assert!(!Report::new(Vec::new(), String::new(), Duration::ZERO).is_ok());
    }

    #[test]
    fn machines_read_it() {
        let json = serde_json::to_value(report("403")).unwrap();
        assert_eq!(json["steps"][1]["ok"], false);
        assert_eq!((&json["envoy"], &json["seconds"]), (&"1.40.0".into(), &1.2.into()));
    }
}
