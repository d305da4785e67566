//! The page in a real browser, driven as a person would: by what is shown, typed and clicked.

use std::io::{BufRead, BufReader, Read, Write};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use apiserver_double::{Double, Key};
use serde_json::{Value, json};
use tempfile::TempDir;

use crate::live::{Web, curl, program, tap_loopback};
use crate::processes::{Hub, kubeshark, wait_until};

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

#[test]
fn the_page_is_small_and_soon_there() {
    let folder = TempDir::new().unwrap();
    let hub = Hub::start();
    let browser = Browser::start(folder.path());
    browser.open(&hub.url);
    browser.wait_for("[data-testid=filter]");
    let loaded = "return [...performance.getEntriesByType('navigation'), ...performance.getEntriesByType('resource')]\
                  .filter(it => !new URL(it.name).pathname.startsWith('/api/'))\
                  .reduce((sum, it) => sum + it.encodedBodySize, 0)";
    let loaded = browser.run(loaded, json!([])).as_u64().unwrap();
    let paint = "return performance.getEntriesByName('first-contentful-paint')[0]?.startTime ?? 0";
    let paint = browser.run(paint, json!([])).as_f64().unwrap();
    println!("the page: {loaded} bytes loaded, first painted after {paint:.0} ms");
    assert!((100_000..=1_000_000).contains(&loaded), "{loaded} bytes");
    // A second where nothing else runs; here, many tests do.
    assert!(paint < 10_000.0, "{paint} ms");
}

#[test]
fn two_rows_are_picked_by_key_and_click_compared_and_a_link_shows_the_same() {
    let folder = TempDir::new().unwrap();
    let Some(tap) = tap_loopback(folder.path()) else { return };
    let web = Web::start(folder.path());
    let browser = Browser::start(folder.path());
    let filter = format!("http and server_port = {}", web.port);
    browser.open(&format!("{}/?filter={}", tap.url, filter.replace(' ', "%20")));
    browser.wait_for("[data-testid=filter]");
    let ask = || {
        curl(&format!("http://127.0.0.1:{}/hello.txt?n=1", web.port), &["-H", "x-who: one"]);
        curl(&format!("http://127.0.0.1:{}/missing?n=2", web.port), &["-H", "x-who: other"]);
    };
    wait_until("there are rows to pick", || {
        ask();
        browser.texts(ROW).len() > 4
    });
    browser.click("[data-testid=pause]");
    browser.press(&["j", "x"]);
    wait_until("the key picks a row", || browser.texts(PICKED).len() == 1);
    browser.press(&["j", "j", "x"]);
    wait_until("and another one", || browser.texts(PICKED).len() == 2);
    // The same key leaves it out again; a click with Ctrl does as the key.
    browser.press(&["x"]);
    wait_until("it is left out", || browser.texts(PICKED).len() == 1);
    let other = browser.texts(ROW)[0].contains("/hello.txt").then_some("/missing");
    let other = other.unwrap_or("/hello.txt");
    let place = browser.texts(ROW).iter().position(|it| it.contains(other)).unwrap();
    browser.click_with(&format!("{ROW}:nth-child({})", place + 1), CONTROL);
    wait_until("a click picks too", || browser.texts(PICKED).len() == 2);

    browser.press(&["c"]);
    let differs = || browser.texts("[data-testid=compare] tr.differs");
    let is_told = || {
        let differs = differs();
        let says = |name: &str, a: &str, b: &str| {
            differs.iter().any(|it| it.starts_with(name) && it.contains(a) && it.contains(b))
        };
        says("status", "200", "404")
            && says("x-who", "one", "other")
            && says("path", "/hello.txt", "/missing")
    };
    wait_until("what differs is told by name, headers one by one", is_told);
    assert!(!differs().iter().any(|it| it.starts_with("server_port")), "{:?}", differs());
    browser.click("[data-testid=compare-all]");
    wait_until("what is the same can be seen", || {
        let all = browser.texts("[data-testid=compare] tr");
        all.iter().any(|it| it.starts_with("server_port"))
    });
    // The address alone shows the same two rows.
    let address = browser.run("return location.href", json!([]));
    browser.open("about:blank");
    browser.open(address.as_str().unwrap());
    wait_until("a link shows the comparison", is_told);
    browser.press(&[ESCAPE]);
    wait_until("Escape closes it", || browser.texts("[data-testid=compare]").is_empty());
    browser.press(&["?"]);
    wait_until("the keys are listed", || {
        let help = browser.texts("[data-testid=help]").concat();
        help.contains("compare two picked rows") && help.contains("pick the row")
    });
    browser.press(&[ESCAPE, ESCAPE]);
    wait_until("and nothing is picked any more", || browser.texts(PICKED).is_empty());
}

