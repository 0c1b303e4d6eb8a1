//! `envoy.service.auth.v3.CheckRequest`, decoded without copying.
//!
//! Decoding with the generated types costs most of what a whole Check may cost. This decoder borrows every
//! string from the received bytes. It accepts and refuses what prost does (a property test compares the
//! two field by field), with two exceptions: groups are refused, and metadata stays bytes.

use super::wire::{Field, Fields, WireError};

/// One CheckRequest. Absent messages are `None`; absent strings are empty, as in proto3.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Check<'a> {
    /// Who sent the request. `None`: not told.
    pub source: Option<Peer<'a>>,
    /// Where it was received.
    pub destination: Option<Peer<'a>>,
    /// The HTTP request. `None` for the network filter (a bare connection).
    pub http: Option<Http<'a>>,
    /// When the first byte came: seconds and nanoseconds since 1970.
    pub time: Option<(i64, i32)>,
    /// What the operator attached to the route.
    pub context_extensions: Vec<(&'a str, &'a str)>,
    /// `envoy.config.core.v3.Metadata` of the request, still encoded.
    pub metadata_context: Option<&'a [u8]>,
    /// `envoy.config.core.v3.Metadata` of the route, still encoded.
    pub route_metadata_context: Option<&'a [u8]>,
    /// The TLS server name. Present says nothing about TLS: Envoy sends the message on plaintext too.
    pub sni: Option<&'a str>,
    /// True when the message held `attributes` at all.
    pub has_attributes: bool,
}

/// One end of the connection.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Peer<'a> {
    /// The socket.
    pub address: Option<Address<'a>>,
    /// `x-envoy-downstream-service-cluster` as the client sent it: never an identity.
    pub service: &'a str,
    /// First URI SAN, else first DNS SAN, else the subject of the certificate.
    pub principal: &'a str,
    /// The leaf certificate: PEM, URL-encoded.
    pub certificate: &'a str,
}

/// An address as Envoy knows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Address<'a> {
    /// IP address (or name) and port; `None` where the port is named or absent.
    Socket {
        /// The IP address as text.
        address: &'a str,
        /// The port number.
        port: Option<u32>,
    },
    /// A unix socket.
    Pipe(&'a str),
    /// An internal listener of Envoy.
    Internal(&'a str),
}

/// The HTTP attributes. See the Envoy contract for what each is worth.
#[derive(Debug, Default, Clone, PartialEq, Eq)]
pub struct Http<'a> {
    /// A stream id of Envoy, not the request id.
    pub id: &'a str,
    /// Verbatim, any case.
    pub method: &'a str,
    /// Lower-case names. One entry per line in raw mode, joined values in map mode.
    pub headers: Vec<(&'a str, &'a [u8])>,
    /// What an entry of `headers` is.
    pub header_form: HeaderForm,
    /// Path and query, as received (or normalised, if the listener does so).
    pub path: &'a str,
    /// Authority verbatim.
    pub host: &'a str,
    /// `http` or `https`: what the client says.
    pub scheme: &'a str,
    /// Always empty in practice.
    pub query: &'a str,
    /// Always empty in practice.
    pub fragment: &'a str,
    /// Bytes of the body so far.
    pub size: i64,
    /// `HTTP/1.1`, `HTTP/2`, ...
    pub protocol: &'a str,
    /// The body as text (lossy).
    pub body: &'a str,
    /// The body as bytes.
    pub raw_body: &'a [u8],
}

/// What an entry of the headers is.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub enum HeaderForm {
    /// One line of the request (`header_map`). Nothing else came.
    #[default]
    Lines,
    /// One name of the request (`headers`), the values of its lines joined by commas.
    Joined,
}

impl<'a> Check<'a> {
    /// Decodes one message.
    ///
    /// # Errors
    /// When the bytes are no CheckRequest.
    pub fn decode(message: &'a [u8]) -> Result<Self, WireError> {
        let mut check = Self::default();
        let mut fields = Fields::of(message);
        while let Some(field) = fields.next()? {
            if field.number == 1 {
                check.has_attributes = true;
                check.merge_attributes(field.bytes()?)?;
            }
        }
        Ok(check)
    }

    fn merge_attributes(&mut self, message: &'a [u8]) -> Result<(), WireError> {
        let mut fields = Fields::of(message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => self.source.get_or_insert_default().merge(field.bytes()?)?,
                2 => self.destination.get_or_insert_default().merge(field.bytes()?)?,
                4 => self.merge_request(field.bytes()?)?,
                10 => self.context_extensions.push(map_entry(field.bytes()?)?),
                11 => self.metadata_context = Some(field.bytes()?),
                12 => self.merge_tls_session(field.bytes()?)?,
                13 => self.route_metadata_context = Some(field.bytes()?),
                _ => {}
            }
        }
        Ok(())
    }

    fn merge_request(&mut self, message: &'a [u8]) -> Result<(), WireError> {
        let mut fields = Fields::of(message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => merge_timestamp(self.time.get_or_insert_default(), field.bytes()?)?,
                2 => self.http.get_or_insert_with(Http::with_room).merge(field.bytes()?)?,
                _ => {}
            }
        }
        Ok(())
    }

    fn merge_tls_session(&mut self, message: &'a [u8]) -> Result<(), WireError> {
        let sni = self.sni.get_or_insert_default();
        let mut fields = Fields::of(message);
        while let Some(field) = fields.next()? {
            if field.number == 1 {
                *sni = field.text()?;
            }
        }
        Ok(())
    }
}

