//! What a worker is told on the command line, by whichever verb.

use std::fs::File;
use std::io::{BufRead as _, BufReader, Read as _};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use clap::Args;
use worker::{
    Bucket, Config, Dissection, DissectionConfig, Inputs, Keep, Limits, LiveConfig, Secrets,
    StoreOptions, TracingConfig, Way,
};

/// Where packets come from, and what is kept of them.
#[derive(Debug, Args)]
pub(crate) struct Capture {
    /// The interface to capture; `any` is all of them.
    #[arg(short, long, value_name = "NAME", conflicts_with = "read")]
    pub(crate) interface: Option<String>,
    /// Capture files to read (pcap, pcapng; plain, gzip or zstd); `-` is standard input.
    #[arg(long, value_name = "FILE", num_args = 1..)]
    pub(crate) read: Vec<PathBuf>,
    #[command(flatten)]
    keys: Keys,
    /// Which packets of the interface to capture, in the language of tcpdump, such as `port 80`.
    #[arg(long, value_name = "BPF", conflicts_with = "read")]
    filter: Option<String>,
    /// Bytes to capture of each packet.
    #[arg(long, value_name = "BYTES", default_value_t = 256 << 10, value_parser = clap::value_parser!(u32).range(64..=256 << 10))]
    snaplen: u32,
    /// How packets are got from the kernel: `ring` (memory shared with it), `libpcap`, or `auto`, which is the ring where
    /// it can be had.
    #[arg(long, value_name = "WAY", default_value_t, conflicts_with = "read")]
    packets: Way,
    /// The folder to keep rows in; else they go when the program ends.
    #[arg(long, value_name = "FOLDER")]
    store: Option<PathBuf>,
    /// The name every row gets; else this machine's.
    #[arg(long, value_name = "NAME")]
    node: Option<String>,
    /// How much disk the rows of all tables but `packets` may take; the oldest go first.
    #[arg(long, value_name = "SIZE", default_value = "4GiB")]
    keep_bytes: Size,
    /// How much disk the packets themselves may take; 0 keeps none.
    #[arg(long, value_name = "SIZE", default_value = "4GiB")]
    keep_packet_bytes: Size,
    /// How long rows are kept, such as `90m`, `24h` or `7d`; else as long as there is room.
    #[arg(long, value_name = "AGE")]
    keep_age: Option<Age>,
    #[command(flatten)]
    bucket: InBucket,
    /// How much of each message's body is kept, as sent; unpacked it may take four times as much. What is cut is marked.
    #[arg(long, value_name = "SIZE", default_value = "64KiB")]
    body_bytes: Size,
    /// When packets are dissected: `live`, `on-demand` (when a query asks for their rows) or `off`; else as the store's
    /// folder remembers, or live.
    #[arg(long, value_name = "MODE")]
    dissection: Option<Dissection>,
    /// Also read what processes of this cgroup, and of those below it, say within TLS, where they say it, and name the
    /// processes of connections: a folder, or a path below /sys/fs/cgroup such as `system.slice/nginx.service`. As root.
    #[arg(long, value_name = "CGROUP", conflicts_with = "read")]
    trace: Vec<PathBuf>,
    /// The same, of the pods on this node whose traffic is kept.
    #[arg(long, conflicts_with = "read")]
    trace_pods: bool,
}

/// What opens TLS in capture files.
#[derive(Debug, Default, Args)]
pub(crate) struct Keys {
    /// A key log, as browsers and TLS libraries write it where SSLKEYLOGFILE says: what is said within TLS 1.2 and 1.3
    /// with these secrets is read, too. Secrets that pcapng files carry are found by themselves.
    #[arg(long = "tls-keylog", value_name = "FILE", requires = "read")]
    logs: Vec<PathBuf>,
}

impl Keys {
    pub(crate) fn secrets(&self) -> Result<Secrets> {
        let mut secrets = Secrets::default();
        for path in &self.logs {
            let name = path.display();
            let learned = learn(&mut secrets, path).with_context(|| format!("reading {name}"))?;
            ensure!(learned > 0, "{name} has no secrets of TLS 1.2 or 1.3: is it a key log?");
        }
        Ok(secrets)
    }
}

