//! The hellos with which TLS, DTLS and QUIC begin, read where they lie: RFC 8446 §4.1,
//! RFC 5246 §7.4.1, RFC 6347 §4.2.1, and SSL 2.0's in RFC 5246 appendix E.2.
use std::borrow::Cow;

use schema::value::text;

use super::names::{self, is_grease};

/// A cursor over bytes that have all arrived.
#[derive(Clone, Copy, Debug, Default)]
pub(in crate::protocol) struct Reader<'a>(pub(in crate::protocol) &'a [u8]);

impl<'a> Reader<'a> {
    /// The next `n` bytes.
    pub(in crate::protocol) fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(n)?;
        self.0 = rest;
        Some(taken)
    }

    /// A number of so many bytes, at most four, big endian.
    pub(in crate::protocol) fn number(&mut self, width: usize) -> Option<usize> {
        Some(self.take(width)?.iter().fold(0, |sum, byte| sum << 8 | usize::from(*byte)))
    }

    pub(in crate::protocol) fn u8(&mut self) -> Option<u8> {
        self.take(1)?.first().copied()
    }

    pub(in crate::protocol) fn u16(&mut self) -> Option<u16> {
        self.take(2)?.try_into().map(u16::from_be_bytes).ok()
    }

    pub(in crate::protocol) fn u32(&mut self) -> Option<u32> {
        self.take(4)?.try_into().map(u32::from_be_bytes).ok()
    }

    /// Bytes with their length in front, a number of `width` bytes.
    pub(in crate::protocol) fn list(&mut self, width: usize) -> Option<&'a [u8]> {
        let length = self.number(width)?;
        self.take(length)
    }

    /// The same, or as much of it as is there; and whether that is all.
    fn list_or_part(&mut self, width: usize) -> (&'a [u8], bool) {
        let Some(length) = self.number(width) else { return (&[], false) };
        match self.take(length) {
            Some(list) => (list, true),
            None => (std::mem::take(&mut self.0), false),
        }
    }
}

/// Numbers of two bytes, one after the other.
pub(in crate::protocol) fn words(bytes: &[u8]) -> impl Iterator<Item = u16> + Clone {
    bytes.chunks_exact(2).filter_map(|it| it.try_into().map(u16::from_be_bytes).ok())
}

/// What carries a hello, which decides how it is written and what its fingerprint begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::protocol) enum Carrier {
    /// Records in a stream.
    Tls,
    /// Records in datagrams.
    Dtls,
    /// QUIC's CRYPTO frames.
    Quic,
    /// The hello of SSL 2.0 in a stream, which may offer more than SSL 2.0.
    Ssl2,
}

/// What a client begins with.
#[derive(Clone, Copy, Debug)]
pub(in crate::protocol) struct ClientHello<'a> {
    pub(in crate::protocol) carrier: Carrier,
    pub(in crate::protocol) version: u16,
    /// Empty in the hello of SSL 2.0.
    pub(in crate::protocol) random: &'a [u8],
    pub(in crate::protocol) session: &'a [u8],
    ciphers: &'a [u8],
    extensions: &'a [u8],
    /// Whether all of it is there.
    pub(in crate::protocol) whole: bool,
}

impl<'a> ClientHello<'a> {
    /// Reads the body of the message, or what there is of it, at least up to the session's id.
    pub(in crate::protocol) fn of(carrier: Carrier, message: &'a [u8]) -> Option<Self> {
        let mut from = Reader(message);
        let version = from.u16()?;
        if carrier == Carrier::Ssl2 {
            let lengths = [from.number(2)?, from.number(2)?, from.number(2)?];
            let [ciphers, session, _challenge] = lengths;
            let (ciphers, session) = (from.take(ciphers)?, from.take(session)?);
            let (random, extensions) = (&[][..], &[][..]);
            let whole = true;
            return Some(Self { carrier, version, random, session, ciphers, extensions, whole });
        }
        let random = from.take(RANDOM_BYTES)?;
        let session = from.list(1).filter(|it| it.len() <= 32)?;
        if carrier == Carrier::Dtls {
            // What a server that wanted to see the hello again gave the client.
            from.list(1)?;
        }
        let (ciphers, ciphers_whole) = from.list_or_part(2);
        let (_, compression_whole) = from.list_or_part(1);
        // Before extensions were thought of, a hello ended here.
        let (extensions, extensions_whole) =
            if from.0.is_empty() { (&[][..], true) } else { from.list_or_part(2) };
        let whole = ciphers_whole && compression_whole && extensions_whole;
        Some(Self { carrier, version, random, session, ciphers, extensions, whole })
    }

