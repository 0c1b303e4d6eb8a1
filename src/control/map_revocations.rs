//! The list of revocations in a ConfigMap of the Kubernetes API, which all replicas share.

use k8s_openapi::api::core::v1::ConfigMap;
use tokio::runtime::Handle;
use zeroize::Zeroizing;

use crate::kube::{Held, Object, ObjectError, ObjectVersion, Values};
use crate::revocation::{Edition, RevocationError, RevocationShelf};

const LIST: &str = "revocations.json";

/// A ConfigMap. Its methods block on the runtime that it was made in, and so belong on threads that may block.
#[derive(Debug)]
pub(super) struct MapRevocations {
    runtime: Handle,
    map: Object<ConfigMap>,
}

impl MapRevocations {
    pub(super) fn new(runtime: Handle, map: Object<ConfigMap>) -> Self {
        Self { runtime, map }
    }

    fn failed(&self, error: ObjectError) -> RevocationError {
        match error {
            ObjectError::Exists(place) | ObjectError::Conflict(place) => {
                RevocationError::Conflict(place)
            }
            error => RevocationError::Remote { place: self.place(), source: error.into() },
        }
    }
}

impl RevocationShelf for MapRevocations {
    fn load(&self) -> Result<(Option<String>, Edition), RevocationError> {
        let held = self.runtime.block_on(self.map.read()).map_err(|error| self.failed(error))?;
        let Some(Held { values, version }) = held else { return Ok((None, Edition::None)) };
        let missing = || RevocationError::Damaged {
            place: self.place(),
            problem: format!("holds no {LIST}"),
        };
        let text = values.get(LIST).ok_or_else(missing)?;
        Ok((Some(text.as_str().to_owned()), Edition::Of(version.as_str().to_owned())))
    }

    fn save(&self, text: &str, over: &Edition) -> Result<Edition, RevocationError> {
        let values: Values = [(LIST.to_owned(), Zeroizing::new(text.to_owned()))].into();
        let saved = self.runtime.block_on(async {
            match over {
                Edition::None => self.map.create(&values).await,
                Edition::Of(version) => {
                    self.map.replace(&values, &ObjectVersion::of(version)).await
                }
            }
        });
        let version = saved.map_err(|error| self.failed(error))?;
        Ok(Edition::Of(version.as_str().to_owned()))
    }

    fn place(&self) -> String {
        self.map.place().to_owned()
    }
}
