//! What operators and functions take, and what they give.

use cel::common::ast::{CallExpr, Expr, IdedExpr, operators};

use super::check::{Check, Inferred, is_of_loop};
use super::error::{InvalidCondition, Mistake};
use super::native::{address, network};
use super::operand::{Operand, is_headers, literal_text};
use super::pattern::Pattern;
use super::types::Type;
use crate::policy::problem::{did_you_mean, quoted};

/// Functions that are written `f(x)`.
const FUNCTIONS: [&str; 6] = ["size", "int", "uint", "double", "string", "dyn"];
/// Functions that are written `x.f(..)`.
const METHODS: [&str; 6] = ["size", "contains", "startsWith", "endsWith", "matches", "within"];
const MACROS: [&str; 6] = ["has", "all", "exists", "exists_one", "map", "filter"];

impl<'a> Check<'a> {
    pub(super) fn call(&mut self, at: &'a IdedExpr, call: &'a CallExpr) -> Inferred {
        let name = call.func_name.as_str();
        match (&call.target, call.args.as_slice()) {
            (None, [of]) => self.of_one(at, name, of),
            (None, [left, right]) => self.of_two(at, name, left, right, &call.args),
            (None, [which, yes, no]) if name == operators::CONDITIONAL => {
                self.truth(which, if is_of_loop(&call.args) { "a loop" } else { "`? :`" })?;
                let (first, second) = (self.infer(yes)?, self.infer(no)?);
                if first.meets(&second) {
                    return Ok(first.join(second));
                }
                let text = format!(
                    "gives {} or {}: one type is expected",
                    self.what(yes, &first),
                    self.what(no, &second)
                );
                Err(self.wrong(at, Mistake::Type(text)))
            }
            (Some(of), []) if name == "size" => self.size(of),
            (Some(of), [argument]) if METHODS.contains(&name) && name != "size" => {
                self.method(at, name, of, argument)
            }
            _ => Err(self.unknown_function(at, name)),
        }
    }

    fn of_one(&mut self, at: &'a IdedExpr, name: &str, of: &'a IdedExpr) -> Inferred {
        let numbers = [Type::Int, Type::UInt, Type::Double];
        let (wanted, found): (&[Type], _) = match name {
            operators::LOGICAL_NOT => {
                self.truth(
                    of,
                    if is_of_loop(std::slice::from_ref(of)) { "a loop" } else { "`!`" },
                )?;
                return Ok(Type::Bool);
            }
            operators::NOT_STRICTLY_FALSE if self.in_loop => return self.infer(of),
            operators::NEGATE => {
                let found = self.infer(of)?;
                return match found {
                    Type::Int | Type::Double | Type::Any => Ok(found),
                    other => Err(self.wrong(
                        at,
                        Mistake::Type(format!(
                            "negates {}; only an int or a double has a negative",
                            self.what(of, &other)
                        )),
                    )),
                };
            }
            "size" => return self.size(of),
            "dyn" => (&[], Type::Any),
            "int" => (&numbers, Type::Int),
            "uint" => (&numbers, Type::UInt),
            "double" => (&numbers, Type::Double),
            "string" => (
                &[Type::Bool, Type::Int, Type::UInt, Type::Double, Type::Bytes, Type::Address],
                Type::Text,
            ),
            _ => return Err(self.unknown_function(at, name)),
        };
        let given = self.infer(of)?;
        let taken = match name {
            "dyn" => given != Type::Address,
            _ => given.may_be(&Type::Text) || wanted.contains(&given),
        };
        if taken {
            return Ok(found);
        }
        let text = format!(
            "gives {} to {name}(), which does not take such a value",
            self.what(of, &given)
        );
        Err(self.wrong(of, Mistake::Type(text)))
    }