    /// The cipher suites offered, in order; of SSL 2.0, only those that later versions have too.
    pub(in crate::protocol) fn ciphers(&self) -> impl Iterator<Item = u16> + Clone + 'a {
        let (width, skip) = if self.carrier == Carrier::Ssl2 { (3, 1) } else { (2, 0) };
        let is_known = move |it: &&[u8]| skip == 0 || it.first() == Some(&0);
        let number = move |it: &[u8]| it.get(skip..)?.try_into().map(u16::from_be_bytes).ok();
        self.ciphers.chunks_exact(width).filter(is_known).filter_map(number)
    }

    pub(in crate::protocol) fn cipher_names(&self) -> Vec<Cow<'static, str>> {
        if self.carrier != Carrier::Ssl2 {
            return self.ciphers().map(names::cipher).collect();
        }
        let number = |it: &[u8]| it.iter().fold(0, |sum, byte| sum << 8 | u32::from(*byte));
        self.ciphers.chunks_exact(3).map(|it| names::ssl2_cipher(number(it))).collect()
    }

    /// The extensions in order: number and content.
    pub(in crate::protocol) fn extensions(
        &self,
    ) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        extensions(self.extensions)
    }

    pub(in crate::protocol) fn extension(&self, wanted: u16) -> Option<&'a [u8]> {
        self.extensions().find(|(code, _)| *code == wanted).map(|(_, content)| content)
    }

    /// The name of the server that the client wants to reach.
    pub(in crate::protocol) fn server_name(&self) -> Option<&'a [u8]> {
        let mut names = Reader(Reader(self.extension(SERVER_NAME)?).list(2)?);
        loop {
            let (kind, name) = (names.u8()?, names.list(2)?);
            if kind == 0 && !name.is_empty() {
                return Some(name);
            }
        }
    }

    /// The protocols offered to be spoken inside, in order.
    pub(in crate::protocol) fn alpn(&self) -> impl Iterator<Item = &'a [u8]> + use<'a> {
        let mut list = Reader(self.extension(ALPN).unwrap_or_default());
        let mut list = Reader(list.list(2).unwrap_or_default());
        std::iter::from_fn(move || list.list(1))
    }

    /// The versions offered in order, GREASE among them; before TLS 1.3, the newest.
    pub(in crate::protocol) fn versions(&self) -> impl Iterator<Item = u16> + Clone + use<'a> {
        let list = self.extension(SUPPORTED_VERSIONS).and_then(|it| Reader(it).list(1));
        let lone = list.is_none().then_some(self.version);
        words(list.unwrap_or_default()).chain(lone)
    }

    /// The newest version offered.
    pub(in crate::protocol) fn newest(&self) -> u16 {
        let known = self.versions().filter(|it| !is_grease(*it));
        // DTLS counts its versions downwards.
        let newest = if self.carrier == Carrier::Dtls { known.min() } else { known.max() };
        newest.unwrap_or(self.version)
    }

    /// The groups offered for the exchange of keys.
    pub(in crate::protocol) fn groups(&self) -> impl Iterator<Item = u16> + Clone + use<'a> {
        let list = self.extension(SUPPORTED_GROUPS).and_then(|it| Reader(it).list(2));
        words(list.unwrap_or_default())
    }

    pub(in crate::protocol) fn point_formats(&self) -> &'a [u8] {
        self.extension(POINT_FORMATS).and_then(|it| Reader(it).list(1)).unwrap_or_default()
    }

    pub(in crate::protocol) fn signatures(&self) -> impl Iterator<Item = u16> + Clone + use<'a> {
        let list = self.extension(SIGNATURE_ALGORITHMS).and_then(|it| Reader(it).list(2));
        words(list.unwrap_or_default())
    }

    /// Whether it asks to go on with an earlier session, by its id, a ticket or a key.
    pub(in crate::protocol) fn wants_resumption(&self) -> bool {
        let ticket = self.extension(SESSION_TICKET).is_some_and(|it| !it.is_empty());
        // Since TLS 1.3, and with tickets, the id is only for show.
        let by_id = !self.session.is_empty()
            && self.extension(SUPPORTED_VERSIONS).is_none()
            && self.extension(SESSION_TICKET).is_none();
        ticket || by_id || self.extension(PRE_SHARED_KEY).is_some()
    }

    /// Whether it says that data comes before the server's answer.
    pub(in crate::protocol) fn has_early_data(&self) -> bool {
        self.extension(EARLY_DATA).is_some()
    }

    /// Whether an encrypted hello, or what looks like one, lies inside.
    pub(in crate::protocol) fn has_encrypted_hello(&self) -> bool {
        [ENCRYPTED_CLIENT_HELLO, ENCRYPTED_SERVER_NAME]
            .iter()
            .any(|it| self.extension(*it).is_some())
    }
}

