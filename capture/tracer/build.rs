//! Compiles the kernel's programs with clang into one object, which the library carries.
#![allow(
    clippy::disallowed_methods,
    clippy::print_stdout,
    reason = "how cargo talks to a build script"
)]

use std::{env, io, path::PathBuf, process::Command};

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rerun-if-changed=bpf");
    println!("cargo::rerun-if-env-changed=BPF_CLANG");
    let variable = |name| env::var(name).unwrap_or_default();
    let arch = match (&*variable("CARGO_CFG_TARGET_OS"), &*variable("CARGO_CFG_TARGET_ARCH")) {
        ("linux", "x86_64") => "x86",
        ("linux", "aarch64") => "arm64",
        // There the library says that it can't trace.
        _ => return,
    };
    let clang = env::var("BPF_CLANG").unwrap_or_else(|_| "clang-19".to_owned());
    let object = PathBuf::from(variable("OUT_DIR")).join("tracer.bpf.o");
    // `-g` makes the types by which the running kernel's fields are found.
    let compiled = Command::new(&clang)
        .args(["-target", "bpf", "-mcpu=v3", "-O2", "-g", "-Wall", "-Werror", "-Ibpf", "-c"])
        .args([&format!("-D__TARGET_ARCH_{arch}"), "bpf/tracer.bpf.c", "-o"])
        .arg(&object)
        .output();
    let problem = match compiled {
        Ok(it) if it.status.success() => return,
        Ok(it) => {
            let said = String::from_utf8_lossy(&it.stderr).into_owned();
            if said.contains("bpf/bpf_") && said.contains("file not found") {
                "the headers for the kernel's programs are missing: `apt-get install libbpf-dev`"
                    .to_owned()
            } else {
                format!("{clang} can't compile capture/tracer/bpf/tracer.bpf.c: {said}")
            }
        }
        Err(error) if error.kind() == io::ErrorKind::NotFound => format!(
            "{clang}, which compiles the kernel's programs, is missing: `apt-get install clang-19`, \
             or name another clang (14 or later) in BPF_CLANG"
        ),
        Err(error) => format!("can't run {clang}: {error}"),
    };
    println!("cargo::error={}", problem.replace('\n', "\ncargo::error="));
}
