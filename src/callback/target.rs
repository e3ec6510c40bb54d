//! The address that a client wants to be called back at. Pure.

use std::net::IpAddr;

use http::Uri;

use crate::agent::hosts;

/// No address is longer.
const LONGEST: usize = 2048;

/// An https URL whose host an agent's spec lists.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Target {
    /// Its host, an IPv6 address without brackets, a name without a dot at its end.
    host: String,
    port: u16,
    /// `Host` as it is sent.
    authority: String,
    path: String,
}

/// Why nobody is called there. Repeats of the URL its host alone: the rest may be a secret.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum NotAllowed {
    /// Given twice, not text, too long.
    #[error("give one URL of at most {LONGEST} characters")]
    NotOne,
    /// No absolute URL of the scheme `https`.
    #[error("is no https:// URL")]
    NotHttps,
    /// `https://user@host`.
    #[error("must not carry a user or a password")]
    User,
    /// `https://host/#fragment`.
    #[error("must not have a fragment")]
    Fragment,
    /// The spec does not list it.
    #[error("the host '{0}' is not listed in persistence.callbacks.hosts")]
    NotListed(String),
}

impl Target {
    /// Reads a URL, to a host that one of these patterns means.
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn parse(url: &str, listed: &[String]) -> Result<Self, NotAllowed> {
        let target = Self::read(url)?;
        let known = listed
            .iter()
            .any(|pattern| hosts::covers(pattern, &target.host));
        match known {
            true => Ok(target),
            false => Err(NotAllowed::NotListed(target.host)),
        }
    }

    /// Reads a URL whose host was looked for when it was kept.
    ///
    /// # Errors
    /// [`NotAllowed`].
    pub fn read(url: &str) -> Result<Self, NotAllowed> {
        if url.len() > LONGEST {
            return Err(NotAllowed::NotOne);
        }
        // `Uri` takes a fragment away in silence.
        if url.contains('#') {
            return Err(NotAllowed::Fragment);
        }
        let uri: Uri = url.trim().parse().map_err(|_| NotAllowed::NotHttps)?;
        let authority = uri.authority().ok_or(NotAllowed::NotHttps)?;
        if uri.scheme_str() != Some("https") {
            return Err(NotAllowed::NotHttps);
        }
        if authority.as_str().contains('@') {
            return Err(NotAllowed::User);
        }
        let host = authority
            .host()
            .trim_start_matches('[')
            .trim_end_matches(']')
            .trim_end_matches('.')
            .to_ascii_lowercase();
        // A number that is none `Uri` leaves out in silence.
        let behind = authority.as_str().get(authority.host().len()..);
        let port = match behind.unwrap_or_default().trim_start_matches(':') {
            "" => 443,
            port => port.parse().map_err(|_| NotAllowed::NotHttps)?,
        };
        if host.is_empty() || port == 0 {
            return Err(NotAllowed::NotHttps);
        }
        let path = uri.path_and_query().map_or("/", |path| path.as_str());
        let bracketed = match host.parse::<IpAddr>() {
            Ok(IpAddr::V6(_)) => format!("[{host}]"),
            Ok(IpAddr::V4(_)) | Err(_) => host.clone(),
        };
        Ok(Self {
            authority: match port {
                443 => bracketed,
                port => format!("{bracketed}:{port}"),
            },
            path: match path.starts_with('/') {
                true => path.to_owned(),
                false => format!("/{path}"),
            },
            host,
            port,
        })
    }

    /// Its host: all that is shown of it.
    pub fn host(&self) -> &str {
        &self.host
    }

    /// The address that stands in place of a name, if one does.
    pub fn address(&self) -> Option<IpAddr> {
        self.host.parse().ok()
    }

    pub(super) const fn port(&self) -> u16 {
        self.port
    }

    pub(super) fn authority(&self) -> &str {
        &self.authority
    }

    pub(super) fn path(&self) -> &str {
        &self.path
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn law_7_only_https_to_a_listed_host_is_called() {
        let listed = [
            "hooks.example.org".to_owned(),
            "*.example.net".to_owned(),
            "::1".to_owned(),
        ];
        for (url, host, port, authority, path) in [
            (
                "https://hooks.example.org",
                "hooks.example.org",
                443,
                "hooks.example.org",
                "/",
            ),
            (
                "https://HOOKS.example.org.:8443/a?b=c",
                "hooks.example.org",
                8443,
                "hooks.example.org:8443",
                "/a?b=c",
            ),
            (
                "https://a.b.example.net?q",
                "a.b.example.net",
                443,
                "a.b.example.net",
                "/?q",
            ),
            ("https://[::1]:1/x", "::1", 1, "[::1]:1", "/x"),
        ] {
            let target = Target::parse(url, &listed).unwrap();
            let got = (
                target.host(),
                target.port(),
                target.authority(),
                target.path(),
            );
            assert_eq!(got, (host, port, authority, path), "{url}");
        }
        let long = format!("https://hooks.example.org/{}", "a".repeat(LONGEST));
        for (url, why) in [
            ("http://hooks.example.org/", NotAllowed::NotHttps),
            ("hooks.example.org", NotAllowed::NotHttps),
            ("https:///x", NotAllowed::NotHttps),
            ("", NotAllowed::NotHttps),
            ("/x", NotAllowed::NotHttps),
            ("file:///etc/passwd", NotAllowed::NotHttps),
            ("https://hooks.example.org:0/", NotAllowed::NotHttps),
            ("https://hooks.example.org:99999/", NotAllowed::NotHttps),
            ("https://u:p@hooks.example.org/", NotAllowed::User),
            ("https://hooks.example.org@evil.org/", NotAllowed::User),
            ("https://hooks.example.org/#a", NotAllowed::Fragment),
            (&long, NotAllowed::NotOne),
            (
                "https://example.net/",
                NotAllowed::NotListed("example.net".into()),
            ),
            (
                "https://evil.org/hooks.example.org",
                NotAllowed::NotListed("evil.org".into()),
            ),
            (
                "https://127.0.0.1/",
                NotAllowed::NotListed("127.0.0.1".into()),
            ),
        ] {
            assert_eq!(Target::parse(url, &listed), Err(why), "{url}");
        }
        assert!(
            Target::parse("https://hooks.example.org/", &[]).is_err(),
            "deny by default"
        );
    }
}
