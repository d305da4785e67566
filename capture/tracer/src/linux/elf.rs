//! Where functions are in a file. The file may be anybody's: nothing in it is believed.
use std::{fs::File, io, os::unix::fs::FileExt};

/// The functions among `wanted` that the file defines, by name, and where they begin in it.
pub(super) fn functions<'a>(file: &File, wanted: &[&'a str]) -> io::Result<Vec<(&'a str, u64)>> {
    let elf = Elf::open(file)?;
    let mut found: Vec<(&str, u64)> = Vec::new();
    for table in elf.sections.iter().filter(|it| [DYNSYM, SYMTAB].contains(&it.kind)) {
        let Some(names) = elf.sections.get(table.link as usize) else { continue };
        let symbols = elf.bytes(table)?;
        let names = elf.bytes(names)?;
        for symbol in symbols.chunks_exact(SYMBOL) {
            let (name, kind, section) = (u32_at(symbol, 0), u8_at(symbol, 4), u16_at(symbol, 6));
            if kind & 15 != FUNCTION || section == 0 {
                continue;
            }
            let Some(name) = names.get(name as usize..) else { continue };
            let is_it = |it: &&&str| {
                name.starts_with(it.as_bytes()) && name.get(it.len()).is_some_and(|it| *it == 0)
            };
            if let Some(name) = wanted.iter().find(is_it)
                && found.iter().all(|it| it.0 != *name)
                && let Some(at) = elf.place(u64_at(symbol, 8))
            {
                found.push((name, at));
            }
        }
    }
    Ok(found)
}

/// The parts of a file.
pub(super) struct Elf<'a> {
    file: &'a File,
    /// The section with the sections' names.
    names: usize,
    sections: Vec<Section>,
    /// Address, length and place in the file of what is loaded.
    loaded: Vec<[u64; 3]>,
}

pub(super) struct Section {
    name: u32,
    kind: u32,
    pub(super) address: u64,
    offset: u64,
    length: u64,
    link: u32,
}

impl<'a> Elf<'a> {
    pub(super) fn open(file: &'a File) -> io::Result<Self> {
        let head = read(file, 0, 64)?;
        // 64 bits, little-endian: the processors we know.
        if !head.starts_with(b"\x7fELF\x02\x01") {
            return Err(io::Error::new(
                io::ErrorKind::InvalidData,
                "not an ELF file of this processor",
            ));
        }
        let table = |offset: usize, size: usize, count: usize, room: usize| {
            let (size, count) = (u64::from(u16_at(&head, size)), u64::from(u16_at(&head, count)));
            if size != room as u64 {
                return Ok(Vec::new());
            }
            read(file, u64_at(&head, offset), size * count)
        };
        let sections = table(40, 58, 60, SECTION)?;
        let segments = table(32, 54, 56, SEGMENT)?;
        let section = |it: &[u8]| Section {
            name: u32_at(it, 0),
            kind: u32_at(it, 4),
            address: u64_at(it, 16),
            offset: u64_at(it, 24),
            length: u64_at(it, 32),
            link: u32_at(it, 40),
        };
        let loaded = |it: &&[u8]| u32_at(it, 0) == LOAD;
        let segment = |it: &[u8]| [u64_at(it, 16), u64_at(it, 32), u64_at(it, 8)];
        Ok(Self {
            file,
            names: u16_at(&head, 62).into(),
            sections: sections.chunks_exact(SECTION).map(section).collect(),
            loaded: segments.chunks_exact(SEGMENT).filter(loaded).map(segment).collect(),
        })
    }

    pub(super) fn bytes(&self, section: &Section) -> io::Result<Vec<u8>> {
        read(self.file, section.offset, section.length)
    }

    /// The same in pieces of 4 MiB, each with the end of the one before, and no more than is read of any file.
    pub(super) fn pieces(&self, section: &Section) -> impl Iterator<Item = Vec<u8>> {
        let (offset, length) = (section.offset, section.length.min(TABLE_BYTES));
        (0..length).step_by(PIECE_BYTES).map_while(move |at| {
            let from = at.saturating_sub(OVERLAP_BYTES);
            let until = (at + PIECE_BYTES as u64).min(length);
            read(self.file, offset.checked_add(from)?, until - from).ok()
        })
    }

    /// The section that has one of these names.
    pub(super) fn named(&self, wanted: &[&str]) -> io::Result<Option<&Section>> {
        let Some(names) = self.sections.get(self.names) else { return Ok(None) };
        let names = self.bytes(names)?;
        Ok(self.sections.iter().find(|it| {
            let name = names.get(it.name as usize..).unwrap_or_default();
            let name = name.split(|it| *it == 0).next().unwrap_or_default();
            wanted.iter().any(|it| it.as_bytes() == name)
        }))
    }

    /// Whether it has no symbols but those that others may call.
    pub(super) fn is_stripped(&self) -> bool {
        self.sections.iter().all(|it| it.kind != SYMTAB)
    }

    /// So many bytes from a place in the file.
    pub(super) fn read(&self, offset: u64, length: u64) -> io::Result<Vec<u8>> {
        read(self.file, offset, length)
    }

    /// Where in the file an address lies.
    pub(super) fn place(&self, address: u64) -> Option<u64> {
        self.loaded.iter().find_map(|[start, length, offset]| {
            let into = address.checked_sub(*start).filter(|it| it < length)?;
            offset.checked_add(into)
        })
    }
}

fn read(file: &File, offset: u64, length: u64) -> io::Result<Vec<u8>> {
    let there = file.metadata()?.len();
    let whole = offset.checked_add(length).is_some_and(|end| end <= there);
    if length > TABLE_BYTES || !whole {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            "its symbols are too many, or lie outside of it",
        ));
    }
    let mut bytes = vec![0; usize::try_from(length).unwrap_or(0)];
    file.read_exact_at(&mut bytes, offset)?;
    Ok(bytes)
}

fn array<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes.get(at..).and_then(|it| it.first_chunk()).copied().unwrap_or([0; N])
}

fn u8_at(bytes: &[u8], at: usize) -> u8 {
    array::<1>(bytes, at)[0]
}

fn u16_at(bytes: &[u8], at: usize) -> u16 {
    u16::from_le_bytes(array(bytes, at))
}

pub(super) fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes(array(bytes, at))
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from_le_bytes(array(bytes, at))
}

const SECTION: usize = 64;
const SEGMENT: usize = 56;
const SYMBOL: usize = 24;
const LOAD: u32 = 1;
const SYMTAB: u32 = 2;
const DYNSYM: u32 = 11;
const FUNCTION: u8 = 2;

/// A browser's names take some 50 MB.
const TABLE_BYTES: u64 = 128 << 20;
const PIECE_BYTES: usize = 4 << 20;
/// Longer than whatever is looked for.
const OVERLAP_BYTES: u64 = 64;
