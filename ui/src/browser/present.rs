//! A real browser.

use std::cell::RefCell;

use js_sys::{Array, ArrayBuffer, Function, Promise, Uint8Array};
use wasm_bindgen::{JsCast as _, JsValue, closure::Closure};
use wasm_bindgen_futures::JsFuture;
use web_sys::{
    AbortController, BinaryType, Blob, CloseEvent, HtmlAnchorElement, HtmlElement,
    HtmlInputElement, HtmlTextAreaElement, KeyboardEvent, MessageEvent, RequestInit, Url,
    WebSocket, Window, window,
};

use super::{Request, Response, SocketEvent};

/// Cancels a request.
#[derive(Clone, Debug)]
pub(crate) struct Abort(Option<AbortController>);

impl Abort {
    pub(crate) fn new() -> Self {
        Self(AbortController::new().ok())
    }

    pub(crate) fn abort(&self) {
        if let Some(controller) = &self.0 {
            controller.abort();
        }
    }
}

impl Default for Abort {
    fn default() -> Self {
        Self::new()
    }
}

pub(crate) async fn fetch(request: Request, abort: &Abort) -> Result<Response, String> {
    go(request, abort).await.map_err(|error| {
        let text = error.dyn_ref::<js_sys::Error>().map(|error| String::from(error.message()));
        text.or_else(|| error.as_string()).unwrap_or_else(|| "the request failed".to_owned())
    })
}

async fn go(request: Request, abort: &Abort) -> Result<Response, JsValue> {
    let options = RequestInit::new();
    let signal = abort.0.as_ref().map(AbortController::signal);
    options.set_signal(signal.as_ref());
    let headers = web_sys::Headers::new()?;
    headers.set("accept", request.accept)?;
    if let Some(json) = &request.json {
        options.set_method(if request.is_put { "PUT" } else { "POST" });
        headers.set("content-type", "application/json")?;
        options.set_body(&JsValue::from_str(json));
    }
    options.set_headers(&headers);
    let window = browser_window()?;
    let response = JsFuture::from(window.fetch_with_str_and_init(&request.path, &options)).await?;
    let response: web_sys::Response = response.dyn_into()?;
    let body = JsFuture::from(response.array_buffer()?).await?;
    Ok(Response {
        status: response.status(),
        query_id: response.headers().get(api::header::QUERY_ID)?,
        body: Uint8Array::new(&body).to_vec(),
    })
}

/// A WebSocket, closed when dropped.
pub(crate) struct Socket {
    inner: WebSocket,
    _message: Closure<dyn FnMut(MessageEvent)>,
    _close: Closure<dyn FnMut(CloseEvent)>,
    _open: Closure<dyn FnMut()>,
}

impl std::fmt::Debug for Socket {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Socket").field("url", &self.inner.url()).finish_non_exhaustive()
    }
}

impl Socket {
    /// `hello` is sent as soon as the line stands.
    pub(crate) fn open(
        path: &str,
        hello: String,
        tell: impl FnMut(SocketEvent) + 'static,
    ) -> Result<Self, String> {
        Self::begin(path, hello, tell)
            .map_err(|_| "the browser refused to open a WebSocket".to_owned())
    }

    fn begin(
        path: &str,
        hello: String,
        tell: impl FnMut(SocketEvent) + 'static,
    ) -> Result<Self, JsValue> {
        let location = browser_window()?.location();
        let scheme = if location.protocol()? == "https:" { "wss" } else { "ws" };
        let inner = WebSocket::new(&format!("{scheme}://{}{path}", location.host()?))?;
        inner.set_binary_type(BinaryType::Arraybuffer);
        let tell = std::rc::Rc::new(RefCell::new(tell));
        let on_message = std::rc::Rc::clone(&tell);
        let message = Closure::new(move |event: MessageEvent| {
            let data = event.data();
            if let Some(text) = data.as_string() {
                on_message.borrow_mut()(SocketEvent::Text(text));
            } else if let Ok(bytes) = data.dyn_into::<ArrayBuffer>() {
                on_message.borrow_mut()(SocketEvent::Bytes(Uint8Array::new(&bytes).to_vec()));
            }
        });
        let close = Closure::new(move |event: CloseEvent| {
            tell.borrow_mut()(SocketEvent::Closed(event.reason()));
        });
        let line = inner.clone();
        // a socket that cannot send is about to say that it closed
        let open = Closure::new(move || drop(line.send_with_str(&hello)));
        inner.set_onmessage(Some(message.as_ref().unchecked_ref()));
        inner.set_onclose(Some(close.as_ref().unchecked_ref()));
        inner.set_onopen(Some(open.as_ref().unchecked_ref()));
        Ok(Self { inner, _message: message, _close: close, _open: open })
    }
}

