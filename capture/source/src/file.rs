//! Capture files: pcap and pcapng, plain or compressed, from disk or standard input.

mod pcap;
mod pcapng;
mod window;

use std::{
    fs::File,
    io::{self, BufReader, Cursor, Read},
    os::fd::{AsFd, OwnedFd},
    path::Path,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use dissect::{Link, Packet};
use flate2::bufread::MultiGzDecoder;

use self::window::{Fault, Window};
use crate::{Drops, Error, wait};

/// Opens a capture file; `-` is standard input. Format and compression are recognised by content.
pub fn open_file(path: &Path) -> Result<FileSource, Error> {
    let stdin = path.as_os_str() == "-";
    let name = if stdin { "standard input".to_owned() } else { path.display().to_string() };
    let failed = |cause| Error::Open { name: name.clone(), cause };
    let file = if stdin {
        File::from(io::stdin().as_fd().try_clone_to_owned().map_err(failed)?)
    } else {
        File::open(path).map_err(failed)?
    };
    let metadata = file.metadata().map_err(failed)?;
    if metadata.is_dir() {
        return Err(failed(io::ErrorKind::IsADirectory.into()));
    }
    if metadata.is_file() {
        return FileSource::begin(name, file, Some(metadata.len()), None);
    }
    let pipe = file.as_fd().try_clone_to_owned().map_err(failed)?;
    FileSource::begin(name, file, None, Some(pipe))
}

/// An open capture file. It holds a buffer of at most 1 MiB, whatever the file's size or content.
#[derive(Debug)]
pub struct FileSource {
    name: String,
    window: Window,
    format: Format,
    packets: u64,
    ended: bool,
    read: Arc<AtomicU64>,
    total: Option<u64>,
    /// Set if reading may wait for a writer, and no decompressor stands between.
    pipe: Option<OwnedFd>,
}

impl FileSource {
    /// A capture that comes from any reader; `name` is what errors call it.
    pub fn from_reader(
        name: impl Into<String>,
        reader: impl Read + Send + 'static,
    ) -> Result<Self, Error> {
        Self::begin(name.into(), reader, None, None)
    }

    /// The next packet, or `None` at the end. A file that is torn or damaged gives its good packets first, then
    /// one error, then `None`.
    #[expect(
        clippy::should_implement_trait,
        reason = "a packet is lent, which `Iterator` can't say"
    )]
    pub fn next(&mut self) -> Result<Option<Packet<'_>>, Error> {
        loop {
            match self.step()? {
                Some(Step::Packet(found)) => return Ok(Some(self.lend(found))),
                Some(Step::Secrets(_)) => {}
                None => return Ok(None),
            }
        }
    }

    /// The same, and between the packets what opens TLS in those that follow.
    pub fn next_item(&mut self) -> Result<Option<Item<'_>>, Error> {
        Ok(match self.step()? {
            Some(Step::Packet(found)) => Some(Item::Packet(self.lend(found))),
            Some(Step::Secrets(log)) => Some(Item::Secrets(log)),
            None => None,
        })
    }

    fn lend(&self, found: Found) -> Packet<'_> {
        Packet {
            ts: found.ts,
            link: found.link,
            interface: found.interface,
            wire_len: found.wire_len,
            data: self.window.slice(found.data),
        }
    }

    fn step(&mut self) -> Result<Option<Step>, Error> {
        if self.ended {
            return Ok(None);
        }
        let found = match &mut self.format {
            Format::Pcap(pcap) => pcap.next(&mut self.window).map(|it| it.map(Step::Packet)),
            Format::Pcapng(pcapng) => pcapng.next(&mut self.window),
        };
        match found {
            Ok(Some(step)) => {
                self.packets += u64::from(matches!(step, Step::Packet(_)));
                Ok(Some(step))
            }
            Ok(None) => {
                self.ended = true;
                Ok(None)
            }
            Err(fault) => {
                self.ended = true;
                Err(fault.named(&self.name, self.packets))
            }
        }
    }

    /// Bytes of the file read so far and, if it is a file of known length, of how many: the file's own bytes,
    /// compressed if it is.
    pub fn progress(&self) -> (u64, Option<u64>) {
        (self.read.load(Ordering::Relaxed), self.total)
    }

    /// Whether `next` has something to work on within `timeout`. Only a pipe makes one wait: a file on disk is
    /// always ready.
    pub fn ready(&self, timeout: Duration) -> bool {
        let Some(pipe) = &self.pipe else { return true };
        let whole = match &self.format {
            Format::Pcap(pcap) => pcap.buffered(&self.window),
            Format::Pcapng(pcapng) => pcapng.buffered(&self.window),
        };
        self.ended || whole || wait::readable(pipe.as_fd(), timeout)
    }

    /// What the program that wrote the file says it missed: pcapng's interface statistics.
    pub fn drops(&self) -> Drops {
        match &self.format {
            Format::Pcap(_) => Drops::default(),
            Format::Pcapng(pcapng) => pcapng.drops(),
        }
    }

    /// What errors call this file.
    pub fn name(&self) -> &str {
        &self.name
    }

    fn begin(
        name: String,
        reader: impl Read + Send + 'static,
        total: Option<u64>,
        pipe: Option<OwnedFd>,
    ) -> Result<Self, Error> {
        let read = Arc::new(AtomicU64::new(0));
        let counted = Counted { reader, read: Arc::clone(&read) };
        let (reader, compressed) =
            decompressed(counted).map_err(|cause| Error::Open { name: name.clone(), cause })?;
        let mut window = Window::new(reader);
        let format = Format::detect(&name, &mut window)?;
        let pipe = pipe.filter(|_| !compressed);
        Ok(Self { name, window, format, packets: 0, ended: false, read, total, pipe })
    }
}

