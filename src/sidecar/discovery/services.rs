//! Services that were told: nothing is known of them before a whole revision was heard.

use std::collections::BTreeMap;
use std::sync::Arc;

use tokio::sync::watch;

use crate::mesh::captured::{InvalidService, Service};
use crate::runtime::with_causes;
use crate::xds::Update;
use crate::xds::own::SERVICE_TYPE;

use super::link::{Link, LinkError};
use super::task::Task;

/// The services of the mesh; `None` until they are known.
pub(in crate::sidecar) type Services = watch::Receiver<Option<Arc<Vec<Service>>>>;

/// Whether this workload needs them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::sidecar) enum Wanted {
    /// Its pod is captured, and the control plane says which services there are.
    Services,
    /// It does not.
    Nothing,
}

/// What was told of services.
pub(super) struct ToldServices {
    /// By the name of the resource, with its message.
    told: BTreeMap<String, (Service, Vec<u8>)>,
    is_known: bool,
    sender: watch::Sender<Option<Arc<Vec<Service>>>>,
}

impl ToldServices {
    /// Begins with what was known in an earlier run; `None` when nothing was.
    ///
    /// # Errors
    /// When a message of then cannot be read.
    pub(super) fn new(kept: Option<&BTreeMap<String, Vec<u8>>>) -> Result<Self, InvalidService> {
        let read = |(name, content): (&String, &Vec<u8>)| {
            Ok((name.clone(), (Service::decode(name, content)?, content.clone())))
        };
        let told = kept.into_iter().flatten().map(read).collect::<Result<_, _>>()?;
        let services = Self { told, is_known: kept.is_some(), sender: watch::Sender::new(None) };
        services.publish();
        Ok(services)
    }

    pub(super) fn subscribe(&self) -> Services {
        self.sender.subscribe()
    }

    /// Takes an answer, whole or not at all; the words say why not.
    fn take(&mut self, update: &Update) -> Result<(), String> {
        let read = update.resources.iter().map(|resource| {
            let service = Service::decode(&resource.name, &resource.content)?;
            Ok((resource.name.clone(), (service, resource.content.clone())))
        });
        let read: Result<Vec<_>, InvalidService> = read.collect();
        self.told.extend(read.map_err(|error| with_causes(&error))?);
        for name in &update.removed {
            self.told.remove(name);
        }
        // The last answer of a change has a revision.
        self.is_known |= !update.revision.is_empty();
        self.publish();
        Ok(())
    }

    fn publish(&self) {
        if self.is_known {
            let all = self.told.values().map(|(service, _)| service.clone()).collect();
            self.sender.send_replace(Some(Arc::new(all)));
        }
    }

    /// What is to be remembered; nothing before all is known.
    fn kept(&self) -> Option<BTreeMap<String, Vec<u8>>> {
        let contents = self.told.iter().map(|(name, (_, content))| (name.clone(), content.clone()));
        self.is_known.then(|| contents.collect())
    }
}

impl Task {
    pub(super) async fn hear_services(
        &mut self,
        link: &Link,
        update: Update,
    ) -> Result<(), LinkError> {
        let Some(services) = &mut self.services else { return self.accept(link, update).await };
        if let Err(words) = services.take(&update) {
            return self.refuse(link, &update, &words).await;
        }
        if let Some(kept) = services.kept() {
            let held = u64::try_from(kept.len()).unwrap_or(u64::MAX);
            self.kept.resources.insert(SERVICE_TYPE.to_owned(), kept);
            self.unsaved = true;
            self.status.update(|heard| {
                heard.resources.insert(SERVICE_TYPE, held);
            });
        }
        self.accept(link, update).await
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::xds::NewContent;

    fn service(name: &str) -> Service {
        let text = format!("services: [{{ name: {name}, namespace: shop, ports: [] }}]");
        let file: crate::mesh::captured::ServicesFile = serde_saphyr::from_str(&text).unwrap();
        let domain = crate::identity::TrustDomain::parse("mesh.test").unwrap();
        file.services(&domain).unwrap().remove(0)
    }

    fn update(put: &[&str], removed: &[&str], revision: &str) -> Update {
        let resource = |name: &&str| NewContent {
            name: format!("shop/{name}"),
            version: "1".to_owned(),
            content: service(name).encode(),
        };
        Update {
            type_url: SERVICE_TYPE,
            nonce: "1".to_owned(),
            revision: revision.to_owned(),
            resources: put.iter().map(resource).collect(),
            removed: removed.iter().map(|name| format!("shop/{name}")).collect(),
        }
    }

    fn known(services: &ToldServices) -> Option<Vec<String>> {
        let all = services.sender.borrow().clone()?;
        Some(all.iter().map(|service| service.name.to_string()).collect())
    }

    #[test]
    fn nothing_is_known_before_a_whole_revision() {
        let mut services = ToldServices::new(None).unwrap();
        services.take(&update(&["a"], &[], "")).unwrap();
        assert_eq!((known(&services), services.kept()), (None, None));
        services.take(&update(&["b"], &[], "r1")).unwrap();
        assert_eq!(known(&services).unwrap(), ["a", "b"]);
        services.take(&update(&["c"], &["a"], "")).unwrap();
        assert_eq!(known(&services).unwrap(), ["b", "c"]);
        // And after a restart.
        let again = ToldServices::new(services.kept().as_ref()).unwrap();
        assert_eq!(known(&again).unwrap(), ["b", "c"]);
        let none = ToldServices::new(Some(&BTreeMap::new())).unwrap();
        assert_eq!(known(&none).unwrap(), Vec::<String>::new(), "that there is none was told");
    }

    #[test]
    fn an_answer_that_cannot_be_read_changes_nothing() {
        let mut services = ToldServices::new(None).unwrap();
        services.take(&update(&["a"], &[], "r1")).unwrap();
        let mut bad = update(&["b"], &["a"], "r2");
        bad.resources.push(NewContent {
            name: "shop/c".to_owned(),
            version: "1".to_owned(),
            content: vec![0xff],
        });
        let words = services.take(&bad).unwrap_err();
        assert!(words.contains("\"shop/c\" is no Service message"), "{words}");
        assert_eq!(known(&services).unwrap(), ["a"]);
        let kept = BTreeMap::from([("shop/a".to_owned(), vec![0xff])]);
        assert!(ToldServices::new(Some(&kept)).is_err());
    }
}