/// What a server answers, which settles what is spoken.
#[derive(Clone, Copy, Debug)]
pub(in crate::protocol) struct ServerHello<'a> {
    pub(in crate::protocol) version: u16,
    pub(in crate::protocol) random: &'a [u8],
    pub(in crate::protocol) session: &'a [u8],
    pub(in crate::protocol) cipher: u16,
    extensions: &'a [u8],
    /// Whether all of it is there.
    pub(in crate::protocol) whole: bool,
}

impl<'a> ServerHello<'a> {
    /// Reads the body of the message, or what there is of it, at least up to the cipher suite.
    pub(in crate::protocol) fn of(message: &'a [u8]) -> Option<Self> {
        let mut from = Reader(message);
        let version = from.u16()?;
        let random = from.take(RANDOM_BYTES)?;
        // Drafts of TLS 1.3 had neither session nor compression.
        let is_draft = (0x7f00..0x7f16).contains(&version);
        let session = if is_draft { &[] } else { from.list(1).filter(|it| it.len() <= 32)? };
        let cipher = from.u16()?;
        let compression_whole = is_draft || from.u8().is_some();
        let (extensions, extensions_whole) =
            if from.0.is_empty() { (&[][..], true) } else { from.list_or_part(2) };
        let whole = compression_whole && extensions_whole;
        Some(Self { version, random, session, cipher, extensions, whole })
    }

    pub(in crate::protocol) fn extensions(
        &self,
    ) -> impl Iterator<Item = (u16, &'a [u8])> + use<'a> {
        extensions(self.extensions)
    }

    pub(in crate::protocol) fn extension(&self, wanted: u16) -> Option<&'a [u8]> {
        self.extensions().find(|(code, _)| *code == wanted).map(|(_, content)| content)
    }

    /// The version chosen.
    pub(in crate::protocol) fn chosen(&self) -> u16 {
        let chosen = self.extension(SUPPORTED_VERSIONS).and_then(|it| Reader(it).u16());
        chosen.unwrap_or(self.version)
    }

    /// Whether all that follows is encrypted.
    pub(in crate::protocol) fn hides_the_rest(&self) -> bool {
        matches!(self.chosen(), 0x0304..=0x03ff | 0x7f00..=0x7fff | 0xfefc)
    }

    /// Whether it asks the client for another hello (HelloRetryRequest).
    pub(in crate::protocol) fn is_retry(&self) -> bool {
        self.random == RETRY_RANDOM
    }

