//! The words of a filter, for colouring and completing it. Whether it is a filter, the Hub says.

use std::ops::Range;

/// What a piece of a filter is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Token {
    /// A column or a table.
    Name,
    /// `and`, `like`, `null` …
    Keyword,
    Number,
    Text,
    Operator,
    /// Brackets and commas.
    Mark,
    Space,
}

impl Token {
    /// Its colour.
    pub(crate) fn class(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Keyword => "keyword",
            Self::Number => "literal",
            Self::Text => "string",
            Self::Operator => "operator",
            Self::Mark | Self::Space => "",
        }
    }
}

/// Every byte of the text belongs to one piece.
pub(crate) fn lex(text: &str) -> Vec<(Token, Range<usize>)> {
    let mut pieces = Vec::new();
    let mut at = 0;
    while let Some(first) = text.get(at..).and_then(|rest| rest.chars().next()) {
        let rest = text.get(at..).unwrap_or_default();
        let run = |fits: &dyn Fn(char) -> bool| rest.find(|char| !fits(char)).unwrap_or(rest.len());
        let (token, length) = match first {
            char if char.is_whitespace() => (Token::Space, run(&char::is_whitespace)),
            '\'' | '"' => (Token::Text, quoted(rest, first)),
            char if char.is_ascii_digit() => {
                (Token::Number, run(&|char| char.is_alphanumeric() || char == '.' || char == '_'))
            }
            char if char.is_alphabetic() || char == '_' => {
                let length = run(&|char| char.is_alphanumeric() || char == '_' || char == '.');
                let word = rest.get(..length).unwrap_or_default();
                let is_keyword = KEYWORDS.iter().any(|keyword| keyword.eq_ignore_ascii_case(word));
                (if is_keyword { Token::Keyword } else { Token::Name }, length)
            }
            char if OPERATORS.contains(char) => {
                (Token::Operator, run(&|char| OPERATORS.contains(char)))
            }
            char => (Token::Mark, char.len_utf8()),
        };
        pieces.push((token, at..at + length));
        at += length;
    }
    pieces
}

/// The length of a text in quotes, its doubled quotes included; to the end if it is not closed.
fn quoted(text: &str, quote: char) -> usize {
    let mut chars = text.char_indices().skip(1).peekable();
    while let Some((at, char)) = chars.next() {
        if char == quote && chars.next_if(|(_, next)| *next == quote).is_none() {
            return at + 1;
        }
    }
    text.len()
}

const KEYWORDS: [&str; 12] = [
    "and", "or", "not", "in", "like", "ilike", "between", "is", "null", "true", "false", "similar",
];
const OPERATORS: &str = "=<>!~&|+-*/%";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_filter_falls_into_its_words() {
        let text = "http.path like '%it''s%' and duration>100ms or x['ü";
        let look: Vec<_> = lex(text)
            .into_iter()
            .filter(|(token, _)| *token != Token::Space)
            .map(|(token, at)| (token, text.get(at).expect("pieces are whole")))
            .collect();
        assert_eq!(
            look,
            [
                (Token::Name, "http.path"),
                (Token::Keyword, "like"),
                (Token::Text, "'%it''s%'"),
                (Token::Keyword, "and"),
                (Token::Name, "duration"),
                (Token::Operator, ">"),
                (Token::Number, "100ms"),
                (Token::Keyword, "or"),
                (Token::Name, "x"),
                (Token::Mark, "["),
                (Token::Text, "'ü"),
            ]
        );
    }

    #[test]
    fn no_byte_is_lost() {
        for text in ["", "a", "\u{1f980} = 'x", "\"\"\"", "((,,))é1", "a.b.c == 1.5s\u{0}"] {
            let all: String = lex(text).into_iter().filter_map(|(_, at)| text.get(at)).collect();
            assert_eq!(all, text);
        }
    }
}
