//! Keys kept over a restart, so that one in the middle of a provider's outage does not refuse everybody.
//!
//! What stands in the directory is trusted as far as the directory is: whoever may write there could hand out keys, so
//! one that others may write to is refused. A file counts only for the provider, place and issuer it was written for,
//! and only as long as its keys may be used without a fetch. A file that does not count is told in the log and not
//! used; the next fetch replaces it.

use std::collections::BTreeMap;
use std::io;
use std::os::unix::fs::{DirBuilderExt as _, PermissionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use percent_encoding::{AsciiSet, NON_ALPHANUMERIC, utf8_percent_encode};
use serde::{Deserialize, Serialize};
use tokio::task::JoinSet;

use crate::authn::keys::{InvalidKeySet, KeySet};
use crate::runtime::{FileError, read_secret, write_atomic};

use super::source::Source;

/// A key set is at most 1 MiB, and a text in JSON at most six times as long as it is.
const MAX_FILE: u64 = 8 * 1024 * 1024;
/// What a name of a provider keeps in the name of its file.
const KEPT: &AsciiSet = &NON_ALPHANUMERIC.remove(b'-').remove(b'_');

/// A directory for keys. Cloning shares it.
#[derive(Debug, Clone)]
pub struct KeyStore(Arc<Path>);

/// Why a directory is not used for keys.
#[derive(Debug, thiserror::Error)]
pub enum InvalidKeyStore {
    /// It cannot be made or looked at.
    #[error("cannot use {path} for keys")]
    Io {
        /// The directory.
        path: PathBuf,
        /// The system's reason.
        #[source]
        source: io::Error,
    },
    /// Others may write there.
    #[error("{path} is for keys but has mode {mode:03o}; run: chmod 700 {path}")]
    Exposed {
        /// The directory.
        path: PathBuf,
        /// Its permission bits.
        mode: u32,
    },
}

/// Why kept keys are not used.
#[derive(Debug, thiserror::Error)]
enum Unusable {
    #[error("{0}")]
    File(FileError),
    #[error("it is no file of kept keys: {0}")]
    Text(serde_json::Error),
    #[error("it is of another form, provider, place or issuer")]
    Foreign,
    #[error("its keys are from the future")]
    Future,
    #[error("its keys are older than maxStale")]
    Stale,
    #[error("{0}")]
    KeySet(InvalidKeySet),
}

/// What is kept for one provider. The algorithms are not: under others, the same text gives other keys.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields, rename_all = "camelCase")]
pub(super) struct Record {
    form: u32,
    provider: String,
    place: String,
    issuer: String,
    /// Seconds since 1970.
    fetched_at: u64,
    jwks: String,
}

const FORM: u32 = 1;

impl Record {
    /// Nothing when the text is no UTF-8, which no key set is.
    pub(super) fn new(
        provider: &str,
        source: &Source,
        text: Vec<u8>,
        at: SystemTime,
    ) -> Option<Self> {
        Some(Self {
            form: FORM,
            provider: provider.to_owned(),
            place: source.place_text(),
            issuer: source.issuer.clone(),
            fetched_at: at.duration_since(SystemTime::UNIX_EPOCH).ok()?.as_secs(),
            jwks: String::from_utf8(text).ok()?,
        })
    }
}

impl KeyStore {
    /// Keeps keys in this directory, which is made if it is not there.
    ///
    /// # Errors
    /// When it cannot be made, or others may write there.
    pub fn open(directory: &Path) -> Result<Self, InvalidKeyStore> {
        let path = || directory.to_path_buf();
        let mut builder = std::fs::DirBuilder::new();
        builder
            .recursive(true)
            .mode(0o700)
            .create(directory)
            .map_err(|source| InvalidKeyStore::Io { path: path(), source })?;
        let metadata = std::fs::metadata(directory)
            .map_err(|source| InvalidKeyStore::Io { path: path(), source })?;
        let mode = metadata.permissions().mode() & 0o777;
        if mode & 0o022 != 0 {
            return Err(InvalidKeyStore::Exposed { path: path(), mode });
        }
        Ok(Self(directory.into()))
    }

    /// The keys that are kept for this provider, if they may still be used, and when they came.
    pub(in crate::authn) fn load(
        &self,
        provider: &str,
        source: &Source,
        now: SystemTime,
    ) -> Option<(Arc<KeySet>, SystemTime)> {
        let path = self.path(provider);
        match read(&path, provider, source, now) {
            Ok(kept) => kept,
            Err(reason) => {
                let path = path.display();
                tracing::warn!(provider, %path, %reason, "kept keys are not used");
                None
            }
        }
    }

    fn save(&self, record: &Record) -> Result<(), FileError> {
        let path = self.path(&record.provider);
        let text = serde_json::to_vec(record).map_err(|error| FileError::Io {
            action: "write",
            path: path.clone(),
            source: error.into(),
        })?;
        write_atomic(&path, &text, 0o600)
    }

    fn path(&self, provider: &str) -> PathBuf {
        self.0.join(format!("{}.json", utf8_percent_encode(provider, KEPT)))
    }
}

fn read(
    path: &Path,
    provider: &str,
    source: &Source,
    now: SystemTime,
) -> Result<Option<(Arc<KeySet>, SystemTime)>, Unusable> {
    let text = match read_secret(path, MAX_FILE) {
        Err(FileError::Io { source, .. }) if source.kind() == io::ErrorKind::NotFound => {
            return Ok(None);
        }
        text => text.map_err(Unusable::File)?,
    };
    let Record { form, provider: whose, place, issuer, fetched_at, jwks } =
        serde_json::from_str(&text).map_err(Unusable::Text)?;
    let ours = form == FORM && whose == provider;
    if !ours || place != source.place_text() || issuer != source.issuer {
        return Err(Unusable::Foreign);
    }
    let at = SystemTime::UNIX_EPOCH.checked_add(Duration::from_secs(fetched_at));
    let at = at.ok_or(Unusable::Future)?;
    match now.duration_since(at) {
        Ok(age) if age > source.max_stale => return Err(Unusable::Stale),
        // The clock went back. Not for ever: without this bound they could be used until it is there again.
        Err(ahead) if ahead.duration() > source.max_stale => return Err(Unusable::Future),
        Ok(_) | Err(_) => {}
    }
    let keys = KeySet::parse(jwks.as_bytes(), &source.algorithms).map_err(Unusable::KeySet)?;
    Ok(Some((Arc::new(keys), at.min(now))))
}

/// Writes records one after the other on another thread; of one provider only the last.
pub(super) struct Writer {
    store: Option<KeyStore>,
    waiting: BTreeMap<String, Record>,
    writing: JoinSet<()>,
}

impl Writer {
    pub(super) fn new(store: Option<KeyStore>) -> Self {
        Self { store, waiting: BTreeMap::new(), writing: JoinSet::new() }
    }

    pub(super) fn put(&mut self, record: Record) {
        if self.store.is_some() {
            self.waiting.insert(record.provider.clone(), record);
            self.next();
        }
    }

    /// Resolves when a record was written; never while there is none.
    pub(super) async fn written(&mut self) {
        match self.writing.join_next().await {
            // A panic in there is reported already, and the next fetch writes again.
            Some(Ok(()) | Err(_)) => self.next(),
            None => std::future::pending().await,
        }
    }

    fn next(&mut self) {
        let Some(store) = self.store.clone().filter(|_| self.writing.is_empty()) else { return };
        let Some((provider, record)) = self.waiting.pop_first() else { return };
        self.writing.spawn_blocking(move || {
            if let Err(error) = store.save(&record) {
                let cause = std::error::Error::source(&error).map(ToString::to_string);
                tracing::warn!(provider, %error, cause, "keys not kept for the next start");
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::super::source::Place;
    use super::*;
    use crate::policy::Algorithm;

    const JWKS: &str = r#"{"keys":[{"kty":"OKP","crv":"Ed25519","kid":"1","x":"11qYAYKxCrfVS_7TyWQHOg7hcvPapiMlrwIaaPcHURo"}]}"#;

    fn at(seconds: u64) -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_790_000_000 + seconds)
    }

    fn source(uri: &str, issuer: &str, algorithms: &[Algorithm]) -> Source {
        Source {
            place: Place::KeySet(uri.to_owned()),
            issuer: issuer.to_owned(),
            algorithms: algorithms.to_vec(),
            interval: Duration::from_secs(60),
            max_stale: Duration::from_secs(3600),
        }
    }

    fn directory(name: &str) -> PathBuf {
        let name = format!("hopgate-key-store-{name}-{}", std::process::id());
        let directory = std::env::temp_dir().join(name);
        drop(std::fs::remove_dir_all(&directory));
        directory
    }

    #[test]
    fn kept_keys_count_only_for_what_they_were_kept_for() {
        let directory = directory("match");
        let store = KeyStore::open(&directory).unwrap();
        let ours = source("https://sso.example/keys", "https://sso.example", &[Algorithm::EdDSA]);
        assert!(store.load("sso", &ours, at(0)).is_none(), "nothing is there");
        let save = |text: &str| {
            let record = Record::new("sso", &ours, text.into(), at(10_000)).unwrap();
            store.save(&record).unwrap();
        };
        save(JWKS);
        let load = |name: &str, source: &Source, now: u64| {
            store.load(name, source, at(now)).map(|(keys, at)| (keys.usable(), at))
        };
        assert_eq!(load("sso", &ours, 10_000), Some((1, at(10_000))));
        assert_eq!(load("sso", &ours, 13_600), Some((1, at(10_000))));
        assert_eq!(load("sso", &ours, 13_601), None, "older than maxStale");
        assert_eq!(load("sso", &ours, 6_400), Some((1, at(6_400))), "the clock went back a bit");
        assert_eq!(load("sso", &ours, 6_399), None, "from the future");
        assert_eq!(load("other", &ours, 10_000), None);
        for foreign in [
            source("https://sso.example/other", "https://sso.example", &[Algorithm::EdDSA]),
            source("https://sso.example/keys", "https://sso.example/", &[Algorithm::EdDSA]),
            source("https://sso.example/keys", "https://sso.example", &[Algorithm::ES256]),
        ] {
            assert_eq!(load("sso", &foreign, 10_000), None, "{foreign:?}");
        }
        // The file of another provider under this one's name.
        std::fs::copy(store.path("sso"), store.path("other")).unwrap();
        assert_eq!(load("other", &ours, 10_000), None);

        let whole = std::fs::read(store.path("sso")).unwrap();
        for cut in [0, 1, whole.len() / 2, whole.len() - 1] {
            std::fs::write(store.path("sso"), &whole[..cut]).unwrap();
            assert_eq!(load("sso", &ours, 10_000), None, "cut at {cut}");
        }
        save(r#"{"keys":[]}"#);
        assert_eq!(load("sso", &ours, 10_000), None);
        std::fs::write(store.path("sso"), &whole).unwrap();
        assert!(load("sso", &ours, 10_000).is_some());
        std::fs::set_permissions(store.path("sso"), std::fs::Permissions::from_mode(0o640))
            .unwrap();
        assert_eq!(load("sso", &ours, 10_000), None, "others can read it");
        std::fs::remove_dir_all(&directory).unwrap();
    }

    #[test]
    fn the_directory_is_ours_alone_and_names_stay_in_it() {
        let directory = directory("mode");
        let store = KeyStore::open(&directory).unwrap();
        let mode = || std::fs::metadata(&directory).unwrap().permissions().mode() & 0o777;
        assert_eq!(mode(), 0o700);
        assert_eq!(store.path("../a/b.c"), directory.join("%2E%2E%2Fa%2Fb%2Ec.json"));
        std::fs::set_permissions(&directory, std::fs::Permissions::from_mode(0o770)).unwrap();
        assert!(matches!(
            KeyStore::open(&directory),
            Err(InvalidKeyStore::Exposed { mode: 0o770, .. })
        ));
        let inside = directory.join("file");
        std::fs::write(&inside, "").unwrap();
        assert!(matches!(KeyStore::open(&inside.join("x")), Err(InvalidKeyStore::Io { .. })));
        std::fs::remove_dir_all(&directory).unwrap();
    }
}
