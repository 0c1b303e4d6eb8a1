//! New API keys.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use zeroize::Zeroizing;

/// Random bytes of a key.
const RANDOM: usize = 32;
/// Their length in base64url.
const ENCODED: usize = 43;
const LONGEST_PREFIX: usize = 32;

/// A key that was just made. It is shown once and never stored.
pub struct NewApiKey {
    text: Zeroizing<String>,
    sha256: String,
}

/// Why no key was made.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum NewApiKeyError {
    /// Something in the prefix could not be sent everywhere, or it is too long.
    #[error("a prefix has at most {LONGEST_PREFIX} letters, digits, `_` or `-`, such as hk_live_")]
    Prefix,
    /// The system gave no random bytes.
    #[error("the system gave no random bytes")]
    Random,
}

impl NewApiKey {
    /// The key itself, for its owner.
    #[must_use]
    pub fn text(&self) -> &str {
        &self.text
    }

    /// Its hash, for the file.
    #[must_use]
    pub fn sha256(&self) -> &str {
        &self.sha256
    }
}

/// A key of 256 random bits behind a prefix, which tells it from other secrets where one is found.
///
/// # Errors
/// When the prefix has odd characters, or there is no randomness.
pub fn generate_api_key(prefix: &str) -> Result<NewApiKey, NewApiKeyError> {
    let is_plain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_' || byte == b'-';
    if prefix.len() > LONGEST_PREFIX || !prefix.bytes().all(is_plain) {
        return Err(NewApiKeyError::Prefix);
    }
    let mut random = Zeroizing::new([0; RANDOM]);
    aws_lc_rs::rand::fill(random.as_mut_slice()).map_err(|_| NewApiKeyError::Random)?;
    // With all its room from the start, so that it never moves and leaves a copy behind.
    let mut text = Zeroizing::new(String::with_capacity(prefix.len() + ENCODED));
    text.push_str(prefix);
    URL_SAFE_NO_PAD.encode_string(random.as_slice(), &mut text);
    let digest = crate::authn::digest(text.as_bytes());
    let sha256 = digest.iter().map(|byte| format!("{byte:02x}")).collect();
    Ok(NewApiKey { text, sha256 })
}
