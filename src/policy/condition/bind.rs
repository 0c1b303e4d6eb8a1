//! What was read, as the interpreter wants it: converted when it asks, borrowed where it can be, and charged.

use std::collections::HashMap;

use cel::common::types::{
    CelBool, CelDouble, CelInt, CelList, CelMap, CelMapKey, CelNull, CelString, CelUInt,
};
use cel::common::value::{CowVal, Val};
use cel::context::VariableResolver;
use serde_json::{Map, Value};

use super::cost::{Cost, Loops};
use super::held::Held;
use super::known::Outcome;
use super::lower::place;
use super::meter::{Meter, text_steps};
use crate::policy::decide::UndecidableReason;
use crate::policy::facts::{Facts, HeaderValue};

/// What one evaluation may ask for.
pub(super) struct Bound<'k> {
    held: Vec<Outcome<Held<'k>>>,
    cost: Cost,
    meter: &'k Meter,
}

impl<'k> Bound<'k> {
    pub(super) fn new(held: Vec<Outcome<Held<'k>>>, cost: Cost, meter: &'k Meter) -> Self {
        Self { held, cost, meter }
    }

    /// Why the interpreter did not get what it asked for by this name.
    pub(super) fn reason(&self, name: &str) -> Option<UndecidableReason> {
        self.held.get(place(name)?)?.as_ref().err().cloned()
    }

    fn value(&self, held: Held<'k>) -> Outcome<Box<dyn Val + 'k>> {
        match held {
            Held::Texts(texts) => self.texts(texts.iter().map(String::as_str)),
            Held::Roles(held, implied) => self.texts(implied.effective(held)),
            Held::List(items) => self.list(items, self.cost.member),
            Held::Map(map) => self.map(map, self.cost.member),
            single => self.single(single),
        }
    }

    fn single(&self, held: Held<'k>) -> Outcome<Box<dyn Val + 'k>> {
        self.meter.spend(self.cost.value)?;
        Ok(match held {
            Held::Null => Box::new(CelNull),
            Held::Bool(truth) => Box::new(CelBool::from(truth)),
            Held::Int(number) => Box::new(CelInt::from(number)),
            Held::UInt(number) => Box::new(CelUInt::from(number)),
            Held::Double(number) => Box::new(CelDouble::from(number)),
            Held::Text(text) => {
                self.meter.spend(self.cost.text.saturating_mul(text_steps(text)))?;
                Box::new(CelString::from(text))
            }
            Held::Address(address) => Box::new(CelString::from(address.to_string())),
            // The lists and maps inside a value are charged for turns where a loop can reach them.
            Held::List(items) => return self.list(items, self.inside()),
            Held::Map(map) => return self.map(map, self.inside()),
            Held::Texts(_) | Held::Roles(..) => return self.value(held),
        })
    }

    fn inside(&self) -> u64 {
        match self.cost.loops {
            Loops::Read => 0,
            Loops::Inside => self.cost.member,
        }
    }

    fn texts(&self, texts: impl Iterator<Item = &'k str>) -> Outcome<Box<dyn Val + 'k>> {
        self.meter.spend(self.cost.value)?;
        let member = |text| {
            self.meter.spend(self.cost.member)?;
            self.single(Held::Text(text))
        };
        let members: Vec<Box<dyn Val + 'k>> = texts.map(member).collect::<Outcome<_>>()?;
        Ok(Box::new(CelList::from(members)))
    }

    fn list(&self, items: &'k [Value], turn: u64) -> Outcome<Box<dyn Val + 'k>> {
        self.meter.spend(self.cost.value)?;
        let member = |item: &'k Value| {
            self.meter.spend(turn)?;
            self.single(Held::of(item))
        };
        let members: Vec<Box<dyn Val + 'k>> = items.iter().map(member).collect::<Outcome<_>>()?;
        Ok(Box::new(CelList::from(members)))
    }

    fn map(&self, object: &'k Map<String, Value>, turn: u64) -> Outcome<Box<dyn Val + 'k>> {
        self.meter.spend(self.cost.value)?;
        let mut members: HashMap<CelMapKey<'k>, Box<dyn Val + 'k>> = HashMap::new();
        for (name, value) in object {
            // A loop over a map goes over its names.
            self.meter
                .spend(turn.saturating_add(self.cost.text.saturating_mul(text_steps(name))))?;
            let name = CelMapKey::String(CelString::from(name.as_str()));
            members.insert(name, self.single(Held::of(value))?);
        }
        Ok(Box::new(CelMap::from(members)))
    }
}

impl VariableResolver for Bound<'_> {
    fn resolve<'b>(&'b self, name: &str) -> Option<CowVal<'b, 'b>> {
        let held = self.held.get(place(name)?)?.as_ref().ok()?;
        // Once the steps are spent nothing is there any more, and whatever is made of that does not count.
        self.value(*held).ok().map(CowVal::Owned)
    }
}

/// Refuses headers that a condition names and that have no one text. One that is sent twice makes the condition
/// undecidable, whatever else it says: which of the values counts is not for us to guess.
pub(super) fn check_headers(names: &[String], facts: &Facts<'_>) -> Result<(), UndecidableReason> {
    let Some(request) = facts.request else { return Ok(()) };
    for name in names {
        match request.headers.value(name) {
            HeaderValue::Absent => {}
            HeaderValue::Many => return Err(UndecidableReason::HeaderRepeated(name.clone())),
            HeaderValue::One(bytes) => {
                std::str::from_utf8(bytes)
                    .map_err(|_| UndecidableReason::HeaderNotText(name.clone()))?;
            }
        }
    }
    Ok(())
}
