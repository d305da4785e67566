//! A compiler that can build for the browser, found on this machine. Nothing is downloaded.

use std::{
    fs,
    path::{Path, PathBuf},
    process::Command,
};

use anyhow::{Context as _, Result, bail};

use crate::{call, output, say};

/// What browsers run.
pub(crate) const TARGET: &str = "wasm32-unknown-unknown";

/// How to call cargo so that it builds for [`TARGET`].
#[derive(Debug)]
pub(crate) struct Toolchain {
    /// The compiler's version: builds by different compilers are different builds.
    pub(crate) version: String,
    env: Vec<(&'static str, String)>,
}

impl Toolchain {
    /// The compiler on `PATH` if it has the target's standard library; else Debian's, with a
    /// standard library built once from its sources into `cache`.
    pub(crate) fn find(cache: &Path) -> Result<Self> {
        let rustc = std::env::var("RUSTC").unwrap_or_else(|_| "rustc".into());
        if has_std(&rustc, None) {
            return Ok(Self { version: release(&rustc)?, env: Vec::new() });
        }
        let (Some(lld), true) = (linker(&rustc), Path::new(DEBIAN_SOURCES).exists()) else {
            bail!(
                "this compiler has no standard library for the browser: run `rustup target add {TARGET}`, \
                 or on Debian `apt-get install rustc-web rust-web-src`"
            );
        };
        let version = release(DEBIAN_RUSTC)
            .with_context(|| format!("{DEBIAN_SOURCES} is there but {DEBIAN_RUSTC} is not"))?;
        if minor(&version) < minor(env!("CARGO_PKG_RUST_VERSION")) {
            bail!(
                "{DEBIAN_RUSTC} is {version}, too old to build the page: run `rustup target add {TARGET}`, \
                 or on Debian `apt-get install rustc-web rust-web-src`"
            );
        }
        // cargo knows a sysroot by its path alone, so whatever changes it must change the path
        let sysroot = cache.join(format!("std-{SETTINGS}-{version}"));
        let toolchain = Self {
            version,
            env: vec![
                ("RUSTC", DEBIAN_RUSTC.into()),
                ("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", lld.display().to_string()),
                (
                    "CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS",
                    format!("--sysroot={}", sysroot.display()),
                ),
            ],
        };
        if !has_std(DEBIAN_RUSTC, Some(&sysroot)) {
            say(&format!("building the standard library for {TARGET}, once"));
            build_std(&sysroot, &lld)?;
        }
        Ok(toolchain)
    }

    /// Cargo with this toolchain, whatever flags the caller's environment holds for native builds.
    pub(crate) fn cargo(&self) -> Command {
        let mut cargo = cargo();
        cargo.envs(self.env.iter().map(|(name, value)| (name, value)));
        cargo
    }
}

const DEBIAN_RUSTC: &str = "/usr/bin/rustc";
const DEBIAN_SOURCES: &str = "/usr/lib/rustlib/src/rust/library/std/Cargo.toml";
const SETTINGS: &str = "opt-s-bitcode";

fn cargo() -> Command {
    let mut cargo = Command::new(std::env::var("CARGO").unwrap_or_else(|_| "cargo".into()));
    // these win over the flags of a target, and a native `-C target-cpu` means nothing here
    cargo.env_remove("RUSTFLAGS").env_remove("CARGO_ENCODED_RUSTFLAGS");
    cargo.env_remove("RUSTC_WRAPPER").env_remove("RUSTC_WORKSPACE_WRAPPER");
    cargo
}

fn release(rustc: &str) -> Result<String> {
    let verbose = output(Command::new(rustc).arg("-vV"))?;
    let line = verbose.lines().find_map(|line| line.strip_prefix("release: "));
    Ok(line.unwrap_or("unknown").to_owned())
}

/// The part of a version that tells one release from the next.
fn minor(version: &str) -> Option<u32> {
    version.split('.').nth(1)?.parse().ok()
}

fn has_std(rustc: &str, sysroot: Option<&Path>) -> bool {
    let mut command = Command::new(rustc);
    command.args(["--print", "target-libdir", "--target", TARGET]);
    if let Some(sysroot) = sysroot {
        command.arg("--sysroot").arg(sysroot);
    }
    let Ok(folder) = output(&mut command) else { return false };
    let Ok(files) = fs::read_dir(folder) else { return false };
    files.flatten().any(|file| file.file_name().to_string_lossy().starts_with("libstd-"))
}

/// The linker that came with a compiler; Debian's package has none.
fn linker(rustc: &str) -> Option<PathBuf> {
    [rustc, DEBIAN_RUSTC].into_iter().find_map(|rustc| {
        let sysroot = output(Command::new(rustc).args(["--print", "sysroot"])).ok()?;
        let verbose = output(Command::new(rustc).arg("-vV")).ok()?;
        let host = verbose.lines().find_map(|line| line.strip_prefix("host: "))?;
        let lld = Path::new(&sysroot).join("lib/rustlib").join(host).join("bin/rust-lld");
        lld.is_file().then_some(lld)
    })
}

fn build_std(sysroot: &Path, lld: &Path) -> Result<()> {
    let work = sysroot.with_extension("build");
    // two standard libraries must never meet in one folder
    if work.exists() {
        fs::remove_dir_all(&work)?;
    }
    fs::create_dir_all(work.join("src"))?;
    fs::write(work.join("src/lib.rs"), "")?;
    fs::write(
        work.join("Cargo.toml"),
        "[package]\nname = \"sysroot\"\nedition = \"2021\"\n[workspace]\n\
         [profile.release]\npanic = \"abort\"\nopt-level = \"s\"\n",
    )?;
    call(
        cargo()
            .current_dir(&work)
            .args(["build", "--release", "-Zbuild-std=std,panic_abort", "--target", TARGET])
            .arg("--target-dir")
            .arg(work.join("target"))
            .env("RUSTC", DEBIAN_RUSTC)
            // for these crates alone: the page itself is built as stable Rust
            .env("RUSTC_BOOTSTRAP", "1")
            // link-time optimisation of the page needs the bitcode of std
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_RUSTFLAGS", "-Cembed-bitcode=yes")
            .env("CARGO_TARGET_WASM32_UNKNOWN_UNKNOWN_LINKER", lld),
    )
    .context("building the standard library from Debian's sources")?;

    // complete, or not there: an interrupted copy must not look like a sysroot
    let ready = sysroot.with_extension("new");
    let libraries = ready.join("lib/rustlib").join(TARGET).join("lib");
    if ready.exists() {
        fs::remove_dir_all(&ready)?;
    }
    fs::create_dir_all(&libraries)?;
    for file in fs::read_dir(work.join("target").join(TARGET).join("release/deps"))? {
        let path = file?.path();
        let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
        if name.ends_with(".rlib") && !name.starts_with("libsysroot-") {
            fs::copy(&path, libraries.join(name))?;
        }
    }
    if sysroot.exists() {
        fs::remove_dir_all(sysroot)?;
    }
    fs::rename(&ready, sysroot)?;
    fs::remove_dir_all(&work)?;
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn releases_are_told_apart_by_number() {
        assert!(minor("1.63.0") < minor("1.94"));
        assert!(minor("1.100.0-beta.1") > minor("1.94"));
        assert!(minor("unknown") < minor("1.94"));
    }
}
