mod property;

use super::*;
use crate::ca::state::Phase;

fn now() -> SystemTime {
    at(1_790_000_000)
}

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn record(number: u32) -> Record {
    Record {
        number,
        phase: Phase::Prepared,
        made: 0,
        subject: String::new(),
        validity: (0, 1),
        issuing_until: 1,
        issuing_keys: vec![format!("{number}a"), format!("{number}b")],
        kid: String::new(),
        longest_leaf: 3600,
        longest_token: 0,
        files: [(String::new(), String::new())].into(),
    }
}

fn born() -> State {
    State::unborn("demo.mesh").born(record(1)).unwrap()
}

fn publishing() -> State {
    born().prepare(record(2), None, now()).unwrap().publish(now()).unwrap()
}

fn reissuing() -> State {
    publishing().activate(secs(60), now()).unwrap()
}

fn id(name: &str) -> SpiffeId {
    SpiffeId::parse(&format!("spiffe://demo.mesh/ns/shop/sa/{name}")).unwrap()
}

fn sidecar(name: &str, acknowledged: bool, key_id: &str) -> Connected {
    Connected { id: id(name), acknowledged, key_id: key_id.to_owned(), since: now() }
}

/// A fleet that has been watched for long.
fn fleet(connected: Vec<Connected>) -> FleetView {
    FleetView { connected, ..FleetView::empty(now() - secs(86_400)) }
}

#[test]
fn nobody_is_late_before_the_time_over_which_leaves_are_replaced_is_over() {
    assert_eq!(born().overdue_since(), None);
    assert_eq!(publishing().overdue_since(), Some(now()));
    // The order is about leaves of the second in which it is given, too.
    let order = |state: &State| state.reissue.unwrap().issued_before;
    let state = reissuing();
    assert_eq!(state.overdue_since(), Some(at(order(&state) + 60)));
    // The leaves of one that is tainted; then a new root is published, for which its sidecars are waited at once.
    let mut tainted = state.clone();
    tainted.rotation = None;
    assert_eq!(tainted.overdue_since(), state.overdue_since());
    let mut published = state;
    published.rotation = publishing().rotation;
    assert_eq!(published.overdue_since(), Some(now()));
}

#[test]
fn nothing_is_done_unless_asked_and_what_is_prepared_is_published() {
    assert_eq!(next(&born(), &fleet(vec![]), now()), Next::Nothing);
    let prepared = born().prepare(record(2), None, now()).unwrap();
    assert_eq!(next(&prepared, &fleet(vec![]), now()), Next::Publish);
}

#[test]
fn one_sidecar_that_did_not_acknowledge_holds_everything_up_and_is_named() {
    let all = fleet(vec![sidecar("orders", true, "1b"), sidecar("web", true, "1b")]);
    assert_eq!(next(&publishing(), &all, now()), Next::Activate);
    let one = fleet(vec![sidecar("orders", true, "1b"), sidecar("web", false, "1b")]);
    let stuck = vec![Awaited::Sidecar(id("web"), now())];
    assert_eq!(next(&publishing(), &one, now()), Next::Wait(stuck.clone()));
    assert_eq!(next(&publishing(), &one, now() + secs(1_000_000)), Next::Wait(stuck.clone()));
    let waived = publishing().without_absent().unwrap();
    assert_eq!(next(&waived, &one, now()), Next::Wait(stuck), "the operator cannot waive that");
}

#[test]
fn nobody_connected_is_no_proof() {
    let (nobody, end) = (fleet(vec![]), now() + secs(3601));
    assert_eq!(next(&publishing(), &nobody, now()), Next::Wait(vec![Awaited::Absent(end)]));
    assert!(matches!(next(&publishing(), &nobody, end - secs(1)), Next::Wait(_)));
    assert_eq!(next(&publishing(), &nobody, end), Next::Activate);
    let waived = publishing().without_absent().unwrap();
    assert_eq!(next(&waived, &nobody, now()), Next::Activate);
}

