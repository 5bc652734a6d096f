//! Progress on stderr, for a person at a terminal; nothing when stderr is a file or a pipe.

use std::io::IsTerminal as _;
use std::time::Duration;

use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget, ProgressStyle};

/// The place on the terminal where all branches show their progress.
#[derive(Debug, Clone)]
pub(crate) struct Board {
    bars: Option<MultiProgress>,
}

impl Board {
    /// A board on stderr; none when nobody looks, or nobody wants to see it.
    pub(crate) fn new(wanted: bool) -> Self {
        let bars = (wanted && std::io::stderr().is_terminal())
            .then(|| MultiProgress::with_draw_target(ProgressDrawTarget::stderr_with_hz(8)));
        Self { bars }
    }

    /// A line for one branch.
    pub(crate) fn branch(&self, name: &str) -> Progress {
        let bar = self.bars.as_ref().map(|bars| {
            let bar = bars.add(ProgressBar::new_spinner());
            bar.set_prefix(name.to_owned());
            bar.set_style(style(PHASE));
            bar.enable_steady_tick(Duration::from_millis(250));
            bar
        });
        Progress { bar }
    }

    /// Runs something that prints, without tearing the bars.
    pub(crate) fn suspended<T>(&self, print: impl FnOnce() -> T) -> T {
        match &self.bars {
            Some(bars) => bars.suspend(print),
            None => print(),
        }
    }
}

const PHASE: &str = "{prefix:>16} {spinner} {msg}";
const BYTES: &str = "{prefix:>16} {spinner} {msg} {bytes}/{total_bytes} {wide_bar} {bytes_per_sec} {eta}";

/// An unusable template would be an error in this file; the default style is good enough then.
fn style(template: &str) -> ProgressStyle {
    ProgressStyle::with_template(template).unwrap_or_else(|_| ProgressStyle::default_bar())
}

/// The progress of one branch.
#[derive(Debug, Clone, Default)]
pub(crate) struct Progress {
    bar: Option<ProgressBar>,
}

impl Progress {
    /// Something without a length goes on.
    pub(crate) fn phase(&self, words: &'static str) {
        if let Some(bar) = &self.bar {
            bar.set_style(style(PHASE));
            bar.set_message(words);
        }
    }

    /// Bytes are about to move.
    pub(crate) fn bytes(&self, words: &'static str, total: u64, at: u64) {
        if let Some(bar) = &self.bar {
            bar.set_style(style(BYTES));
            bar.set_length(total);
            bar.set_position(at);
            bar.reset_eta();
            bar.set_message(words);
        }
    }

    /// So many bytes have moved in all.
    pub(crate) fn at(&self, bytes: u64) {
        if let Some(bar) = &self.bar {
            bar.set_position(bytes);
        }
    }

    /// The branch is done.
    pub(crate) fn finish(&self) {
        if let Some(bar) = &self.bar {
            bar.finish_and_clear();
        }
    }
}
