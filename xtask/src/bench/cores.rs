//! Which core serves and which one makes the load, so that neither takes the other's time.

use std::ffi::OsString;
use std::path::Path;

use super::say;

/// The cores of a run. On a machine with a single one nothing is pinned.
#[derive(Clone, Copy)]
pub(super) struct Cores {
    pair: Option<(usize, usize)>,
}

impl Cores {
    /// The first two cores this process may run on.
    pub(super) fn of_this_machine() -> Self {
        let status = std::fs::read_to_string("/proc/self/status").unwrap_or_default();
        let allowed = status.lines().find_map(|line| line.strip_prefix("Cpus_allowed_list:")).unwrap_or_default();
        let cores = listed(allowed.trim());
        let pair = match cores.as_slice() {
            [first, second, ..] => Some((*first, *second)),
            _ => None,
        };
        Self { pair }
    }

    /// Says how the machine is used, and how busy it was before.
    pub(super) fn describe(self) {
        match self.pair {
            Some((server, load)) => say(&format!("what is measured runs on core {server}, load on core {load}")),
            None => say("one core only: what is measured and the load share it"),
        }
        let busy = std::fs::read_to_string("/proc/loadavg").unwrap_or_default();
        let busy = busy.split(' ').next().unwrap_or_default();
        say(&format!("load average before the run: {busy}"));
    }

    /// The words of a command line that runs `program` on the core of what is measured.
    pub(super) fn server(self, program: &Path) -> Vec<OsString> {
        pinned(self.pair.map(|(server, _)| server), program)
    }

    /// The words of a command line that runs `program` on the core of the load.
    pub(super) fn load(self, program: &Path) -> Vec<OsString> {
        pinned(self.pair.map(|(_, load)| load), program)
    }
}

fn pinned(core: Option<usize>, program: &Path) -> Vec<OsString> {
    let prefix = core.map(|core| ["taskset".into(), "-c".into(), core.to_string().into()]);
    prefix.into_iter().flatten().chain([program.into()]).collect()
}

/// Reads a list such as `0-3,8`.
fn listed(text: &str) -> Vec<usize> {
    let ranges = text.split(',').filter_map(|range| {
        let (first, last) = range.split_once('-').unwrap_or((range, range));
        Some(first.parse().ok()?..=last.parse().ok()?)
    });
    ranges.flatten().collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_of_cores_are_read() {
        assert_eq!(listed("0-1"), [0, 1]);
        assert_eq!(listed("2,5-7"), [2, 5, 6, 7]);
        assert_eq!(listed("3"), [3]);
        assert!(listed("").is_empty());
    }
}
