//! The engine's refusals as our errors, each with its class.
//!
//! The engine's words are kept, since people search for them; whoever sends secrets has them [`scrubbed`] first.

use std::time::Duration;

use bollard::errors::Error;

use crate::agent::redact::Secrets;
use crate::runtime::RuntimeError;

/// The longest of the engine's messages that we repeat, in characters.
const LONGEST: usize = 600;

/// Maps an error of bollard or of our transport, about a request that carries no secret.
pub(super) fn map(call: &'static str, address: &str, error: Error) -> RuntimeError {
    scrubbed(whole(call, address, error), &Secrets::default())
}

/// The same with all of the engine's words, to be [`scrubbed`].
pub(super) fn whole(call: &'static str, address: &str, error: Error) -> RuntimeError {
    match error {
        Error::DockerResponseServerError {
            status_code,
            message,
        } => from_status(call, status_code, &message),
        Error::DockerStreamError { error } => RuntimeError::Engine {
            call,
            message: error,
        },
        Error::RequestTimeoutError => timeout(call, Duration::ZERO),
        Error::JsonDataError { message, .. } => RuntimeError::Engine {
            call,
            message: format!("its answer cannot be read: {message}"),
        },
        Error::JsonSerdeError { err } => RuntimeError::Engine {
            call,
            message: format!("its answer cannot be read: {err}"),
        },
        other => RuntimeError::Unreachable {
            address: address.to_owned(),
            source: Box::new(other),
        },
    }
}

/// The deadline of a call passed.
pub(super) fn timeout(call: &'static str, deadline: Duration) -> RuntimeError {
    RuntimeError::Timeout {
        call,
        seconds: deadline.as_secs(),
    }
}

/// What is wrong with the request itself.
pub(super) fn refused(call: &'static str, message: impl Into<String>) -> RuntimeError {
    RuntimeError::Refused {
        call,
        message: message.into(),
    }
}

/// The engine's status codes do not always say what they mean: an address in use is a 500, so is a subnet that
/// overlaps (403 in 20.10), so words decide where they are known.
fn from_status(call: &'static str, status: u16, text: &str) -> RuntimeError {
    let message = text.to_owned();
    let says = |words: &str| text.to_ascii_lowercase().contains(words);
    if says("address already in use")
        || says("pool overlaps")
        || says("already exists")
        || says("has active endpoints")
        || says("is ambiguous")
        || says("removal of container") && says("in progress")
        // Not the container is missing, but what it was to be on.
        || call == "start" && says("network") && says("not found")
    {
        return RuntimeError::Conflict { call, message };
    }
    if says("user specified ip address is supported only")
        || says("no configured subnet or ip range contain the ip address")
        || says("executable file not found")
        || says("exec format error")
        || says("oci runtime") && (says("no such file or directory") || says("permission denied"))
    {
        return RuntimeError::Refused { call, message };
    }
    match status {
        404 => RuntimeError::NotFound { call, message },
        409 => RuntimeError::Conflict { call, message },
        408 | 429 | 500.. => RuntimeError::Engine { call, message },
        _ => RuntimeError::Refused { call, message },
    }
}

/// An error whose engine's words repeat no secret, and are not too many. Half a secret would not be known for one, so they
/// are cut last.
pub(super) fn scrubbed(mut error: RuntimeError, secrets: &Secrets) -> RuntimeError {
    if let RuntimeError::Conflict { message, .. }
    | RuntimeError::NotFound { message, .. }
    | RuntimeError::Refused { message, .. }
    | RuntimeError::Engine { message, .. } = &mut error
    {
        *message = cut(&secrets.mask(message));
    }
    error
}

fn cut(text: &str) -> String {
    text.trim().chars().take(LONGEST).collect()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::runtime::RuntimeClass;

    fn class(status: u16, message: &str) -> RuntimeClass {
        from_status("start", status, message).class()
    }

    #[test]
    fn statuses_and_known_words_have_their_class() {
        assert_eq!(class(404, "No such container: x"), RuntimeClass::NotFound);
        assert_eq!(
            class(409, "The container name \"/x\" is already in use"),
            RuntimeClass::Conflict
        );
        assert_eq!(class(500, "Address already in use"), RuntimeClass::Conflict);
        assert_eq!(
            class(403, "Pool overlaps with other one on this address space"),
            RuntimeClass::Conflict
        );
        assert_eq!(
            class(400, "invalid reference format"),
            RuntimeClass::Terminal
        );
        assert_eq!(class(500, "something broke"), RuntimeClass::Transient);
    }

    #[test]
    fn law_7_values_of_the_environment_are_not_repeated() {
        let error = scrubbed(
            refused("create", "invalid environment variable: =hunter2"),
            &Secrets::whole(&BTreeMap::from([("PASSWORD", "hunter2"), ("A", "a")])),
        );
        let text = error.to_string();
        assert!(!text.contains("hunter2"), "{text}");
        assert!(text.contains("invalid environment variable"), "{text}");
    }

    #[test]
    fn law_7_a_secret_where_long_words_are_cut_is_not_repeated_in_part() {
        let secret = "hunter2-and-much-more";
        let secrets = Secrets::whole(&BTreeMap::from([("PASSWORD", secret)]));
        for before in LONGEST - secret.len()..LONGEST {
            let said = Error::DockerResponseServerError {
                status_code: 400,
                message: format!("{}{secret} and so on", "x".repeat(before)),
            };
            let text = scrubbed(whole("create", "here", said), &secrets).to_string();
            assert!(!text.contains("hun"), "{text}");
            assert!(text.len() < LONGEST + 100, "{text}");
        }
    }
}
