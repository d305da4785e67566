//! HPACK (RFC 7541): how HTTP/2 compresses headers, as far as a reader needs it.
//!
//! A reader that missed a part of the connection does not know the older entries of the dynamic
//! table. Entries count from the newest, so those added since are known all the same; what refers
//! to one that is not is left out, and said to be missing.
use std::collections::VecDeque;
use std::sync::LazyLock;

/// What one side's header blocks refer to.
#[derive(Debug)]
pub(super) struct Table {
    /// The newest first.
    entries: VecDeque<Entry>,
    /// As RFC 7541 4.1 counts them.
    size: usize,
    most: usize,
    held: usize,
    name: Vec<u8>,
    value: Vec<u8>,
}

/// A name and a value, one after the other; `name` is how long the first is, if it is known.
#[derive(Debug)]
struct Entry {
    name: Option<usize>,
    bytes: Vec<u8>,
}

/// How a header block was read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Block {
    /// All of it.
    Whole,
    /// Some headers refer to what was not captured.
    Partial,
    /// Not a header block, or one that is cut.
    Broken,
}

impl Default for Table {
    fn default() -> Self {
        Self {
            entries: VecDeque::new(),
            size: 0,
            most: DEFAULT_SIZE,
            held: 0,
            name: Vec::new(),
            value: Vec::new(),
        }
    }
}

impl Table {
    /// Reads one block, and hands each name and value to `each`.
    pub(super) fn read(&mut self, bytes: &[u8], mut each: impl FnMut(&[u8], &[u8])) -> Block {
        let mut rest = Reader(bytes);
        let mut block = Block::Whole;
        while let Some(first) = rest.0.first().copied() {
            let known = match first {
                0x80.. => rest.integer(7).map(|it| self.indexed(it, &mut each)),
                0x40.. => {
                    rest.integer(6).and_then(|it| self.literal(it, &mut rest, true, &mut each))
                }
                0x20.. => rest.integer(5).map(|it| {
                    self.resize(it);
                    true
                }),
                _ => rest.integer(4).and_then(|it| self.literal(it, &mut rest, false, &mut each)),
            };
            match known {
                Some(true) => {}
                Some(false) => block = Block::Partial,
                None => {
                    self.forget();
                    return Block::Broken;
                }
            }
        }
        block
    }

    /// Blocks went missing: the entries cannot be counted on any more.
    pub(super) fn forget(&mut self) {
        self.entries.clear();
        self.size = 0;
        self.held = 0;
        // What the sender may have been allowed meanwhile; keeping too much does no harm, for it
        // is never referred to.
        self.most = self.most.max(MOST_SIZE);
    }

    /// About how many bytes it holds on to.
    pub(super) fn held(&self) -> usize {
        self.held + self.name.capacity() + self.value.capacity()
    }

    /// Whether the header was known.
    fn indexed(&self, index: usize, each: &mut impl FnMut(&[u8], &[u8])) -> bool {
        match self.get(index) {
            Some((Some(name), value)) => {
                each(name, value);
                true
            }
            _ => false,
        }
    }

    fn literal(
        &mut self,
        index: usize,
        rest: &mut Reader<'_>,
        keep: bool,
        each: &mut impl FnMut(&[u8], &[u8]),
    ) -> Option<bool> {
        let mut scratch = std::mem::take(&mut self.name);
        let mut value_scratch = std::mem::take(&mut self.value);
        let read = self.literal_with(index, rest, keep, each, &mut scratch, &mut value_scratch);
        self.name = scratch;
        self.value = value_scratch;
        read
    }

    fn literal_with(
        &mut self,
        index: usize,
        rest: &mut Reader<'_>,
        keep: bool,
        each: &mut impl FnMut(&[u8], &[u8]),
        name: &mut Vec<u8>,
        value: &mut Vec<u8>,
    ) -> Option<bool> {
        let indexed = if index == 0 { None } else { Some(self.get(index)) };
        let name = match indexed {
            None => Some(rest.string(name)?),
            Some(entry) => entry.and_then(|it| it.0),
        };
        let value = rest.string(value)?;
        if let Some(name) = name {
            each(name, value);
        }
        let known = name.is_some();
        if keep {
            let entry = Entry::of(name, value);
            self.insert(entry);
        }
        Some(known)
    }

