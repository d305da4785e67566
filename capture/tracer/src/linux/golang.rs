//! Where a Go program's TLS functions are, with symbols or without: its own table of functions, which it needs for
//! stack traces, is never stripped. The file may be anybody's: nothing in it is believed.
use std::{fs::File, io};

use iced_x86::{Decoder, DecoderOptions, Mnemonic};

use super::elf::{Elf, u32_at};

/// A function: where it begins in the file, and where it returns.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Function {
    pub(super) name: &'static str,
    pub(super) entry: u64,
    pub(super) returns: Vec<u64>,
}

pub(super) const WRITE: &str = "crypto/tls.(*Conn).Write";
pub(super) const READ: &str = "crypto/tls.(*Conn).Read";
pub(super) const CLIENT_HANDSHAKE: &str = "crypto/tls.(*Conn).clientHandshake";
pub(super) const SERVER_HANDSHAKE: &str = "crypto/tls.(*Conn).serverHandshake";
const NAMES: [&str; 4] = [WRITE, READ, CLIENT_HANDSHAKE, SERVER_HANDSHAKE];

/// The TLS functions of a Go program: none if it is something else, or has no TLS.
pub(super) fn functions(file: &File) -> io::Result<Vec<Function>> {
    let elf = Elf::open(file)?;
    let tables = [".gopclntab", ".data.rel.ro.gopclntab"];
    let Some(table) = elf.named(&tables)? else { return Ok(Vec::new()) };
    let text = elf.named(&[".text"])?.map_or(0, |it| it.address);
    let mut found = Vec::new();
    for (name, address, length) in listed(&elf.bytes(table)?, text) {
        let Some(entry) = elf.place(address) else { continue };
        let code = elf.read(entry, length)?;
        // A probe in the middle of an instruction would break the program: the table must lead to where functions
        // begin.
        if !BEGINNINGS.iter().any(|it| code.starts_with(it)) {
            return Err(invalid("its functions are not where its table says"));
        }
        let returns = returns(&code).ok_or_else(|| invalid("a function of it can't be read"))?;
        found.push(Function {
            name,
            entry,
            returns: returns.iter().map(|it| entry + it).collect(),
        });
    }
    Ok(found)
}

/// The functions we look for, as the table (of Go 1.18 and later) lists them: address and length.
fn listed(table: &[u8], text: u64) -> Vec<(&'static str, u64, u64)> {
    let word = |at: usize| {
        let bytes = table.get(8 + at * 8..).and_then(|it| it.first_chunk());
        bytes.map_or(0, |it| u64::from_le_bytes(*it))
    };
    let place = |at: usize| usize::try_from(word(at)).unwrap_or(usize::MAX);
    if ![0xffff_fff0, 0xffff_fff1].contains(&u32_at(table, 0)) || table.get(7) != Some(&8) {
        return Vec::new();
    }
    // Where the code begins; since Go 1.27, and where the loader decides it, that is not written there.
    let text = if word(2) == 0 { text } else { word(2) };
    let (Some(names), Some(functions)) = (table.get(place(3)..), table.get(place(7)..)) else {
        return Vec::new();
    };
    let mut found = Vec::new();
    let entries = functions.chunks_exact(8).take(place(0));
    for (entry, next) in entries.zip(functions.chunks_exact(8).skip(1)) {
        let (begins, ends) = (u32_at(entry, 0), u32_at(next, 0));
        let about = functions.get(u32_at(entry, 4) as usize..).unwrap_or_default();
        let name = names.get(u32_at(about, 4) as usize..).unwrap_or_default();
        let is_it = |it: &&&str| {
            name.starts_with(it.as_bytes()) && name.get(it.len()).is_some_and(|it| *it == 0)
        };
        if let Some(name) = NAMES.iter().find(is_it)
            && let Some(length) = ends.checked_sub(begins)
            && length <= LONGEST
        {
            found.push((*name, text.saturating_add(begins.into()), length.into()));
        }
    }
    found
}

/// Where code returns, from its beginning on; `None` if it is no code.
fn returns(code: &[u8]) -> Option<Vec<u64>> {
    let mut decoder = Decoder::with_ip(64, code, 0, DecoderOptions::NONE);
    let mut found = Vec::new();
    while decoder.can_decode() {
        let it = decoder.decode();
        if it.is_invalid() {
            return None;
        }
        if it.mnemonic() == Mnemonic::Ret {
            found.push(it.ip());
        }
    }
    (found.len() <= MOST_RETURNS).then_some(found)
}

fn invalid(what: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

/// Go's functions compare the stack's end with the stack pointer first, or with where it would come to.
const BEGINNINGS: [&[u8]; 3] = [b"\x49\x3b\x66\x10", b"\x4c\x8d\x64\x24", b"\x4c\x8d\xa4\x24"];
const LONGEST: u32 = 1 << 16;
const MOST_RETURNS: usize = 64;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_damaged_table_lists_nothing_and_does_no_harm() {
        let mut table = vec![0; 4096];
        table[..4].copy_from_slice(&0xffff_fff1_u32.to_le_bytes());
        table[7] = 8;
        assert_eq!(listed(&table, 0), []);
        let mut state = 1_u64;
        for _ in 0..20_000 {
            state ^= state << 13;
            state ^= state >> 7;
            state ^= state << 17;
            let at = 8 + (state as usize >> 8) % 80;
            table[at] = state as u8;
            listed(&table, state);
            listed(&table[..at], 0);
        }
    }

    #[test]
    fn returns_are_found_among_instructions_and_not_among_their_bytes() {
        // mov eax, 0xc3; ret; nop; ret
        assert_eq!(returns(b"\xb8\xc3\0\0\0\xc3\x90\xc3"), Some(vec![5, 7]));
        assert_eq!(returns(b"\xc3\x06"), None);
    }
}
