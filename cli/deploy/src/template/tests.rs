use serde_json::json;

use super::*;

fn text(template: &str) -> Result<String, String> {
    let root = json!({
        "a": {"b": "x", "list": ["p", "q"], "map": {"k2": "v2", "k1": "v1"}, "no": false, "n": 8899},
        "empty": "", "big": 1_000_000,
    });
    let world = World {
        lookup: &|_, _, _, name| (name == "there").then(|| json!({"data": {"token": "dG9r"}})),
        random: &|length| "r".repeat(length),
        now: 1_709_208_000,
    };
    let all = Templates::parse([("t.yaml", template)]).map_err(|it| it.to_string())?;
    let mut texts = all.render(&root, &world).map_err(|it| it.to_string())?;
    Ok(texts.remove(0).1)
}

#[test]
fn says_what_helm_says() {
    for (template, wanted) in [
        ("{{ .a.b }}", "x"),
        ("1\n  {{- .a.b -}}\n  2", "1x2"),
        ("{{- /* {{ }} \" */ -}}\nx", "x"),
        ("{{ if .empty }}1{{ else if .a.no }}2{{ else }}3{{ end }}", "3"),
        ("{{ with .a.map }}{{ .k1 }}{{ $.a.b }}{{ end }}", "v1x"),
        ("{{ with .empty }}1{{ else }}{{ .a.b }}{{ end }}", "x"),
        ("{{ range .a.list }}[{{ . }}]{{ end }}", "[p][q]"),
        ("{{ range $k, $v := .a.map }}{{ $k }}={{ $v }};{{ end }}", "k1=v1;k2=v2;"),
        ("{{ range $i, $v := .a.list }}{{ $i }}{{ $v }}{{ end }}", "0p1q"),
        ("{{ range .none }}1{{ else }}2{{ end }}", "2"),
        ("{{ $x := \"1\" }}{{ if true }}{{ $x = \"2\" }}{{ $y := \"3\" }}{{ end }}{{ $x }}", "2"),
        ("{{ .a.n }}{{ .big | int64 }}", "88991000000"),
        ("{{ .a.map | toYaml | nindent 2 }}", "\n  \"k1\": \"v1\"\n  \"k2\": \"v2\""),
        ("{{ .a.list | toJson }}", "[\"p\",\"q\"]"),
        ("{{ and .a.b .empty }}|{{ or .empty .a.b }}|{{ and .empty (fail \"no\") }}", "|x|"),
        (
            "{{ default \"d\" .empty }}{{ .empty | default \"e\" }}{{ .none | default \"f\" }}",
            "def",
        ),
        ("{{ ternary \"y\" \"n\" .a.no }}", "n"),
        ("{{ printf \"%s-%s\" .a.b \"z\" | trunc 2 | trimSuffix \"-\" }}", "x"),
        (
            "{{ \"päss\" | b64enc }} {{ \"a\" | b64enc }} {{ \"abc\" | b64enc }}",
            "cMOkc3M= YQ== YWJj",
        ),
        ("{{ \"\" | sha256sum | trunc 8 }}", "e3b0c442"),
        ("{{ (lookup \"v1\" \"Secret\" \"n\" \"there\").data.token }}", "dG9r"),
        ("{{ if lookup \"v1\" \"Secret\" \"n\" \"gone\" }}1{{ end }}", ""),
        ("{{ hasKey .a \"b\" }}{{ index .a.map \"k1\" }}{{ index .a.list 1 }}", "truev1q"),
        ("{{ define \"d\" }}<{{ .k1 }}>{{ end }}{{ include \"d\" .a.map }}", "<v1>"),
        ("{{ (dict \"k\" .a.b).k }}{{ randAlphaNum 3 }}{{ `a\"b` | quote }}", "xrrr\"a\\\"b\""),
        (
            "{{ now | date `2006-01-02` }} {{ now | dateModify `+17520h` | date `2006-01-02` }}",
            "2024-02-29 2026-02-28",
        ),
        ("{{ lt `2024-02-29` `2024-03-01` }}{{ lt `2024-02-29` `2024-02-29` }}", "truefalse"),
        (
            "{{ $ca := genCA `c` 9 }}{{ $it := genSignedCert `n` nil (list `a.b`) 9 $ca }}\
             {{ $it.Key | trunc 27 }}{{ contains `BEGIN CERTIFICATE` $it.Cert }}",
            "-----BEGIN PRIVATE KEY-----true",
        ),
        (
            "{{ eq .a.b \"y\" \"x\" }}{{ ne .a.b \"x\" }}{{ not .empty }}{{ contains \"x\" .a.b }}",
            "truefalsetruetrue",
        ),
    ] {
        assert_eq!(text(template).as_deref(), Ok(wanted), "{template}");
    }
}

#[test]
fn what_it_does_not_know_is_a_mistake_with_a_line() {
    for (template, wanted) in [
        ("a\nb {{ .none }}", "t.yaml:2: there is no such value"),
        ("{{ .a.none.x }}", "t.yaml:1: there is no `.x` of null"),
        ("{{ .big }}", "t.yaml:1: 1000000 is printed in different ways: use `int64`"),
        ("{{ upper .a.b }}", "t.yaml:1: `upper`: is not known here, or not with 1 such arguments"),
        ("{{ if .a }}", "t.yaml:1: this `if` has no `end`"),
        ("\n{{ end }}", "t.yaml:2: {{ end }} ends nothing"),
        ("{{ .a", "t.yaml:1: {{ has no }}"),
        ("{{ \"a }}", "t.yaml:1: {{ has no }}"),
        ("{{ $x }}", "t.yaml:1: $x was never set"),
        ("{{ $x = 1 }}", "t.yaml:1: $x was never set"),
        ("{{ template \"x\" . }}", "t.yaml:1: `template` is not known here"),
        ("{{ include \"x\" . }}", "t.yaml:1: nothing is defined as `x`"),
        (
            "{{ define \"x\" }}{{ include \"x\" . }}{{ end }}{{ include \"x\" . }}",
            "t.yaml:1: `x` includes itself",
        ),
        ("{{ 1.5 }}", "t.yaml:1: only a function can be given something"),
        ("{{ }}", "t.yaml:1: a pipeline without an end"),
        ("{{ (.a }}", "t.yaml:1: a `(` without `)`"),
        ("{{ .a) }}", "t.yaml:1: a `)` that closes nothing"),
        ("{{ .a.b .a }}", "t.yaml:1: only a function can be given something"),
        ("{{ printf \"%d\" 1 }}", "t.yaml:1: `printf`: %d is not known here"),
        ("{{ .a.map }}", "t.yaml:1: {\"k"),
        ("{{ eq .a.n 8899 }}", "t.yaml:1: `eq`: 8899 and 8899 are not compared here"),
        ("{{ now }}", "t.yaml:1: 1709208000 is printed in different ways"),
        ("{{ now | date `Jan 2` }}", "t.yaml:1: `date`: is not known here"),
        ("{{ genCA `c` `9` }}", "t.yaml:1: `genCA`: wants a whole number"),
        ("{{ required \"say b\" .empty }}", "say b"),
        ("{{ fail \"don't\" }}", "don't"),
    ] {
        let why = text(template).unwrap_err();
        assert!(why.starts_with(wanted), "{template}: {why}");
    }
    let nested = "{{ if true }}".repeat(10_000);
    assert!(text(&nested).unwrap_err().contains("nested too deep"));
    let nested = format!("{{{{ {}1 }}}}", "(".repeat(10_000));
    assert!(text(&nested).unwrap_err().contains("nested too deep"));
}