    fn get(&self, index: usize) -> Option<(Option<&[u8]>, &[u8])> {
        match index.checked_sub(STATIC.len() + 1) {
            None => {
                let (name, value) = STATIC.get(index.checked_sub(1)?)?;
                Some((Some(name), value))
            }
            Some(at) => self.entries.get(at).map(Entry::parts),
        }
    }

    fn insert(&mut self, entry: Entry) {
        let size = entry.size();
        self.size += size;
        self.held += entry.held();
        self.entries.push_front(entry);
        self.shrink();
    }

    fn resize(&mut self, most: usize) {
        self.most = most.min(MOST_SIZE);
        self.shrink();
    }

    fn shrink(&mut self) {
        while self.size > self.most {
            let Some(last) = self.entries.pop_back() else { break };
            self.size = self.size.saturating_sub(last.size());
            self.held = self.held.saturating_sub(last.held());
        }
    }
}

impl Entry {
    fn of(name: Option<&[u8]>, value: &[u8]) -> Self {
        let length = name.map_or(0, <[u8]>::len) + value.len();
        let mut bytes = Vec::with_capacity(length);
        bytes.extend_from_slice(name.unwrap_or_default());
        bytes.extend_from_slice(value);
        Self { name: name.map(<[u8]>::len), bytes }
    }

    fn parts(&self) -> (Option<&[u8]>, &[u8]) {
        match self.name.and_then(|it| self.bytes.split_at_checked(it)) {
            Some((name, value)) => (Some(name), value),
            None => (None, &self.bytes),
        }
    }

    fn size(&self) -> usize {
        self.bytes.len() + ENTRY_SIZE
    }

    fn held(&self) -> usize {
        self.bytes.capacity() + size_of::<Self>()
    }
}

/// What is left of a block.
struct Reader<'a>(&'a [u8]);

impl<'a> Reader<'a> {
    /// RFC 7541 5.1, with so many bits of the first byte.
    fn integer(&mut self, bits: u32) -> Option<usize> {
        let (first, mut rest) = self.0.split_first()?;
        let most = (1_usize << bits) - 1;
        let mut value = usize::from(*first) & most;
        if value == most {
            let mut shift = 0;
            loop {
                let (byte, after) = rest.split_first()?;
                rest = after;
                value = value.checked_add(usize::from(byte & 0x7f) << shift)?;
                shift += 7;
                if byte & 0x80 == 0 {
                    break;
                }
                if shift > 28 {
                    return None;
                }
            }
        }
        self.0 = rest;
        Some(value)
    }

    /// RFC 7541 5.2; `scratch` holds what had to be decoded.
    fn string<'s>(&mut self, scratch: &'s mut Vec<u8>) -> Option<&'s [u8]>
    where
        'a: 's,
    {
        let coded = self.0.first()? & 0x80 != 0;
        let length = self.integer(7)?;
        let (bytes, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        if !coded {
            return Some(bytes);
        }
        scratch.clear();
        huffman(bytes, scratch)?;
        Some(scratch)
    }
}

/// Decodes the Huffman code of RFC 7541 appendix B; nothing if the bytes are not of it.
fn huffman(bytes: &[u8], out: &mut Vec<u8>) -> Option<()> {
    let code = &*CODE;
    // The shortest code has five bits.
    out.reserve(bytes.len() * 8 / 5);
    let (mut bits, mut count) = (0_u64, 0_u32);
    for byte in bytes {
        bits = (bits << 8) | u64::from(*byte);
        count += 8;
        while count >= 8 {
            match code.short(bits >> (count - 8)) {
                Some((symbol, length)) => {
                    out.push(symbol);
                    count -= length;
                }
                None => match code.long(bits, count)? {
                    Some((symbol, length)) => {
                        out.push(symbol);
                        count -= length;
                    }
                    None => break,
                },
            }
        }
    }
    // What is left is filled up with ones, which begin no short code.
    while count > 0 && count < 8 {
        let filled = (bits << (8 - count)) | ((1 << (8 - count)) - 1);
        match code.short(filled) {
            Some((symbol, length)) if length <= count => {
                out.push(symbol);
                count -= length;
            }
            _ => break,
        }
    }
    let ones = (1_u64 << count.min(63)) - 1;
    (count < 8 && bits & ones == ones).then_some(())
}

