//! The reference of the tables.
#![expect(
    clippy::disallowed_methods,
    reason = "UPDATE says that the reference is to be written anew"
)]
use std::path::Path;

#[test]
fn the_reference_matches_the_tables() {
    let mut now = String::from(
        "# Tables of a cluster\n\nWhat a Hub knows of its cluster, to be asked with and joined to all else. Made from the \
         declarations: `UPDATE=1 cargo test -p cluster` rewrites this page.\n",
    );
    now.extend(cluster::tables().iter().map(schema::Table::reference));
    let path = Path::new("TABLES.md");
    if std::env::var_os("UPDATE").is_some() {
        std::fs::write(path, &now).unwrap();
    }
    let then = std::fs::read_to_string(path).unwrap_or_default();
    assert!(then == now, "{} differs; run with UPDATE=1 and look at the change", path.display());
}
