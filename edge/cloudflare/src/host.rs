//! What the Worker asks of JavaScript: lines in its log, and the time.

use wasm_bindgen::prelude::wasm_bindgen;

#[wasm_bindgen]
extern "C" {
    /// A line for an operator to act on.
    #[wasm_bindgen(js_namespace = console)]
    pub(crate) fn error(text: &str);

    /// A line for an operator to know of.
    #[wasm_bindgen(js_namespace = console)]
    pub(crate) fn warn(text: &str);

    /// A line for whoever reads on.
    #[wasm_bindgen(js_namespace = console)]
    pub(crate) fn log(text: &str);

    #[wasm_bindgen(js_namespace = Date, js_name = now)]
    fn date_now() -> f64;
}

/// The wall clock in unix milliseconds. The runtime sets it at each event and leaves it there until the next.
pub(crate) fn now() -> u64 {
    date_now() as u64
}
