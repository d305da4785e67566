//! The text of a KFL expression as a tree. Both generations have one grammar here; what they have
//! in common is most of it, and which of them a text is shows only in the whole.
use std::ops::Range;

use super::Problem;

/// A part of an expression, and the bytes it stands at.
#[derive(Clone, Debug, PartialEq)]
pub(super) struct Node {
    pub(super) at: Range<usize>,
    pub(super) is: Is,
}

/// What a part is.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Is {
    Text(String),
    /// `r"…"`: a regular expression in the older KFL, a text without escapes in the newer.
    Raw(String),
    Int(i64),
    Float(f64),
    Flag(bool),
    Nil,
    /// A name with its members: `src.pod.name`.
    Name(String),
    /// A member of something that is not a name.
    Member(Box<Node>, String),
    Index(Box<Node>, Box<Node>),
    Call(Option<Box<Node>>, String, Vec<Node>),
    Not(Box<Node>),
    Minus(Box<Node>),
    Binary(Op, Box<Node>, Box<Node>),
    Choice(Box<Node>, Box<Node>, Box<Node>),
    List(Vec<Node>),
    Group(Box<Node>),
}

/// What stands between two parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Op {
    And,
    Or,
    /// `and`, as the older KFL writes it.
    AndWord,
    /// `or`, likewise.
    OrWord,
    Eq,
    Ne,
    Lt,
    Le,
    Gt,
    Ge,
    In,
    Plus,
    Minus,
    Times,
    Divide,
    Modulo,
}

impl Op {
    /// The operator as it is written in KFL.
    pub(super) const fn text(self) -> &'static str {
        match self {
            Self::And => "&&",
            Self::Or => "||",
            Self::AndWord => "and",
            Self::OrWord => "or",
            Self::Eq => "==",
            Self::Ne => "!=",
            Self::Lt => "<",
            Self::Le => "<=",
            Self::Gt => ">",
            Self::Ge => ">=",
            Self::In => "in",
            Self::Plus => "+",
            Self::Minus => "-",
            Self::Times => "*",
            Self::Divide => "/",
            Self::Modulo => "%",
        }
    }

    /// The longer binds tighter.
    const fn binding(self) -> u8 {
        match self {
            Self::Or | Self::OrWord => 1,
            Self::And | Self::AndWord => 2,
            Self::Eq | Self::Ne | Self::Lt | Self::Le | Self::Gt | Self::Ge | Self::In => 3,
            Self::Plus | Self::Minus => 4,
            Self::Times | Self::Divide | Self::Modulo => 5,
        }
    }

    const ALL: [Self; 16] = [
        Self::And,
        Self::Or,
        Self::AndWord,
        Self::OrWord,
        Self::Eq,
        Self::Ne,
        Self::Lt,
        Self::Le,
        Self::Gt,
        Self::Ge,
        Self::In,
        Self::Plus,
        Self::Minus,
        Self::Times,
        Self::Divide,
        Self::Modulo,
    ];
}

impl Node {
    /// Shows every part to `look`, from the left.
    pub(super) fn each<'a>(&'a self, look: &mut dyn FnMut(&'a Self)) {
        look(self);
        match &self.is {
            Is::Member(it, _) | Is::Not(it) | Is::Minus(it) | Is::Group(it) => it.each(look),
            Is::Index(a, b) | Is::Binary(_, a, b) => {
                a.each(look);
                b.each(look);
            }
            Is::Choice(a, b, c) => [a, b, c].into_iter().for_each(|it| it.each(look)),
            Is::Call(on, _, arguments) => {
                on.iter().for_each(|it| it.each(look));
                arguments.iter().for_each(|it| it.each(look));
            }
            Is::List(items) => items.iter().for_each(|it| it.each(look)),
            Is::Text(_)
            | Is::Raw(_)
            | Is::Int(_)
            | Is::Float(_)
            | Is::Flag(_)
            | Is::Nil
            | Is::Name(_) => {}
        }
    }
}

