//! The sidecars that are connected, as the pods of all control planes tell.

use std::collections::BTreeMap;

use serde_json::Value;

use super::seen::Seen;

/// All of them, by the UIDs of their pods.
#[derive(Debug, Default)]
pub(super) struct Fleet {
    sidecars: BTreeMap<String, Value>,
    /// Those that are in no pod.
    outside: Vec<Value>,
    whole: bool,
}

impl Fleet {
    /// Joins what the pods of control planes say.
    pub(super) fn of<'a>(pages: impl IntoIterator<Item = &'a Seen<Value>>) -> Self {
        let mut all = Self { whole: true, ..Self::default() };
        let mut asked = 0;
        for page in pages {
            asked += 1;
            let listed = page.as_ref().ok().and_then(|page| {
                let listed = page.get("sidecars")?.as_array()?;
                let connected = page.get("connected")?.as_u64()?;
                // Of those that are connected and not listed nothing is known.
                Some((listed, usize::try_from(connected).ok()? <= listed.len()))
            });
            let Some((listed, whole)) = listed else {
                all.whole = false;
                continue;
            };
            all.whole &= whole;
            for sidecar in listed {
                match sidecar.get("podUid").and_then(Value::as_str) {
                    None | Some("") => all.outside.push(sidecar.clone()),
                    Some(uid) => drop(all.sidecars.insert(uid.to_owned(), sidecar.clone())),
                }
            }
        }
        all.whole &= asked > 0;
        all
    }

    /// What is said of the sidecar of a pod.
    pub(super) fn sidecar(&self, uid: &str) -> Option<&Value> {
        self.sidecars.get(uid)
    }

    /// What is said of sidecars that are in no pod, such as those of other machines.
    pub(super) fn outside(&self) -> &[Value] {
        &self.outside
    }

    /// True when whoever is not in it is connected to no control plane.
    pub(super) fn is_whole(&self) -> bool {
        self.whole
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::kube::NotSeen;

    #[test]
    fn it_is_whole_only_when_everybody_told_everything() {
        let page = |connected: u32, uids: &[&str]| {
            let sidecars: Vec<Value> = uids.iter().map(|uid| json!({ "podUid": uid })).collect();
            Ok(json!({ "connected": connected, "sidecars": sidecars }))
        };
        let fleet = Fleet::of([&page(1, &["a"]), &page(2, &["b", "c"])]);
        assert!(fleet.is_whole() && fleet.sidecar("c").is_some() && fleet.sidecar("d").is_none());
        assert!(!Fleet::of([&page(1, &["a"]), &page(3, &["b", "c"])]).is_whole());
        assert!(!Fleet::of([&page(1, &["a"]), &Err(NotSeen::Unreached(String::new()))]).is_whole());
        assert!(!Fleet::of([&Ok(json!({}))]).is_whole());
        assert!(!Fleet::of([]).is_whole(), "nobody was asked");
        let fleet = Fleet::of([&page(3, &["a", "", ""])]);
        assert_eq!((fleet.outside().len(), fleet.is_whole()), (2, true));
    }
}
