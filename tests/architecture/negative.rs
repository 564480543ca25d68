//! The architecture test can fail: each rule is broken by a small source text and must be reported.

use std::collections::BTreeSet;

use super::{
    check::{Source, check, cycle},
    table,
};

/// The violations of a few files, each `(path, text)`; the head is added.
fn violations(files: &[(&str, &str)]) -> Vec<String> {
    let sources: Vec<Source> =
        files.iter().map(|(path, text)| Source::new(path, &format!("//! Head.\n{text}"))).collect();
    check(&sources)
}

fn assert_reported(files: &[(&str, &str)], words: &str) {
    let found = violations(files);
    assert!(found.iter().any(|sentence| sentence.contains(words)), "`{words}` was not reported, but {found:?}");
}

#[test]
fn imports_that_go_down_are_accepted() {
    let files = [
        (
            "uplink/runner.rs",
            "use crate::{base::{backoff, drain::Drain}, transport::Connected}; use super::state::State;",
        ),
        ("uplink/state.rs", "use std::time::Duration; use crate::model::failure::Failure;"),
        ("model/authorization.rs", "use crate::base::secret::Secret;"),
        (
            "main.rs",
            "mod cli; use onvif_uplink::{app::App, telemetry}; fn main() { cli::parse(); crate::cli::parse(); }",
        ),
        ("demo/mod.rs", "use crate::{app::App, gateway::Gateway};"),
    ];
    assert_eq!(violations(&files), Vec::<String>::new());
}

#[test]
fn an_import_that_goes_up_is_reported() {
    assert_reported(&[("transport/dial.rs", "use crate::uplink::runner::Runner;")], "uplink (L5) lies above");
    assert_reported(&[("base/io.rs", "use crate::model::address::RemoteAddress;")], "model (L1) lies above");
    assert_reported(&[("gateway/mod.rs", "use crate::app::App;")], "app (L6) lies above");
}

#[test]
fn an_import_between_siblings_is_reported() {
    assert_reported(&[("forward/mod.rs", "use crate::tls::stream::TlsStream;")], "tls is a sibling on L2");
    assert_reported(&[("app.rs", "use crate::gateway::Gateway;")], "may import only");
    assert_reported(&[("cli.rs", "use crate::demo;")], "demo is a sibling on L6");
}

#[test]
fn a_room_that_lies_below_but_is_not_listed_is_reported() {
    assert_reported(&[("reverse/serve.rs", "use crate::model::failure::Failure;")], "may import only: base");
}

#[test]
fn model_sees_only_the_listed_modules_of_base() {
    assert_reported(&[("model/status.rs", "use crate::base::backoff::Backoff;")], "may import only: base::secret");
    assert_reported(&[("model/status.rs", "use crate::base;")], "may import only: base::secret");
}

#[test]
fn grouped_renamed_and_glob_imports_are_seen() {
    assert_reported(&[("tls/trust.rs", "use crate::{base::io, {config::{raw as r}}};")], "config::raw");
    assert_reported(&[("tls/trust.rs", "use crate::config as settings;")], "config is a sibling");
    assert_reported(&[("tls/trust.rs", "pub use crate::config::*;")], "config is a sibling");
}

#[test]
fn a_full_path_in_code_is_seen() {
    assert_reported(&[("tls/trust.rs", "fn f() -> crate::config::Raw { todo() }")], "config::Raw");
    assert_reported(&[("tls/trust.rs", "fn f() { let _ = Vec::<crate::config::Raw>::new(); }")], "config::Raw");
    assert_reported(&[("tls/trust.rs", "impl crate::config::ConfigSource for T {}")], "config::ConfigSource");
}

#[test]
fn a_path_inside_a_macro_call_is_seen() {
    let text = "async fn f() { tokio::select! { x = crate::uplink::run() => drop(x), } }";
    assert_reported(&[("transport/dial.rs", text)], "crate::uplink::run");
    assert_reported(&[("tls/trust.rs", "fn f() { vec![super::super::config::X] }")], "config is a sibling");
}

#[test]
fn a_path_in_a_text_is_no_import() {
    let text = r#"fn f() { format!("onvif_uplink::transport={}", "crate::uplink"); }"#;
    assert_eq!(violations(&[("telemetry/logs.rs", text)]), Vec::<String>::new());
}

#[test]
fn a_super_chain_into_another_room_is_seen() {
    assert_reported(&[("tls/trust.rs", "use super::super::config::raw;")], "config is a sibling");
    assert_reported(&[("tls/trust.rs", "mod inner { use super::super::super::config::raw; }")], "config is a sibling");
    assert_reported(&[("tls/trust.rs", "use super::super::super::thing;")], "leaves the crate");
}

