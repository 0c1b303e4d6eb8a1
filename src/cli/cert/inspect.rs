//! `hopgate cert inspect`: what certificates say, drawn.

use std::fmt::Write as _;
use std::io::Write as _;
use std::process::ExitCode;
use std::time::SystemTime;

use serde_json::{Value, json};

use super::bar::Life;
use super::facts::Facts;
use super::input::load;
use super::remark::{leaf, remarks};
use super::{AtArgs, Group, Loaded, Output, ReadArgs, rfc3339, tree};
use crate::cli::moment;
use crate::cli::terminal::{Style, Tone, plain};

/// Draw chains, names, usages and lifetimes of certificates
///
/// PLACE is a file (PEM, DER, SPIFFE bundle), - for stdin, HOST:PORT (a TLS server; nothing it shows is trusted), unix:SOCKET (SDS, or what --protocol says), or admin:ADDRESS (a running sidecar). Exit code 0: shown, 2: could not tell. A private key is never printed.
#[derive(Debug, clap::Args)]
pub(super) struct InspectArgs {
    /// Where the certificates are
    #[arg(value_name = "PLACE", required = true)]
    places: Vec<String>,
    #[command(flatten)]
    read: ReadArgs,
    #[command(flatten)]
    at: AtArgs,
    /// The form of what stands on stdout
    #[arg(long, value_enum, default_value_t = Output::Text)]
    output: Output,
}

/// Runs the verb.
///
/// # Errors
/// When a place cannot be read.
pub(super) fn run(args: &InspectArgs) -> anyhow::Result<ExitCode> {
    let now = args.at.now();
    let found = args.places.iter().map(|place| load(place, &args.read));
    let found = found.collect::<anyhow::Result<Vec<Loaded>>>()?;
    let mut out = std::io::stdout().lock();
    match args.output {
        Output::Text => {
            let style = Style::of_stdout();
            let texts: Vec<String> = found.iter().map(|one| text(one, now, style)).collect();
            out.write_all(texts.join("\n").as_bytes())?;
        }
        Output::Json => {
            let all: Vec<Value> = found.iter().map(|one| object(one, now)).collect();
            writeln!(out, "{:#}", json!({ "inputs": all }))?;
        }
    }
    Ok(ExitCode::SUCCESS)
}

fn text(loaded: &Loaded, now: SystemTime, style: Style) -> String {
    let mut text = String::new();
    let count: usize = loaded.groups.iter().map(|group| group.certificates.len()).sum();
    let certificates = if count == 1 { "certificate" } else { "certificates" };
    line(&mut text, &format!("{} ({}, {count} {certificates})", plain(&loaded.place), loaded.form));
    for note in &loaded.notes {
        line(&mut text, &format!("note: {}", plain(note)));
    }
    for group in &loaded.groups {
        line(&mut text, "");
        if let Some(title) = &group.title {
            line(&mut text, &plain(title));
        }
        chain(&mut text, &group.certificates);
        for facts in &group.certificates {
            line(&mut text, "");
            certificate(&mut text, (facts, group), now, style);
        }
    }
    text
}

/// The chain, roots at the top.
fn chain(text: &mut String, all: &[Facts]) {
    let trees = tree::forest(all);
    for (before, index) in tree::lines(&trees) {
        let Some(facts) = all.get(index) else { continue };
        let top = before.is_empty();
        let said = match (top, facts.issuer == facts.subject) {
            (true, true) => ", its own issuer".to_owned(),
            (true, false) => format!(", issued by {}, which is not here", named(&facts.issuer)),
            (false, _) => String::new(),
        };
        line(text, &format!("{before}{}{said}", plain(&facts.title())));
    }
}

fn named(name: &str) -> String {
    if name.is_empty() { "none".to_owned() } else { plain(name) }
}

fn certificate(text: &mut String, (facts, group): (&Facts, &Group), now: SystemTime, style: Style) {
    let kind = match (facts.is_authority(), leaf(facts).is_empty()) {
        (true, _) => "authority",
        (false, true) => "X509-SVID",
        (false, false) => "leaf",
    };
    line(text, &format!("{kind} {}", plain(&facts.title())));
    let mut field = |name: &str, value: &str| line(text, &format!("  {name:<9} {value}"));
    field("subject", &named(&facts.subject));
    field("issuer", &named(&facts.issuer));
    for (place, (kind, name)) in facts.names.iter().enumerate() {
        field(if place == 0 { "names" } else { "" }, &format!("{kind} {}", plain(name)));
    }
    field("serial", &facts.serial);
    field("key", &format!("{}, signed by {}", plain(&facts.key), plain(&facts.signature)));
    field("usage", &usages(facts));
    if let Some(id) = &facts.key_id {
        field("key id", id);
    }
    if let Some(id) = &facts.authority_key_id {
        field("issuer's", id);
    }
    field("sha256", &facts.sha256);
    field("from", &moment::show(facts.not_before, now));
    field("until", &moment::show(facts.not_after, now));
    let (bar, said) = lifetime((facts, group), now, style);
    field("life", &format!("{bar} {said}"));
    for remark in remarks(facts, now) {
        field("warning", &style.paint(Tone::Attention, &plain(&remark)));
    }
}

