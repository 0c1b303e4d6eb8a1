//! What a condition may name, checked at load: a typing mistake must not wait for the request that meets it.

use cel::common::ast::{
    CallExpr, ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr, operators,
};
use cel::{Context, Program, Value};

use super::error::InvalidCondition;
use super::pattern::is_small;
use crate::policy::access::RequestPattern;
use crate::policy::problem::{did_you_mean, quoted};

/// How deep brackets and operators may nest: evaluation recurses, and a stack overflow cannot be caught.
pub(super) const MAX_DEPTH: usize = 48;
pub(super) const MAX_BRACKETS: usize = 24;

const ROOTS: [&str; 6] = ["peer", "user", "client", "request", "path", "now"];
const PEER: [&str; 4] = ["id", "trustDomain", "namespace", "serviceAccount"];
const USER: [&str; 9] =
    ["sub", "provider", "roles", "scopes", "groups", "tenant", "email", "boundBy", "claims"];
const REQUEST: [&str; 5] = ["method", "host", "path", "query", "headers"];

/// Functions that are written `f(x)`.
const FUNCTIONS: [&str; 6] = ["size", "int", "uint", "double", "string", "dyn"];
/// Functions that are written `x.f(..)`, and how many arguments they take.
const METHODS: [(&str, usize); 5] =
    [("size", 0), ("contains", 1), ("startsWith", 1), ("endsWith", 1), ("matches", 1)];
const MACROS: [&str; 6] = ["has", "all", "exists", "exists_one", "map", "filter"];
const OPERATORS: [&str; 18] = [
    operators::CONDITIONAL,
    operators::LOGICAL_AND,
    operators::LOGICAL_OR,
    operators::LOGICAL_NOT,
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::EQUALS,
    operators::NOT_EQUALS,
    operators::GREATER_EQUALS,
    operators::LESS_EQUALS,
    operators::GREATER,
    operators::LESS,
    operators::NEGATE,
    operators::INDEX,
    operators::IN,
];
/// Operators whose result is a number, a text or a list.
const ARITHMETIC: [&str; 6] = [
    operators::SUBSTRACT,
    operators::ADD,
    operators::MULTIPLY,
    operators::DIVIDE,
    operators::MODULO,
    operators::NEGATE,
];

/// What a condition asks of the request beyond fixed fields.
#[derive(Debug, Clone, Default)]
pub(super) struct Uses {
    headers: Vec<String>,
    variables: Vec<String>,
}

impl Uses {
    pub(super) fn check(program: &Program) -> Result<Self, InvalidCondition> {
        let mut walk = Walk { uses: Self::default(), scope: Vec::new(), in_loop: false };
        let expression = program.expression();
        if !may_be_boolean(&expression.expr) {
            return Err(InvalidCondition::NotBoolean);
        }
        walk.expression(expression, 0)?;
        Ok(walk.uses)
    }

    pub(super) fn headers(&self) -> &[String] {
        &self.headers
    }

    pub(super) fn variables(&self) -> &[String] {
        &self.variables
    }
}

/// Counts brackets before the parser recurses over them.
pub(super) fn check_nesting(text: &str) -> Result<(), InvalidCondition> {
    let mut depth = 0_usize;
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_BRACKETS {
            return Err(InvalidCondition::TooDeep);
        }
    }
    Ok(())
}

/// Refuses a variable that some path of the rule does not capture.
pub(super) fn check_variable(
    name: &str,
    requests: &[RequestPattern],
) -> Result<(), InvalidCondition> {
    // A request pattern without paths captures nothing, so it shares no variable with the others.
    let captured_by_all = |variable: &str| {
        requests.iter().all(|request| {
            request
                .paths
                .as_ref()
                .is_some_and(|paths| paths.iter().all(|path| path.place_of(variable).is_some()))
        })
    };
    if !requests.is_empty() && captured_by_all(name) {
        return Ok(());
    }
    let first = requests.first().and_then(|request| request.paths.as_ref()?.first());
    let known: Vec<&str> = first
        .map(|path| path.variables().filter(|variable| captured_by_all(variable)).collect())
        .unwrap_or_default();
    Err(InvalidCondition::UnknownVariable {
        name: name.to_owned(),
        known: if known.is_empty() { "none".to_owned() } else { quoted(known.iter().copied()) },
        hint: did_you_mean(name, known.iter().copied()),
    })
}

