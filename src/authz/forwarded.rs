//! The address of the client in front of trusted proxies, by `x-forwarded-for`.
//!
//! Each proxy adds the address that it sees at the right end, so what stands there was written by the proxy next to us, and
//! what stands at the left by anybody. With so many trusted hops, the entry that many places from the right is the client.
//! Entries further left are not looked at.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

use super::headers::is_spelling;
use crate::policy::{Forwarded, TrustedHops};

const NAME: &str = "x-forwarded-for";

/// Reads header lines in their order, or one that holds the values of several, joined.
pub(super) fn client(lines: &[(&str, &[u8])], hops: TrustedHops) -> Forwarded {
    let TrustedHops::Count(hops) = hops else { return Forwarded::Unknown };
    let mut seen = 0;
    for (name, value) in lines.iter().rev().filter(|(name, _)| is_spelling(name, NAME)) {
        // A name with underscores is another header to the proxies that wrote ours.
        if *name != NAME {
            return Forwarded::Unknown;
        }
        for entry in value.rsplit(|byte| *byte == b',') {
            let Some(address) = std::str::from_utf8(entry).ok().and_then(address) else {
                return Forwarded::Unknown;
            };
            seen += 1;
            if seen == hops.get() {
                return Forwarded::Known(address);
            }
        }
    }
    Forwarded::Unknown
}

/// An address, with or without a port. One of IPv4 inside IPv6 is that of IPv4.
fn address(text: &str) -> Option<IpAddr> {
    let text = text.trim_matches([' ', '\t']);
    let address = text
        .parse::<IpAddr>()
        .or_else(|_| text.parse::<SocketAddr>().map(|socket| socket.ip()))
        .ok()
        .or_else(|| {
            let inner = text.strip_prefix('[')?.strip_suffix(']')?;
            inner.parse::<Ipv6Addr>().ok().map(IpAddr::V6)
        })?;
    Some(address.to_canonical()).filter(|address| *address != IpAddr::V4(Ipv4Addr::UNSPECIFIED))
}

#[cfg(test)]
mod tests {
    use std::num::NonZeroU8;

    use super::*;

    fn read(lines: &[(&str, &str)], hops: u8) -> Option<String> {
        let lines: Vec<(&str, &[u8])> = lines.iter().map(|(n, v)| (*n, v.as_bytes())).collect();
        let hops = NonZeroU8::new(hops).map_or(TrustedHops::Nobody, TrustedHops::Count);
        match client(&lines, hops) {
            Forwarded::Known(address) => Some(address.to_string()),
            Forwarded::Unknown => None,
        }
    }

    #[test]
    fn the_entry_so_many_places_from_the_right_is_the_client() {
        let lines = |values: &[&'static str]| -> Vec<(&str, &str)> {
            [("x-other", "9.9.9.9")].into_iter().chain(values.iter().map(|v| (NAME, *v))).collect()
        };
        for (values, hops, expected) in [
            (&["1.1.1.1"][..], 1, Some("1.1.1.1")),
            (&["1.1.1.1, 2.2.2.2,3.3.3.3"], 1, Some("3.3.3.3")),
            (&["1.1.1.1, 2.2.2.2,3.3.3.3"], 3, Some("1.1.1.1")),
            (&["1.1.1.1", "2.2.2.2, 3.3.3.3"], 2, Some("2.2.2.2")),
            (&["1.1.1.1", "2.2.2.2, 3.3.3.3"], 3, Some("1.1.1.1")),
            (&["\t2001:db8::1 "], 1, Some("2001:db8::1")),
            (&["[2001:db8::1]:443"], 1, Some("2001:db8::1")),
            (&["[2001:db8::1]"], 1, Some("2001:db8::1")),
            (&["1.1.1.1:5000"], 1, Some("1.1.1.1")),
            (&["::ffff:10.1.2.3"], 1, Some("10.1.2.3")),
            // What a client wrote in front is not looked at.
            (&["<script>, , 2.2.2.2"], 1, Some("2.2.2.2")),
            // Too few, or not readable where it counts.
            (&[], 1, None),
            (&[""], 1, None),
            (&["1.1.1.1"], 2, None),
            (&["1.1.1.1", "2.2.2.2"], 3, None),
            (&["1.1.1.1, unknown"], 1, None),
            (&["1.1.1.1, unknown"], 2, None),
            (&["1.1.1.1,"], 1, None),
            (&["1.1.1.1,"], 2, None),
            (&["1.1.1.1", ""], 2, None),
            (&["1.1.1"], 1, None),
            (&["01.1.1.1"], 1, None),
            (&["1.1.1.1 2.2.2.2"], 1, None),
            (&["fe80::1%eth0"], 1, None),
            (&["0.0.0.0"], 1, None),
            // Nobody is trusted.
            (&["1.1.1.1"], 0, None),
        ] {
            assert_eq!(read(&lines(values), hops).as_deref(), expected, "{values:?} {hops}");
        }
        let twin = [(NAME, "1.1.1.1"), ("x_forwarded-for", "2.2.2.2")];
        assert_eq!(read(&twin, 1), None);
    }
}
