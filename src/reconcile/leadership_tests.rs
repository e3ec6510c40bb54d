#![allow(clippy::unwrap_used)]

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use tokio::time::{advance, sleep};

use super::*;
use crate::clock;
use crate::store::Drained;

fn member(server: &str) -> MemberId {
    MemberId {
        server: server.to_owned(),
        run: "1".to_owned(),
    }
}

fn muster(holder: &str, others: &[(&str, &Report)]) -> Muster {
    in_term(1, holder, others)
}

fn in_term(term: u64, holder: &str, others: &[(&str, &Report)]) -> Muster {
    Muster {
        lease: Some(Lease {
            holder: member(holder),
            term,
            remaining: LEASE,
        }),
        others: others
            .iter()
            .map(|(id, report)| (member(id), (*report).clone()))
            .collect(),
    }
}

fn hear(leadership: &Leadership, muster: Muster) {
    leadership.hear(muster, Instant::now(), clock::now());
}

#[tokio::test(start_paused = true)]
async fn a_lease_ends_on_our_clock_before_it_does_in_the_store() {
    let leadership = Leadership::new(member("a"));
    assert_eq!(leadership.role(), Role::Follows, "nothing is known yet");
    hear(&leadership, muster("b", &[]));
    assert_eq!(leadership.role(), Role::Follows);
    let asked = Instant::now();
    advance(Duration::from_secs(1)).await;
    // The answer took a second: the lease counts from before it was asked for.
    leadership.hear(muster("a", &[]), asked, clock::now());
    assert_eq!(leadership.role(), Role::Leads);
    advance(LEASE - MARGIN - Duration::from_secs(1)).await;
    assert_eq!(leadership.role(), Role::Follows);
}

#[tokio::test(start_paused = true)]
async fn law_6_without_the_store_only_a_server_that_was_alone_goes_on_healing() {
    let nothing = Report::default();
    for (others, then) in [
        (&[][..], Role::Heals),
        (&[("b", &nothing)][..], Role::Follows),
    ] {
        let leadership = Leadership::new(member("a"));
        leadership.miss(Instant::now());
        assert_eq!(leadership.role(), Role::Follows, "it never led");
        hear(&leadership, muster("a", others));
        leadership.miss(Instant::now());
        assert_eq!(leadership.role(), Role::Leads, "the lease still holds");
        advance(LEASE).await;
        leadership.miss(Instant::now());
        assert_eq!(leadership.role(), then);
        hear(&leadership, muster("b", others));
        leadership.miss(Instant::now());
        assert_eq!(leadership.role(), Role::Follows, "another one led last");
    }
}

#[tokio::test(start_paused = true)]
async fn law_6_that_the_store_is_away_shows_only_after_the_lease() {
    let leadership = Leadership::new(member("a"));
    hear(&leadership, muster("a", &[]));
    advance(Duration::from_secs(1)).await;
    // This server stands still in the middle of a sign of life, and the world goes on.
    let asked = Instant::now();
    advance(Duration::from_secs(60)).await;
    leadership.miss(asked);
    assert_eq!(
        leadership.role(),
        Role::Follows,
        "another one may lead by now"
    );
    leadership.miss(Instant::now());
    assert_eq!(leadership.role(), Role::Heals);
}

