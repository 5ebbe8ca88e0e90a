//! Which keys were seen, on its way to the control plane.
//!
//! A key is told of once per window of 30 s. Windows begin at an instance's own offset, so that a thousand instances do
//! not all report in the same second.

use nightlatch_gate::KeyId;
use nightlatch_sync::Mark;

/// Milliseconds for which a sighting of a key stands.
const WINDOW: u64 = 30_000;
/// Keys remembered in a window; when there are more, some are told of twice.
const MAX_REMEMBERED: usize = 20_000;
/// Sightings that wait to be sent, and that one report may hold.
const MAX_PENDING: usize = 1_000;
/// Reports that may be on their way; what an older one held is given up.
const MAX_SENT: usize = 4;
/// Milliseconds after which a report that was scheduled but never sent counts as lost.
const LOST_AFTER: u64 = 5_000;

/// The sightings of one instance. Times are unix milliseconds.
#[derive(Debug)]
pub(crate) struct Sightings {
    offset: u64,
    window: u64,
    seen: Seen,
    pending: Vec<(KeyId, u64)>,
    /// A report is scheduled and will take what is pending; until when that may be believed.
    scheduled_until: u64,
    sequence: u64,
    last_report: u64,
    reported: Option<Mark>,
    /// Reports on their way, oldest first.
    sent: Vec<Report>,
}

impl Sightings {
    /// Begins with none. `offset` is any number, the instance's own.
    pub(crate) fn new(offset: u64) -> Self {
        Self {
            offset: offset % WINDOW,
            window: 0,
            seen: Seen::default(),
            pending: Vec::new(),
            scheduled_until: 0,
            sequence: 0,
            last_report: 0,
            reported: None,
            sent: Vec::new(),
        }
    }

    /// Takes note of a key. True where a report has to be scheduled, by the request that asked.
    pub(crate) fn saw(&mut self, key: KeyId, now: u64) -> bool {
        let window = now.saturating_add(self.offset) / WINDOW;
        if window != self.window || self.seen.len >= MAX_REMEMBERED {
            self.window = window;
            self.seen.clear();
        }
        if !self.seen.insert(key) {
            return false;
        }
        self.keep(key, now);
        self.schedule(now)
    }

    /// Whether the control plane does not know yet what this instance answers from and has not heard for a window. Then a
    /// report has to be scheduled.
    pub(crate) fn applied(&mut self, mark: Mark, now: u64) -> bool {
        let state = |mark: Mark| mark.state();
        self.reported.map(state) != Some(state(mark))
            && now.saturating_sub(self.last_report) >= WINDOW
            && self.schedule(now)
    }

    fn schedule(&mut self, now: u64) -> bool {
        let due = now >= self.scheduled_until;
        if due {
            self.scheduled_until = now + LOST_AFTER;
        }
        due
    }

    /// Takes what is pending, gives it a number, and writes it down with `applied`, which is what the instance answers from,
    /// and whatever else the instance has to say. Sightings that come from now on schedule a report of their own.
    pub(crate) fn take(&mut self, applied: Option<Mark>, now: u64, write: impl FnOnce(&Report) -> String) -> String {
        self.scheduled_until = 0;
        self.sequence += 1;
        self.last_report = now;
        let report = Report { sequence: self.sequence, applied, seen: std::mem::take(&mut self.pending) };
        let text = write(&report);
        if self.sent.len() >= MAX_SENT {
            self.sent.remove(0);
        }
        self.sent.push(report);
        text
    }

    /// Takes note of what became of a report. One that did not arrive goes with the next.
    pub(crate) fn ended(&mut self, sequence: u64, arrived: bool) {
        let Some(at) = self.sent.iter().position(|report| report.sequence == sequence) else {
            return;
        };
        let report = self.sent.remove(at);
        if arrived {
            self.reported = report.applied;
            return;
        }
        for (key, at) in report.seen {
            self.keep(key, at);
        }
    }

    fn keep(&mut self, key: KeyId, at: u64) {
        if self.pending.len() < MAX_PENDING {
            self.pending.push((key, at));
        }
    }
}

