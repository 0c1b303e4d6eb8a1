//! Places as calls; a connection is a task that leaves when it is asked to, or does not.

use std::sync::Mutex;

use super::*;

/// Places and what their connections tell, in the order in which they came.
struct Hall {
    places: Places,
    taken: Arc<Mutex<Vec<Arc<Place>>>>,
}

impl Hall {
    fn new(most: usize) -> Self {
        let counts = ConnectionCounts::default().of("test");
        Self { places: Places::new(most, Drain::new(), counts), taken: Arc::default() }
    }

    /// A connection that leaves when it is asked to.
    async fn polite(&mut self) -> Arc<Place> {
        self.come(|place| async move { place.leave().begun().await }).await
    }

    /// One that stays.
    async fn rude(&mut self) -> Arc<Place> {
        self.come(|_| std::future::pending()).await
    }

    async fn come<F: Future<Output = ()> + Send + 'static>(
        &mut self,
        one: impl Fn(Arc<Place>) -> F,
    ) -> Arc<Place> {
        let taken = Arc::clone(&self.taken);
        self.places.take(|place| {
            let place = Arc::new(place);
            taken.lock().unwrap().push(Arc::clone(&place));
            one(place)
        });
        tokio::time::advance(Duration::from_millis(10)).await;
        self.taken.lock().unwrap().last().unwrap().clone()
    }

    /// How many are open once all have left that want to.
    async fn open(&mut self) -> usize {
        while tokio::time::timeout(Duration::from_millis(1), self.places.left()).await.is_ok() {}
        let open = self.places.taken.len();
        assert_eq!(self.places.counts.open.get(), i64::try_from(open).unwrap());
        open
    }

    /// How many idle ones were closed, and how many new ones.
    fn closed(&self) -> (u64, u64) {
        (self.places.counts.idle.get(), self.places.counts.new.get())
    }
}

fn stays(place: &Place) -> bool {
    !place.leave().has_begun()
}

#[tokio::test(start_paused = true)]
async fn the_one_that_was_idle_for_longest_makes_room() {
    let mut hall = Hall::new(3);
    let (a, b, c) = (hall.polite().await, hall.polite().await, hall.polite().await);
    a.tell(Usage::Idle(Instant::now()));
    b.tell(Usage::Busy);
    c.tell(Usage::Idle(Instant::now() - Duration::from_millis(5)));
    let d = hall.polite().await;
    assert!(stays(&a) && stays(&b) && !stays(&c) && stays(&d));
    d.tell(Usage::Idle(Instant::now()));
    assert_eq!((hall.open().await, hall.closed()), (3, (1, 0)));
    let e = hall.polite().await;
    assert!(!stays(&a) && stays(&b) && stays(&d) && stays(&e));
    assert_eq!((hall.open().await, hall.closed()), (3, (2, 0)));
}

/// Whoever opens many and says nothing loses those, and not the ones that are in use from time to time.
#[tokio::test(start_paused = true)]
async fn who_says_nothing_goes_first_but_not_at_once() {
    let mut hall = Hall::new(3);
    let used = hall.polite().await;
    used.tell(Usage::Idle(Instant::now()));
    tokio::time::advance(MUTE).await;
    let mute = hall.polite().await;
    tokio::time::advance(MUTE).await;
    let (new, newer) = (hall.polite().await, hall.polite().await);
    assert!(stays(&used) && !stays(&mute) && stays(&new) && stays(&newer));
    // These two are waited for, the other had its time.
    let newest = hall.polite().await;
    assert!(!stays(&used) && stays(&new) && stays(&newer) && stays(&newest));
}

#[tokio::test(start_paused = true)]
async fn a_new_one_is_refused_while_all_are_being_answered() {
    let mut hall = Hall::new(2);
    let (a, b) = (hall.polite().await, hall.polite().await);
    a.tell(Usage::Busy);
    b.tell(Usage::Busy);
    for refused in 1..100 {
        hall.polite().await;
        assert_eq!((hall.open().await, hall.closed()), (2, (0, refused)));
    }
    assert!(stays(&a) && stays(&b));
    a.tell(Usage::Idle(Instant::now()));
    hall.polite().await;
    assert!(!stays(&a) && stays(&b));
    assert_eq!((hall.open().await, hall.closed()), (2, (1, 99)));
}

#[tokio::test(start_paused = true)]
async fn who_does_not_leave_is_cut() {
    let mut hall = Hall::new(10);
    for _ in 0..1000 {
        hall.rude().await;
        assert!(hall.open().await <= 10 + LEAVING);
    }
    assert_eq!(hall.closed(), (990, 0));
}

#[tokio::test(start_paused = true)]
async fn where_there_is_no_file_left_one_is_made_free() {
    let mut hall = Hall::new(10);
    let (a, b) = (hall.polite().await, hall.polite().await);
    hall.places.not_accepted(&io::ErrorKind::ConnectionAborted.into()).await;
    assert!(stays(&a) && stays(&b));
    hall.places.not_accepted(&io::Error::from_raw_os_error(24)).await;
    assert!(!stays(&a) && stays(&b));
    assert_eq!(hall.open().await, 1);
}

#[tokio::test(start_paused = true)]
async fn a_connection_that_panics_gives_its_place_back() {
    let mut hall = Hall::new(2);
    hall.come(|_| async { panic!("on purpose") }).await;
    assert_eq!(hall.open().await, 0);
}

/// A panic or a drain ends no more than it should; what is open is waited for.
#[tokio::test]
async fn a_server_serves_until_it_drains() {
    let (drain, counts) = (Drain::new(), ConnectionCounts::default().of("test"));
    let places = Places::new(2, drain.clone(), counts.clone());
    let listener = "127.0.0.1:0".parse::<super::super::Address>().unwrap().bind().await.unwrap();
    let address = listener.address().unwrap();
    let served = Arc::new(AtomicU64::new(0));
    let seen = Arc::clone(&served);
    let mut tasks = JoinSet::new();
    tasks.spawn(places.serve(listener, move |connection, place| {
        let seen = Arc::clone(&seen);
        async move {
            place.leave().begun().await;
            seen.fetch_add(1, Ordering::SeqCst);
            drop(connection);
        }
    }));
    let mut held = Vec::new();
    for open in 1..=2 {
        held.push(address.connect().await.unwrap());
        while counts.open.get() < open {
            tokio::task::yield_now().await;
        }
    }
    drain.begin();
    tasks.join_next().await.unwrap().unwrap().unwrap();
    assert_eq!((served.load(Ordering::SeqCst), counts.open.get()), (2, 0));
}
