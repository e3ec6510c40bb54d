//! The grammar of single texts: images, users, paths, labels, environment names, owners. Each says the rule it found
//! broken; none quotes an environment value.

use super::super::check::short;

/// A rule's verdict: the message for the user when it is broken.
type Verdict = Result<(), String>;

/// An image reference (distribution's grammar: `[host[:port]/]path[:tag][@digest]`) or an image id (`sha256:…`).
pub(super) fn image(text: &str) -> Verdict {
    let wrong = |why: &str| Err(format!("'{}' is not an image: {why}", short(text)));
    if let Some(hex) = text.strip_prefix("sha256:") {
        return if is_hex(hex, 64) {
            Ok(())
        } else {
            wrong("an image id is sha256: and 64 hexadecimal digits")
        };
    }
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) => (rest, Some(digest)),
        None => (text, None),
    };
    if let Some(digest) = digest {
        let good = digest
            .split_once(':')
            .is_some_and(|(kind, hex)| is_word(kind, "+._-") && hex.len() >= 32 && is_hex(hex, 0));
        if !good {
            return wrong("a digest is written name@sha256:<64 hexadecimal digits>");
        }
    }
    let (name, tag) = match rest.rsplit_once(':') {
        Some((name, tag)) if !tag.contains('/') => (name, Some(tag)),
        _ => (rest, None),
    };
    if let Some(tag) = tag {
        let good = !tag.is_empty()
            && tag.len() <= 128
            && !tag.starts_with(['.', '-'])
            && is_word(tag, "._-");
        if !good {
            return wrong("a tag is 1 to 128 letters, digits, '_', '.' and '-'");
        }
    }
    let path = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => {
            let label = host.split_once(':').map_or(host, |(label, _)| label);
            if !(is_word(label, ".-") || host.starts_with('[')) {
                return wrong("the registry's host is not one");
            }
            path
        }
        _ => name,
    };
    if path.is_empty() {
        return wrong("it has no name");
    }
    if path.len() > 255 {
        return wrong("its name is longer than 255 characters");
    }
    if path.chars().any(|c| c.is_ascii_uppercase()) {
        return wrong("names of images are lower case");
    }
    if path.chars().any(char::is_whitespace) {
        return wrong("it holds a blank");
    }
    let component = |part: &str| {
        let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
        part.starts_with(edge)
            && part.ends_with(edge)
            && part.chars().all(|c| edge(c) || "._-".contains(c))
            && !part.contains("..")
            && !part.contains("___")
    };
    if path.split('/').all(component) {
        Ok(())
    } else {
        wrong("write [registry/]name[:tag]")
    }
}

fn is_hex(text: &str, length: usize) -> bool {
    (length == 0 || text.len() == length) && text.chars().all(|c| c.is_ascii_hexdigit())
}

fn is_word(text: &str, more: &str) -> bool {
    !text.is_empty()
        && text
            .chars()
            .all(|c| c.is_ascii_alphanumeric() || more.contains(c))
}

/// `uid[:gid]`, or names of the image's.
pub(super) fn user(text: &str) -> Verdict {
    let part = |part: &str| {
        if part.starts_with(|c: char| c.is_ascii_digit()) {
            // runc refuses ids beyond 2^31 − 1.
            part.parse::<u32>().is_ok_and(|id| id <= 0x7fff_ffff)
        } else {
            part.len() <= 32 && !part.starts_with('-') && is_word(part, "_-.")
        }
    };
    let good = match text.split_once(':') {
        Some((user, group)) => part(user) && part(group),
        None => part(text),
    };
    if good {
        Ok(())
    } else {
        Err(format!(
            "'{}' is not a user: write uid, uid:gid, or names that the image knows",
            short(text)
        ))
    }
}

/// An environment variable's name, as Kubernetes takes it.
pub(in crate::agent) fn env_name(name: &str) -> Verdict {
    let good = is_word(name, "_.-") && !name.starts_with(|c: char| c.is_ascii_digit());
    if good {
        Ok(())
    } else {
        Err(format!(
            "'{}' is not a name of an environment variable: letters, digits, '_', '.' and '-', not beginning with a digit",
            short(name)
        ))
    }
}

