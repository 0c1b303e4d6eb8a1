//! What a condition reads: a literal, a named fact, a header, a path variable, a member of the claims or the body.
//!
//! Both ways of evaluation read by it, so they cannot read differently.

use std::net::IpAddr;

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};
use serde_json::Value;

use super::failed;
use super::held::Held;
use super::known::{Known, Outcome};
use super::meter::{member_steps, text_steps};
use super::table::{Kind, Name, Root};
use crate::policy::decide::UndecidableReason;

/// Something to read.
#[derive(Debug, PartialEq)]
pub(super) enum Operand {
    Literal(Literal),
    Name(Name),
    Header(String),
    Variable(String),
    Member(Member),
    /// `size(..)` of one of the others.
    Size(Box<Self>),
}

/// A literal of a type that facts have.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Literal {
    Null,
    Bool(bool),
    Int(i64),
    UInt(u64),
    Double(f64),
    Text(String),
    Address(IpAddr),
}

/// A member of a document, by literal names and places: `user.claims.a["b"][0]`.
#[derive(Debug, PartialEq)]
pub(super) struct Member {
    pub(super) of: Name,
    pub(super) steps: Vec<Step>,
}

/// One step into a document.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Step {
    Name(String),
    Place(usize),
}

impl Operand {
    /// The operand that an expression is, if it is one. Names were checked before.
    pub(super) fn compile(at: &IdedExpr) -> Option<Self> {
        match &at.expr {
            Expr::Literal(literal) => Literal::of(literal).map(Self::Literal),
            Expr::Ident(name) => Name::of(Root::parse(name)?, "").map(Self::Name),
            Expr::Select(select) if !select.test => Self::select(select),
            Expr::Call(call) => Self::call(call),
            Expr::Select(_)
            | Expr::Unspecified
            | Expr::List(_)
            | Expr::Map(_)
            | Expr::Struct(_)
            | Expr::Comprehension(_) => None,
        }
    }

    fn select(select: &SelectExpr) -> Option<Self> {
        if let Some(root) = root(&select.operand) {
            return match root {
                Root::Path => Some(Self::Variable(select.field.clone())),
                root => Self::named(Name::of(root, &select.field)?),
            };
        }
        if is_headers(&select.operand) {
            return Some(Self::Header(select.field.clone()));
        }
        Self::compile(&select.operand)?.step(Step::Name(select.field.clone()))
    }

    fn call(call: &CallExpr) -> Option<Self> {
        match (call.target.as_deref(), call.args.as_slice()) {
            (None, [of, key]) if call.func_name == operators::INDEX => {
                let step = match Literal::compile(key)? {
                    Literal::Text(name) => Step::Name(name),
                    Literal::Int(place) => Step::Place(place.try_into().ok()?),
                    Literal::Null
                    | Literal::Bool(_)
                    | Literal::UInt(_)
                    | Literal::Double(_)
                    | Literal::Address(_) => return None,
                };
                if is_headers(of) {
                    step.name().map(Self::Header)
                } else {
                    Self::compile(of)?.step(step)
                }
            }
            (None, [of]) | (Some(of), []) if call.func_name == "size" => match Self::compile(of)? {
                Self::Literal(_) | Self::Size(_) => None,
                of => Some(Self::Size(Box::new(of))),
            },
            _ => None,
        }
    }

    fn named(name: Name) -> Option<Self> {
        match name.kind() {
            Kind::Claims | Kind::Body => Some(Self::Member(Member { of: name, steps: Vec::new() })),
            Kind::Text | Kind::Integer | Kind::Texts | Kind::Address => Some(Self::Name(name)),
            // One at a time, by `step`.
            Kind::Headers => None,
        }
    }

    fn step(self, step: Step) -> Option<Self> {
        match self {
            Self::Member(mut member) => {
                member.steps.push(step);
                Some(Self::Member(member))
            }
            Self::Literal(_)
            | Self::Name(_)
            | Self::Header(_)
            | Self::Variable(_)
            | Self::Size(_) => None,
        }
    }

    /// True for a list of the table, which only `in`, `size` and loops take without the interpreter.
    pub(super) fn is_texts(&self) -> bool {
        matches!(self, Self::Name(name) if name.kind() == Kind::Texts)
    }

    pub(super) fn held<'k>(&'k self, known: &Known<'k, '_>) -> Outcome<Held<'k>> {
        let held = match self {
            Self::Literal(literal) => return Ok(literal.held()),
            Self::Name(name) => known.read(*name)?,
            Self::Header(name) => Held::Text(known.header(name)?),
            Self::Variable(name) => Held::Text(known.variable(name)?),
            Self::Member(member) => member.held(known)?,
            Self::Size(of) => size(of.held(known)?, known)?,
        };
        known.meter.spend(held.steps())?;
        Ok(held)
    }
}