/// The code is canonical: the lengths say it all.
struct Code {
    /// By eight bits: the symbol and its length; no length if it has more bits.
    short: [(u8, u8); 256],
    /// By length: the first code, and how many there are before it and of it.
    long: [(u64, usize, usize); 31],
    /// All symbols but the end, in the order of their codes.
    symbols: Vec<u8>,
}

static CODE: LazyLock<Code> = LazyLock::new(|| {
    let mut code = Code { short: [(0, 0); 256], long: [(0, 0, 0); 31], symbols: Vec::new() };
    let mut next = 0_u64;
    for (length, first) in (0_u8..).zip(&mut code.long) {
        next <<= 1;
        let before = code.symbols.len();
        let of_length = (0..=u8::MAX).zip(LENGTHS).filter(|it| *it.1 == length && length > 0);
        code.symbols.extend(of_length.map(|it| it.0));
        let many = code.symbols.len() - before;
        *first = (next, before, many);
        if length <= 8 {
            for (at, symbol) in (next..).zip(code.symbols.get(before..).unwrap_or_default()) {
                let shift = 8 - length;
                let from = usize::try_from(at << shift).unwrap_or_default();
                for slot in code.short.iter_mut().skip(from).take(1 << shift) {
                    *slot = (*symbol, length);
                }
            }
        }
        next += many as u64;
    }
    code
});

impl Code {
    #[inline]
    fn short(&self, bits: u64) -> Option<(u8, u32)> {
        let (symbol, length) = *self.short.get(usize::try_from(bits & 0xff).ok()?)?;
        (length > 0).then_some((symbol, u32::from(length)))
    }

    /// A symbol of more than eight bits; `Some(None)` if there are too few.
    fn long(&self, bits: u64, count: u32) -> Option<Option<(u8, u32)>> {
        for (length, (first, before, many)) in (0_u32..).zip(&self.long).skip(9) {
            if length > count {
                return Some(None);
            }
            let code = (bits >> (count - length)) & ((1 << length) - 1);
            let Some(at) = code.checked_sub(*first).and_then(|it| usize::try_from(it).ok()) else {
                continue;
            };
            if at < *many {
                return self.symbols.get(before + at).map(|it| Some((*it, length)));
            }
        }
        None
    }
}

/// How long each symbol's code is (RFC 7541 appendix B), but for the end's, which is never sent.
#[rustfmt::skip]
static LENGTHS: &[u8; 256] = &[
    13, 23, 28, 28, 28, 28, 28, 28, 28, 24, 30, 28, 28, 30, 28, 28,
    28, 28, 28, 28, 28, 28, 30, 28, 28, 28, 28, 28, 28, 28, 28, 28,
    6, 10, 10, 12, 13, 6, 8, 11, 10, 10, 8, 11, 8, 6, 6, 6,
    5, 5, 5, 6, 6, 6, 6, 6, 6, 6, 7, 8, 15, 6, 12, 10,
    13, 6, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 7,
    7, 7, 7, 7, 7, 7, 7, 7, 8, 7, 8, 13, 19, 13, 14, 6,
    15, 5, 6, 5, 6, 5, 6, 6, 6, 5, 7, 7, 6, 6, 6, 5,
    6, 7, 6, 5, 5, 6, 7, 7, 7, 7, 7, 15, 11, 14, 13, 28,
    20, 22, 20, 20, 22, 22, 22, 23, 22, 23, 23, 23, 23, 23, 24, 23,
    24, 24, 22, 23, 24, 23, 23, 23, 23, 21, 22, 23, 22, 23, 23, 24,
    22, 21, 20, 22, 22, 23, 23, 21, 23, 22, 22, 24, 21, 22, 23, 23,
    21, 21, 22, 21, 23, 22, 23, 23, 20, 22, 22, 22, 23, 22, 22, 23,
    26, 26, 20, 19, 22, 23, 22, 25, 26, 26, 26, 27, 27, 26, 24, 25,
    19, 21, 26, 27, 27, 26, 27, 24, 21, 21, 26, 26, 28, 27, 27, 27,
    20, 24, 20, 21, 22, 21, 21, 23, 22, 22, 25, 25, 24, 24, 26, 23,
    26, 27, 26, 26, 27, 27, 27, 27, 27, 28, 27, 27, 27, 27, 27, 26,
];