/// The keys of a window: a table with open addressing, a fraction of the standard one in code. Whoever is in it holds a good
/// key, so nobody can choose what falls together.
#[derive(Debug, Default)]
struct Seen {
    /// None until the first key comes.
    slots: Vec<Option<KeyId>>,
    len: usize,
}

impl Seen {
    /// A power of two, well above [`MAX_REMEMBERED`].
    const SLOTS: usize = 1 << 15;

    fn clear(&mut self) {
        self.slots.fill(None);
        self.len = 0;
    }

    /// True where the key was not there. There must be a free slot.
    fn insert(&mut self, key: KeyId) -> bool {
        self.slots.resize(Self::SLOTS, None);
        let mix = |hash: u32, byte: u8| (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193);
        let hash = match key {
            KeyId::Minted(id) => id.into_iter().fold(0x811c_9dc5, mix),
            KeyId::Number(number) => number.to_le_bytes().into_iter().fold(0x811c_9dc5, mix),
        };
        let mut at = hash as usize;
        loop {
            at %= Self::SLOTS;
            match &mut self.slots[at] {
                Some(other) if *other == key => return false,
                Some(_) => at += 1,
                free => {
                    *free = Some(key);
                    self.len += 1;
                    return true;
                }
            }
        }
    }
}

/// One report on its way.
#[derive(Debug)]
pub(crate) struct Report {
    pub(crate) sequence: u64,
    pub(crate) applied: Option<Mark>,
    pub(crate) seen: Vec<(KeyId, u64)>,
}

#[cfg(test)]
mod tests {
    use super::*;

    const MARK: Mark = Mark { incarnation: 0, epoch: 1, version: 7, issued: 1_700 };

    /// Takes a report; how many keys it tells of.
    fn take(sightings: &mut Sightings, now: u64) -> usize {
        let mut seen = 0;
        sightings.take(Some(MARK), now, |report| {
            seen = report.seen.len();
            String::new()
        });
        seen
    }

    #[test]
    fn a_key_is_told_of_once_per_window() {
        let mut sightings = Sightings::new(0);
        assert!(sightings.saw(KeyId::Number(1), 60_000));
        // Already scheduled: the second key goes along.
        assert!(!sightings.saw(KeyId::Number(2), 60_001));
        assert_eq!(take(&mut sightings, 60_050), 2);
        assert!(!sightings.saw(KeyId::Number(1), 89_999));
        assert!(sightings.saw(KeyId::Number(1), 90_000));
    }

    #[test]
    fn failed_reports_go_with_the_next() {
        let mut sightings = Sightings::new(0);
        assert!(sightings.saw(KeyId::Number(1), 1));
        assert_eq!(take(&mut sightings, 2), 1);
        sightings.ended(1, false);
        sightings.ended(1, false);
        assert!(sightings.saw(KeyId::Number(2), 3));
        assert_eq!(take(&mut sightings, 4), 2);
        sightings.ended(2, true);
        assert_eq!(take(&mut sightings, 5), 0);
    }

    #[test]
    fn a_scheduled_report_that_never_comes_is_given_up() {
        let mut sightings = Sightings::new(0);
        assert!(sightings.saw(KeyId::Number(1), 1_000));
        assert!(!sightings.saw(KeyId::Number(2), 5_999));
        assert!(sightings.saw(KeyId::Number(3), 6_000));
    }

    #[test]
    fn a_new_version_is_told_of_without_sightings() {
        let mut sightings = Sightings::new(0);
        assert!(sightings.applied(MARK, 40_000));
        take(&mut sightings, 40_000);
        sightings.ended(1, true);
        assert!(!sightings.applied(MARK, 90_000));
        let next = Mark { version: 8, ..MARK };
        assert!(!sightings.applied(next, 50_000));
        assert!(sightings.applied(next, 70_000));
    }

    #[test]
    fn memory_is_bounded() {
        let mut sightings = Sightings::new(0);
        for number in 0..3 * MAX_REMEMBERED as u32 {
            sightings.saw(KeyId::Number(number), 1);
        }
        assert!(sightings.seen.len <= MAX_REMEMBERED);
        assert_eq!(take(&mut sightings, 2), MAX_PENDING);
    }
}
