//! Text to nodes.

use std::collections::BTreeMap;
use std::rc::Rc;

use super::{Mistake, Place};

/// A piece of a template.
#[derive(Debug)]
pub(super) enum Node {
    Text(String),
    /// Prints a pipeline, unless that sets a variable.
    Action(Place, Pipeline),
    /// Conditions with what they guard, in order; the last may have none.
    If(Vec<Branch>),
    With(Place, Pipeline, Vec<Self>, Vec<Self>),
    Range(Place, Pipeline, Vec<Self>, Vec<Self>),
}

/// A condition, if there is one, and what it guards.
pub(super) type Branch = (Option<(Place, Pipeline)>, Vec<Node>);

/// `$a := f x | g`.
#[derive(Debug)]
pub(super) struct Pipeline {
    /// The variables it sets, without `$`.
    pub(super) sets: Vec<String>,
    /// They are there already (`=`).
    pub(super) again: bool,
    pub(super) commands: Vec<Vec<Term>>,
}

/// A word of a command.
#[derive(Debug)]
pub(super) enum Term {
    Dot(Vec<String>),
    /// A variable, without `$`: the root has no name.
    Variable(String, Vec<String>),
    Text(String),
    Integer(i64),
    Flag(bool),
    Nil,
    Function(String),
    Group(Box<Pipeline>, Vec<String>),
}

/// Reads one file; what it defines goes to `named`.
pub(super) fn parse(
    file: &str,
    text: &str,
    named: &mut BTreeMap<String, Vec<Node>>,
) -> Result<Vec<Node>, Mistake> {
    let pieces = cut(&Rc::from(file), text)?;
    let mut reader = Reader { pieces: pieces.into_iter().peekable(), named, depth: 0 };
    let (nodes, end) = reader.nodes()?;
    match end {
        None => Ok(nodes),
        Some((at, word)) => Err(mistake(at, format!("{{{{ {word} }}}} ends nothing"))),
    }
}

fn mistake(at: Place, what: impl Into<String>) -> Mistake {
    Mistake { at, what: what.into(), of_values: false }
}

/// Text or what stands between braces.
enum Piece {
    Text(String),
    Action(Place, Vec<Token>),
}

#[derive(Debug, Clone, PartialEq)]
enum Token {
    /// Keywords and functions.
    Word(String),
    /// `.`, `.a.b`; what directly follows a variable or a `)` is its own token.
    Dot(Vec<String>),
    Variable(String, Vec<String>),
    Text(String),
    Integer(i64),
    Open,
    /// With the fields behind it.
    Close(Vec<String>),
    Pipe,
    Comma,
    Declare,
    Assign,
}

/// Splits at the braces and trims what `-` says.
fn cut(file: &Rc<str>, text: &str) -> Result<Vec<Piece>, Mistake> {
    let mut pieces = Vec::new();
    let mut rest = text;
    let mut line = 1;
    let mut trim = false;
    loop {
        let (before, after) = match rest.split_once("{{") {
            Some((before, after)) => (before, Some(after)),
            None => (rest, None),
        };
        let lines = before.matches('\n').count();
        let mut before = if trim { before.trim_start_matches(SPACE) } else { before };
        let Some(after) = after else {
            pieces.push(Piece::Text(before.to_owned()));
            return Ok(pieces);
        };
        line += lines;
        let at = Place { file: Rc::clone(file), line };
        let mut inside = after;
        if let Some(trimmed) = after.strip_prefix('-').filter(|it| it.starts_with(SPACE)) {
            before = before.trim_end_matches(SPACE);
            inside = trimmed;
        }
        pieces.push(Piece::Text(before.to_owned()));
        let body;
        (body, trim, rest) = body_of(inside).ok_or_else(|| mistake(at.clone(), "{{ has no }}"))?;
        let comment = body.trim_start_matches(SPACE).starts_with("/*");
        if !comment {
            pieces.push(Piece::Action(at.clone(), tokens(&at, body)?));
        }
        line += body.matches('\n').count();
    }
}

