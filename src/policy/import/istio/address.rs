//! Address ranges, each also as a single address.

use std::net::IpAddr;

use ipnet::IpNet;

use super::super::{ImportError, wrong};
use super::draft::Draft;
use super::source::deduplicated;

/// The ranges as they are written here.
pub(super) fn blocks(
    draft: &Draft<'_>,
    field: &str,
    list: &[String],
) -> Result<Vec<String>, ImportError> {
    let blocks = list.iter().map(|text| {
        let range = text.parse::<IpNet>().or_else(|_| text.parse::<IpAddr>().map(IpNet::from));
        range.map(|range| range.trunc().to_string()).map_err(|_| {
            let field = format!("{}.{field}", draft.at);
            wrong(draft.document, field, format!("`{text}` is no address and no range"))
        })
    });
    Ok(deduplicated(blocks.collect::<Result<_, _>>()?))
}

/// What is in a range of each list: of two ranges one holds the other, or they share nothing.
pub(super) fn common(one: &[String], other: &[String]) -> Vec<String> {
    let ranges = |list: &[String]| -> Vec<IpNet> {
        list.iter().filter_map(|text| text.parse().ok()).collect()
    };
    let (one, other) = (ranges(one), ranges(other));
    let pairs = one.iter().flat_map(|a| other.iter().map(move |b| (a, b)));
    let inner = pairs.filter_map(|(a, b)| {
        if a.contains(b) {
            Some(b)
        } else if b.contains(a) {
            Some(a)
        } else {
            None
        }
    });
    deduplicated(inner.map(ToString::to_string).collect())
}
