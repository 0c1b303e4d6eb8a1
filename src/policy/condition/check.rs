//! What a condition may name and of what types its parts are, checked at load: a mistake must not wait for the request
//! that meets it.

use cel::Program;
use cel::common::ast::{ComprehensionExpr, EntryExpr, Expr, IdedExpr, LiteralValue, SelectExpr};

use super::error::{InvalidCondition, Mistake};
use super::operand::{is_headers, literal_text, root};
use super::place::{Place, Source};
use super::table::{GROUPS, Kind, Name, Root};
use super::types::Type;
use crate::policy::problem::{did_you_mean, quoted};
use crate::policy::rule::RequestPattern;

/// How deep brackets and operators may nest: evaluation recurses, and a stack overflow cannot be caught.
pub(super) const MAX_DEPTH: usize = 48;
pub(super) const MAX_BRACKETS: usize = 24;

/// The type of an expression, or what is wrong with it.
pub(super) type Inferred = Result<Type, InvalidCondition>;

/// What a condition asks of the request beyond fixed fields.
#[derive(Debug, Clone, Default)]
pub(super) struct Uses {
    headers: Vec<String>,
    variables: Vec<(String, Option<Place>)>,
    body: bool,
}

impl Uses {
    pub(super) fn check(text: &str, program: &Program) -> Result<Self, InvalidCondition> {
        let source = Source::new(text, program.source_info());
        let mut check =
            Check { uses: Self::default(), scope: Vec::new(), in_loop: false, depth: 0, source };
        let expression = program.expression();
        let found = check.infer(expression)?;
        if !found.may_be(&Type::Bool) {
            let what = check.what(expression, &found);
            return Err(check.wrong(expression, Mistake::NotBoolean(what)));
        }
        Ok(check.uses)
    }

    pub(super) fn headers(&self) -> &[String] {
        &self.headers
    }

    pub(super) fn body(&self) -> bool {
        self.body
    }

    /// Refuses a variable that some path of the rule does not capture.
    pub(super) fn check_variables(
        &self,
        requests: &[RequestPattern],
    ) -> Result<(), InvalidCondition> {
        self.variables.iter().try_for_each(|(name, place)| {
            check_variable(name, requests).map_err(|mistake| mistake.at(*place))
        })
    }
}

/// Counts brackets before the parser recurses over them.
pub(super) fn check_nesting(text: &str) -> Result<(), Mistake> {
    let mut depth = 0_usize;
    for c in text.chars() {
        match c {
            '(' | '[' | '{' => depth += 1,
            ')' | ']' | '}' => depth = depth.saturating_sub(1),
            _ => {}
        }
        if depth > MAX_BRACKETS {
            return Err(Mistake::TooDeep);
        }
    }
    Ok(())
}

fn check_variable(name: &str, requests: &[RequestPattern]) -> Result<(), Mistake> {
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
    Err(Mistake::UnknownVariable {
        name: name.to_owned(),
        known: if known.is_empty() { "none".to_owned() } else { quoted(known.iter().copied()) },
        hint: did_you_mean(name, known.iter().copied()),
    })
}

/// Walks over a condition. The rules for operators and functions stand in `operation`.
pub(super) struct Check<'a> {
    uses: Uses,
    scope: Vec<(&'a str, Type)>,
    pub(super) in_loop: bool,
    depth: usize,
    source: Source<'a>,
}

impl<'a> Check<'a> {
    pub(super) fn infer(&mut self, at: &'a IdedExpr) -> Inferred {
        if self.depth > MAX_DEPTH {
            return Err(Mistake::TooDeep.into());
        }
        self.depth += 1;
        let found = self.parts(at);
        self.depth -= 1;
        found
    }

