//! `cargo xtask ui`: the page, built for the browser and laid where the server embeds it from.

use std::{
    collections::{BTreeSet, HashSet},
    fs,
    hash::{DefaultHasher, Hash as _, Hasher as _},
    path::{Path, PathBuf},
    process::Command,
    time::Instant,
};

use anyhow::{Context as _, Result, bail, ensure};
use serde_json::Value;

use crate::{
    call, output, root, say,
    toolchain::{TARGET, Toolchain},
};

/// Builds the page, or does nothing if what it is made of has not changed.
pub(crate) fn run(args: &[String]) -> Result<()> {
    let dev = match args {
        [] => false,
        [flag] if flag == "--dev" => true,
        _ => bail!("usage: cargo xtask ui [--dev]"),
    };
    let root = root();
    let workspace = Workspace::read(&root)?;
    let cache = workspace.target.join("page");
    fs::create_dir_all(&cache)?;
    let toolchain = Toolchain::find(&cache)?;
    let profile = if dev { "web-dev" } else { "web" };
    let page = root.join("hub/server/page");

    let stamp = Stamp { path: cache.join("stamp"), inputs: workspace.inputs(&toolchain, profile)? };
    if stamp.matches(&page)? {
        say("the page is up to date");
        return Ok(());
    }

    let start = Instant::now();
    call(
        toolchain
            .cargo()
            .current_dir(&root)
            .args(["build", "--package", "ui", "--bin", "ui", "--profile", profile])
            .args(["--target", TARGET, "--target-dir"])
            .arg(&cache),
    )?;
    let built = start.elapsed();

    let new = cache.join("new");
    if new.exists() {
        fs::remove_dir_all(&new)?;
    }
    fs::create_dir_all(&new)?;
    wasm_bindgen_cli_support::Bindgen::new()
        .input_path(cache.join(TARGET).join(profile).join("ui.wasm"))
        .web(true)?
        .typescript(false)
        .keep_debug(dev)
        .remove_name_section(!dev)
        .remove_producers_section(!dev)
        .generate(&new)?;
    for file in files(&root.join("ui/static"))? {
        let name = file.file_name().context("a file has a name")?;
        fs::copy(&file, new.join(name))?;
    }

    let mut sizes = (0, 0);
    for file in files(&new)? {
        let bytes = fs::read(&file)?;
        sizes.0 += bytes.len();
        if dev {
            continue;
        }
        let packed = match known(&page.join(file.strip_prefix(&new)?), &bytes) {
            Some(packed) => packed,
            None => pack(&bytes)?,
        };
        sizes.1 += packed.len();
        fs::write(beside(&file), packed)?;
    }
    replace(&new, &page)?;
    stamp.write(&page)?;
    say(&format!(
        "the page: {} KiB{}; {:.0?} to compile, {:.0?} in all",
        sizes.0 / 1024,
        if dev { String::new() } else { format!(", {} KiB compressed", sizes.1 / 1024) },
        built,
        start.elapsed()
    ));
    Ok(())
}

/// What cargo knows of this workspace.
struct Workspace {
    target: PathBuf,
    /// Folders of the page's package and of ours that it depends on.
    packages: BTreeSet<PathBuf>,
    root: PathBuf,
}

impl Workspace {
    fn read(root: &Path) -> Result<Self> {
        let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".into());
        let text = output(Command::new(cargo).current_dir(root).args([
            "metadata",
            "--format-version",
            "1",
            "--no-deps",
        ]))?;
        let metadata: Value = serde_json::from_str(&text)?;
        let target = metadata["target_directory"].as_str().context("no target directory")?;
        let packages = metadata["packages"].as_array().context("no packages")?;
        let folder = |package: &Value| {
            Some(Path::new(package["manifest_path"].as_str()?).parent()?.to_owned())
        };

        let mut folders = BTreeSet::new();
        let mut seen = HashSet::from(["ui"]);
        let mut open = vec!["ui"];
        while let Some(name) = open.pop() {
            let package = packages.iter().find(|package| package["name"] == name);
            let package = package.with_context(|| format!("no package `{name}`"))?;
            folders.insert(folder(package).context("a package lies in a folder")?);
            for dependency in package["dependencies"].as_array().into_iter().flatten() {
                let (Some(name), Some(_)) =
                    (dependency["name"].as_str(), dependency["path"].as_str())
                else {
                    continue;
                };
                if seen.insert(name) {
                    open.push(name);
                }
            }
        }
        Ok(Self { target: target.into(), packages: folders, root: root.into() })
    }

