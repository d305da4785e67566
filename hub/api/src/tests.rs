use super::*;
use serde_json::json;

#[test]
fn a_request_reads_from_json() {
    let request: QueryRequest = serde_json::from_value(json!({
        "filter": "http.status >= 500", "columns": ["ts", "target"], "limit": 10, "accounting": true,
    }))
    .unwrap();
    assert_eq!(request.columns, ["ts", "target"]);
    assert_eq!(request.limit, Some(10));
    assert!(request.accounting);
}

#[test]
fn a_request_reads_from_parameters_which_are_all_text() {
    let request: QueryRequest = serde_json::from_value(json!({
        "sql": "SELECT 1", "columns": "ts, target", "limit": "10", "accounting": "1", "format": "csv",
    }))
    .unwrap();
    assert_eq!(request.columns, ["ts", "target"]);
    assert_eq!(request.limit, Some(10));
    assert_eq!(request.format, Some(Format::Csv));
    assert!(request.accounting);
}

#[test]
fn a_misspelt_member_is_refused_rather_than_ignored() {
    let error = serde_json::from_value::<QueryRequest>(json!({ "sql": "SELECT 1", "limt": 3 }))
        .unwrap_err();
    assert!(error.to_string().contains("limt"), "{error}");
}

#[test]
fn an_unset_member_is_not_sent() {
    assert_eq!(
        serde_json::to_value(QueryRequest::sql("SELECT 1")).unwrap(),
        json!({ "sql": "SELECT 1" })
    );
}

#[test]
fn a_status_says_its_type() {
    let error = TailStatus::Error(ApiError {
        at: Some(Span { start: 2, end: 5 }),
        ..ApiError::new("no such column")
    });
    let text =
        json!({ "type": "error", "message": "no such column", "at": { "start": 2, "end": 5 } });
    assert_eq!(serde_json::to_value(&error).unwrap(), text);
    assert_eq!(serde_json::from_value::<TailStatus>(text).unwrap(), error);
}

#[test]
fn a_quote_cannot_end_a_text_or_a_name() {
    let key = RowKey {
        protocol: "a\"b".into(),
        node: "n' or 1=1 --".into(),
        flow_id: "f".into(),
        seq: 1,
    };
    assert_eq!(
        key.sql(),
        r#"SELECT * FROM "a""b" WHERE node = 'n'' or 1=1 --' AND flow_id = 'f' AND seq = 1"#
    );
}

#[test]
fn every_format_is_found_by_its_media_type() {
    for format in Format::ALL {
        assert_eq!(Format::of_media(format.media()), Some(format));
    }
    assert_eq!(Format::of_media("text/html"), None);
}