/// The text as a tree.
pub(super) fn read(text: &str) -> Result<Node, Problem> {
    let tokens = tokens(text)?;
    let mut reader = Reader { text, tokens, next: 0, depth: 0 };
    let node = reader.choice()?;
    match reader.peek() {
        Token::End => Ok(node),
        _ => Err(reader.unexpected("an operator or the end")),
    }
}

#[derive(Clone, Debug, PartialEq)]
enum Token {
    Word(String),
    Text(String),
    Raw(String),
    Int(i64),
    Float(f64),
    Sign(&'static str),
    End,
}

const SIGNS: [&str; 25] = [
    "&&", "||", "==", "!=", "<=", ">=", "..", "<", ">", "!", "+", "-", "*", "/", "%", "(", ")",
    "[", "]", "{", "}", ",", ".", "?", ":",
];

fn tokens(text: &str) -> Result<Vec<(Token, Range<usize>)>, Problem> {
    let mut out = Vec::new();
    let mut at = 0;
    loop {
        let rest = text.get(at..).unwrap_or_default();
        let Some(first) = rest.chars().next() else { break };
        if first.is_whitespace() {
            at += first.len_utf8();
            continue;
        }
        if rest.starts_with("//") {
            at += rest.find('\n').unwrap_or(rest.len());
            continue;
        }
        let (token, length) = if first.is_alphabetic() || first == '_' {
            let end = rest.find(|it: char| !(it.is_alphanumeric() || it == '_'));
            let word = rest.get(..end.unwrap_or(rest.len())).unwrap_or_default();
            let quote = rest.get(word.len()..).and_then(|it| it.chars().next());
            match (word, quote) {
                ("r" | "R", Some('"' | '\'')) => {
                    let (value, length) = quoted(text, at + 1, true)?;
                    (Token::Raw(value), 1 + length)
                }
                _ => (Token::Word(word.to_owned()), word.len()),
            }
        } else if first.is_ascii_digit() {
            number(text, at)?
        } else if first == '"' || first == '\'' {
            let (value, length) = quoted(text, at, false)?;
            (Token::Text(value), length)
        } else if let Some(sign) = SIGNS.iter().find(|it| rest.starts_with(**it)) {
            (Token::Sign(sign), sign.len())
        } else {
            let message = format!("`{first}` is no part of KFL");
            return Err(Problem::new(at..at + first.len_utf8(), message));
        };
        if out.len() >= TOKENS {
            let message = format!("this is longer than the {TOKENS} words a filter may have");
            return Err(Problem::new(at..text.len(), message));
        }
        out.push((token, at..at + length));
        at += length;
    }
    out.push((Token::End, text.len()..text.len()));
    Ok(out)
}

fn number(text: &str, at: usize) -> Result<(Token, usize), Problem> {
    let rest = text.get(at..).unwrap_or_default();
    let mut length = rest.find(|it: char| !it.is_ascii_digit()).unwrap_or(rest.len());
    let fraction = rest.get(length..).and_then(|it| it.strip_prefix('.')).unwrap_or_default();
    let digits = fraction.find(|it: char| !it.is_ascii_digit()).unwrap_or(fraction.len());
    let whole = digits == 0;
    if !whole {
        length += 1 + digits;
    }
    let written = rest.get(..length).unwrap_or_default();
    let token = if whole {
        written.parse().ok().map(Token::Int)
    } else {
        written.parse().ok().map(Token::Float)
    };
    let what = format!("{written} is too large a number");
    token.map(|it| (it, length)).ok_or_else(|| Problem::new(at..at + length, what))
}

/// The text between quotes that begins at `at`, and how many bytes it takes with them.
fn quoted(text: &str, at: usize, raw: bool) -> Result<(String, usize), Problem> {
    let rest = text.get(at..).unwrap_or_default();
    let mut chars = rest.char_indices();
    let quote = chars.next().map_or('"', |it| it.1);
    let mut value = String::new();
    while let Some((place, char)) = chars.next() {
        if char == quote {
            return Ok((value, place + quote.len_utf8()));
        }
        if char != '\\' || raw {
            value.push(char);
            continue;
        }
        let escaped = chars.next().map(|it| it.1);
        let digits = match escaped {
            Some('x') => 2,
            Some('u') => 4,
            _ => 0,
        };
        let code: String = chars.by_ref().take(digits).map(|it| it.1).collect();
        let code = u32::from_str_radix(&code, 16).ok().and_then(char::from_u32);
        let meant = match escaped {
            Some('n') => Some('\n'),
            Some('r') => Some('\r'),
            Some('t') => Some('\t'),
            Some(it @ ('\\' | '"' | '\'' | '`' | '?')) => Some(it),
            Some('x' | 'u') => code,
            _ => None,
        };
        match meant {
            Some(it) => value.push(it),
            None => {
                let start = at + place;
                let shown = escaped.map_or(0, char::len_utf8);
                let message = "this escape is not known; a backslash itself is written \\\\";
                return Err(Problem::new(start..start + 1 + shown, message));
            }
        }
    }
    Err(Problem::new(at..text.len(), "this text has no end: a quote is missing"))
}

struct Reader<'a> {
    text: &'a str,
    tokens: Vec<(Token, Range<usize>)>,
    next: usize,
    depth: usize,
}

