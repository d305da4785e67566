//! Makes sure that there is a folder to embed the page from, and that a new page is noticed.

fn main() -> std::io::Result<()> {
    std::fs::create_dir_all("page")?;
    println!("cargo::rerun-if-changed=page");
    println!("cargo::rerun-if-changed=build.rs");
    Ok(())
}