fn may_be_boolean(expression: &Expr) -> bool {
    match expression {
        Expr::Literal(LiteralValue::Boolean(_)) | Expr::Comprehension(_) => true,
        Expr::Unspecified
        | Expr::Literal(_)
        | Expr::Ident(_)
        | Expr::List(_)
        | Expr::Map(_)
        | Expr::Struct(_) => false,
        Expr::Select(select) => select.test || root_of(select).is_none(),
        Expr::Call(call) => {
            let name = call.func_name.as_str();
            !ARITHMETIC.contains(&name) && !FUNCTIONS.contains(&name)
        }
    }
}

/// The root, where the expression is `root.field`.
fn root_of(select: &SelectExpr) -> Option<&str> {
    match &select.operand.expr {
        Expr::Ident(name) => Some(name),
        _ => None,
    }
}

struct Walk<'a> {
    uses: Uses,
    scope: Vec<&'a str>,
    in_loop: bool,
}

impl<'a> Walk<'a> {
    fn expression(&mut self, at: &'a IdedExpr, depth: usize) -> Result<(), InvalidCondition> {
        if depth > MAX_DEPTH {
            return Err(InvalidCondition::TooDeep);
        }
        let depth = depth + 1;
        match &at.expr {
            Expr::Unspecified => Err(InvalidCondition::Unreadable),
            Expr::Literal(_) => Ok(()),
            Expr::Ident(name) => self.name(name),
            Expr::Select(select) => self.select(select, depth),
            Expr::Call(call) => self.call(call, depth),
            Expr::Comprehension(inner) => self.comprehension(inner, depth),
            Expr::List(list) => {
                list.elements.iter().try_for_each(|item| self.expression(item, depth))
            }
            Expr::Map(map) => map.entries.iter().try_for_each(|entry| match &entry.expr {
                EntryExpr::MapEntry(entry) => {
                    self.expression(&entry.key, depth)?;
                    self.expression(&entry.value, depth)
                }
                EntryExpr::StructField(_) => Err(InvalidCondition::Message),
            }),
            Expr::Struct(_) => Err(InvalidCondition::Message),
        }
    }

    fn is_local(&self, name: &str) -> bool {
        name.starts_with('@') || self.scope.contains(&name)
    }

    fn name(&self, name: &str) -> Result<(), InvalidCondition> {
        match name {
            name if self.is_local(name) => Ok(()),
            "now" => Ok(()),
            "peer" => Err(InvalidCondition::Whole("peer", "peer.id")),
            "user" => Err(InvalidCondition::Whole("user", "user.sub")),
            "client" => Err(InvalidCondition::Whole("client", "client.sub")),
            "request" => Err(InvalidCondition::Whole("request", "request.method")),
            "path" => Err(InvalidCondition::Whole("path", "path.id")),
            other => Err(InvalidCondition::unknown(other.to_owned(), other, &ROOTS)),
        }
    }

    fn select(&mut self, select: &'a SelectExpr, depth: usize) -> Result<(), InvalidCondition> {
        if self.is_headers(&select.operand) {
            return self.header(&select.field);
        }
        match root_of(select) {
            Some(root) if !self.is_local(root) && ROOTS.contains(&root) => {
                self.field(root, &select.field, select.test)
            }
            _ => self.expression(&select.operand, depth),
        }
    }

    fn field(&mut self, root: &str, field: &str, test: bool) -> Result<(), InvalidCondition> {
        let known: &[&str] = match root {
            "peer" => &PEER,
            "user" | "client" => &USER,
            "request" => &REQUEST,
            "path" => {
                if !self.uses.variables.iter().any(|known| known == field) {
                    self.uses.variables.push(field.to_owned());
                }
                return if test { always_there(root, field) } else { Ok(()) };
            }
            _ => &[],
        };
        if !known.contains(&field) {
            return Err(InvalidCondition::unknown(format!("{root}.{field}"), field, known));
        }
        match (root, field) {
            ("request", "headers") => Err(InvalidCondition::HeaderName),
            ("peer", "namespace" | "serviceAccount")
            | ("user" | "client", "groups" | "tenant" | "email" | "boundBy") => Ok(()),
            _ if test => always_there(root, field),
            _ => Ok(()),
        }
    }

    fn is_headers(&self, at: &IdedExpr) -> bool {
        match &at.expr {
            Expr::Select(select) => {
                select.field == "headers"
                    && root_of(select) == Some("request")
                    && !self.is_local("request")
            }
            _ => false,
        }
    }

    fn header(&mut self, name: &str) -> Result<(), InvalidCondition> {
        // They hold what was sent, undecoded and with the query: a comparison would be dodged by another spelling.
        if name.starts_with(':') {
            return Err(InvalidCondition::PseudoHeader(name.to_owned()));
        }
        let shaped = !name.is_empty()
            && name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.'));
        if !shaped {
            return Err(InvalidCondition::HeaderName);
        }
        if !self.uses.headers.iter().any(|known| known == name) {
            self.uses.headers.push(name.to_owned());
        }
        Ok(())
    }

