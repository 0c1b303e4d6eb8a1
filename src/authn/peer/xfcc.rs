//! Envoy's `x-forwarded-client-cert`, strictly: one element of `key=value` pairs.
//!
//! Envoy writes URIs as they are, so a certificate with `,` or `;` in a name could add pairs and elements of its
//! owner's choice; and readers disagree on what a backslash before a quote means. So everything that two readers might
//! see differently is refused: more than one element, an unknown key, a key twice, a delimiter outside quotes, two
//! backslashes before a quote. Only `URI` and `DNS` may repeat, because Envoy writes one for each name, and then all
//! of them together must be the names of the certificate. `Subject` and `By` are not used.

use rustls::pki_types::CertificateDer;

use crate::authn::certificate::Reading;

use super::pem;
use super::refused::ForwardFault;

/// The longest header that is read.
const MAX_LENGTH: usize = 64 * 1024;

/// One element, read but not compared with its certificate.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Element<'a> {
    by: Option<&'a str>,
    hash: Option<&'a str>,
    cert: Option<&'a str>,
    chain: Option<&'a str>,
    /// As it stands between its quotes, escapes and all.
    subject: Option<&'a str>,
    uris: Vec<&'a str>,
    dns_names: Vec<&'a str>,
}

impl<'a> Element<'a> {
    /// Reads a header value that holds exactly one element.
    pub(super) fn parse(value: &'a [u8]) -> Result<Self, ForwardFault> {
        if value.len() > MAX_LENGTH {
            return Err(ForwardFault::Malformed("it is too long"));
        }
        let text = std::str::from_utf8(value)
            .ok()
            .filter(|text| text.bytes().all(|byte| matches!(byte, b' '..=b'~')))
            .ok_or(ForwardFault::Malformed("it has characters other than visible ASCII"))?;
        let mut element = Self {
            by: None,
            hash: None,
            cert: None,
            chain: None,
            subject: None,
            uris: Vec::new(),
            dns_names: Vec::new(),
        };
        let mut rest = Some(text);
        let mut fault = None;
        while let Some(text) = rest {
            let (key, after) =
                text.split_once('=').ok_or(ForwardFault::Malformed("a pair has no `=`"))?;
            let (read, after) = read_value(after)?;
            // A second element is told as such, even where the first one alone would be refused.
            fault = fault.or(element.take(key, read).err());
            rest = match after.as_bytes().first() {
                None => None,
                Some(b';') => after.get(1..),
                Some(b',') => return Err(ForwardFault::Ambiguous),
                Some(_) => {
                    return Err(ForwardFault::Malformed("something follows a closing quote"));
                }
            };
        }
        fault.map_or(Ok(element), Err)
    }

    fn take(&mut self, key: &str, value: Value<'a>) -> Result<(), ForwardFault> {
        let place = match key {
            "By" => &mut self.by,
            "Hash" => &mut self.hash,
            "Cert" => &mut self.cert,
            "Chain" => &mut self.chain,
            "Subject" => return put(&mut self.subject, value.text),
            "URI" => {
                self.uris.push(value.plain()?);
                return Ok(());
            }
            "DNS" => {
                self.dns_names.push(value.plain()?);
                return Ok(());
            }
            _ => return Err(ForwardFault::Malformed("it has a key that is not known")),
        };
        put(place, value.plain()?)
    }

    /// The certificate in it.
    pub(super) fn leaf(&self) -> Result<CertificateDer<'static>, ForwardFault> {
        let cert = self.cert.ok_or(ForwardFault::CertificateMissing)?;
        pem::one(cert).ok_or(ForwardFault::CertificateUnreadable)
    }

    /// Everything it says of the certificate must be so.
    pub(super) fn agrees_with(
        &self,
        leaf: &CertificateDer<'_>,
        reading: &Reading,
    ) -> Result<(), ForwardFault> {
        if let Some(hash) = self.hash {
            let digest = crate::authn::digest(leaf);
            let expected = digest.iter().map(|byte| format!("{byte:02x}"));
            if hash != expected.collect::<String>() {
                return Err(ForwardFault::Mismatch("Hash"));
            }
        }
        if !are(&self.uris, &reading.uris) {
            return Err(ForwardFault::Mismatch("URI"));
        }
        if !are(&self.dns_names, &reading.dns_names) {
            return Err(ForwardFault::Mismatch("DNS"));
        }
        Ok(())
    }

    /// What stands between the certificate and a root. Envoy's `Chain` begins with the certificate itself.
    pub(super) fn chain(
        &self,
        leaf: &CertificateDer<'_>,
    ) -> Result<Vec<CertificateDer<'static>>, ForwardFault> {
        let Some(chain) = self.chain else { return Ok(Vec::new()) };
        let mut chain = pem::several(chain).ok_or(ForwardFault::CertificateUnreadable)?.into_iter();
        if chain.next().as_ref() != Some(leaf) {
            return Err(ForwardFault::Mismatch("Chain"));
        }
        Ok(chain.collect())
    }
}

/// A value, without the quotes around it.
#[derive(Clone, Copy)]
struct Value<'a> {
    text: &'a str,
}

impl<'a> Value<'a> {
    /// A value that needs no escapes, and so has none.
    fn plain(self) -> Result<&'a str, ForwardFault> {
        if self.text.contains('\\') {
            return Err(ForwardFault::Malformed("a value other than Subject has an escape"));
        }
        Ok(self.text)
    }
}

/// The value at the beginning of a text, and what follows it.
fn read_value(text: &str) -> Result<(Value<'_>, &str), ForwardFault> {
    let Some(quoted) = text.strip_prefix('"') else {
        let end = text.find([';', ',']).unwrap_or(text.len());
        let (text, after) = text.split_at(end);
        // Envoy quotes no URI, though its documentation says that values with these characters are quoted.
        if text.contains(['"', '=', '\\', ' ']) {
            return Err(ForwardFault::Malformed("a value without quotes has a delimiter in it"));
        }
        return Ok((Value { text }, after));
    };
    let mut from = 0;
    loop {
        let open = ForwardFault::Malformed("a quote is not closed");
        let quote = quoted.get(from..).and_then(|rest| rest.find('"')).ok_or(open)? + from;
        let (text, after) =
            (quoted.get(..quote).ok_or(open)?, quoted.get(quote + 1..).ok_or(open)?);
        if text.ends_with("\\\\") {
            return Err(ForwardFault::Malformed("two backslashes stand before a quote"));
        }
        if !text.ends_with('\\') {
            return Ok((Value { text }, after));
        }
        from = quote + 1;
    }
}

fn put<'a>(place: &mut Option<&'a str>, value: &'a str) -> Result<(), ForwardFault> {
    match place.replace(value) {
        None => Ok(()),
        Some(_) => Err(ForwardFault::Malformed("a key stands in it twice")),
    }
}

/// True when the header names none, or exactly these in their order. Envoy writes `URI=` where there is none.
fn are(named: &[&str], held: &[String]) -> bool {
    match named {
        [] => true,
        [""] => held.is_empty(),
        _ => named == held,
    }
}

#[cfg(test)]
mod tests;
