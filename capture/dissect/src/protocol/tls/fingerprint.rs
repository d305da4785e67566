//! Fingerprints of the programs behind hellos: JA3 and JA3S as Salesforce published them, JA4 (the
//! client's, under BSD terms) by FoxIO's `technical_details/JA4.md`. None of them counts GREASE.
use std::fmt::{Display, Write};

use md5::Md5;
use sha2::{Digest, Sha256};

use super::hello::{ALPN, Carrier, ClientHello, SERVER_NAME, ServerHello};
use super::names::is_grease;

use crate::render::hex;

/// The MD5 of the version, ciphers, extensions, groups and point formats a client offers.
pub(in crate::protocol) fn ja3(hello: &ClientHello<'_>) -> Option<String> {
    if hello.carrier == Carrier::Ssl2 || !hello.whole {
        return None;
    }
    let known = |it: &u16| !is_grease(*it);
    let mut text = format!("{},", hello.version);
    join(&mut text, hello.ciphers().filter(known));
    text.push(',');
    join(&mut text, hello.extensions().map(|(code, _)| code).filter(known));
    text.push(',');
    join(&mut text, hello.groups().filter(known));
    text.push(',');
    join(&mut text, hello.point_formats());
    Some(hex(&Md5::digest(text)))
}

/// The MD5 of the version, cipher and extensions a server chooses.
pub(in crate::protocol) fn ja3s(hello: &ServerHello<'_>) -> Option<String> {
    if !hello.whole {
        return None;
    }
    let mut text = format!("{},{},", hello.version, hello.cipher);
    join(&mut text, hello.extensions().map(|(code, _)| code).filter(|it| !is_grease(*it)));
    Some(hex(&Md5::digest(text)))
}

/// JA4: a readable part, then hashes of the ciphers and of the extensions, each in sorted order.
pub(in crate::protocol) fn ja4(hello: &ClientHello<'_>) -> Option<String> {
    if hello.carrier == Carrier::Ssl2 || !hello.whole {
        return None;
    }
    let carrier = match hello.carrier {
        Carrier::Tls | Carrier::Ssl2 => 't',
        Carrier::Dtls => 'd',
        Carrier::Quic => 'q',
    };
    let version = match hello.newest() {
        0x0304 => "13",
        0x0303 => "12",
        0x0302 => "11",
        0x0301 => "10",
        0x0300 => "s3",
        0x0002 => "s2",
        0xfeff => "d1",
        0xfefd => "d2",
        0xfefc => "d3",
        _ => "00",
    };
    let known = |it: &u16| !is_grease(*it);
    let name = if hello.extension(SERVER_NAME).is_some() { 'd' } else { 'i' };
    let mut ciphers: Vec<u16> = hello.ciphers().filter(known).collect();
    let mut extensions: Vec<u16> = hello.extensions().map(|it| it.0).filter(known).collect();
    let counts = [ciphers.len().min(99), extensions.len().min(99)];
    let mut text = format!("{carrier}{version}{name}{:02}{:02}", counts[0], counts[1]);
    push_ends(&mut text, hello.alpn().next().unwrap_or_default());

    ciphers.sort_unstable();
    text.push('_');
    push_hash(&mut text, &list(&ciphers));

    extensions.retain(|it| !matches!(*it, SERVER_NAME | ALPN));
    extensions.sort_unstable();
    let mut rest = list(&extensions);
    let signatures: Vec<u16> = hello.signatures().filter(known).collect();
    if !rest.is_empty() && !signatures.is_empty() {
        rest.push('_');
        rest += &list(&signatures);
    }
    text.push('_');
    push_hash(&mut text, &rest);
    Some(text)
}

/// The first and the last character of the first protocol offered; of its digits in hexadecimal,
/// if either is no letter or digit.
fn push_ends(text: &mut String, name: &[u8]) {
    match (name.first(), name.last()) {
        (Some(first), Some(last))
            if first.is_ascii_alphanumeric() && last.is_ascii_alphanumeric() =>
        {
            text.extend([char::from(*first), char::from(*last)]);
        }
        (Some(first), Some(last)) => {
            text.extend(hex(&[*first]).chars().next());
            text.extend(hex(&[*last]).chars().last());
        }
        _ => text.push_str("00"),
    }
}

/// The first twelve digits of the SHA-256; zeros for nothing.
fn push_hash(text: &mut String, of: &str) {
    let digits = if of.is_empty() { String::new() } else { hex(&Sha256::digest(of)) };
    text.push_str(digits.get(..12).unwrap_or("000000000000"));
}

