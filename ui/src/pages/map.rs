//! The map: who calls whom, how often, how well.

use std::collections::BTreeMap;

use api::{QueryRequest, Table};
use dioxus::prelude::*;

use crate::{
    Route,
    address::Param,
    browser::{self, Abort},
    client::{Failure, Session},
    components::{error::ErrorNote, icon::Icon, range_choice::RangeChoice},
    filter::{and, sql},
    graph::{Call, End, Graph, HEIGHT, WIDTH},
    histogram::span,
    range::{self, Range},
    scale::Unit,
    state::{Catalog, Pulse, hue},
    value::{Row, duration, grouped},
};

#[component]
pub(crate) fn Map(filter: Param, from: Param, to: Param, group: Param) -> Element {
    let session = use_context::<Session>();
    let catalog = use_context::<Catalog>();
    let pulse = use_context::<Pulse>();
    let range = Range::new(&from, &to);
    let filter = filter.text();
    let group = Group::read(&group);
    let mut draft = use_signal(|| filter.clone());
    let mut wrong = use_signal(|| None::<(String, api::ApiError)>);
    let mut known = use_signal(|| None::<Result<Known, api::ApiError>>);
    let mut chosen = use_signal(|| None::<String>);
    let mut search = use_signal(String::new);
    let mut is_whole = use_signal(|| false);
    let mut turn = use_signal(|| 0_u64);
    use_effect(use_reactive(&filter, move |filter| draft.set(filter)));
    use_effect(use_reactive((&filter, &range, &group), move |(filter, range, group)| {
        turn += 1;
        let mine = *turn.peek();
        spawn(async move {
            while *turn.peek() == mine {
                let workers = pulse
                    .workers
                    .peek()
                    .as_ref()
                    .and_then(|it| it.as_ref().ok())
                    .map(|it| it.workers.clone());
                let tables = catalog.tables.peek().clone();
                let span = workers.and_then(|workers| span(&range, &workers, browser::now_ms()));
                let Some(span) = span.filter(|_| !tables.is_empty() && !browser::is_hidden())
                else {
                    browser::sleep(SOON_MS).await;
                    continue;
                };
                let begun = browser::now_ms();
                let answer = ask(session, &filter, group, &tables, span).await;
                if *turn.peek() != mine {
                    return;
                }
                known.set(Some(answer.map_err(|failure| failure.error())));
                if !range.is_live() {
                    return;
                }
                // what is dear to count is counted seldom
                let took = browser::now_ms() - begun;
                browser::sleep(AGAIN_MS.saturating_add((took * 10.0).min(MOST_MS) as u32)).await;
            }
        });
    }));
    use_drop(move || {
        let mut turn = turn;
        turn += 1;
    });
    let go = {
        let (filter, range) = (filter.clone(), range.clone());
        move |filter_: Option<String>, range_: Option<Range>, group_: Option<Group>| {
            let range = range_.unwrap_or_else(|| range.clone());
            navigator().push(Route::Map {
                filter: filter_.unwrap_or_else(|| filter.clone()).into(),
                from: range.from.into(),
                to: range.to.into(),
                group: group_.unwrap_or(group).name().into(),
            });
        }
    };
    let state = known.read();
    let graph = match &*state {
        Some(Ok(known)) => match &known.whole {
            Some(whole) if is_whole() => whole.clone(),
            _ => known.graph.clone(),
        },
        _ => Graph::default(),
    };
    let words = search.read().to_lowercase();
    rsx! {
        section { class: "mapped", "data-testid": "map",
            header { class: "status-line",
                form { class: "inline grow", role: "search", onsubmit: { let go = go.clone(); move |event: FormEvent| {
                        event.prevent_default();
                        let text = draft.peek().trim().to_owned();
                        let go = go.clone();
                        spawn(async move {
                            match session.check(&text).await {
                                Err(Failure::Refused(error)) => wrong.set(Some((text, error))),
                                Ok(()) | Err(_) => {
                                    wrong.set(None);
                                    go(Some(text), None, None);
                                }
                            }
                        });
                    } },
                    input { "aria-label": "filter", "data-testid": "map-filter", placeholder: "filter calls, as in the traffic view", spellcheck: "false", value: "{draft}", oninput: move |event| draft.set(event.value()) }
                }
                label { class: "choice", "ends are "
                    select { "aria-label": "what the ends are", "data-testid": "map-group", onchange: { let go = go.clone(); move |event: FormEvent| go(None, None, Some(Group::read(&event.value()))) },
                        for it in Group::ALL {
                            option { value: it.name(), selected: it == group, "{it.title()}" }
                        }
                    }
                }
                input { class: "search", r#type: "search", "aria-label": "find an end", placeholder: "find an end", "data-testid": "map-search", value: "{search}", oninput: move |event| search.set(event.value()) }
                RangeChoice { range: range.clone(), onrange: { let go = go.clone(); move |range: Range| go(None, Some(range), None) } }
                span { class: "tools",
                    if let Some(Ok(known)) = &*state {
                        span { class: "fact", b { "{graph.ends.len()}" } " ends" }
                        span { class: "fact", b { "{graph.edges.len()}" } " pairs" }
                        if graph.left_out > 0 { span { class: "fact warn", title: "a filter, or larger ends such as namespaces and networks, shows all", "the {graph.left_out} quietest are not shown" } }
                        if known.whole.is_some() {
                            button { class: "tool", r#type: "button", "aria-pressed": is_whole(), "data-testid": "map-whole", title: "up to {MOST_ENDS} ends, to be zoomed into", onclick: move |_| is_whole.toggle(), if is_whole() { "Only the busiest" } else { "Show more" } }
                        }
                        if known.is_cut { span { class: "fact warn", title: "this filter looks into a protocol's own columns and is counted from its newest rows", "only the newest rows are counted" } }
                    }
                    Link { class: "tool", to: Route::traffic(&filter, &range), Icon { name: "pulse" } "Its rows" }
                }
            }
            if let Some((text, error)) = wrong() {
                ErrorNote { text, error, testid: "map-error" }
            }
            match &*state {
                None => rsx! { div { class: "empty", role: "status", div { class: "spinner" } h2 { "Asking who calls whom" } } },
                Some(Err(error)) => rsx! { ErrorNote { text: "", error: error.clone(), testid: "map-error" } },
                Some(Ok(known)) if known.graph.ends.is_empty() => rsx! {
                    div { class: "empty", role: "status", h2 { "No calls" }
                        p { if filter.is_empty() && range.is_all() { "No exchange has been seen yet; the Workers' page says what is captured." } else { "No exchange of that time passes the filter." } }
                        p { class: "actions",
                            if !filter.is_empty() { button { class: "button", onclick: { let go = go.clone(); move |_| go(Some(String::new()), None, None) }, "Clear the filter" } }
                            if !range.is_all() { button { class: "button", onclick: { let go = go.clone(); move |_| go(None, Some(Range::default()), None) }, "Look at any time" } }
                        }
                    }
                },
                Some(Ok(known)) => rsx! {
                    div { class: "split detailed map-split",
                        Canvas { graph: graph.clone(), secs: known.secs, chosen: chosen(), words, onchoose: move |name: Option<String>| chosen.set(name) }
                        Facts { graph: graph.clone(), secs: known.secs, group, chosen: chosen(), filter: filter.clone(), range: range.clone(), onchoose: move |name: Option<String>| chosen.set(name),
                            onfilter: { let go = go.clone(); move |filter: String| go(Some(filter), None, None) } }
                    }
                },
            }
        }
    }
}

/// The map itself: dragged, zoomed with the wheel, each end a button.
#[component]
fn Canvas(
    graph: Graph,
    secs: f64,
    chosen: Option<String>,
    words: String,
    onchoose: EventHandler<Option<String>>,
) -> Element {
    let mut view = use_signal(|| None::<(f64, f64, f64)>);
    let mut size = use_signal(|| (900.0_f64, 600.0_f64));
    let mut drag = use_signal(|| None::<(f64, f64)>);
    let (wide, high) = size();
    let fit = {
        let scale = (wide / graph.width).min(high / graph.height).min(1.4);
        ((wide - graph.width * scale) / 2.0, (high - graph.height * scale) / 2.0, scale)
    };
    let (x, y, scale) = view().unwrap_or(fit);
    let at = chosen.as_ref().and_then(|name| graph.ends.iter().position(|end| end.name == *name));
    let near = |end: usize| {
        at.is_none_or(|at| {
            at == end
                || graph.edges.iter().any(|edge| {
                    (edge.from == at && edge.to == end) || (edge.to == at && edge.from == end)
                })
        })
    };
    let most = graph.edges.iter().map(|edge| edge.calls).max().unwrap_or(1).max(2) as f64;
    let is_labelled = graph.edges.len() <= MOST_LABELS;
    let zoom = move |by: f64, px: f64, py: f64, (x, y, scale): (f64, f64, f64)| {
        let next = (scale * by).clamp(0.05, 4.0);
        let by = next / scale;
        (px - (px - x) * by, py - (py - y) * by, next)
    };
    rsx! {
        div { class: "canvas",
            onresize: move |event| {
                if let Ok(new) = event.get_content_box_size() {
                    size.set((new.width.max(100.0), new.height.max(100.0)));
                }
            },
            onwheel: move |event| {
                event.prevent_default();
                let place = event.element_coordinates();
                let by = if event.delta().strip_units().y < 0.0 { 1.15 } else { 1.0 / 1.15 };
                view.set(Some(zoom(by, place.x, place.y, (x, y, scale))));
            },
            onmousedown: move |event| {
                let place = event.client_coordinates();
                drag.set(Some((place.x, place.y)));
            },
            onmousemove: move |event| {
                let before = *drag.peek();
                if let Some((from_x, from_y)) = before {
                    let place = event.client_coordinates();
                    view.set(Some((x + place.x - from_x, y + place.y - from_y, scale)));
                    drag.set(Some((place.x, place.y)));
                }
            },
            onmouseup: move |_| drag.set(None),
            onmouseleave: move |_| drag.set(None),
            svg { width: "{wide}", height: "{high}", role: "group", "aria-label": "map of {graph.ends.len()} ends",
                g { transform: "translate({x:.1} {y:.1}) scale({scale:.4})",
                    for (number , edge) in graph.edges.iter().enumerate() {
                        if let (Some(from), Some(to)) = (graph.ends.get(edge.from), graph.ends.get(edge.to)) {
                            {
                                let share = edge.failed as f64 / edge.calls.max(1) as f64;
                                let tone = if share >= 0.05 { "bad" } else if share >= 0.01 { "some" } else { "" };
                                let is_near = at.is_none_or(|at| edge.from == at || edge.to == at);
                                let dim = if is_near { "" } else { "faded" };
                                let thick = 1.0 + 4.0 * (edge.calls as f64 + 1.0).ln() / most.ln().max(1.0);
                                let (d, middle) = curve(from, to, 0.3 + 0.13 * (number % 4) as f64);
                                let said = format!("{} → {}: {}, {} a second, {} failed, p95 {}", from.name, to.name, edge.protocols.iter().cloned().collect::<Vec<_>>().join(", "), Unit::Number.show(edge.calls as f64 / secs), Unit::Percent.show(share * 100.0), edge.p95.map_or_else(|| "–".to_owned(), duration));
                                rsx! {
                                    g { key: "edge-{number}", class: "edge {tone} {dim}",
                                        title { "{said}" }
                                        path { d: "{d}", "stroke-width": "{thick:.1}" }
                                        if is_labelled || (at.is_some() && is_near) {
                                            text { x: "{middle.0}", y: "{middle.1 - 4.0}", "text-anchor": "middle", {Unit::often(edge.calls as f64 / secs)} {edge.p95.map(|ns| format!(" · {}", duration(ns))).unwrap_or_default()} }
                                        }
                                    }
                                }
                            }
                        }
                    }
                    for (number , end) in graph.ends.iter().enumerate() {
                        {
                            let share = end.failed as f64 / end.answered.max(1) as f64;
                            let tone = if share >= 0.05 { "bad" } else if share >= 0.01 { "some" } else { "" };
                            let is_found = !words.is_empty() && end.name.to_lowercase().contains(&words);
                            let is_faded = (!words.is_empty() && !is_found) || !near(number);
                            let marks = format!("{}{}{}", if is_faded { " faded" } else { "" }, if is_found { " found" } else { "" }, if at == Some(number) { " chosen" } else { "" });
                            let name = end.name.clone();
                            let by_key = end.name.clone();
                            let said = format!("{}: answers {}, of which {} failed, makes {}", end.name, grouped(end.answered), grouped(end.failed), grouped(end.made));
                            let second = match (end.answered, end.made) {
                                (0, made) => format!("calls {}", Unit::often(made as f64 / secs)),
                                (answered, _) => format!("{}{}", Unit::often(answered as f64 / secs), if end.failed > 0 { format!(" · {} failed", Unit::Percent.show(share * 100.0)) } else { String::new() }),
                            };
                            rsx! {
                                g { key: "end-{end.name}", class: "end {tone}{marks}", role: "button", tabindex: 0, "aria-label": "{said}", "aria-pressed": at == Some(number), "data-testid": "map-end",
                                    transform: "translate({end.x:.1} {end.y:.1})",
                                    onmousedown: move |event| event.stop_propagation(),
                                    onclick: move |_| onchoose.call((at != Some(number)).then(|| name.clone())),
                                    onkeydown: move |event| if event.key() == Key::Enter { onchoose.call((at != Some(number)).then(|| by_key.clone())) },
                                    title { "{said}" }
                                    rect { width: "{WIDTH}", height: "{HEIGHT}", rx: "6" }
                                    text { class: "name", x: "10", y: "15", {short(&end.name)} }
                                    text { class: "small", x: "10", y: "28", "{second}" }
                                }
                            }
                        }
                    }
                }
            }
            div { class: "zoom",
                button { class: "tool", title: "closer", "aria-label": "closer", onclick: move |_| view.set(Some(zoom(1.3, wide / 2.0, high / 2.0, (x, y, scale)))), Icon { name: "plus" } }
                button { class: "tool", title: "farther", "aria-label": "farther", onclick: move |_| view.set(Some(zoom(1.0 / 1.3, wide / 2.0, high / 2.0, (x, y, scale)))), Icon { name: "minus" } }
                button { class: "tool", title: "all of it", onclick: move |_| view.set(None), "Fit" }
            }
        }
    }
}

/// What there is to say of the end chosen, or of all.
#[component]
fn Facts(
    graph: Graph,
    secs: f64,
    group: Group,
    chosen: Option<String>,
    filter: String,
    range: Range,
    onchoose: EventHandler<Option<String>>,
    onfilter: EventHandler<String>,
) -> Element {
    let catalog = use_context::<Catalog>();
    let at = chosen.as_ref().and_then(|name| graph.ends.iter().position(|end| end.name == *name));
    let mut edges: Vec<_> = graph
        .edges
        .iter()
        .filter(|edge| at.is_none_or(|at| edge.from == at || edge.to == at))
        .collect();
    // what fails stands first, then what is busiest
    edges.sort_by(|a, b| b.failed.cmp(&a.failed).then(b.calls.cmp(&a.calls)));
    let more = edges.len().saturating_sub(MOST_LISTED);
    edges.truncate(MOST_LISTED);
    let name = |at: usize| graph.ends.get(at).map(|end| end.name.clone()).unwrap_or_default();
    rsx! {
        aside { class: "detail facts", "aria-label": "calls", "data-testid": "map-facts",
            header {
                match &chosen {
                    Some(name) => rsx! {
                        span { class: "target", title: "{name}", "{name}" }
                        span { class: "tools", button { class: "bare", "aria-label": "close", title: "close", onclick: move |_| onchoose.call(None), Icon { name: "close" } } }
                    },
                    None => rsx! { span { class: "target", "Calls, those that fail first" } },
                }
            }
            if let Some(name) = &chosen {
                {
                    let clause = group.clause(name);
                    let to_rows = and(&filter, &clause);
                    rsx! {
                        div { class: "bar actions",
                            Link { class: "tool", to: Route::traffic(&to_rows, &range), "data-testid": "map-rows", Icon { name: "pulse" } "Its rows" }
                            button { class: "tool", title: "{clause}", "data-testid": "map-only", onclick: move |_| onfilter.call(to_rows.clone()), Icon { name: "plus" } "Only its calls" }
                        }
                    }
                }
            }
            div { class: "scroll",
                table { class: "said calls",
                    thead { tr { th { "call" } th { class: "right", "rate" } th { class: "right", "failed" } th { class: "right", "p95" } } }
                    tbody {
                        for edge in edges {
                            {
                                let (from, to) = (name(edge.from), name(edge.to));
                                let link = and(&filter, &format!("{} and {}", group.side("client", &from), group.side("server", &to)));
                                rsx! {
                                    tr { class: if edge.failed > 0 { "failed" } else { "" },
                                        td { Link { to: Route::traffic(&link, &range), title: "{from} → {to}\nits rows", "{from} → {to}" }
                                            div { class: "protocols", for protocol in edge.protocols.iter() { span { class: hue(&catalog.tables.read(), protocol), "{protocol} " } } } }
                                        td { class: "right", {Unit::often(edge.calls as f64 / secs)} }
                                        td { class: if edge.failed > 0 { "right bad" } else { "right" }, {Unit::Percent.show(edge.failed as f64 * 100.0 / edge.calls.max(1) as f64)} }
                                        td { class: "right", {edge.p95.map_or_else(|| "–".to_owned(), duration)} }
                                    }
                                }
                            }
                        }
                    }
                }
                if more > 0 { p { class: "note", "{more} more are not listed" } }
            }
        }
    }
}

/// What an end of the map stands for.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
enum Group {
    /// The best name there is.
    #[default]
    Named,
    Namespace,
    Address,
    /// The first three numbers of an IPv4 address.
    Network,
}

impl Group {
    const ALL: [Self; 4] = [Self::Named, Self::Namespace, Self::Address, Self::Network];

    fn name(self) -> &'static str {
        match self {
            Self::Named => "",
            Self::Namespace => "namespace",
            Self::Address => "address",
            Self::Network => "network",
        }
    }

    fn title(self) -> &'static str {
        match self {
            Self::Named => "workloads and hosts",
            Self::Namespace => "namespaces",
            Self::Address => "addresses",
            Self::Network => "networks (/24)",
        }
    }

    fn read(text: &str) -> Self {
        Self::ALL.into_iter().find(|it| it.name() == text).unwrap_or_default()
    }

    /// The columns of one side that name it, the best first.
    fn columns(self) -> &'static [&'static str] {
        match self {
            Self::Named => &["workload", "service", "process", "ip"],
            Self::Namespace => &["namespace", "ip"],
            Self::Address | Self::Network => &["ip"],
        }
    }

    fn sql(self, side: &str) -> String {
        let columns: Vec<_> =
            self.columns().iter().map(|column| format!("{side}_{column}")).collect();
        match self {
            Self::Network => {
                format!("regexp_replace({side}_ip, '^(\\d+\\.\\d+\\.\\d+)\\.\\d+$', '\\1.0/24')")
            }
            _ => format!("coalesce({})", columns.join(", ")),
        }
    }

    /// The name of a side of a row.
    fn of(self, row: &Row<'_>, side: &str) -> String {
        let name = self
            .columns()
            .iter()
            .map(|column| row.text(&format!("{side}_{column}")))
            .find(|text| !text.is_empty());
        let name = name.map(std::borrow::Cow::into_owned).unwrap_or_default();
        match self {
            Self::Network => network(&name),
            _ => name,
        }
    }

    /// A filter for one side.
    fn side(self, side: &str, name: &str) -> String {
        let text = api::quote_text(name);
        let is_address = name.parse::<std::net::IpAddr>().is_ok();
        if let (Self::Network, Some(start)) = (self, name.strip_suffix(".0/24")) {
            return format!("{side}_ip like {}", api::quote_text(&format!("{start}.%")));
        }
        if is_address {
            return format!("{side}_ip = {text}");
        }
        let parts: Vec<_> = self
            .columns()
            .iter()
            .filter(|column| **column != "ip")
            .map(|column| format!("{side}_{column} = {text}"))
            .collect();
        match parts.as_slice() {
            [] => format!("{side}_ip = {text}"),
            [one] => one.clone(),
            _ => format!("({})", parts.join(" or ")),
        }
    }

    /// A filter for all that an end says or is told.
    fn clause(self, name: &str) -> String {
        format!("({} or {})", self.side("client", name), self.side("server", name))
    }
}

