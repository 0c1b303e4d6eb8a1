//! Documents of YAML as kubectl reads them, and as they were written.

use std::fmt;

use anyhow::Context as _;
use serde_json::Value;

/// One document of a file.
#[derive(Debug, Clone, Copy)]
pub(super) struct Document<'a> {
    source: &'a str,
    /// Its first line.
    line: usize,
    /// With the marker before it, and all comments.
    text: &'a str,
}

impl<'a> Document<'a> {
    /// All documents of a text, those without content too: together they are the text.
    ///
    /// A line that starts with `---` and white space is a marker wherever it stands (YAML 1.2, rule `c-forbidden`).
    pub(super) fn split(source: &'a str, text: &'a str) -> Vec<Self> {
        let mut found = Vec::new();
        let (mut start, mut first, mut at) = (0, 1, 0);
        for (number, line) in (1..).zip(text.split_inclusive('\n')) {
            if is_marker(line) && at > start {
                found.push((first, text.get(start..at)));
                (start, first) = (at, number);
            }
            at += line.len();
        }
        found.push((first, text.get(start..)));
        let document = |(line, text): (usize, Option<&'a str>)| Self {
            source,
            line,
            text: text.unwrap_or_default(),
        };
        found.into_iter().map(document).collect()
    }

    pub(super) fn text(&self) -> &'a str {
        self.text
    }

    /// What it holds; nothing if it is empty.
    ///
    /// Read as kubectl does, by the rules of YAML 1.1: `0644` is an octal number, and `yes` is true.
    pub(super) fn read(&self) -> anyhow::Result<Option<Value>> {
        let options = serde_saphyr::options! {
            legacy_octal_numbers: true,
            with_snippet: false,
        };
        let value: Option<Value> = serde_saphyr::from_str_with_options(self.text, options)
            .with_context(|| format!("{self} is no YAML"))?;
        Ok(value.filter(|value| !value.is_null()))
    }

    /// The document with another content: the marker and the comments before it stay.
    pub(super) fn rewritten(&self, value: &Value) -> anyhow::Result<String> {
        let is_before = |line: &&str| {
            is_marker(line) && line.trim_end() == "---"
                || line.trim_start().starts_with('#')
                || line.trim().is_empty()
        };
        let before: String = self.text.split_inclusive('\n').take_while(is_before).collect();
        let options = serde_saphyr::ser_options! { prefer_block_scalars: false };
        let text = serde_saphyr::to_string_with_options(value, options)?;
        Ok(before + text.as_str())
    }
}

/// Documents of one or several files as one stream.
pub(super) fn joined(texts: &[String]) -> String {
    let mut all = String::new();
    for text in texts {
        if !all.is_empty() && !all.ends_with('\n') {
            all.push('\n');
        }
        // The first document of a file needs no marker, the second of a stream does.
        let has_content = all.lines().any(|line| !line.trim().is_empty());
        if has_content && !text.lines().next().is_some_and(is_marker) && !text.trim().is_empty() {
            all.push_str("---\n");
        }
        all.push_str(text);
    }
    all
}

fn is_marker(line: &str) -> bool {
    line.strip_prefix("---")
        .is_some_and(|rest| rest.is_empty() || rest.starts_with([' ', '\t', '\r', '\n']))
}

impl fmt::Display for Document<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}:{}", self.source, self.line)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn documents_are_the_text_again() {
        let text = "# a\n---\na: 1\n--- # b\nb: |\n  x\n---\n\n---\nc: 2";
        let documents = Document::split("f", text);
        let texts: Vec<String> = documents.iter().map(|d| d.text().to_owned()).collect();
        assert_eq!(texts.concat(), text);
        assert_eq!(joined(&texts), text);
        assert_eq!(documents.iter().filter(|d| d.read().unwrap().is_some()).count(), 3);
        assert_eq!(documents.last().unwrap().to_string(), "f:9");
        let two = ["a: 1".to_owned(), "b: 2\n".to_owned()];
        assert_eq!(joined(&two), "a: 1\n---\nb: 2\n");
    }

    #[test]
    fn values_are_those_that_kubectl_reads_and_strings_stay_strings() {
        let text = "---\n# kept\nmode: 0644\nyes: yes\nquoted: \"0644\"\nnumber: 1.5\nbig: 18446744073709551615\nno: 'no'\n";
        let document = Document::split("f", text).into_iter().next().unwrap();
        let value = document.read().unwrap().unwrap();
        assert_eq!(value["mode"], 420);
        assert_eq!(value["quoted"], "0644");
        assert_eq!(value["big"], u64::MAX);
        let written = document.rewritten(&value).unwrap();
        assert!(written.starts_with("---\n# kept\nmode: 420\n"), "{written}");
        let again = Document::split("f", &written).into_iter().next().unwrap();
        assert_eq!(again.read().unwrap().unwrap(), value, "{written}");
        assert!(Document { source: "f", line: 1, text: "a: [" }.read().is_err());
        assert!(Document { source: "f", line: 1, text: "a: 1\na: 2" }.read().is_err());
    }
}
