//! Small pieces of text: ages, tables, lists, short ids.

use jiff::Timestamp;

/// How long ago, as kubectl writes it: `5s`, `3m12s`, `47m`, `5h3m`, `2d4h`, `90d`.
pub(super) fn age(since: Timestamp, now: Timestamp) -> String {
    let seconds = now.duration_since(since).as_secs().max(0);
    let (minutes, hours, days) = (seconds / 60, seconds / 3600, seconds / 86_400);
    let two = |large: i64, unit: &str, small: i64, small_unit: &str| {
        if small == 0 {
            format!("{large}{unit}")
        } else {
            format!("{large}{unit}{small}{small_unit}")
        }
    };
    match seconds {
        s if s < 120 => format!("{s}s"),
        s if s < 600 => two(minutes, "m", s % 60, "s"),
        s if s < 3 * 3600 => format!("{minutes}m"),
        s if s < 8 * 3600 => two(hours, "h", minutes % 60, "m"),
        s if s < 48 * 3600 => format!("{hours}h"),
        s if s < 8 * 86_400 => two(days, "d", hours % 24, "h"),
        _ => format!("{days}d"),
    }
}

/// Columns as kubectl sets them: three spaces between, none at the end of a line.
pub(super) fn table(headings: &[&str], rows: &[Vec<String>]) -> String {
    let head: Vec<String> = headings.iter().map(|&heading| heading.to_owned()).collect();
    let widths = widths(std::iter::once(&head).chain(rows));
    let mut out = String::new();
    for row in std::iter::once(&head).chain(rows) {
        out.push_str(&line(row, &widths));
        out.push('\n');
    }
    out
}

/// The width of each column.
pub(super) fn widths<'a>(rows: impl Iterator<Item = &'a Vec<String>>) -> Vec<usize> {
    let mut widths: Vec<usize> = Vec::new();
    for row in rows {
        for (place, cell) in row.iter().enumerate() {
            let width = cell.chars().count();
            match widths.get_mut(place) {
                Some(known) => *known = (*known).max(width),
                None => widths.push(width),
            }
        }
    }
    widths
}

/// One row set to these widths.
pub(super) fn line(row: &[String], widths: &[usize]) -> String {
    let mut line = String::new();
    for (cell, width) in row.iter().zip(widths) {
        let padding = width.saturating_sub(cell.chars().count()).saturating_add(3);
        line.push_str(cell);
        line.extend(std::iter::repeat_n(' ', padding));
    }
    line.trim_end().to_owned()
}

/// Text moved to the right.
pub(super) fn indented(text: &str, by: &str) -> String {
    text.lines()
        .map(|line| format!("{by}{line}"))
        .collect::<Vec<_>>()
        .join("\n")
}

/// The list, or a word for an empty one.
pub(super) fn list_or(items: impl IntoIterator<Item = String>, none: &str) -> String {
    let items: Vec<String> = items.into_iter().collect();
    if items.is_empty() {
        none.to_owned()
    } else {
        items.join(", ")
    }
}

/// A digest or revision short enough for a table: twelve digits without what comes before them. A tag is left whole.
pub(super) fn short(id: &str) -> String {
    let digits = match id.split_once(':') {
        None => id,
        Some(("sha256" | "v1", digits)) => digits,
        Some(_) => return id.to_owned(),
    };
    if digits.len() > 12 && digits.chars().all(|c| c.is_ascii_hexdigit()) {
        digits.chars().take(12).collect()
    } else {
        id.to_owned()
    }
}

/// `1 agent`, `2 agents`.
pub(super) fn count(number: usize, what: &str) -> String {
    let plural = if number == 1 { "" } else { "s" };
    format!("{number} {what}{plural}")
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use super::*;

    #[test]
    fn ages_are_written_as_kubectl_writes_them() {
        let then = Timestamp::UNIX_EPOCH;
        for (seconds, shown) in [
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (192, "3m12s"),
            (2820, "47m"),
            (18_180, "5h3m"),
            (36_000, "10h"),
            (187_200, "2d4h"),
            (7_776_000, "90d"),
        ] {
            let now = then + jiff::SignedDuration::from_secs(seconds);
            assert_eq!(age(then, now), shown, "{seconds}");
        }
        let earlier = then - jiff::SignedDuration::from_secs(5);
        assert_eq!(age(then, earlier), "0s", "a clock that is behind");
    }

    #[test]
    fn columns_are_as_wide_as_their_widest_cell() {
        let rows = vec![
            vec!["a".to_owned(), "long cell".to_owned()],
            vec!["bb".to_owned(), String::new()],
        ];
        assert_eq!(table(&["N", "X"], &rows), "N    X\na    long cell\nbb\n");
    }

    #[test]
    fn digests_are_cut_and_names_are_not() {
        assert_eq!(short("sha256:0123456789abcdef0123"), "0123456789ab");
        assert_eq!(short("v1:0123456789abcdef0123"), "0123456789ab");
        assert_eq!(short("users:1.4"), "users:1.4");
        assert_eq!(short("users:0123456789abcdef"), "users:0123456789abcdef");
    }
}
