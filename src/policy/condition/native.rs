//! The common shapes of conditions, evaluated over typed facts without the interpreter and without allocation.
//!
//! `==`, `!=`, `in`, `startsWith`, `endsWith`, `contains`, `has`, `&&`, `||`, `!` over texts, top-level claims, roles,
//! scopes, headers, path variables and literals. Everything else goes to the interpreter. Both must say the same,
//! which a test holds over expressions and facts at random.

use cel::common::ast::{CallExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators};
use serde_json::Value;

use super::failed;
use super::known::{Known, Outcome, PeerText};
use crate::policy::decide::UndecidableReason;
use crate::policy::facts::{HeaderValue, UserFacts};

/// A condition of a common shape.
#[derive(Debug)]
pub(super) enum Native {
    Constant(bool),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Same(Operand, Operand),
    IsBoolean(Operand, bool),
    OneOf(Operand, Vec<String>),
    Compare(Comparison, Operand, Operand),
    HasRole(Operand),
    HasScope(Operand),
    InClaim(Operand, String),
    ClaimExists(String),
    HeaderExists(String),
    PeerHasNamespace,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Comparison {
    StartsWith,
    EndsWith,
    Contains,
}

/// Something that is a text, or a claim, which may be one.
#[derive(Debug)]
pub(super) enum Operand {
    Literal(String),
    Peer(PeerText),
    User(UserText),
    Request(RequestText),
    Header(String),
    Variable(String),
    Claim(String),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum UserText {
    Subject,
    Provider,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum RequestText {
    Method,
    Host,
    Path,
    Query,
}

/// What an operand holds.
#[derive(Clone, Copy)]
enum Held<'a> {
    Text(&'a str),
    Other(&'a Value),
}

impl Native {
    /// The same condition in a native shape, if it has one. Names were checked before.
    pub(super) fn compile(at: &IdedExpr) -> Option<Self> {
        match &at.expr {
            Expr::Literal(LiteralValue::Boolean(truth)) => Some(Self::Constant(*truth.inner())),
            Expr::Select(select) if select.test => Self::presence(select),
            Expr::Call(call) => Self::call(call),
            Expr::Select(_)
            | Expr::Literal(_)
            | Expr::Unspecified
            | Expr::Ident(_)
            | Expr::List(_)
            | Expr::Map(_)
            | Expr::Struct(_)
            | Expr::Comprehension(_) => None,
        }
    }

    pub(super) fn evaluate(&self, known: &Known<'_, '_>) -> Outcome<bool> {
        match self {
            Self::Constant(truth) => Ok(*truth),
            Self::Not(inner) => inner.evaluate(known).map(|truth| !truth),
            Self::And(left, right) => settle(left.evaluate(known), false, || right.evaluate(known)),
            Self::Or(left, right) => settle(left.evaluate(known), true, || right.evaluate(known)),
            Self::Same(left, right) => match (left.held(known)?, right.held(known)?) {
                (Held::Text(left), Held::Text(right)) => Ok(left == right),
                (Held::Text(_) | Held::Other(_), _) => Ok(false),
            },
            Self::IsBoolean(operand, wanted) => match operand.held(known)? {
                Held::Other(Value::Bool(held)) => Ok(held == wanted),
                Held::Other(_) | Held::Text(_) => Ok(false),
            },
            Self::OneOf(operand, wanted) => match operand.held(known)? {
                Held::Text(held) => Ok(wanted.iter().any(|text| text == held)),
                Held::Other(_) => Ok(false),
            },
            Self::Compare(comparison, left, right) => {
                // The order of the interpreter: arguments first, then what they are compared with, then types.
                let (right, left) = (right.held(known)?, left.held(known)?);
                let (Held::Text(left), Held::Text(right)) = (left, right) else {
                    return Err(failed("a claim that is no text"));
                };
                Ok(match comparison {
                    Comparison::StartsWith => left.starts_with(right),
                    Comparison::EndsWith => left.ends_with(right),
                    Comparison::Contains => left.contains(right),
                })
            }
            Self::HasRole(operand) => operand.is_among(known, UserFacts::roles),
            Self::HasScope(operand) => operand.is_among(known, UserFacts::scopes),
            Self::InClaim(operand, name) => in_claim(operand.held(known)?, known.claim(name)?),
            Self::ClaimExists(name) => Ok(known.user()?.claims().contains_key(name)),
            Self::HeaderExists(name) => {
                Ok(known.request()?.headers.value(name) != HeaderValue::Absent)
            }
            Self::PeerHasNamespace => {
                let peer = known.facts.peer.ok_or(UndecidableReason::NoPeer)?;
                Ok(peer.service_account().is_some())
            }
        }
    }

    fn presence(select: &SelectExpr) -> Option<Self> {
        match &select.operand.expr {
            Expr::Ident(root) => (root == "peer").then_some(Self::PeerHasNamespace),
            Expr::Select(inner) => match field(inner)? {
                ("user", "claims") => Some(Self::ClaimExists(select.field.clone())),
                ("request", "headers") => Some(Self::HeaderExists(select.field.clone())),
                _ => None,
            },
            _ => None,
        }
    }

    fn call(call: &CallExpr) -> Option<Self> {
        let name = call.func_name.as_str();
        match (&call.target, call.args.as_slice()) {
            (None, [inner]) if name == operators::LOGICAL_NOT => {
                Some(Self::Not(Box::new(Self::compile(inner)?)))
            }
            (None, [left, right]) => match name {
                operators::LOGICAL_AND => {
                    Some(Self::And(Box::new(Self::compile(left)?), Box::new(Self::compile(right)?)))
                }
                operators::LOGICAL_OR => {
                    Some(Self::Or(Box::new(Self::compile(left)?), Box::new(Self::compile(right)?)))
                }
                operators::EQUALS => Self::equals(left, right),
                operators::NOT_EQUALS => Some(Self::Not(Box::new(Self::equals(left, right)?))),
                operators::IN => Self::membership(left, right),
                _ => None,
            },
            (Some(target), [argument]) => {
                let comparison = match name {
                    "startsWith" => Comparison::StartsWith,
                    "endsWith" => Comparison::EndsWith,
                    "contains" => Comparison::Contains,
                    _ => return None,
                };
                let target = Operand::compile(target)?;
                // A claim that is a list has another `contains`; that is for the interpreter to say.
                if matches!(target, Operand::Claim(_)) && matches!(comparison, Comparison::Contains)
                {
                    return None;
                }
                Some(Self::Compare(comparison, target, Operand::compile(argument)?))
            }
            _ => None,
        }
    }

    fn equals(left: &IdedExpr, right: &IdedExpr) -> Option<Self> {
        if let Some(truth) = boolean(right) {
            return Some(Self::IsBoolean(Operand::compile(left)?, truth));
        }
        if let Some(truth) = boolean(left) {
            return Some(Self::IsBoolean(Operand::compile(right)?, truth));
        }
        let (left, right) = (Operand::compile(left)?, Operand::compile(right)?);
        // Two claims may be two numbers or two lists: not for us.
        let both = matches!((&left, &right), (Operand::Claim(_), Operand::Claim(_)));
        (!both).then_some(Self::Same(left, right))
    }

    fn membership(member: &IdedExpr, of: &IdedExpr) -> Option<Self> {
        match &of.expr {
            Expr::List(list) if list.optional_indices.is_empty() => {
                let texts: Option<Vec<String>> =
                    list.elements.iter().map(|item| literal(item).map(str::to_owned)).collect();
                Some(Self::OneOf(Operand::compile(member)?, texts?))
            }
            Expr::Select(select) if !select.test => match field(select) {
                Some(("user", "roles")) => Some(Self::HasRole(Operand::compile(member)?)),
                Some(("user", "scopes")) => Some(Self::HasScope(Operand::compile(member)?)),
                Some(("user", "claims")) => Some(Self::ClaimExists(literal(member)?.to_owned())),
                Some(("request", "headers")) => {
                    Some(Self::HeaderExists(literal(member)?.to_owned()))
                }
                Some(_) => None,
                None => Self::in_claim(member, of),
            },
            Expr::Call(_) => Self::in_claim(member, of),
            _ => None,
        }
    }

    fn in_claim(member: &IdedExpr, of: &IdedExpr) -> Option<Self> {
        let Operand::Claim(name) = Operand::compile(of)? else { return None };
        let member = Operand::compile(member)?;
        (!matches!(member, Operand::Claim(_))).then_some(Self::InClaim(member, name))
    }
}

/// `&&` and `||` of CEL: the absorbing value wins over an error on either side.
fn settle(
    left: Outcome<bool>,
    absorbing: bool,
    right: impl FnOnce() -> Outcome<bool>,
) -> Outcome<bool> {
    if left.as_ref() == Ok(&absorbing) {
        return Ok(absorbing);
    }
    let right = right()?;
    if right == absorbing { Ok(absorbing) } else { left }
}

fn in_claim(member: Held<'_>, claim: &Value) -> Outcome<bool> {
    let Held::Text(member) = member else {
        return Err(failed("a claim is looked for among claims"));
    };
    match claim {
        Value::Array(items) => Ok(items.iter().any(|item| item.as_str() == Some(member))),
        Value::Object(object) => Ok(object.contains_key(member)),
        Value::Null | Value::Bool(_) | Value::Number(_) | Value::String(_) => {
            Err(failed("`in` over a claim that is no list"))
        }
    }
}

impl Operand {
    fn compile(at: &IdedExpr) -> Option<Self> {
        match &at.expr {
            Expr::Literal(_) => literal(at).map(|text| Self::Literal(text.to_owned())),
            Expr::Select(select) if !select.test => Self::select(select),
            Expr::Call(call) if call.target.is_none() && call.func_name == operators::INDEX => {
                let [of, key] = call.args.as_slice() else { return None };
                let Expr::Select(of) = &of.expr else { return None };
                Self::member(of, literal(key)?)
            }
            _ => None,
        }
    }

    fn select(select: &SelectExpr) -> Option<Self> {
        if let Expr::Select(of) = &select.operand.expr {
            return Self::member(of, &select.field);
        }
        match field(select)? {
            ("peer", "id") => Some(Self::Peer(PeerText::Id)),
            ("peer", "trustDomain") => Some(Self::Peer(PeerText::TrustDomain)),
            ("peer", "namespace") => Some(Self::Peer(PeerText::Namespace)),
            ("peer", "serviceAccount") => Some(Self::Peer(PeerText::ServiceAccount)),
            ("user", "sub") => Some(Self::User(UserText::Subject)),
            ("user", "provider") => Some(Self::User(UserText::Provider)),
            ("request", "method") => Some(Self::Request(RequestText::Method)),
            ("request", "host") => Some(Self::Request(RequestText::Host)),
            ("request", "path") => Some(Self::Request(RequestText::Path)),
            ("request", "query") => Some(Self::Request(RequestText::Query)),
            ("path", variable) => Some(Self::Variable(variable.to_owned())),
            _ => None,
        }
    }

    fn member(of: &SelectExpr, key: &str) -> Option<Self> {
        match field(of)? {
            ("user", "claims") => Some(Self::Claim(key.to_owned())),
            ("request", "headers") => Some(Self::Header(key.to_owned())),
            _ => None,
        }
    }

    fn held<'k>(&'k self, known: &'k Known<'_, '_>) -> Outcome<Held<'k>> {
        match self {
            Self::Literal(text) => Ok(Held::Text(text)),
            Self::Peer(text) => known.peer(*text).map(Held::Text),
            Self::User(UserText::Subject) => Ok(Held::Text(known.user()?.subject())),
            Self::User(UserText::Provider) => Ok(Held::Text(known.user()?.provider())),
            Self::Request(text) => {
                let request = known.request()?;
                Ok(Held::Text(match text {
                    RequestText::Method => request.method,
                    RequestText::Host => request.host,
                    RequestText::Path => request.path,
                    RequestText::Query => request.query.unwrap_or_default(),
                }))
            }
            Self::Header(name) => known.header(name).map(Held::Text),
            Self::Variable(name) => known.variable(name).map(Held::Text),
            Self::Claim(name) => Ok(match known.claim(name)? {
                Value::String(text) => Held::Text(text),
                other => Held::Other(other),
            }),
        }
    }

    fn is_among(
        &self,
        known: &Known<'_, '_>,
        list: impl FnOnce(&UserFacts) -> &[String],
    ) -> Outcome<bool> {
        let held = self.held(known)?;
        let list = list(known.user()?);
        Ok(match held {
            Held::Text(text) => list.iter().any(|member| member == text),
            Held::Other(_) => false,
        })
    }
}

/// `root.field`.
fn field(select: &SelectExpr) -> Option<(&str, &str)> {
    match &select.operand.expr {
        Expr::Ident(root) => Some((root, &select.field)),
        _ => None,
    }
}

fn literal(at: &IdedExpr) -> Option<&str> {
    match &at.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

fn boolean(at: &IdedExpr) -> Option<bool> {
    match &at.expr {
        Expr::Literal(LiteralValue::Boolean(truth)) => Some(*truth.inner()),
        _ => None,
    }
}
