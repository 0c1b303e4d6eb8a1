//! Ranges of IP addresses.

use std::net::IpAddr;

use ipnet::IpNet;

use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::{Checked, check_list};

/// Reads ranges such as `10.0.0.0/8`; an address alone stands for itself.
pub(super) fn check_addresses(raw: Vec<String>, at: &FieldPath) -> Checked<Vec<IpNet>> {
    check_list(raw, at)?
        .iter()
        .enumerate()
        .map(|(place, text)| check_address(text, at.item(place)))
        .collect()
}

fn check_address(text: &str, at: FieldPath) -> Checked<IpNet> {
    if let Ok(address) = text.parse::<IpAddr>() {
        return Ok(IpNet::from(address));
    }
    let range: IpNet = text.parse().map_err(|_| {
        Problem::new(at.clone(), format!("`{text}` is no address range"))
            .hint("for example 10.0.0.0/8, 2001:db8::/32 or one address")
    })?;
    if range.trunc() != range {
        let message = format!("`{text}` has bits set beyond its prefix");
        return Err(Problem::new(at, message).hint(format!("write {}", range.trunc())));
    }
    Ok(range)
}

/// True when one of the ranges holds the address. An IPv4 address is the same in IPv6 dress (`::ffff:10.0.0.1`).
pub(super) fn holds(ranges: &[IpNet], address: IpAddr) -> bool {
    let address = address.to_canonical();
    ranges.iter().any(|range| range.contains(&address))
}