fn list(numbers: &[u16]) -> String {
    let mut text = String::with_capacity(numbers.len() * 5);
    for (place, it) in numbers.iter().enumerate() {
        let comma = if place == 0 { "" } else { "," };
        // Writing into a text does not fail.
        write!(text, "{comma}{it:04x}").unwrap_or_default();
    }
    text
}

fn join(text: &mut String, numbers: impl IntoIterator<Item = impl Display>) {
    for (place, it) in numbers.into_iter().enumerate() {
        let dash = if place == 0 { "" } else { "-" };
        write!(text, "{dash}{it}").unwrap_or_default();
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A hello with these ciphers and extensions.
    fn hello(version: u16, ciphers: &[u16], extensions: &[(u16, Vec<u8>)]) -> Vec<u8> {
        let words = |them: &[u16]| them.iter().flat_map(|it| it.to_be_bytes()).collect::<Vec<_>>();
        let sized = |it: &[u8]| [&(it.len() as u16).to_be_bytes(), it].concat();
        let extensions: Vec<u8> = extensions
            .iter()
            .flat_map(|(code, it)| [code.to_be_bytes().to_vec(), sized(it)].concat())
            .collect();
        let parts = [
            version.to_be_bytes().to_vec(),
            vec![7; 32],
            vec![0],
            sized(&words(ciphers)),
            vec![1, 0],
            sized(&extensions),
        ];
        parts.concat()
    }

    /// The example of JA4's own description.
    #[test]
    fn ja4_as_described() {
        let ciphers = [
            0x5a5a, 0x1301, 0x1302, 0x1303, 0xc02b, 0xc02f, 0xc02c, 0xc030, 0xcca9, 0xcca8, 0xc013,
            0xc014, 0x009c, 0x009d, 0x002f, 0x0035,
        ];
        let signatures = [0u8, 16, 4, 3, 8, 4, 4, 1, 5, 3, 8, 5, 5, 1, 8, 6, 6, 1].to_vec();
        let mut extensions: Vec<(u16, Vec<u8>)> = [
            0x1a1a, 0x001b, 0x0000, 0x0033, 0x0010, 0x4469, 0x0017, 0x002d, 0x000d, 0x0005, 0x0023,
            0x0012, 0x002b, 0xff01, 0x000b, 0x000a, 0x0015, 0x6a6a,
        ]
        .map(|it| (it, Vec::new()))
        .to_vec();
        for (code, content) in &mut extensions {
            match *code {
                0x000d => content.clone_from(&signatures),
                0x0010 => *content = b"\0\x0c\x02h2\x08http/1.1".to_vec(),
                0x002b => *content = vec![6, 0x1a, 0x1a, 3, 4, 3, 3],
                _ => {}
            }
        }
        let message = hello(0x0303, &ciphers, &extensions);
        let hello = ClientHello::of(Carrier::Tls, &message).unwrap();
        assert_eq!(ja4(&hello).unwrap(), "t13d1516h2_8daaf6152771_e5627efa2ab1");
        let hello = ClientHello::of(Carrier::Quic, &message).unwrap();
        assert_eq!(ja4(&hello).unwrap(), "q13d1516h2_8daaf6152771_e5627efa2ab1");
    }

    /// The examples of JA3's own description.
    #[test]
    fn ja3_as_described() {
        let ciphers = [47, 53, 5, 10, 49161, 49162, 49171, 49172, 50, 56, 19, 4];
        let extensions = [(0, Vec::new()), (10, vec![0, 6, 0, 23, 0, 24, 0, 25]), (11, vec![1, 0])];
        let message = hello(769, &ciphers, &extensions);
        let offered = ClientHello::of(Carrier::Tls, &message).unwrap();
        assert_eq!(ja3(&offered).unwrap(), "ada70206e40642a3e4461f35503241d5");

        let message = hello(769, &[4, 5, 10, 9, 100, 98, 3, 6, 19, 18, 99], &[]);
        let offered = ClientHello::of(Carrier::Tls, &message).unwrap();
        assert_eq!(ja3(&offered).unwrap(), "de350869b8c85de67a350c8d186f11e6");
    }

    #[test]
    fn ends_of_odd_protocol_names() {
        for (name, ends) in [
            (&b"h2"[..], "h2"),
            (b"", "00"),
            (b"h", "hh"),
            (b"\xab", "ab"),
            (b"\xab\xcd", "ad"),
            (b"0\xab", "3b"),
        ] {
            let mut text = String::new();
            push_ends(&mut text, name);
            assert_eq!(text, ends);
        }
    }
}
