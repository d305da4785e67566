//! Settings: a file, below the environment, below flags.

use tempfile::TempDir;

use crate::processes::{kubeshark, run};

/// What `kubeshark config` says of one setting, with where it is from.
fn shown(folder: &TempDir, environment: &[(&str, &str)], setting: &str) -> String {
    let mut command = kubeshark();
    command.arg("config").env("XDG_CONFIG_HOME", folder.path());
    let output = run(command.envs(environment.iter().copied()));
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    let text = String::from_utf8(output.stdout).unwrap();
    let (verb, option) = setting.split_once('.').unwrap();
    let group = text.split(&format!("\n{verb}:\n")).nth(1).unwrap();
    let line = group.lines().find(|it| it.trim_start().starts_with(&format!("{option}: ")));
    let line = line.unwrap().trim().replace(folder.path().to_str().unwrap(), "FOLDER");
    line.to_owned()
}

fn folder(settings: &str) -> TempDir {
    let folder = TempDir::new().unwrap();
    std::fs::create_dir(folder.path().join("kubeshark")).unwrap();
    std::fs::write(folder.path().join("kubeshark/config.yaml"), settings).unwrap();
    folder
}

#[test]
fn the_environment_wins_over_the_file_and_a_flag_over_both() {
    let folder = folder("query:\n  format: csv\nhub:\n  token: secret\ntap:\n  local: true\n");
    let file = "FOLDER/kubeshark/config.yaml";
    assert_eq!(shown(&folder, &[], "query.format"), format!("format: csv  # from {file}:2"));
    let name = "KUBESHARK_QUERY_FORMAT";
    let environment = [(name, "ndjson")];
    assert_eq!(
        shown(&folder, &environment, "query.format"),
        format!("format: ndjson  # from {name}")
    );
    assert_eq!(shown(&folder, &[], "tail.format").split(' ').count(), 2, "the default");
    // Secrets are not shown.
    assert_eq!(shown(&folder, &[], "hub.token"), format!("token: \"…\"  # from {file}:4"));
    assert_eq!(
        shown(&folder, &[("KUBESHARK_TAP_LOCAL", "0")], "tap.local"),
        "local: false  # from KUBESHARK_TAP_LOCAL"
    );

    let ask = |environment: &[(&str, &str)], flags: &[&str]| {
        let mut command = kubeshark();
        command.env("XDG_CONFIG_HOME", folder.path()).envs(environment.iter().copied());
        command.args(["query", "--read", "tests/cmd/query.in/day.pcap", "select 1 as one"]);
        let output = run(command.args(flags));
        String::from_utf8(output.stdout).unwrap()
    };
    assert_eq!(ask(&[], &[]), "one\n1\n");
    assert_eq!(ask(&environment, &[]), "{\"one\":1}\n");
    assert_eq!(ask(&environment, &["--format", "csv"]), "one\n1\n");
}

#[test]
fn a_value_of_the_file_gives_way_to_a_flag_that_it_does_not_go_with() {
    let folder = folder("worker:\n  interface: nothing0\n");
    let mut command = kubeshark();
    command.env("XDG_CONFIG_HOME", folder.path());
    // Were the interface asked for, that would be what is wrong.
    command.args(["worker", "--hub", "nonsense://x", "--read", "tests/cmd/query.in/day.pcap"]);
    let said = String::from_utf8(run(&mut command).stderr).unwrap();
    assert!(said.contains("nonsense") && !said.contains("nothing0"), "{said}");
}

#[test]
fn a_file_made_anew_explains_all_and_sets_nothing_and_the_old_one_is_kept() {
    let folder = folder("tap:\n  prot: 1\n");
    let config = |arguments: &[&str]| {
        let mut command = kubeshark();
        run(command.arg("config").args(arguments).env("XDG_CONFIG_HOME", folder.path()))
    };
    assert_eq!(config(&[]).status.code(), Some(2));
    assert!(config(&["--regenerate"]).status.success());
    let path = folder.path().join("kubeshark/config.yaml");
    let text = std::fs::read_to_string(&path).unwrap();
    assert!(std::fs::read_to_string(path.with_extension("yaml.old")).unwrap().contains("prot"));
    for part in
        ["tap:\n", "  #port: 8899\n", "[KUBESHARK_TAP_PORT]", "#log: null\n", "  #token: null\n"]
    {
        assert!(text.contains(part), "{part} in {text}");
    }
    let shown = config(&[]);
    assert!(shown.status.success(), "{}", String::from_utf8_lossy(&shown.stderr));
    let defaults = String::from_utf8(shown.stdout).unwrap();
    assert!(!defaults.contains("# from"), "{defaults}");

    // With every # taken away it says the same: all that is shown can be read.
    let all: Vec<_> = text
        .lines()
        .map(|it| {
            let bare = it.trim_start();
            match bare.strip_prefix('#').filter(|it| !it.starts_with(' ')) {
                Some(setting) => format!("{}{setting}", " ".repeat(it.len() - bare.len())),
                None => it.to_owned(),
            }
        })
        .collect();
    std::fs::write(&path, all.join("\n")).unwrap();
    let again = config(&[]);
    assert!(again.status.success(), "{}", String::from_utf8_lossy(&again.stderr));
    let again = String::from_utf8(again.stdout).unwrap();
    let bare = |text: &str| {
        let lines = text.lines().map(|it| it.split("  # from").next().unwrap().to_owned());
        lines.collect::<Vec<_>>()
    };
    assert_eq!(bare(&again), bare(&defaults));
}