#[test]
fn who_went_away_unconvinced_counts_while_its_leaf_can_be_valid() {
    let mut some = fleet(vec![sidecar("orders", true, "1b")]);
    let end = now() + secs(3000);
    some.gone.push(Gone { id: id("web"), until: end, pod: PodState::NotKnown });
    let awaited = Next::Wait(vec![Awaited::Gone(id("web"), PodState::NotKnown, end)]);
    assert_eq!(next(&publishing(), &some, now()), awaited);
    assert_eq!(next(&publishing(), &some, end), Next::Activate);
    assert_eq!(next(&publishing().without_absent().unwrap(), &some, now()), Next::Activate);
}

#[test]
fn who_went_away_with_its_pod_does_not_count_and_doubt_does() {
    use PodState::{NotKnown, Over, There};
    let end = now() + secs(3000);
    let keeper = || vec![sidecar("orders", true, "1b")];
    let with = |pods: &[PodState]| {
        let gone = pods.iter().map(|pod| Gone { id: id("web"), until: end, pod: *pod });
        FleetView { gone: gone.collect(), ..fleet(keeper()) }
    };
    let table: [(&[PodState], &[PodState], usize); 7] = [
        (&[], &[], 0),
        (&[Over], &[], 1),
        (&[There], &[There], 0),
        (&[NotKnown], &[NotKnown], 0),
        (&[Over, Over], &[], 2),
        (&[Over, There], &[There], 1),
        (&[NotKnown, Over, There], &[NotKnown, There], 1),
    ];
    for (pods, waited, let_go_) in table {
        let view = with(pods);
        let waited: Vec<Awaited> =
            waited.iter().map(|pod| Awaited::Gone(id("web"), *pod, end)).collect();
        let expected = if waited.is_empty() { Next::Activate } else { Next::Wait(waited) };
        assert_eq!(next(&publishing(), &view, now()), expected, "{pods:?}");
        assert_eq!(let_go(&publishing(), &view, now()), let_go_, "{pods:?}");
        assert_eq!(next(&publishing(), &view, end), Next::Activate, "{pods:?}");
        assert_eq!(let_go(&publishing(), &view, end), 0, "it would not be waited for anyway");
        let waived = publishing().without_absent().unwrap();
        for state in [&waived, &reissuing(), &born()] {
            assert_eq!(let_go(state, &view, now()), 0, "nobody who left is waited for");
        }
    }
    // It proves nothing of anybody else.
    let gone = with(&[Over]).gone;
    let nobody = FleetView { gone: gone.clone(), ..fleet(vec![]) };
    let absent = Next::Wait(vec![Awaited::Absent(now() + secs(3601))]);
    assert_eq!(next(&publishing(), &nobody, now()), absent);
    let lagging = FleetView { gone, ..fleet(vec![sidecar("web", false, "1b")]) };
    let stuck = Next::Wait(vec![Awaited::Sidecar(id("web"), now())]);
    assert_eq!(next(&publishing(), &lagging, now()), stuck, "connected, it is there");
    let elsewhere = FleetView { over_elsewhere: 2, ..with(&[Over]) };
    assert_eq!(let_go(&publishing(), &elsewhere, now()), 3);
    assert_eq!(next(&publishing(), &elsewhere, now()), Next::Activate);
    let more = FleetView { more_gone_until: Some(end), ..elsewhere };
    assert_eq!(next(&publishing(), &more, now()), Next::Wait(vec![Awaited::Absent(end)]));
    assert_eq!(next(&reissuing(), &with(&[Over]), now()), next(&reissuing(), &with(&[]), now()));
}

#[test]
fn after_a_restart_the_sidecars_have_time_to_come_back() {
    for state in [publishing(), reissuing()] {
        let mut some = fleet(vec![sidecar("orders", true, "2a")]);
        some.watching_since = now() + secs(7200);
        let settled = some.watching_since + RECONNECT;
        let awaited = Next::Wait(vec![Awaited::Reconnect(settled)]);
        assert_eq!(next(&state, &some, settled - secs(1)), awaited);
        assert!(!matches!(next(&state, &some, settled), Next::Wait(_)));
    }
}

