//! Reads the imports of one source text: every path that leads into our own crate, resolved from the crate's root.

use std::collections::BTreeSet;

use syn::{
    ItemMod, ItemUse, Macro, UseTree, Visibility,
    visit::{self, Visit},
};

use super::check::Source;

/// How the binary names the library.
const CRATE_NAME: &str = "onvif_uplink";

/// One import.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Import {
    /// From the crate's root: `["base", "io", "TurnStream"]`. Empty: the root itself.
    pub target: Vec<String>,
    /// Whether it stands under `#[cfg(test)]`.
    pub in_test: bool,
    /// As written, for the message.
    pub written: String,
}

/// All imports of `source`, each once.
///
/// # Errors
/// A sentence when the text is not Rust, or a `super` chain leaves the crate.
pub fn of(source: &Source) -> Result<BTreeSet<Import>, String> {
    let file = syn::parse_file(&source.text).map_err(|error| format!("{}: cannot be parsed: {error}", source.path))?;
    let mut reader = Reader {
        scope: source.module.clone(),
        children: vec![children(&file.items)],
        in_test: false,
        found: BTreeSet::new(),
        problems: Vec::new(),
    };
    reader.visit_file(&file);
    match reader.problems.first() {
        Some(problem) => Err(format!("{}: {problem}", source.path)),
        None => Ok(reader.found),
    }
}

struct Reader {
    /// Module in which the visited item stands.
    scope: Vec<String>,
    /// Names of the modules declared in each scope of this file, innermost last.
    children: Vec<BTreeSet<String>>,
    in_test: bool,
    found: BTreeSet<Import>,
    problems: Vec<String>,
}

fn children(items: &[syn::Item]) -> BTreeSet<String> {
    let modules = items.iter().filter_map(|item| if let syn::Item::Mod(module) = item { Some(module) } else { None });
    modules.map(|module| module.ident.to_string()).collect()
}

fn is_test(item: &ItemMod) -> bool {
    item.attrs.iter().any(|attribute| {
        attribute.path().is_ident("cfg") && attribute.parse_args::<syn::Path>().is_ok_and(|path| path.is_ident("test"))
    })
}

impl Reader {
    /// Notes the path if it leads into our crate.
    fn note(&mut self, segments: &[String]) {
        let Some(first) = segments.first() else { return };
        let target = match first.as_str() {
            "crate" | CRATE_NAME => segments[1..].to_vec(),
            "self" if segments.len() > 1 => [&self.scope[..], &segments[1..]].concat(),
            "super" => {
                let ups = segments.iter().take_while(|segment| *segment == "super").count();
                let Some(kept) = self.scope.len().checked_sub(ups) else {
                    self.problems.push(format!("`{}` leaves the crate", segments.join("::")));
                    return;
                };
                [&self.scope[..kept], &segments[ups..]].concat()
            }
            name if segments.len() > 1 && self.children.last().is_some_and(|names| names.contains(name)) => {
                [&self.scope[..], segments].concat()
            }
            _ => return,
        };
        self.found.insert(Import { target, in_test: self.in_test, written: segments.join("::") });
    }

    fn note_tree(&mut self, prefix: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.note_tree(&with(&path.ident), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.note_tree(prefix, tree)),
            UseTree::Glob(_) => self.note(prefix),
            UseTree::Name(name) if name.ident == "self" => self.note(prefix),
            UseTree::Name(name) => self.note(&with(&name.ident)),
            UseTree::Rename(rename) if rename.ident == "self" => self.note(prefix),
            UseTree::Rename(rename) => self.note(&with(&rename.ident)),
        }
    }

    /// Paths inside a macro call, which `syn` leaves as tokens: every chain that begins with `crate`, `super` or our name.
    fn note_tokens(&mut self, tokens: &str) {
        // Printed tokens put spaces round `::`; without them a chain is one word of identifier characters and colons.
        let text = tokens.replace(" ::", "::").replace(":: ", "::");
        for word in text.split(|c: char| !(c.is_alphanumeric() || c == '_' || c == ':')) {
            let segments: Vec<String> = word.split("::").filter(|part| !part.is_empty()).map(str::to_owned).collect();
            if word.contains("::") && segments.iter().all(|segment| !segment.contains(':')) {
                let chain = ["crate", "super", CRATE_NAME].contains(&segments.first().map_or("", String::as_str));
                if chain {
                    self.note(&segments);
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Reader {
    fn visit_item_mod(&mut self, item: &'ast ItemMod) {
        let Some((_, items)) = &item.content else { return };
        let outer = self.in_test;
        self.in_test |= is_test(item);
        self.scope.push(item.ident.to_string());
        self.children.push(children(items));
        visit::visit_item_mod(self, item);
        self.children.pop();
        self.scope.pop();
        self.in_test = outer;
    }

    fn visit_item_use(&mut self, item: &'ast ItemUse) {
        self.note_tree(&[], &item.tree);
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.note(&segments);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.visit_path(&call.path);
        self.note_tokens(&call.tokens.to_string());
    }

    // `pub(crate)` and `pub(super)` are not imports.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}
