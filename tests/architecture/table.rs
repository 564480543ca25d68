//! The layer table as data, and the reader of the same table in the documentation of `src/lib.rs`.
//!
//! Rooms that do not exist yet are listed too: the plan is known before the room is built.

use std::collections::BTreeMap;

/// One room of `src/`: a folder or a file directly below it.
pub struct Room {
    pub name: &'static str,
    /// 0 is the ground. Imports go to a lower layer; within layer 6 the roots stand on each other as listed.
    pub layer: u8,
    /// What it may import: a room, or one module of a room (`base::secret`).
    pub may_import: &'static [&'static str],
}

const fn room_of(layer: u8, name: &'static str, may_import: &'static [&'static str]) -> Room {
    Room { name, layer, may_import }
}

/// The table of design §3.
pub const ROOMS: &[Room] = &[
    room_of(6, "main", &["app", "gateway", "demo", "cli", "admin", "tls", "base", "telemetry"]),
    room_of(
        6,
        "app",
        &[
            "uplink",
            "transport",
            "authz",
            "reverse",
            "device",
            "onvif",
            "admin",
            "config",
            "cluster",
            "tls",
            "forward",
            "model",
            "base",
            "telemetry",
        ],
    ),
    room_of(6, "demo", &["app", "gateway", "model", "base", "tls", "telemetry"]),
    room_of(6, "cli", &["model", "base", "telemetry"]),
    room_of(5, "uplink", &["model", "base", "authz", "transport", "reverse"]),
    room_of(5, "gateway", &["model", "base", "tls", "transport"]),
    room_of(4, "transport", &["model", "base", "tls", "authz"]),
    room_of(3, "authz", &["model", "base", "tls"]),
    room_of(3, "reverse", &["base"]),
    room_of(3, "device", &["model", "base"]),
    room_of(3, "onvif", &["model", "base", "config"]),
    room_of(3, "admin", &["model", "base", "telemetry"]),
    room_of(2, "config", &["model", "base"]),
    room_of(2, "cluster", &["model", "base"]),
    room_of(2, "tls", &["model", "base"]),
    room_of(2, "forward", &["model", "base"]),
    // The status of a session shares its byte counters with the stream that counts: plain atomics, no I/O.
    room_of(1, "model", &["base::secret", "base::activity"]),
    room_of(0, "base", &[]),
    room_of(0, "telemetry", &[]),
];

/// The room of this name.
pub fn room(name: &str) -> Option<&'static Room> {
    ROOMS.iter().find(|room| room.name == name)
}

/// Room -> (layer, sorted imports), for comparison.
pub type Table = BTreeMap<String, (u8, Vec<String>)>;

/// [`ROOMS`] in the form that [`parse_documentation`] returns.
pub fn as_map() -> Table {
    ROOMS.iter().map(|room| (room.name.to_owned(), (room.layer, sorted(room.may_import.iter().copied())))).collect()
}

fn sorted<'a>(names: impl Iterator<Item = &'a str>) -> Vec<String> {
    let mut names: Vec<String> = names.map(str::to_owned).collect();
    names.sort();
    names
}

/// Reads the table out of the `//!` lines of `lib`: the lines of the code block ```` ```text ```` that has a line
/// beginning with `L0 ` or `L6 `.
///
/// Segments are separated by two or more spaces. A segment is `[Ln ]ROOM[, ROOM] -> IMPORT IMPORT …`; `external crates
/// only` stands for none and `all below but A and B` for every room of a lower layer except those named.
///
/// # Errors
/// A sentence when there is no such block or a segment cannot be read.
pub fn parse_documentation(lib: &str) -> Result<Table, String> {
    let mut layers: Vec<(u8, String, String)> = Vec::new();
    for line in table_lines(lib)? {
        let mut layer = None;
        for segment in line.split("  ").map(str::trim).filter(|segment| !segment.is_empty()) {
            let segment = match segment.strip_prefix('L').and_then(|rest| rest.split_once(' ')) {
                Some((number, rest)) => {
                    layer = Some(number.parse().map_err(|_| format!("`{number}` is no layer in `{line}`"))?);
                    rest
                }
                None => segment,
            };
            let layer = layer.ok_or_else(|| format!("no layer (`L3 …`) in `{line}`"))?;
            let (rooms, imports) = segment.split_once("->").ok_or_else(|| format!("no `->` in `{segment}`"))?;
            for room in rooms.split(',') {
                layers.push((layer, room.trim().to_owned(), imports.trim().to_owned()));
            }
        }
    }
    Ok(layers.iter().map(|(layer, room, text)| (room.clone(), (*layer, imports_of(*layer, text, &layers)))).collect())
}

fn imports_of(layer: u8, text: &str, layers: &[(u8, String, String)]) -> Vec<String> {
    if text == "external crates only" {
        return Vec::new();
    }
    if let Some(exceptions) = text.strip_prefix("all below but ") {
        let exceptions: Vec<&str> = exceptions.split(" and ").map(str::trim).collect();
        let below = layers.iter().filter(|(other, ..)| *other < layer).map(|(_, room, _)| room.as_str());
        return sorted(below.filter(|room| !exceptions.contains(room)));
    }
    sorted(text.split_whitespace())
}

fn table_lines(lib: &str) -> Result<Vec<&str>, String> {
    let mut block: Option<Vec<&str>> = None;
    for line in lib.lines().map_while(|line| line.strip_prefix("//!")).map(str::trim) {
        match &mut block {
            None if line == "```text" => block = Some(Vec::new()),
            None => {}
            Some(lines) if line == "```" => {
                if lines.iter().any(|line| line.starts_with("L0 ") || line.starts_with("L6 ")) {
                    return Ok(std::mem::take(lines));
                }
                block = None;
            }
            Some(lines) => lines.push(line),
        }
    }
    Err("src/lib.rs has no ```text block with the layer table (lines `L6 main -> …` to `L0 base, …`)".to_owned())
}