fn network(ip: &str) -> String {
    match ip.parse::<std::net::Ipv4Addr>() {
        Ok(ip) => {
            let [a, b, c, _] = ip.octets();
            format!("{a}.{b}.{c}.0/24")
        }
        Err(_) => ip.to_owned(),
    }
}

#[derive(Clone, Debug, PartialEq)]
struct Known {
    graph: Graph,
    /// With ends that are left out there to keep it readable.
    whole: Option<Graph>,
    /// How long the time asked about is.
    secs: f64,
    is_cut: bool,
}

/// Counts calls: on the nodes where the filter can be said in SQL, else here.
async fn ask(
    session: Session,
    filter: &str,
    group: Group,
    tables: &[Table],
    (low, high): (i64, i64),
) -> Result<Known, Failure> {
    let secs = (high.saturating_sub(low) as f64 / 1e9).max(1e-3);
    let mut is_cut = false;
    let calls = if let Some(condition) = sql::condition(filter, tables) {
        let clause = range::clause(Some(low), Some(high));
        let (client, server) = (group.sql("client"), group.sql("server"));
        let statement = format!(
            "SELECT {client} AS client, {server} AS server, protocol, count(*) AS calls, count(*) FILTER (WHERE failed) AS failures, CAST(approx_percentile_cont(duration, 0.95) AS BIGINT) AS p95, sum(request_bytes + response_bytes) AS bytes FROM traffic WHERE {clause} AND ({condition}) GROUP BY 1, 2, 3 ORDER BY calls DESC LIMIT {MOST_PAIRS}"
        );
        let answer = session.ask(QueryRequest::sql(statement), &Abort::new()).await?;
        let rows = answer
            .batches
            .iter()
            .flat_map(|batch| (0..batch.num_rows()).map(move |at| Row { batch, at }));
        rows.map(|row| Call {
            client: row.text("client").into_owned(),
            server: row.text("server").into_owned(),
            protocol: row.text("protocol").into_owned(),
            calls: row.number("calls").unwrap_or_default(),
            failed: row.number("failures").unwrap_or_default(),
            p95: row.number("p95").and_then(|ns| i64::try_from(ns).ok()),
            bytes: row.number("bytes").unwrap_or_default(),
        })
        .collect()
    } else {
        let sides = ["client", "server"]
            .into_iter()
            .flat_map(|side| group.columns().iter().map(move |column| format!("{side}_{column}")));
        let columns = ["protocol", "failed", "duration", "request_bytes", "response_bytes"]
            .into_iter()
            .map(str::to_owned);
        let question = QueryRequest {
            columns: columns.chain(sides).collect(),
            since: Some(range::written(low)),
            until: Some(range::written(high)),
            limit: Some(MOST_ROWS),
            ..QueryRequest::filter(filter)
        };
        let answer = session.ask(question, &Abort::new()).await?;
        is_cut = answer.rows as u64 >= MOST_ROWS;
        let rows = answer
            .batches
            .iter()
            .flat_map(|batch| (0..batch.num_rows()).map(move |at| Row { batch, at }));
        gather(rows, group)
    };
    let graph = Graph::readable(&calls, MOST_ENDS);
    let whole = (graph.left_out > 0).then(|| Graph::new(&calls, MOST_ENDS));
    Ok(Known { graph, whole, secs, is_cut })
}