/// What a capture file holds, piece by piece.
#[derive(Debug)]
pub enum Item<'a> {
    /// A packet.
    Packet(Packet<'a>),
    /// A part of a key log: secrets of TLS sessions in the packets that follow.
    Secrets(Vec<u8>),
}

/// What was found next.
enum Step {
    Packet(Found),
    Secrets(Vec<u8>),
}

/// A packet found in the window.
struct Found {
    ts: i64,
    link: Link,
    interface: u32,
    wire_len: u32,
    data: std::ops::Range<usize>,
}

#[derive(Debug)]
enum Format {
    Pcap(pcap::Reader),
    Pcapng(pcapng::Reader),
}

impl Format {
    fn detect(name: &str, window: &mut Window) -> Result<Self, Error> {
        let named = |fault: Fault| fault.named(name, 0);
        let other = |found: String| Err(Error::NotACapture { name: name.to_owned(), found });
        // As much as there is of the longest signature that is looked for.
        let whole = window.fill(8).or_else(|fault| match fault {
            Fault::Torn { .. } => Ok(false),
            other => Err(named(other)),
        })?;
        let head = window.peek(8);
        if head.is_empty() {
            return other("it is empty".to_owned());
        }
        if head.len() >= 4 {
            if head.starts_with(&pcapng::SECTION_HEADER) {
                return Ok(Self::Pcapng(pcapng::Reader::new()));
            }
            if pcap::is_magic(head) {
                return pcap::Reader::new(window).map(Self::Pcap).map_err(named);
            }
        }
        if whole && head == b"snoop\0\0\0" {
            return other("it is a snoop capture (`editcap -F pcapng` converts it)".to_owned());
        }
        let bytes: Vec<String> = head.iter().map(|byte| format!("{byte:02x}")).collect();
        other(format!("it begins with {}", bytes.join(" ")))
    }
}

/// Counts what is read of the file itself, for progress.
struct Counted<R> {
    reader: R,
    read: Arc<AtomicU64>,
}

impl<R: Read> Read for Counted<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let n = self.reader.read(buffer)?;
        self.read.fetch_add(n as u64, Ordering::Relaxed);
        Ok(n)
    }
}

/// The reader behind gzip or zstd, if the first bytes say so, and whether they did.
fn decompressed(
    mut reader: impl Read + Send + 'static,
) -> io::Result<(Box<dyn Read + Send>, bool)> {
    let mut head = [0; 4];
    let mut n = 0;
    while n < head.len() {
        match reader.read(&mut head[n..]) {
            Ok(0) => break,
            Ok(more) => n += more,
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            Err(error) => return Err(error),
        }
    }
    let whole = Cursor::new(head[..n].to_vec()).chain(reader);
    if head.starts_with(&GZIP) {
        return Ok((
            Box::new(MultiGzDecoder::new(BufReader::with_capacity(COMPRESSED_BYTES, whole))),
            true,
        ));
    }
    // Parallel compressors begin with a skippable frame.
    if head == ZSTD || head[0] & 0xf0 == 0x50 && head[1..] == ZSTD_SKIPPABLE {
        let mut decoder =
            zstd::Decoder::with_buffer(BufReader::with_capacity(COMPRESSED_BYTES, whole))?;
        decoder.window_log_max(ZSTD_WINDOW_LOG)?;
        return Ok((Box::new(decoder), true));
    }
    Ok((Box::new(whole), false))
}

const GZIP: [u8; 2] = [0x1f, 0x8b];
const ZSTD: [u8; 4] = [0x28, 0xb5, 0x2f, 0xfd];
const ZSTD_SKIPPABLE: [u8; 3] = [0x2a, 0x4d, 0x18];
/// Read at a time from a compressed file.
const COMPRESSED_BYTES: usize = 64 << 10;
/// The most a zstd frame may ask this side to remember: 128 MiB, what `zstd -d` itself allows.
const ZSTD_WINDOW_LOG: u32 = 27;

#[cfg(test)]
mod tests;
