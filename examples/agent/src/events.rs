//! The event-driven pair: a publisher's clock and a subscriber's memory, over Redis' `events:*` channels.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use crate::json::Json;
use crate::redis::{Redis, Reply};

/// The pattern is for `PSUBSCRIBE`: `SUBSCRIBE` would take the star literally and hear nothing.
const PATTERN: &str = "events:*";
const REMEMBERED: usize = 20;

/// What was published or heard so far, and the last of it.
#[derive(Default)]
pub struct Events {
    count: u64,
    /// (channel, data), newest last.
    last: VecDeque<(String, String)>,
    error: Option<String>,
}

pub type Shared = Arc<Mutex<Events>>;

impl Events {
    fn note(&mut self, channel: &str, data: &str) {
        self.count += 1;
        self.error = None;
        if self.last.len() == REMEMBERED {
            self.last.pop_front();
        }
        self.last.push_back((channel.to_owned(), data.to_owned()));
    }

    pub fn to_json(&self) -> Json {
        let event = |(channel, data): &(String, String)| {
            let data = Json::parse(data).unwrap_or_else(|| Json::text(data.as_str()));
            Json::object([("channel", Json::text(channel.as_str())), ("data", data)])
        };
        let mut json = Json::object([
            ("count", Json::number(self.count)),
            ("last", Json::List(self.last.iter().map(event).collect())),
        ]);
        if let Some(error) = &self.error {
            json.push("error", Json::text(error.as_str()));
        }
        json
    }
}

/// Publishes one event; the number is of the subscribers that got it.
pub fn publish(redis: &Redis, events: &Shared, kind: &str, data: &str) -> Result<i64, String> {
    let channel = format!("events:{kind}");
    let reply = redis.command(&["PUBLISH", &channel, data]);
    let Ok(mut events) = events.lock() else {
        return Err("a thread died".to_owned());
    };
    match reply {
        Ok(reply) => {
            events.note(&channel, data);
            Ok(if let Reply::Integer(heard) = reply {
                heard
            } else {
                0
            })
        }
        Err(error) => {
            events.error = Some(error.to_string());
            Err(error.to_string())
        }
    }
}

/// A publisher's clock: one `events:tick` a second, for ever.
pub fn tick(redis: Arc<Redis>, events: Shared, name: String) {
    thread::spawn(move || {
        for n in 1u64.. {
            let data = format!(r#"{{"from": "{name}", "n": {n}}}"#);
            // A failure is kept for people to see; the next second tries again.
            let _ = publish(&redis, &events, "tick", &data);
            thread::sleep(Duration::from_secs(1));
        }
    });
}

/// A subscriber's memory: hears `events:*` for ever, and subscribes anew when Redis was gone.
pub fn subscribe(redis: Arc<Redis>, events: Shared) {
    thread::spawn(move || {
        loop {
            let broke = redis.listen(PATTERN, |channel, data| {
                if let Ok(mut events) = events.lock() {
                    events.note(channel, data);
                }
            });
            if let (Err(error), Ok(mut events)) = (broke, events.lock()) {
                events.error = Some(error.to_string());
            }
            thread::sleep(Duration::from_millis(500));
        }
    });
}
