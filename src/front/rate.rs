//! How many requests a client may make: a bucket for each address, or for each /64 of IPv6, which is what one client has.
//!
//! The buckets are as many as there are, however many addresses come: two clients share one once in a great while.

use std::hash::{BuildHasher as _, RandomState};
use std::net::{IpAddr, Ipv6Addr, SocketAddr};
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use governor::clock::{Clock as _, DefaultClock};
use governor::state::keyed::HashMapStateStore;
use governor::{Quota, RateLimiter};
use http::HeaderMap;

/// Buckets at most; one takes some 50 bytes while its client asks.
const BUCKETS: u64 = 1 << 18;

/// After so many requests those that are full again are forgotten.
const SWEEP: u32 = 4096;

/// How much each client may ask.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ClientRate {
    /// So many…
    pub count: NonZeroU32,
    /// …in so long.
    pub within: Duration,
    /// So many at once, after a pause.
    pub burst: NonZeroU32,
}

/// What all clients asked of late.
#[derive(Debug)]
pub(super) struct Rates {
    buckets: RateLimiter<u64, HashMapStateStore<u64>, DefaultClock>,
    clock: DefaultClock,
    /// Nobody can tell who shares a bucket.
    salt: RandomState,
    asked: AtomicU32,
}

impl Rates {
    pub(super) fn new(rate: ClientRate) -> Self {
        let each = rate.within / rate.count.get();
        let each = each.max(Duration::from_nanos(1));
        let quota = Quota::with_period(each).unwrap_or_else(|| Quota::per_second(rate.count));
        let (quota, clock) = (quota.allow_burst(rate.burst), DefaultClock::default());
        Self {
            buckets: RateLimiter::hashmap_with_clock(quota, clock.clone()),
            clock,
            salt: RandomState::new(),
            asked: AtomicU32::new(0),
        }
    }

    /// Counts a request of a client.
    ///
    /// # Errors
    /// How long it has to wait.
    pub(super) fn count(&self, peer: SocketAddr, headers: &HeaderMap) -> Result<(), Duration> {
        if self.asked.fetch_add(1, Ordering::Relaxed) % SWEEP == SWEEP - 1 {
            self.buckets.retain_recent();
            self.buckets.shrink_to_fit();
        }
        let bucket = self.salt.hash_one(client(peer, headers)) % BUCKETS;
        self.buckets
            .check_key(&bucket)
            .map_err(|until| until.wait_time_from(self.clock.now()))
    }
}

/// Whose request it is: what a terminator on this machine says (the last of `X-Forwarded-For` is what it saw itself), else who
/// connected.
fn client(peer: SocketAddr, headers: &HeaderMap) -> IpAddr {
    let peer = peer.ip().to_canonical();
    let told = || {
        let last = headers.get_all("x-forwarded-for").iter().next_back()?;
        let last = last.to_str().ok()?.rsplit(',').next()?.trim();
        let address = last.parse::<SocketAddr>().map(|address| address.ip());
        let bare = last.trim_start_matches('[').trim_end_matches(']');
        address.or_else(|_| bare.parse()).ok()
    };
    let client = if peer.is_loopback() { told() } else { None };
    match client.map_or(peer, |ip| ip.to_canonical()) {
        IpAddr::V6(ip) if !ip.is_loopback() => {
            let [a, b, c, d, ..] = ip.segments();
            Ipv6Addr::new(a, b, c, d, 0, 0, 0, 0).into()
        }
        ip => ip,
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    fn headers(lines: &[&'static str]) -> HeaderMap {
        let mut map = HeaderMap::new();
        for line in lines {
            map.append("x-forwarded-for", http::HeaderValue::from_static(line));
        }
        map
    }

    #[test]
    fn a_client_is_known_by_its_address() {
        for (peer, lines, expected) in [
            ("10.0.0.9:1", &[][..], "10.0.0.9"),
            ("10.0.0.9:1", &["1.1.1.1"], "10.0.0.9"),
            ("127.0.0.1:1", &[], "127.0.0.1"),
            ("127.0.0.1:1", &["1.1.1.1"], "1.1.1.1"),
            ("127.0.0.1:1", &["9.9.9.9, 1.1.1.1:80"], "1.1.1.1"),
            ("[::1]:1", &["9.9.9.9", "2.2.2.2"], "2.2.2.2"),
            ("127.0.0.1:1", &["unknown"], "127.0.0.1"),
            ("127.0.0.1:1", &["[2001:db8:1:2:3::4]"], "2001:db8:1:2::"),
            ("[2001:db8:1:2:3::4]:1", &[], "2001:db8:1:2::"),
            ("[::ffff:10.0.0.9]:1", &[], "10.0.0.9"),
        ] {
            let found = client(peer.parse().unwrap(), &headers(lines));
            assert_eq!(found.to_string(), expected, "{peer} {lines:?}");
        }
    }

    #[test]
    fn however_many_come_the_buckets_are_bounded_and_full_ones_are_forgotten() {
        let rates = Rates::new(ClientRate {
            count: NonZeroU32::new(1_000_000).unwrap(),
            within: Duration::from_secs(1),
            burst: NonZeroU32::MIN,
        });
        for n in 0..100 * SWEEP {
            let peer = SocketAddr::from((n.to_be_bytes(), 1));
            let _ = rates.count(peer, &HeaderMap::new());
        }
        assert!(
            rates.buckets.len() <= SWEEP as usize * 10,
            "{}",
            rates.buckets.len()
        );
    }
}
