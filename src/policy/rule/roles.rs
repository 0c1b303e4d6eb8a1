//! Roles that imply roles, as a policy writes them.

use std::collections::BTreeMap;

use crate::policy::condition::ImpliedRoles;
use crate::policy::field::FieldPath;
use crate::policy::problem::Problem;
use crate::policy::resource::{Checked, check_list, check_text};

/// Reads `role: [roles it implies]`. A role that implies itself, by whatever way, is a mistake.
pub(in crate::policy) fn check_roles(
    raw: BTreeMap<String, Vec<String>>,
    at: &FieldPath,
) -> Checked<ImpliedRoles> {
    if raw.is_empty() {
        return Err(Problem::new(at.clone(), "is empty").hint("leave the field out"));
    }
    let mut direct = BTreeMap::new();
    for (role, implied) in raw {
        let at = at.field(&role);
        check_text(role.clone(), at.clone())?;
        let implied = check_list(implied, &at)?
            .into_iter()
            .enumerate()
            .map(|(place, name)| check_text(name, at.item(place)))
            .collect::<Checked<Vec<_>>>()?;
        direct.insert(role, implied);
    }
    let closed = ImpliedRoles::close(&direct);
    let circular = |role: &&String| {
        direct.get(*role).into_iter().flatten().any(|implied| closed.grants(implied, role))
    };
    match direct.keys().find(circular) {
        None => Ok(closed),
        Some(role) => {
            let message = format!("`{role}` implies itself, by way of others");
            Err(Problem::new(at.field(role), message)
                .hint("roles that imply each other are one role: give them one name"))
        }
    }
}
