//! The page in a real browser, driven as a person would: by what is shown, typed and clicked.

use std::io::{BufRead, BufReader};
use std::path::Path;
use std::process::{Child, Stdio};

use serde_json::{Value, json};
use tempfile::TempDir;

use crate::live::{Web, curl, program, tap_loopback};
use crate::processes::wait_until;

#[test]
fn traffic_appears_a_filter_narrows_it_and_a_row_opens() {
    let folder = TempDir::new().unwrap();
    let Some(tap) = tap_loopback(folder.path()) else { return };
    let web = Web::start(folder.path());
    let browser = Browser::start(folder.path());
    browser.open(&tap.url);
    browser.wait_for("[data-testid=filter]");

    // The live tail. Traffic goes on until it is seen: the tail shows what comes after it began.
    wait_until("requests appear in the live tail", || {
        curl(&format!("http://127.0.0.1:{}/hello.txt?n=[1-3]", web.port), &[]);
        curl(&format!("http://127.0.0.1:{}/missing", web.port), &[]);
        let rows = browser.texts(ROW);
        rows.iter().any(|it| it.contains("/hello.txt"))
            && rows.iter().any(|it| it.contains("/missing"))
    });

    // A wrong filter is refused beside the bar, and the rows stay.
    browser.fill("[data-testid=filter]", "http.statsu = 404");
    browser.click("[data-testid=filter-apply]");
    wait_until("the error is shown", || {
        browser.texts("[data-testid=filter-error]").concat().contains("statsu")
    });

    browser
        .fill("[data-testid=filter]", &format!("http.status = 404 and server_port = {}", web.port));
    browser.click("[data-testid=filter-apply]");
    wait_until("only what the filter lets through is shown", || {
        let rows = browser.texts(ROW);
        !rows.is_empty() && rows.iter().all(|it| it.contains("/missing"))
    });
    assert!(browser.texts("[data-testid=filter-error]").concat().is_empty());
    // New rows pass the same filter.
    let before = browser.texts(ROW).len();
    wait_until("new rows come in, filtered", || {
        curl(&format!("http://127.0.0.1:{}/hello.txt", web.port), &[]);
        curl(&format!("http://127.0.0.1:{}/missing", web.port), &[]);
        browser.texts(ROW).len() > before
    });
    assert!(browser.texts(ROW).iter().all(|it| it.contains("/missing")));

    // A row opens with its body.
    browser
        .fill("[data-testid=filter]", &format!("http.status = 200 and server_port = {}", web.port));
    browser.click("[data-testid=filter-apply]");
    wait_until("the rows with a body are shown", || {
        let rows = browser.texts(ROW);
        !rows.is_empty() && rows.iter().all(|it| it.contains("/hello.txt"))
    });
    // Held still, so that the row clicked is the row meant.
    browser.click("[data-testid=pause]");
    browser.click(ROW);
    wait_until("the body is shown", || {
        browser.texts("[data-testid=detail]").concat().contains("hello from a real server")
    });
}

#[test]
fn from_a_spike_to_the_guilty_request_and_on_to_charts_dashboards_and_the_map() {
    let folder = TempDir::new().unwrap();
    let Some(tap) = tap_loopback(folder.path()) else { return };
    let web = Web::start(folder.path());
    let ask = || {
        curl(&format!("http://127.0.0.1:{}/hello.txt?n=[1-3]", web.port), &[]);
        curl(&format!("http://127.0.0.1:{}/missing?who=me", web.port), &[]);
    };
    ask();
    let browser = Browser::start(folder.path());
    browser.open(&tap.url);
    wait_until("rows are counted over time", || {
        ask();
        browser.texts("[data-testid=histogram]").concat().contains("failed")
            && !browser.texts(ROW).is_empty()
    });

    // What could come next is offered, with the values there are.
    browser.fill("[data-testid=filter]", "target like '/mis");
    wait_until("values of the column are offered", || {
        browser.texts("[data-testid=filter-offers]").concat().contains("/missing")
    });

    // A time that is over: the list and the address say so, and the same address shows the same again.
    let filter = format!("failed and server_port = {}", web.port);
    browser.open(&format!(
        "{}/?filter={}&from=15m&to=0s&sort=-duration",
        tap.url,
        filter.replace(' ', "%20")
    ));
    wait_until("the rows of that time are listed", || {
        let rows = browser.texts(ROW);
        !rows.is_empty()
            && rows.iter().all(|it| it.contains("/missing"))
            && browser.texts("[data-testid=line]").concat().contains("not live")
    });
    browser.click(ROW);
    wait_until("the row's parameters are told by name", || {
        let detail = browser.texts("[data-testid=detail]").concat();
        detail.contains("who") && detail.contains("request")
    });

    // SQL as a chart.
    let sql =
        "SELECT date_bin(INTERVAL '1 second', ts) AS t, count(*) AS n FROM traffic GROUP BY t";
    browser.open(&format!("{}/sql?q={}&view=line", tap.url, sql.replace(' ', "%20")));
    browser.wait_for(".figure svg path");

    // A dashboard, and the map.
    browser.open(&format!("{}/dashboards?name=Overview", tap.url));
    wait_until("every panel has its answer", || {
        let panels = browser.texts("[data-testid=panel]");
        panels.len() > 5 && panels.iter().all(|it| !it.contains("Asking"))
    });
    assert!(browser.texts("[data-testid=panel] [role=alert]").is_empty());
    browser.open(&format!("{}/map", tap.url));
    wait_until("who calls whom is drawn", || {
        browser.texts("[data-testid=map-facts]").concat().contains("127.0.0.1")
    });
}

