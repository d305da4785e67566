//! Packets by a program of our own at the interface (eBPF, tcx), to compare with. The product has none.

use std::path::PathBuf;
use std::process::Command;

use anyhow::{Context as _, Result, ensure};
use aya::Ebpf;
use aya::maps::{MapData, PerCpuArray, RingBuf};
use aya::programs::{SchedClassifier, TcAttachType};

/// The program, attached to what arrives on one interface.
pub(crate) struct Mirror {
    packets: RingBuf<MapData>,
    /// Holds the program and its place.
    ebpf: Ebpf,
}

impl Mirror {
    pub(crate) fn open(interface: &str) -> Result<Self> {
        let work = tempfile::TempDir::new()?;
        let (source, object) = (work.path().join("mirror.c"), work.path().join("mirror.o"));
        std::fs::write(&source, SOURCE)?;
        compile(&source, &object)?;
        let mut ebpf = Ebpf::load_file(&object)?;
        let program = ebpf.program_mut("mirror").context("the program")?;
        let program: &mut SchedClassifier = program.try_into()?;
        program.load()?;
        program.attach(interface, TcAttachType::Ingress)?;
        let packets = RingBuf::try_from(ebpf.take_map("packets").context("its ring")?)?;
        Ok(Self { packets, ebpf })
    }

    /// Hands over what there is; how many packets that was.
    pub(crate) fn take(&mut self, mut each: impl FnMut(&[u8])) -> u64 {
        let mut taken = 0;
        while let Some(packet) = self.packets.next() {
            each(packet.get(HEADER..).unwrap_or_default());
            taken += 1;
        }
        taken
    }

    pub(crate) fn dropped(&self) -> Result<u64> {
        let counts = self.ebpf.map("dropped").context("its counter")?;
        let counts = PerCpuArray::<_, u64>::try_from(counts)?;
        Ok(counts.get(&0, 0)?.iter().sum())
    }
}

fn compile(source: &PathBuf, object: &PathBuf) -> Result<()> {
    let mut clang = Command::new("clang-19");
    clang.args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-c"]).arg(source).arg("-o").arg(object);
    // Where Debian has the headers of this machine's kernel.
    clang.arg(format!("-I/usr/include/{}-linux-gnu", std::env::consts::ARCH));
    let compiled = clang.output().context("clang-19")?;
    ensure!(compiled.status.success(), "clang-19: {}", String::from_utf8_lossy(&compiled.stderr));
    Ok(())
}

const SOURCE: &str = include_str!("../bpf/mirror.bpf.c");
/// What stands in front of a packet's bytes.
const HEADER: usize = 16;
