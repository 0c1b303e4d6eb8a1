//! `hopgate cert expiry`: when certificates end, over many places at once.

use std::io::Write as _;
use std::process::ExitCode;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};

use super::bar::Life;
use super::facts::Facts;
use super::input::load;
use super::inspect::line;
use super::{AtArgs, Group, Loaded, Output, ReadArgs, rfc3339};
use crate::cli::moment;
use crate::cli::terminal::{Style, Tone, plain};

/// Show when certificates end
///
/// PLACE is as for inspect. A chain ends with the first of its certificates. Exit code 0: all last, 1: one has ended or has less than --min-left, 2: a place could not be read, and of those that could none is short.
#[derive(Debug, clap::Args)]
pub(super) struct ExpiryArgs {
    /// Where the certificates are
    #[arg(value_name = "PLACE", required = true)]
    places: Vec<String>,
    /// What must be left of every one
    #[arg(long, value_name = "DURATION", default_value = "0s", value_parser = super::duration)]
    min_left: Duration,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    at: AtArgs,
    /// The form of what stands on stdout
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// One line of the table.
struct Row {
    place: String,
    title: String,
    life: Life,
    /// The certificate that ends first, where that is not the one of the title.
    first: Option<String>,
}

/// Runs the verb.
///
/// # Errors
/// When stdout is closed.
pub(super) fn run(args: &ExpiryArgs) -> anyhow::Result<ExitCode> {
    let now = args.at.now();
    let (mut rows, mut unread) = (Vec::new(), Vec::new());
    for place in &args.places {
        match load(place, &args.read) {
            Ok(loaded) => rows.extend(of(&loaded, now)),
            Err(error) => unread.push((place.clone(), format!("{error:#}"))),
        }
    }
    rows.sort_by_key(|row| row.life.not_after);
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Text => {
            let style = Style::of_stdout();
            out.write_all(table(&rows, args.min_left, style).as_bytes())?;
            let mut talk = std::io::stderr().lock();
            for (_, why) in &unread {
                writeln!(talk, "could not tell: {}", plain(why))?;
            }
        }
        Output::Json => writeln!(out, "{:#}", object(&rows, &unread, args.min_left))?,
    }
    let short = rows.iter().any(|row| row.is_short(args.min_left));
    Ok(match (short, unread.is_empty()) {
        (true, _) => ExitCode::from(1),
        (false, false) => ExitCode::from(2),
        (false, true) => ExitCode::SUCCESS,
    })
}

fn of(loaded: &Loaded, now: SystemTime) -> Vec<Row> {
    let chain = |group: &Group| {
        let (leaf, rest) = group.chain()?;
        let first = rest.iter().filter(|facts| facts.not_after < leaf.not_after);
        let first = first.min_by_key(|facts| facts.not_after);
        let not_after = first.map_or(leaf.not_after, |facts| facts.not_after);
        Some(Row {
            place: loaded.place.clone(),
            title: leaf.title(),
            life: Life { not_before: leaf.not_before, not_after, now },
            first: first.map(Facts::title),
        })
    };
    let root = |facts: &Facts| Row {
        place: loaded.place.clone(),
        title: facts.title(),
        life: Life { not_before: facts.not_before, not_after: facts.not_after, now },
        first: None,
    };
    loaded
        .groups
        .iter()
        .flat_map(|group| match chain(group) {
            Some(row) => vec![row],
            None => group.certificates.iter().map(root).collect(),
        })
        .collect()
}

impl Row {
    fn is_short(&self, min_left: Duration) -> bool {
        self.life.left().is_none_or(|left| left < min_left)
    }

    fn left(&self) -> String {
        self.life.left().map_or_else(|| "ended".to_owned(), moment::rough)
    }
}

fn table(rows: &[Row], min_left: Duration, style: Style) -> String {
    let width = |of: fn(&Row) -> &str, most: usize| {
        rows.iter().map(|row| plain(of(row)).chars().count()).max().unwrap_or(0).min(most)
    };
    let titles = width(|row| &row.title, style.width / 2);
    let cells = (style.width / 6).clamp(8, 20);
    let mut text = String::new();
    if !rows.is_empty() {
        line(&mut text, &format!("{:<9} {:<cells$} {:<titles$}  PLACE", "LEFT", "LIFE", "NAME"));
    }
    for row in rows {
        let tone = match row.is_short(min_left) {
            true => Tone::Bad,
            false if row.life.passed() > 0.6 => Tone::Attention,
            false => Tone::Good,
        };
        let left = style.paint(tone, &format!("{:<9}", row.left()));
        let bar = row.life.bar(cells, None);
        let first = match &row.first {
            Some(first) => format!("  (ends with {})", plain(first)),
            None => String::new(),
        };
        let (title, place) = (plain(&row.title), plain(&row.place));
        line(&mut text, &format!("{left} {bar} {title:<titles$}  {place}{first}"));
    }
    text
}

fn object(rows: &[Row], unread: &[(String, String)], min_left: Duration) -> Value {
    let certificates = rows.iter().map(|row| {
        json!({
            "place": row.place,
            "name": row.title,
            "notAfter": rfc3339(row.life.not_after),
            "leftSeconds": row.life.left().map_or(0, |left| left.as_secs()),
            "endsWith": row.first,
            "short": row.is_short(min_left),
        })
    });
    let unread = unread.iter().map(|(place, why)| json!({ "place": place, "error": why }));
    json!({
        "certificates": certificates.collect::<Vec<_>>(),
        "unread": unread.collect::<Vec<_>>(),
        "minLeftSeconds": min_left.as_secs(),
    })
}