    /// The protocol chosen to be spoken inside; since TLS 1.3 that is encrypted.
    pub(in crate::protocol) fn alpn(&self) -> Option<&'a [u8]> {
        Reader(Reader(self.extension(ALPN)?).list(2)?).list(1)
    }

    /// Whether records are authenticated as they are sent, encrypted (RFC 7366).
    pub(in crate::protocol) fn encrypts_first(&self) -> bool {
        self.extension(ENCRYPT_THEN_MAC).is_some()
    }

    /// The group chosen for the exchange of keys, where the hello says it.
    pub(in crate::protocol) fn group(&self) -> Option<u16> {
        Reader(self.extension(KEY_SHARE)?).u16()
    }
}

fn extensions(bytes: &[u8]) -> impl Iterator<Item = (u16, &[u8])> {
    let mut from = Reader(bytes);
    std::iter::from_fn(move || Some((from.u16()?, from.list(2)?)))
}

/// Columns that TLS and QUIC have alike, from a client's hello.
#[derive(Debug, Default)]
pub(in crate::protocol) struct Offer<'a> {
    pub(in crate::protocol) server_name: Option<Cow<'a, str>>,
    pub(in crate::protocol) alpn: Vec<Cow<'a, str>>,
    pub(in crate::protocol) versions: Vec<Cow<'a, str>>,
    pub(in crate::protocol) ciphers: Vec<Cow<'a, str>>,
    pub(in crate::protocol) extensions: Vec<Cow<'a, str>>,
    pub(in crate::protocol) groups: Vec<Cow<'a, str>>,
    pub(in crate::protocol) signatures: Vec<Cow<'a, str>>,
}

impl<'a> Offer<'a> {
    pub(in crate::protocol) fn of(hello: &ClientHello<'a>) -> Self {
        Self {
            server_name: hello.server_name().map(text),
            alpn: hello.alpn().map(text).collect(),
            versions: hello.versions().map(names::version).collect(),
            ciphers: hello.cipher_names(),
            extensions: hello.extensions().map(|(code, _)| names::extension(code)).collect(),
            groups: hello.groups().map(names::group).collect(),
            signatures: hello.signatures().map(names::signature).collect(),
        }
    }
}

/// Kinds of handshake messages.
pub(in crate::protocol) const CLIENT_HELLO: u8 = 1;
pub(in crate::protocol) const SERVER_HELLO: u8 = 2;

pub(in crate::protocol) const SERVER_NAME: u16 = 0;
const SUPPORTED_GROUPS: u16 = 10;
const POINT_FORMATS: u16 = 11;
const SIGNATURE_ALGORITHMS: u16 = 13;
pub(in crate::protocol) const ALPN: u16 = 16;
const ENCRYPT_THEN_MAC: u16 = 22;
const SESSION_TICKET: u16 = 35;
pub(in crate::protocol) const PRE_SHARED_KEY: u16 = 41;
pub(in crate::protocol) const EARLY_DATA: u16 = 42;
const SUPPORTED_VERSIONS: u16 = 43;
const KEY_SHARE: u16 = 51;
const ENCRYPTED_CLIENT_HELLO: u16 = 0xfe0d;
const ENCRYPTED_SERVER_NAME: u16 = 0xffce;

const RANDOM_BYTES: usize = 32;

/// The SHA-256 of "HelloRetryRequest" (RFC 8446 §4.1.3).
const RETRY_RANDOM: [u8; 32] = [
    0xcf, 0x21, 0xad, 0x74, 0xe5, 0x9a, 0x61, 0x11, 0xbe, 0x1d, 0x8c, 0x02, 0x1e, 0x65, 0xb8, 0x91,
    0xc2, 0xa2, 0x11, 0x16, 0x7a, 0xbb, 0x8c, 0x5e, 0x07, 0x9e, 0x09, 0xe2, 0xc8, 0xa8, 0x33, 0x9c,
];
