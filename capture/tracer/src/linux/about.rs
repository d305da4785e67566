//! What a file says of the TLS library in it, whether that one's functions are found or not. The file may be anybody's:
//! nothing in it is believed, and no more than so much of it is read.
use std::{fs::File, path::Path};

use dissect::Library;

use super::elf::{Elf, u32_at};

/// What a file says of the TLS library of this kind that is in it.
pub(super) fn library(file: &File, path: &str, kind: &'static str) -> Library {
    let name = Path::new(path).file_name().and_then(|it| it.to_str()).unwrap_or_default();
    let is_static = SHARED.iter().all(|(prefix, ..)| !name.starts_with(prefix));
    let library = Library { kind, path: path.to_owned(), is_static, ..Library::default() };
    let Ok(elf) = Elf::open(file) else { return library };
    let version = match kind {
        "go" => go_version(&elf),
        "openssl" => texts(&elf).find_map(|it| version(&it, OPENSSL)),
        "gnutls" => texts(&elf).find_map(|it| version(&it, b"GnuTLS ")),
        "rustls" => texts(&elf).find_map(|it| version(&it, RUSTLS)),
        _ => None,
    };
    Library { version, build_id: build_id(&elf), is_stripped: elf.is_stripped(), ..library }
}

/// The version of the OpenSSL whose libcrypto that is: its libssl does not say it.
pub(super) fn openssl_version(file: &File) -> Option<String> {
    texts(&Elf::open(file).ok()?).find_map(|it| version(&it, OPENSSL))
}

/// Which TLS library a file has in it that has none of the functions we read, and why they can't be: it is told by its
/// file's name, or by what compilers leave in programs that it is built into.
pub(super) fn unreadable(file: &File, path: &str) -> Option<(&'static str, String)> {
    let name = Path::new(path).file_name().and_then(|it| it.to_str()).unwrap_or_default();
    if let Some((_, kind, called)) = SHARED.iter().find(|it| name.starts_with(it.0)) {
        return Some((
            kind,
            match *kind {
                "openssl" | "gnutls" => format!("{called} has none of the functions that are read"),
                _ => format!("{called} is not among the libraries that are read"),
            },
        ));
    }
    let elf = Elf::open(file).ok()?;
    if let Ok(Some(table)) = elf.named(&[".gopclntab", ".data.rel.ro.gopclntab"]) {
        let table = elf.bytes(table).ok()?;
        find(&table, b"crypto/tls.(*Conn).Write\0")?;
        return Some(("go", go_problem(file)));
    }
    let stripped = elf.is_stripped();
    texts(&elf).find_map(|it| built_in(&it, stripped))
}

/// Which library left its traces in a piece of a program's texts.
fn built_in(text: &[u8], is_stripped: bool) -> Option<(&'static str, String)> {
    if let Some(at) = find(text, OPENSSL_FILE) {
        // BoringSSL's files are C++.
        let is_boring = text.get(at + OPENSSL_FILE.len()) == Some(&b'c');
        let (kind, called) =
            if is_boring { ("boringssl", "BoringSSL") } else { ("openssl", "OpenSSL") };
        let why = match is_stripped {
            true => "it is stripped, so that its functions can't be found",
            false => "its functions are not there by their names",
        };
        return Some((kind, format!("{called} is built into it, and {why}")));
    }
    version(text, RUSTLS)?;
    Some(("rustls", "rustls has no functions that could be read from outside".to_owned()))
}

#[cfg(target_arch = "x86_64")]
fn go_problem(file: &File) -> String {
    match super::golang::functions(file) {
        Err(why) => format!("Go's TLS can't be read in it: {why}"),
        Ok(_) => "Go's TLS is read in programs made by Go 1.18 and later".to_owned(),
    }
}

#[cfg(not(target_arch = "x86_64"))]
fn go_problem(_: &File) -> String {
    "Go's TLS is read on x86_64 only".to_owned()
}

/// The texts in a program, in pieces.
fn texts<'a>(elf: &'a Elf<'_>) -> impl Iterator<Item = Vec<u8>> + 'a {
    let section = elf.named(&[".rodata"]).ok().flatten();
    section.into_iter().flat_map(|it| elf.pieces(it))
}

/// Three numbers, or two and letters, behind `mark`: as `3.0.19` and `1.1.1w`.
fn version(text: &[u8], mark: &[u8]) -> Option<String> {
    let mut rest = text;
    while let Some(at) = find(rest, mark) {
        rest = rest.get(at + mark.len()..).unwrap_or_default();
        let part = |it: &&u8| it.is_ascii_alphanumeric() || **it == b'.';
        let word: Vec<u8> = rest.iter().take(LONGEST_VERSION).take_while(part).copied().collect();
        let word = String::from_utf8(word).unwrap_or_default();
        let numbers = word.split('.').filter(|it| it.starts_with(|it: char| it.is_ascii_digit()));
        if numbers.count() >= 3 {
            return Some(word.trim_end_matches('.').to_owned());
        }
    }
    None
}

