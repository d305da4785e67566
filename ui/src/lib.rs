//! The page: traffic as it happens, SQL over it, and the Workers it comes from.
//!
//! It holds no list of protocols. Tables, columns, their docs and kinds come from the Hub, and the
//! [`Kind`](api::Kind) of a column decides how its values look. Everything that needs a browser lies in one module;
//! the rest builds and is tested as ordinary Rust.

#![allow(unused_qualifications, reason = "`rsx!` writes them for every listener")]

mod browser;
mod client;
mod components;
mod filter;
#[cfg(test)]
mod fixture;
mod pages;
mod ring;
mod state;
mod tail;
mod value;

use dioxus::prelude::*;

use client::Session;
use components::{icon::Icon, token::Token};
use pages::{missing::Missing, sql::Sql, traffic::Traffic, workers::Workers};
use state::{Catalog, Pulse};
use tail::Live;

/// Every address of the page. A link reproduces what is seen.
#[derive(Clone, Debug, PartialEq, Routable)]
#[rustfmt::skip]
pub(crate) enum Route {
    #[layout(Shell)]
        #[route("/?:filter&:row")]
        Traffic { filter: String, row: String },
        #[route("/sql?:q")]
        Sql { q: String },
        #[route("/workers")]
        Workers {},
        #[route("/:..path")]
        Missing { path: Vec<String> },
}

impl Route {
    pub(crate) fn traffic(filter: &str) -> Self {
        Self::Traffic { filter: filter.to_owned(), row: String::new() }
    }
}

/// The whole page.
#[component]
pub fn App() -> Element {
    let session = Session::provide();
    Catalog::provide(session);
    Pulse::provide(session);
    Live::provide(session);
    rsx! {
        Router::<Route> {}
    }
}

#[component]
fn Shell() -> Element {
    let session = use_context::<Session>();
    let live = use_context::<Live>();
    let here = use_route::<Route>();
    let on = |is_here| if is_here { "on" } else { "" };
    rsx! {
        header { class: "top",
            span { class: "brand",
                svg { class: "mark", view_box: "0 0 32 32", "aria-hidden": "true",
                    path { d: "M5 23c6 0 9-4 10-14 2 4 5 7 8 8-1 2-1 4 0 6z" }
                    path { class: "sea", d: "M4 27h24" }
                }
                "Kubeshark"
            }
            nav { "aria-label": "views",
                Link { to: Route::traffic(&live.filter()), class: on(matches!(here, Route::Traffic { .. })), Icon { name: "pulse" } "Traffic" }
                Link { to: Route::Sql { q: String::new() }, class: on(matches!(here, Route::Sql { .. })), Icon { name: "prompt" } "SQL" }
                Link { to: Route::Workers {}, class: on(matches!(here, Route::Workers {})), Icon { name: "server" } "Workers" }
            }
            Fleet {}
        }
        main { Outlet::<Route> {} }
        if session.is_wanted() {
            Token { session }
        }
    }
}

/// How the Hub and its Workers do, in a few words.
#[component]
fn Fleet() -> Element {
    let pulse = use_context::<Pulse>();
    let (class, text) = match &*pulse.health.read() {
        None => ("chip", "connecting".to_owned()),
        Some(Err(_)) => ("chip bad", "Hub not reached".to_owned()),
        Some(Ok(health)) => {
            let connected = health.workers_connected;
            let mut text = match connected {
                0 => "no Worker".to_owned(),
                1 => "1 Worker".to_owned(),
                n => format!("{n} Workers"),
            };
            if health.workers_gone > 0 {
                text.push_str(&format!(", {} gone", health.workers_gone));
            }
            let class = match (connected, health.workers_gone, health.workers_capturing) {
                (0, _, _) => "chip bad",
                (_, 0, 1..) => "chip good",
                _ => "chip warn",
            };
            (class, text)
        }
    };
    rsx! {
        Link { to: Route::Workers {}, class, span { class: "dot" } "{text}" }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(path: &str) -> String {
        #[component]
        fn At(path: String) -> Element {
            use_hook(|| {
                let history = dioxus::history::MemoryHistory::with_initial_path(path);
                dioxus::history::provide_history_context(std::rc::Rc::new(history));
            });
            rsx! { App {} }
        }
        let mut dom = VirtualDom::new_with_props(At, AtProps { path: path.to_owned() });
        dom.rebuild_in_place();
        dioxus_ssr::render(&dom)
    }

    #[test]
    fn every_address_has_its_page() {
        let html = page("/?filter=status%20%3E%3D%20500&row=");
        assert!(html.contains("status &#62;= 500") || html.contains("status >= 500"), "{html}");
        assert!(html.contains("data-testid=\"pause\""), "{html}");
        assert!(page("/sql?q=select%201").contains("data-testid=\"sql-editor\""));
        assert!(page("/workers").contains("data-testid=\"workers\""));
        assert!(page("/nowhere").contains("There is no page"));
    }
}
