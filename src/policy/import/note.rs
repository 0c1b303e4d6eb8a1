//! What does not carry over.

use std::fmt;

use serde_json::{Value, json};

use super::bound::Difference;

/// One thing that does not carry over as it was.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Note {
    /// The kind, the name and the file.
    pub subject: String,
    /// The path of the field; empty for the whole document.
    pub field: String,
    /// How the translation differs.
    pub difference: Difference,
    /// What is different, and what to do about it.
    pub message: String,
}

/// Collects notes; each is told once.
#[derive(Debug, Default)]
pub(super) struct Notes {
    list: Vec<Note>,
}

impl Notes {
    pub(super) fn add(
        &mut self,
        subject: &str,
        field: impl Into<String>,
        difference: Difference,
        message: impl Into<String>,
    ) {
        let (subject, field, message) = (subject.to_owned(), field.into(), message.into());
        let note = Note { subject, field, difference, message };
        if !self.list.contains(&note) {
            self.list.push(note);
        }
    }

    pub(super) fn into_list(self) -> Vec<Note> {
        self.list
    }
}

impl Note {
    /// The same as a JSON object.
    #[must_use]
    pub fn json(&self) -> Value {
        let Self { subject, field, difference, message } = self;
        json!({
            "subject": subject,
            "field": field,
            "difference": difference.code(),
            "message": message,
        })
    }
}

impl fmt::Display for Note {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}: ", self.difference.words(), self.subject)?;
        if !self.field.is_empty() {
            write!(f, "{}: ", self.field)?;
        }
        f.write_str(&self.message)
    }
}
