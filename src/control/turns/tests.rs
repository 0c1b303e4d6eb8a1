use super::*;

fn lane(name: &str) -> Lane {
    Lane::Namespace(name.to_owned())
}

fn bounds(at_once: usize, lane: usize, all: usize) -> Bounds {
    Bounds { at_once, lane, all, patience: Duration::from_secs(5) }
}

#[expect(clippy::disallowed_methods, reason = "ends with the runtime of its test")]
fn wait(turns: &Turns, name: &'static str) -> tokio::task::JoinHandle<Result<(), Shed>> {
    let turns = turns.clone();
    tokio::spawn(async move { turns.wait(lane(name)).await.map(drop) })
}

#[test]
fn lanes_are_served_in_turn() {
    let mut lanes = Lanes::new();
    for n in 0..4 {
        lanes.push(lane("big"), format!("big{n}"));
    }
    lanes.push(lane("small"), "small0".to_owned());
    lanes.push(Lane::Local, "local0".to_owned());
    lanes.push(lane("small"), "small1".to_owned());
    let served: Vec<_> = std::iter::from_fn(|| lanes.pop()).collect();
    assert_eq!(served, ["big0", "small0", "local0", "big1", "small1", "big2", "big3"]);
    assert!(lanes.lanes.is_empty() && lanes.order.is_empty() && lanes.waiting == 0);
}

#[test]
fn who_gave_up_is_forgotten() {
    let mut lanes = Lanes::new();
    for (name, n) in [("a", 1), ("a", 2), ("b", 3), ("c", 4)] {
        lanes.push(lane(name), n);
    }
    lanes.retain(|n| n % 2 == 0);
    assert_eq!((lanes.waiting, lanes.in_lane(&lane("a")), lanes.order.len()), (2, 1, 2));
    assert_eq!((lanes.pop(), lanes.pop(), lanes.pop()), (Some(2), Some(4), None));
}

#[tokio::test(start_paused = true)]
async fn a_turn_goes_to_the_next_one_when_it_is_over() {
    let turns = Turns::new(bounds(1, 10, 10));
    let first = turns.wait(lane("a")).await.unwrap();
    let served = Arc::new(Mutex::new(Vec::new()));
    let mut callers = tokio::task::JoinSet::new();
    for (name, n) in [("a", 1), ("a", 2), ("b", 3)] {
        let (turns, served) = (turns.clone(), Arc::clone(&served));
        callers.spawn(async move {
            let _turn = turns.wait(lane(name)).await.unwrap();
            served.lock().unwrap().push(n);
        });
        tokio::task::yield_now().await;
    }
    assert_eq!(turns.waiting(), 3);
    drop(first);
    while callers.join_next().await.is_some() {}
    assert_eq!(*served.lock().unwrap(), [1, 3, 2]);
    assert_eq!((turns.waiting(), turns.lock().free), (0, 1));
}

#[tokio::test(start_paused = true)]
async fn what_does_not_fit_is_shed_and_others_are_not() {
    let turns = Turns::new(bounds(1, 2, 3));
    let turn = turns.wait(lane("a")).await.unwrap();
    let waiting = [wait(&turns, "a"), wait(&turns, "a")];
    tokio::task::yield_now().await;
    assert_eq!(turns.wait(lane("a")).await.map(drop), Err(Shed::Lane));
    let other = wait(&turns, "b");
    tokio::task::yield_now().await;
    assert_eq!(turns.wait(lane("c")).await.map(drop), Err(Shed::All));
    drop(turn);
    for caller in waiting.into_iter().chain([other]) {
        assert_eq!(caller.await.unwrap(), Ok(()));
    }
    assert_eq!(turns.lock().free, 1);
}

#[tokio::test(start_paused = true)]
async fn nobody_waits_forever_and_who_gave_up_takes_no_place() {
    let turns = Turns::new(bounds(1, 1, 1));
    let turn = turns.wait(lane("a")).await.unwrap();
    assert_eq!(turns.wait(lane("a")).await.map(drop), Err(Shed::Patience));
    let again = wait(&turns, "a");
    tokio::task::yield_now().await;
    assert_eq!(turns.wait(lane("b")).await.map(drop), Err(Shed::All), "one waits indeed");
    drop(turn);
    assert_eq!(again.await.unwrap(), Ok(()));
    assert_eq!(turns.lock().free, 1, "the turn of who gave up was not lost");
}

#[tokio::test(start_paused = true)]
async fn the_backlog_is_what_waits_times_how_long_one_takes() {
    let turns = Turns::new(bounds(2, 100, 100));
    assert_eq!(turns.backlog(), Duration::ZERO);
    for _ in 0..200 {
        let turn = turns.wait(lane("a")).await.unwrap();
        tokio::time::advance(Duration::from_millis(100)).await;
        drop(turn);
    }
    let _busy = (turns.wait(lane("a")).await.unwrap(), turns.wait(lane("a")).await.unwrap());
    for _ in 0..40 {
        drop(wait(&turns, "b"));
    }
    tokio::task::yield_now().await;
    let backlog = turns.backlog();
    let about = Duration::from_millis(1900)..Duration::from_millis(2100);
    assert!(about.contains(&backlog), "{backlog:?}");
}
