//! The engines as one request asks them: each once, whatever many rules name it.

use std::cell::RefCell;
use std::sync::Arc;
use std::time::SystemTime;

use super::remote::{Question, Remote, Subject};
use super::said::Said;
use super::set::{Engine, EngineSet};
use crate::authn::CredentialNames;
use crate::authz::door::Question as Asks;
use crate::authz::need::Learned;
use crate::policy::{
    Decision, End, EngineAnswer, EngineFault, Engines, Facts, Hidden, InputParts, NoEngines,
    RequestInput,
};
use crate::proto::check::{Address, Check, Peer};
use crate::runtime::Asker;

/// The engines as one request asks them.
pub(in crate::authz) struct RequestEngines<'r> {
    set: &'r EngineSet,
    told: Told<'r>,
    credentials: &'r CredentialNames,
    memory: Option<(&'r Asker<Said>, &'r Learned)>,
    now: SystemTime,
    asked: RefCell<Vec<Asked>>,
}

/// The request as it came.
#[derive(Clone, Copy)]
pub(in crate::authz) enum Told<'r> {
    /// From Envoy. It is decoded again only when an engine wants to see more of it than the rules do.
    Message(&'r [u8]),
    /// From another door, or in a rehearsal.
    Check(&'r Check<'r>),
}

impl<'r> Told<'r> {
    /// As the gate is asked.
    pub(in crate::authz) fn of(question: Asks<'r>) -> Self {
        match question {
            Asks::Encoded(message) => Self::Message(message),
            Asks::Asked(check, _) | Asks::Unreadable(_, check) => Self::Check(check),
        }
    }
}

/// An engine that was asked already.
struct Asked {
    name: String,
    answer: EngineAnswer,
    question: Option<Question>,
}

impl<'r> RequestEngines<'r> {
    /// For a request that is judged. Without memory (in a rehearsal) no server is asked.
    pub(in crate::authz) fn new(
        (set, credentials): (&'r EngineSet, &'r CredentialNames),
        told: Told<'r>,
        memory: Option<(&'r Asker<Said>, &'r Learned)>,
        now: SystemTime,
    ) -> Self {
        Self { set, told, credentials, memory, now, asked: RefCell::default() }
    }

    /// The questions that have to be asked before this decision stands.
    pub(in crate::authz) fn questions(&self, decision: &Decision<'_>) -> Vec<Question> {
        let Decision::AskFirst(names) = decision else { return Vec::new() };
        let asked = self.asked.borrow();
        let named = asked.iter().filter(|asked| names.contains(&asked.name.as_str()));
        named.filter_map(|asked| asked.question.clone()).collect()
    }

    fn ask(&self, name: &str, facts: &Facts<'_>) -> (EngineAnswer, Option<Question>) {
        match self.set.named(name) {
            None => (NoEngines.answer(name, facts), None),
            Some(Engine::Casbin(casbin)) => (casbin.judge(facts), None),
            Some(Engine::Rego(rego, credentials)) => {
                let judged = self.with_parts(|parts| {
                    let input = parts.whole(facts, *credentials)?;
                    Ok(rego.judge(&input, facts.now))
                });
                (judged.unwrap_or_else(EngineAnswer::from), None)
            }
            Some(Engine::Remote(remote)) => match self.remote(remote, facts) {
                Ok(answered) => answered,
                Err(fault) => (fault.into(), None),
            },
        }
    }

    fn remote(
        &self,
        remote: &Arc<Remote>,
        facts: &Facts<'_>,
    ) -> Result<(EngineAnswer, Option<Question>), EngineFault> {
        let message = match self.told {
            Told::Message(message) => Some(message),
            Told::Check(_) => None,
        };
        let question =
            self.with_parts(|parts| remote.question(&Subject { facts, parts: *parts, message }))?;
        let Some(question) = question else { return Ok((EngineAnswer::Undefined, None)) };
        let Some((asker, learned)) = self.memory else { return Err(EngineFault::NotAsked) };
        let known = learned.said(&question.key).or_else(|| asker.known(&question.key, self.now));
        match known {
            Some(said) => Ok((said.into(), None)),
            None if learned.may_ask() => Ok((EngineAnswer::NotAsked, Some(question))),
            None => Err(EngineFault::NotAsked),
        }
    }

    fn with_parts<T>(
        &self,
        then: impl FnOnce(&InputParts<'_>) -> Result<T, EngineFault>,
    ) -> Result<T, EngineFault> {
        match self.told {
            Told::Message(message) => {
                // It was decoded before, so this does not fail.
                let check = Check::decode(message).map_err(|_| EngineFault::Evaluation)?;
                then(&self.parts(&check))
            }
            Told::Check(check) => then(&self.parts(check)),
        }
    }

    fn parts<'c>(&'c self, check: &'c Check<'c>) -> InputParts<'c> {
        InputParts {
            source: end(check.source.as_ref()),
            destination: end(check.destination.as_ref()),
            http: check.http.as_ref().map(|http| RequestInput {
                target: http.path,
                authority: http.host,
                scheme: http.scheme,
                protocol: http.protocol,
                headers: &http.headers,
                body: http.body,
            }),
            context_extensions: &check.context_extensions,
            hidden: Hidden {
                headers: &self.credentials.headers,
                parameters: &self.credentials.parameters,
            },
        }
    }
}

fn end<'c>(peer: Option<&Peer<'c>>) -> End<'c> {
    match peer.and_then(|peer| peer.address) {
        Some(Address::Socket { address, port }) => End { address: Some(address), port },
        Some(Address::Pipe(path)) => End { address: Some(path), port: None },
        Some(Address::Internal(_)) | None => End::default(),
    }
}

impl Engines for RequestEngines<'_> {
    fn answer(&self, name: &str, facts: &Facts<'_>) -> EngineAnswer {
        let before =
            self.asked.borrow().iter().find(|asked| asked.name == name).map(|a| a.answer.clone());
        if let Some(answer) = before {
            return answer;
        }
        let (answer, question) = self.ask(name, facts);
        let asked = Asked { name: name.to_owned(), answer: answer.clone(), question };
        self.asked.borrow_mut().push(asked);
        answer
    }
}
