//! HTTP/1.1 written by hand, for what a tidy client would not send.

use std::fmt::Write as _;

use hopgate::runtime::{Address, Connection};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

/// What came back.
#[derive(Debug)]
pub struct Answer {
    pub status: u16,
    pub headers: Vec<(String, String)>,
    pub body: String,
}

impl Answer {
    /// The value of a header, its lines joined.
    pub fn header(&self, name: &str) -> Option<String> {
        let lines = self.headers.iter().filter(|(key, _)| key.eq_ignore_ascii_case(name));
        let values: Vec<&str> = lines.map(|(_, value)| value.as_str()).collect();
        (!values.is_empty()).then(|| values.join(", "))
    }

    /// The body as JSON.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_str(&self.body).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }
}

/// Sends a request as it is written here, and reads until the other end closes.
pub async fn ask(address: &Address, line: &str, headers: &[(&str, &str)], body: &str) -> Answer {
    let mut request = format!("{line} HTTP/1.1\r\nconnection: close\r\n");
    for (name, value) in headers {
        write!(request, "{name}: {value}\r\n").unwrap();
    }
    if !body.is_empty() {
        write!(request, "content-length: {}\r\n", body.len()).unwrap();
    }
    request.push_str("\r\n");
    request.push_str(body);
    let mut stream = send(address, request.as_bytes()).await;
    let mut answer = Vec::new();
    stream.read_to_end(&mut answer).await.unwrap();
    parse(&String::from_utf8_lossy(&answer))
}

/// Opens a connection and writes; reading is left to the caller.
pub async fn send(address: &Address, bytes: &[u8]) -> Connection {
    let mut stream = address.connect().await.unwrap();
    stream.write_all(bytes).await.unwrap();
    stream
}

/// Reads the head of an answer and leaves what comes behind it.
pub async fn head(stream: &mut Connection) -> Answer {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.unwrap());
    }
    parse(&String::from_utf8_lossy(&head))
}

fn parse(text: &str) -> Answer {
    let (head, body) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("no answer: {text:?}"));
    let mut lines = head.lines();
    let status = lines.next().and_then(|line| line.split(' ').nth(1)).unwrap();
    let headers = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_ascii_lowercase(), value.trim().to_owned()))
        .collect();
    Answer { status: status.parse().unwrap(), headers, body: body.to_owned() }
}