impl<'a> Peer<'a> {
    fn merge(&mut self, message: &'a [u8]) -> Result<(), WireError> {
        let mut fields = Fields::of(message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => merge_address(&mut self.address, field.bytes()?)?,
                2 => self.service = field.text()?,
                // Envoy never fills the labels; an entry must still be readable.
                3 => {
                    map_entry(field.bytes()?)?;
                }
                4 => self.principal = field.text()?,
                5 => self.certificate = field.text()?,
                _ => {}
            }
        }
        Ok(())
    }
}

impl<'a> Http<'a> {
    fn with_room() -> Self {
        Self { headers: Vec::with_capacity(32), ..Self::default() }
    }

    fn merge(&mut self, message: &'a [u8]) -> Result<(), WireError> {
        let mut fields = Fields::of(message);
        while let Some(field) = fields.next()? {
            match field.number {
                1 => self.id = field.text()?,
                2 => self.method = field.text()?,
                3 => {
                    let (name, value) = map_entry(field.bytes()?)?;
                    self.headers.push((name, value.as_bytes()));
                    self.header_form = HeaderForm::Joined;
                }
                4 => self.path = field.text()?,
                5 => self.host = field.text()?,
                6 => self.scheme = field.text()?,
                7 => self.query = field.text()?,
                8 => self.fragment = field.text()?,
                9 => self.size = field.varint()?.cast_signed(),
                10 => self.protocol = field.text()?,
                11 => self.body = field.text()?,
                12 => self.raw_body = field.bytes()?,
                13 => self.merge_header_map(field.bytes()?)?,
                _ => {}
            }
        }
        Ok(())
    }

    /// `envoy.config.core.v3.HeaderMap`: one entry per header line, the value in `value` or `raw_value`.
    fn merge_header_map(&mut self, message: &'a [u8]) -> Result<(), WireError> {
        let mut fields = Fields::of(message);
        while let Some(field) = fields.next()? {
            if field.number == 1 {
                self.headers.push(header_value(field)?);
            }
        }
        Ok(())
    }
}

fn header_value(field: Field<'_>) -> Result<(&str, &[u8]), WireError> {
    let (mut name, mut text, mut raw) = ("", "", &[][..]);
    let mut fields = Fields::of(field.bytes()?);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => name = field.text()?,
            2 => text = field.text()?,
            3 => raw = field.bytes()?,
            _ => {}
        }
    }
    Ok((name, if raw.is_empty() { text.as_bytes() } else { raw }))
}

fn map_entry(message: &[u8]) -> Result<(&str, &str), WireError> {
    let (mut key, mut value) = ("", "");
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => key = field.text()?,
            2 => value = field.text()?,
            _ => {}
        }
    }
    Ok((key, value))
}

fn merge_timestamp(time: &mut (i64, i32), message: &[u8]) -> Result<(), WireError> {
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => time.0 = field.varint()?.cast_signed(),
            2 => {
                // An int32 travels sign-extended to 64 bits; protobuf keeps the low half.
                let [a, b, c, d, ..] = field.varint()?.to_le_bytes();
                time.1 = i32::from_le_bytes([a, b, c, d]);
            }
            _ => {}
        }
    }
    Ok(())
}

/// `envoy.config.core.v3.Address`: one of three; the last one on the wire wins, and one that comes twice is merged.
fn merge_address<'a>(
    address: &mut Option<Address<'a>>,
    message: &'a [u8],
) -> Result<(), WireError> {
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next()? {
        *address = match field.number {
            1 => Some(socket_address(*address, field.bytes()?)?),
            2 => {
                let before = match *address {
                    Some(Address::Pipe(path)) => path,
                    Some(Address::Socket { .. } | Address::Internal(_)) | None => "",
                };
                Some(Address::Pipe(pipe_path(before, field.bytes()?)?))
            }
            3 => {
                let before = match *address {
                    Some(Address::Internal(name)) => name,
                    Some(Address::Socket { .. } | Address::Pipe(_)) | None => "",
                };
                Some(Address::Internal(internal_name(before, field.bytes()?)?))
            }
            _ => continue,
        };
    }
    Ok(())
}

fn socket_address<'a>(
    before: Option<Address<'a>>,
    message: &'a [u8],
) -> Result<Address<'a>, WireError> {
    let (mut address, mut port) = match before {
        Some(Address::Socket { address, port }) => (address, port),
        Some(Address::Pipe(_) | Address::Internal(_)) | None => ("", None),
    };
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next()? {
        match field.number {
            2 => address = field.text()?,
            3 => {
                let [a, b, c, d, ..] = field.varint()?.to_le_bytes();
                port = Some(u32::from_le_bytes([a, b, c, d]));
            }
            4 => {
                field.text()?;
                port = None;
            }
            // Not read, but they must be what they claim: resolver, namespace, protocol and a flag.
            5 | 7 => {
                field.text()?;
            }
            1 | 6 => {
                field.varint()?;
            }
            _ => {}
        }
    }
    Ok(Address::Socket { address, port })
}

fn pipe_path<'a>(before: &'a str, message: &'a [u8]) -> Result<&'a str, WireError> {
    let mut path = before;
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => path = field.text()?,
            2 => {
                field.varint()?;
            }
            _ => {}
        }
    }
    Ok(path)
}

fn internal_name<'a>(before: &'a str, message: &'a [u8]) -> Result<&'a str, WireError> {
    let mut name = before;
    let mut fields = Fields::of(message);
    while let Some(field) = fields.next()? {
        match field.number {
            1 => name = field.text()?,
            2 => {
                field.text()?;
            }
            _ => {}
        }
    }
    Ok(name)
}