impl Socket {
    /// Ends it now; what was under way is not told any more.
    pub(crate) fn close(self) {}
}

impl Drop for Socket {
    fn drop(&mut self) {
        self.inner.set_onmessage(None);
        self.inner.set_onclose(None);
        self.inner.set_onopen(None);
        drop(self.inner.close());
    }
}

pub(crate) async fn sleep(ms: u32) {
    let wait = Promise::new(&mut |resolve: Function, _| {
        if let Some(window) = window() {
            let ms = i32::try_from(ms).unwrap_or(i32::MAX);
            drop(window.set_timeout_with_callback_and_timeout_and_arguments_0(&resolve, ms));
        }
    });
    drop(JsFuture::from(wait).await);
}

/// Milliseconds since 1970.
pub(crate) fn now_ms() -> f64 {
    js_sys::Date::now()
}

/// How many seconds the clock on the wall is ahead of UTC.
pub(crate) fn zone_secs() -> i64 {
    -(js_sys::Date::new_0().get_timezone_offset() as i64) * 60
}

/// What this tab remembers.
pub(crate) fn stored(name: &str) -> Option<String> {
    window()?.session_storage().ok()??.get_item(name).ok()?
}

pub(crate) fn store(name: &str, value: &str) {
    if let Some(Ok(Some(storage))) = window().map(|window| window.session_storage()) {
        drop(storage.set_item(name, value));
    }
}

/// What this browser remembers.
pub(crate) fn remembered(name: &str) -> Option<String> {
    window()?.local_storage().ok()??.get_item(name).ok()?
}

pub(crate) fn remember(name: &str, value: &str) {
    if let Some(Ok(Some(storage))) = window().map(|window| window.local_storage()) {
        drop(storage.set_item(name, value));
    }
}

/// Says something to the style sheet about the whole page.
pub(crate) fn set_root(name: &str, value: &str) {
    let root = window().and_then(|window| window.document()?.document_element());
    if let Some(root) = root {
        drop(root.set_attribute(name, value));
    }
}

/// Where the cursor of a field is, in bytes of its text.
pub(crate) fn cursor(id: &str) -> Option<usize> {
    let element = element(id)?;
    let (text, units) = if let Some(field) = element.dyn_ref::<HtmlInputElement>() {
        (field.value(), field.selection_end().ok()??)
    } else {
        let area = element.dyn_ref::<HtmlTextAreaElement>()?;
        (area.value(), area.selection_end().ok()??)
    };
    let mut left = units as usize;
    let ends = text.char_indices().find(|(_, char)| {
        let is_there = left == 0;
        left = left.saturating_sub(char.len_utf16());
        is_there
    });
    Some(ends.map_or(text.len(), |(at, _)| at))
}

/// Puts a text into a field, with the cursor at that byte of it.
pub(crate) fn set_field(id: &str, text: &str, cursor: usize) {
    let Some(element) = element(id) else { return };
    let before = text.get(..cursor).unwrap_or(text);
    let units = u32::try_from(before.encode_utf16().count()).unwrap_or(u32::MAX);
    if let Some(field) = element.dyn_ref::<HtmlInputElement>() {
        field.set_value(text);
        drop(field.focus());
        drop(field.set_selection_range(units, units));
    } else if let Some(area) = element.dyn_ref::<HtmlTextAreaElement>() {
        area.set_value(text);
        drop(area.focus());
        drop(area.set_selection_range(units, units));
    }
}

/// Scrolls the list that an element stands in, so that it is in view.
pub(crate) fn reveal(id: &str) {
    let element = element(id).and_then(|element| element.dyn_into::<HtmlElement>().ok());
    let Some((element, list)) = element.and_then(|it| Some((it.clone(), it.parent_element()?)))
    else {
        return;
    };
    let (top, height) = (element.offset_top(), element.offset_height());
    let (scroll, room) = (list.scroll_top(), list.client_height());
    if top < scroll {
        list.set_scroll_top(top);
    } else if top + height > scroll + room {
        list.set_scroll_top(top + height - room);
    }
}