    fn parts(&mut self, at: &'a IdedExpr) -> Inferred {
        match &at.expr {
            Expr::Unspecified => Err(Mistake::Unreadable.into()),
            Expr::Literal(literal) => Ok(literal_type(literal)),
            Expr::Ident(name) => self.name(at, name),
            Expr::Select(select) => self.select(at, select),
            Expr::Call(call) => self.call(at, call),
            Expr::Comprehension(inner) => self.comprehension(at, inner),
            Expr::List(list) => {
                let mut of = Type::Nothing;
                for item in &list.elements {
                    of = of.join(self.infer(item)?);
                }
                Ok(Type::list(of))
            }
            Expr::Map(map) => {
                let mut of = Type::Nothing;
                for entry in &map.entries {
                    let EntryExpr::MapEntry(entry) = &entry.expr else {
                        return Err(self.wrong(at, Mistake::Message));
                    };
                    let key = self.infer(&entry.key)?;
                    if !key.may_be(&Type::Text) {
                        let text = format!(
                            "has {} for a key; the keys of a map are strings",
                            self.what(&entry.key, &key)
                        );
                        return Err(self.wrong(&entry.key, Mistake::Type(text)));
                    }
                    of = of.join(self.infer(&entry.value)?);
                }
                Ok(Type::map(of))
            }
            Expr::Struct(_) => Err(self.wrong(at, Mistake::Message)),
        }
    }

    /// A mistake at the place of an expression.
    pub(super) fn wrong(&self, at: &IdedExpr, mistake: Mistake) -> InvalidCondition {
        mistake.at(self.source.place(at))
    }

    pub(super) fn shown(&self, at: &IdedExpr) -> String {
        self.source.shown(at)
    }

    /// An expression for a message: how it is written and of what type it is.
    pub(super) fn what(&self, at: &IdedExpr, found: &Type) -> String {
        let shown = self.source.shown(at);
        if *found == Type::Null { shown } else { format!("{shown} ({found})") }
    }

    fn name(&mut self, at: &IdedExpr, name: &str) -> Inferred {
        if let Some((_, found)) = self.scope.iter().rev().find(|(local, _)| *local == name) {
            return Ok(found.clone());
        }
        let Some(root) = Root::parse(name) else {
            let known: Vec<&str> = GROUPS.iter().map(|group| group.name).collect();
            return Err(self.wrong(at, Mistake::unknown(name.to_owned(), name, &known)));
        };
        match (Name::of(root, ""), root.group()) {
            (Some(name), _) => Ok(Type::of(name.kind())),
            (None, Some(group)) => Err(self.wrong(at, Mistake::Whole(group.name, group.example))),
            (None, None) => Err(Mistake::Unreadable.into()),
        }
    }

    fn select(&mut self, at: &'a IdedExpr, select: &'a SelectExpr) -> Inferred {
        let SelectExpr { operand, field, test } = select;
        let answer = |found: Type| if *test { Type::Bool } else { found };
        if is_headers(operand) {
            return self.header(at, Some(field)).map(answer);
        }
        if let Some(root) = root(operand) {
            return self.field(at, root, select).map(answer);
        }
        match self.infer(operand)? {
            Type::Map(of) => Ok(answer(*of)),
            open @ (Type::Any | Type::Nothing) => Ok(answer(open)),
            other => {
                let text = format!(
                    "asks for the field `{field}` of {}; only maps have fields",
                    self.what(operand, &other)
                );
                Err(self.wrong(at, Mistake::Type(text)))
            }
        }
    }

    fn field(&mut self, at: &IdedExpr, root: Root, select: &SelectExpr) -> Inferred {
        let SelectExpr { operand: _, field, test } = select;
        let always_there = || Mistake::AlwaysThere(format!("{}.{field}", root.as_str()));
        if root == Root::Path {
            if !self.uses.variables.iter().any(|(known, _)| known == field) {
                self.uses.variables.push((field.clone(), self.source.place(at)));
            }
            return if *test { Err(self.wrong(at, always_there())) } else { Ok(Type::Text) };
        }
        let Some(name) = Name::of(root, field) else {
            let written = format!("{}.{field}", root.as_str());
            return Err(self.wrong(at, Mistake::unknown(written, field, &root.fields())));
        };
        match name.kind() {
            Kind::Headers => return Err(self.wrong(at, Mistake::HeaderName)),
            Kind::Body => self.uses.body = true,
            Kind::Text | Kind::Integer | Kind::Texts | Kind::Claims | Kind::Address => {}
        }
        if *test && !name.may_be_absent() {
            return Err(self.wrong(at, always_there()));
        }
        Ok(Type::of(name.kind()))
    }

