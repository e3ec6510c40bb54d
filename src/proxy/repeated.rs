//! What a client is told that sends a request with a key that is known.

use http::Response;
use http::header::{HeaderName, HeaderValue};

use super::body::ProxyBody;
use super::draft::response;
use super::keep::{Entry, Keeping, Kept};
use super::keyed::Repetition;
use super::manner::Manner;
use super::refusal::Refusal;
use crate::journal::{AnswerHead, JournalError, RecordId};

/// Says that an answer was given before.
const REPLAYED: HeaderName = HeaderName::from_static("idempotency-replayed");

/// What became of the request that has the key.
pub(super) enum Known {
    /// It was answered.
    Answer(AnswerHead, bytes::Bytes),
    /// It is kept, and its client was told so.
    Accepted(Kept),
    /// It is on its way.
    Running(RecordId),
    /// It was answered with more than is kept.
    TooLong(RecordId),
    /// It is another one.
    Other(RecordId),
}

impl Known {
    /// Of the record that has the key; `None` when it does not stand in the way.
    pub(super) async fn of(
        keeping: &Keeping,
        entry: &Entry<'_>,
        id: &RecordId,
        same: bool,
    ) -> Result<Option<Self>, JournalError> {
        let journal = keeping.journal.as_ref();
        let Some(record) = journal.get(id).await? else {
            return Ok(None);
        };
        let body = match &record.answer {
            Some(_) => journal.answer_body(id).await?.unwrap_or_default(),
            None => bytes::Bytes::new(),
        };
        let id = id.clone();
        let repetition = Repetition::of(&record, body.len());
        Ok(Some(match repetition {
            Repetition::Anew => return Ok(None),
            _ if !same => Self::Other(id),
            Repetition::Running => Self::Running(id),
            Repetition::TooLong => Self::TooLong(id),
            Repetition::Answer => match record.answer {
                Some(head) => Self::Answer(head, body),
                None => return Ok(None),
            },
            Repetition::Accepted => match (&entry.keyed, &record.salt) {
                (Some(key), Some(salt)) => Self::Accepted(Kept {
                    location: entry.draft.location(&id, &key.capability(salt))?,
                    state: record.standing.state,
                    id,
                }),
                _ => return Err(JournalError::Corrupt("salt")),
            },
        }))
    }
}

impl Keeping {
    /// The answer to a request whose key is known.
    ///
    /// # Errors
    /// Why it gets none.
    pub(super) fn repeated<'a>(
        &self,
        agent: &'a str,
        known: Known,
        manner: &Manner,
    ) -> Result<Response<ProxyBody>, Refusal<'a>> {
        let mut response = match known {
            Known::Answer(head, body) => response(&head, ProxyBody::ours(body)),
            Known::Accepted(kept) => self.accepted(agent, &kept, manner),
            Known::Running(id) => return Err(Refusal::Repeated(agent, id, Repetition::Running)),
            Known::TooLong(id) => return Err(Refusal::Repeated(agent, id, Repetition::TooLong)),
            Known::Other(id) => return Err(Refusal::Reused { agent, id }),
        };
        let replayed = HeaderValue::from_static("true");
        response.headers_mut().insert(REPLAYED, replayed);
        Ok(response)
    }
}