impl Reader<'_> {
    fn peek(&self) -> &Token {
        self.tokens.get(self.next).map_or(&Token::End, |it| &it.0)
    }

    fn place(&self) -> Range<usize> {
        let end = self.text.len()..self.text.len();
        self.tokens.get(self.next).map_or(end, |it| it.1.clone())
    }

    /// The end of what was read last.
    fn end(&self) -> usize {
        let last = self.next.checked_sub(1).and_then(|it| self.tokens.get(it));
        last.map_or(0, |it| it.1.end)
    }

    fn take(&mut self, sign: &str) -> bool {
        let taken = matches!(self.peek(), Token::Sign(it) if *it == sign);
        self.next += usize::from(taken);
        taken
    }

    fn expect(&mut self, sign: &str) -> Result<(), Problem> {
        if self.take(sign) { Ok(()) } else { Err(self.unexpected(&format!("`{sign}`"))) }
    }

    fn unexpected(&self, wanted: &str) -> Problem {
        let at = self.place();
        let found = self.text.get(at.clone()).unwrap_or_default();
        match self.peek() {
            Token::End => Problem::new(at, format!("it ends where {wanted} is expected")),
            Token::Word(it) if CALLED.contains(&it.as_str()) => {
                let problem = format!("`{found}` stands where {wanted} is expected");
                Problem::new(at, problem).hint(format!("it is called: path.{found}(\"/api\")"))
            }
            _ => Problem::new(at, format!("`{found}` stands where {wanted} is expected")),
        }
    }

    /// Goes one level deeper, for as long as `read` reads.
    fn deeper<T>(
        &mut self,
        read: impl FnOnce(&mut Self) -> Result<T, Problem>,
    ) -> Result<T, Problem> {
        self.depth += 1;
        let result = if self.depth > DEPTH {
            let message = format!("this nests deeper than {DEPTH} levels");
            Err(Problem::new(self.place(), message))
        } else {
            read(self)
        };
        self.depth -= 1;
        result
    }

    fn choice(&mut self) -> Result<Node, Problem> {
        self.deeper(|it| {
            let condition = it.binary(1)?;
            if !it.take("?") {
                return Ok(condition);
            }
            let yes = it.choice()?;
            it.expect(":")?;
            let no = it.choice()?;
            let at = condition.at.start..no.at.end;
            let is = Is::Choice(Box::new(condition), Box::new(yes), Box::new(no));
            Ok(Node { at, is })
        })
    }

    fn operator(&self) -> Option<Op> {
        let written = match self.peek() {
            Token::Sign(it) => *it,
            Token::Word(it) => it.as_str(),
            _ => return None,
        };
        Op::ALL.into_iter().find(|it| it.text() == written)
    }

    fn binary(&mut self, least: u8) -> Result<Node, Problem> {
        let mut left = self.unary()?;
        while let Some(op) = self.operator().filter(|it| it.binding() >= least) {
            self.next += 1;
            let right = self.binary(op.binding() + 1)?;
            let at = left.at.start..right.at.end;
            left = Node { at, is: Is::Binary(op, Box::new(left), Box::new(right)) };
        }
        Ok(left)
    }

    fn unary(&mut self) -> Result<Node, Problem> {
        let start = self.place().start;
        let make: fn(Box<Node>) -> Is = match self.peek() {
            Token::Sign("!") => Is::Not,
            Token::Sign("-") => Is::Minus,
            _ => return self.member(),
        };
        self.next += 1;
        let inner = self.deeper(Self::unary)?;
        Ok(Node { at: start..inner.at.end, is: make(Box::new(inner)) })
    }

    fn member(&mut self) -> Result<Node, Problem> {
        let mut node = self.primary()?;
        loop {
            let start = node.at.start;
            if *self.peek() == Token::Sign("..") {
                return Err(self.wildcard());
            }
            if self.take(".") {
                let Token::Word(name) = self.peek().clone() else {
                    let star = *self.peek() == Token::Sign("*");
                    return Err(if star { self.wildcard() } else { self.unexpected("a name") });
                };
                self.next += 1;
                let is = if self.take("(") {
                    let arguments = self.list(")")?;
                    Is::Call(Some(Box::new(node)), name, arguments)
                } else {
                    match node.is {
                        Is::Name(it) => Is::Name(format!("{it}.{name}")),
                        _ => Is::Member(Box::new(node), name),
                    }
                };
                node = Node { at: start..self.end(), is };
            } else if self.take("[") {
                let index = self.choice()?;
                self.expect("]")?;
                let is = Is::Index(Box::new(node), Box::new(index));
                node = Node { at: start..self.end(), is };
            } else {
                return Ok(node);
            }
        }
    }

    fn wildcard(&self) -> Problem {
        let message = "a path with a wildcard is not translated";
        Problem::new(self.place(), message).hint("name the one member that is meant")
    }

    fn list(&mut self, end: &str) -> Result<Vec<Node>, Problem> {
        let mut items = Vec::new();
        while !self.take(end) {
            if !items.is_empty() {
                self.expect(",")?;
            }
            items.push(self.choice()?);
        }
        Ok(items)
    }

    fn primary(&mut self) -> Result<Node, Problem> {
        let at = self.place();
        let token = self.peek().clone();
        if let Token::End | Token::Sign(_) = token
            && !matches!(token, Token::Sign("(" | "["))
        {
            return Err(self.unexpected("a name or a value"));
        }
        self.next += 1;
        let is = match token {
            Token::Text(it) => Is::Text(it),
            Token::Raw(it) => Is::Raw(it),
            Token::Int(it) => Is::Int(it),
            Token::Float(it) => Is::Float(it),
            Token::Sign("(") => {
                let inner = self.choice()?;
                self.expect(")")?;
                Is::Group(Box::new(inner))
            }
            Token::Sign(_) | Token::End => Is::List(self.list("]")?),
            Token::Word(word) => match word.as_str() {
                "true" => Is::Flag(true),
                "false" => Is::Flag(false),
                "nil" | "null" => Is::Nil,
                _ if self.take("(") => Is::Call(None, word, self.list(")")?),
                _ => Is::Name(word),
            },
        };
        Ok(Node { at: at.start..self.end(), is })
    }
}