/// Whether nobody sees the page now: another tab is in front of it.
pub(crate) fn is_hidden() -> bool {
    window().and_then(|window| window.document()).is_some_and(|document| document.hidden())
}

/// The whole address, to be given to others.
pub(crate) fn address() -> String {
    window().and_then(|window| window.location().href().ok()).unwrap_or_default()
}

pub(crate) fn copy(text: &str) {
    let Some(window) = window() else { return };
    let navigator = window.navigator();
    // browsers have no clipboard on a plain-text connection to another machine
    let is_there =
        js_sys::Reflect::get(&navigator, &"clipboard".into()).is_ok_and(|it| it.is_object());
    if is_there {
        let _promise = navigator.clipboard().write_text(text);
    }
}

pub(crate) fn focus(id: &str) {
    if let Some(element) = element(id).and_then(|element| element.dyn_into::<HtmlElement>().ok()) {
        drop(element.focus());
    }
}

pub(crate) fn scroll_to(id: &str, top: f64) {
    if let Some(element) = element(id) {
        element.set_scroll_top(top as i32);
    }
}

/// Puts text where the cursor is, and says what the whole text is now.
pub(crate) fn insert_at_cursor(id: &str, text: &str) -> Option<String> {
    let area: HtmlTextAreaElement = element(id)?.dyn_into().ok()?;
    let start = area.selection_start().ok()??;
    let end = area.selection_end().ok()??;
    area.set_range_text_with_start_and_end(text, start, end).ok()?;
    let after = start + u32::try_from(text.encode_utf16().count()).ok()?;
    area.focus().ok()?;
    area.set_selection_range(after, after).ok()?;
    Some(area.value())
}

/// Hands a file to the browser's downloads.
pub(crate) fn save(name: &str, media: &str, bytes: &[u8]) {
    drop(offer(name, media, bytes));
}

fn offer(name: &str, media: &str, bytes: &[u8]) -> Result<(), JsValue> {
    let parts = Array::of1(&Uint8Array::from(bytes));
    let options = web_sys::BlobPropertyBag::new();
    options.set_type(media);
    let blob = Blob::new_with_u8_array_sequence_and_options(&parts, &options)?;
    let url = Url::create_object_url_with_blob(&blob)?;
    let document = browser_window()?.document().ok_or(JsValue::NULL)?;
    let link: HtmlAnchorElement = document.create_element("a")?.dyn_into()?;
    link.set_href(&url);
    link.set_download(name);
    link.click();
    Url::revoke_object_url(&url)
}

/// Keys pressed anywhere in the page, until dropped.
pub(crate) struct Keys(Closure<dyn FnMut(KeyboardEvent)>);

impl std::fmt::Debug for Keys {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Keys")
    }
}

impl Keys {
    /// `pressed` says whether it used the key. Keys typed into a field are not told, but Escape is.
    pub(crate) fn listen(mut pressed: impl FnMut(&str) -> bool + 'static) -> Self {
        let listener = Closure::new(move |event: KeyboardEvent| {
            if event.ctrl_key() || event.meta_key() || event.alt_key() {
                return;
            }
            let key = event.key();
            if !is_wanted(&key) && pressed(&key) {
                event.prevent_default();
            }
        });
        if let Some(window) = window() {
            drop(
                window
                    .add_event_listener_with_callback("keydown", listener.as_ref().unchecked_ref()),
            );
        }
        Self(listener)
    }
}

impl Drop for Keys {
    fn drop(&mut self) {
        if let Some(window) = window() {
            drop(
                window.remove_event_listener_with_callback(
                    "keydown",
                    self.0.as_ref().unchecked_ref(),
                ),
            );
        }
    }
}

/// Does the focused element want this key for itself?
fn is_wanted(key: &str) -> bool {
    let active = window()
        .and_then(|window| window.document())
        .and_then(|document| document.active_element());
    active.is_some_and(|element| match element.tag_name().as_str() {
        "INPUT" | "TEXTAREA" | "SELECT" => key != "Escape",
        "BUTTON" | "A" | "SUMMARY" => key == "Enter",
        _ => false,
    })
}

fn element(id: &str) -> Option<web_sys::Element> {
    window()?.document()?.get_element_by_id(id)
}

fn browser_window() -> Result<Window, JsValue> {
    window().ok_or(JsValue::NULL)
}
