//! A zip file, written front to back.
//!
//! Names, sizes and sums stand before each file and again at the end; every file is small enough to be in memory, so
//! nothing has to be written twice.

use std::io::{self, Write};

use flate2::write::DeflateEncoder;
use flate2::{Compression, Crc};

/// A zip file being written.
pub(crate) struct Zip<W> {
    out: W,
    /// The directory that stands at the end.
    directory: Vec<u8>,
    files: u16,
    at: u32,
}

impl<W: Write> Zip<W> {
    pub(crate) const fn new(out: W) -> Self {
        Self { out, directory: Vec::new(), files: 0, at: 0 }
    }

    /// Adds a file.
    pub(crate) fn add(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        let too_much = || io::Error::other("more than a zip file holds");
        let mut sum = Crc::new();
        sum.update(bytes);
        let mut packed = DeflateEncoder::new(Vec::new(), Compression::default());
        packed.write_all(bytes)?;
        let packed = packed.finish()?;
        let size = |it: &[u8]| u32::try_from(it.len()).map_err(|_| too_much());
        let mut about = Vec::new();
        // Version 2.0, names in UTF-8, deflated, a time that says nothing (zip begins in 1980).
        for number in [20, 1 << 11, 8, 0, (1 << 5) | 1_u16] {
            about.extend(number.to_le_bytes());
        }
        for number in [sum.sum(), size(&packed)?, size(bytes)?] {
            about.extend(number.to_le_bytes());
        }
        about.extend(u16::try_from(name.len()).map_err(|_| too_much())?.to_le_bytes());
        about.extend([0, 0]);
        let mut file = b"PK\x03\x04".to_vec();
        file.extend(&about);
        file.extend(name.as_bytes());
        self.directory.extend(b"PK\x01\x02");
        // Made on Unix by version 2.0; then no comment, the first disk, no attributes but `rw-r--r--`.
        self.directory.extend([20, 3]);
        self.directory.extend(&about);
        self.directory.extend([0; 6]);
        self.directory.extend((0o100_644_u32 << 16).to_le_bytes());
        self.directory.extend(self.at.to_le_bytes());
        self.directory.extend(name.as_bytes());
        self.out.write_all(&file)?;
        self.out.write_all(&packed)?;
        let length = size(&file)?.checked_add(size(&packed)?).ok_or_else(too_much)?;
        self.at = self.at.checked_add(length).ok_or_else(too_much)?;
        self.files = self.files.checked_add(1).ok_or_else(too_much)?;
        Ok(())
    }

    /// Writes the end.
    pub(crate) fn finish(mut self) -> io::Result<W> {
        let size = u32::try_from(self.directory.len()).map_err(io::Error::other)?;
        let mut end = b"PK\x05\x06\0\0\0\0".to_vec();
        end.extend(self.files.to_le_bytes());
        end.extend(self.files.to_le_bytes());
        end.extend(size.to_le_bytes());
        end.extend(self.at.to_le_bytes());
        end.extend([0, 0]);
        self.out.write_all(&self.directory)?;
        self.out.write_all(&end)?;
        self.out.flush()?;
        Ok(self.out)
    }
}
