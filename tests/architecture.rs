//! Proves the layer table of the house: which room of `src/` may import which, no import cycles between files, and a
//! `//!` head in every file.
//!
//! Most programs of this field have import cycles; here it is the one rule of style that a test enforces. The table
//! stands twice, as data in `architecture/table.rs` and as text in the crate documentation, and both must agree. What
//! counts as an import: `use` items, paths in code, and paths inside macro calls, however they begin (`crate::`,
//! `super::` chains, `self::`, the crate's name, a child module's name). Unit tests are held to the table too, but not to
//! the cycle rule: they may use a file that uses theirs.

use std::path::Path;

#[path = "architecture/check.rs"]
mod check;
#[path = "architecture/imports.rs"]
mod imports;
#[path = "architecture/negative.rs"]
mod negative;
#[path = "architecture/table.rs"]
mod table;

use check::{Source, check};

/// All `.rs` files under `src/`, as the checker sees them.
fn sources() -> Vec<Source> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    let mut found = Vec::new();
    collect(&root, &root, &mut found);
    found.sort_by(|a: &Source, b: &Source| a.path.cmp(&b.path));
    found
}

fn collect(root: &Path, folder: &Path, found: &mut Vec<Source>) {
    for entry in std::fs::read_dir(folder).expect("src/ is readable") {
        let path = entry.expect("src/ is readable").path();
        let relative = path.strip_prefix(root).expect("below the root").to_string_lossy().replace('\\', "/");
        if path.is_dir() {
            collect(root, &path, found);
        } else if relative.ends_with(".rs") {
            let text = std::fs::read_to_string(&path).expect("a source file is UTF-8 text");
            found.push(Source::new(&relative, &text));
        }
    }
}

#[test]
fn the_sources_keep_to_the_layer_table() {
    let sources = sources();
    assert!(sources.len() > 20, "only {} files were found: the test looks in the wrong place", sources.len());
    let imports: usize = sources.iter().map(|source| imports::of(source).expect("compiles").len()).sum();
    assert!(imports > sources.len(), "only {imports} imports were seen: the reader of imports is broken");
    let violations = check(&sources);
    assert!(violations.is_empty(), "{} violations:\n{}", violations.len(), violations.join("\n"));
}

#[test]
fn every_folder_of_src_is_a_room_with_something_in_it() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("src");
    for entry in std::fs::read_dir(root).expect("src/ is readable") {
        let path = entry.expect("src/ is readable").path();
        if path.is_dir() {
            let room = path.file_name().expect("has a name").to_string_lossy().into_owned();
            assert!(table::room(&room).is_some(), "src/{room}/ is a room that the layer table does not list");
            assert!(path.join("mod.rs").is_file(), "src/{room}/ has no mod.rs: an empty room is removed");
        }
    }
}

#[test]
fn the_crate_documentation_shows_the_same_table() {
    let lib = sources().into_iter().find(|source| source.path == "lib.rs").expect("src/lib.rs exists");
    let shown = table::parse_documentation(&lib.text).expect("lib.rs shows the layer table");
    assert_eq!(shown, table::as_map(), "src/lib.rs and tests/architecture/table.rs differ");
}
