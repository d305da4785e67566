use super::*;

fn three(text: &str) -> u8 {
    let expr = match text {
        "t" => lit(true),
        "f" => lit(false),
        "n" => lit(ScalarValue::Boolean(None)),
        other => col(other),
    };
    outcomes(&expr)
}

#[test]
fn conditions_come_to_what_three_valued_logic_says() {
    let values = [(lit(true), TRUE), (lit(false), FALSE), (lit(ScalarValue::Boolean(None)), NULL)];
    for (a, va) in &values {
        for (b, vb) in &values {
            let and = match (*va, *vb) {
                (FALSE, _) | (_, FALSE) => FALSE,
                (NULL, _) | (_, NULL) => NULL,
                _ => TRUE,
            };
            let or = match (*va, *vb) {
                (TRUE, _) | (_, TRUE) => TRUE,
                (NULL, _) | (_, NULL) => NULL,
                _ => FALSE,
            };
            assert_eq!(outcomes(&a.clone().and(b.clone())), and, "{a} and {b}");
            assert_eq!(outcomes(&a.clone().or(b.clone())), or, "{a} or {b}");
        }
    }
    assert_eq!(three("x"), TRUE | FALSE | NULL);
    let never = lit(ScalarValue::Boolean(None)).and(col("x"));
    assert_eq!(outcomes(&never) & TRUE, 0);
    assert_eq!(outcomes(&!never) & TRUE, TRUE);
}

#[test]
fn places_are_bytes_of_the_text() {
    let text = "a = 'é'\nand statsu";
    assert_eq!(offset(text, Location { line: 1, column: 5 }), 4);
    assert_eq!(offset(text, Location { line: 2, column: 5 }), 13);
    assert_eq!(word_at(text, 13), 13..19);
    let (message, at) = position(text, "Expected: x, found: statsu at Line: 2, Column: 5");
    assert_eq!((message.as_str(), at), ("Expected: x, found: statsu", Some(13..19)));
}

#[test]
fn units_scale_numbers() {
    let scaled = |text: &str| {
        let tokens = Tokenizer::new(&GenericDialect {}, text).tokenize_with_location().unwrap();
        match &niceties(text, tokens).unwrap()[0].token {
            Token::Number(it, _) => it.clone(),
            other => panic!("{other}"),
        }
    };
    assert_eq!(scaled("100ms"), "100000000");
    assert_eq!(scaled("1.5s"), "1500000000");
    assert_eq!(scaled("250us"), "250000");
    assert_eq!(scaled("2m"), "120000000000");
    assert_eq!(scaled("1kib"), "1024");
    assert_eq!(scaled("7"), "7");
}

#[test]
fn a_column_may_be_called_like_a_word_of_sql() {
    for text in ["postgresql.user = 'x'", "tls.group = 'x25519' and not dns.end is null"] {
        assert_eq!(read(text).unwrap().to_string().to_lowercase(), text, "{text}");
    }
}
