//! Progress on standard error: a spinner an agent where a person looks, a line for each change elsewhere.

use std::collections::BTreeMap;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressStyle};

use super::console::{Console, Style};

/// More agents than this get one line in all.
const MOST: usize = 16;
/// The longest text that is drawn, so that a line stays a line.
const WIDEST: usize = 100;

/// What each agent is doing.
pub(super) struct Progress {
    console: Console,
    said: BTreeMap<String, (bool, String)>,
    drawn: Option<Drawn>,
    width: usize,
}

struct Drawn {
    all: MultiProgress,
    each: BTreeMap<String, ProgressBar>,
    sum: Option<ProgressBar>,
}

impl Progress {
    /// For agents of these names.
    pub(super) fn new<'a>(console: Console, names: impl Iterator<Item = &'a str> + Clone) -> Self {
        let drawn = console.live.then(|| {
            let all = MultiProgress::new();
            let few = names.clone().count() <= MOST;
            let sum = (!few).then(|| spinner(&all));
            Drawn {
                all,
                each: BTreeMap::new(),
                sum,
            }
        });
        Self {
            console,
            said: BTreeMap::new(),
            drawn,
            width: names.map(str::len).max().unwrap_or_default(),
        }
    }

    /// What an agent is doing now, and whether it is done.
    pub(super) fn tell(&mut self, name: &str, done: bool, what: &str) {
        let told = (done, what.to_owned());
        if self.said.get(name) == Some(&told) {
            return;
        }
        let width = self.width;
        match &mut self.drawn {
            None => {
                let line = format!("agent/{name:<width$}  {what}");
                let style = if done { Style::Green } else { Style::Dim };
                self.console.note(&self.console.paint_err(style, &line));
            }
            Some(drawn) if drawn.sum.is_none() => {
                let bar = drawn
                    .each
                    .entry(name.to_owned())
                    .or_insert_with(|| spinner(&drawn.all));
                let text = format!("agent/{name:<width$}  {}", cut(what));
                if done {
                    bar.finish_with_message(self.console.paint_err(Style::Green, &text));
                } else {
                    bar.set_message(text);
                }
            }
            Some(_) => {}
        }
        self.said.insert(name.to_owned(), told);
        if let Some(sum) = self.drawn.as_ref().and_then(|drawn| drawn.sum.as_ref()) {
            let finished = self.said.values().filter(|(done, _)| *done).count();
            let next = self.said.iter().find(|(_, (done, _))| !done);
            let next = next.map_or_else(String::new, |(name, (_, what))| {
                cut(&format!("; agent/{name}: {what}"))
            });
            sum.set_message(format!("{finished}/{} done{next}", self.said.len()));
        }
    }

    /// Takes away what was drawn and is not done, so that other text can follow.
    pub(super) fn end(self) {
        if let Some(drawn) = self.drawn {
            for bar in drawn.each.into_values().chain(drawn.sum) {
                if !bar.is_finished() {
                    bar.finish_and_clear();
                }
            }
        }
    }
}

fn spinner(all: &MultiProgress) -> ProgressBar {
    let bar = all.add(ProgressBar::new_spinner());
    if let Ok(style) = ProgressStyle::with_template("{spinner} {wide_msg}") {
        bar.set_style(style.tick_strings(&["⠋", "⠙", "⠹", "⠸", "⠼", "⠴", "⠦", "⠧", "⠇", "⠏", "✓"]));
    }
    bar.enable_steady_tick(Duration::from_millis(100));
    bar
}

fn cut(text: &str) -> String {
    let first = text.lines().next().unwrap_or_default();
    if first.chars().count() > WIDEST {
        let kept: String = first.chars().take(WIDEST).collect();
        format!("{kept}…")
    } else {
        first.to_owned()
    }
}
