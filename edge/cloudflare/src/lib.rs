//! The Cloudflare Worker: a gate in front of an origin, with its own copy of the set.
//!
//! JavaScript (`js/entry.mjs`) receives requests and calls in here; per request that is one synchronous call. Everything
//! else (configuration, refreshing, reporting, the bodies of refusals) happens in here at a pace of its own.
//!
//! # Waits
//! Exported promises are driven by the request that asked for them. A task never waits for another task: it is woken by
//! its own fetches only, so that it always runs in its own request's context, as the runtime demands. State is in a
//! [`RefCell`] that is borrowed between waits and never across one.
//!
//! # After a trap
//! JavaScript starts a fresh module. Nothing is left of this state; the next request finds it unconfigured and cold.

mod config;
mod flight;
mod instance;
mod line;
mod log;
mod refresh;
mod report;
mod sightings;
mod source;
mod verdict;

use std::cell::RefCell;

use js_sys::{JsString, Reflect};
use wasm_bindgen::JsValue;
use wasm_bindgen::prelude::wasm_bindgen;

use crate::config::{Config, Origin};
use crate::flight::Turn;
use crate::instance::Instance;

thread_local! {
    /// An isolate has one thread.
    static STATE: RefCell<Option<Instance>> = const { RefCell::new(None) };
}

/// Runs `f` with the state; `None` where there is none.
fn with<R>(f: impl FnOnce(&mut Instance) -> R) -> Option<R> {
    STATE.with_borrow_mut(|state| state.as_mut().map(f))
}

/// The wall clock in unix milliseconds. The runtime sets it at each event and leaves it there until the next.
fn now() -> u64 {
    js_sys::Date::now() as u64
}

/// Reads the configuration and begins cold. `name` is a random name for this instance. Answers
/// `ok\n{fetch timeout in ms}\n{url|service|verdict}\n{URL or binding}`, or `wrong\n{variable}\n{reason}`.
#[wasm_bindgen]
pub fn configure(env: &JsValue, name: &str) -> String {
    // Where, and not what: a message may quote the text it stumbled over, and that text may hold a key.
    std::panic::set_hook(Box::new(|panic| match panic.location() {
        Some(place) => log::error(&format!("nightlatch: panicked at {place}")),
        None => log::error("nightlatch: panicked"),
    }));
    let read = |name: &str| Reflect::get(env, &JsString::from(name)).ok()?.as_string();
    match Config::read(read) {
        Ok(config) => {
            let (kind, place) = match &config.origin {
                Origin::Url(url) => ("url", url.as_str()),
                Origin::Service(binding) => ("service", binding.as_str()),
                Origin::Verdict => ("verdict", ""),
            };
            let answer = format!("ok\n{}\n{kind}\n{place}", config.fetch_timeout_ms);
            STATE.set(Some(Instance::new(config, name.to_owned())));
            answer
        }
        Err(error) => {
            log::error(&format!("nightlatch: {} {}", error.variable, error.reason));
            format!("wrong\n{}\n{}", error.variable, error.reason)
        }
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

/// Makes the flight that the last verdict or turn has granted. Answers 0 where it failed, 1 where it did not, 2 where a
/// report is to be sent besides, and 3 where it is to be called again after [`work`] is done.
#[wasm_bindgen]
pub async fn fly(env: JsValue, number: u32) -> u32 {
    refresh::fly(env, number).await as u32
}

/// Goes on with the rebase under way by one step of at most a few milliseconds, and says whether more are left.
#[wasm_bindgen]
pub fn work() -> bool {
    with(refresh::work).unwrap_or_default()
}

/// Sends a report.
#[wasm_bindgen]
pub async fn send_report() {
    report::send().await;
}
