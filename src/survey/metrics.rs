//! A page of metrics (OpenMetrics text), as far as it is read here.

use std::collections::BTreeMap;

/// The numbers of one page.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Metrics(Vec<Sample>);

/// One number.
#[derive(Debug, Clone, PartialEq)]
struct Sample {
    name: String,
    labels: BTreeMap<String, String>,
    value: f64,
}

impl Metrics {
    /// Reads a page. Lines that are not understood are left out: a number that is missing is seen to be missing.
    #[must_use]
    pub fn read(text: &str) -> Self {
        let lines = text.lines().filter(|line| !line.starts_with('#'));
        Self(lines.filter_map(Sample::read).collect())
    }

    /// The one number of that name without labels.
    #[must_use]
    pub fn value(&self, name: &str) -> Option<f64> {
        self.with(name, &[])
    }

    /// The first number of that name with these labels.
    #[must_use]
    pub fn with(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.all(name, labels).map(|sample| sample.value).next()
    }

    /// The sum of all numbers of that name with these labels; `None` where there is none.
    #[must_use]
    pub fn sum(&self, name: &str, labels: &[(&str, &str)]) -> Option<f64> {
        self.all(name, labels).map(|sample| sample.value).reduce(|sum, value| sum + value)
    }

    /// The value of a label of the one number of that name.
    #[must_use]
    pub fn label(&self, name: &str, label: &str) -> Option<&str> {
        let mut named = self.0.iter().filter(|sample| sample.name == name);
        named.find_map(|sample| sample.labels.get(label).map(String::as_str))
    }

    /// The sums of all numbers of that name with these labels, by another label.
    #[must_use]
    pub fn by_label(&self, name: &str, labels: &[(&str, &str)], by: &str) -> BTreeMap<String, f64> {
        let mut sums = BTreeMap::new();
        for sample in self.all(name, labels) {
            if let Some(label) = sample.labels.get(by) {
                *sums.entry(label.clone()).or_default() += sample.value;
            }
        }
        sums
    }

    fn all<'a>(
        &'a self,
        name: &'a str,
        labels: &'a [(&str, &str)],
    ) -> impl Iterator<Item = &'a Sample> {
        self.0.iter().filter(move |sample| {
            let has = |(name, value): &(&str, &str)| {
                sample.labels.get(*name).is_some_and(|held| held == value)
            };
            sample.name == name && labels.iter().all(has)
        })
    }
}

impl Sample {
    fn read(line: &str) -> Option<Self> {
        let (name, rest) = line.split_at_checked(line.find(['{', ' '])?)?;
        let (labels, rest) = match rest.strip_prefix('{') {
            None => (BTreeMap::new(), rest),
            Some(rest) => labels(rest)?,
        };
        let value = rest.split_whitespace().next()?.parse().ok()?;
        Some(Self { name: name.to_owned(), labels, value })
    }
}

/// Labels up to the closing brace, and what follows.
fn labels(text: &str) -> Option<(BTreeMap<String, String>, &str)> {
    let mut labels = BTreeMap::new();
    let mut rest = text;
    loop {
        rest = rest.trim_start_matches(',');
        if let Some(rest) = rest.strip_prefix('}') {
            return Some((labels, rest));
        }
        let (name, after) = rest.split_once("=\"")?;
        let mut value = String::new();
        let mut letters = after.char_indices();
        rest = loop {
            match letters.next()? {
                (at, '"') => break after.get(at + 1..)?,
                (_, '\\') => match letters.next()?.1 {
                    'n' => value.push('\n'),
                    other => value.push(other),
                },
                (_, letter) => value.push(letter),
            }
        };
        labels.insert(name.to_owned(), value);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_found_by_name_and_labels() {
        let page = Metrics::read(
            "# HELP a_total words { \"\n# TYPE a counter\na_total{d=\"allow\",c=\"ok\"} 3\na_total{d=\"deny\",c=\"x\\\"}, y\"} 4 1.5\n\
             b 1.5e3\nbroken{\nno value\n# EOF\n",
        );
        assert_eq!(page.value("b"), Some(1500.0));
        assert_eq!(page.with("a_total", &[("d", "deny")]), Some(4.0));
        assert_eq!(page.with("a_total", &[("c", "x\"}, y")]), Some(4.0));
        assert_eq!(page.sum("a_total", &[]), Some(7.0));
        assert_eq!(page.label("a_total", "c"), Some("ok"));
        for absent in ["a", "no", "broken", "c"] {
            assert_eq!(page.sum(absent, &[]), None, "{absent}");
        }
        assert_eq!(page.with("a_total", &[("d", "other")]), None);
    }
}
