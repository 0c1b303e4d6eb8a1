use std::collections::VecDeque;
use std::sync::{Arc, Mutex};

use kube::core::Status;

use super::*;

type Script = Vec<watcher::Result<Event<u8>>>;

type Read = fn(u8) -> Option<u8>;
type Open = Box<dyn Fn() -> BoxStream<'static, watcher::Result<Event<u8>>>>;

/// Follows streams that say this, one after the other, and counts how many were opened.
fn following(scripts: Vec<Script>) -> (Following<u8, u8, Open, Read>, Arc<Mutex<usize>>) {
    let opened = Arc::new(Mutex::new(0));
    let scripts = Mutex::new(VecDeque::from(scripts));
    let count = Arc::clone(&opened);
    let open: Open = Box::new(move || {
        *count.lock().unwrap() += 1;
        let script = scripts.lock().unwrap().pop_front().unwrap_or_default();
        futures_util::stream::iter(script).chain(futures_util::stream::pending()).boxed()
    });
    let read: Read = |object| (object > 0).then_some(object);
    (Following { events: open(), open, read, listed: Vec::new(), failures: 0 }, opened)
}

fn error(code: u16) -> watcher::Error {
    watcher::Error::WatchError(Box::new(Status { code, ..Status::default() }))
}

fn say(heard: &Heard<u8>) -> String {
    match heard {
        Heard::All(all) => format!("all {all:?}"),
        Heard::Put(one) => format!("put {one}"),
        Heard::Gone(one) => format!("gone {one}"),
        Heard::Failed(_) => "failed".to_owned(),
    }
}

#[tokio::test(start_paused = true)]
async fn a_list_that_breaks_off_replaces_nothing() {
    let (mut following, _) = following(vec![vec![
        Ok(Event::Init),
        Ok(Event::InitApply(1)),
        Err(error(503)),
        Ok(Event::Init),
        Ok(Event::InitApply(1)),
        Ok(Event::InitApply(2)),
        Ok(Event::InitApply(0)),
        Ok(Event::InitDone),
        Ok(Event::Apply(3)),
        Ok(Event::Apply(0)),
        Ok(Event::Delete(1)),
    ]]);
    let mut said = Vec::new();
    for _ in 0..4 {
        said.push(say(&following.next().await));
    }
    assert_eq!(said, ["failed", "all [1, 2]", "put 3", "gone 1"]);
}

#[tokio::test(start_paused = true)]
async fn lost_history_and_lasting_failure_list_everything_anew() {
    let all = || vec![Ok(Event::Init), Ok(Event::InitApply(7)), Ok(Event::InitDone)];
    let (mut following, opened) = following(vec![vec![Err(error(410))], all()]);
    assert_eq!(say(&following.next().await), "failed");
    assert_eq!(say(&following.next().await), "all [7]");
    assert_eq!(*opened.lock().unwrap(), 2);

    let failures = (0..RELIST_AFTER).map(|_| Err(error(500))).collect();
    let (mut following, opened) = self::following(vec![failures, all()]);
    for _ in 0..RELIST_AFTER {
        assert_eq!(say(&following.next().await), "failed");
    }
    assert_eq!(say(&following.next().await), "all [7]");
    assert_eq!(*opened.lock().unwrap(), 2);
}

#[tokio::test(start_paused = true)]
async fn failures_are_tried_again_ever_more_seldom() {
    let failures = (0..12).map(|_| Err(error(500))).collect();
    let (mut following, _) = following(vec![failures]);
    let began = tokio::time::Instant::now();
    for _ in 0..3 {
        following.next().await;
    }
    // The first at once, then after at least a tenth and two tenths of a second.
    assert!(began.elapsed() >= Duration::from_millis(300), "{:?}", began.elapsed());
    assert_eq!(wait(1, 1.0), FIRST_WAIT);
    assert_eq!(wait(2, 0.0), FIRST_WAIT);
    for many in [8, 40, u32::MAX] {
        assert_eq!(wait(many, 1.0), LONGEST_WAIT);
    }
}
