//! Icons, drawn with lines. (Shapes after Lucide, ISC licence.)

use dioxus::prelude::*;

#[component]
pub(crate) fn Icon(name: &'static str) -> Element {
    let d = match name {
        "pulse" => "M22 12h-4l-3 9L9 3l-3 9H2",
        "prompt" => "m4 17 6-6-6-6M12 19h8",
        "server" => "M4 3h16v7H4zM4 14h16v7H4zM8 6.5h.01M8 17.5h.01",
        "pause" => "M7 4h3v16H7zM14 4h3v16h-3z",
        "play" => "M6 4l14 8-14 8z",
        "search" => "M11 19a8 8 0 1 0 0-16 8 8 0 0 0 0 16ZM21 21l-4.3-4.3",
        "close" => "M18 6 6 18M6 6l12 12",
        "copy" => "M9 9h12v12H9zM5 15H3V3h12v2",
        "up" => "M12 19V5M5 12l7-7 7 7",
        "warn" => {
            "M12 9v4M12 17h.01M10.3 3.9 1.8 18a2 2 0 0 0 1.7 3h17a2 2 0 0 0 1.7-3L13.7 3.9a2 2 0 0 0-3.4 0Z"
        }
        "table" => "M3 4h18v16H3zM3 10h18M9 4v16",
        "stop" => "M5 5h14v14H5z",
        "left" => "M15 18l-6-6 6-6",
        "right" => "M9 18l6-6-6-6",
        "link" => {
            "M10 13a5 5 0 0 0 7.5.5l3-3a5 5 0 0 0-7-7l-1.7 1.7M14 11a5 5 0 0 0-7.5-.5l-3 3a5 5 0 0 0 7 7l1.7-1.7"
        }
        _ => "M12 12h.01",
    };
    rsx! {
        svg { class: "icon", view_box: "0 0 24 24", "aria-hidden": "true", path { d } }
    }
}
