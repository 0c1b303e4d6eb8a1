//! The common shapes of conditions, evaluated over typed facts without the interpreter and without allocation.
//!
//! `==`, `!=`, `<`, `<=`, `>`, `>=`, `in`, `startsWith`, `endsWith`, `contains`, `matches`, `within`, `size`, `has`,
//! `&&`, `||`, `!`, `?:` over literals, named facts, headers, path variables and members of claims and bodies.
//! Everything else goes to the interpreter. Both must say the same, which a test holds over expressions and facts at
//! random.

use std::cmp::Ordering;

use cel::common::ast::{CallExpr, Expr, IdedExpr, ListExpr, SelectExpr, operators};
use ipnet::IpNet;
use regex::Regex;

use super::failed;
use super::held::Held;
use super::known::{Known, Outcome};
use super::meter::{member_steps, text_steps};
use super::operand::{Literal, Member, Operand, Step, is_headers, literal_text, root};
use super::pattern::Pattern;
use super::roles::ImpliedRoles;
use super::table::{Kind, Name, Part};

/// A condition of a common shape.
#[derive(Debug)]
pub(super) enum Native {
    /// Something that is true or false by itself.
    Truth(Operand),
    Not(Box<Self>),
    And(Box<Self>, Box<Self>),
    Or(Box<Self>, Box<Self>),
    Choice(Box<Self>, Box<Self>, Box<Self>),
    Same(Operand, Operand),
    Order(Relation, Operand, Operand),
    OneOf(Operand, Vec<Literal>),
    Among(Operand, Operand),
    /// Any of these roles, by which one role is held.
    HasRole(Name, Vec<String>),
    Text(Comparison, Operand, Operand),
    Matches(Operand, Regex, u64),
    Within(Name, IpNet),
    Exists(Member),
    Present(Name),
    HeaderExists(String),
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Relation {
    Less,
    LessOrSame,
    Greater,
    GreaterOrSame,
}

#[derive(Debug, Clone, Copy)]
pub(super) enum Comparison {
    StartsWith,
    EndsWith,
    Contains,
}

impl Native {
    /// The same condition in a native shape, if it has one. Names and types were checked before.
    pub(super) fn compile(at: &IdedExpr, roles: &ImpliedRoles) -> Option<Self> {
        match &at.expr {
            Expr::Select(select) if select.test => Self::presence(select),
            Expr::Call(call) => {
                Self::call(call, roles).or_else(|| Operand::compile(at).map(Self::Truth))
            }
            Expr::Literal(_) | Expr::Select(_) => Operand::compile(at).map(Self::Truth),
            Expr::Unspecified
            | Expr::Ident(_)
            | Expr::List(_)
            | Expr::Map(_)
            | Expr::Struct(_)
            | Expr::Comprehension(_) => None,
        }
    }

    /// Whether the interpreter does not know such an expression, so that it is always evaluated here.
    pub(super) fn is_foreign(&self) -> bool {
        match self {
            Self::Within(..)
            | Self::Present(_)
            | Self::Exists(_)
            | Self::HeaderExists(_)
            | Self::Matches(..) => true,
            Self::Same(left, right) => [left, right].into_iter().any(Operand::is_address),
            Self::OneOf(member, _) => member.is_address(),
            Self::Not(inner) => inner.is_foreign(),
            Self::Truth(_)
            | Self::And(..)
            | Self::Or(..)
            | Self::Choice(..)
            | Self::Order(..)
            | Self::Among(..)
            | Self::HasRole(..)
            | Self::Text(..) => false,
        }
    }

