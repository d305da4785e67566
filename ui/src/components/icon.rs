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
        "down" => "m6 9 6 6 6-6",
        "wide" => "M4 4h16v16H4zM12 8l-4 4 4 4M12 12h8",
        "minus" => "M5 12h14",
        "plus" => "M5 12h14M12 5v14",
        "star" => "m12 3 2.8 5.7 6.2.9-4.5 4.4 1.1 6.2-5.6-2.9-5.6 2.9 1.1-6.2L3 9.6l6.2-.9Z",
        "clock" => "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM12 7v5l3 2",
        "zoom-out" => "M11 19a8 8 0 1 0 0-16 8 8 0 0 0 0 16ZM21 21l-4.3-4.3M8 11h6",
        "columns" => "M3 4h18v16H3zM9 4v16M15 4v16",
        "sun" => {
            "M12 16a4 4 0 1 0 0-8 4 4 0 0 0 0 8ZM12 2v2M12 20v2M4.9 4.9l1.4 1.4M17.7 17.7l1.4 1.4M2 12h2M20 12h2M4.9 19.1l1.4-1.4M17.7 6.3l1.4-1.4"
        }
        "help" => {
            "M12 21a9 9 0 1 0 0-18 9 9 0 0 0 0 18ZM9.1 9a3 3 0 0 1 5.8 1c0 2-3 2-3 4M12 17h.01"
        }
        "chart" => "M3 3v18h18M7 15l4-5 3 3 5-7",
        "grid" => "M3 3h7v7H3zM14 3h7v7h-7zM14 14h7v7h-7zM3 14h7v7H3z",
        "map" => {
            "M5 8a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM19 14a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM6 22a3 3 0 1 0 0-6 3 3 0 0 0 0 6ZM8 6l8 4M9 18l7.5-5.5M5 8l.7 8"
        }
        "download" => "M12 3v13M6 11l6 6 6-6M4 21h16",
        "edit" => "M4 20h4L20 8l-4-4L4 16z",
        "down-line" => "M12 5v14M5 12l7 7 7-7",
        "refresh" => "M20 12a8 8 0 1 1-2.3-5.7L20 8M20 3v5h-5",
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
