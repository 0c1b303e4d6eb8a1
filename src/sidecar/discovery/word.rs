//! What was said of revocations, on its way into force.
//!
//! Whoever hears it says it here, and hears when it is in force: only then the control plane is told that it was taken.

use std::sync::Arc;

use tokio::sync::watch;

use crate::revocation::Knowledge;

/// What was said last.
#[derive(Debug, Clone)]
pub(in crate::sidecar) struct Word {
    pub(in crate::sidecar) knowledge: Knowledge,
    /// Counted from 0, what was known at the start.
    number: u64,
}

/// The end of whoever hears of revocations.
#[derive(Debug)]
pub(super) struct Speaker {
    said: watch::Sender<Arc<Word>>,
    in_force: watch::Receiver<u64>,
}

/// The end of whoever puts them in force.
#[derive(Debug, Clone)]
pub(in crate::sidecar) struct Words {
    said: watch::Receiver<Arc<Word>>,
    in_force: watch::Sender<u64>,
}

/// Both ends. `first` is what is known at the start.
pub(super) fn words(first: Knowledge) -> (Speaker, Words) {
    let (said, hears) = watch::channel(Arc::new(Word { knowledge: first, number: 0 }));
    let (in_force, sees) = watch::channel(0);
    (Speaker { said, in_force: sees }, Words { said: hears, in_force })
}

impl Speaker {
    /// Says this, and by which number it is known.
    pub(super) fn say(&self, knowledge: Knowledge) -> u64 {
        let number = self.said.borrow().number.saturating_add(1);
        self.said.send_replace(Arc::new(Word { knowledge, number }));
        number
    }

    /// True once what was said under this number, or something later, is in force.
    pub(super) fn is_in_force(&self, number: u64) -> bool {
        *self.in_force.borrow() >= number
    }

    /// Waits until more is in force. Never, once nobody puts anything in force any more: that ends the process elsewhere.
    pub(super) async fn progressed(&mut self) {
        if self.in_force.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }
}

impl Words {
    /// What was said last; it counts as heard.
    pub(in crate::sidecar) fn last(&mut self) -> Arc<Word> {
        Arc::clone(&self.said.borrow_and_update())
    }

    /// Waits until there is more to hear. Never, once nobody says anything any more.
    pub(in crate::sidecar) async fn more(&mut self) {
        if self.said.changed().await.is_err() {
            std::future::pending::<()>().await;
        }
    }

    /// Says that this word is in force.
    pub(in crate::sidecar) fn in_force(&self, word: &Word) {
        self.in_force.send_if_modified(|number| {
            let later = word.number > *number;
            *number = (*number).max(word.number);
            later
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_word_is_in_force_once_it_was_put_there_and_what_was_passed_over_with_it() {
        let (mut speaker, mut words) = words(Knowledge::Unknown);
        assert!(words.last().knowledge.list().is_none());
        let one = speaker.say(Knowledge::nobody_tells());
        assert!(!speaker.is_in_force(one));
        words.more().await;
        let first = words.last();
        let two = speaker.say(Knowledge::nobody_tells());
        let three = speaker.say(Knowledge::nobody_tells());
        words.in_force(&first);
        speaker.progressed().await;
        assert!(speaker.is_in_force(one) && !speaker.is_in_force(two));
        words.in_force(&words.clone().last());
        words.in_force(&first);
        assert!(speaker.is_in_force(two) && speaker.is_in_force(three), "and never back");
        assert!(words.last().knowledge.list().is_some());
    }
}
