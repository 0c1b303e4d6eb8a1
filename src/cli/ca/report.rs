//! Where the authority stands, for people.

use std::io::Write;

use crate::control::{AwaitedStanding, Standing};

use super::follow::Lines;

/// From when on a sidecar counts as stuck.
const STUCK: u64 = 60;

/// True when a connected sidecar has held a change up for long.
pub(super) fn is_stuck(standing: &Standing) -> bool {
    standing.awaited.iter().any(|one| match one {
        AwaitedStanding::Sidecar { for_seconds, .. } => *for_seconds >= STUCK,
        AwaitedStanding::Gone { .. }
        | AwaitedStanding::Others { .. }
        | AwaitedStanding::Behind { .. }
        | AwaitedStanding::Silent { .. }
        | AwaitedStanding::Reconnect { .. }
        | AwaitedStanding::Absent { .. }
        | AwaitedStanding::Tokens { .. }
        | AwaitedStanding::Readers { .. } => false,
    })
}

/// True when that generation signs.
pub(super) fn is_active(standing: &Standing, number: u32) -> bool {
    standing.generations.iter().any(|one| one.number == number && one.phase == "active")
}

/// Generations as a table, then how far a change is.
pub(super) fn text(standing: &Standing, out: &mut dyn Write) -> anyhow::Result<()> {
    let Standing { trust_domain, sequence, acknowledged, connected, .. } = standing;
    writeln!(
        out,
        "authority of {trust_domain}; bundle {sequence}, acknowledged by {acknowledged} of {connected} sidecars"
    )?;
    let head = ["root", "phase", "subject", "until", "issuing until", "signs leaves as"];
    let mut rows = vec![head.map(str::to_owned)];
    rows.extend(standing.generations.iter().map(|one| {
        [
            one.number.to_string(),
            one.phase.clone(),
            one.subject.clone(),
            one.not_after.clone(),
            one.issuing_not_after.clone(),
            one.key_id.clone(),
        ]
    }));
    let width = |column: usize| {
        let cells = rows.iter().filter_map(|row| row.get(column));
        cells.map(|cell| cell.chars().count()).max().unwrap_or_default()
    };
    let widths: Vec<usize> = (0..head.len()).map(width).collect();
    for row in &rows {
        let cells: Vec<String> =
            row.iter().zip(&widths).map(|(cell, width)| format!("{cell:width$}")).collect();
        writeln!(out, "{}", cells.join("  ").trim_end())?;
    }
    if !standing.leads {
        writeln!(out, "said by a replica that follows; another one leads")?;
    }
    if let Some(refusal) = &standing.refusal {
        writeln!(out, "the last issuing certificate was not taken: {refusal}")?;
    }
    for line in Lines::default().changes(standing) {
        writeln!(out, "{line}")?;
    }
    for one in &standing.awaited {
        if let AwaitedStanding::Sidecar { id, for_seconds } = one
            && *for_seconds < super::follow::LATE
        {
            writeln!(out, "waits for {id}")?;
        }
    }
    Ok(())
}