    pub(super) fn evaluate(&self, known: &Known<'_, '_>) -> Outcome<bool> {
        known.meter.spend(1)?;
        match self {
            Self::Truth(operand) => match operand.held(known)? {
                Held::Bool(truth) => Ok(truth),
                _ => Err(failed("something that is no boolean decides")),
            },
            Self::Not(inner) => inner.evaluate(known).map(|truth| !truth),
            Self::And(left, right) => settle(left.evaluate(known), false, || right.evaluate(known)),
            Self::Or(left, right) => settle(left.evaluate(known), true, || right.evaluate(known)),
            Self::Choice(which, yes, no) => {
                if which.evaluate(known)? {
                    yes.evaluate(known)
                } else {
                    no.evaluate(known)
                }
            }
            Self::Same(left, right) => left.held(known)?.same(right.held(known)?, known.meter),
            Self::Order(relation, left, right) => {
                let order = left.held(known)?.order(right.held(known)?);
                let order =
                    order.ok_or_else(|| failed("values that have no order are compared"))?;
                Ok(relation.holds(order))
            }
            Self::OneOf(operand, wanted) => {
                let held = operand.held(known)?;
                one_of(wanted.iter().map(Literal::held), held, known)
            }
            Self::Among(member, of) => among(member.held(known)?, of.held(known)?, known),
            Self::HasRole(name, granting) => match known.read(*name)? {
                Held::Texts(roles) | Held::Roles(roles, _) => {
                    known.meter.spend(member_steps(roles.len()))?;
                    Ok(roles.iter().any(|role| granting.contains(role)))
                }
                _ => Err(failed("roles that are no list")),
            },
            Self::Text(comparison, left, right) => {
                let (right, left) = (right.held(known)?, left.held(known)?);
                let (Held::Text(left), Held::Text(right)) = (left, right) else {
                    return Err(failed("something that is no string is compared as one"));
                };
                Ok(match comparison {
                    Comparison::StartsWith => left.starts_with(right),
                    Comparison::EndsWith => left.ends_with(right),
                    Comparison::Contains => left.contains(right),
                })
            }
            Self::Matches(operand, pattern, steps) => match operand.held(known)? {
                Held::Text(text) => {
                    known.meter.spend(steps.saturating_mul(text_steps(text)))?;
                    Ok(pattern.is_match(text))
                }
                _ => Err(failed("something that is no string is compared as one")),
            },
            Self::Within(name, network) => Ok(network.contains(&known.address(*name)?)),
            Self::Exists(member) => member.exists(known),
            Self::Present(name) => known.has(*name),
            Self::HeaderExists(name) => known.has_header(name),
        }
    }

    fn presence(select: &SelectExpr) -> Option<Self> {
        if let Some(root) = root(&select.operand) {
            return Name::of(root, &select.field).map(Self::Present);
        }
        if is_headers(&select.operand) {
            return Some(Self::HeaderExists(select.field.clone()));
        }
        match Operand::compile(&select.operand)? {
            Operand::Member(Member { of, mut steps }) => {
                steps.push(Step::Name(select.field.clone()));
                Some(Self::Exists(Member { of, steps }))
            }
            _ => None,
        }
    }

    fn call(call: &CallExpr, roles: &ImpliedRoles) -> Option<Self> {
        let compile = |at: &IdedExpr| Self::compile(at, roles).map(Box::new);
        let name = call.func_name.as_str();
        match (&call.target, call.args.as_slice()) {
            (None, [inner]) if name == operators::LOGICAL_NOT => Some(Self::Not(compile(inner)?)),
            (None, [which, yes, no]) if name == operators::CONDITIONAL => {
                Some(Self::Choice(compile(which)?, compile(yes)?, compile(no)?))
            }
            (None, [left, right]) => match name {
                operators::LOGICAL_AND => Some(Self::And(compile(left)?, compile(right)?)),
                operators::LOGICAL_OR => Some(Self::Or(compile(left)?, compile(right)?)),
                operators::EQUALS => Self::equals(left, right),
                operators::NOT_EQUALS => Some(Self::Not(Box::new(Self::equals(left, right)?))),
                operators::IN => Self::membership(left, right, roles),
                _ => {
                    let relation = Relation::of(name)?;
                    Some(Self::Order(relation, Operand::compile(left)?, Operand::compile(right)?))
                }
            },
            (Some(target), [argument]) => Self::method(target, name, argument),
            _ => None,
        }
    }

    fn method(target: &IdedExpr, name: &str, argument: &IdedExpr) -> Option<Self> {
        let target = Operand::compile(target)?;
        let comparison = match name {
            "startsWith" => Comparison::StartsWith,
            "endsWith" => Comparison::EndsWith,
            "contains" => Comparison::Contains,
            "matches" => {
                let Pattern { built, steps } = Pattern::build(literal_text(argument)?).ok()?;
                return Some(Self::Matches(target, built, steps));
            }
            "within" => {
                let Operand::Name(name) = target else { return None };
                return Some(Self::Within(name, network(literal_text(argument)?)?));
            }
            _ => return None,
        };
        Some(Self::Text(comparison, target, Operand::compile(argument)?))
    }

    fn equals(left: &IdedExpr, right: &IdedExpr) -> Option<Self> {
        let (mut left, mut right) = (Operand::compile(left)?, Operand::compile(right)?);
        if left.is_texts() || right.is_texts() {
            return None;
        }
        left.meet(&mut right)?;
        right.meet(&mut left)?;
        Some(Self::Same(left, right))
    }

