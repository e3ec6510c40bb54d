//! Images: which one a name means, fetching one, and keeping one from a prune with a tag of ours.

use std::time::Duration;

use bollard::query_parameters::{RemoveImageOptionsBuilder, TagImageOptionsBuilder};
use futures::StreamExt;
use http::Method;
use serde_json::Value;

use super::pull::Tally;
use super::{CHANGE, DockerRuntime, error, map, query, stream};
use crate::observed::ImageId;
use crate::runtime::{PullTold, Result, RuntimeError};

/// How long a pull may show no progress.
const PULL_SILENCE: Duration = Duration::from_secs(120);
/// As many digits of an image's id as people copy from `docker images`; fewer are taken as a name alone.
const SHORT_ID: usize = 12;

impl DockerRuntime {
    pub(super) async fn find_image(&self, reference: &str) -> Result<Option<ImageId>> {
        let reference = valid("image", reference)?;
        let inspect = match self
            .get("image", &format!("/images/{reference}/json"))
            .await
        {
            Ok(inspect) => inspect,
            Err(RuntimeError::NotFound { .. }) => return Ok(None),
            Err(cause) => return Err(cause),
        };
        let Some(id) = map::text(&inspect, "/Id") else {
            return Ok(None);
        };
        if is_only_the_beginning_of(id, reference) && !has_name(&inspect, reference) {
            return Ok(None);
        }
        Ok(Some(ImageId(id.to_owned())))
    }

    pub(super) async fn pull_image(&self, reference: &str, told: &PullTold<'_>) -> Result<()> {
        let reference = valid("pull", reference)?;
        let (name, tag) = split(reference);
        let path = format!(
            "/images/create?fromImage={}&tag={}",
            query(name),
            query(tag)
        );
        let open = self.transport.open(Method::POST, &path, None::<&Value>);
        let response = self
            .within("pull", PULL_SILENCE, open)
            .await
            .map_err(|cause| explain(reference, cause))?;
        let mut tally = Tally::default();
        let mut lines = std::pin::pin!(stream::lines(response));
        loop {
            match tokio::time::timeout(PULL_SILENCE, lines.next()).await {
                Err(_) => return Err(error::timeout("pull", PULL_SILENCE)),
                Ok(None) => return Ok(()),
                Ok(Some(Err(cause))) => return Err(error::map("pull", &self.address, cause)),
                Ok(Some(Ok(line))) => {
                    if let Some(message) = said_error(&line) {
                        return Err(pull_error(reference, message));
                    }
                    if let Some(progress) = tally.add(&line) {
                        told(progress);
                    }
                }
            }
        }
    }

    pub(super) async fn tag_image(
        &self,
        image: &ImageId,
        repository: &str,
        tag: &str,
    ) -> Result<()> {
        let image = valid("tag", &image.0)?;
        let options = TagImageOptionsBuilder::new()
            .repo(repository)
            .tag(tag)
            .build();
        self.within("tag", CHANGE, self.docker.tag_image(image, Some(options)))
            .await
    }

    pub(super) async fn untag_image(&self, reference: &str) -> Result<()> {
        let reference = valid("untag", reference)?;
        if !reference.contains(':') || reference.starts_with("sha256:") {
            // By its id an image would go with all its names.
            let message = format!("'{reference}' is no name with a tag");
            return Err(error::refused("untag", message));
        }
        let options = RemoveImageOptionsBuilder::new()
            .force(false)
            .noprune(true)
            .build();
        let remove = self.docker.remove_image(reference, Some(options), None);
        match self.within("untag", CHANGE, remove).await {
            Err(RuntimeError::NotFound { .. }) => Ok(()),
            other => other.map(drop),
        }
    }
}

/// What a line of a pull or a build complains of.
pub(super) fn said_error(line: &Value) -> Option<&str> {
    map::text(line, "/errorDetail/message").or_else(|| map::text(line, "/error"))
}

/// Makes sure that a reference may stand in a path of the API (the engine checks the rest of its grammar).
fn valid<'a>(call: &'static str, reference: &'a str) -> Result<&'a str> {
    let allowed = |c: char| c.is_ascii_alphanumeric() || "._-:/@".contains(c);
    let sane = !reference.is_empty()
        && reference.len() <= 512
        && reference.chars().all(allowed)
        && reference
            .split('/')
            .all(|part| !part.is_empty() && !part.starts_with('.'));
    if sane {
        return Ok(reference);
    }
    let shown: String = reference.chars().take(80).collect();
    Err(error::refused(
        call,
        format!("'{shown}' is no image name: write [registry/]name[:tag] or sha256:…"),
    ))
}