/// Rows as calls.
fn gather<'a>(rows: impl Iterator<Item = Row<'a>>, group: Group) -> Vec<Call> {
    let mut calls: BTreeMap<(String, String, String), (Call, Vec<i64>)> = BTreeMap::new();
    for row in rows {
        let key =
            (group.of(&row, "client"), group.of(&row, "server"), row.text("protocol").into_owned());
        let (call, times) = calls.entry(key).or_default();
        call.calls += 1;
        call.failed += u64::from(row.flag("failed"));
        call.bytes += row.number("request_bytes").unwrap_or_default()
            + row.number("response_bytes").unwrap_or_default();
        times.extend(row.number("duration").and_then(|ns| i64::try_from(ns).ok()));
    }
    calls
        .into_iter()
        .map(|((client, server, protocol), (call, mut times))| {
            times.sort_unstable();
            let p95 =
                times.get((times.len() * 95 / 100).min(times.len().saturating_sub(1))).copied();
            Call { client, server, protocol, p95, ..call }
        })
        .collect()
}

/// The way from one end to another, and a place on it for what is said of it.
fn curve(from: &End, to: &End, part: f64) -> (String, (f64, f64)) {
    let (y1, y2) = (from.y + HEIGHT / 2.0, to.y + HEIGHT / 2.0);
    if from.name == to.name {
        let (x, y) = (from.x + WIDTH, from.y);
        return (format!("M{x:.1} {:.1}c34 -16 34 30 0 16", y + 10.0), (x + 30.0, y + 14.0));
    }
    let is_forth = from.x < to.x;
    let (x1, x2) = if is_forth { (from.x + WIDTH, to.x) } else { (from.x, to.x + WIDTH) };
    let bend = ((x2 - x1).abs() / 2.0).max(40.0) * if is_forth { 1.0 } else { -1.0 };
    let d = format!(
        "M{x1:.1} {y1:.1}C{:.1} {y1:.1} {:.1} {y2:.1} {x2:.1} {y2:.1}",
        x1 + bend,
        x2 - bend
    );
    let (t, u) = (part, 1.0 - part);
    let at = |a: f64, b: f64, c: f64, d: f64| {
        u * u * u * a + 3.0 * u * u * t * b + 3.0 * u * t * t * c + t * t * t * d
    };
    (d, (at(x1, x1 + bend, x2 - bend, x2), at(y1, y1, y2, y2)))
}