#[test]
fn the_old_root_stays_until_no_leaf_of_it_can_be_valid() {
    let renewed = |key: &str| fleet(vec![sidecar("orders", true, "2a"), sidecar("web", true, key)]);
    let end = now() + secs(3601);
    assert_eq!(next(&reissuing(), &renewed("2b"), end), Next::Retire);
    assert_eq!(
        next(&reissuing(), &renewed("2b"), end - secs(1)),
        Next::Wait(vec![Awaited::Absent(end)])
    );
    for old in ["1a", "1b", "", "unknown"] {
        let stuck = Next::Wait(vec![Awaited::Sidecar(id("web"), now())]);
        assert_eq!(next(&reissuing(), &renewed(old), end), stuck, "{old}");
        let waived = reissuing().without_absent().unwrap();
        assert_eq!(next(&waived, &renewed(old), now()), stuck, "{old}");
    }
    let waived = reissuing().without_absent().unwrap();
    assert_eq!(next(&waived, &renewed("2b"), now()), Next::Retire);
}

#[test]
fn going_back_waits_for_the_leaves_of_the_new_root() {
    let back = reissuing().abort(secs(60), now() + secs(100)).unwrap();
    let of = |key: &str| fleet(vec![sidecar("orders", true, key)]);
    let end = now() + secs(3701);
    assert!(matches!(next(&back, &of("2a"), end), Next::Wait(_)));
    assert!(matches!(next(&back, &of("1b"), end - secs(1)), Next::Wait(_)));
    assert_eq!(next(&back, &of("1b"), end), Next::Retire);
}

#[test]
fn an_order_stands_while_a_leaf_it_is_about_can_be_valid() {
    let tainted = born().taint(record(1), secs(60), now()).unwrap();
    let end = now() + secs(3601);
    assert_eq!(next(&tainted, &fleet(vec![]), end - secs(1)), Next::Nothing);
    assert_eq!(next(&tainted, &fleet(vec![]), end), Next::Reissued);
}

#[test]
fn leaves_are_replaced_at_a_steady_pace() {
    let hour = secs(3600);
    assert_eq!(pace(0, hour), secs(5));
    assert_eq!(pace(1000, hour), secs(50));
    assert_eq!(pace(1_000_000, hour), secs(1800));
    assert_eq!(pace(10, secs(4)), secs(5));
}

#[test]
fn a_key_of_tokens_stays_until_no_token_of_it_can_be_valid_whatever_the_operator_says() {
    let signed = |number: u32, longest_token| {
        let mut state = born();
        state.generations[0].longest_token = if number == 1 { longest_token } else { 0 };
        let mut two = record(2);
        two.longest_token = if number == 2 { longest_token } else { 0 };
        let state = state.prepare(two, None, now()).unwrap().publish(now()).unwrap();
        state.activate(secs(60), now()).unwrap().without_absent().unwrap()
    };
    let renewed = fleet(vec![sidecar("orders", true, "2a")]);
    assert_eq!(next(&signed(1, 0), &renewed, now()), Next::Retire, "it signed none");
    let end = now() + secs(301);
    let waits = Next::Wait(vec![Awaited::Tokens(end)]);
    assert_eq!(next(&signed(1, 300), &renewed, now()), waits);
    assert_eq!(next(&signed(1, 300), &renewed, end - secs(1)), waits);
    assert_eq!(next(&signed(1, 300), &renewed, end), Next::Retire);
    // Turned round, it is the tokens of the new generation that are waited for.
    let back = signed(2, 300).abort(secs(60), now() + secs(9)).unwrap();
    let returned = fleet(vec![sidecar("orders", true, "1b")]);
    assert_eq!(
        next(&back, &returned, end),
        Next::Wait(vec![Awaited::Tokens(now() + secs(310))]),
        "counted from when it stopped signing"
    );
    assert_eq!(next(&back, &returned, now() + secs(310)), Next::Retire);
}

