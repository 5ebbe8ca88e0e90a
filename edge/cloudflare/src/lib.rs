//! The Cloudflare Worker: a gate in front of an origin, with its own copy of the set.
//!
//! JavaScript (`js/`) receives requests, fetches and sends; this module decides, and holds all there is to decide by. Every
//! call into it is synchronous, and one call is all that most requests take. State is in a [`RefCell`] that is borrowed
//! for the length of a call.
//!
//! # After a trap
//! JavaScript starts a fresh module. Nothing is left of this state; the next request finds it unconfigured and cold.

mod config;
mod flight;
mod host;
mod instance;
mod journey;
mod line;
mod refresh;
mod report;
mod sightings;
mod verdict;

use std::cell::RefCell;

use wasm_bindgen::prelude::wasm_bindgen;

use crate::config::Config;
use crate::flight::Turn;
use crate::instance::Instance;
use crate::refresh::Step;

thread_local! {
    /// An isolate has one thread.
    static STATE: RefCell<Option<Instance>> = const { RefCell::new(None) };
}

/// Runs `f` with the state; `None` where there is none.
fn with<R>(f: impl FnOnce(&mut Instance) -> R) -> Option<R> {
    STATE.with_borrow_mut(|state| state.as_mut().map(f))
}

/// Takes the configuration, see `config.rs`, and begins cold. `name` is a random name for this instance. Answers nothing, or
/// `{variable}\n{reason}` where one is wrong.
#[wasm_bindgen]
pub fn configure(text: &str, name: &str) -> String {
    // Where, and not what: a message may quote the text it stumbled over, and that text may hold a key.
    std::panic::set_hook(Box::new(|panic| match panic.location() {
        Some(place) => host::error(&format!("nightlatch: panicked at {place}")),
        None => host::error("nightlatch: panicked"),
    }));
    match Config::read(text) {
        Ok(config) => {
            STATE.set(Some(Instance::new(config, name.to_owned())));
            String::new()
        }
        Err(error) => format!("{}\n{}", error.variable, error.reason),
    }
}

/// Judges a request; see `line.rs` for its form and `verdict.rs` for the answer. `wall_ms` is the wall clock.
#[wasm_bindgen]
pub fn decide(line: &str, wall_ms: f64, last_word: bool) -> u32 {
    with(|instance| instance.decide(line, wall_ms as u64, last_word)).unwrap_or(verdict::REFUSE)
}

/// How the request admitted last is to be forwarded.
#[wasm_bindgen]
pub fn admission() -> String {
    with(|instance| instance.admission().to_owned()).unwrap_or_default()
}

/// What the answer to the request admitted last has to announce.
#[wasm_bindgen]
pub fn announcement() -> String {
    with(|instance| instance.announcement()).unwrap_or_default()
}

/// The answer to a request that was refused at this time.
#[wasm_bindgen]
pub fn refusal(line: &str, wall_ms: f64, request_id: &str) -> String {
    with(|instance| instance.refusal(line, wall_ms as u64, request_id)).unwrap_or_default()
}

/// The answer to a request whose origin cannot be reached.
#[wasm_bindgen]
pub fn unreachable(request_id: &str) -> String {
    Instance::unreachable(request_id)
}

/// How many flights have begun: what a request remembers before it waits for the set.
#[wasm_bindgen]
pub fn flights() -> u32 {
    with(|instance| instance.flights.begun()).unwrap_or_default()
}

/// What a request that waits for the set does next: 0 sleep, 1 fly, 2 give up.
#[wasm_bindgen]
pub fn turn(arrived: u32, wall_ms: f64) -> u32 {
    let turn = with(|instance| {
        let now = instance.edge.now(wall_ms as u64, None);
        instance.flights.turn(arrived, now)
    });
    match turn {
        Some(Turn::Sleep) => 0,
        Some(Turn::Fetch) => 1,
        Some(Turn::GiveUp) | None => 2,
    }
}