fn short(name: &str) -> String {
    if name.chars().count() <= 20 {
        return name.to_owned();
    }
    // what tells names apart stands at their end as often as at their beginning
    let head: String = name.chars().take(9).collect();
    let tail: String = name.chars().skip(name.chars().count() - 10).collect();
    format!("{head}…{tail}")
}

const MOST_ENDS: usize = 300;
const MOST_PAIRS: usize = 5_000;
const MOST_ROWS: u64 = 50_000;
const MOST_LISTED: usize = 200;
const MOST_LABELS: usize = 12;
const SOON_MS: u32 = 300;
const AGAIN_MS: u32 = 15_000;
const MOST_MS: f64 = 120_000.0;

#[cfg(test)]
mod tests {
    use super::*;
    use crate::fixture;

    #[test]
    fn rows_are_gathered_into_calls() {
        let batch = fixture::traffic(6);
        let rows = (0..6).map(|at| Row { batch: &batch, at });
        let calls = gather(rows, Group::Address);
        let [call] = calls.as_slice() else { panic!("all are between the same ends") };
        assert_eq!((call.client.as_str(), call.calls, call.failed), ("10.0.0.7", 6, 2));
        assert_eq!(call.p95, Some(1_234_567 * 6));
        let rows = (0..6).map(|at| Row { batch: &batch, at });
        let networks = gather(rows, Group::Network);
        assert_eq!(networks.first().map(|call| call.client.as_str()), Some("10.0.0.0/24"));
    }