/// Learns what a key log says, a part at a time; how many secrets it was.
fn learn(secrets: &mut Secrets, path: &std::path::Path) -> Result<usize> {
    let mut log = BufReader::new(File::open(path)?);
    let (mut part, mut learned) = (Vec::new(), 0);
    loop {
        part.clear();
        log.by_ref().take(1 << 20).read_to_end(&mut part)?;
        if part.is_empty() {
            return Ok(learned);
        }
        // To the end of the line, if it is one.
        log.by_ref().take(1 << 10).read_until(b'\n', &mut part)?;
        learned += secrets.learn(&part);
    }
}

/// Where rows go for long.
#[derive(Debug, Args)]
struct InBucket {
    /// Copy segments to a bucket, and answer from there once they are gone here: `s3://BUCKET/PATH`, `gs://…`,
    /// `az://CONTAINER/PATH`, `https://…` (WebDAV) or `file:///FOLDER`. Credentials come from the environment, by the
    /// names that the clouds' tools use, such as AWS_ACCESS_KEY_ID.
    #[arg(long, value_name = "URL", requires = "store")]
    bucket: Option<String>,
    /// How long after it was sealed a segment is copied; large ones are at once.
    #[arg(long, value_name = "AGE", default_value = "1h", requires = "bucket")]
    bucket_after: Age,
    /// How long the bucket keeps rows; else for ever.
    #[arg(long, value_name = "AGE", requires = "bucket")]
    bucket_keep_age: Option<Age>,
    /// How much of the bucket this node may take; the oldest go first; else any amount.
    #[arg(long, value_name = "SIZE", requires = "bucket")]
    bucket_keep_bytes: Option<Size>,
    /// How much disk what was read of the bucket may take.
    #[arg(long, value_name = "SIZE", default_value = "256MiB", requires = "bucket")]
    bucket_cache: Size,
}

impl InBucket {
    fn options(self, node: &str) -> Option<Bucket> {
        // The clouds' own names: there are a hundred of them, and which count depends on the bucket.
        let ours = |it: &(String, String)| CLOUDS.iter().any(|cloud| it.0.starts_with(cloud));
        Some(Bucket {
            url: self.bucket?,
            settings: std::env::vars_os()
                .filter_map(|(name, value)| {
                    Some((name.into_string().ok()?, value.into_string().ok()?))
                })
                .filter(ours)
                .collect(),
            node: node.to_owned(),
            after: self.bucket_after.0,
            keep_age: self.bucket_keep_age.map(|it| it.0),
            keep_bytes: self.bucket_keep_bytes.map(|it| it.0),
            cache_bytes: self.bucket_cache.0,
        })
    }
}

/// How the names of settings of the clouds begin.
const CLOUDS: &[&str] = &["AWS_", "GOOGLE_", "AZURE_"];

impl Capture {
    /// Whether nothing was named to read packets from.
    pub(crate) fn is_empty(&self) -> bool {
        self.interface.is_none() && self.read.is_empty()
    }

    /// Whether it is said what of this machine is meant.
    pub(crate) fn is_named(&self) -> bool {
        !self.is_empty() || !self.trace.is_empty()
    }

    /// What the worker wants to know. Packets to and from `own_ports` are not captured: they are ours.
    pub(crate) fn config(self, own_ports: Vec<u16>) -> Result<Config> {
        let inputs = match self.interface {
            Some(interface) => Inputs::Live(LiveConfig {
                interface,
                filter: self.filter,
                snaplen: self.snaplen,
                way: self.packets,
                ignore_ports: own_ports,
                ..LiveConfig::default()
            }),
            None if self.read.is_empty() => Inputs::None,
            None => Inputs::Files(self.read),
        };
        let node = self.node.map_or_else(host, Ok)?;
        let bucket = self.bucket.options(&node);
        Ok(Config {
            node,
            store: self.store,
            inputs,
            limits: limits(self.body_bytes),
            keep: Keep { packets: self.keep_packet_bytes.0 > 0, ..Keep::default() },
            storage: StoreOptions {
                hot_bytes: HOT_BYTES,
                keep_bytes_records: self.keep_bytes.0,
                keep_bytes_packets: self.keep_packet_bytes.0,
                keep_age: self.keep_age.map(|it| it.0),
                bucket,
                ..StoreOptions::default()
            },
            dissection: DissectionConfig { mode: self.dissection, ..DissectionConfig::default() },
            secrets: self.keys.secrets()?,
            tracing: TracingConfig { cgroups: self.trace, pods: self.trace_pods },
        })
    }
}

