//! Where in a condition a mistake stands, and how the expression there was written.

use std::fmt;

use cel::common::ast::{EntryExpr, Expr, IdedExpr, SourceInfo};

/// The longest expression that a message repeats, in characters.
const MAX_SHOWN: usize = 48;

/// A place in a condition, counted from one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Place {
    line: usize,
    column: usize,
    lines: usize,
}

/// The text of a condition and the places of its expressions.
pub(super) struct Source<'a> {
    text: &'a str,
    places: &'a SourceInfo,
}

impl<'a> Source<'a> {
    pub(super) fn new(text: &'a str, places: &'a SourceInfo) -> Self {
        Self { text, places }
    }

    /// Where an expression begins.
    pub(super) fn place(&self, at: &IdedExpr) -> Option<Place> {
        let (start, _) = self.span(at)?;
        let before = self.text.get(..start)?;
        let line =
            before.rfind('\n').map_or(before, |end| before.get(end + 1..).unwrap_or_default());
        Some(Place {
            line: before.matches('\n').count() + 1,
            column: line.chars().count() + 1,
            lines: self.text.trim_end().lines().count(),
        })
    }

    /// An expression as it was written, shortened where it is long.
    pub(super) fn shown(&self, at: &IdedExpr) -> String {
        let Some(text) = self.span(at).and_then(|(start, end)| self.text.get(start..end)) else {
            return "an expression".to_owned();
        };
        let words: Vec<&str> = text.split_whitespace().collect();
        let text = words.join(" ");
        if text.chars().count() <= MAX_SHOWN {
            return format!("`{text}`");
        }
        let start: String = text.chars().take(MAX_SHOWN).collect();
        format!("`{start}…`")
    }

    /// The bytes of an expression. The parser notes one token of each: an operator, a dot, an opening bracket.
    fn span(&self, at: &IdedExpr) -> Option<(usize, usize)> {
        let mut span = None;
        self.extend(at, &mut span);
        let (start, end) = span?;
        Some(closed(self.text, start, end.checked_add(1)?))
    }

    /// The token that the parser noted: its first byte and its last.
    fn noted(&self, at: &IdedExpr) -> Option<(usize, usize)> {
        let (first, last) = self.places.offset_for(at.id)?;
        Some((first.try_into().ok()?, last.try_into().ok()?))
    }

    fn extend(&self, at: &IdedExpr, span: &mut Option<(usize, usize)>) {
        let mut take = |first: usize, last: usize| {
            let (before, after) = span.unwrap_or((first, last));
            *span = Some((before.min(first), after.max(last)));
        };
        if let Some((first, last)) = self.noted(at) {
            take(first, last);
            // Of a selection the dot is noted, not the name behind it.
            if let Expr::Select(select) = &at.expr
                && !select.test
            {
                take(first, last + select.field.len());
            }
        }
        match &at.expr {
            Expr::Select(select) => self.extend(&select.operand, span),
            Expr::Call(call) => {
                call.target.iter().for_each(|target| self.extend(target, span));
                call.args.iter().for_each(|argument| self.extend(argument, span));
            }
            Expr::List(list) => list.elements.iter().for_each(|item| self.extend(item, span)),
            Expr::Map(map) => {
                for entry in &map.entries {
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        self.extend(&entry.key, span);
                        self.extend(&entry.value, span);
                    }
                }
            }
            Expr::Comprehension(inner) => {
                self.extend(&inner.iter_range, span);
                self.extend(&inner.loop_step, span);
            }
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => {}
        }
    }
}

/// Takes in the brackets that belong to a span, and the name before a bracket that opens it.
fn closed(text: &str, start: usize, end: usize) -> (usize, usize) {
    let (mut start, mut end) = (start, end);
    let (mut open, mut unopened) = (0_usize, 0_usize);
    let mut quote = None;
    for c in text.get(start..end).unwrap_or_default().chars() {
        match (quote, c) {
            (None, '\'' | '"') => quote = Some(c),
            (Some(begun), _) if begun == c => quote = None,
            (None, '(' | '[' | '{') => open += 1,
            (None, ')' | ']' | '}') if open > 0 => open -= 1,
            (None, ')' | ']' | '}') => unopened += 1,
            _ => {}
        }
    }
    for (at, c) in text.get(end..).unwrap_or_default().char_indices() {
        if open == 0 {
            break;
        }
        match c {
            '(' | '[' | '{' => open += 1,
            ')' | ']' | '}' => open -= 1,
            _ => {}
        }
        if open == 0 {
            end += at + c.len_utf8();
            break;
        }
    }
    while unopened > 0 {
        let Some(before) = text.get(..start).and_then(|before| before.rfind(['(', '[', '{']))
        else {
            break;
        };
        start = before;
        unopened -= 1;
    }
    if text.get(start..).is_some_and(|rest| rest.starts_with('(')) {
        let name = text.get(..start).unwrap_or_default();
        let name = name.trim_end_matches(|c: char| c.is_alphanumeric() || c == '_');
        start = name.len();
    }
    (start, end)
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { line, column, lines } = self;
        if *lines > 1 {
            write!(f, "line {line}, column {column}")
        } else {
            write!(f, "column {column}")
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_expression_is_shown_as_it_was_written() {
        for (text, shown, place) in [
            ("user.sub", "`user.sub`", "column 1"),
            ("size(user.roles)", "`size(user.roles)`", "column 1"),
            ("user.claims['a'].b", "`user.claims['a'].b`", "column 1"),
            ("(a || b) && c", "`(a || b) && c`", "column 1"),
            ("has(user.claims.x)", "`has(user.claims.x)`", "column 1"),
            ("user.roles.exists(r, r == 'a')", "`user.roles.exists(r, r == 'a')`", "column 1"),
            ("['a', 'b']", "`['a', 'b']`", "column 1"),
            ("'ä' ==\n  'b'", "`'ä' == 'b'`", "line 1, column 1"),
            ("\n  user.sub", "`user.sub`", "line 2, column 3"),
            ("a.b.startsWith(')')", "`a.b.startsWith(')')`", "column 1"),
        ] {
            let program = cel::Env::stdlib().compile(text).unwrap();
            let source = Source::new(text, program.source_info());
            assert_eq!(source.shown(program.expression()), shown, "{text}");
            assert_eq!(source.place(program.expression()).unwrap().to_string(), place, "{text}");
        }
        let long = format!("user.sub == '{}'", "a".repeat(100));
        let program = cel::Env::stdlib().compile(&long).unwrap();
        assert!(
            Source::new(&long, program.source_info()).shown(program.expression()).ends_with("…`")
        );
    }
}
