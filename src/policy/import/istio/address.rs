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
