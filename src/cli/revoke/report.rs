//! What is said on stdout.

use std::io::Write;

use anyhow::Context as _;
use serde_json::Value;

use super::super::operator::Output;
use crate::revocation::RawRevocation;

/// One revocation was made.
pub(super) fn revoked(told: &Value, output: Output, out: &mut dyn Write) -> anyhow::Result<()> {
    if output == Output::Json {
        return json(told, out);
    }
    let revocation = one(told)?;
    let (what, until) = (subject(&revocation), until(&revocation));
    match told.get("outcome").and_then(Value::as_str) {
        Some("added") => writeln!(out, "{what} is revoked {until}")?,
        Some("extended") => {
            writeln!(out, "{what} was revoked for a shorter time and is now {until}")?
        }
        Some("already") => writeln!(
            out,
            "{what} is revoked at least as long already; `hopgate revoke list` shows until when"
        )?,
        Some(_) | None => {
            anyhow::bail!("the control plane answers what this version does not know")
        }
    }
    Ok(())
}

/// One was lifted.
pub(super) fn lifted(told: &Value, output: Output, out: &mut dyn Write) -> anyhow::Result<()> {
    if output == Output::Json {
        return json(told, out);
    }
    let revocation = one(told)?;
    let (what, reason) = (subject(&revocation), &revocation.reason);
    writeln!(out, "{what} is trusted again; it was revoked by {}: {reason}", revocation.by)?;
    Ok(())
}

/// All of them, one a line.
pub(super) fn list(told: &Value, output: Output, out: &mut dyn Write) -> anyhow::Result<()> {
    if output == Output::Json {
        return json(told, out);
    }
    let all: Vec<RawRevocation> =
        serde_json::from_value(field(told, "revocations")).context("revocations")?;
    if all.is_empty() {
        writeln!(out, "nothing is revoked")?;
        return Ok(());
    }
    let rows: Vec<[String; 5]> = all
        .into_iter()
        .map(|one| {
            let RawRevocation { kind: _, id, serial, since: _, until, reason, by } = one;
            let (serial, until) = (serial.unwrap_or_else(|| "all".to_owned()), until);
            [id, serial, until.unwrap_or_else(|| "it is lifted".to_owned()), by, reason]
        })
        .collect();
    let head = ["workload", "certificate", "until", "by", "reason"].map(str::to_owned);
    let widths: Vec<usize> = (0..head.len())
        .map(|column| {
            let cells = rows.iter().chain([&head]).filter_map(|row| row.get(column));
            cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
        })
        .collect();
    for row in [&head].into_iter().chain(&rows) {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    Ok(())
}

fn json(told: &Value, out: &mut dyn Write) -> anyhow::Result<()> {
    writeln!(out, "{told}")?;
    Ok(())
}

fn one(told: &Value) -> anyhow::Result<RawRevocation> {
    serde_json::from_value(field(told, "revocation")).context("revocation")
}

fn field(told: &Value, name: &str) -> Value {
    told.get(name).cloned().unwrap_or_default()
}

fn subject(revocation: &RawRevocation) -> String {
    match &revocation.serial {
        None => revocation.id.clone(),
        Some(serial) => format!("certificate {serial} of {}", revocation.id),
    }
}

fn until(revocation: &RawRevocation) -> String {
    match &revocation.until {
        None => "until it is lifted".to_owned(),
        Some(end) => format!("until {end}"),
    }
}