#[test]
fn sql_is_completed_as_it_is_written_and_its_answer_goes_to_a_dashboard() {
    let folder = TempDir::new().unwrap();
    let Some(tap) = tap_loopback(folder.path()) else { return };
    let web = Web::start(folder.path());
    wait_until("there are rows", || {
        curl(&format!("http://127.0.0.1:{}/hello.txt", web.port), &[]);
        let n = tap.ask(&json!({ "sql": "select count(*) as n from http" }));
        n["rows"][0]["n"].as_u64() > Some(2)
    });
    let browser = Browser::start(folder.path());
    browser.open(&format!("{}/sql", tap.url));
    browser.wait_for(EDITOR);
    // The reference is there once the Hub told of its tables, and so is what is offered.
    wait_until("tables are known", || {
        browser.texts(".reference summary").iter().any(|it| it.contains("http"))
    });
    let offers = || browser.texts("[data-testid=sql-editor-offers] li");
    let says = |what: &'static str| move |it: &String| it.contains(what);
    browser.fill(EDITOR, "SELECT * FROM ht");
    wait_until("tables are offered, with what they hold", || offers().iter().any(says("http")));
    browser.fill(EDITOR, "SELECT approx_perc");
    wait_until("functions are offered, with how they are called", || {
        offers().iter().any(says("approx_percentile_cont("))
    });
    browser.fill(EDITOR, "SELECT * FROM http h WHERE h.stat");
    wait_until("columns are offered, of the table that is meant", || {
        offers().iter().any(says("h.status"))
    });
    browser.fill(EDITOR, "SELECT * FROM http WHERE verb = ");
    wait_until("values are offered, as often as they are there", || {
        offers().iter().any(says("'GET'"))
    });
    // Tab takes the first of them, Escape closes the list, Ctrl+Enter asks.
    let tab = "\u{e004}";
    browser.fill(EDITOR, "SELECT verb, count(*) AS n FROM htt");
    wait_until("the table is offered", || offers().iter().any(says("http")));
    browser.press(&[tab]);
    let text = || browser.run("return document.getElementById('sql-editor').value", json!([]));
    wait_until("Tab takes it", || text() == "SELECT verb, count(*) AS n FROM http ");
    browser.press(&["GROUP BY verb", ESCAPE]);
    browser.press_with(CONTROL, "\u{e007}");
    wait_until("an answer of names and numbers is drawn as bars", || {
        !browser.texts(".figure svg path.bars").is_empty()
    });
    assert!(browser.texts("[data-testid=look-bar][aria-pressed=true]").len() == 1);
    browser.click("[data-testid=look-table]");
    wait_until("the table is one click away", || browser.texts(".grid").concat().contains("GET"));
    browser.click("[data-testid='look-heat map']");
    browser.wait_for(".figure .heat svg path");
    browser.click("[data-testid=to-dashboard]");
    wait_until("it is a panel now", || {
        browser.texts("[data-testid=panel]").iter().any(|it| it.contains("From SQL"))
    });
}

