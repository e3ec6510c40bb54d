//! What is wrong or odd in manifests, each with its place, and how it is shown: rustc's way, or one line each.

use std::fmt;
use std::ops::Range;
use std::sync::Arc;

use annotate_snippets::{AnnotationKind, Group, Level, Renderer, Snippet};

use super::super::{FieldPath, Step};
use super::mask;
use super::tree::Place;

/// The most findings that are shown in full.
const MAX_SHOWN: usize = 100;

/// One thing that is wrong or odd. Its texts never hold an environment value.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// The file as the user named it.
    pub file: String,
    /// The line, from 1; 0: the file as a whole.
    pub line: usize,
    /// The column in characters, from 1.
    pub column: usize,
    /// The field, as `spec.agents[0].replicas`; empty: the document.
    pub path: String,
    /// What is wrong and what would be right.
    pub message: String,
    /// What to write instead.
    pub help: Option<String>,
    /// Whether it harms nothing.
    pub warning: bool,
    /// Where the snippet is from.
    pub(super) snippet: Option<(usize, Place)>,
    /// The text could not be read there, so that values cannot be told from the rest.
    pub(super) broken: bool,
    /// Its document, counted over all sources, and its field there.
    pub(super) field: Option<(usize, FieldPath)>,
    /// What else is wrong with the same field follows from this.
    pub(super) cause: bool,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.place())?;
        let kind = if self.warning { "warning" } else { "error" };
        write!(f, ": {kind}: ")?;
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)?;
        match &self.help {
            Some(help) => write!(f, " ({help})"),
            None => Ok(()),
        }
    }
}

impl Finding {
    /// The message as a sentence of its own: with what it speaks of, where it leaves that to the path.
    fn sentence(&self) -> String {
        let verb = self.message.split(' ').next().unwrap_or_default();
        let verbs = [
            "is", "has", "must", "needs", "holds", "means", "would", "names", "cannot", "with",
        ];
        match &self.field {
            Some((_, path)) if verbs.contains(&verb) && !path.0.is_empty() => {
                let begin = path
                    .0
                    .iter()
                    .rposition(|step| matches!(step, Step::Key(_)))
                    .unwrap_or(0);
                let last = path.0.get(begin..).unwrap_or_default().to_vec();
                format!("{} {}", FieldPath(last), self.message)
            }
            _ => self.message.clone(),
        }
    }

    /// The file, with line and column where they are known.
    fn place(&self) -> String {
        if self.line > 0 {
            format!("{}:{}:{}", self.file, self.line, self.column)
        } else {
            self.file.clone()
        }
    }
}

/// A source's text and where the values in it are.
#[derive(Clone, PartialEq, Eq)]
pub(super) struct SourceText {
    pub(super) text: String,
    pub(super) secrets: Vec<Range<usize>>,
}

/// All findings of one load. `Display` gives one line each, without colours.
#[derive(Clone, Default, PartialEq, Eq, thiserror::Error)]
pub struct Report {
    /// By file, then by place.
    pub findings: Vec<Finding>,
    pub(super) sources: Arc<Vec<SourceText>>,
}

impl fmt::Debug for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_list().entries(&self.findings).finish()
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, finding) in self.findings.iter().enumerate() {
            write!(f, "{}{finding}", if index == 0 { "" } else { "\n" })?;
        }
        Ok(())
    }
}

impl Report {
    /// Whether there is nothing to tell.
    pub fn is_empty(&self) -> bool {
        self.findings.is_empty()
    }

    /// How many errors there are, warnings left out.
    pub fn errors(&self) -> usize {
        self.findings.iter().filter(|it| !it.warning).count()
    }

    /// Every finding with its snippet and a caret, as rustc shows them; the last line counts the errors.
    pub fn render(&self, colors: bool) -> String {
        let renderer = if colors {
            Renderer::styled()
        } else {
            Renderer::plain()
        };
        let mut out = String::new();
        for finding in self.findings.iter().take(MAX_SHOWN) {
            out.push_str(&self.render_one(finding, &renderer));
            out.push_str("\n\n");
        }
        let hidden = self.findings.len().saturating_sub(MAX_SHOWN);
        if hidden > 0 {
            out.push_str(&format!("… and {hidden} more\n\n"));
        }
        match self.errors() {
            0 => {}
            1 => out.push_str("1 error\n"),
            errors => out.push_str(&format!("{errors} errors\n")),
        }
        out
    }

    fn render_one(&self, finding: &Finding, renderer: &Renderer) -> String {
        let level = if finding.warning {
            Level::WARNING
        } else {
            Level::ERROR
        };
        let shown = finding.snippet.and_then(|(source, place)| {
            let source = self.sources.get(source)?;
            Some(if finding.broken {
                mask::line_of_broken(&source.text, place.start)
            } else {
                mask::line(&source.text, &(place.start..place.end), &source.secrets)
            })
        });
        let mut group = Group::with_title(level.primary_title(finding.sentence()));
        let (label, below) = match finding.help.as_deref() {
            Some(help) if help.chars().count() > 72 => (None, Some(help)),
            help => (help, None),
        };
        if let Some(shown) = &shown
            && !shown.text.is_empty()
        {
            let annotation = AnnotationKind::Primary
                .span(shown.caret.clone())
                .label(label);
            group = group.element(
                Snippet::source(shown.text.as_str())
                    .line_start(finding.line)
                    .annotation(annotation),
            );
            if let Some(help) = below {
                group = group.element(Level::HELP.message(help));
            }
        } else if let Some(help) = &finding.help {
            group = group.element(Level::HELP.message(help.as_str()));
        }
        if !finding.path.is_empty() {
            group = group.element(
                Level::NOTE
                    .with_name("field")
                    .message(finding.path.as_str()),
            );
        }
        // The place is written here, since the line that is shown may be shorter than the one in the file.
        let rendered = renderer.render(&[group]);
        let (title, rest) = rendered.split_once('\n').unwrap_or((&rendered, ""));
        let gutter = " ".repeat(finding.line.max(1).ilog10() as usize + 1);
        let place = finding.place();
        let newline = if rest.is_empty() { "" } else { "\n" };
        format!("{title}\n{gutter}--> {place}{newline}{rest}")
    }
}