    #[test]
    fn an_end_has_a_filter() {
        assert_eq!(Group::Named.side("client", "10.0.0.1"), "client_ip = '10.0.0.1'");
        assert_eq!(
            Group::Named.side("server", "it's"),
            "(server_workload = 'it''s' or server_service = 'it''s' or server_process = 'it''s')"
        );
        assert_eq!(Group::Namespace.side("server", "shop"), "server_namespace = 'shop'");
        assert_eq!(
            Group::Network.clause("10.0.0.0/24"),
            "(client_ip like '10.0.0.%' or server_ip like '10.0.0.%')"
        );
        for group in Group::ALL {
            assert_eq!(Group::read(group.name()), group);
        }
    }

    #[test]
    fn the_map_is_drawn_with_every_end_a_button() {
        let call = |client: &str, server: &str, failed| Call {
            client: client.into(),
            server: server.into(),
            protocol: "gopher".into(),
            calls: 10,
            failed,
            p95: Some(5_000_000),
            bytes: 0,
        };
        let graph = Graph::new(&[call("<user>", "shop", 0), call("shop", "db", 9)], 300);
        #[component]
        fn Show(graph: Graph) -> Element {
            let onchoose = use_callback(|_: Option<String>| {});
            rsx! { Canvas { graph, secs: 10.0, chosen: Some("shop".to_owned()), words: "", onchoose } }
        }
        let mut dom = VirtualDom::new_with_props(Show, ShowProps { graph });
        dom.rebuild_in_place();
        let html = dioxus_ssr::render(&dom);
        assert_eq!(html.matches("data-testid=\"map-end\"").count(), 3, "{html}");
        for part in
            ["&#60;user&#62;", "edge bad", "1/s", "5.00 ms", "aria-pressed=true", "90 % failed"]
        {
            assert!(html.contains(part), "{part}: {html}");
        }
    }

    #[test]
    fn long_names_keep_both_ends() {
        assert_eq!(short("checkout-service-7d9f8c6b5-x2x4z"), "checkout-…c6b5-x2x4z");
    }
}