/// What is before `}}`, whether that trims, and what is behind it.
fn body_of(inside: &str) -> Option<(&str, bool, &str)> {
    let start = inside.trim_start_matches(SPACE);
    let mut from = 0;
    if start.starts_with("/*") {
        from = inside.find("*/")?;
    }
    let mut quote = None;
    let mut escaped = false;
    let mut previous = None;
    for (at, c) in inside.char_indices().skip_while(|it| it.0 < from) {
        match quote {
            Some('"') if escaped => escaped = false,
            Some('"') if c == '\\' => escaped = true,
            Some(mark) if c == mark => quote = None,
            Some(_) => {}
            None if c == '"' || c == '`' => quote = Some(c),
            None if c == '}' && previous == Some('}') => {
                let (body, rest) = inside.split_at_checked(at + 1)?;
                let body = body.strip_suffix("}}")?;
                return match body.strip_suffix('-').filter(|it| it.ends_with(SPACE)) {
                    Some(body) => Some((body, true, rest)),
                    None => Some((body, false, rest)),
                };
            }
            None => {}
        }
        previous = Some(c);
    }
    None
}

fn tokens(at: &Place, body: &str) -> Result<Vec<Token>, Mistake> {
    let mut tokens = Vec::new();
    let mut chars = body.chars().peekable();
    while let Some(&c) = chars.peek() {
        match c {
            ' ' | '\t' | '\r' | '\n' => {
                chars.next();
            }
            '|' | ',' | '(' | '=' => {
                chars.next();
                tokens.push(match c {
                    '|' => Token::Pipe,
                    ',' => Token::Comma,
                    '(' => Token::Open,
                    _ => Token::Assign,
                });
            }
            ')' => {
                chars.next();
                tokens.push(Token::Close(fields(at, &mut chars)?));
            }
            ':' => {
                chars.next();
                if chars.next() != Some('=') {
                    return Err(mistake(at.clone(), "a `:` without `=`"));
                }
                tokens.push(Token::Declare);
            }
            '.' => tokens.push(Token::Dot(fields(at, &mut chars)?)),
            '$' => {
                chars.next();
                let name = word(&mut chars);
                tokens.push(Token::Variable(name, fields(at, &mut chars)?));
            }
            '"' => tokens.push(Token::Text(quoted(at, &mut chars)?)),
            '`' => {
                chars.next();
                let raw: String = chars.by_ref().take_while(|it| *it != '`').collect();
                tokens.push(Token::Text(raw));
            }
            '-' | '0'..='9' => {
                chars.next();
                let number = format!("{c}{}", word(&mut chars));
                let number = number.parse().map_err(|_| {
                    mistake(at.clone(), format!("{number} is no number that is known here"))
                })?;
                tokens.push(Token::Integer(number));
            }
            c if c.is_ascii_alphabetic() || c == '_' => tokens.push(Token::Word(word(&mut chars))),
            c => return Err(mistake(at.clone(), format!("`{c}` is not known here"))),
        }
    }
    Ok(tokens)
}

type Chars<'a> = std::iter::Peekable<std::str::Chars<'a>>;

fn word(chars: &mut Chars<'_>) -> String {
    let mut word = String::new();
    while let Some(c) = chars.next_if(|it| it.is_ascii_alphanumeric() || *it == '_') {
        word.push(c);
    }
    word
}

/// `.a.b`, as far as it goes; `.` alone is none.
fn fields(at: &Place, chars: &mut Chars<'_>) -> Result<Vec<String>, Mistake> {
    let mut fields = Vec::new();
    while chars.next_if_eq(&'.').is_some() {
        let field = word(chars);
        if field.is_empty() {
            if fields.is_empty() {
                break;
            }
            return Err(mistake(at.clone(), "a `.` without a name behind it"));
        }
        fields.push(field);
    }
    Ok(fields)
}

fn quoted(at: &Place, chars: &mut Chars<'_>) -> Result<String, Mistake> {
    chars.next();
    let mut text = String::new();
    loop {
        match chars.next() {
            Some('"') => return Ok(text),
            Some('\\') => match chars.next() {
                Some('n') => text.push('\n'),
                Some('t') => text.push('\t'),
                Some(c @ ('"' | '\\')) => text.push(c),
                other => {
                    let what = format!("\\{} is not known here", other.unwrap_or(' '));
                    return Err(mistake(at.clone(), what));
                }
            },
            Some(c) => text.push(c),
            None => return Err(mistake(at.clone(), "a text without an end")),
        }
    }
}

