//! Whose traffic is kept, with what another choice would mean before it is made.

use api::{ApiError, Targeting, TargetingRequest, Targets};
use dioxus::prelude::*;

use super::{error::ErrorNote, icon::Icon};
use crate::{browser, client::Session, value::grouped};

#[component]
pub(crate) fn Targeted() -> Element {
    let session = use_context::<Session>();
    let mut is_open = use_signal(|| false);
    let mut now = use_signal(|| None::<Targets>);
    let mut failure = use_signal(|| None::<ApiError>);
    let mut changes = use_signal(|| 0_u64);
    // somebody else may change it
    use_future(move || async move {
        loop {
            let before = *changes.peek();
            let answer = session.targets().await;
            // what was asked before a change was answered may tell what was there before it
            if *changes.peek() == before {
                match answer {
                    Ok(targets) => {
                        now.set(Some(targets));
                        failure.set(None);
                    }
                    Err(error) => failure.set(Some(error.error())),
                }
            }
            browser::sleep(LOOK_MS).await;
        }
    });
    let Some(targets) = now() else {
        return rsx! {
            if let Some(error) = failure() {
                ErrorNote { text: "", error, testid: "targeting-error" }
            }
        };
    };
    rsx! {
        div { class: "targeting", "data-testid": "targeting",
            Kept { targets: targets.clone(), failure: failure(), is_open: is_open(), ontoggle: move |()| is_open.toggle() }
            if is_open() && targets.fixed.is_none() {
                Choice { targets: targets.clone(), onchanged: move |targets| {
                    changes += 1;
                    now.set(Some(targets));
                    failure.set(None);
                    is_open.set(false);
                } }
            }
        }
    }
}

