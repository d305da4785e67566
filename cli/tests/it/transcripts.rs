//! What the command line says: transcripts in `tests/cmd`.

#[test]
fn transcripts() {
    trycmd::TestCases::new()
        .env("KUBESHARK_HUB", "")
        // Whoever runs the tests may have settings of their own.
        .env("XDG_CONFIG_HOME", "/nonexistent")
        .env("COLUMNS", "100")
        .case("tests/cmd/*.trycmd");
}