/// Rows in memory, beside what merging segments takes: a large import stays within 300 MiB.
const HOT_BYTES: usize = 12 << 20;

/// The capture path's bounds, with room for bodies as asked for.
pub(crate) fn limits(body_bytes: Size) -> Limits {
    let body_bytes = usize::try_from(body_bytes.0).unwrap_or(usize::MAX);
    let bounds = Limits::default();
    Limits {
        body_bytes,
        decompressed_bytes: body_bytes.saturating_mul(4),
        flow_bytes: bounds.flow_bytes.max(body_bytes.saturating_mul(4)),
        ..bounds
    }
}

/// This machine's name.
pub(crate) fn host() -> Result<String> {
    let name = std::fs::read_to_string("/proc/sys/kernel/hostname")
        .context("asking for this machine's name")?;
    Ok(name.trim().to_owned())
}

/// A number of bytes, such as `512MiB` or `4GB`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Size(pub(crate) u64);

impl FromStr for Size {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text);
        let factor: u64 = match unit.to_ascii_lowercase().as_str() {
            "" | "b" => 1,
            "k" | "kib" => 1 << 10,
            "m" | "mib" => 1 << 20,
            "g" | "gib" => 1 << 30,
            "t" | "tib" => 1 << 40,
            "kb" => 1_000,
            "mb" => 1_000_000,
            "gb" => 1_000_000_000,
            "tb" => 1_000_000_000_000,
            _ => return Err("a size looks like 512MiB or 4GB".to_owned()),
        };
        let number: u64 =
            number.parse().map_err(|_| "a size looks like 512MiB or 4GB".to_owned())?;
        number
            .checked_mul(factor)
            .map(Self)
            .ok_or_else(|| "that is more than there are bytes".to_owned())
    }
}

/// A time span, such as `90m` or `7d`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Age(pub(crate) Duration);

impl Age {
    /// As the API counts time; more than it can count is as long as it can.
    pub(crate) fn milliseconds(self) -> u64 {
        u64::try_from(self.0.as_millis()).unwrap_or(u64::MAX)
    }
}

impl FromStr for Age {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let (number, unit) = split(text);
        let milliseconds: u64 = match unit {
            "ms" => 1,
            "s" => 1_000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return Err("a time looks like 500ms, 30s, 90m, 24h or 7d".to_owned()),
        };
        let number: u64 =
            number.parse().map_err(|_| "a time looks like 30s, 90m, 24h or 7d".to_owned())?;
        let time = number.checked_mul(milliseconds).ok_or_else(|| "that is too long".to_owned())?;
        Ok(Self(Duration::from_millis(time)))
    }
}

fn split(text: &str) -> (&str, &str) {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    (number, unit.trim())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_and_ages_are_understood_or_refused() {
        let size = |text: &str| text.parse::<Size>().ok().map(|it| it.0);
        assert_eq!(size("0"), Some(0));
        assert_eq!(size("512MiB"), Some(512 << 20));
        assert_eq!(size("4 GB"), Some(4_000_000_000));
        assert_eq!(size("-1"), None);
        assert_eq!(size("4XB"), None);
        assert_eq!(size("99999999999TiB"), None);
        let age = |text: &str| text.parse::<Age>().ok().map(|it| it.0.as_millis());
        assert_eq!(age("500ms"), Some(500));
        assert_eq!(age("7d"), Some(7 * 86_400_000));
        assert_eq!(age("7"), None);
        assert_eq!(age("9999999999999999d"), None);
    }
}
