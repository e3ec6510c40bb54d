//! Calls to who wants to be told how a kept request ended: made by whichever server has taken one from the journal, again with a
//! back-off until it is heard, and at least once.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderName, HeaderValue};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::attempt::{ATTEMPT, REQUEST_ID};
use crate::callback::{CallError, Caller, SIGNATURE, Target, Verdict, judge, signature};
use crate::clock;
use crate::journal::shown;
use crate::journal::{Call, CallEnd, CallbackJournal, News, Record, RequestJournal};
use crate::telemetry::figures::CallFigures;

/// Whoever takes a call has it for so long; more than a call can take.
const LEASE: Duration = Duration::from_secs(60);
/// How often the journal is looked at without being told.
const RESYNC: Duration = Duration::from_secs(5);
/// So many at once.
const MOST: usize = 16;
/// Between two tries to tell the journal how a call ended, and how often that is tried.
const TOLD_AGAIN: (Duration, u32) = (Duration::from_millis(500), 60);

/// What calls are made with.
#[derive(Clone)]
pub struct Calling {
    /// Where they wait.
    pub calls: Arc<dyn CallbackJournal>,
    /// Where the records' answers are.
    pub journal: Arc<dyn RequestJournal>,
    /// Who tells that one is due.
    pub news: Arc<News>,
    /// Makes them.
    pub caller: Caller,
    /// The key of an agent's callbacks.
    pub key: Arc<dyn Fn(&str) -> String + Send + Sync>,
    /// Counts them.
    pub figures: Arc<CallFigures>,
}

impl std::fmt::Debug for Calling {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Calling").finish_non_exhaustive()
    }
}

impl Calling {
    /// Calls until `shutdown`; what is on its way then is finished.
    pub async fn run(self, shutdown: CancellationToken) {
        let mut running = JoinSet::new();
        while !shutdown.is_cancelled() {
            while running.try_join_next().is_some() {}
            let room = MOST.saturating_sub(running.len());
            let mut next = RESYNC;
            match self.calls.calls(room as u64, LEASE).await {
                Ok(taken) => {
                    next = taken.next.map_or(RESYNC, |next| next.min(RESYNC));
                    for call in taken.calls {
                        running.spawn(self.clone().carry_out(call));
                    }
                }
                Err(error) => tracing::debug!(%error, "no callback can be taken from the journal"),
            }
            // With no room for another only an end is waited for.
            let due = tokio::time::sleep(match running.len() < MOST {
                true => next,
                false => RESYNC,
            });
            tokio::select! {
                biased;
                () = shutdown.cancelled() => {}
                () = self.news.calls(), if running.len() < MOST => {}
                Some(_) = running.join_next() => {}
                () = due => {}
            }
        }
        while running.join_next().await.is_some() {}
    }

    async fn carry_out(self, call: Call) {
        let record = &call.record;
        let Some(callback) = &record.callback else {
            return;
        };
        let (host, ended) = match Target::read(&callback.url) {
            Ok(target) => {
                let ended = match self.message(record).await {
                    Ok((headers, body)) => self.caller.post(&target, headers, body).await,
                    Err(error) => {
                        // It is due again when the lease is over.
                        tracing::debug!(%error, request = %record.id, "a callback's answer cannot be read");
                        return;
                    }
                };
                (target.host().to_owned(), ended)
            }
            Err(_) => (String::new(), Err(CallError::Url)),
        };
        let verdict = judge(&ended, callback.calls);
        let reason = words(&ended);
        self.figures.count(match verdict {
            Verdict::Done => 0,
            Verdict::Again(_) => 1,
            Verdict::GivenUp => 2,
        });
        match verdict {
            Verdict::Done | Verdict::Again(_) => {
                tracing::debug!(request = %record.id, agent = record.agent, host, ?verdict, reason, "called back");
            }
            Verdict::GivenUp => {
                tracing::warn!(request = %record.id, agent = record.agent, host, reason, "a callback is given up");
            }
        }
        let end = match verdict {
            Verdict::Done => CallEnd::Done,
            Verdict::Again(after) => CallEnd::Again(after),
            Verdict::GivenUp => CallEnd::GivenUp,
        };
        let (pause, times) = TOLD_AGAIN;
        for _ in 0..times {
            let told = self
                .calls
                .called(&record.id, call.token, end.clone(), &reason)
                .await;
            match told {
                Ok(_) => return,
                Err(error) => {
                    tracing::debug!(%error, request = %record.id, "the journal does not hear how a callback ended");
                    tokio::time::sleep(pause).await;
                }
            }
        }
    }

    /// What is sent: the record as its result's page shows it, signed.
    async fn message(&self, record: &Record) -> crate::journal::Result<(HeaderMap, Bytes)> {
        let answer = shown::answer(self.journal.as_ref(), record, false).await?;
        let mut result = shown::result(record, answer);
        // How far the telling is, is nothing that is told.
        result.callback = None;
        let body = serde_json::to_vec(&result).unwrap_or_default();
        let key = (self.key)(&record.agent);
        let id = record.id.as_str();
        let signed = signature(&key, clock::now().as_second(), id, &body);
        let calls = record
            .callback
            .as_ref()
            .map_or(1, |callback| callback.calls);
        let mut headers = HeaderMap::new();
        headers.insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        let mut set = |name: HeaderName, value: String| {
            if let Ok(value) = HeaderValue::from_str(&value) {
                headers.insert(name, value);
            }
        };
        set(REQUEST_ID, id.to_owned());
        set(ATTEMPT, calls.to_string());
        set(SIGNATURE, signed);
        Ok((headers, Bytes::from(body)))
    }
}

/// How a call ended, for people. Never a word of what the other side said.
fn words(ended: &Result<u16, CallError>) -> String {
    match ended {
        Ok(status) => format!("it answered with {status}"),
        Err(error) => match std::error::Error::source(error) {
            Some(source) => format!("{error}: {source}"),
            None => error.to_string(),
        },
    }
}
