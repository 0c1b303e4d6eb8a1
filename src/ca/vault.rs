//! Where an authority keeps what it is: one state and the files that the state names. A vault replaces both in one
//! step, or not at all.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::value::RawValue;
use zeroize::Zeroizing;

use super::authority::AuthorityError;
use super::state::State;
use super::store::StoreError;

/// The name under which the state is kept.
pub(super) const STATE: &str = "state.json";

const DAMAGED: &str = "is damaged; restore it from a backup, or move the whole away to begin a new mesh with a new root";

/// Files by name. Names are like `1.root.key`; those that end in `.key` hold secrets.
pub type Files = BTreeMap<String, Zeroizing<String>>;

/// What an authority keeps.
pub struct Kept {
    /// The state as JSON text, with its checksum.
    pub state: String,
    /// The files that the state names; found in a vault there may be more, which are nothing.
    pub files: Files,
}

/// What a vault holds.
pub enum Found {
    /// There never was an authority here.
    Nothing,
    /// The four files of an authority of the layout before there were generations.
    Old(OldFiles),
    /// An authority.
    Kept(Kept),
}

/// The files of the layout before there were generations.
pub struct OldFiles {
    pub(super) root: String,
    pub(super) root_key: Zeroizing<String>,
    pub(super) issuing: String,
    pub(super) issuing_key: Zeroizing<String>,
}

/// Which content of a vault was seen or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Version {
    /// There was none yet.
    Absent,
    /// The vault's own name of it; another content has another name. Empty where nobody else can write.
    Of(String),
}

/// A place that keeps one authority. Its methods may block.
pub trait Vault: Send + Sync {
    /// What it holds now.
    ///
    /// # Errors
    /// When it cannot be read, or holds a part of an authority only: it is never taken for an empty one then.
    fn load(&self) -> Result<(Found, Version), StoreError>;

    /// Puts `kept` in force in place of what `over` is the version of. It is durable on return.
    /// `roots` are the trusted roots in PEM, to be kept beside it for people to copy; empty before there are any.
    ///
    /// # Errors
    /// When it cannot be written, or another process changed it meanwhile ([`StoreError::Conflict`]); what was in force
    /// then stays.
    fn save(&self, kept: &Kept, roots: &str, over: &Version) -> Result<Version, StoreError>;

    /// Where it is, for errors.
    fn place(&self) -> String;
}

#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
struct Sealed<'a> {
    sha256: &'a str,
    #[serde(borrow)]
    state: &'a RawValue,
}

#[derive(Serialize)]
struct Seal<'a> {
    sha256: String,
    state: &'a RawValue,
}

/// A state as text whose damage is noticed.
pub(super) fn seal(state: &State) -> Result<String, AuthorityError> {
    let unwritable = |_| damaged("cannot be written down");
    let raw = serde_json::value::to_raw_value(state).map_err(unwritable)?;
    let seal = Seal { sha256: digest(raw.get()), state: &raw };
    serde_json::to_string(&seal).map_err(unwritable)
}

/// Reads a state. One whose checksum or content is wrong is not repaired: which root is trusted would be a guess.
pub(super) fn unseal(text: &str) -> Result<State, AuthorityError> {
    let sealed: Sealed<'_> = serde_json::from_str(text).map_err(|_| damaged(DAMAGED))?;
    if digest(sealed.state.get()) != sealed.sha256 {
        return Err(damaged(
            "does not have the checksum that stands in it; restore it from a backup",
        ));
    }
    let state: State = serde_json::from_str(sealed.state.get()).map_err(|_| damaged(DAMAGED))?;
    match state.contradiction() {
        None => Ok(state),
        Some(problem) => Err(damaged(problem)),
    }
}

/// SHA-256 in lower-case hexadecimal.
pub(super) fn digest(text: &str) -> String {
    hex(aws_lc_rs::digest::digest(&aws_lc_rs::digest::SHA256, text.as_bytes()).as_ref())
}

/// Lower-case hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}

fn damaged(problem: &'static str) -> AuthorityError {
    AuthorityError::Damaged { file: STATE.to_owned(), problem }
}