#[test]
fn from_a_spike_over_the_failed_row_to_its_packets_as_a_file() {
    let folder = TempDir::new().unwrap();
    let Some(tap) = tap_loopback(folder.path()) else { return };
    let web = Web::start(folder.path());
    let browser = Browser::start(folder.path());
    let filter = format!("server_port = {}", web.port);
    browser.open(&format!("{}/?filter={}", tap.url, filter.replace(' ', "%20")));
    wait_until("the bars say that something failed", || {
        curl(&format!("http://127.0.0.1:{}/missing/[1-9]", web.port), &[]);
        browser.texts("[data-testid=histogram]").concat().contains("failed")
    });
    // All that is drawn is marked: the list is of that time then, and not live.
    browser.drag("[data-testid=histogram] .pad");
    wait_until("the time is set by dragging", || {
        browser.texts("[data-testid=line]").concat().contains("not live")
            && browser.texts(ROW).iter().any(|it| it.contains("/missing"))
    });
    let address = browser.run("return location.href", json!([]));
    assert!(!address.as_str().unwrap().contains("from=&"), "{address}");
    browser.click(ROW);
    wait_until("the row opens", || browser.texts("[data-testid=detail]").concat().contains("404"));
    browser.click("[data-testid=packets] summary");
    browser.wait_for("[data-testid=packets-download]");
    // What a packet says, header by header; a header's bytes are marked by a click.
    wait_until("the packets are told in a line each", || {
        let packets = browser.texts("[data-testid=packet]");
        packets.iter().any(|it| it.contains("[SYN]"))
            && packets.iter().any(|it| it.contains("GET /missing/"))
    });
    browser.click("[data-testid=packet] button");
    // The name and what it says stand beside each other, which is a line each to the browser.
    let layers = || {
        let texts = browser.texts("[data-testid=layer] summary");
        texts
            .iter()
            .map(|it| it.split_whitespace().collect::<Vec<_>>().join(" "))
            .collect::<Vec<_>>()
    };
    wait_until("its layers are listed", || {
        layers().iter().any(|it| it.starts_with("IPv4 127.0.0.1"))
            && browser
                .texts("[data-testid=part]")
                .iter()
                .any(|it| it.starts_with("largest segment"))
    });
    let place = layers().iter().position(|it| it.starts_with("IPv4")).unwrap();
    browser.click(&format!("[data-testid=layer]:nth-child({}) summary", place + 1));
    wait_until("its bytes are marked", || {
        let marked = browser.texts(".dump mark").join(" ");
        marked.starts_with("45 00") && marked.contains("7f 00 00 01")
    });
    browser.click("[data-testid=packets-download]");
    let mut file = Vec::new();
    wait_until("the packets are downloaded", || {
        let files = std::fs::read_dir(folder.path().join("downloads")).into_iter().flatten();
        let names = files.map(|it| it.unwrap().path());
        let saved = names.into_iter().find(|it| it.extension().is_some_and(|it| it == "pcapng"));
        file = saved.and_then(|it| std::fs::read(it).ok()).unwrap_or_default();
        !file.is_empty()
    });
    assert!(file.starts_with(b"\x0a\x0d\x0d\x0a"), "it is a capture file");
    let holds = |text: &[u8]| file.windows(text.len()).any(|it| it == text);
    assert!(holds(b"GET /missing/") && holds(b"404 Not Found"));
}

