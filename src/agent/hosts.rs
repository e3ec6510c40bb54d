//! Hosts that a spec lists: `example.org`, `*.example.org` (any name below it, not itself), an address.

use std::net::IpAddr;

/// Whether a text is a host, or a pattern of hosts: labels of letters, digits, hyphens and underscores (RFC 1123 §2.1), the first of
/// which may be `*`.
pub fn is_pattern(text: &str) -> bool {
    let name = text.strip_prefix("*.").unwrap_or(text);
    let label = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
    };
    (text == name && address(text).is_some()) || (name.len() <= 253 && name.split('.').all(label))
}

/// Whether a pattern means this host. Case does not matter, nor does a dot at the end.
pub fn covers(pattern: &str, host: &str) -> bool {
    if let Some(given) = address(pattern) {
        return address(host) == Some(given);
    }
    let host = host.trim_end_matches('.').to_ascii_lowercase();
    let pattern = pattern.trim_end_matches('.').to_ascii_lowercase();
    match pattern.strip_prefix("*.") {
        // An address has no names below it.
        Some(parent) => {
            address(&host).is_none()
                && host
                    .strip_suffix(parent)
                    .and_then(|below| below.strip_suffix('.'))
                    .is_some_and(|below| !below.is_empty())
        }
        None => host == pattern,
    }
}

fn address(text: &str) -> Option<IpAddr> {
    text.trim_start_matches('[')
        .trim_end_matches(']')
        .parse()
        .ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_host_is_meant_by_its_name_or_by_what_is_above_it() {
        for (pattern, host, means) in [
            ("example.org", "example.org", true),
            ("example.org", "Example.ORG.", true),
            ("example.org", "a.example.org", false),
            ("example.org", "example.org.evil.net", false),
            ("*.example.org", "a.example.org", true),
            ("*.example.org", "a.b.example.org", true),
            ("*.example.org", "example.org", false),
            ("*.example.org", ".example.org", false),
            ("*.example.org", "evilexample.org", false),
            ("10.0.0.1", "10.0.0.1", true),
            ("*.0.0.1", "10.0.0.1", false),
            ("::1", "[::1]", true),
            ("::1", "[0:0::1]", true),
        ] {
            assert_eq!(covers(pattern, host), means, "{pattern} {host}");
        }
        for good in [
            "example.org",
            "*.example.org",
            "box",
            "10.0.0.1",
            "::1",
            "[::1]",
        ] {
            assert!(is_pattern(good), "{good}");
        }
        for bad in [
            "",
            "*",
            "*.",
            "https://a",
            "a:443",
            "a/b",
            "a..b",
            "a.*.b",
            "*a.b",
            "-a.b",
            "*.::1",
            "a b",
        ] {
            assert!(!is_pattern(bad), "{bad}");
        }
    }
}