/// Functions that people write as if they were operators.
const CALLED: [&str; 4] = ["contains", "startsWith", "endsWith", "matches"];
/// More than a person writes; a bound on the work a text can make.
const TOKENS: usize = 2_000;
/// As deep as a filter may nest.
const DEPTH: usize = 50;

#[cfg(test)]
mod tests {
    use super::*;

    fn shape(text: &str) -> String {
        fn show(node: &Node) -> String {
            match &node.is {
                Is::Text(it) => format!("{it:?}"),
                Is::Raw(it) => format!("r{it:?}"),
                Is::Int(it) => it.to_string(),
                Is::Float(it) => it.to_string(),
                Is::Flag(it) => it.to_string(),
                Is::Nil => "nil".to_owned(),
                Is::Name(it) => it.clone(),
                Is::Member(it, name) => format!("{}.{name}", show(it)),
                Is::Index(a, b) => format!("{}[{}]", show(a), show(b)),
                Is::Call(on, name, arguments) => {
                    let arguments: Vec<_> = arguments.iter().map(show).collect();
                    let on = on.as_ref().map(|it| format!("{}.", show(it))).unwrap_or_default();
                    format!("{on}{name}({})", arguments.join(","))
                }
                Is::Not(it) => format!("!{}", show(it)),
                Is::Minus(it) => format!("-{}", show(it)),
                Is::Binary(op, a, b) => format!("({} {} {})", show(a), op.text(), show(b)),
                Is::Choice(a, b, c) => format!("({} ? {} : {})", show(a), show(b), show(c)),
                Is::List(items) => format!("{:?}", items.iter().map(show).collect::<Vec<_>>()),
                Is::Group(it) => format!("<{}>", show(it)),
            }
        }
        show(&read(text).unwrap_or_else(|it| panic!("{text}: {it:?}")))
    }