    fn of_two(
        &mut self,
        at: &'a IdedExpr,
        name: &str,
        left: &'a IdedExpr,
        right: &'a IdedExpr,
        both: &[IdedExpr],
    ) -> Inferred {
        match name {
            operators::LOGICAL_AND | operators::LOGICAL_OR => {
                let shown = match name {
                    _ if is_of_loop(both) => "a loop",
                    operators::LOGICAL_AND => "`&&`",
                    _ => "`||`",
                };
                self.truth(left, shown)?;
                self.truth(right, shown)?;
                Ok(Type::Bool)
            }
            operators::INDEX => self.index(at, left, right),
            operators::IN => self.membership(at, left, right),
            operators::EQUALS | operators::NOT_EQUALS => self.equality(at, left, right),
            operators::LESS
            | operators::LESS_EQUALS
            | operators::GREATER
            | operators::GREATER_EQUALS => {
                let (first, second) = (self.infer(left)?, self.infer(right)?);
                if first.has_order_with(&second) {
                    return Ok(Type::Bool);
                }
                let text = format!(
                    "asks which of {} and {} is greater; numbers have an order among themselves, and so have strings",
                    self.what(left, &first),
                    self.what(right, &second)
                );
                Err(self.wrong(at, Mistake::Type(text)))
            }
            operators::ADD
            | operators::SUBSTRACT
            | operators::MULTIPLY
            | operators::DIVIDE
            | operators::MODULO => self.arithmetic(at, name, left, right),
            _ => Err(self.unknown_function(at, name)),
        }
    }

    /// Something that decides.
    fn truth(&mut self, at: &'a IdedExpr, operator: &str) -> Result<(), InvalidCondition> {
        let found = self.infer(at)?;
        if found.may_be(&Type::Bool) {
            return Ok(());
        }
        let text =
            format!("uses {} in {operator}, where a boolean is expected", self.what(at, &found));
        Err(self.wrong(at, Mistake::Type(text)))
    }

    fn equality(&mut self, at: &'a IdedExpr, left: &'a IdedExpr, right: &'a IdedExpr) -> Inferred {
        let (first, second) = (self.infer(left)?, self.infer(right)?);
        for (of, other, found) in [(left, right, &first), (right, left, &second)] {
            if *found == Type::Address {
                self.literal_address(of, other)?;
            }
        }
        if first.meets(&second) || first == Type::Address || second == Type::Address {
            return Ok(Type::Bool);
        }
        let hint = match (&first, &second) {
            (Type::Null, _) | (_, Type::Null) => "; has() asks whether something is there",
            _ => ", which are never equal",
        };
        let text = format!(
            "compares {} with {}{hint}",
            self.what(left, &first),
            self.what(right, &second)
        );
        Err(self.wrong(at, Mistake::Type(text)))
    }

    /// An address is compared with another, or with a literal that is one.
    fn literal_address(&self, of: &IdedExpr, other: &'a IdedExpr) -> Result<(), InvalidCondition> {
        let named =
            |at: &IdedExpr| Operand::compile(at).is_some_and(|operand| operand.is_address());
        let literal = literal_text(other).is_some_and(|text| address(text).is_some());
        if named(of) && (named(other) || literal) {
            return Ok(());
        }
        let (of, shown) = (self.shown(of), self.shown(other));
        Err(self.wrong(other, Mistake::Address(of, shown)))
    }

    fn membership(&mut self, at: &'a IdedExpr, member: &'a IdedExpr, of: &'a IdedExpr) -> Inferred {
        if is_headers(of) {
            return self.header(at, literal_text(member)).map(|_| Type::Bool);
        }
        let (found, held) = (self.infer(member)?, self.infer(of)?);
        if found == Type::Address {
            let Expr::List(list) = &of.expr else {
                return Err(self.wrong(of, Mistake::Address(self.shown(member), self.shown(of))));
            };
            list.elements.iter().try_for_each(|item| self.literal_address(member, item))?;
            return Ok(Type::Bool);
        }
        let text = match &held {
            Type::List(of) if found.meets(of) => return Ok(Type::Bool),
            Type::Map(_) if found.may_be(&Type::Text) => return Ok(Type::Bool),
            Type::Any | Type::Nothing => return Ok(Type::Bool),
            Type::List(_) | Type::Map(_) => {
                format!(
                    "looks for {} in {}, where it never is",
                    self.what(member, &found),
                    self.what(of, &held)
                )
            }
            Type::Text => format!(
                "looks with `in` into {}; `in` is for lists and maps, a part of a string is found by contains()",
                self.what(of, &held)
            ),
            _ => {
                format!("looks with `in` into {}; `in` is for lists and maps", self.what(of, &held))
            }
        };
        Err(self.wrong(at, Mistake::Type(text)))
    }