#[test]
fn what_two_ends_said_stands_as_a_conversation() {
    let folder = TempDir::new().unwrap();
    let capture =
        |name: &str| format!("{}/../capture/dissect/fixtures/{name}", env!("CARGO_MANIFEST_DIR"));
    let mut command = kubeshark();
    command.args(["tap", "--no-browser", "--port", "0"]);
    command.args(["--read", &capture("websocket/frames.pcap")]);
    command.args(["--read", &capture("http2/calls.pcap")]);
    let tap = Hub::of(&mut command);
    let browser = Browser::start(folder.path());
    let open = |table: &str, condition: &str| {
        let sql = format!(
            "select node, flow_id, seq from {table} where {condition} order by ts, seq limit 1"
        );
        let mut row = Value::Null;
        wait_until("the row is there", || {
            row = tap.ask(&json!({ "sql": sql }))["rows"][0].clone();
            row.is_object()
        });
        let text = |name: &str| row[name].as_str().unwrap();
        let key = format!("{table}~{}~{}~{}", text("flow_id"), row["seq"], text("node"));
        browser.open(&format!("{}/?row={key}", tap.url));
    };
    let of = |side: &str| browser.texts(&format!("[data-testid=conversation] .message.{side}"));
    open("websocket", "opcode = 'text' and sender = 'server'");
    wait_until("frames are what either side said", || {
        of("client").iter().any(|it| it.contains("hello hello hello number 1"))
            && of("server").iter().any(|it| it.contains("re: hello hello hello number 1"))
    });
    let on = || browser.texts("[data-testid=conversation] .message.on").concat();
    assert!(on().contains("re: hello hello hello number 0"), "{}", on());
    // Another message is another row.
    browser.click("[data-testid=conversation] .message.client button");
    wait_until("it opens the row of a message", || !on().is_empty() && !on().contains("re: "));
    browser.click("[data-testid=conversation-list]");
    wait_until("all of the connection are listed", || {
        browser.texts("[data-testid=conversation] .said").concat().contains("GET /chat")
    });
    // Of gRPC, the messages stand within the row.
    open("grpc", "method = 'List'");
    wait_until("a call's messages are told one by one, decoded", || {
        let said = browser.texts(".detail .item .message.server");
        said.len() > 2 && said.iter().any(|it| it.contains("row 2"))
    });
}

#[test]
fn a_map_of_hundreds_is_readable_and_leads_to_the_rows() {
    let folder = TempDir::new().unwrap();
    let Some(tap) = tap_loopback(folder.path()) else { return };
    // One server at every address of this machine; the kernel takes all of 127/8.
    let listener = std::net::TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    std::thread::spawn(move || {
        for stream in listener.incoming() {
            let Ok(mut stream) = stream else { break };
            let mut request = [0; 1024];
            let Ok(1..) = stream.read(&mut request) else { continue };
            let answer = b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\nconnection: close\r\n\r\nok";
            stream.write_all(answer).ok();
        }
    });
    for net in 1..=3 {
        curl(&format!("http://127.0.{net}.[1-100]:{port}/"), &[]);
    }
    wait_until("all are seen", || {
        let sql =
            format!("select count(distinct server_ip) as n from http where server_port = {port}");
        tap.ask(&json!({ "sql": sql }))["rows"][0]["n"] == 300
    });
    let browser = Browser::start(folder.path());
    browser.open(&format!("{}/map?filter=server_port%20%3D%20{port}", tap.url));
    let ends = || browser.texts("[data-testid=map-end]").len();
    wait_until("the ends are drawn", || ends() > 10);
    // No name lies on another one, and what is not drawn is said.
    let overlaps = browser.run(
        "const boxes = [...document.querySelectorAll('[data-testid=map-end] rect')].map(it => it.getBoundingClientRect());\
         let n = 0;\
         for (let a = 0; a < boxes.length; a++) for (let b = a + 1; b < boxes.length; b++) {\
           const [p, q] = [boxes[a], boxes[b]];\
           if (p.left + 1 < q.right && q.left + 1 < p.right && p.top + 1 < q.bottom && q.top + 1 < p.bottom) n++;\
         }\
         return n",
        json!([]),
    );
    assert_eq!(overlaps, 0);
    let wide = "return [...document.querySelectorAll('[data-testid=map-end]')].filter(it => {\
                const box = it.querySelector('rect').getBBox();\
                return [...it.querySelectorAll('text')].some(text => text.getBBox().width > box.width + 2);\
                }).length";
    assert_eq!(browser.run(wide, json!([])), 0, "names stay within their boxes");
    let scale = "return document.querySelector('[data-testid=map-end] text').getScreenCTM().a";
    let scale = browser.run(scale, json!([]));
    assert!(scale.as_f64().unwrap() > 0.65, "names are too small to be read: {scale}");
    // With the one that asks, they are 301; those that are not drawn are counted.
    let drawn = ends();
    let said = browser.texts(".mapped .status-line").concat();
    assert!(said.contains(&format!("the {} quietest are not shown", 301 - drawn)), "{said}");
    browser.click("[data-testid=map-whole]");
    wait_until("more are shown", || ends() == 300);
    // Its networks are fewer, and one of them leads to its rows.
    browser.open(&format!("{}/map?filter=server_port%20%3D%20{port}&group=network", tap.url));
    wait_until("networks are fewer", || (1..=6).contains(&ends()));
    browser.click("[data-testid=map-facts] a");
    wait_until("a call leads to its rows", || {
        let rows = browser.texts(ROW);
        !rows.is_empty() && rows.iter().all(|it| it.contains(&format!(":{port}")))
    });
}