/// RFC 7541 appendix A.
#[rustfmt::skip]
static STATIC: &[(&[u8], &[u8]); 61] = &[
    (b":authority", b""),
    (b":method", b"GET"),
    (b":method", b"POST"),
    (b":path", b"/"),
    (b":path", b"/index.html"),
    (b":scheme", b"http"),
    (b":scheme", b"https"),
    (b":status", b"200"),
    (b":status", b"204"),
    (b":status", b"206"),
    (b":status", b"304"),
    (b":status", b"400"),
    (b":status", b"404"),
    (b":status", b"500"),
    (b"accept-charset", b""),
    (b"accept-encoding", b"gzip, deflate"),
    (b"accept-language", b""),
    (b"accept-ranges", b""),
    (b"accept", b""),
    (b"access-control-allow-origin", b""),
    (b"age", b""),
    (b"allow", b""),
    (b"authorization", b""),
    (b"cache-control", b""),
    (b"content-disposition", b""),
    (b"content-encoding", b""),
    (b"content-language", b""),
    (b"content-length", b""),
    (b"content-location", b""),
    (b"content-range", b""),
    (b"content-type", b""),
    (b"cookie", b""),
    (b"date", b""),
    (b"etag", b""),
    (b"expect", b""),
    (b"expires", b""),
    (b"from", b""),
    (b"host", b""),
    (b"if-match", b""),
    (b"if-modified-since", b""),
    (b"if-none-match", b""),
    (b"if-range", b""),
    (b"if-unmodified-since", b""),
    (b"last-modified", b""),
    (b"link", b""),
    (b"location", b""),
    (b"max-forwards", b""),
    (b"proxy-authenticate", b""),
    (b"proxy-authorization", b""),
    (b"range", b""),
    (b"referer", b""),
    (b"refresh", b""),
    (b"retry-after", b""),
    (b"server", b""),
    (b"set-cookie", b""),
    (b"strict-transport-security", b""),
    (b"transfer-encoding", b""),
    (b"user-agent", b""),
    (b"vary", b""),
    (b"via", b""),
    (b"www-authenticate", b""),
];

/// What RFC 7541 4.1 counts for an entry beside its bytes.
const ENTRY_SIZE: usize = 32;

/// The table's size until its sender says another.
const DEFAULT_SIZE: usize = 4096;

