//! What a person sees while things start and while the tour walks.

use std::io::Write;

/// Where progress is told.
pub enum Progress {
    /// A terminal: one line that changes.
    Terminal(Box<dyn Write + Send>),
    /// A file or a pipe: a line for each thing.
    Lines(Box<dyn Write + Send>),
}

impl Progress {
    /// Says what is being done now.
    pub(crate) fn now(&mut self, what: &str) {
        // Progress is a courtesy: a reader that went away must not end the demo.
        let _told = match self {
            Self::Terminal(out) => write!(out, "\r\x1b[K==> {what} ...").and_then(|()| out.flush()),
            Self::Lines(out) => writeln!(out, "==> {what}"),
        };
    }

    /// Takes away the line that changes.
    pub fn done(&mut self) {
        if let Self::Terminal(out) = self {
            let _told = write!(out, "\r\x1b[K").and_then(|()| out.flush());
        }
    }

    /// Says something that stays.
    pub fn note(&mut self, text: &str) {
        self.done();
        let (Self::Terminal(out) | Self::Lines(out)) = self;
        let _told = writeln!(out, "{text}");
    }
}

impl std::fmt::Debug for Progress {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::Terminal(_) => "Terminal",
            Self::Lines(_) => "Lines",
        })
    }
}