#[tokio::test(start_paused = true)]
async fn work_goes_on_while_the_lease_is_renewed_and_is_dropped_when_it_is_not() {
    let leadership = Arc::new(Leadership::new(member("a")));
    let steps = Arc::new(AtomicU32::new(0));
    let work = |count: u32| {
        let steps = Arc::clone(&steps);
        async move {
            for _ in 0..count {
                sleep(Duration::from_secs(1)).await;
                steps.fetch_add(1, Ordering::Relaxed);
            }
        }
    };
    assert_eq!(
        leadership
            .during(leadership.standing(), true, work(1))
            .await,
        None
    );
    assert_eq!(steps.load(Ordering::Relaxed), 0, "not even begun");

    hear(&leadership, muster("a", &[]));
    let renewing = {
        let leadership = Arc::clone(&leadership);
        async move {
            for _ in 0..10 {
                sleep(Duration::from_secs(1)).await;
                hear(&leadership, muster("a", &[]));
            }
        }
    };
    let renewing = tokio::spawn(renewing);
    assert_eq!(
        leadership
            .during(leadership.standing(), false, work(9))
            .await,
        Some(())
    );
    renewing.await.unwrap();
    steps.store(0, Ordering::Relaxed);
    assert_eq!(
        leadership
            .during(leadership.standing(), false, work(9))
            .await,
        None
    );
    assert_eq!(steps.load(Ordering::Relaxed), 2, "it ended with the lease");

    // Alone and without the store: what heals is done, and nothing else.
    leadership.miss(Instant::now());
    assert_eq!(
        leadership
            .during(leadership.standing(), true, work(9))
            .await,
        Some(())
    );
    assert_eq!(
        leadership
            .during(leadership.standing(), false, work(1))
            .await,
        None
    );
}

#[tokio::test(start_paused = true)]
async fn law_5_a_container_is_idle_elsewhere_only_when_every_server_says_so_of_this_drain() {
    let leadership = Leadership::new(member("a"));
    let container = ContainerId("c".to_owned());
    let since = clock::now().checked_sub(SETTLE).unwrap();
    let says = |since: Timestamp, in_flight| {
        Report([(container.clone(), Drained { since, in_flight })].into())
    };
    let (idle, busy, nothing) = (says(since, 0), says(since, 1), Report::default());
    let earlier = says(since.checked_sub(Duration::from_secs(9)).unwrap(), 0);
    let cases: [(&[(&str, &Report)], bool); 6] = [
        (&[], false),
        (&[("b", &idle)], false),
        (&[("b", &idle), ("c", &busy)], true),
        (&[("b", &idle), ("c", &nothing)], true),
        (&[("b", &earlier)], true),
        (&[("b", &idle), ("c", &idle)], false),
    ];
    assert!(
        leadership.busy_elsewhere(&container, Some(since)),
        "the store was never heard"
    );
    for (others, is_busy) in cases {
        hear(&leadership, muster("a", others));
        assert_eq!(
            leadership.busy_elsewhere(&container, Some(since)),
            is_busy,
            "{others:?}"
        );
    }
    let later = since + Duration::from_millis(1);
    assert!(
        leadership.busy_elsewhere(&container, Some(later)),
        "somebody may have come while it settled"
    );
}

#[tokio::test(start_paused = true)]
async fn an_answer_to_what_was_asked_before_the_last_answer_was_says_nothing() {
    let leadership = Leadership::new(member("a"));
    let asked = Instant::now();
    advance(Duration::from_millis(100)).await;
    hear(&leadership, muster("a", &[("b", &Report::default())]));
    let early = muster("b", &[]);
    assert!(!leadership.hear(early, asked, clock::now()));
    assert!(leadership.role() == Role::Leads && leadership.has_company());
}

#[tokio::test(start_paused = true)]
async fn law_1_what_began_under_one_lease_is_not_done_under_the_next() {
    let leadership = Leadership::new(member("a"));
    let done = async |began, heals| leadership.during(began, heals, async {}).await;
    let nothing_yet = leadership.standing();
    hear(&leadership, muster("a", &[]));
    let first = leadership.standing();
    assert_eq!(done(nothing_yet, true).await, None, "it began as no leader");
    assert_eq!(done(first, false).await, Some(()));
    hear(&leadership, muster("a", &[]));
    assert_eq!(done(first, false).await, Some(()), "it was renewed");
    // Nothing was heard of a leader in between, and yet there may have been one.
    hear(&leadership, in_term(3, "a", &[]));
    let second = leadership.standing();
    assert_eq!(done(first, true).await, None);
    assert_eq!(done(second, false).await, Some(()));
    // What heals goes on by the lease that it once had.
    advance(LEASE).await;
    leadership.miss(Instant::now());
    assert_eq!(done(second, true).await, Some(()));
    assert_eq!(done(first, true).await, None);
}