    fn call(&mut self, call: &'a CallExpr, depth: usize) -> Result<(), InvalidCondition> {
        let name = call.func_name.as_str();
        match (&call.target, call.args.as_slice()) {
            (None, [of, key]) if name == operators::INDEX => return self.index(of, key, depth),
            (None, [key, of]) if name == operators::IN && self.is_headers(of) => {
                return self.header(literal(key).ok_or(InvalidCondition::HeaderName)?);
            }
            (Some(_), [pattern]) if name == "matches" => check_pattern(pattern)?,
            _ => {}
        }
        self.function(call)?;
        if let Some(target) = &call.target {
            self.expression(target, depth)?;
        }
        call.args.iter().try_for_each(|argument| self.expression(argument, depth))
    }

    fn index(
        &mut self,
        of: &'a IdedExpr,
        key: &'a IdedExpr,
        depth: usize,
    ) -> Result<(), InvalidCondition> {
        if self.is_headers(of) {
            return self.header(literal(key).ok_or(InvalidCondition::HeaderName)?);
        }
        self.expression(of, depth)?;
        self.expression(key, depth)
    }

    fn function(&self, call: &CallExpr) -> Result<(), InvalidCondition> {
        let name = call.func_name.as_str();
        let exists = match &call.target {
            Some(_) => METHODS.contains(&(name, call.args.len())),
            None if FUNCTIONS.contains(&name) => call.args.len() == 1,
            None => {
                OPERATORS.contains(&name) || (self.in_loop && name == operators::NOT_STRICTLY_FALSE)
            }
        };
        if exists {
            return Ok(());
        }
        let known: Vec<&str> =
            FUNCTIONS.into_iter().chain(METHODS.map(|(name, _)| name)).chain(MACROS).collect();
        Err(InvalidCondition::UnknownFunction {
            name: name.to_owned(),
            known: format!(
                "{}; on a value {}; and {}",
                quoted(FUNCTIONS),
                quoted(METHODS.map(|(name, _)| name)),
                quoted(MACROS)
            ),
            hint: did_you_mean(name, known).filter(|hint| !hint.contains(&format!("`{name}`"))),
        })
    }

    fn comprehension(
        &mut self,
        inner: &'a ComprehensionExpr,
        depth: usize,
    ) -> Result<(), InvalidCondition> {
        if self.in_loop {
            return Err(InvalidCondition::NestedLoop);
        }
        // Over the result of another loop: each of them can double what the one before it made.
        self.in_loop = true;
        self.expression(&inner.iter_range, depth)?;
        let before = self.scope.len();
        self.scope.push(&inner.accu_var);
        self.scope.push(&inner.iter_var);
        self.scope.extend(inner.iter_var2.as_deref());
        if let Some(name) = self.scope.iter().find(|name| ROOTS.contains(name)) {
            return Err(InvalidCondition::Hidden((*name).to_owned()));
        }
        for part in [&inner.accu_init, &inner.loop_cond, &inner.loop_step, &inner.result] {
            self.expression(part, depth)?;
        }
        self.in_loop = false;
        self.scope.truncate(before);
        Ok(())
    }
}

fn always_there(root: &str, field: &str) -> Result<(), InvalidCondition> {
    Err(InvalidCondition::AlwaysThere(format!("{root}.{field}")))
}

fn literal(at: &IdedExpr) -> Option<&str> {
    match &at.expr {
        Expr::Literal(LiteralValue::String(text)) => Some(text.inner()),
        _ => None,
    }
}

/// A pattern is tried once, so that a mistake in it shows at load.
fn check_pattern(pattern: &IdedExpr) -> Result<(), InvalidCondition> {
    let text = literal(pattern).ok_or(InvalidCondition::Pattern)?;
    if !is_small(text) {
        return Err(InvalidCondition::LargePattern);
    }
    let empty = IdedExpr { id: 0, expr: Expr::Literal(LiteralValue::String(String::new().into())) };
    let call = IdedExpr {
        id: 0,
        expr: Expr::Call(CallExpr {
            func_name: "matches".to_owned(),
            target: Some(Box::new(empty)),
            args: vec![pattern.clone()],
        }),
    };
    let context = Context::with_env(std::sync::Arc::new(super::environment()));
    match Value::resolve(&call, &context) {
        Ok(_) => Ok(()),
        Err(_) => Err(InvalidCondition::Pattern),
    }
}