    /// One header, by its name where that is a literal.
    pub(super) fn header(&mut self, at: &IdedExpr, name: Option<&str>) -> Inferred {
        let Some(name) = name else { return Err(self.wrong(at, Mistake::HeaderName)) };
        if name.starts_with(':') {
            return Err(self.wrong(at, Mistake::PseudoHeader(name.to_owned())));
        }
        let shaped = !name.is_empty()
            && name.chars().all(|c| matches!(c, 'a'..='z' | '0'..='9' | '-' | '_' | '.'));
        if !shaped {
            return Err(self.wrong(at, Mistake::HeaderName));
        }
        if !self.uses.headers.iter().any(|known| known == name) {
            self.uses.headers.push(name.to_owned());
        }
        Ok(Type::Text)
    }

    pub(super) fn index(
        &mut self,
        at: &'a IdedExpr,
        of: &'a IdedExpr,
        key: &'a IdedExpr,
    ) -> Inferred {
        if is_headers(of) {
            return self.header(at, literal_text(key));
        }
        let (held, by) = (self.infer(of)?, self.infer(key)?);
        let (found, wanted) = match &held {
            Type::List(member) => (member.as_ref().clone(), [Type::Int, Type::UInt].as_slice()),
            Type::Map(member) => (member.as_ref().clone(), [Type::Text].as_slice()),
            Type::Any | Type::Nothing => {
                (Type::Any, [Type::Text, Type::Int, Type::UInt].as_slice())
            }
            other => {
                let text = format!(
                    "takes a member of {}; only lists and maps have members",
                    self.what(of, other)
                );
                return Err(self.wrong(at, Mistake::Type(text)));
            }
        };
        if wanted.iter().any(|wanted| by.may_be(wanted)) {
            return Ok(found);
        }
        let wanted = match &held {
            Type::List(_) => "the place of a member, an int",
            _ => "the name of a member, a string",
        };
        let text = format!(
            "takes a member of {} by {}, where {wanted}, is expected",
            self.what(of, &held),
            self.what(key, &by)
        );
        Err(self.wrong(key, Mistake::Type(text)))
    }

    fn comprehension(&mut self, at: &'a IdedExpr, inner: &'a ComprehensionExpr) -> Inferred {
        if self.in_loop {
            return Err(self.wrong(at, Mistake::NestedLoop));
        }
        // Over the result of another loop: each of them can double what the one before it made.
        self.in_loop = true;
        let member = match self.infer(&inner.iter_range)? {
            Type::List(of) => *of,
            Type::Map(_) => Type::Text,
            open @ (Type::Any | Type::Nothing) => open,
            other => {
                let text = format!(
                    "loops over {}; only lists and maps have members",
                    self.what(&inner.iter_range, &other)
                );
                return Err(self.wrong(&inner.iter_range, Mistake::Type(text)));
            }
        };
        let before = self.scope.len();
        let made = self.infer(&inner.accu_init)?;
        self.scope.push((&inner.accu_var, made.clone()));
        self.scope.push((&inner.iter_var, member));
        self.scope.extend(inner.iter_var2.as_deref().map(|name| (name, Type::Any)));
        if let Some((name, _)) = self.scope.iter().find(|(name, _)| Root::parse(name).is_some()) {
            return Err(self.wrong(at, Mistake::Hidden((*name).to_owned())));
        }
        self.infer(&inner.loop_cond)?;
        let step = self.infer(&inner.loop_step)?;
        if let Some((_, accumulated)) = self.scope.get_mut(before) {
            *accumulated = made.join(step);
        }
        let found = self.infer(&inner.result)?;
        self.in_loop = false;
        self.scope.truncate(before);
        Ok(found)
    }
}

/// True for the operators by which the parser writes a loop.
pub(super) fn is_of_loop(arguments: &[IdedExpr]) -> bool {
    arguments.iter().any(|at| matches!(&at.expr, Expr::Ident(name) if name.starts_with('@')))
}

fn literal_type(literal: &LiteralValue) -> Type {
    match literal {
        LiteralValue::Boolean(_) => Type::Bool,
        LiteralValue::Bytes(_) => Type::Bytes,
        LiteralValue::Double(_) => Type::Double,
        LiteralValue::Int(_) => Type::Int,
        LiteralValue::Null => Type::Null,
        LiteralValue::String(_) => Type::Text,
        LiteralValue::UInt(_) => Type::UInt,
    }
}
