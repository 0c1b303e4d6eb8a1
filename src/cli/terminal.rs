//! What stands on a terminal: whether it is coloured, how wide it is, and what must not reach it.

use std::io::IsTerminal as _;

/// Where nobody says how wide a line may be.
const USUAL_WIDTH: usize = 100;
const NARROWEST: usize = 40;
const WIDEST: usize = 200;

/// How a text is drawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Style {
    pub(super) colour: Colour,
    /// Columns of a line.
    pub(super) width: usize,
}

/// Whether words are coloured.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Colour {
    None,
    Ansi,
}

/// What a word means, for its colour.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Tone {
    Good,
    Attention,
    Bad,
}

impl Style {
    /// As stdout is: no colour into a file or under `NO_COLOR`; as wide as `COLUMNS` says.
    pub(super) fn of_stdout() -> Self {
        #[expect(clippy::disallowed_methods, reason = "the command line reads the environment")]
        let variable = |name: &str| std::env::var(name).ok().filter(|value| !value.is_empty());
        let coloured = variable("NO_COLOR").is_none() && std::io::stdout().is_terminal();
        let columns = variable("COLUMNS").and_then(|columns| columns.parse().ok());
        Self {
            colour: if coloured { Colour::Ansi } else { Colour::None },
            width: columns.unwrap_or(USUAL_WIDTH).clamp(NARROWEST, WIDEST),
        }
    }

    /// The text in the colour of its meaning.
    pub(super) fn paint(self, tone: Tone, text: &str) -> String {
        let code = match (self.colour, tone) {
            (Colour::None, _) => return text.to_owned(),
            (Colour::Ansi, Tone::Good) => "32",
            (Colour::Ansi, Tone::Attention) => "33",
            (Colour::Ansi, Tone::Bad) => "31",
        };
        format!("\x1b[{code}m{text}\x1b[0m")
    }
}

/// Text of strangers, without anything that moves a cursor, colours a terminal or turns the direction of writing.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for letter in text.chars() {
        match letter {
            '"' | '\'' | '\\' => plain.push(letter),
            _ => plain.extend(letter.escape_debug()),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn colour_is_there_only_where_it_is_wanted() {
        let style = |colour| Style { colour, width: 80 };
        assert_eq!(style(Colour::None).paint(Tone::Bad, "x"), "x");
        assert_eq!(style(Colour::Ansi).paint(Tone::Bad, "x"), "\x1b[31mx\x1b[0m");
        assert_eq!(plain("a\x1b[2J\u{202e}'b'"), "a\\u{1b}[2J\\u{202e}'b'");
    }
}
