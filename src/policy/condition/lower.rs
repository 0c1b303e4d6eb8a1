//! A condition for the interpreter: what it reads is taken out, numbered, and read by `Operand` as native conditions do.
//!
//! `user.roles.exists(r, r == path.id)` becomes `#0.exists(r, r == #1)`. No name in the language begins with `#`. What
//! the interpreter does not know, such as `within`, is taken out whole.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedEntryExpr, IdedExpr, ListExpr, MapEntryExpr,
    MapExpr, SelectExpr,
};

use super::cost::Cost;
use super::held::Held;
use super::known::{Known, Outcome};
use super::native::Native;
use super::operand::Operand;
use super::roles::ImpliedRoles;

/// A condition for the interpreter.
#[derive(Debug)]
pub(super) struct Lowered {
    pub(super) expression: IdedExpr,
    readings: Vec<Reading>,
    /// The fields that are named behind loop variables and computed values.
    fields: Vec<String>,
    pub(super) cost: Cost,
}

/// What is read for the interpreter.
#[derive(Debug)]
enum Reading {
    Value(Operand),
    Truth(Native),
}

impl Lowered {
    pub(super) fn of(expression: &IdedExpr, roles: &ImpliedRoles) -> Self {
        let mut lower = Lower { readings: Vec::new(), fields: Vec::new(), roles };
        let expression = lower.expression(expression);
        let cost = Cost::of(&expression);
        let Lower { readings, fields, roles: _ } = lower;
        Self { expression, readings, fields, cost }
    }

    /// True when the condition itself names this field.
    pub(super) fn names(&self, field: &str) -> bool {
        self.fields.iter().any(|known| known == field)
    }

    /// Everything that it may ask for, read once.
    pub(super) fn read<'k>(&'k self, known: &Known<'k, '_>) -> Vec<Outcome<Held<'k>>> {
        let read = |reading: &'k Reading| match reading {
            Reading::Value(operand) => operand.held(known),
            Reading::Truth(native) => native.evaluate(known).map(Held::Bool),
        };
        self.readings.iter().map(read).collect()
    }
}

/// The name by which the interpreter asks for a reading.
fn name(place: usize) -> String {
    format!("#{place}")
}

/// The reading that the interpreter asks for.
pub(super) fn place(name: &str) -> Option<usize> {
    name.strip_prefix('#')?.parse().ok()
}

struct Lower<'r> {
    readings: Vec<Reading>,
    fields: Vec<String>,
    roles: &'r ImpliedRoles,
}

impl Lower<'_> {
    fn expression(&mut self, at: &IdedExpr) -> IdedExpr {
        let expr = match self.reading(at) {
            Some(reading) => {
                let name = name(self.readings.len());
                self.readings.push(reading);
                Expr::Ident(name)
            }
            None => self.parts(&at.expr),
        };
        IdedExpr { id: at.id, expr }
    }

    fn reading(&self, at: &IdedExpr) -> Option<Reading> {
        if matches!(at.expr, Expr::Literal(_)) {
            return None;
        }
        if let Some(native) = Native::compile(at, self.roles)
            && native.is_foreign()
        {
            return Some(Reading::Truth(native));
        }
        Operand::compile(at).map(Reading::Value)
    }

    fn parts(&mut self, expr: &Expr) -> Expr {
        match expr {
            Expr::Call(CallExpr { func_name, target, args }) => Expr::Call(CallExpr {
                func_name: func_name.clone(),
                target: target.as_ref().map(|target| Box::new(self.expression(target))),
                args: self.all(args),
            }),
            Expr::Select(SelectExpr { operand, field, test }) => {
                self.fields.push(field.clone());
                Expr::Select(SelectExpr {
                    operand: Box::new(self.expression(operand)),
                    field: field.clone(),
                    test: *test,
                })
            }
            Expr::List(ListExpr { elements, optional_indices }) => Expr::List(ListExpr {
                elements: self.all(elements),
                optional_indices: optional_indices.clone(),
            }),
            Expr::Map(MapExpr { entries }) => Expr::Map(MapExpr {
                entries: entries.iter().map(|entry| self.entry(entry)).collect(),
            }),
            Expr::Comprehension(inner) => {
                let ComprehensionExpr {
                    iter_range,
                    iter_var,
                    iter_var2,
                    accu_var,
                    accu_init,
                    loop_cond,
                    loop_step,
                    result,
                } = inner.as_ref();
                Expr::Comprehension(Box::new(ComprehensionExpr {
                    iter_range: self.expression(iter_range),
                    iter_var: iter_var.clone(),
                    iter_var2: iter_var2.clone(),
                    accu_var: accu_var.clone(),
                    accu_init: self.expression(accu_init),
                    loop_cond: self.expression(loop_cond),
                    loop_step: self.expression(loop_step),
                    result: self.expression(result),
                }))
            }
            Expr::Unspecified | Expr::Ident(_) | Expr::Literal(_) | Expr::Struct(_) => expr.clone(),
        }
    }

    fn all(&mut self, expressions: &[IdedExpr]) -> Vec<IdedExpr> {
        expressions.iter().map(|at| self.expression(at)).collect()
    }

    fn entry(&mut self, entry: &IdedEntryExpr) -> IdedEntryExpr {
        let expr = match &entry.expr {
            EntryExpr::MapEntry(MapEntryExpr { key, value, optional }) => {
                EntryExpr::MapEntry(MapEntryExpr {
                    key: self.expression(key),
                    value: self.expression(value),
                    optional: *optional,
                })
            }
            // Messages were refused.
            EntryExpr::StructField(field) => EntryExpr::StructField(field.clone()),
        };
        IdedEntryExpr { id: entry.id, expr }
    }
}
