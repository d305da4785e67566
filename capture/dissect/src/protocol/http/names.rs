//! DNS over HTTPS (RFC 8484): a message each in a request and its answer.
use std::borrow::Cow;

use memchr::{memchr, memmem};

use super::message::{Read, Sent, Target};
use crate::exchange::{Exchange, Open, Side};
use crate::input::Input;
use crate::limits::Limits;
use crate::protocol::{Dissect, dns};
use crate::tables::Also;

/// Whether a message may carry DNS: cheap, and wrong at times.
pub(super) fn carries(sent: &Sent) -> bool {
    memmem::find(&sent.head, TYPE).is_some()
}

/// The row of a query, in the table of DNS.
pub(super) fn also(request: Option<&Sent>, response: Option<&Sent>, also: &mut Also<'_>) {
    let asked = request.map(|it| Read::of(it, b"")).unwrap_or_default();
    let answered = response.map(|it| Read::of(it, b"")).unwrap_or_default();
    let (method, target, _) = asked.request();
    let question = match typed(&asked) {
        Some(body) => Some(Cow::Borrowed(body)),
        None => Target::of(method, target).query.and_then(in_query).map(Cow::Owned),
    };
    let answer = typed(&answered);
    let asked = question.as_deref().and_then(|it| read(Side::Client, it));
    let answered = answer.and_then(|it| read(Side::Server, it));
    if asked.is_none() && answered.is_none() {
        return;
    }
    let size = |bytes: Option<&[u8]>| bytes.map_or(0, |it| it.len() as u64);
    also.bytes(size(question.as_deref()), size(answer));
    let exchange = Exchange { request: asked.as_ref(), response: answered.as_ref() };
    let (summary, row) = dns::Dissector::record(exchange);
    also.row::<dns::DnsColumns>(dns::Dissector::NAME, summary, row);
}

/// The body, if it is all there and of the type.
fn typed<'a>(read: &'a Read<'_>) -> Option<&'a [u8]> {
    let is_dns = read.content_type.as_deref().is_some_and(|it| it.as_bytes().starts_with(TYPE));
    read.body.as_deref().filter(|_| is_dns && !read.truncated)
}

/// A message, as if it had come in a datagram.
fn read(side: Side, bytes: &[u8]) -> Option<<dns::Dissector as Dissect>::Body> {
    let limits = Limits::default();
    let mut input = Input::new(bytes, true, &limits);
    let parsed = dns::Dissector::default().parse(side, &mut input, &Open::default());
    parsed.ok().map(|it| it.body)
}

/// The message in a target's query, in base64 without padding.
fn in_query(query: &[u8]) -> Option<Vec<u8>> {
    let value = query.split(|it| *it == b'&').find_map(|it| it.strip_prefix(b"dns="))?;
    let mut out = Vec::with_capacity(value.len());
    let (mut bits, mut count) = (0_u32, 0);
    for byte in value.iter().take_while(|it| **it != b'=') {
        bits = (bits << 6) | u32::try_from(memchr(*byte, LETTERS)?).ok()?;
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push(u8::try_from((bits >> count) & 0xff).ok()?);
        }
    }
    Some(out)
}

const TYPE: &[u8] = b"application/dns-message";

/// RFC 4648 5.
const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-_";

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_in_a_target() {
        // RFC 8484 4.1.1.
        let query = b"ct&dns=AAABAAABAAAAAAAAA3d3dwdleGFtcGxlA2NvbQAAAQAB&x=1";
        let message = in_query(query).unwrap();
        assert_eq!(message.len(), 33);
        let body = read(Side::Client, &message).unwrap();
        let exchange = Exchange { request: Some(&body), response: None };
        let (summary, _) = dns::Dissector::record(exchange);
        assert_eq!(summary.target, "www.example.com");
        assert!(in_query(b"dns=a*b").is_none() && in_query(b"name=x").is_none());
        assert!(read(Side::Client, b"no message").is_none());
    }
}
