//! Compiles anew when the chart has changed: what is embedded is not a source that cargo knows of.

fn main() {
    println!("cargo::rerun-if-changed=../../helm/kubeshark");
}
