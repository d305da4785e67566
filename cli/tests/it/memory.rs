//! An import takes the memory it is allowed, however large the file.

use tempfile::TempDir;

use crate::processes::{Hub, kubeshark};
use crate::traffic;

#[test]
fn a_large_import_stays_within_300_mib() {
    let folder = TempDir::new().unwrap();
    let capture = folder.path().join("traffic.pcap");
    traffic::write(&capture, (0..600_000).map(traffic::exchange));
    let bytes = std::fs::metadata(&capture).unwrap().len();
    assert!(bytes > 300 << 20, "the capture of {bytes} bytes would fit memory as a whole");

    let tap = Hub::of(
        kubeshark()
            .args(["tap", "--port", "0", "--no-browser", "--store"])
            .arg(folder.path().join("store"))
            .arg("--read")
            .arg(&capture),
    );
    tap.wait_for(1, 600_000);
    let peak = tap.process.peak_resident_bytes() >> 20;
    assert!(peak <= 300, "{peak} MiB resident");
}