#[test]
fn whose_traffic_is_kept_is_tried_and_changed_on_the_page() {
    let folder = TempDir::new().unwrap();
    let runtime = tokio::runtime::Runtime::new().unwrap();
    let double = runtime.block_on(Double::start()).unwrap();
    let config = folder.path().join("kubeconfig");
    std::fs::write(&config, double.kubeconfig(None)).unwrap();
    double.put(json!({ "apiVersion": "v1", "kind": "Namespace", "metadata": { "name": "shop" } }));
    double.put(json!({ "apiVersion": "v1", "kind": "ConfigMap",
        "metadata": { "name": "settings", "namespace": "shop" }, "data": { "targeting.json": "{}" } }));
    for (n, name) in ["cart-1", "cart-2", "pay-1"].iter().enumerate() {
        let ip = format!("10.244.0.{}", n + 1);
        double.put(json!({ "apiVersion": "v1", "kind": "Pod",
            "metadata": { "name": name, "namespace": "shop" },
            "spec": { "nodeName": "n1", "containers": [{ "name": "main", "image": "x" }] },
            "status": { "phase": "Running", "startTime": "2026-01-01T00:00:00Z", "podIP": ip,
                "podIPs": [{ "ip": ip }] } }));
    }
    let mut command = kubeshark();
    command.args(["hub", "--cluster", "--settings", "settings", "--namespace", "shop"]);
    let hub = Hub::of(command.args(["--listen", "127.0.0.1:0"]).env("KUBECONFIG", &config));
    let browser = Browser::start(folder.path());
    browser.open(&format!("{}/workers", hub.url));
    let said = || {
        let text = browser.texts("[data-testid=targeting]").concat();
        text.split_whitespace().collect::<Vec<_>>().join(" ")
    };
    wait_until("all are kept", || said().contains("all pods: 3 pods"));
    browser.click("[data-testid=targeting-change]");
    browser.wait_for("[data-testid=targeting-pods]");
    browser.fill("[data-testid=targeting-pods]", "(");
    wait_until("a mistake is told", || {
        browser.texts("[data-testid=targeting-error]").concat().contains("no regular expression")
    });
    browser.fill("[data-testid=targeting-pods]", "^cart");
    wait_until("what it would mean is told, with the reason", || {
        let rows = browser.texts(".meant tbody tr");
        rows.len() == 3
            && rows[0].contains("cart-1")
            && rows[0].contains("kept")
            && rows[2].contains("its name does not match `^cart`")
    });
    let kept = || {
        let map = double.get(&Key::new("", "configmaps", "shop", "settings")).unwrap();
        map["data"]["targeting.json"].as_str().unwrap().to_owned()
    };
    assert_eq!(kept(), "{}", "nothing was changed by looking");
    browser.click("[data-testid=targeting-apply]");
    wait_until("it is in force, and said so", || {
        said().contains("names like ^cart: 2 pods, not of 1")
    });
    assert!(kept().contains("^cart"), "{}", kept());

    // Somebody else is faster: nothing of theirs is undone unseen.
    browser.click("[data-testid=targeting-change]");
    browser.wait_for("[data-testid=targeting-pods]");
    let theirs = json!({ "data": { "targeting.json": "{\"pods\":\"^pay\"}" } });
    double.patch(&Key::new("", "configmaps", "shop", "settings"), &theirs, "kubectl");
    browser.fill("[data-testid=targeting-pods]", "^cart-2");
    browser.click("[data-testid=targeting-apply]");
    wait_until("it is told", || {
        browser.texts("[data-testid=targeting-error]").concat().contains("by somebody else")
    });
    assert!(kept().contains("^pay"), "{}", kept());
}

