//! Nonces that need no memory: each is a MAC of the minute it was made in.
//!
//! Every client is given the same one, which is all that a nonce is for here: it shows that the proof was made after
//! the nonce was, whatever the client's clock says (RFC 9449, section 8).

use std::time::{Duration, SystemTime};

use aws_lc_rs::constant_time::verify_slices_are_equal;
use aws_lc_rs::hmac;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;

/// A nonce is accepted in the window it was made in and in the next one.
const WINDOW: Duration = Duration::from_secs(120);
/// Bytes of the MAC that are sent.
const LENGTH: usize = 16;

/// The system gave no random bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the system gave no random bytes")]
pub struct NoRandomness;

/// Makes nonces and knows its own.
pub(super) struct Nonces(hmac::Key);

impl Nonces {
    /// With a key that nobody else has.
    pub(super) fn random() -> Result<Self, NoRandomness> {
        let random = aws_lc_rs::rand::SystemRandom::new();
        let key = hmac::Key::generate(hmac::HMAC_SHA256, &random).map_err(|_| NoRandomness)?;
        Ok(Self(key))
    }

    /// With a key that others have too.
    pub(super) fn shared(secret: &[u8; 32]) -> Self {
        Self(hmac::Key::new(hmac::HMAC_SHA256, secret))
    }

    pub(super) fn fresh(&self, now: SystemTime) -> String {
        URL_SAFE_NO_PAD.encode(self.of(window(now)))
    }

    pub(super) fn accept(&self, nonce: &str, now: SystemTime) -> bool {
        let mut sent = [0; LENGTH];
        // Into a slice that is too short for anything but what fits: a longer nonce is an error, not cut off.
        if nonce.len() > 22 || URL_SAFE_NO_PAD.decode_slice(nonce, &mut sent) != Ok(LENGTH) {
            return false;
        }
        let this = window(now);
        [Some(this), this.checked_sub(1)]
            .into_iter()
            .flatten()
            .any(|window| verify_slices_are_equal(&self.of(window), &sent).is_ok())
    }

    fn of(&self, window: u64) -> [u8; LENGTH] {
        let mut context = hmac::Context::with_key(&self.0);
        context.update(b"dpop nonce");
        context.update(&window.to_be_bytes());
        let mut nonce = [0; LENGTH];
        // The first half of the MAC.
        for (into, from) in nonce.iter_mut().zip(context.sign().as_ref()) {
            *into = *from;
        }
        nonce
    }
}

fn window(now: SystemTime) -> u64 {
    let since = now.duration_since(SystemTime::UNIX_EPOCH).unwrap_or(Duration::ZERO);
    since.as_secs() / WINDOW.as_secs()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
    }

    #[test]
    fn a_nonce_lives_for_its_window_and_the_next() {
        let nonces = Nonces::random().unwrap();
        let nonce = nonces.fresh(at(1200));
        for (seconds, good) in
            [(1199, false), (1200, true), (1319, true), (1439, true), (1440, false)]
        {
            assert_eq!(nonces.accept(&nonce, at(seconds)), good, "{seconds}");
        }
        assert_eq!(nonce, nonces.fresh(at(1319)));
        assert_ne!(nonce, nonces.fresh(at(1320)));
        assert_ne!(nonce, Nonces::random().unwrap().fresh(at(1200)));
        assert!(!Nonces::random().unwrap().accept(&nonce, at(1200)));
        assert!(!nonces.accept(&nonce, SystemTime::UNIX_EPOCH - WINDOW));
    }

    #[test]
    fn nothing_but_the_whole_nonce_is_accepted() {
        let nonces = Nonces::shared(&[7; 32]);
        let nonce = nonces.fresh(at(0));
        assert!(Nonces::shared(&[7; 32]).accept(&nonce, at(0)));
        assert!(!Nonces::shared(&[8; 32]).accept(&nonce, at(0)));
        for wrong in [
            String::new(),
            format!("{nonce}A"),
            format!("{nonce}="),
            nonce.split_at(1).1.to_owned(),
            nonce.split_at(21).0.to_owned(),
            nonce.to_lowercase(),
            "A".repeat(22),
        ] {
            assert!(!nonces.accept(&wrong, at(0)), "{wrong}");
        }
    }
}