/// A path in the container.
pub(super) fn container_path(path: &str) -> Verdict {
    let wrong = |why: &str| Err(format!("'{}' {why}", short(path)));
    if !path.starts_with('/') {
        return wrong("is not absolute: a path in the container begins with '/'");
    }
    if path.chars().any(|c| c.is_control() || c == ':') {
        return wrong("holds a ':' or a control character");
    }
    let parts: Vec<&str> = path
        .split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .collect();
    if parts.contains(&"..") {
        return wrong("holds '..'");
    }
    match parts.as_slice() {
        [] => wrong("would cover the whole image: choose a folder below '/'"),
        ["proc" | "sys", ..] | ["dev"] => wrong("belongs to the kernel"),
        _ => Ok(()),
    }
}

/// The same folder written in one way.
pub(super) fn same_path(path: &str) -> String {
    path.split('/')
        .filter(|part| !part.is_empty() && *part != ".")
        .fold(String::new(), |mut whole, part| {
            whole.push('/');
            whole.push_str(part);
            whole
        })
}

/// A named volume, as Docker takes it.
pub(super) fn volume_name(name: &str) -> Verdict {
    let good = name.len() <= 128
        && is_word(name, "_.-")
        && name.starts_with(|c: char| c.is_ascii_alphanumeric());
    if good {
        Ok(())
    } else {
        Err(format!(
            "'{}' is not a volume's name: letters, digits, '_', '.' and '-' (a folder of the host is `host:`)",
            short(name)
        ))
    }
}

/// A label's or annotation's key: `[prefix/]name`, as in Kubernetes.
pub(super) fn label_key(key: &str) -> Verdict {
    let (prefix, name) = match key.split_once('/') {
        Some((prefix, name)) => (Some(prefix), name),
        None => (None, key),
    };
    let edge = |c: char| c.is_ascii_alphanumeric();
    let name_good =
        name.len() <= 63 && is_word(name, "_.-") && name.starts_with(edge) && name.ends_with(edge);
    let prefix_good = prefix.is_none_or(|prefix| {
        prefix.len() <= 253
            && prefix.split('.').all(|label| {
                !label.is_empty()
                    && !label.starts_with('-')
                    && !label.ends_with('-')
                    && label
                        .chars()
                        .all(|c| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-')
            })
    });
    if name_good && prefix_good {
        Ok(())
    } else {
        Err(format!(
            "'{}' is not a label's name: [domain/]name of at most 63 letters, digits, '-', '_' and '.'",
            short(key)
        ))
    }
}

/// A label's value, as in Kubernetes.
pub(super) fn label_value(value: &str) -> Verdict {
    let edge = |c: char| c.is_ascii_alphanumeric();
    let good = value.is_empty()
        || (value.len() <= 63
            && is_word(value, "_.-")
            && value.starts_with(edge)
            && value.ends_with(edge));
    if good {
        Ok(())
    } else {
        Err("a label's value is at most 63 letters, digits, '-', '_' and '.'; longer texts are annotations".to_owned())
    }
}

/// A path that a health check asks for.
pub(super) fn endpoint(path: &str) -> Verdict {
    if !path.starts_with('/') {
        return Err(format!(
            "'{}' is not a path: it begins with '/' (port and host are the agent's own)",
            short(path)
        ));
    }
    if path
        .chars()
        .any(|c| c.is_whitespace() || c.is_control() || c == '#' || !c.is_ascii())
    {
        return Err("holds a blank, a '#' or a character that is not ASCII".to_owned());
    }
    Ok(())
}

/// Who applies a bundle.
///
/// # Errors
/// The rule, as a message for the user.
pub fn owner(name: &str) -> Result<(), String> {
    let edge = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let good = !name.is_empty()
        && name.len() <= 63
        && name.starts_with(edge)
        && name.ends_with(edge)
        && name.chars().all(|c| edge(c) || matches!(c, '-' | '.'));
    if good {
        Ok(())
    } else {
        Err(format!(
            "'{}' is not a bundle's name: 1 to 63 lower-case letters, digits, '-' and '.'",
            short(name)
        ))
    }
}
