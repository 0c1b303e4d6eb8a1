//! Worlds with clocks that jump, sleep and disagree, and authorities that fail: what holds in every one of them.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;

use super::*;

const BASE: u64 = 1_790_000_000;
/// The task looks at the clock at least this often.
const TICK: u64 = 2_000;
const MINUTE: u64 = 60_000;
const HOUR: u64 = 60 * MINUTE;

/// Something happens at a moment of real time, in milliseconds.
#[derive(Debug, Clone)]
enum Event {
    /// Our clock is set, by so many milliseconds.
    Jump(i64),
    /// The machine sleeps: real time passes, and nothing is looked at.
    Sleep(u64),
    /// The authority answers from now on, or not.
    Reachable(bool),
    /// The authority's certificates live so long.
    Lifetime(u64),
}

#[derive(Debug, Clone)]
struct World {
    /// How far the authority's clock is from ours at the beginning.
    skew: i64,
    lifetime: u64,
    /// How long an attempt takes.
    cost: u64,
    jitter: f64,
    events: Vec<(u64, Event)>,
    end: u64,
}

fn world() -> impl Strategy<Value = World> {
    let event = prop_oneof![
        (-30 * 24 * HOUR.cast_signed()..30 * 24 * HOUR.cast_signed()).prop_map(Event::Jump),
        (-200_000_i64..200_000).prop_map(Event::Jump),
        (1..8 * HOUR).prop_map(Event::Sleep),
        any::<bool>().prop_map(Event::Reachable),
        prop_oneof![0..3_000_u64, MINUTE..25 * HOUR].prop_map(Event::Lifetime),
    ];
    let lifetime = prop_oneof![0..3_000_u64, MINUTE..2 * HOUR];
    let skew = prop_oneof![Just(0), -3 * HOUR.cast_signed()..3 * HOUR.cast_signed()];
    let events = proptest::collection::vec((0..6 * HOUR, event), 0..8);
    (skew, lifetime, 0..12_000_u64, 0.0..=1.0, events).prop_map(
        |(skew, lifetime, cost, jitter, mut events)| {
            events.sort_by_key(|(at, _)| *at);
            World { skew, lifetime, cost, jitter, events, end: 8 * HOUR }
        },
    )
}

/// A certificate: a number, and its validity in milliseconds of wall time.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Certificate {
    number: u32,
    not_before: i64,
    not_after: i64,
}

/// One attempt: when it began and ended, in real time.
#[derive(Debug)]
struct Attempt {
    began: u64,
    ended: u64,
    /// Our clock was set since the attempt before.
    after_jump: bool,
}

struct Run {
    real: u64,
    offset: i64,
    reachable: bool,
    lifetime: u64,
    plan: Plan<Certificate>,
    attempts: Vec<Attempt>,
    jumped: bool,
    /// Since when an attempt is owed, in real time.
    owed_since: Option<u64>,
    newest: Option<Certificate>,
    issued: u32,
}

fn moment(milliseconds: i64) -> SystemTime {
    let base = SystemTime::UNIX_EPOCH + Duration::from_secs(BASE);
    let by = Duration::from_millis(milliseconds.unsigned_abs());
    if milliseconds < 0 { base - by } else { base + by }
}

impl Run {
    fn wall(&self) -> i64 {
        self.real.cast_signed() + self.offset
    }

    fn now(&self) -> SystemTime {
        moment(self.wall())
    }

    fn apply(&mut self, event: &Event) {
        match event {
            Event::Jump(by) => {
                self.offset += by;
                self.jumped = true;
                self.owed_since = None;
            }
            Event::Sleep(long) => {
                self.real += long;
                self.owed_since = None;
            }
            Event::Reachable(reachable) => self.reachable = *reachable,
            Event::Lifetime(lifetime) => self.lifetime = *lifetime,
        }
    }

    /// What the task does on every turn.
    fn turn(&mut self, world: &World) -> Result<(), TestCaseError> {
        let now = self.now();
        let served = self.plan.servable(now).map(|(held, _)| *held);
        if let Some(served) = served {
            prop_assert!(self.wall() <= served.not_after, "an expired one is served");
        }
        let good = self.newest.filter(|newest| self.wall() <= newest.not_after);
        prop_assert_eq!(served, good, "the newest good one is served, whatever happened since");
        match self.plan.next(now) {
            Next::Attempt => self.attempt(world),
            Next::Wait(wait) => {
                prop_assert!(wait > Duration::ZERO);
                self.check_owed(now)?;
                let wait = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
                self.real += wait.clamp(1, TICK);
            }
        }
        Ok(())
    }

    /// While there is nothing fresh, an attempt is made within the longest back-off and a tick. A clock that was put
    /// right by up to a minute adds that much.
    fn check_owed(&mut self, now: SystemTime) -> Result<(), TestCaseError> {
        let fresh = self
            .plan
            .servable(now)
            .is_some_and(|(_, schedule)| schedule.standing(now) == Standing::Fresh);
        if fresh {
            self.owed_since = None;
            return Ok(());
        }
        let since = *self.owed_since.get_or_insert(self.real);
        prop_assert!(self.real - since <= 2 * MINUTE + TICK, "renewal stopped");
        Ok(())
    }