    /// Everything that decides what the page will be, as one number.
    fn inputs(&self, toolchain: &Toolchain, profile: &str) -> Result<u64> {
        let mut hasher = DefaultHasher::new();
        (&toolchain.version, profile).hash(&mut hasher);
        let mut paths = vec![self.root.join("Cargo.toml"), self.root.join("Cargo.lock")];
        paths.extend(files(&self.root.join("xtask/src"))?);
        for folder in &self.packages {
            paths.extend(files(folder)?);
        }
        for path in paths {
            path.strip_prefix(&self.root).unwrap_or(&path).hash(&mut hasher);
            fs::read(&path).with_context(|| path.display().to_string())?.hash(&mut hasher);
        }
        Ok(hasher.finish())
    }
}

/// What the page in the checkout was made of, and what it was when it was made.
struct Stamp {
    path: PathBuf,
    inputs: u64,
}

impl Stamp {
    fn matches(&self, page: &Path) -> Result<bool> {
        let known = fs::read_to_string(&self.path).unwrap_or_default();
        Ok(page.is_dir() && known == self.text(page)?)
    }

    fn write(&self, page: &Path) -> Result<()> {
        Ok(fs::write(&self.path, self.text(page)?)?)
    }

    fn text(&self, page: &Path) -> Result<String> {
        let mut hasher = DefaultHasher::new();
        for path in files(page)? {
            path.hash(&mut hasher);
            fs::read(&path)?.hash(&mut hasher);
        }
        Ok(format!("{:016x} {:016x}\n", self.inputs, hasher.finish()))
    }
}

/// Files the checkout keeps for itself, such as a list of what to ignore.
fn is_hidden(path: &Path) -> bool {
    path.file_name().is_some_and(|name| name.to_string_lossy().starts_with('.'))
}

/// Every file below a folder, in order.
fn files(folder: &Path) -> Result<Vec<PathBuf>> {
    let mut found = Vec::new();
    for entry in fs::read_dir(folder).with_context(|| folder.display().to_string())? {
        let path = entry?.path();
        if is_hidden(&path) {
            continue;
        }
        if path.is_dir() {
            found.extend(files(&path)?);
        } else {
            found.push(path);
        }
    }
    found.sort();
    Ok(found)
}

/// Where the compressed form of a file lies.
fn beside(file: &Path) -> PathBuf {
    let mut name = file.as_os_str().to_owned();
    name.push(".br");
    name.into()
}

/// What a file was compressed to when it was the same.
fn known(file: &Path, bytes: &[u8]) -> Option<Vec<u8>> {
    (fs::read(file).ok()? == bytes).then(|| fs::read(beside(file)).ok())?
}

fn pack(bytes: &[u8]) -> Result<Vec<u8>> {
    let params = brotli::enc::BrotliEncoderParams { quality: 11, lgwin: 22, ..Default::default() };
    let mut packed = Vec::new();
    brotli::BrotliCompress(&mut &bytes[..], &mut packed, &params)?;
    Ok(packed)
}

/// Lays the new folder in the place of the old one; they may be on different disks.
fn replace(new: &Path, old: &Path) -> Result<()> {
    fs::create_dir_all(old)?;
    for entry in fs::read_dir(old)? {
        let entry = entry?;
        if is_hidden(&entry.path()) {
            continue;
        }
        if entry.file_type()?.is_dir() {
            fs::remove_dir_all(entry.path())?;
        } else {
            fs::remove_file(entry.path())?;
        }
    }
    for file in files(new)? {
        let place = old.join(file.strip_prefix(new)?);
        let folder = place.parent().context("a file lies in a folder")?;
        fs::create_dir_all(folder)?;
        fs::copy(&file, place)?;
    }
    ensure!(old.join("index.html").is_file(), "the page has no index.html");
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_new_page_takes_the_place_of_the_old_but_not_of_hidden_files() -> Result<()> {
        let folder = std::env::temp_dir().join(format!("xtask-ui-{}", std::process::id()));
        let (new, old) = (folder.join("new"), folder.join("old"));
        fs::create_dir_all(new.join("snippets"))?;
        fs::create_dir_all(old.join("gone"))?;
        for file in [
            new.join("index.html"),
            new.join("snippets/a.js"),
            old.join("gone/b.js"),
            old.join(".gitignore"),
        ] {
            fs::write(file, "text")?;
        }
        replace(&new, &old)?;
        let stamp = Stamp { path: folder.join("stamp"), inputs: 7 };
        assert!(!stamp.matches(&old)?);
        stamp.write(&old)?;
        assert!(stamp.matches(&old)?);
        assert!(!Stamp { inputs: 8, path: stamp.path.clone() }.matches(&old)?);
        let there: Vec<_> = files(&old)?
            .iter()
            .map(|it| it.strip_prefix(&old).map(PathBuf::from))
            .collect::<Result<_, _>>()?;
        assert_eq!(there, [PathBuf::from("index.html"), PathBuf::from("snippets/a.js")]);
        assert!(old.join(".gitignore").exists());
        fs::write(old.join("index.html"), "changed")?;
        assert!(!stamp.matches(&old)?);
        fs::remove_dir_all(folder)?;
        Ok(())
    }
}