/// Bytes of a table: what browsers allow. Of one that is larger, the oldest entries are unknown.
const MOST_SIZE: usize = 64 << 10;

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::render::unhex;

    fn bytes(hex: &str) -> Vec<u8> {
        unhex(&hex.split_whitespace().collect::<String>()).unwrap()
    }

    fn read(table: &mut Table, hex: &str) -> (Block, Vec<String>) {
        let mut headers = Vec::new();
        let block = table.read(&bytes(hex), |name, value| {
            let text = |it: &[u8]| String::from_utf8_lossy(it).into_owned();
            headers.push(format!("{}: {}", text(name), text(value)));
        });
        (block, headers)
    }

    #[test]
    fn examples_of_the_specification() {
        // RFC 7541 C.4: requests, Huffman coded, one after the other.
        let mut table = Table::default();
        let first = [":method: GET", ":scheme: http", ":path: /", ":authority: www.example.com"]
            .map(Into::into);
        let (block, headers) = read(&mut table, "8286 8441 8cf1 e3c2 e5f2 3a6b a0ab 90f4 ff");
        assert_eq!((block, headers.as_slice()), (Block::Whole, &first[..]));
        let (block, headers) = read(&mut table, "8286 84be 5886 a8eb 1064 9cbf");
        assert_eq!((block, headers[4].as_str()), (Block::Whole, "cache-control: no-cache"));
        let (block, headers) =
            read(&mut table, "8287 85bf 4088 25a8 49e9 5ba9 7d7f 8925 a849 e95b b8e8 b4bf");
        assert_eq!((block, headers[4].as_str()), (Block::Whole, "custom-key: custom-value"));
        assert_eq!(table.size, 164);
        // C.5.3: responses in a table of 256 bytes, which drives entries out.
        let mut table = Table { most: 256, ..Table::default() };
        read(
            &mut table,
            "4803 3330 3258 0770 7269 7661 7465 611d 4d6f 6e2c 2032 3120 4f63 7420 3230 3133 2032 303a \
             3133 3a32 3120 474d 546e 1768 7474 7073 3a2f 2f77 7777 2e65 7861 6d70 6c65 2e63 6f6d",
        );
        assert_eq!(table.size, 222);
        let (_, headers) = read(&mut table, "4803 3330 37c1 c0bf");
        assert_eq!(
            headers,
            [
                ":status: 307",
                "cache-control: private",
                "date: Mon, 21 Oct 2013 20:13:21 GMT",
                "location: https://www.example.com"
            ]
        );
        assert_eq!(table.size, 222);
    }

    #[test]
    fn what_was_added_before_the_capture_is_left_out() {
        let mut table = Table::default();
        // :method: GET, an unknown entry, a new one, that one, the one before it.
        let (block, headers) = read(&mut table, "82 c5 40 01 61 01 62 be bf");
        assert_eq!(
            (block, headers),
            (Block::Partial, [":method: GET", "a: b", "a: b"].map(Into::into).into())
        );
        // A new entry whose name is not known keeps its place.
        let (block, headers) = read(&mut table, "7f 09 01 63 40 01 64 01 65 be bf c0");
        assert_eq!(
            (block, headers),
            (Block::Partial, ["d: e", "d: e", "a: b"].map(Into::into).into())
        );
        table.forget();
        assert_eq!(read(&mut table, "be").0, Block::Partial);
    }

    #[test]
    fn nonsense_is_told() {
        for hex in [
            "40",
            "00 ff ff ff ff ff ff",
            "00 82 ff ff 00",
            "41 8a f1",
            "7f ff ff ff ff ff ff ff 01",
        ] {
            assert_eq!(read(&mut Table::default(), hex).0, Block::Broken, "{hex}");
        }
    }

    #[test]
    fn every_symbol_is_decoded() {
        // The code is canonical; encodes with the codes it implies.
        let mut order: Vec<_> = (0..256_usize).collect();
        order.sort_by_key(|it| (LENGTHS[*it], *it));
        let (mut codes, mut next, mut length) = ([0_u64; 256], 0_u64, 5);
        for symbol in &order {
            next <<= LENGTHS[*symbol] - length;
            length = LENGTHS[*symbol];
            codes[*symbol] = next;
            next += 1;
        }
        for symbol in 0..=u8::MAX {
            let text = [symbol, b'a', symbol];
            let mut bits = String::new();
            for it in text {
                let (code, length) =
                    (codes[usize::from(it)], usize::from(LENGTHS[usize::from(it)]));
                bits += &format!("{code:0length$b}");
            }
            while !bits.len().is_multiple_of(8) {
                bits.push('1');
            }
            let coded: Vec<_> = (0..bits.len())
                .step_by(8)
                .map(|at| u8::from_str_radix(bits.get(at..at + 8).unwrap(), 2).unwrap())
                .collect();
            let mut out = Vec::new();
            assert_eq!(huffman(&coded, &mut out), Some(()), "{symbol}");
            assert_eq!(out, text);
        }
    }

    proptest! {
        #[test]
        fn noise_is_only_noise(blocks: Vec<Vec<u8>>) {
            let mut table = Table::default();
            for block in &blocks {
                table.read(block, |_, _| {});
                prop_assert!(table.size <= MOST_SIZE);
            }
        }
    }
}
