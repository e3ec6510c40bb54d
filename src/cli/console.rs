//! Standard output and standard error: colours where a person looks, none in a pipe or with `NO_COLOR`.
//!
//! Output goes through here and not through `println!`, which panics when its reader goes.

use std::io::{self, IsTerminal, Write};

use super::Failure;

/// How a piece of text stands out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Style {
    /// Less important.
    Dim,
    /// More important.
    Bold,
    /// Good.
    Green,
    /// Bad.
    Red,
    /// Odd, or on its way.
    Yellow,
    /// A place.
    Cyan,
}

impl Style {
    fn code(self) -> &'static str {
        match self {
            Self::Dim => "2",
            Self::Bold => "1",
            Self::Green => "32",
            Self::Red => "31",
            Self::Yellow => "33",
            Self::Cyan => "36",
        }
    }
}

/// The two streams of the process.
#[derive(Clone, Copy, Debug)]
pub(super) struct Console {
    colour_out: bool,
    colour_err: bool,
    /// Whether a person looks at standard error, so that progress may be drawn there.
    pub(super) live: bool,
}

impl Console {
    /// As the process was started.
    pub(super) fn new() -> Self {
        let coloured = |choice| choice != anstream::ColorChoice::Never;
        Self {
            colour_out: coloured(anstream::AutoStream::choice(&io::stdout())),
            colour_err: coloured(anstream::AutoStream::choice(&io::stderr())),
            live: io::stderr().is_terminal()
                && super::environment::variable("TERM").is_none_or(|term| term != "dumb"),
        }
    }

    /// Whether standard error takes colours.
    pub(super) fn colours_errors(&self) -> bool {
        self.colour_err
    }

    /// Whether standard output takes colours.
    pub(super) fn colours(&self) -> bool {
        self.colour_out
    }

    /// Text for standard output in a style.
    pub(super) fn paint(&self, style: Style, text: &str) -> String {
        painted(self.colour_out, style, text)
    }

    /// Text for standard error in a style.
    pub(super) fn paint_err(&self, style: Style, text: &str) -> String {
        painted(self.colour_err, style, text)
    }

    /// Writes to standard output as it is.
    pub(super) fn write(&self, bytes: &[u8]) -> Result<(), Failure> {
        let mut out = io::stdout().lock();
        out.write_all(bytes)
            .and_then(|()| out.flush())
            .map_err(Failure::Output)
    }

    /// Writes a line to standard output.
    pub(super) fn line(&self, text: &str) -> Result<(), Failure> {
        self.write(format!("{text}\n").as_bytes())
    }

    /// Writes a line to standard error; that it cannot be written harms nothing.
    pub(super) fn note(&self, text: &str) {
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// Writes a warning to standard error.
    pub(super) fn warn(&self, text: &str) {
        self.note(&format!(
            "{} {text}",
            self.paint_err(Style::Yellow, "warning:")
        ));
    }
}

fn painted(on: bool, style: Style, text: &str) -> String {
    if on && !text.is_empty() {
        format!("\u{1b}[{}m{text}\u{1b}[0m", style.code())
    } else {
        text.to_owned()
    }
}
