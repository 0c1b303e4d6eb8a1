//! What one call holds: a gRPC message behind its prefix, and how long its caller waits.

use std::time::Duration;

use crate::authz::Malformed;
use crate::proto::http2::{Method, Request};

/// A gRPC message is led by a compression flag and its length.
const PREFIX: usize = 5;

/// The one method that is served, with requests of at most `limit` bytes.
pub(super) fn check(limit: usize) -> Method {
    Method {
        path: "/envoy.service.auth.v3.Authorization/Check",
        only: "only envoy.service.auth.v3.Authorization/Check is served",
        // One byte more shows that there was more.
        max_request: PREFIX + limit + 1,
    }
}

/// The one message behind its prefix. Whatever else there is cannot be judged, and is denied.
pub(super) fn message<'a>(request: &'a Request<'_>, limit: usize) -> Result<&'a [u8], Malformed> {
    if request.is_cut {
        return Err(Malformed::TooLarge);
    }
    let Some(([flag, length @ ..], message)) = request.body.split_first_chunk::<PREFIX>() else {
        return Err(Malformed::Framing);
    };
    if *flag != 0 {
        return Err(Malformed::Compressed);
    }
    let length = usize::try_from(u32::from_be_bytes(*length)).unwrap_or(usize::MAX);
    match (length > limit, length == message.len()) {
        (false, true) => Ok(message),
        // What is too large was cut behind the limit.
        (true, _) if message.len() > limit => Err(Malformed::TooLarge),
        (true | false, _) => Err(Malformed::Framing),
    }
}

/// How long an answer may take: what Envoy waits, less what the way back takes, and never longer than `longest`.
pub(super) fn patience(timeout: Option<Duration>, longest: Duration) -> Duration {
    timeout.map_or(longest, |timeout| longest.min(timeout.mul_f64(0.9)))
}

#[cfg(test)]
mod tests {
    use std::time::Instant;

    use super::*;

    #[test]
    fn a_call_holds_one_message_or_is_denied() {
        let of = |body: &[u8], is_cut| {
            let (began, body) = (Instant::now(), body.to_vec().into());
            let request = Request { stream: 1, began, timeout: None, body, is_cut };
            message(&request, 4).map(<[u8]>::to_vec)
        };
        assert_eq!(of(b"\0\0\0\0\x04four", false), Ok(b"four".to_vec()));
        assert_eq!(of(b"\0\0\0\0\0", false), Ok(Vec::new()));
        for (body, malformed) in [
            (&b""[..], Malformed::Framing),
            (b"\0\0\0\0", Malformed::Framing),
            (b"\0\0\0\0\x04fou", Malformed::Framing),
            (b"\0\0\0\0\x03four", Malformed::Framing),
            (b"\0\0\0\0\x05four", Malformed::Framing),
            (b"\0\0\0\0\x05five!", Malformed::TooLarge),
            (b"\0\xff\0\0\0five!", Malformed::TooLarge),
            (b"\x01\0\0\0\x04four", Malformed::Compressed),
        ] {
            assert_eq!(of(body, false), Err(malformed), "{body:?}");
        }
        assert_eq!(
            of(b"\0\0\0\0\0", true),
            Err(Malformed::TooLarge),
            "what was cut may look whole"
        );
    }

    #[test]
    fn who_waits_is_answered_before_it_gives_up() {
        let (short, long) = (Duration::from_millis(100), Duration::from_secs(5));
        assert_eq!(patience(Some(short), long), Duration::from_millis(90));
        assert_eq!(patience(Some(Duration::from_secs(3600 * 99_999_999)), long), long);
        assert_eq!(patience(None, long), long);
    }
}