#[test]
fn a_test_module_is_held_to_the_table() {
    assert_reported(&[("tls/trust.rs", "#[cfg(test)] mod tests { use crate::gateway::Front; }")], "lies above");
}

#[test]
fn the_crate_root_is_not_imported() {
    assert_reported(&[("tls/trust.rs", "use crate::*;")], "imports the crate root");
}

#[test]
fn a_room_outside_the_table_is_reported() {
    assert_reported(&[("utils/mod.rs", "pub fn f() {}")], "`utils` is no room");
    assert_reported(&[("tls/trust.rs", "use crate::helpers::f;")], "`helpers` is no room");
}

#[test]
fn a_file_without_head_is_reported() {
    let found = check(&[Source::new("base/io.rs", "// Not a head.\npub fn f() {}")]);
    assert!(found[0].contains("does not open with"), "{found:?}");
}

#[test]
fn a_text_that_is_not_rust_is_reported() {
    assert_reported(&[("base/io.rs", "fn {")], "cannot be parsed");
}

#[test]
fn two_files_that_import_each_other_are_reported() {
    let files = [
        ("tls/mod.rs", "pub mod a; pub mod b;"),
        ("tls/a.rs", "use super::b::B; pub struct A;"),
        ("tls/b.rs", "pub struct B(crate::tls::a::A);"),
    ];
    assert_reported(&files, "import cycle: tls/a.rs -> tls/b.rs -> tls/a.rs");
}

#[test]
fn a_mod_file_and_its_child_that_import_each_other_are_reported() {
    let files = [("tls/mod.rs", "pub mod a; pub struct M(a::A);"), ("tls/a.rs", "pub struct A(super::M);")];
    assert_reported(&files, "import cycle: tls/mod.rs -> tls/a.rs -> tls/mod.rs");
}

#[test]
fn a_door_is_no_dependency_but_what_is_behind_it_is() {
    let files = [("tls/mod.rs", "mod a; pub use a::A; pub struct M;"), ("tls/a.rs", "pub struct A(super::M);")];
    assert_eq!(violations(&files), Vec::<String>::new());
    let files = [
        ("tls/mod.rs", "mod a; mod b; pub use b::B as Given;"),
        ("tls/a.rs", "use super::Given; pub struct A;"),
        ("tls/b.rs", "pub struct B(crate::tls::a::A);"),
    ];
    assert_reported(&files, "import cycle: tls/a.rs -> tls/b.rs -> tls/a.rs");
}

#[test]
fn a_cycle_through_tests_only_is_accepted() {
    let files = [
        ("tls/a.rs", "pub struct A; #[cfg(test)] mod tests { use super::super::b::B; }"),
        ("tls/b.rs", "use super::a::A;"),
    ];
    assert_eq!(violations(&files), Vec::<String>::new());
}

#[test]
fn the_table_itself_only_points_down_and_has_no_cycle() {
    let place = |name: &str| table::ROOMS.iter().position(|room| room.name == name);
    let mut edges: Vec<BTreeSet<usize>> = Vec::new();
    for room in table::ROOMS {
        let targets = room.may_import.iter().map(|path| path.split("::").next().expect("never empty"));
        let targets: BTreeSet<usize> = targets.map(|name| place(name).expect("a listed room")).collect();
        for target in &targets {
            let there = &table::ROOMS[*target];
            assert!(there.layer < room.layer || room.layer == 6, "{} -> {} does not go down", room.name, there.name);
        }
        edges.push(targets);
    }
    assert_eq!(cycle(&edges), None);
}

#[test]
fn the_documented_table_is_read_as_written() {
    let text = "//! Words.\n//! ```text\n//! other\n//! ```\n//! ```text\n//! L6 app -> all below but x and y   x -> app\n\
                //! L1 m -> b::s     L0 b, y -> external crates only\n//! ```\n";
    let shown = table::parse_documentation(text).expect("readable");
    assert_eq!(shown["app"], (6, vec!["b".to_owned(), "m".to_owned()]));
    assert_eq!(shown["x"], (6, vec!["app".to_owned()]));
    assert_eq!(shown["m"], (1, vec!["b::s".to_owned()]));
    assert_eq!((shown["b"].0, shown["y"].1.len()), (0, 0));
}

#[test]
fn a_documentation_without_table_or_with_a_broken_one_is_refused() {
    assert!(table::parse_documentation("//! Words only.\n").is_err());
    assert!(table::parse_documentation("//! ```text\n//! L0 base\n//! ```\n").is_err());
}
