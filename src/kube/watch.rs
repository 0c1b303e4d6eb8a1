//! Follows what there is in a cluster, through errors, restarts and lost history.
//!
//! What is heard is complete before it replaces anything: a list that breaks off, and an error, are no answer.

use std::fmt::Debug;
use std::time::Duration;

use futures_util::stream::{BoxStream, SelectAll, Stream, StreamExt as _, select_all, unfold};
use k8s_openapi::api::core::v1 as core;
use k8s_openapi::api::discovery::v1 as discovery;
use kube::api::{Api, ApiResource, DynamicObject, GroupVersionKind};
use kube::runtime::watcher::{self, Event, watcher};
use serde::de::DeserializeOwned;

use super::Cluster;
use super::crd::{DEFINITIONS, Definition, GROUP, VERSION};
use super::index::{Change, ClusterService, EndpointSlice, Heard, Held, Pod};
use crate::runtime::{dice, with_causes};

const FIRST_WAIT: Duration = Duration::from_millis(200);
const LONGEST_WAIT: Duration = Duration::from_secs(15);
/// After so many failures in a row to go on where it was, everything is listed anew: the place may be one that the API
/// server does not know (any more), as after a restore of its data.
const RELIST_AFTER: u32 = 4;
/// Gone: the history since a place is no longer kept.
const GONE: u16 = 410;

/// All that is to be followed, as one stream, which never ends.
pub fn changes(cluster: &Cluster) -> SelectAll<BoxStream<'static, Change>> {
    let mut all: Vec<BoxStream<'static, Change>> = Vec::new();
    for definition in DEFINITIONS {
        let heard = follow(resources(cluster, &definition), read_resource);
        all.push(heard.map(move |heard| Change::Resources(definition.kind, heard)).boxed());
    }
    let pods: Api<core::Pod> = Api::all(cluster.client());
    all.push(follow(pods, |pod| Pod::read(&pod)).map(Change::Pods).boxed());
    let services: Api<core::Service> = Api::all(cluster.client());
    let services = follow(services, |service| ClusterService::read(&service));
    all.push(services.map(Change::Services).boxed());
    let slices: Api<discovery::EndpointSlice> = Api::all(cluster.client());
    let slices = follow(slices, |slice| EndpointSlice::read(&slice));
    all.push(slices.map(Change::Slices).boxed());
    select_all(all)
}

/// The resources of one of our kinds, in all namespaces.
pub(super) fn resources(cluster: &Cluster, definition: &Definition) -> Api<DynamicObject> {
    Api::all_with(cluster.client(), &api_resource(definition))
}

pub(super) fn api_resource(definition: &Definition) -> ApiResource {
    let kind = GroupVersionKind::gvk(GROUP, VERSION, definition.kind);
    ApiResource::from_gvk_with_plural(&kind, definition.plural)
}

fn read_resource(object: DynamicObject) -> Option<Held> {
    // Never an error: it was read from JSON.
    Held::read(&serde_json::to_value(object).ok()?)
}

/// Follows the objects behind `api`. `read` takes what is of use from each.
pub(super) fn follow<K, T>(
    api: Api<K>,
    read: impl Fn(K) -> Option<T> + Send + 'static,
) -> impl Stream<Item = Heard<T>> + Send + 'static
where
    K: kube::Resource + Clone + Debug + DeserializeOwned + Send + 'static,
    T: Send + 'static,
{
    follow_events(move || watcher(api.clone(), watcher::Config::default()).boxed(), read)
}

/// The same of whatever `open` opens, anew where it must be.
pub(super) fn follow_events<K, T>(
    open: impl Fn() -> BoxStream<'static, watcher::Result<Event<K>>> + Send + 'static,
    read: impl Fn(K) -> Option<T> + Send + 'static,
) -> impl Stream<Item = Heard<T>> + Send + 'static
where
    K: Send + 'static,
    T: Send + 'static,
{
    let following = Following { events: open(), open, read, listed: Vec::new(), failures: 0 };
    unfold(following, |mut following| async {
        let heard = following.next().await;
        Some((heard, following))
    })
}

struct Following<K, T, O, R> {
    events: BoxStream<'static, watcher::Result<Event<K>>>,
    open: O,
    read: R,
    /// What was listed so far, until it is all.
    listed: Vec<T>,
    /// In a row.
    failures: u32,
}

impl<K, T, O, R> Following<K, T, O, R>
where
    O: Fn() -> BoxStream<'static, watcher::Result<Event<K>>>,
    R: Fn(K) -> Option<T>,
{
    async fn next(&mut self) -> Heard<T> {
        loop {
            if self.failures > 0 {
                tokio::time::sleep(wait(self.failures, dice())).await;
            }
            let event = match self.events.next().await {
                Some(Ok(event)) => event,
                Some(Err(error)) => return self.failed(&error),
                None => {
                    self.events = (self.open)();
                    continue;
                }
            };
            match event {
                // A list begins, perhaps once more after one that broke off. That it can be had is not yet known.
                Event::Init => self.listed.clear(),
                Event::InitApply(object) => {
                    self.failures = 0;
                    self.listed.extend((self.read)(object));
                }
                Event::InitDone => {
                    self.failures = 0;
                    return Heard::All(std::mem::take(&mut self.listed));
                }
                Event::Apply(object) => {
                    self.failures = 0;
                    if let Some(object) = (self.read)(object) {
                        return Heard::Put(object);
                    }
                }
                Event::Delete(object) => {
                    self.failures = 0;
                    if let Some(object) = (self.read)(object) {
                        return Heard::Gone(object);
                    }
                }
            }
        }
    }

    fn failed(&mut self, error: &watcher::Error) -> Heard<T> {
        self.failures = self.failures.saturating_add(1);
        if is_gone(error) || self.failures.is_multiple_of(RELIST_AFTER) {
            self.events = (self.open)();
        }
        Heard::Failed(with_causes(error))
    }
}

fn is_gone(error: &watcher::Error) -> bool {
    match error {
        watcher::Error::WatchError(status) => status.code == GONE,
        watcher::Error::InitialListFailed(error)
        | watcher::Error::WatchStartFailed(error)
        | watcher::Error::WatchFailed(error) => {
            matches!(error, kube::Error::Api(status) if status.code == GONE)
        }
        watcher::Error::NoResourceVersion => true,
    }
}

/// The wait after so many failures in a row; half of it is left to a draw between 0 and 1.
fn wait(failures: u32, draw: f64) -> Duration {
    let doubled = 2_u32.checked_pow(failures.saturating_sub(1)).unwrap_or(u32::MAX);
    FIRST_WAIT.saturating_mul(doubled).min(LONGEST_WAIT).mul_f64(0.5 + draw / 2.0)
}

#[cfg(test)]
mod tests;