/// A reference's name and tag (or digest). Without a tag the engine would fetch all there are.
fn split(reference: &str) -> (&str, &str) {
    if let Some((name, digest)) = reference.split_once('@') {
        return (name, digest);
    }
    match reference.rsplit_once(':') {
        // A colon before a slash belongs to the registry's port.
        Some((name, tag)) if !tag.contains('/') => (name, tag),
        _ => (reference, "latest"),
    }
}

/// The engine also finds images by the first digits of their id: an agent named `feed` must not get such a one.
fn is_only_the_beginning_of(id: &str, reference: &str) -> bool {
    reference.len() < SHORT_ID
        && id
            .strip_prefix("sha256:")
            .is_some_and(|digits| digits.starts_with(reference))
}

fn has_name(inspect: &Value, reference: &str) -> bool {
    let tags = inspect.get("RepoTags").and_then(Value::as_array);
    tags.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .any(|tag| tag == format!("{reference}:latest"))
}

fn explain(reference: &str, cause: RuntimeError) -> RuntimeError {
    match cause {
        RuntimeError::NotFound { message, .. }
        | RuntimeError::Engine { message, .. }
        | RuntimeError::Refused { message, .. } => pull_error(reference, &message),
        other => other,
    }
}

/// Whether the registry says no, or cannot be heard.
fn pull_error(reference: &str, message: &str) -> RuntimeError {
    let said = message.to_ascii_lowercase();
    let says = |words: &str| said.contains(words);
    let image = reference.to_owned();
    let message = message.trim().chars().take(400).collect();
    if says("toomanyrequests") || says("too many requests") || says("rate limit") {
        return RuntimeError::RegistryUnreachable { image, message };
    }
    if says("denied")
        || says("not found")
        || says("manifest unknown")
        || says("does not exist")
        || says("unauthorized")
        || says("no basic auth credentials")
    {
        return RuntimeError::ImageNotFound { image, message };
    }
    if says("invalid reference") || says("no matching manifest") {
        return RuntimeError::Refused {
            call: "pull",
            message,
        };
    }
    RuntimeError::RegistryUnreachable { image, message }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;
    use crate::runtime::RuntimeClass;

    #[test]
    fn a_reference_is_split_where_its_tag_begins() {
        assert_eq!(split("users"), ("users", "latest"));
        assert_eq!(split("users:1.4"), ("users", "1.4"));
        assert_eq!(
            split("localhost:5000/users"),
            ("localhost:5000/users", "latest")
        );
        assert_eq!(split("localhost:5000/u:2"), ("localhost:5000/u", "2"));
        assert_eq!(split("users@sha256:ab"), ("users", "sha256:ab"));
    }

    #[test]
    fn law_7_a_reference_cannot_lead_to_another_part_of_the_api() {
        for wrong in [
            "",
            "../containers/x",
            "a/../b",
            "x?all=1",
            "a b",
            "a//b",
            "ü",
            "x#y",
            "%2e",
        ] {
            assert!(valid("image", wrong).is_err(), "{wrong}");
        }
        assert!(valid("image", "registry.example/a/b_c:1.0-x").is_ok());
    }

    #[test]
    fn a_refusal_of_the_registry_differs_from_its_silence() {
        let denied = pull_error(
            "users",
            "pull access denied for users, repository does not exist or may require 'docker login'",
        );
        assert_eq!(denied.class(), RuntimeClass::NotFound);
        assert!(denied.to_string().contains("docker build"), "{denied}");
        let silent = pull_error(
            "users",
            "Get \"https://registry.example/v2/\": dial tcp: lookup registry.example: no such host",
        );
        assert_eq!(silent.class(), RuntimeClass::Transient);
    }

    #[test]
    fn a_short_name_is_no_beginning_of_an_id() {
        assert!(is_only_the_beginning_of("sha256:feed0123", "feed"));
        assert!(!is_only_the_beginning_of(
            "sha256:feed0123456789",
            "feed01234567"
        ));
        assert!(has_name(
            &serde_json::json!({"RepoTags": ["feed:latest"]}),
            "feed"
        ));
    }
}