/// Begins a flight, or begins it again; a number of flags.
#[wasm_bindgen]
pub fn set_out(flight: u32) -> u32 {
    with(|instance| instance.set_out(flight)).unwrap_or_default()
}

/// The number of a flight for a head that was pushed.
#[wasm_bindgen]
pub fn begin_pushed() -> u32 {
    with(|instance| instance.flights.begin_pushed()).unwrap_or_default()
}

/// The source says that its head is the one in force.
#[wasm_bindgen]
pub fn unchanged() {
    let _ = with(Instance::unchanged);
}

/// What a head takes to be put into force: a step.
#[wasm_bindgen]
pub fn offer(flight: u32, note: &str) -> u32 {
    step(|instance| instance.offer(flight, note))
}

/// Takes the trust note that a head needed, and looks at the head again: a step.
#[wasm_bindgen]
pub fn trust(flight: u32, note: &str, head: &str) -> u32 {
    step(|instance| instance.trust(flight, note, head))
}

/// Whether the deny note is to be fetched.
#[wasm_bindgen]
pub fn wants_deny() -> bool {
    with(Instance::wants_deny).unwrap_or_default()
}

/// Takes a deny note; true where it is believed.
#[wasm_bindgen]
pub fn deny(note: &str) -> bool {
    with(|instance| instance.deny(note)).unwrap_or_default()
}

/// The names of the files that a flight fetches first, a line each.
#[wasm_bindgen]
pub fn files(flight: u32) -> String {
    let names = with(|instance| instance.journeys.of(flight).map(|journey| journey.names(false)));
    names.flatten().unwrap_or_default()
}

/// What it fetches then: `{milliseconds}\n` and the names of a base's parts, a line each; nothing where there are none; `-`
/// where this is not the time.
#[wasm_bindgen]
pub fn parts(flight: u32) -> String {
    with(|instance| instance.parts(flight)).unwrap_or_else(|| "-".into())
}

/// Whether files are to be read past caches that keep them for long.
#[wasm_bindgen]
pub fn doubts_files() -> bool {
    with(Instance::doubts_files).unwrap_or_default()
}

/// Begins the file of that number, counted through both lists.
#[wasm_bindgen]
pub fn begin_file(flight: u32, number: usize) {
    let _ = with(|instance| instance.journeys.of(flight).map(|journey| journey.begin_file(number)));
}

/// Makes that file longer; false where it may not be.
#[wasm_bindgen]
pub fn append(flight: u32, bytes: &[u8]) -> bool {
    with(|instance| instance.append(flight, bytes)).unwrap_or_default()
}

/// The source does not have the file of that number: a step.
#[wasm_bindgen]
pub fn by_base(flight: u32, number: usize) -> u32 {
    step(|instance| instance.by_base(flight, number))
}

/// All files have come: a step.
#[wasm_bindgen]
pub fn finish(flight: u32) -> u32 {
    step(|instance| instance.finish(flight))
}

/// Goes on with the rebase under way by one step of at most a few milliseconds, and says whether more are left.
#[wasm_bindgen]
pub fn work() -> bool {
    with(Instance::work).unwrap_or_default()
}

/// Ends a flight: 0 where it failed, 1 where it did not, 2 where a report is to be sent besides. `trouble` is what
/// JavaScript met, in words.
#[wasm_bindgen]
pub fn land(flight: u32, trouble: &str, pushed: bool) -> u32 {
    with(|instance| instance.land(flight, trouble, pushed) as u32).unwrap_or_default()
}

/// A report to send: `{sequence}\n{body}`.
#[wasm_bindgen]
pub fn report() -> String {
    with(Instance::report).unwrap_or_default()
}

/// What became of that report.
#[wasm_bindgen]
pub fn reported(sequence: u32, arrived: bool) {
    let _ = with(|instance| instance.sightings.ended(sequence.into(), arrived));
}

fn step(f: impl FnOnce(&mut Instance) -> Step) -> u32 {
    with(|instance| f(instance) as u32).unwrap_or_default()
}
