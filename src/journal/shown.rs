//! Records as they are shown: by the API, and to who is called back.

use super::{AnswerHead, Callback, Field, Record, RequestJournal, Result};
use crate::callback::Target;
use crate::wire::{CallbackBody, HeaderField, KeptAnswer, ResultBody};

/// What a header field says is hidden when its name has one of these in it.
const SECRETS: [&str; 7] = [
    "auth",
    "cookie",
    "key",
    "token",
    "secret",
    "password",
    "signature",
];

/// A record as whoever may see it does.
pub fn result(record: &Record, answer: Option<KeptAnswer>) -> ResultBody {
    ResultBody {
        id: record.id.to_string(),
        agent: record.agent.clone(),
        status: record.standing.state.word().to_owned(),
        reason: record.reason.clone(),
        attempts: record.standing.attempts,
        admitted: record.admitted,
        settled: record.settled,
        expires: record.until,
        answer,
        callback: record.callback.as_ref().map(callback),
    }
}

/// What the agent answered, with its body where that is text.
///
/// # Errors
/// Those of [`RequestJournal::answer_body`].
pub async fn answer(
    journal: &dyn RequestJournal,
    record: &Record,
    masked: bool,
) -> Result<Option<KeptAnswer>> {
    let Some(head) = &record.answer else {
        return Ok(None);
    };
    let body = journal.answer_body(&record.id).await?;
    let body = body.and_then(|body| String::from_utf8(body.to_vec()).ok());
    Ok(Some(KeptAnswer {
        body,
        ..kept(head, masked)
    }))
}

/// Of the URL its host alone: the rest may be a secret.
fn callback(callback: &Callback) -> CallbackBody {
    let target = Target::read(&callback.url).ok();
    CallbackBody {
        host: target.map_or_else(String::new, |target| target.host().to_owned()),
        status: callback.state.word().to_owned(),
        calls: callback.calls,
        reason: callback.reason.clone(),
    }
}

/// An answer's head.
pub fn kept(head: &AnswerHead, masked: bool) -> KeptAnswer {
    KeptAnswer {
        status: head.status,
        headers: fields(&head.fields, masked),
        whole: head.whole,
        body: None,
    }
}

/// Header fields; those that may be secrets are hidden where that is wanted.
pub fn fields(fields: &[Field], masked: bool) -> Vec<HeaderField> {
    let shown = |field: &Field| {
        let secret = SECRETS.iter().any(|word| field.0.contains(word));
        HeaderField {
            name: field.0.clone(),
            value: match masked && secret {
                true => "***".to_owned(),
                false => field.1.clone(),
            },
        }
    };
    fields.iter().map(shown).collect()
}