    fn arithmetic(
        &mut self,
        at: &'a IdedExpr,
        name: &str,
        left: &'a IdedExpr,
        right: &'a IdedExpr,
    ) -> Inferred {
        let (first, second) = (self.infer(left)?, self.infer(right)?);
        let number = |side: &Type| side.is_open() || side.is_number();
        let same = first.is_open() || second.is_open() || first == second;
        let fits = match (&first, &second) {
            _ if number(&first) && number(&second) => {
                same && !(name == operators::MODULO
                    && (first == Type::Double || second == Type::Double))
            }
            (Type::List(_), Type::List(_)) => name == operators::ADD,
            (Type::List(_) | Type::Text, other) | (other, Type::List(_) | Type::Text) => {
                name == operators::ADD && (other.is_open() || first == second)
            }
            _ => false,
        };
        if fits {
            return Ok(match (first, second) {
                (Type::Any, _) | (_, Type::Any) => Type::Any,
                (first, second) => first.join(second),
            });
        }
        let sign = name.trim_matches('_');
        let text = format!(
            "computes {} {sign} {}; numbers of one type are computed, and strings or lists are joined by +",
            self.what(left, &first),
            self.what(right, &second)
        );
        Err(self.wrong(at, Mistake::Type(text)))
    }

    fn size(&mut self, of: &'a IdedExpr) -> Inferred {
        match self.infer(of)? {
            Type::Text | Type::Bytes | Type::List(_) | Type::Map(_) | Type::Any => Ok(Type::Int),
            other => {
                let text = format!(
                    "asks for the size of {}; strings, lists and maps have one",
                    self.what(of, &other)
                );
                Err(self.wrong(of, Mistake::Type(text)))
            }
        }
    }

    fn method(
        &mut self,
        at: &'a IdedExpr,
        name: &str,
        of: &'a IdedExpr,
        argument: &'a IdedExpr,
    ) -> Inferred {
        let found = self.infer(of)?;
        if name == "within" {
            let is_address = Operand::compile(of).is_some_and(|operand| operand.is_address());
            if !is_address {
                let text = format!(
                    "calls within() on {}; it is for source.address and forwarded.address",
                    self.what(of, &found)
                );
                return Err(self.wrong(at, Mistake::Type(text)));
            }
            return match literal_text(argument).and_then(network) {
                Some(_) => Ok(Type::Bool),
                None => Err(self.wrong(argument, Mistake::Network(self.shown(argument)))),
            };
        }
        if !found.may_be(&Type::Text) {
            let hint = match found {
                Type::List(_) => "; a member of a list is found by `in`",
                Type::Address => "; addresses have within(), and string() makes one a string",
                _ => "",
            };
            let text =
                format!("calls {name}() on {}; it is for a string{hint}", self.what(of, &found));
            return Err(self.wrong(at, Mistake::Type(text)));
        }
        if name == "matches" {
            let text =
                literal_text(argument).ok_or_else(|| self.wrong(argument, Mistake::Pattern))?;
            return match Pattern::build(text) {
                Ok(_) => Ok(Type::Bool),
                Err(mistake) => Err(self.wrong(argument, mistake)),
            };
        }
        let given = self.infer(argument)?;
        if given.may_be(&Type::Text) {
            return Ok(Type::Bool);
        }
        let text =
            format!("gives {} to {name}(), which takes a string", self.what(argument, &given));
        Err(self.wrong(argument, Mistake::Type(text)))
    }

    fn unknown_function(&self, at: &IdedExpr, name: &str) -> InvalidCondition {
        let known: Vec<&str> = FUNCTIONS.into_iter().chain(METHODS).chain(MACROS).collect();
        let mistake = Mistake::UnknownFunction {
            name: name.to_owned(),
            known: format!(
                "{}; on a value {}; and {}",
                quoted(FUNCTIONS),
                quoted(METHODS),
                quoted(MACROS)
            ),
            hint: did_you_mean(name, known).filter(|hint| !hint.contains(&format!("`{name}`"))),
        };
        self.wrong(at, mistake)
    }
}