impl Member {
    /// A document without steps is the document.
    pub(super) fn held<'k>(&'k self, known: &Known<'k, '_>) -> Outcome<Held<'k>> {
        let mut held = known.read(self.of)?;
        for (depth, step) in self.steps.iter().enumerate() {
            held = step.of(held, || self.path(depth))?;
        }
        Ok(held)
    }

    /// `has()`: whether the last step finds something. The steps before must.
    pub(super) fn exists(&self, known: &Known<'_, '_>) -> Outcome<bool> {
        let Some((last, before)) = self.steps.split_last() else { return known.has(self.of) };
        let mut held = known.read(self.of)?;
        for (depth, step) in before.iter().enumerate() {
            held = step.of(held, || self.path(depth))?;
        }
        match (held, last) {
            (Held::Map(map), Step::Name(name)) => Ok(map.contains_key(name)),
            _ => Err(failed("has() is asked of something that is no map")),
        }
    }

    /// The names up to this depth, as an operator knows them.
    fn path(&self, depth: usize) -> String {
        let mut path = self.of.to_string();
        for step in self.steps.iter().take(depth + 1) {
            match step {
                Step::Name(name) => {
                    path.push('.');
                    path.push_str(name);
                }
                Step::Place(place) => path.push_str(&format!("[{place}]")),
            }
        }
        path
    }
}

impl Step {
    fn name(self) -> Option<String> {
        match self {
            Self::Name(name) => Some(name),
            Self::Place(_) => None,
        }
    }

    fn of<'k>(&self, held: Held<'k>, path: impl FnOnce() -> String) -> Outcome<Held<'k>> {
        let found: Option<&'k Value> = match (held, self) {
            (Held::Map(map), Self::Name(name)) => map.get(name),
            (Held::List(items), Self::Place(place)) => items.get(*place),
            (_, Self::Name(_)) => return Err(failed("a field of something that is no map")),
            (_, Self::Place(_)) => return Err(failed("a place in something that is no list")),
        };
        found.map(Held::of).ok_or_else(|| UndecidableReason::Missing(path()))
    }
}

impl Literal {
    fn of(literal: &LiteralValue) -> Option<Self> {
        match literal {
            LiteralValue::Null => Some(Self::Null),
            LiteralValue::Boolean(truth) => Some(Self::Bool(*truth.inner())),
            LiteralValue::Int(number) => Some(Self::Int(*number.inner())),
            LiteralValue::UInt(number) => Some(Self::UInt(*number.inner())),
            LiteralValue::Double(number) => Some(Self::Double(*number.inner())),
            LiteralValue::String(text) => Some(Self::Text(text.inner().to_owned())),
            LiteralValue::Bytes(_) => None,
        }
    }

    pub(super) fn compile(at: &IdedExpr) -> Option<Self> {
        match &at.expr {
            Expr::Literal(literal) => Self::of(literal),
            _ => None,
        }
    }

    pub(super) fn held(&self) -> Held<'_> {
        match self {
            Self::Null => Held::Null,
            Self::Bool(truth) => Held::Bool(*truth),
            Self::Int(number) => Held::Int(*number),
            Self::UInt(number) => Held::UInt(*number),
            Self::Double(number) => Held::Double(*number),
            Self::Text(text) => Held::Text(text),
            Self::Address(address) => Held::Address(*address),
        }
    }
}

fn size<'k>(of: Held<'k>, known: &Known<'_, '_>) -> Outcome<Held<'k>> {
    let size = match of {
        Held::Text(text) => {
            known.meter.spend(text_steps(text))?;
            text.chars().count()
        }
        Held::Texts(texts) => texts.len(),
        Held::Roles(held, implied) => {
            known.meter.spend(member_steps(held.len()))?;
            implied.effective(held).count()
        }
        Held::List(items) => items.len(),
        Held::Map(map) => map.len(),
        Held::Null
        | Held::Bool(_)
        | Held::Int(_)
        | Held::UInt(_)
        | Held::Double(_)
        | Held::Address(_) => return Err(failed("the size of something that has none")),
    };
    Ok(Held::Int(i64::try_from(size).unwrap_or(i64::MAX)))
}

/// The root that an expression names.
pub(super) fn root(at: &IdedExpr) -> Option<Root> {
    match &at.expr {
        Expr::Ident(name) => Root::parse(name),
        _ => None,
    }
}

/// Whether an expression is `request.headers`.
pub(super) fn is_headers(at: &IdedExpr) -> bool {
    match &at.expr {
        Expr::Select(select) if !select.test && root(&select.operand) == Some(Root::Request) => {
            Name::of(Root::Request, &select.field).is_some_and(|name| name.kind() == Kind::Headers)
        }
        _ => false,
    }
}

/// A literal text.
pub(super) fn literal_text(at: &IdedExpr) -> Option<&str> {
    match &at.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}