struct Reader<'a> {
    pieces: std::iter::Peekable<std::vec::IntoIter<Piece>>,
    named: &'a mut BTreeMap<String, Vec<Node>>,
    depth: usize,
}

/// The words that end a block, with what stands behind them.
type End = Option<(Place, String)>;

impl Reader<'_> {
    /// Nodes up to an `end` or `else`, which is given back; the rest of an `else` is still there.
    fn nodes(&mut self) -> Result<(Vec<Node>, End), Mistake> {
        let mut nodes = Vec::new();
        loop {
            match self.pieces.next() {
                None => return Ok((nodes, None)),
                Some(Piece::Text(text)) if text.is_empty() => {}
                Some(Piece::Text(text)) => nodes.push(Node::Text(text)),
                Some(Piece::Action(at, tokens)) => {
                    let mut tokens = tokens.into_iter();
                    let first = tokens.next();
                    let word = match &first {
                        Some(Token::Word(word)) => word.as_str(),
                        _ => "",
                    };
                    let rest = tokens.as_slice();
                    match word {
                        "end" if rest.is_empty() => return Ok((nodes, Some((at, "end".into())))),
                        "else" if rest.is_empty() => return Ok((nodes, Some((at, "else".into())))),
                        "else" => {
                            // `else if`: the chain goes on where the `if` is.
                            self.pieces_back(Piece::Action(at.clone(), rest.to_vec()));
                            return Ok((nodes, Some((at, "else if".into()))));
                        }
                        "if" => {
                            let pipeline = pipeline(&at, rest)?;
                            let node = self.conditions(at, pipeline)?;
                            nodes.push(node);
                        }
                        "with" | "range" => {
                            let pipeline = pipeline(&at, rest)?;
                            let (body, otherwise) = self.block(&at)?;
                            nodes.push(match word {
                                "with" => Node::With(at, pipeline, body, otherwise),
                                _ => Node::Range(at, pipeline, body, otherwise),
                            });
                        }
                        "define" => self.define(at, rest)?,
                        "block" | "template" | "break" | "continue" | "end" => {
                            return Err(mistake(at, format!("`{word}` is not known here")));
                        }
                        _ => {
                            let all: Vec<_> = first.into_iter().chain(rest.to_vec()).collect();
                            let pipeline = pipeline(&at, &all)?;
                            nodes.push(Node::Action(at, pipeline));
                        }
                    }
                }
            }
        }
    }

    fn pieces_back(&mut self, piece: Piece) {
        let rest: Vec<_> = std::iter::once(piece).chain(self.pieces.by_ref()).collect();
        self.pieces = rest.into_iter().peekable();
    }

    fn define(&mut self, at: Place, rest: &[Token]) -> Result<(), Mistake> {
        let [Token::Text(name)] = rest else {
            return Err(mistake(at, "`define` wants one name"));
        };
        let (body, otherwise) = self.block(&at)?;
        if !otherwise.is_empty() {
            return Err(mistake(at, "`define` has no `else`"));
        }
        if self.named.insert(name.clone(), body).is_some() {
            return Err(mistake(at, format!("`{name}` is defined twice")));
        }
        Ok(())
    }

    fn block(&mut self, at: &Place) -> Result<(Vec<Node>, Vec<Node>), Mistake> {
        self.deeper(at)?;
        let (body, end) = self.nodes()?;
        let otherwise = match end {
            Some((_, word)) if word == "end" => Vec::new(),
            Some((_, word)) if word == "else" => match self.nodes()? {
                (otherwise, Some((_, word))) if word == "end" => otherwise,
                _ => return Err(mistake(at.clone(), "this block has no `end`")),
            },
            Some((at, word)) => {
                return Err(mistake(at, format!("`{word}` is not known in this block")));
            }
            None => return Err(mistake(at.clone(), "this block has no `end`")),
        };
        self.depth -= 1;
        Ok((body, otherwise))
    }

    fn conditions(&mut self, at: Place, first: Pipeline) -> Result<Node, Mistake> {
        self.deeper(&at)?;
        let mut branches = Vec::new();
        let mut condition = Some((at.clone(), first));
        loop {
            let (body, end) = self.nodes()?;
            let last = condition.is_none();
            branches.push((condition, body));
            match end {
                Some((_, word)) if word == "end" => break,
                Some((_, word)) if word == "else" && !last => condition = None,
                Some((at, word)) if word == "else if" && !last => match self.pieces.next() {
                    Some(Piece::Action(at, tokens))
                        if tokens.first() == Some(&Token::Word("if".into())) =>
                    {
                        let rest = tokens.get(1..).unwrap_or_default();
                        condition = Some((at.clone(), pipeline(&at, rest)?));
                    }
                    _ => return Err(mistake(at, "only `if` may follow `else`")),
                },
                _ => return Err(mistake(at, "this `if` has no `end`")),
            }
        }
        self.depth -= 1;
        Ok(Node::If(branches))
    }

    fn deeper(&mut self, at: &Place) -> Result<(), Mistake> {
        self.depth += 1;
        if self.depth > DEPTH {
            return Err(mistake(at.clone(), "blocks are nested too deep"));
        }
        Ok(())
    }
}

