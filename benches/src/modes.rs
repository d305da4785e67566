//! What this program does as a contestant.

use std::path::Path;
use std::time::Duration;

use anyhow::Result;
use dissect::{Config, Dissection, Keep};
use segment::{Options, Store};

/// The floor: reading alone.
pub(crate) fn pcap_loop(file: &Path) -> Result<()> {
    let mut capture = pcap::Capture::from_file(file)?;
    let (mut packets, mut bytes) = (0_u64, 0_usize);
    loop {
        match capture.next_packet() {
            Ok(packet) => {
                packets += 1;
                bytes += packet.data.len();
            }
            Err(pcap::Error::NoMorePackets) => break,
            Err(why) => return Err(why.into()),
        }
    }
    println!("{packets} packets, {bytes} bytes");
    Ok(())
}

/// Writes those packets of a capture that a filter lets through to another.
pub(crate) fn part(from: &Path, to: &Path, filter: &str) -> Result<()> {
    let mut capture = pcap::Capture::from_file(from)?;
    capture.filter(filter, true)?;
    let mut out = capture.savefile(to)?;
    loop {
        match capture.next_packet() {
            Ok(packet) => out.write(&packet),
            Err(pcap::Error::NoMorePackets) => break,
            Err(why) => return Err(why.into()),
        }
    }
    out.flush()?;
    Ok(())
}

/// Rows of every table, or of `only` one, dropped.
pub(crate) fn dissect(file: &Path, only: Option<&str>) -> Result<()> {
    let only = only.and_then(|it| it.split_once(':')).map(|(table, columns)| {
        let columns = columns.split(',').map(str::to_owned).collect();
        [(table.to_owned(), columns)].into()
    });
    let mut rows = 0;
    rows_of(file, Keep { only, ..Keep::default() }, |dissection| {
        rows += dissection.take().iter().map(|(_, batch)| batch.num_rows()).sum::<usize>();
        Ok(())
    })?;
    println!("{rows} rows");
    Ok(())
}

/// Rows of every table, durable on disk at the end.
pub(crate) fn import(file: &Path, folder: &Path) -> Result<()> {
    // Nothing is sealed early for its age: the file is read as fast as it goes.
    let options = Options { seal_after: Duration::from_secs(3_600), ..Options::default() };
    let (store, _) = Store::open(folder, dissect::tables(), options)?;
    rows_of(file, Keep::default(), |dissection| {
        for (table, batch) in dissection.take() {
            store.append(&table.name, batch)?;
        }
        Ok(())
    })?;
    store.seal()?;
    for table in store.state().tables {
        println!("{:12} {:9} rows {:12} bytes", table.name, table.rows, table.bytes);
    }
    Ok(())
}

pub(crate) fn rows_of(
    file: &Path,
    keep: Keep,
    mut take: impl FnMut(&mut Dissection) -> Result<()>,
) -> Result<()> {
    let mut source = source::open_file(file)?;
    let mut dissection = Dissection::new(Config { keep, ..Config::default() });
    while let Some(packet) = source.next()? {
        dissection.packet(&packet);
        if dissection.pending_rows() >= BATCH_ROWS || dissection.pending_bytes() >= BATCH_BYTES {
            take(&mut dissection)?;
        }
    }
    dissection.finish();
    take(&mut dissection)
}

/// As the worker does it.
const BATCH_ROWS: usize = 8_192;
const BATCH_BYTES: usize = 4 << 20;
