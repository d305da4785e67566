//! The browser, where there is a screen for one.

use clap::Args;

/// Whether and where a browser can be opened.
#[derive(Debug, Clone, Args)]
pub(crate) struct Screen {
    /// Don't open the browser.
    #[arg(long)]
    no_browser: bool,
    /// Set where there is a screen for a browser.
    #[arg(long, env = "DISPLAY", hide = true)]
    display: Option<String>,
    /// The same, of newer desktops.
    #[arg(long, env = "WAYLAND_DISPLAY", hide = true)]
    wayland_display: Option<String>,
}

impl Screen {
    /// Opens the browser there, if it can be.
    pub(crate) fn show(&self, url: &str) {
        let screen =
            [&self.display, &self.wayland_display].into_iter().flatten().any(|it| !it.is_empty());
        if screen
            && !self.no_browser
            && let Err(why) = open::that_detached(url)
        {
            tracing::info!(%why, "no browser opened");
        }
    }
}