fn pipeline(at: &Place, tokens: &[Token]) -> Result<Pipeline, Mistake> {
    let mut tokens = tokens.iter().peekable();
    let (pipeline, closed) = pipeline_of(at, &mut tokens, 0)?;
    match closed {
        None => Ok(pipeline),
        Some(_) => Err(mistake(at.clone(), "a `)` that closes nothing")),
    }
}

/// A pipeline up to its end or a `)`, whose fields are given back.
fn pipeline_of(
    at: &Place,
    tokens: &mut std::iter::Peekable<std::slice::Iter<'_, Token>>,
    depth: usize,
) -> Result<(Pipeline, Option<Vec<String>>), Mistake> {
    if depth > DEPTH {
        return Err(mistake(at.clone(), "parentheses are nested too deep"));
    }
    let mut result = Pipeline { sets: Vec::new(), again: false, commands: Vec::new() };
    let mut command = Vec::new();
    let closed = loop {
        let Some(token) = tokens.next() else { break None };
        match token {
            Token::Word(word) => command.push(match word.as_str() {
                "true" => Term::Flag(true),
                "false" => Term::Flag(false),
                "nil" => Term::Nil,
                _ => Term::Function(word.clone()),
            }),
            Token::Dot(fields) => command.push(Term::Dot(fields.clone())),
            Token::Variable(name, fields) => {
                command.push(Term::Variable(name.clone(), fields.clone()));
            }
            Token::Text(text) => command.push(Term::Text(text.clone())),
            Token::Integer(number) => command.push(Term::Integer(*number)),
            Token::Open => {
                let (inner, closed) = pipeline_of(at, tokens, depth + 1)?;
                let fields = closed.ok_or_else(|| mistake(at.clone(), "a `(` without `)`"))?;
                command.push(Term::Group(Box::new(inner), fields));
            }
            Token::Close(fields) => break Some(fields.clone()),
            Token::Pipe => {
                if command.is_empty() {
                    return Err(mistake(at.clone(), "nothing stands before a `|`"));
                }
                result.commands.push(std::mem::take(&mut command));
            }
            Token::Comma | Token::Declare | Token::Assign => {
                let variable = match command.as_slice() {
                    [Term::Variable(name, fields)] if fields.is_empty() && !name.is_empty() => {
                        name.clone()
                    }
                    _ => return Err(mistake(at.clone(), "only a variable can be set")),
                };
                if !result.commands.is_empty() || (result.sets.len() > 1) {
                    return Err(mistake(at.clone(), "variables are set first"));
                }
                command.clear();
                result.sets.push(variable);
                result.again = *token == Token::Assign;
            }
        }
    };
    if command.is_empty() {
        return Err(mistake(at.clone(), "a pipeline without an end"));
    }
    result.commands.push(command);
    Ok((result, closed))
}

const SPACE: [char; 4] = [' ', '\t', '\r', '\n'];
/// Nobody reads a template that is nested deeper.
const DEPTH: usize = 32;
