//! What the command line says: transcripts in `tests/cmd`.

#[test]
fn transcripts() {
    trycmd::TestCases::new()
        .env("KUBESHARK_HUB", "")
        .env("COLUMNS", "100")
        .case("tests/cmd/*.trycmd");
}
