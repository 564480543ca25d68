//! Holds a set of sources against the layer table, and looks for cycles between files.

use std::collections::{BTreeMap, BTreeSet};

use super::{imports, table};

/// One file of `src/`.
pub struct Source {
    /// Relative to `src/`, with `/`.
    pub path: String,
    pub text: String,
    /// First component of the path without `.rs`.
    pub room: String,
    /// The module that the file is; empty for the two crate roots.
    pub module: Vec<String>,
}

impl Source {
    pub fn new(path: &str, text: &str) -> Self {
        let mut module: Vec<String> = path.trim_end_matches(".rs").split('/').map(str::to_owned).collect();
        let room = module[0].clone();
        if path == "lib.rs" || path == "main.rs" || path.ends_with("/mod.rs") {
            module.pop();
        }
        Source { path: path.to_owned(), text: text.to_owned(), room, module }
    }
}

/// All violations, one sentence each.
pub fn check(sources: &[Source]) -> Vec<String> {
    let mut violations = Vec::new();
    let files: BTreeMap<&[String], usize> = sources
        .iter()
        .enumerate()
        .filter(|(_, source)| source.path != "main.rs")
        .map(|(index, source)| (&source.module[..], index))
        .collect();
    let doors = doors(sources);
    let mut edges: Vec<BTreeSet<usize>> = vec![BTreeSet::new(); sources.len()];
    for (index, source) in sources.iter().enumerate() {
        if !source.text.starts_with("//!") {
            violations.push(format!("{}: does not open with a `//!` head (what, why, section)", source.path));
        }
        if source.room != "lib" && table::room(&source.room).is_none() {
            violations.push(format!("{}: `{}` is no room of the layer table", source.path, source.room));
            continue;
        }
        match imports::of(source) {
            Err(sentence) => violations.push(sentence),
            Ok(found) => {
                for import in found {
                    violations.extend(outside_the_table(source, &import));
                    let file = file_of(&files, &through_doors(&doors, import.target));
                    let counts = !import.in_test && import.door.is_none();
                    edges[index].extend(file.filter(|file| *file != index && counts));
                }
            }
        }
    }
    while let Some(path) = cycle(&edges) {
        let names: Vec<&str> = path.iter().map(|index| sources[*index].path.as_str()).collect();
        violations.push(format!("import cycle: {}", names.join(" -> ")));
        edges[path[path.len() - 2]].remove(&path[path.len() - 1]);
    }
    violations
}

/// Names that a file gives on from elsewhere (`pub use child::Name`) -> where they come from. Such a door is no
/// dependency of the file that has it: who goes through it depends on what is behind.
fn doors(sources: &[Source]) -> BTreeMap<Vec<String>, Vec<String>> {
    let mut doors = BTreeMap::new();
    for source in sources {
        for import in imports::of(source).unwrap_or_default() {
            if let Some(name) = import.door {
                doors.insert([&source.module[..], &[name]].concat(), import.target);
            }
        }
    }
    doors
}

fn through_doors(doors: &BTreeMap<Vec<String>, Vec<String>>, mut target: Vec<String>) -> Vec<String> {
    // A door may lead to a door; more than a few in a row is a circle.
    for _ in 0..8 {
        let Some((length, behind)) =
            (1..=target.len()).find_map(|length| doors.get(&target[..length]).map(|behind| (length, behind)))
        else {
            break;
        };
        target = [&behind[..], &target[length..]].concat();
    }
    target
}

/// The sentence, if this import is not in the table.
fn outside_the_table(source: &Source, import: &imports::Import) -> Option<String> {
    let Some(target) = import.target.first() else {
        // Tests in a crate root see the root by `use super::*`.
        return (!source.module.is_empty())
            .then(|| format!("{}: `{}` imports the crate root", source.path, import.written));
    };
    if *target == source.room || source.room == "lib" {
        return None;
    }
    let here = table::room(&source.room)?;
    let allowed = here.may_import.iter().any(|prefix| {
        let prefix: Vec<&str> = prefix.split("::").collect();
        import.target.len() >= prefix.len() && import.target.iter().zip(&prefix).all(|(a, b)| a == b)
    });
    // A crate root's own items are not rooms.
    if allowed || (source.module.is_empty() && table::room(target).is_none()) {
        return None;
    }
    let reason = match table::room(target) {
        None => format!("`{target}` is no room of the layer table"),
        Some(there) if there.layer > here.layer => format!("{target} (L{}) lies above", there.layer),
        Some(there) if there.layer == here.layer => format!("{target} is a sibling on L{}", there.layer),
        Some(_) => format!("it may import only: {}", here.may_import.join(" ")),
    };
    Some(format!("{}: {} (L{}) imports `{}`: {reason}", source.path, here.name, here.layer, import.written))
}

/// The file with the longest module path that begins `target`.
fn file_of(files: &BTreeMap<&[String], usize>, target: &[String]) -> Option<usize> {
    (1..=target.len()).rev().find_map(|length| files.get(&target[..length]).copied())
}

/// One cycle, as the files along it with the first repeated at the end.
pub fn cycle(edges: &[BTreeSet<usize>]) -> Option<Vec<usize>> {
    fn walk(node: usize, edges: &[BTreeSet<usize>], done: &mut [bool], path: &mut Vec<usize>) -> Option<Vec<usize>> {
        if let Some(start) = path.iter().position(|other| *other == node) {
            return Some(path[start..].iter().copied().chain([node]).collect());
        }
        if done[node] {
            return None;
        }
        path.push(node);
        let found = edges[node].iter().find_map(|next| walk(*next, edges, done, path));
        path.pop();
        done[node] = true;
        found
    }
    let mut done = vec![false; edges.len()];
    (0..edges.len()).find_map(|node| walk(node, edges, &mut done, &mut Vec::new()))
}