    fn membership(member: &IdedExpr, of: &IdedExpr, roles: &ImpliedRoles) -> Option<Self> {
        if is_headers(of) {
            return Some(Self::HeaderExists(literal_text(member)?.to_owned()));
        }
        let member = Operand::compile(member)?;
        if member.is_texts() {
            return None;
        }
        if let Expr::List(ListExpr { elements, optional_indices }) = &of.expr {
            if !optional_indices.is_empty() {
                return None;
            }
            let literals: Option<Vec<Literal>> = elements
                .iter()
                .map(|item| {
                    let literal = Literal::compile(item)?;
                    if member.is_address() { literal.address() } else { Some(literal) }
                })
                .collect();
            return Some(Self::OneOf(member, literals?));
        }
        let of = Operand::compile(of)?;
        match (&member, of) {
            (Operand::Literal(Literal::Text(role)), Operand::Name(name))
                if name.part() == Part::Roles =>
            {
                Some(Self::HasRole(name, roles.granting(role).map(str::to_owned).collect()))
            }
            (
                _,
                Operand::Literal(_) | Operand::Size(_) | Operand::Header(_) | Operand::Variable(_),
            ) => None,
            (_, of) => Some(Self::Among(member, of)),
        }
    }
}

impl Operand {
    pub(super) fn is_address(&self) -> bool {
        matches!(self, Self::Name(name) if name.kind() == Kind::Address)
            || matches!(self, Self::Literal(Literal::Address(_)))
    }

    /// Reads the literal beside an address as one.
    fn meet(&self, other: &mut Self) -> Option<()> {
        if self.is_address()
            && let Self::Literal(literal) = other
        {
            *literal = literal.address()?;
        }
        Some(())
    }
}

impl Literal {
    fn address(&self) -> Option<Self> {
        match self {
            Self::Text(text) => address(text).map(Self::Address),
            Self::Address(address) => Some(Self::Address(*address)),
            Self::Null | Self::Bool(_) | Self::Int(_) | Self::UInt(_) | Self::Double(_) => None,
        }
    }
}

impl Relation {
    fn of(operator: &str) -> Option<Self> {
        match operator {
            operators::LESS => Some(Self::Less),
            operators::LESS_EQUALS => Some(Self::LessOrSame),
            operators::GREATER => Some(Self::Greater),
            operators::GREATER_EQUALS => Some(Self::GreaterOrSame),
            _ => None,
        }
    }

    fn holds(self, order: Ordering) -> bool {
        match self {
            Self::Less => order.is_lt(),
            Self::LessOrSame => order.is_le(),
            Self::Greater => order.is_gt(),
            Self::GreaterOrSame => order.is_ge(),
        }
    }
}

/// A literal address, in the one spelling of its family.
pub(super) fn address(text: &str) -> Option<std::net::IpAddr> {
    text.parse().ok().map(|address: std::net::IpAddr| address.to_canonical())
}

/// A literal network, or one address.
pub(super) fn network(text: &str) -> Option<IpNet> {
    let network: IpNet = text.parse().ok().or_else(|| address(text).map(IpNet::from))?;
    // Bits behind the prefix would say that somebody meant another network. Addresses are told as IPv4 where they are
    // such, so a network of IPv4 inside IPv6 would hold none of them.
    let is_inside =
        matches!(network, IpNet::V6(network) if network.addr().to_ipv4_mapped().is_some());
    (network.trunc() == network && !is_inside).then_some(network)
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

fn one_of<'k>(
    members: impl Iterator<Item = Held<'k>>,
    wanted: Held<'k>,
    known: &Known<'_, '_>,
) -> Outcome<bool> {
    for member in members {
        if member.same(wanted, known.meter)? {
            return Ok(true);
        }
    }
    Ok(false)
}

fn among<'k>(member: Held<'k>, of: Held<'k>, known: &Known<'_, '_>) -> Outcome<bool> {
    match of {
        Held::Texts(texts) => one_of(texts.iter().map(|text| Held::Text(text)), member, known),
        Held::Roles(held, implied) => one_of(
            held.iter()
                .flat_map(|role| std::iter::once(role).chain(implied.of(role)))
                .map(|role| Held::Text(role)),
            member,
            known,
        ),
        Held::List(items) => one_of(items.iter().map(Held::of), member, known),
        Held::Map(map) => match member {
            Held::Text(name) => Ok(map.contains_key(name)),
            Held::Bool(_) | Held::Int(_) | Held::UInt(_) | Held::Double(_) => Ok(false),
            Held::Null
            | Held::Address(_)
            | Held::Texts(_)
            | Held::Roles(..)
            | Held::List(_)
            | Held::Map(_) => Err(failed("something that is no name is looked for in a map")),
        },
        Held::Null
        | Held::Bool(_)
        | Held::Int(_)
        | Held::UInt(_)
        | Held::Double(_)
        | Held::Text(_)
        | Held::Address(_) => Err(failed("`in` over something that is neither list nor map")),
    }
}