    #[test]
    fn operators_bind_as_in_cel() {
        assert_eq!(shape("a && b || c && !d"), "((a && b) || (c && !d))");
        assert_eq!(shape("a.b == 1 + 2 * 3"), "(a.b == (1 + (2 * 3)))");
        assert_eq!(shape("a - b - c"), "((a - b) - c)");
        assert_eq!(shape("x ? y : z ? 1 : 2"), "(x ? y : (z ? 1 : 2))");
        assert_eq!(shape("\"a\" in b // why\n&& c"), "((\"a\" in b) && c)");
        assert_eq!(shape("!(a or b) and c"), "(!<(a or b)> and c)");
    }

    #[test]
    fn members_calls_and_indexes_are_read_from_the_left() {
        assert_eq!(shape("request.headers[\"x\"].y"), "request.headers[\"x\"].y");
        assert_eq!(shape("response.body.json().a[0]"), "response.body.json().a[0]");
        assert_eq!(shape("q.exists(x, x.contains('é'))"), "q.exists(x,x.contains(\"é\"))");
        assert_eq!(shape(r#"a == r"4.*\d" "#), r#"(a == r"4.*\\d")"#);
        assert_eq!(shape(r#""a\"bé\n""#), r#""a\"bé\n""#);
    }

    #[test]
    fn what_does_not_read_says_where() {
        let check = |text: &str, at: &str, message: &str| {
            let problem = read(text).err().unwrap_or_else(|| panic!("{text} reads"));
            assert_eq!(text.get(problem.at.clone()), Some(at), "{text}: {problem:?}");
            assert!(problem.message.contains(message), "{text}: {problem:?}");
        };
        check("a ==", "", "ends where");
        check("(a", "", "`)` is expected");
        check("a b", "b", "stands where");
        check("path contains \"/x\"", "contains", "stands where");
        check("a == \"x", "\"x", "quote is missing");
        check(r#"a == "\q""#, r"\q", "escape");
        check("a == $b", "$", "no part of KFL");
        check("request.path.* == 1", "*", "wildcard");
        check("a..b", "..", "wildcard");
        check("a == 99999999999999999999", "99999999999999999999", "too large");
        let deep = format!("{}a{}", "(".repeat(90), ")".repeat(90));
        assert!(read(&deep).is_err_and(|it| it.message.contains("deeper")));
        assert!(read(&"!".repeat(90)).is_err_and(|it| it.message.contains("deeper")));
        assert!(read(&"a ".repeat(9_000)).is_err());
    }
}
