//! The page: traffic as it happens, SQL over it, and the Workers it comes from.
//!
//! It holds no list of protocols. Tables, columns, their docs and kinds come from the Hub, and the
//! [`Kind`](api::Kind) of a column decides how its values look. Everything that needs a browser lies in one module;
//! the rest builds and is tested as ordinary Rust.

#![allow(unused_qualifications, reason = "`rsx!` writes them for every listener")]

mod address;
mod browser;
mod client;
mod columns;
mod compare;
mod components;
mod dashboard;
mod decode;
mod filter;
#[cfg(test)]
mod fixture;
mod graph;
mod heat;
mod histogram;
mod pages;
mod parallel;
mod plot;
mod range;
mod ring;
mod saved;
mod scale;
mod settings;
mod state;
mod tail;
mod talk;
mod value;

use dioxus::prelude::*;

use address::Param;
use client::Session;
use components::{icon::Icon, token::Token};
use pages::{
    dashboards::Dashboards,
    map::Map,
    missing::Missing,
    sql::Sql,
    traffic::{Traffic, View},
    workers::Workers,
};
use range::Range;
use settings::{Settings, ZONES};
use state::{Catalog, Pulse};
use tail::Live;

/// Every address of the page. A link reproduces what is seen.
#[derive(Clone, Debug, PartialEq, Routable)]
#[rustfmt::skip]
pub(crate) enum Route {
    #[layout(Shell)]
        #[route("/?:filter&:from&:to&:row&:columns&:sort&:picked&:compare")]
        Traffic { filter: Param, from: Param, to: Param, row: Param, columns: Param, sort: Param, picked: Param, compare: Param },
        #[route("/sql?:q&:view")]
        Sql { q: Param, view: Param },
        #[route("/dashboards?:name&:from&:to&:vars&:every")]
        Dashboards { name: Param, from: Param, to: Param, vars: Param, every: Param },
        #[route("/map?:filter&:from&:to&:group")]
        Map { filter: Param, from: Param, to: Param, group: Param },
        #[route("/workers")]
        Workers {},
        #[route("/:..path")]
        Missing { path: Vec<String> },
}

impl Route {
    pub(crate) fn traffic(filter: &str, range: &Range) -> Self {
        View { filter: filter.to_owned(), range: range.clone(), ..View::default() }.route()
    }

    pub(crate) fn map(filter: &str, range: &Range) -> Self {
        Self::Map {
            filter: filter.into(),
            from: range.from.as_str().into(),
            to: range.to.as_str().into(),
            group: Param::default(),
        }
    }

    pub(crate) fn dashboard(name: &str) -> Self {
        let none = Param::default;
        Self::Dashboards {
            name: name.into(),
            from: none(),
            to: none(),
            vars: none(),
            every: none(),
        }
    }

    pub(crate) fn sql(q: &str) -> Self {
        Self::Sql { q: q.into(), view: Param::default() }
    }
}

/// The whole page.
#[component]
pub fn App() -> Element {
    let session = Session::provide();
    Settings::provide();
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
            h1 { class: "brand",
                svg { class: "mark", view_box: "0 0 32 32", "aria-hidden": "true",
                    path { d: "M5 23c6 0 9-4 10-14 2 4 5 7 8 8-1 2-1 4 0 6z" }
                    path { class: "sea", d: "M4 27h24" }
                }
                "Kubeshark"
            }
            nav { "aria-label": "views",
                Link { to: Route::traffic(&live.filter(), &live.range()), class: on(matches!(here, Route::Traffic { .. })), Icon { name: "pulse" } "Traffic" }
                Link { to: Route::map(&live.filter(), &live.range()), class: on(matches!(here, Route::Map { .. })), Icon { name: "map" } "Map" }
                Link { to: Route::dashboard(""), class: on(matches!(here, Route::Dashboards { .. })), Icon { name: "grid" } "Dashboards" }
                Link { to: Route::sql(""), class: on(matches!(here, Route::Sql { .. })), Icon { name: "prompt" } "SQL" }
                Link { to: Route::Workers {}, class: on(matches!(here, Route::Workers {})), Icon { name: "server" } "Workers" }
            }
            Fleet {}
            Choices {}
        }
        main { Outlet::<Route> {} }
        if session.is_wanted() {
            Token { session }
        }
    }
}

/// Light or dark, and whose clock.
#[component]
fn Choices() -> Element {
    let settings = use_context::<Settings>();
    let zone = settings.zone.read().clone();
    let theme = settings.theme.read().clone();
    let (next, said) = match theme.as_str() {
        "" => ("light", "as the system"),
        "light" => ("dark", "light"),
        _ => ("", "dark"),
    };
    rsx! {
        span { class: "choices",
            select { "aria-label": "time zone", title: "whose clock times are told by", "data-testid": "zone", onchange: move |event| settings.set_zone(&event.value()),
                option { value: "", selected: zone.is_empty(), "local time" }
                for it in ZONES {
                    option { value: it, selected: zone == it, "{it}" }
                }
            }
            button { class: "bare", r#type: "button", "data-testid": "theme", title: "colours: {said}", "aria-label": "colours: {said}", onclick: move |_| settings.set_theme(next), Icon { name: "sun" } }
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
            let stale = health.cluster.as_ref().is_some_and(|it| it.stale_since_ms.is_some());
            if stale {
                text.push_str(", names may be stale");
            }
            let class = match (connected, health.workers_gone, health.workers_capturing) {
                (0, _, _) => "chip bad",
                (_, 0, 1..) if !stale => "chip good",
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
        assert!(
            page("/dashboards?name=DNS%20health").contains("selected=true>DNS health"),
            "{}",
            page("/dashboards?name=DNS%20health")
        );
        assert!(page("/map").contains("Asking who calls whom"));
        assert!(page("/workers").contains("data-testid=\"workers\""));
        assert!(page("/nowhere").contains("There is no page"));
    }
}