fn usages(facts: &Facts) -> String {
    let mut parts = Vec::new();
    if let Some((usages, critical)) = &facts.usages {
        let critical = if *critical { " (critical)" } else { "" };
        parts.push(format!("{}{critical}", usages.join(", ")));
    }
    if let Some(purposes) = &facts.purposes {
        parts.push(plain(&purposes.join(", ")));
    }
    match facts.constraints {
        Some((true, Some(below))) => parts.push(format!("CA, {below} more below it")),
        Some((true, None)) => parts.push("CA".to_owned()),
        Some((false, _)) => parts.push("no CA".to_owned()),
        None => {}
    }
    if parts.is_empty() { "none said".to_owned() } else { parts.join("; ") }
}

/// The bar, and what it shows in words.
pub(super) fn lifetime(
    (facts, group): (&Facts, &Group),
    now: SystemTime,
    style: Style,
) -> (String, String) {
    let life = Life { not_before: facts.not_before, not_after: facts.not_after, now };
    let renewal = renewal((facts, group), &life);
    let cells = (style.width / 4).clamp(10, 32);
    let bar = life.bar(cells, renewal.map(|(at, _)| at));
    let (tone, mut said) = match life.left() {
        None => (Tone::Bad, format!("over since {}", moment::show(facts.not_after, now))),
        Some(_) if now < facts.not_before => (Tone::Bad, "not begun".to_owned()),
        Some(left) => {
            let tone = match life.passed() {
                passed if passed < 0.6 => Tone::Good,
                passed if passed < 0.85 => Tone::Attention,
                _ => Tone::Bad,
            };
            let passed = format!("{:.0} %", life.passed() * 100.0);
            (tone, format!("{passed} passed, {} left", moment::rough(left)))
        }
    };
    if let (Some((at, how)), Some(_)) = (renewal, life.left()) {
        let when = match at.duration_since(now) {
            Ok(ahead) => format!("in {}", moment::rough(ahead)),
            Err(past) => format!("since {}", moment::rough(past.duration())),
        };
        said = format!("{said}, renewal {how} {when}");
    }
    (style.paint(tone, &bar), said)
}

/// When a leaf is renewed: as its sidecar plans, or about when hopgate does. Who renews an authority does not show.
fn renewal((facts, group): (&Facts, &Group), life: &Life) -> Option<(SystemTime, &'static str)> {
    if facts.is_authority() {
        return None;
    }
    match group.renewal() {
        Some(at) => Some((at, "planned")),
        None => leaf(facts).is_empty().then(|| (life.middle(), "usual")),
    }
}

fn object(loaded: &Loaded, now: SystemTime) -> Value {
    let groups = loaded.groups.iter().map(|group| {
        let certificates = group.certificates.iter().map(|facts| {
            let mut object = facts.json();
            let life = Life { not_before: facts.not_before, not_after: facts.not_after, now };
            if let Value::Object(members) = &mut object {
                let renewal = renewal((facts, group), &life).and_then(|(at, _)| rfc3339(at));
                let left = life.left().map_or(0, |left| left.as_secs());
                members.insert("leftSeconds".to_owned(), left.into());
                members.insert("renewal".to_owned(), renewal.into());
                members.insert(
                    "svid".to_owned(),
                    (!facts.is_authority() && leaf(facts).is_empty()).into(),
                );
                members.insert("warnings".to_owned(), remarks(facts, now).into());
            }
            object
        });
        json!({ "title": group.title, "certificates": certificates.collect::<Vec<_>>() })
    });
    json!({
        "place": loaded.place,
        "form": loaded.form,
        "notes": loaded.notes,
        "groups": groups.collect::<Vec<_>>(),
    })
}

/// Writing to a text cannot fail.
pub(super) fn line(text: &mut String, line: &str) {
    let _infallible = writeln!(text, "{}", line.trim_end());
}
