//! Reads the imports of one source text: every path that leads into our own crate, resolved from the crate's root.

use std::collections::BTreeSet;

use syn::{
    ItemMod, ItemUse, Macro, UseTree, Visibility,
    buffer::{Cursor, TokenBuffer},
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
    /// The name under which this file gives the target on: `pub use child::Name`.
    pub door: Option<String>,
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
        reexport: false,
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
    /// Whether a `use` with a visibility is being read.
    reexport: bool,
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
        self.note_as(segments, None);
    }

    fn note_as(&mut self, segments: &[String], name: Option<&syn::Ident>) {
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
        let door = name.filter(|_| self.reexport).map(ToString::to_string);
        self.found.insert(Import { target, in_test: self.in_test, written: segments.join("::"), door });
    }

    fn note_tree(&mut self, prefix: &[String], tree: &UseTree) {
        let with = |name: &syn::Ident| [prefix, &[name.to_string()]].concat();
        match tree {
            UseTree::Path(path) => self.note_tree(&with(&path.ident), &path.tree),
            UseTree::Group(group) => group.items.iter().for_each(|tree| self.note_tree(prefix, tree)),
            UseTree::Glob(_) => self.note(prefix),
            UseTree::Name(name) if name.ident == "self" => self.note(prefix),
            UseTree::Name(name) => self.note_as(&with(&name.ident), Some(&name.ident)),
            UseTree::Rename(rename) if rename.ident == "self" => self.note(prefix),
            UseTree::Rename(rename) => self.note_as(&with(&rename.ident), Some(&rename.rename)),
        }
    }

    /// Paths inside a macro call, which `syn` leaves as tokens: every chain that begins with `crate`, `super` or our name.
    fn note_tokens(&mut self, mut cursor: Cursor<'_>) {
        let mut chain: Vec<String> = Vec::new();
        while !cursor.eof() {
            if let Some((name, rest)) = cursor.ident() {
                chain.push(name.to_string());
                cursor = rest;
                match after_colons(cursor) {
                    Some(rest) => cursor = rest,
                    None => self.note_chain(&mut chain),
                }
                continue;
            }
            self.note_chain(&mut chain);
            if let Some((inside, _, _, rest)) = cursor.any_group() {
                self.note_tokens(inside);
                cursor = rest;
            } else if let Some((_, rest)) = cursor.token_tree() {
                cursor = rest;
            }
        }
        self.note_chain(&mut chain);
    }

    fn note_chain(&mut self, chain: &mut Vec<String>) {
        let begins = chain.first().is_some_and(|first| ["crate", "super", CRATE_NAME].contains(&first.as_str()));
        if begins && chain.len() > 1 {
            self.note(chain);
        }
        chain.clear();
    }
}

/// What follows `::`, if that stands here.
fn after_colons(cursor: Cursor<'_>) -> Option<Cursor<'_>> {
    let (first, rest) = cursor.punct()?;
    let (second, rest) = rest.punct()?;
    (first.as_char() == ':' && second.as_char() == ':').then_some(rest)
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
        self.reexport = !matches!(item.vis, Visibility::Inherited);
        self.note_tree(&[], &item.tree);
        self.reexport = false;
    }

    fn visit_path(&mut self, path: &'ast syn::Path) {
        let segments: Vec<String> = path.segments.iter().map(|segment| segment.ident.to_string()).collect();
        self.note(&segments);
        visit::visit_path(self, path);
    }

    fn visit_macro(&mut self, call: &'ast Macro) {
        self.visit_path(&call.path);
        self.note_tokens(TokenBuffer::new2(call.tokens.clone()).begin());
    }

    // `pub(crate)` and `pub(super)` are not imports.
    fn visit_visibility(&mut self, _: &'ast Visibility) {}
}
