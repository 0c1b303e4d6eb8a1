//! Findings, for people and for programs.

use std::io::Write;

use serde_json::json;

use crate::cli::terminal::{Style, Tone, plain};
use crate::survey::{Finding, Level};

/// So many of the same are listed.
const LISTED: usize = 10;

/// A line for each, with what it is about and what to do below it.
pub(super) fn text(findings: &[Finding], style: Style, out: &mut dyn Write) -> anyhow::Result<()> {
    let width = findings.iter().map(|finding| finding.check.len()).max().unwrap_or_default();
    for Finding { check, level, seen, items, next } in findings {
        let word = style.paint(tone(*level), &format!("{:7}", level.word()));
        writeln!(out, "{word}  {check:width$}  {}", plain(seen))?;
        let margin = " ".repeat(width + 11);
        for item in items.iter().take(LISTED) {
            writeln!(out, "{margin}- {}", plain(item))?;
        }
        if items.len() > LISTED {
            let rest = items.len() - LISTED;
            writeln!(out, "{margin}- and {rest} more (--output json lists all)")?;
        }
        if let Some(next) = next {
            writeln!(out, "{margin}to do: {next}")?;
        }
    }
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    writeln!(
        out,
        "\n{} ok, {} to look at, {} wrong",
        count(Level::Ok),
        count(Level::Warning),
        count(Level::Error)
    )?;
    Ok(())
}

pub(super) fn json(findings: &[Finding], out: &mut dyn Write) -> anyhow::Result<()> {
    let worst = findings.iter().map(|finding| finding.level).max().unwrap_or(Level::Ok);
    writeln!(out, "{:#}", json!({ "level": worst, "checks": findings }))?;
    Ok(())
}

fn tone(level: Level) -> Tone {
    match level {
        Level::Ok => Tone::Good,
        Level::Warning => Tone::Attention,
        Level::Error => Tone::Bad,
    }
}