#[test]
fn who_reads_the_bundle_from_afar_has_time_to_read_it() {
    let mut all = fleet(vec![sidecar("orders", true, "1b")]);
    all.readers = secs(375);
    let end = now() + secs(376);
    assert_eq!(next(&publishing(), &all, now()), Next::Wait(vec![Awaited::Readers(end)]));
    assert_eq!(next(&publishing(), &all, end), Next::Activate);
    assert_eq!(next(&publishing().without_absent().unwrap(), &all, now()), Next::Activate);
}

fn replica(says: Says) -> Replica {
    Replica { name: "b".to_owned(), connected: 3, says }
}

fn counts(lagging: usize, named: Vec<Connected>) -> Says {
    let group = |acknowledged, count| Group { acknowledged, key_id: "1b".to_owned(), count };
    Says::Counts { groups: vec![group(true, 3 - lagging), group(false, lagging)], named }
}

#[test]
fn sidecars_of_other_replicas_hold_a_change_up_as_ones_own_do() {
    let with = |says| FleetView {
        replicas: vec![replica(says)],
        ..fleet(vec![sidecar("orders", true, "1b")])
    };
    let waits = |says| match next(&publishing(), &with(says), now()) {
        Next::Wait(awaited) => awaited,
        next => panic!("{next:?}"),
    };
    assert_eq!(next(&publishing(), &with(counts(0, vec![])), now()), Next::Activate);
    let web = || Awaited::Sidecar(id("web"), now());
    assert_eq!(waits(counts(1, vec![sidecar("web", false, "1b")])), [web()]);
    let more = Awaited::Others("b".to_owned(), 2);
    assert_eq!(waits(counts(3, vec![sidecar("web", false, "1b")])), [web(), more]);
    // Those that are named and do not lag stand for nobody.
    let more = Awaited::Others("b".to_owned(), 1);
    assert_eq!(waits(counts(1, vec![sidecar("web", true, "1b")])), [more]);
    assert_eq!(waits(Says::Behind), [Awaited::Behind("b".to_owned())]);
    let until = now() + secs(60);
    let silent = [Awaited::Silent("b".to_owned(), until)];
    assert_eq!(waits(Says::Nothing { until }), silent);
    let waived = publishing().without_absent().unwrap();
    let next = next(&waived, &with(Says::Nothing { until }), now());
    assert_eq!(next, Next::Wait(silent.to_vec()), "what is not known is not waived");
}

#[test]
fn a_fleet_is_counted_over_all_replicas() {
    let mut view = fleet(vec![sidecar("orders", true, "1b")]);
    view.replicas = vec![replica(counts(1, vec![])), replica(Says::Behind)];
    assert_eq!((view.size(), view.acknowledged()), (7, 3));
    let awaited = view.lagging(|acknowledged, _| acknowledged);
    assert_eq!(awaited.iter().map(|one| view.weight(one)).sum::<usize>(), 4);
    // Nobody is connected here, but elsewhere: that is not nobody.
    let elsewhere = FleetView { replicas: vec![replica(counts(0, vec![]))], ..fleet(vec![]) };
    assert_eq!(next(&publishing(), &elsewhere, now()), Next::Activate);
}

#[test]
fn a_replica_that_may_be_behind_lets_the_old_root_stay_longer() {
    let state = reissuing();
    let new = |view: FleetView| FleetView { lag: secs(600), ..view };
    let all = || fleet(vec![sidecar("orders", true, "2b")]);
    let end = now() + secs(3601);
    assert_eq!(next(&state, &all(), end), Next::Retire);
    let later = end + secs(600);
    assert_eq!(next(&state, &new(all()), end), Next::Wait(vec![Awaited::Absent(later)]));
    assert_eq!(next(&state, &new(all()), later), Next::Retire);
    let waived = state.without_absent().unwrap();
    assert_eq!(next(&waived, &new(all()), now()), Next::Retire);
    let many = FleetView { more_gone_until: Some(now() + secs(9)), ..all() };
    let absent = vec![Awaited::Absent(now() + secs(9))];
    assert_eq!(next(&publishing(), &many, now()), Next::Wait(absent));
}