#[test]
fn no_view_has_a_serious_finding_of_axe_in_light_or_dark() {
    let folder = TempDir::new().unwrap();
    let Some(tap) = tap_loopback(folder.path()) else { return };
    let web = Web::start(folder.path());
    let browser = Browser::start(folder.path());
    let filter = format!("http and server_port = {}", web.port).replace(' ', "%20");
    browser.open(&format!("{}/?filter={filter}", tap.url));
    wait_until("there are rows", || {
        curl(&format!("http://127.0.0.1:{}/hello.txt?a=b&c=d", web.port), &[]);
        curl(&format!("http://127.0.0.1:{}/missing", web.port), &[]);
        browser.texts(ROW).len() > 6
    });
    let axe = axe();
    let mut found = Vec::new();
    let mut look = |view: &str| {
        browser.run(&axe, json!([]));
        for theme in ["light", "dark"] {
            let script = "const [theme, done] = arguments;\
                document.documentElement.setAttribute('data-theme', theme);\
                axe.run(document, { resultTypes: ['violations'] }).then(it => done(it.violations\
                  .filter(it => ['serious', 'critical'].includes(it.impact))\
                  .flatMap(it => it.nodes.map(node => `${it.id}: ${node.html.slice(0, 120)}: ${(node.any[0] ?? node.all[0] ?? node.none[0] ?? {}).message}`))))";
            let told = browser.run_async(script, json!([theme]));
            let told = told.as_array().unwrap_or_else(|| panic!("{view}: {told}"));
            found.extend(told.iter().map(|it| format!("{view}, {theme}: {it}")));
        }
    };
    look("traffic");
    browser.click("[data-testid=pause]");
    browser.click(ROW);
    wait_until("a row is open", || {
        browser.texts("[data-testid=detail]").concat().contains("request")
    });
    look("a row");
    browser.press(&["x", "j", "x", "c"]);
    browser.wait_for("[data-testid=compare] tr.differs");
    look("two rows compared");
    browser.press(&["?"]);
    browser.wait_for("[data-testid=help]");
    look("the keys");
    browser.open(&format!("{}/?filter={filter}", tap.url));
    browser.wait_for("[data-testid=saved-filters]");
    browser.click("[data-testid=saved-filters]");
    look("saved filters");
    for (view, address, css) in [
        (
            "SQL, a chart",
            "/sql?q=SELECT%20status,%20count(*)%20AS%20n%20FROM%20http%20GROUP%20BY%201&view=bar",
            ".figure svg path",
        ),
        ("SQL, a table", "/sql?q=SELECT%20*%20FROM%20http%20LIMIT%2020", ".grid"),
        ("a dashboard", "/dashboards?name=Overview", "[data-testid=panel] svg path"),
        ("the map", "/map", "[data-testid=map-end]"),
        ("the Workers", "/workers", "[data-testid=worker]"),
        ("nothing", "/nothing/here", "main *"),
    ] {
        browser.open(&format!("{}{address}", tap.url));
        browser.wait_for(css);
        look(view);
    }
    assert!(found.is_empty(), "{} findings:\n{}", found.len(), found.join("\n"));
}

