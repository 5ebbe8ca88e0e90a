//! Lines in the Worker's log.

use web_sys::console;

pub(crate) fn error(text: &str) {
    console::error_1(&text.into());
}

pub(crate) fn warn(text: &str) {
    console::warn_1(&text.into());
}

pub(crate) fn info(text: &str) {
    console::log_1(&text.into());
}
