//! What a subscriber has of one type, without a copy of every name: a table, and where it differs from it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::SharedTable;

/// What a subscriber has of one name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Has {
    /// Nobody knows: whatever there is must be told.
    Unknown,
    /// It knows that there is no such resource.
    Nothing,
    /// This version.
    Version(Arc<str>),
}

/// What a subscriber has.
#[derive(Debug, Default)]
pub(super) struct Standing {
    table: Option<Arc<SharedTable>>,
    differs: BTreeMap<Arc<str>, Has>,
}

impl Standing {
    pub(super) fn has(&self, name: &str) -> Has {
        if let Some(has) = self.differs.get(name) {
            return has.clone();
        }
        match &self.table {
            None => Has::Unknown,
            Some(table) => Has::in_table(table, name),
        }
    }

    pub(super) fn set(&mut self, name: Arc<str>, has: Has) {
        self.differs.insert(name, has);
    }

    pub(super) fn forget(&mut self, name: &str) {
        self.differs.remove(name);
    }

    /// True when it has all of `table` but for what is known to differ.
    pub(super) fn follows(&self, table: &Arc<SharedTable>) -> bool {
        self.table.as_ref().is_some_and(|held| Arc::ptr_eq(held, table))
    }

    /// The names at which it may differ from `table`, in order.
    pub(super) fn candidates(&self, table: &Arc<SharedTable>) -> Vec<Arc<str>> {
        let mut names: Vec<Arc<str>> = self.differs.keys().cloned().collect();
        match &self.table {
            Some(held) if Arc::ptr_eq(held, table) => {}
            Some(held) => match table.changed_since(held) {
                Some(changed) => names.extend(changed.iter().cloned()),
                None => names.extend(held.names().chain(table.names()).cloned()),
            },
            None => names.extend(table.names().cloned()),
        }
        names.sort_unstable();
        names.dedup();
        names
    }

    /// From now on everything is as in `table`, but for names that were set to something else meanwhile.
    pub(super) fn settle(&mut self, table: Arc<SharedTable>) {
        self.differs.retain(|name, has| *has != Has::in_table(&table, name));
        self.table = Some(table);
    }
}

impl Has {
    pub(super) fn in_table(table: &SharedTable, name: &str) -> Self {
        table.version(name).map_or(Self::Nothing, |version| Self::Version(Arc::clone(version)))
    }

    pub(super) fn version(&self) -> Option<&Arc<str>> {
        match self {
            Self::Version(version) => Some(version),
            Self::Unknown | Self::Nothing => None,
        }
    }
}
