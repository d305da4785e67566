//! Writing captures. What is read from a file and written again has the same bytes, lengths and times.

use std::{
    collections::HashMap,
    io::{self, Write},
};

use dissect::{Link, Packet};

/// Writes one section with nanosecond times. An interface is described when its first packet comes.
///
/// Every packet is one `write`: give it a buffered writer.
#[derive(Debug)]
pub struct Writer<W> {
    writer: W,
    block: Vec<u8>,
    interfaces: HashMap<Description, u32>,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub fn new(mut writer: W) -> io::Result<Self> {
        let mut block = Vec::with_capacity(64);
        begin(&mut block, SECTION);
        put(&mut block, BYTE_ORDER);
        block.extend_from_slice(&1u16.to_le_bytes());
        block.extend_from_slice(&0u16.to_le_bytes());
        // The section's length is not known in advance.
        block.extend_from_slice(&u64::MAX.to_le_bytes());
        option(
            &mut block,
            OPTION_APPLICATION,
            concat!("kubeshark ", env!("CARGO_PKG_VERSION")).as_bytes(),
        );
        option(&mut block, OPTION_END, &[]);
        end(&mut block)?;
        writer.write_all(&block)?;
        Ok(Self { writer, block, interfaces: HashMap::new() })
    }

    /// Adds a packet of an interface that cuts nothing off.
    pub fn write(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        self.write_cut(packet, 0)
    }

    /// Adds a packet of an interface that keeps `snaplen` bytes of each; 0 if it keeps all.
    pub fn write_cut(&mut self, packet: &Packet<'_>, snaplen: u32) -> io::Result<()> {
        let early = packet.ts < 0;
        let description =
            Description { interface: packet.interface, link: packet.link, snaplen, early };
        let id = match self.interfaces.get(&description) {
            Some(&id) => id,
            None => self.describe(description)?,
        };
        let base = if early { i128::from(EARLY_SECONDS) * 1_000_000_000 } else { 0 };
        let ts = u64::try_from(i128::from(packet.ts) - base).map_err(io::Error::other)?;
        let captured = u32::try_from(packet.data.len()).map_err(io::Error::other)?;
        let block = &mut self.block;
        begin(block, ENHANCED_PACKET);
        put(block, id);
        put(block, (ts >> 32) as u32);
        put(block, ts as u32);
        put(block, captured);
        put(block, packet.wire_len);
        block.extend_from_slice(packet.data);
        pad(block);
        end(block)?;
        self.writer.write_all(block)
    }

    /// Flushes, and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.writer.flush()?;
        Ok(self.writer)
    }

    fn describe(&mut self, description: Description) -> io::Result<u32> {
        let id = u32::try_from(self.interfaces.len()).map_err(io::Error::other)?;
        let link = u16::try_from(description.link.dlt()).map_err(io::Error::other)?;
        let block = &mut self.block;
        begin(block, INTERFACE);
        block.extend_from_slice(&link.to_le_bytes());
        block.extend_from_slice(&0u16.to_le_bytes());
        put(block, description.snaplen);
        option(block, OPTION_TSRESOL, &[9]);
        if description.early {
            option(block, OPTION_TSOFFSET, &EARLY_SECONDS.to_le_bytes());
        }
        option(block, OPTION_END, &[]);
        end(block)?;
        self.writer.write_all(block)?;
        self.interfaces.insert(description, id);
        Ok(id)
    }
}

/// What packets must share to be of one interface of the file.
#[derive(Debug, PartialEq, Eq, Hash)]
struct Description {
    interface: u32,
    link: Link,
    snaplen: u32,
    /// Before 1970, where only an interface with an offset can tell the time.
    early: bool,
}

fn begin(block: &mut Vec<u8>, kind: u32) {
    block.clear();
    put(block, kind);
    // The length, once it is known.
    put(block, 0);
}

fn end(block: &mut Vec<u8>) -> io::Result<()> {
    let length = u32::try_from(block.len() + 4).map_err(io::Error::other)?;
    put(block, length);
    block[4..8].copy_from_slice(&length.to_le_bytes());
    Ok(())
}

fn option(block: &mut Vec<u8>, code: u16, value: &[u8]) {
    block.extend_from_slice(&code.to_le_bytes());
    block.extend_from_slice(&(value.len() as u16).to_le_bytes());
    block.extend_from_slice(value);
    pad(block);
}

fn pad(block: &mut Vec<u8>) {
    block.resize(block.len().next_multiple_of(4), 0);
}

fn put(block: &mut Vec<u8>, number: u32) {
    block.extend_from_slice(&number.to_le_bytes());
}

pub(crate) const SECTION: u32 = 0x0a0d_0d0a;
pub(crate) const BYTE_ORDER: u32 = 0x1a2b_3c4d;
pub(crate) const INTERFACE: u32 = 1;
pub(crate) const OBSOLETE_PACKET: u32 = 2;
pub(crate) const SIMPLE_PACKET: u32 = 3;
pub(crate) const INTERFACE_STATISTICS: u32 = 5;
pub(crate) const ENHANCED_PACKET: u32 = 6;
pub(crate) const OPTION_END: u16 = 0;
const OPTION_APPLICATION: u16 = 4;
pub(crate) const OPTION_TSRESOL: u16 = 9;
pub(crate) const OPTION_TSOFFSET: u16 = 14;
/// Seconds from 1970 back to before the earliest time that 64 bits of nanoseconds hold.
const EARLY_SECONDS: i64 = i64::MIN / 1_000_000_000 - 1;
