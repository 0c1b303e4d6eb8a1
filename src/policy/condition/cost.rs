//! What a condition can cost at most: a sum known at load, and prices for what it reads.
//!
//! The interpreter is not asked how many steps it took. Instead every fact it is given is charged, when it is given,
//! with all that the condition can do with it from then on. Loops stand in no other loop, so a member of a list is
//! gone through once for each time the list is read. Nothing is kept in a variable, so a value flows to one place:
//! each operator above it touches it at most once, and only `+` copies it on.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, operators,
};

use super::pattern;

/// The steps of building one step of a pattern.
const BUILD_STEPS: u64 = 20;
/// How many steps of a pattern are walked, for each 64 bytes of text, as one step.
const WALK_STEPS: u64 = 16;

/// The prices of a condition for the interpreter.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cost {
    /// Whatever it reads.
    pub(super) fixed: u64,
    /// One value: a list, a member of it, a member of that.
    pub(super) value: u64,
    /// One member of a list or map on top of its value: a turn of a loop.
    pub(super) member: u64,
    /// 64 bytes of a text.
    pub(super) text: u64,
    pub(super) loops: Loops,
}

/// Which members a loop can go over.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Loops {
    /// Those of the lists and maps that are read.
    Read,
    /// Also those of lists and maps inside them.
    Inside,
}

impl Cost {
    /// The prices of a condition from which the readings were taken out.
    pub(super) fn of(expression: &IdedExpr) -> Self {
        let mut sum = Sum::default();
        sum.expression(expression, 1, None);
        // `a + b + c` copies `a` twice; without `+` every value is touched once.
        let copies = if sum.joins { sum.depth } else { 1 };
        let turns = sum.largest_loop;
        Self {
            fixed: copies
                .saturating_mul(sum.nodes.saturating_add(sum.listed.saturating_mul(turns))),
            value: copies.saturating_mul(sum.most_uses.max(1)),
            member: copies.saturating_mul(turns),
            text: copies
                .saturating_mul(sum.most_uses.max(1))
                .saturating_mul(1 + sum.patterns / WALK_STEPS),
            loops: if sum.is_indirect { Loops::Inside } else { Loops::Read },
        }
    }
}

#[derive(Default)]
struct Sum<'a> {
    nodes: u64,
    depth: u64,
    /// The members of all lists and maps that are written out.
    listed: u64,
    largest_loop: u64,
    /// How often a loop names its variable, at most.
    most_uses: u64,
    uses: u64,
    patterns: u64,
    joins: bool,
    is_indirect: bool,
    variable: Option<&'a str>,
}

impl<'a> Sum<'a> {
    fn expression(&mut self, at: &'a IdedExpr, depth: u64, accumulator: Option<&str>) {
        self.nodes += 1;
        self.depth = self.depth.max(depth);
        let below = |sum: &mut Self, at: &'a IdedExpr| sum.expression(at, depth + 1, accumulator);
        match &at.expr {
            Expr::Ident(name) => self.uses += u64::from(self.variable == Some(name)),
            Expr::Select(select) => below(self, &select.operand),
            Expr::Call(call) => {
                self.call(call, accumulator);
                call.target.iter().for_each(|target| below(self, target));
                call.args.iter().for_each(|argument| below(self, argument));
            }
            Expr::List(list) => {
                self.listed += list.elements.iter().map(|_| 1).sum::<u64>();
                list.elements.iter().for_each(|item| below(self, item));
            }
            Expr::Map(map) => {
                for entry in &map.entries {
                    self.listed += 1;
                    if let EntryExpr::MapEntry(entry) = &entry.expr {
                        below(self, &entry.key);
                        below(self, &entry.value);
                    }
                }
            }
            Expr::Comprehension(inner) => self.comprehension(inner, depth + 1),
            Expr::Unspecified | Expr::Literal(_) | Expr::Struct(_) => {}
        }
    }

    fn call(&mut self, call: &CallExpr, accumulator: Option<&str>) {
        let first = call.args.first().map(|argument| &argument.expr);
        match (call.func_name.as_str(), first) {
            // `map` and `filter` append to what they make.
            (operators::ADD, Some(Expr::Ident(name))) if accumulator == Some(name) => {}
            (operators::ADD, _) => self.joins = true,
            ("matches", Some(Expr::Literal(LiteralValue::String(text)))) => {
                let steps = pattern::steps(text.inner());
                self.patterns = self.patterns.saturating_add(steps);
                self.nodes = self.nodes.saturating_add(steps.saturating_mul(BUILD_STEPS));
            }
            _ => {}
        }
    }

    fn comprehension(&mut self, inner: &'a ComprehensionExpr, depth: u64) {
        self.expression(&inner.iter_range, depth, None);
        self.is_indirect |= !is_direct(&inner.iter_range);
        let before = self.nodes;
        self.variable = Some(&inner.iter_var);
        self.uses = 0;
        for part in [&inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result] {
            self.expression(part, depth, Some(&inner.accu_var));
        }
        self.most_uses = self.most_uses.max(self.uses);
        self.variable = None;
        self.largest_loop = self.largest_loop.max(self.nodes - before);
    }
}

/// Whether the members of a list are those of lists that are read or written out.
fn is_direct(range: &IdedExpr) -> bool {
    match &range.expr {
        Expr::Ident(_) | Expr::List(_) => true,
        Expr::Call(call) => {
            let joined = match (call.func_name.as_str(), call.args.as_slice()) {
                (operators::ADD, both) => both,
                (operators::CONDITIONAL, [_, both @ ..]) => both,
                _ => return false,
            };
            call.target.is_none() && joined.iter().all(is_direct)
        }
        Expr::Unspecified
        | Expr::Literal(_)
        | Expr::Select(_)
        | Expr::Map(_)
        | Expr::Struct(_)
        | Expr::Comprehension(_) => false,
    }
}
