//! The keys of one provider, fetched once as a gate fetches them in the background.

use std::time::{Duration, SystemTime};

use tokio::sync::mpsc;

use crate::authn::{Files, HttpClient, HttpOptions, KeyHandle, KeyRefresh, Providers};
use crate::policy::IdentityProvider;
use crate::runtime::{Clock, Drain};

/// How often it is looked whether the fetch has failed.
const GLANCE: Duration = Duration::from_millis(20);

/// The provider with its keys; the inner error is why they did not come.
pub(super) async fn keys(
    spec: &IdentityProvider,
    files: &Files,
    timeout: Duration,
    now: SystemTime,
) -> anyhow::Result<Result<Providers, String>> {
    let providers = Providers::new(std::slice::from_ref(spec), files)?;
    let (sender, mut updates) = mpsc::channel(1);
    // As of the time that is asked about: keys that come now must not look too old or not born yet.
    let clock = Clock::manual(now);
    let client = HttpClient::new(&HttpOptions::system())?;
    let (task, handle) = KeyRefresh::new(clock, client, None, sender);
    handle.update(&providers);
    let came = tokio::select! {
        ended = task.run(Drain::new()) => Err(ended.err().map_or_else(String::new, |e| e.to_string())),
        update = updates.recv() => update.ok_or_else(|| "the fetch ended without keys".to_owned()),
        why = failed(&handle) => Err(why),
        () = tokio::time::sleep(timeout) => {
            Err(format!("no keys came within {timeout:?} from {}", place(&handle)))
        }
    };
    Ok(came.map(|update| providers.with_update(&update).unwrap_or(providers)))
}

/// Resolves when the first fetch has failed.
async fn failed(handle: &KeyHandle) -> String {
    loop {
        tokio::time::sleep(GLANCE).await;
        for status in handle.status() {
            if let Some(error) = status.last_error {
                return format!("cannot fetch keys from {}: {error}", status.uri);
            }
        }
    }
}

fn place(handle: &KeyHandle) -> String {
    handle.status().into_iter().map(|status| status.uri).collect()
}
