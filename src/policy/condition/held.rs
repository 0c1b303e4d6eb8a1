//! What an expression holds while it is evaluated without the interpreter, and how such values compare.
//!
//! The comparisons are those of the interpreter, which a test holds: numbers of all kinds compare by value, lists and
//! maps member by member, and values of different types are different.

use std::cmp::Ordering;
use std::net::IpAddr;

use serde_json::{Map, Number, Value};

use super::known::Outcome;
use super::meter::{Meter, text_steps};
use super::roles::ImpliedRoles;

/// A value, borrowed from the facts or from the condition.
#[derive(Debug, Clone, Copy)]
pub(super) enum Held<'a> {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Double(f64),
    Text(&'a str),
    Address(IpAddr),
    Texts(&'a [String]),
    /// The roles that are held; those that they imply are members too.
    Roles(&'a [String], &'a ImpliedRoles),
    List(&'a [Value]),
    Map(&'a Map<String, Value>),
}

impl<'a> Held<'a> {
    pub(super) fn of(value: &'a Value) -> Self {
        match value {
            Value::Null => Self::Null,
            Value::Bool(truth) => Self::Bool(*truth),
            Value::Number(number) => Self::number(number),
            Value::String(text) => Self::Text(text),
            Value::Array(items) => Self::List(items),
            Value::Object(object) => Self::Map(object),
        }
    }

    fn number(number: &Number) -> Self {
        match (number.as_i64(), number.as_u64()) {
            (Some(number), _) => Self::Int(number),
            (None, Some(number)) => Self::UInt(number),
            (None, None) => Self::Double(number.as_f64().unwrap_or(f64::NAN)),
        }
    }

    /// The steps of reading it without what it holds inside.
    pub(super) fn steps(&self) -> u64 {
        match self {
            Self::Text(text) => text_steps(text),
            Self::Null
            | Self::Bool(_)
            | Self::Int(_)
            | Self::UInt(_)
            | Self::Double(_)
            | Self::Address(_)
            | Self::Texts(_)
            | Self::Roles(..)
            | Self::List(_)
            | Self::Map(_) => 1,
        }
    }

    /// `==`.
    pub(super) fn same(self, other: Self, meter: &Meter) -> Outcome<bool> {
        meter.spend(1)?;
        match (self, other) {
            (Self::Null, Self::Null) => Ok(true),
            (Self::Text(left), Self::Text(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                meter.spend(text_steps(left))?;
                Ok(left == right)
            }
            (Self::Address(left), Self::Address(right)) => Ok(left == right),
            (Self::List(left), Self::List(right)) => {
                let pairs =
                    left.iter().zip(right).map(|(left, right)| (Self::of(left), Self::of(right)));
                all(left.len() == right.len(), pairs, meter)
            }
            (Self::Texts(texts), Self::List(values)) | (Self::List(values), Self::Texts(texts)) => {
                let pairs = texts
                    .iter()
                    .zip(values)
                    .map(|(text, value)| (Self::Text(text), Self::of(value)));
                all(texts.len() == values.len(), pairs, meter)
            }
            (Self::Texts(left), Self::Texts(right)) => {
                let pairs = left
                    .iter()
                    .zip(right)
                    .map(|(left, right)| (Self::Text(left), Self::Text(right)));
                all(left.len() == right.len(), pairs, meter)
            }
            (Self::Map(left), Self::Map(right)) => {
                if left.len() != right.len() {
                    return Ok(false);
                }
                for (name, left) in left {
                    meter.spend(text_steps(name))?;
                    let Some(right) = right.get(name) else { return Ok(false) };
                    if !Self::of(left).same(Self::of(right), meter)? {
                        return Ok(false);
                    }
                }
                Ok(true)
            }
            (left, right) => Ok(left.order(right) == Some(Ordering::Equal)),
        }
    }

    /// `<` and its like: numbers among each other, texts, truths. `None` where there is no order.
    pub(super) fn order(self, other: Self) -> Option<Ordering> {
        match (self, other) {
            (Self::Bool(left), Self::Bool(right)) => Some(left.cmp(&right)),
            (Self::Text(left), Self::Text(right)) => Some(left.cmp(right)),
            (Self::Double(left), Self::Double(right)) => left.partial_cmp(&right),
            (Self::Double(left), right) => left.partial_cmp(&right.double()?),
            (left, Self::Double(right)) => left.double()?.partial_cmp(&right),
            (left, right) => Some(left.whole()?.cmp(&right.whole()?)),
        }
    }

    fn whole(self) -> Option<i128> {
        match self {
            Self::Int(number) => Some(number.into()),
            Self::UInt(number) => Some(number.into()),
            Self::Null
            | Self::Bool(_)
            | Self::Double(_)
            | Self::Text(_)
            | Self::Address(_)
            | Self::Texts(_)
            | Self::Roles(..)
            | Self::List(_)
            | Self::Map(_) => None,
        }
    }

    /// A whole number among floats: the nearest of them, as the interpreter has it.
    #[expect(
        clippy::as_conversions,
        reason = "the nearest float is what is wanted, and `as` is how to get it"
    )]
    fn double(self) -> Option<f64> {
        match self {
            Self::Int(number) => Some(number as f64),
            Self::UInt(number) => Some(number as f64),
            Self::Double(number) => Some(number),
            Self::Null
            | Self::Bool(_)
            | Self::Text(_)
            | Self::Address(_)
            | Self::Texts(_)
            | Self::Roles(..)
            | Self::List(_)
            | Self::Map(_) => None,
        }
    }
}

fn all<'a>(
    as_long: bool,
    pairs: impl Iterator<Item = (Held<'a>, Held<'a>)>,
    meter: &Meter,
) -> Outcome<bool> {
    if !as_long {
        return Ok(false);
    }
    for (left, right) in pairs {
        if !left.same(right, meter)? {
            return Ok(false);
        }
    }
    Ok(true)
}