    fn attempt(&mut self, world: &World) {
        let began = self.real;
        self.real += world.cost;
        let (ended, after_jump) = (self.real, std::mem::take(&mut self.jumped));
        self.attempts.push(Attempt { began, ended, after_jump });
        self.owed_since = None;
        let theirs = self.real.cast_signed() + world.skew;
        let issued = Certificate {
            number: self.issued,
            not_before: theirs - 2 * MINUTE.cast_signed(),
            not_after: theirs + self.lifetime.cast_signed(),
        };
        // As the task: an answer that is not valid by our clock is refused.
        let good = (issued.not_before..=issued.not_after).contains(&self.wall());
        let jitter = Jitter::new(world.jitter);
        if self.reachable && good {
            self.issued += 1;
            let validity = (moment(issued.not_before), moment(issued.not_after));
            let schedule = Schedule::new(validity, self.now(), jitter);
            self.plan.hold(issued, schedule);
            self.newest = Some(issued);
        } else {
            self.plan.failed(self.now(), jitter, Duration::ZERO);
        }
    }
}

fn run(world: &World) -> Result<Run, TestCaseError> {
    let mut run = Run {
        real: 0,
        offset: 0,
        reachable: true,
        lifetime: world.lifetime,
        plan: Plan::new(),
        attempts: Vec::new(),
        jumped: false,
        owed_since: None,
        newest: None,
        issued: 0,
    };
    let mut events = world.events.iter().peekable();
    while run.real < world.end {
        while let Some((_, event)) = events.next_if(|(at, _)| *at <= run.real) {
            run.apply(event);
        }
        run.turn(world)?;
    }
    Ok(run)
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn good_is_kept_expired_is_not_served_renewal_goes_on_and_never_in_a_loop(world in world()) {
        let run = run(&world)?;
        for pair in run.attempts.windows(2) {
            let [before, after] = pair else { unreachable!() };
            let apart = after.began - before.ended;
            prop_assert!(after.after_jump || apart >= 1000, "{before:?} {after:?}");
        }
        prop_assert!(!run.attempts.is_empty());
    }

    #[test]
    fn an_authority_that_is_down_is_asked_ever_less_often(jitter in 0.0..=1.0, cost in 0..12_000_u64) {
        let down = (0, Event::Reachable(false));
        let world = World {
            skew: 0, lifetime: HOUR, cost, jitter, events: vec![down], end: 8 * HOUR,
        };
        let run = run(&world)?;
        // Six attempts until the back-off is full, then one in half a minute to a minute.
        prop_assert!(run.attempts.len() <= 6 + 8 * 120, "{}", run.attempts.len());
        prop_assert!(run.attempts.len() >= 8 * 45, "{}", run.attempts.len());
    }

    #[test]
    fn a_skew_that_the_backdating_covers_does_no_harm(skew in -110_000_i64..110_000, jitter in 0.0..=1.0) {
        let world = World {
            skew, lifetime: HOUR, cost: 100, jitter, events: Vec::new(), end: 8 * HOUR,
        };
        let run = run(&world)?;
        prop_assert!(run.plan.servable(run.now()).is_some());
        // Renewed at about half of each life.
        prop_assert!((12..=20).contains(&run.attempts.len()), "{}", run.attempts.len());
    }

    #[test]
    fn whatever_happened_a_good_authority_heals_it(mut world in world()) {
        // After all that all is well, for longer than the longest back-off.
        let (mut offset, mut at) = (0, 6 * HOUR);
        for (_, event) in &world.events {
            match event {
                Event::Jump(by) => offset += by,
                Event::Sleep(long) => at += long,
                Event::Reachable(_) | Event::Lifetime(_) => {}
            }
        }
        world.events.extend([
            (at, Event::Jump(world.skew - offset)),
            (at, Event::Reachable(true)),
            (at, Event::Lifetime(HOUR)),
        ]);
        world.end = at + 3 * MINUTE;
        let run = run(&world)?;
        prop_assert!(run.plan.servable(run.now()).is_some());
    }
}

#[test]
fn a_clock_that_says_over_and_takes_it_back_changes_nothing() {
    let mut plan = Plan::new();
    let schedule =
        Schedule::new((moment(-120_000), moment(3_600_000)), moment(0), Jitter::new(0.5));
    plan.hold("first", schedule);
    let over = moment(3_600_001);
    assert_eq!(plan.servable(over), None);
    assert_eq!(plan.next(over), Next::Attempt);
    plan.failed(over, Jitter::new(0.5), Duration::ZERO);
    assert_eq!(plan.servable(moment(1000)).map(|(held, _)| *held), Some("first"));
    assert!(matches!(plan.next(moment(1000)), Next::Wait(_)), "fresh again");
    plan.give_up();
    assert_eq!(plan.servable(moment(1000)), None);
    assert_eq!(plan.next(moment(1000)), Next::Attempt);
}