/// The version of Go that made a program (1.18 and later write it so).
fn go_version(elf: &Elf<'_>) -> Option<String> {
    let about = elf.bytes(elf.named(&[".go.buildinfo"]).ok()??).ok()?;
    let written = about.starts_with(b"\xff Go buildinf:") && about.get(15)? & 2 != 0;
    let length = usize::from(*about.get(32).filter(|it| written && **it < 128)?);
    let version = std::str::from_utf8(about.get(33..33 + length)?).ok()?;
    Some(version.strip_prefix("go").unwrap_or(version).to_owned())
}

fn build_id(elf: &Elf<'_>) -> Option<String> {
    let note = elf.bytes(elf.named(&[".note.gnu.build-id"]).ok()??).ok()?;
    let length = usize::try_from(u32_at(&note, 4)).ok().filter(|it| *it <= LONGEST_ID)?;
    let id = note.get(16..16 + length)?;
    Some(id.iter().map(|it| format!("{it:02x}")).collect())
}

/// Where `wanted` begins first. Looks at its last byte first, and from there knows how far it may go on.
fn find(text: &[u8], wanted: &[u8]) -> Option<usize> {
    let last = wanted.len().checked_sub(1)?;
    let mut far = [wanted.len(); 256];
    for (place, byte) in wanted.iter().take(last).enumerate() {
        far[usize::from(*byte)] = last - place;
    }
    let mut at = 0;
    while let Some(end) = text.get(at + last) {
        if text.get(at..=at + last) == Some(wanted) {
            return Some(at);
        }
        at += far[usize::from(*end)];
    }
    None
}

/// Libraries in files of their own: how the file's name begins, what it is, and what people call it.
const SHARED: [(&str, &str, &str); 7] = [
    ("libssl.so", "openssl", "this OpenSSL"),
    ("libgnutls.so", "gnutls", "this GnuTLS"),
    ("libssl3.so", "nss", "NSS"),
    ("libmbedtls.so", "mbedtls", "Mbed TLS"),
    ("libwolfssl.so", "wolfssl", "wolfSSL"),
    ("libs2n.so", "s2n", "s2n"),
    ("libboringssl.so", "boringssl", "this BoringSSL"),
];
/// What errors say of where they came from.
const OPENSSL_FILE: &[u8] = b"ssl/ssl_lib.c";
const OPENSSL: &[u8] = b"OpenSSL ";
/// Where a crate lies while it is compiled: panics name their file.
const RUSTLS: &[u8] = b"/rustls-";
const LONGEST_VERSION: usize = 24;
const LONGEST_ID: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_told_from_other_words_behind_the_same_mark() {
        let check = |text: &str, wanted: Option<&str>| {
            let found = version(text.as_bytes(), b"OpenSSL ");
            assert_eq!(found.as_deref(), wanted, "{text}");
        };
        check("OpenSSL 3.0.19 27 Jan 2026", Some("3.0.19"));
        check("OpenSSL 3.0 legacy provider\0OpenSSL 1.1.1w  11 Sep 2023\0", Some("1.1.1w"));
        check("OpenSSL 3's legacy provider", None);
        check("OpenSSL ", None);
        check("", None);
        assert_eq!(version(b"/rustls-0.23.46/src/lib.rs", b"/rustls-").as_deref(), Some("0.23.46"));
        assert_eq!(version(b"/rustls-pki-types-1.0.0/src", b"/rustls-"), None);
    }

    #[test]
    fn a_text_is_found_wherever_it_is() {
        let text = b"sss/ssl_lib.ssl/ssl_lib.c";
        assert_eq!(find(text, b"ssl/ssl_lib.c"), Some(12));
        assert_eq!(find(text, b"sss"), Some(0));
        assert_eq!(find(text, b"lib.d"), None);
        assert_eq!(find(b"", b"x"), None);
        assert_eq!(find(b"x", b"xx"), None);
    }

    #[test]
    fn what_is_no_program_has_no_library_and_does_no_harm() {
        let mut file = tempfile::tempfile().unwrap();
        let mut state = 1_u64;
        let mut bytes = vec![0_u8; 4096];
        for _ in 0..200 {
            for byte in &mut bytes {
                state ^= state << 13;
                state ^= state >> 7;
                state ^= state << 17;
                *byte = state as u8;
            }
            bytes[..6].copy_from_slice(b"\x7fELF\x02\x01");
            write(&mut file, &bytes);
            assert_eq!(unreadable(&file, "/bin/true"), None);
            let about = library(&file, "/bin/true", "openssl");
            assert_eq!((about.version, about.build_id), (None, None));
        }
    }

    fn write(file: &mut File, bytes: &[u8]) {
        use std::io::{Seek, Write};
        file.rewind().unwrap();
        file.write_all(bytes).unwrap();
    }
}
