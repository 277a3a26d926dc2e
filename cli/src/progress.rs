//! How far a command that takes its time has come: a bar on standard error, and only where that is a terminal.

use std::borrow::Cow;

use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};

/// A bar that is taken away when it is dropped, so that it is not mixed with what follows.
pub(crate) struct Progress(ProgressBar);

impl Progress {
    /// A bar towards `total`, or a count where nobody knows the end. On anything but a terminal it draws nothing.
    pub(crate) fn new(total: Option<u64>) -> Self {
        let template = match total {
            Some(_) => "{wide_bar} {pos}/{len} {per_sec} {msg}",
            None => "{spinner} {pos} {per_sec} {msg}",
        };
        let bar = ProgressBar::with_draw_target(total, ProgressDrawTarget::stderr());
        Self(bar.with_style(ProgressStyle::with_template(template).expect("both are well formed")))
    }

    /// One that is never drawn: what is printed on the same terminal would run into it.
    pub(crate) fn hidden() -> Self {
        Self(ProgressBar::hidden())
    }

    /// How far it has come.
    pub(crate) fn set(&self, position: u64) {
        self.0.set_position(position);
    }

    /// The text beside it.
    pub(crate) fn say(&self, text: impl Into<Cow<'static, str>>) {
        self.0.set_message(text);
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.0.finish_and_clear();
    }
}