/// What is in force, with the way to change it or why there is none, and why it may be out of date.
#[component]
fn Kept(
    targets: Targets,
    failure: Option<ApiError>,
    is_open: bool,
    ontoggle: EventHandler<()>,
) -> Element {
    rsx! {
        p { class: "bar",
            span { class: "fact", "Traffic is kept of " b { {said(&targets.targeting)} } }
            span { class: "fact", b { "{grouped(targets.tapped as u64)}" } " pods" if targets.left_out > 0 { ", not of {grouped(targets.left_out as u64)}" } }
            if let Some(why) = &targets.fixed {
                span { class: "fact", "{why}" }
            } else {
                button { class: "tool", r#type: "button", "aria-expanded": is_open, "data-testid": "targeting-change", onclick: move |_| ontoggle.call(()), Icon { name: "edit" } "Change" }
            }
        }
        if let Some(error) = failure {
            ErrorNote { text: "", error, testid: "targeting-stale" }
        }
        if let Some(wrong) = &targets.wrong {
            p { class: "reason", "{wrong}" }
        }
    }
}

/// The form, and the pods as they would be.
#[component]
fn Choice(targets: Targets, onchanged: EventHandler<Targets>) -> Element {
    let session = use_context::<Session>();
    // what was looked at when the change began: a change by others meanwhile must not go unseen
    let version = use_hook(|| targets.version.clone());
    let mut fields = use_signal(|| Fields::of(&targets.targeting));
    let mut preview = use_signal(|| targets.clone());
    let mut failure = use_signal(|| None::<ApiError>);
    let mut is_busy = use_signal(|| false);
    let mut turn = use_signal(|| 0_u64);
    let mut show = move |change: &dyn Fn(&mut Fields)| {
        change(&mut fields.write());
        turn += 1;
        let mine = *turn.peek();
        spawn(async move {
            browser::sleep(TYPED_MS).await;
            if *turn.peek() != mine {
                return;
            }
            let request = TargetingRequest {
                targeting: fields.peek().targeting(),
                preview: true,
                version: None,
            };
            let answer = session.target(&request).await;
            if *turn.peek() == mine {
                match answer {
                    Ok(targets) => {
                        preview.set(targets);
                        failure.set(None);
                    }
                    Err(error) => failure.set(Some(error.error())),
                }
            }
        });
    };
    let apply = {
        let version = version.clone();
        move |_| {
            let version = version.clone();
            spawn(async move {
                is_busy.set(true);
                let targeting = fields.peek().targeting();
                let request = TargetingRequest { targeting, version, preview: false };
                let answer = session.target(&request).await;
                is_busy.set(false);
                match answer {
                    Ok(targets) => onchanged.call(targets),
                    Err(error) => failure.set(Some(error.error())),
                }
            });
        }
    };
    let it = fields.read().clone();
    let shown = preview.read().clone();
    rsx! {
        form { class: "choose", onsubmit: move |event| event.prevent_default(),
            div { class: "fields",
                Field { label: "namespaces", hint: "all", value: it.namespaces, name: "namespaces", onwrite: move |text: String| show(&|it| it.namespaces.clone_from(&text)) }
                Field { label: "without namespaces", hint: "none", value: it.excluded, name: "excluded", onwrite: move |text: String| show(&|it| it.excluded.clone_from(&text)) }
                Field { label: "pods whose name matches", hint: "a regular expression; all", value: it.pods, name: "pods", onwrite: move |text: String| show(&|it| it.pods.clone_from(&text)) }
                Field { label: "pods with labels", hint: "app=cart,tier in (web, api)", value: it.selector, name: "selector", onwrite: move |text: String| show(&|it| it.selector.clone_from(&text)) }
                Field { label: "nodes", hint: "all", value: it.nodes, name: "nodes", onwrite: move |text: String| show(&|it| it.nodes.clone_from(&text)) }
            }
            if let Some(error) = failure() {
                ErrorNote { text: "", error, testid: "targeting-error" }
            }
            div { class: "bar",
                button { class: "primary", r#type: "button", disabled: is_busy(), "data-testid": "targeting-apply", onclick: apply, "Keep the traffic of these" }
                span { class: "fact", role: "status", "data-testid": "targeting-preview",
                    b { "{grouped(shown.tapped as u64)}" } " pods, not of " b { "{grouped(shown.left_out as u64)}" }
                }
                span { class: "note", "It is kept in the settings' ConfigMap and in force within two seconds; what was captured before stays." }
            }
            div { class: "scroll", tabindex: 0,
                table { class: "said meant",
                    thead { tr { th { "pod" } th { "node" } th { "traffic" } } }
                    tbody {
                        for pod in shown.pods.iter() {
                            tr { key: "{pod.namespace}/{pod.name}",
                                td { span { class: "dim", "{pod.namespace}/" } "{pod.name}" }
                                td { {pod.node.clone().unwrap_or_default()} }
                                if pod.against.is_empty() {
                                    td { class: "good", "kept" }
                                } else {
                                    td { class: "dim", {pod.against.join("; ")} }
                                }
                            }
                        }
                    }
                }
                if shown.pods.len() < shown.tapped + shown.left_out {
                    p { class: "note", "only the first {shown.pods.len()} pods are listed" }
                }
            }
        }
    }
}

#[component]
fn Field(
    label: &'static str,
    hint: &'static str,
    value: String,
    name: &'static str,
    onwrite: EventHandler<String>,
) -> Element {
    rsx! {
        label { "{label}"
            input { r#type: "text", spellcheck: "false", autocomplete: "off", placeholder: hint, value, "data-testid": "targeting-{name}", oninput: move |event| onwrite.call(event.value()) }
        }
    }
}

/// A targeting as it is written into fields: lists with commas.
#[derive(Clone, Debug, Default, PartialEq)]
struct Fields {
    namespaces: String,
    excluded: String,
    pods: String,
    selector: String,
    nodes: String,
}

impl Fields {
    fn of(of: &Targeting) -> Self {
        Self {
            namespaces: of.namespaces.join(", "),
            excluded: of.exclude_namespaces.join(", "),
            pods: of.pods.clone(),
            selector: of.selector.clone(),
            nodes: of.nodes.join(", "),
        }
    }

    fn targeting(&self) -> Targeting {
        let list = |text: &str| {
            let words = text.split([',', ' ']).map(str::trim).filter(|it| !it.is_empty());
            words.map(str::to_owned).collect()
        };
        Targeting {
            pods: self.pods.trim().to_owned(),
            namespaces: list(&self.namespaces),
            exclude_namespaces: list(&self.excluded),
            selector: self.selector.trim().to_owned(),
            nodes: list(&self.nodes),
        }
    }
}

/// A choice in words.
fn said(of: &Targeting) -> String {
    let mut parts = Vec::new();
    let mut part = |is_there: bool, text: String| {
        if is_there {
            parts.push(text);
        }
    };
    part(!of.namespaces.is_empty(), format!("namespaces {}", of.namespaces.join(", ")));
    part(
        !of.exclude_namespaces.is_empty(),
        format!("no namespace {}", of.exclude_namespaces.join(", ")),
    );
    part(!of.pods.is_empty(), format!("names like {}", of.pods));
    part(!of.selector.is_empty(), format!("labels {}", of.selector));
    part(!of.nodes.is_empty(), format!("nodes {}", of.nodes.join(", ")));
    if parts.is_empty() {
        "all pods:".to_owned()
    } else {
        format!("pods with {}:", parts.join("; "))
    }
}

const LOOK_MS: u32 = 5_000;
const TYPED_MS: u32 = 250;

#[cfg(test)]
mod tests {
    use super::*;

    fn html(fixed: Option<&str>, failure: Option<&str>) -> String {
        #[component]
        fn Show(fixed: Option<String>, failure: Option<String>) -> Element {
            let targets = Targets { fixed, tapped: 3, ..Targets::default() };
            let failure = failure.map(ApiError::new);
            let ontoggle = use_callback(|()| {});
            rsx! { Kept { targets, failure, is_open: false, ontoggle } }
        }
        let (fixed, failure) = (fixed.map(str::to_owned), failure.map(str::to_owned));
        let mut dom = VirtualDom::new_with_props(Show, ShowProps { fixed, failure });
        dom.rebuild_in_place();
        dioxus_ssr::render(&dom)
    }

    #[test]
    fn who_may_not_change_it_is_told_why() {
        assert!(html(None, None).contains("targeting-change"));
        let html = html(Some("only an administrator may change it"), None);
        assert!(html.contains("only an administrator may change it"), "{html}");
        assert!(!html.contains("targeting-change") && !html.contains("Change"), "{html}");
    }

    #[test]
    fn what_was_known_stays_beside_the_failure() {
        let html = html(None, Some("the Hub did not answer"));
        assert!(html.contains("the Hub did not answer") && html.contains("all pods:"), "{html}");
        assert!(!self::html(None, None).contains("targeting-stale"));
    }

    #[test]
    fn what_is_written_is_read_back_and_said_in_words() {
        let of = Targeting {
            pods: "^cart".into(),
            namespaces: vec!["shop".into(), "bank".into()],
            exclude_namespaces: vec!["kube-system".into()],
            selector: "tier in (web, api)".into(),
            nodes: vec!["n1".into()],
        };
        assert_eq!(Fields::of(&of).targeting(), of);
        assert_eq!(
            said(&of),
            "pods with namespaces shop, bank; no namespace kube-system; names like ^cart; labels tier in (web, api); nodes n1:"
        );
        assert_eq!(said(&Targeting::default()), "all pods:");
    }
}
