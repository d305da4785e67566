//! Blocks of a capture file.

use std::{
    collections::HashMap,
    io::{self, Write},
};

/// A packet as it was captured.
#[derive(Clone, Copy, Debug, Default)]
pub struct Packet<'a> {
    /// When: nanoseconds since 1970.
    pub ts: i64,
    /// What its bytes begin with: a LINKTYPE number.
    pub link: u32,
    /// The number of the interface at its node.
    pub interface: u32,
    /// The node, which names the interface; empty if it is not known.
    pub node: &'a str,
    /// Its length on the wire.
    pub wire_len: u32,
    /// What was captured of it.
    pub data: &'a [u8],
    /// What is known of it besides.
    pub comment: Option<&'a str>,
}

/// Writes one section with nanosecond times. An interface is described when its first packet comes.
///
/// Every packet is one `write`: give it a buffered writer.
#[derive(Debug)]
pub struct Writer<W> {
    writer: W,
    block: Vec<u8>,
    interfaces: HashMap<Description, u32>,
    /// The interface of the packet before.
    last: Option<(Description, u32)>,
}

impl<W: Write> Writer<W> {
    /// Begins a file.
    pub fn new(mut writer: W) -> io::Result<Self> {
        let mut block = Vec::with_capacity(64);
        begin(&mut block, block::SECTION);
        put(&mut block, block::BYTE_ORDER);
        block.extend_from_slice(&1u16.to_le_bytes());
        block.extend_from_slice(&0u16.to_le_bytes());
        // The section's length is not known in advance.
        block.extend_from_slice(&u64::MAX.to_le_bytes());
        option(
            &mut block,
            block::OPTION_APPLICATION,
            concat!("kubeshark ", env!("CARGO_PKG_VERSION")).as_bytes(),
        );
        option(&mut block, block::OPTION_END, &[]);
        end(&mut block)?;
        writer.write_all(&block)?;
        Ok(Self { writer, block, interfaces: HashMap::new(), last: None })
    }

    /// Adds a packet of an interface that keeps `snaplen` bytes of each; 0 if it keeps all.
    pub fn write_cut(&mut self, packet: &Packet<'_>, snaplen: u32) -> io::Result<()> {
        let (Packet { ts, link, interface, node, .. }, early) = (*packet, packet.ts < 0);
        let id = match &self.last {
            // Most packets are of the same interface as the one before.
            Some((it, id)) if it.is_of(packet, snaplen) => *id,
            _ => {
                let it = Description { interface, link, snaplen, early, node: node.to_owned() };
                let id = match self.interfaces.get(&it) {
                    Some(&id) => id,
                    None => self.describe(&it)?,
                };
                self.last = Some((it, id));
                id
            }
        };
        let base = if early { i128::from(EARLY_SECONDS) * 1_000_000_000 } else { 0 };
        let ts = u64::try_from(i128::from(ts) - base).map_err(io::Error::other)?;
        let captured = u32::try_from(packet.data.len()).map_err(io::Error::other)?;
        let block = &mut self.block;
        begin(block, block::ENHANCED_PACKET);
        put(block, id);
        put(block, (ts >> 32) as u32);
        put(block, ts as u32);
        put(block, captured);
        put(block, packet.wire_len);
        block.extend_from_slice(packet.data);
        pad(block);
        if let Some(comment) = packet.comment {
            option(block, block::OPTION_COMMENT, short(comment));
            option(block, block::OPTION_END, &[]);
        }
        end(block)?;
        self.writer.write_all(&self.block)
    }

    /// Adds a packet of an interface that cuts nothing off.
    pub fn write(&mut self, packet: &Packet<'_>) -> io::Result<()> {
        self.write_cut(packet, 0)
    }

    /// What it writes to.
    pub fn get_mut(&mut self) -> &mut W {
        &mut self.writer
    }

    /// Flushes, and gives the writer back.
    pub fn finish(mut self) -> io::Result<W> {
        self.writer.flush()?;
        Ok(self.writer)
    }

    fn describe(&mut self, it: &Description) -> io::Result<u32> {
        let id = u32::try_from(self.interfaces.len()).map_err(io::Error::other)?;
        let link = u16::try_from(it.link).map_err(io::Error::other)?;
        let block = &mut self.block;
        begin(block, block::INTERFACE);
        block.extend_from_slice(&link.to_le_bytes());
        block.extend_from_slice(&0u16.to_le_bytes());
        put(block, it.snaplen);
        if !it.node.is_empty() {
            let name = format!("{} interface {}", it.node, it.interface);
            option(block, block::OPTION_NAME, short(&name));
        }
        option(block, block::OPTION_TSRESOL, &[9]);
        if it.early {
            option(block, block::OPTION_TSOFFSET, &EARLY_SECONDS.to_le_bytes());
        }
        option(block, block::OPTION_END, &[]);
        end(block)?;
        self.writer.write_all(block)?;
        self.interfaces.insert(it.clone(), id);
        Ok(id)
    }
}

/// What packets must share to be of one interface of the file.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Description {
    interface: u32,
    link: u32,
    snaplen: u32,
    /// Before 1970, where only an interface with an offset can tell the time.
    early: bool,
    node: String,
}

impl Description {
    fn is_of(&self, packet: &Packet<'_>, snaplen: u32) -> bool {
        self.interface == packet.interface
            && self.link == packet.link
            && self.snaplen == snaplen
            && self.early == (packet.ts < 0)
            && self.node == packet.node
    }
}

/// As much of a text as an option holds.
fn short(text: &str) -> &[u8] {
    let end = text.floor_char_boundary(usize::from(u16::MAX));
    text.get(..end).unwrap_or_default().as_bytes()
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

/// Numbers of blocks and of their options.
pub mod block {
    /// A section begins.
    pub const SECTION: u32 = 0x0a0d_0d0a;
    /// Tells in which byte order it was written.
    pub const BYTE_ORDER: u32 = 0x1a2b_3c4d;
    /// An interface.
    pub const INTERFACE: u32 = 1;
    /// A packet, as early files have it.
    pub const OBSOLETE_PACKET: u32 = 2;
    /// A packet without a time.
    pub const SIMPLE_PACKET: u32 = 3;
    /// What an interface counted.
    pub const INTERFACE_STATISTICS: u32 = 5;
    /// A packet.
    pub const ENHANCED_PACKET: u32 = 6;
    /// Decryption secrets.
    pub const DECRYPTION_SECRETS: u32 = 0x0000_000a;
    /// The last of a block's options.
    pub const OPTION_END: u16 = 0;
    /// Of any block: what a person may want to know.
    pub const OPTION_COMMENT: u16 = 1;
    /// Of an interface: its name.
    pub const OPTION_NAME: u16 = 2;
    /// Of a section: what wrote it.
    pub const OPTION_APPLICATION: u16 = 4;
    /// Of an interface: the unit of its times.
    pub const OPTION_TSRESOL: u16 = 9;
    /// Of an interface: seconds to add to its times.
    pub const OPTION_TSOFFSET: u16 = 14;
}

/// Seconds from 1970 back to before the earliest time that 64 bits of nanoseconds hold.
const EARLY_SECONDS: i64 = i64::MIN / 1_000_000_000 - 1;