/// A browser with one page, spoken to as WebDriver has it.
struct Browser {
    driver: Child,
    session: String,
}

impl Browser {
    fn start(folder: &Path) -> Self {
        let mut driver = program("chromedriver")
            .arg("--port=0")
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let mut lines = BufReader::new(driver.stdout.take().unwrap()).lines().map_while(Result::ok);
        let port = lines
            .find_map(|it| it.split("started successfully on port ").nth(1).map(str::to_owned))
            .expect("chromedriver says where it listens");
        std::thread::spawn(move || lines.for_each(drop));
        let profile = format!("--user-data-dir={}", folder.join("profile").display());
        let mut arguments = vec![profile.as_str()];
        arguments.extend(ARGUMENTS);
        let mut browser = Self {
            driver,
            session: format!("http://127.0.0.1:{}/session", port.trim_end_matches('.')),
        };
        let options = json!({ "args": arguments });
        let new = json!({ "capabilities": { "alwaysMatch": { "goog:chromeOptions": options } } });
        let made = browser.post("", &new);
        browser.session = format!("{}/{}", browser.session, made["sessionId"].as_str().unwrap());
        browser
    }

    fn open(&self, url: &str) {
        self.post("/url", &json!({ "url": url }));
    }

    /// The text of each element there is, as it is shown.
    fn texts(&self, css: &str) -> Vec<String> {
        let script = "return [...document.querySelectorAll(arguments[0])].map(it => it.innerText)";
        let texts = self.post("/execute/sync", &json!({ "script": script, "args": [css] }));
        texts
            .as_array()
            .unwrap()
            .iter()
            .map(|it| it.as_str().unwrap_or_default().to_owned())
            .collect()
    }

    fn wait_for(&self, css: &str) {
        wait_until(css, || !self.texts(css).is_empty());
    }

    fn click(&self, css: &str) {
        self.post(&format!("/element/{}/click", self.element(css)), &json!({}));
    }

    /// Replaces what stands in a field, key by key.
    fn fill(&self, css: &str, text: &str) {
        let element = self.element(css);
        // Ctrl+A, then the text over it.
        let keys = format!("\u{e009}a\u{e000}{text}");
        self.post(&format!("/element/{element}/value"), &json!({ "text": keys }));
    }

    fn element(&self, css: &str) -> String {
        let found = self.post("/element", &json!({ "using": "css selector", "value": css }));
        found.as_object().unwrap().values().next().unwrap().as_str().unwrap().to_owned()
    }

    fn post(&self, command: &str, body: &Value) -> Value {
        let agent: ureq::Agent =
            ureq::Agent::config_builder().http_status_as_error(false).build().into();
        let mut response =
            agent.post(format!("{}{command}", self.session)).send_json(body).unwrap();
        let status = response.status();
        let answer: Value = response.body_mut().read_json().unwrap();
        assert!(status.is_success(), "{command} {body}: {answer:#}");
        answer["value"].clone()
    }
}

impl Drop for Browser {
    fn drop(&mut self) {
        ureq::delete(&self.session).call().ok();
        self.driver.kill().ok();
        self.driver.wait().ok();
    }
}

const ROW: &str = "[data-testid=row]";
/// Without the first few, it would not run as root in a container; the rest keep it from calling home.
const ARGUMENTS: [&str; 10] = [
    "--headless=new",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-dev-shm-usage",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
    "--window-size=1400,900",
];
