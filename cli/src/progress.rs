//! How far an import is, on standard error if that is a terminal.

use std::io::{self, IsTerminal};

use indicatif::{HumanCount, ProgressBar, ProgressStyle};
use worker::Progress;

/// A line that shows how far an import is, or nothing.
pub(crate) struct Bar(Option<ProgressBar>);

impl Bar {
    /// Shown only on a terminal.
    pub(crate) fn new() -> Self {
        if !io::stderr().is_terminal() {
            return Self(None);
        }
        let bar = ProgressBar::no_length();
        let style = ProgressStyle::with_template(
            "{msg} {bar:30} {binary_bytes}/{binary_total_bytes}, {eta}",
        );
        // The template is a constant.
        bar.set_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()));
        Self(Some(bar))
    }

    /// What the worker calls.
    pub(crate) fn report(&self) -> Option<Box<dyn Fn(Progress) + Send>> {
        let bar = self.0.clone()?;
        Some(Box::new(move |it: Progress| {
            match it.total_bytes {
                Some(total) => bar.set_length(total),
                None => bar.unset_length(),
            }
            bar.set_position(it.read_bytes);
            let place = if it.files > 1 {
                format!(" ({} of {})", it.index + 1, it.files)
            } else {
                String::new()
            };
            bar.set_message(format!("{}{place}: {} rows", it.file, HumanCount(it.rows)));
        }))
    }

    /// Wipes the line.
    pub(crate) fn end(&self) {
        if let Some(bar) = &self.0 {
            bar.finish_and_clear();
        }
    }
}