/// The script of axe-core, of PyPI's package that carries it, fetched into the target folder if it isn't there.
fn axe() -> String {
    let venv = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("axe");
    let done = venv.join(format!("axe-{AXE}.min.js"));
    if let Ok(script) = std::fs::read_to_string(&done) {
        return script;
    }
    let python = venv.join("bin/python");
    let run = |command: &mut Command| {
        let output = crate::processes::run(command);
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "python3-venv and PyPI are needed: {said}");
    };
    run(Command::new("python3").args(["-m", "venv", "--clear"]).arg(&venv));
    let wanted = venv.join("wanted.txt");
    std::fs::write(&wanted, format!("axe-playwright-python=={AXE} --hash=sha256:{AXE_HASH}\n"))
        .unwrap();
    run(Command::new(&python)
        .args(["-m", "pip", "install", "-q", "--no-deps", "--require-hashes", "-r"])
        .arg(&wanted));
    let find = "import importlib.util as it, os; print(os.path.dirname(it.find_spec('axe_playwright_python').origin))";
    let output = crate::processes::run(Command::new(&python).args(["-c", find]));
    let package = PathBuf::from(String::from_utf8_lossy(&output.stdout).trim());
    let script = std::fs::read_to_string(package.join("axe.min.js")).unwrap();
    std::fs::write(&done, &script).unwrap();
    script
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
        let downloads = folder.join("downloads");
        std::fs::create_dir_all(&downloads).unwrap();
        let prefs = json!({ "download.default_directory": downloads });
        let options = json!({ "args": arguments, "prefs": prefs });
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

    /// What a script returns.
    fn run(&self, script: &str, arguments: Value) -> Value {
        self.post("/execute/sync", &json!({ "script": script, "args": arguments }))
    }

    /// What a script gives to the last of its arguments.
    fn run_async(&self, script: &str, arguments: Value) -> Value {
        self.post("/timeouts", &json!({ "script": 120_000 }));
        self.post("/execute/async", &json!({ "script": script, "args": arguments }))
    }

    /// Keys, wherever the focus is.
    fn press(&self, keys: &[&str]) {
        let keys = keys.iter().flat_map(|it| it.chars());
        let actions = keys.flat_map(|it| {
            [json!({ "type": "keyDown", "value": it }), json!({ "type": "keyUp", "value": it })]
        });
        self.act(json!([{ "type": "key", "id": "keys", "actions": actions.collect::<Vec<_>>() }]));
    }

    /// A key while another one is held.
    fn press_with(&self, held: &str, key: &str) {
        let down = |it: &str| json!({ "type": "keyDown", "value": it });
        let up = |it: &str| json!({ "type": "keyUp", "value": it });
        let actions = [down(held), down(key), up(key), up(held)];
        self.act(json!([{ "type": "key", "id": "keys", "actions": actions }]));
    }

    /// A click while a key is held.
    fn click_with(&self, css: &str, held: &str) {
        let element = json!({ "element-6066-11e4-a52e-4f735466cecf": self.element(css) });
        let at = json!({ "type": "pointerMove", "duration": 0, "origin": element, "x": 0, "y": 0 });
        let pause = json!({ "type": "pause", "duration": 0 });
        let key = |kind: &str| json!({ "type": kind, "value": held });
        let button = |kind: &str| json!({ "type": kind, "button": 0 });
        self.act(json!([
            { "type": "key", "id": "keys", "actions": [key("keyDown"), pause, pause, pause, key("keyUp")] },
            { "type": "pointer", "id": "mouse", "actions": [pause, at, button("pointerDown"), button("pointerUp"), pause] },
        ]));
    }

    /// Marks all of an element from the left to the right.
    fn drag(&self, css: &str) {
        let size = "const box = document.querySelector(arguments[0]).getBoundingClientRect(); return box.width";
        let half = self.run(size, json!([css])).as_f64().unwrap() / 2.0;
        let element = json!({ "element-6066-11e4-a52e-4f735466cecf": self.element(css) });
        let to = |x: f64| json!({ "type": "pointerMove", "duration": 100, "origin": element, "x": x as i64, "y": 0 });
        let button = |kind: &str| json!({ "type": kind, "button": 0 });
        self.act(json!([{ "type": "pointer", "id": "mouse", "actions": [
            to(40.0 - half), button("pointerDown"), to(0.0), to(half - 14.0), button("pointerUp"),
        ] }]));
    }

    fn act(&self, actions: Value) {
        self.post("/actions", &json!({ "actions": actions }));
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
const PICKED: &str = "[data-testid=row].picked";
const EDITOR: &str = "[data-testid=sql-editor]";
const CONTROL: &str = "\u{e009}";
const ESCAPE: &str = "\u{e00c}";
/// It carries axe-core 4.12.1.
const AXE: &str = "0.1.8";
const AXE_HASH: &str = "fdd263c998388f1a8e67cad02677e612d946248bd44d163be5e8650ea31f95f8";
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
