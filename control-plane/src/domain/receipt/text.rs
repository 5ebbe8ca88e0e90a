//! A receipt as text: what is signed, and what is read back.
//!
//! ```text
//! nightlatch.receipt/1
//! set set_…
//! workspace ws_…
//! key key_…
//! state confirmed
//! at 1767225600123
//! revoked-at 1767225600000
//! committed-by 1767225600004
//! published 0 17                          incarnation and version, or -
//! bound 65000
//! in-force-by 1767225665004
//! edges 2 2                               counted, and how many of them have proven it
//! uncounted 0
//! edge edge_… confirmed 1767225600100 12 ok     state, confirmed at, clock offset, clock
//! open-route 1767225665004 GET /status
//! connection-route 60 GET /events
//! omitted 0 0 0                           edges, open and connection routes that had no room
//! ```
//!
//! Times are unix milliseconds. Every line is there, in this order; those of edges and routes any number of times.

use std::fmt::{self, Write as _};
use std::str::FromStr;

use super::{Clock, ConnectionRoute, Line, LineState, Mark, OpenRoute, Receipt, State};

/// The first line. Its number is the format's version.
const FIRST_LINE: &str = "nightlatch.receipt/1";
/// The longest text that is written, in bytes: with its signatures it must fit a note.
pub const MAX_TEXT_LEN: usize = 14 * 1024;
/// Room for the last line.
const LAST_LINE: usize = 64;

/// A text that is no receipt of this format.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Malformed {
    /// It is something else.
    Kind,
    /// It is a receipt of a format that this program does not know.
    Version,
    /// A line is not as it should be.
    Line(&'static str),
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Kind => f.write_str("this is no receipt"),
            Self::Version => f.write_str("this receipt has a format that this program does not know; use a newer one"),
            Self::Line(name) => write!(f, "the line `{name}` is not as it should be"),
        }
    }
}

impl std::error::Error for Malformed {}

impl Receipt {
    /// The text to be signed. What has no room is left out, the proven edges before the others, and counted.
    pub fn to_text(&self) -> String {
        let published = match self.published {
            Some(mark) => format!("{} {}", mark.incarnation, mark.version),
            None => "-".to_owned(),
        };
        let mut text = format!(
            "{FIRST_LINE}\nset {}\nworkspace {}\nkey {}\nstate {}\nat {}\nrevoked-at {}\ncommitted-by {}\n\
             published {published}\nbound {}\nin-force-by {}\nedges {} {}\nuncounted {}\n",
            self.set,
            self.workspace,
            self.key,
            self.state.as_str(),
            self.at,
            self.revoked_at,
            self.committed_by,
            self.bound_ms,
            self.in_force_by(),
            self.counted,
            self.proven,
            self.uncounted,
        );
        // Routes first when it comes to room: a third for each kind at most.
        let room = (MAX_TEXT_LEN - LAST_LINE - text.len().min(MAX_TEXT_LEN - LAST_LINE)) / 3;
        let open = self.open_routes.iter().map(|r| format!("open-route {} {} {}\n", r.until, r.method, r.pattern));
        let (open, open_omitted) = fitting(open, room);
        let connections = self.connection_routes.iter();
        let connections =
            connections.map(|r| format!("connection-route {} {} {}\n", r.max_connection_age, r.method, r.pattern));
        let (connections, connections_omitted) = fitting(connections, room);
        let left = 3 * room - open.len() - connections.len();
        let (edges, edges_omitted) = fitting(self.edges.iter().map(Line::to_text), left);
        text.extend([edges, open, connections]);
        // Writing to a string cannot fail.
        let _ = writeln!(text, "omitted {edges_omitted} {open_omitted} {connections_omitted}");
        text
    }

    /// Reads what [`Receipt::to_text`] wrote.
    ///
    /// # Errors
    /// [`Malformed`] says what is wrong.
    pub fn parse(text: &str) -> Result<Self, Malformed> {
        let mut lines =
            Lines { rest: text.strip_suffix('\n').ok_or(Malformed::Line("the end"))?.split('\n').peekable() };
        match lines.rest.next() {
            Some(FIRST_LINE) => {}
            Some(first) if first.starts_with("nightlatch.receipt/") => return Err(Malformed::Version),
            _ => return Err(Malformed::Kind),
        }
        let receipt = Self {
            set: lines.word("set")?,
            workspace: lines.word("workspace")?,
            key: lines.word("key")?,
            state: named(&[State::Pending, State::Confirmed, State::BoundElapsed], State::as_str, lines.one("state")?)
                .ok_or(Malformed::Line("state"))?,
            at: lines.number("at")?,
            revoked_at: lines.number("revoked-at")?,
            committed_by: lines.number("committed-by")?,
            published: lines.published()?,
            bound_ms: lines.number("bound")?,
            counted: 0,
            proven: 0,
            uncounted: 0,
            edges: Vec::new(),
            open_routes: Vec::new(),
            connection_routes: Vec::new(),
        };
        if lines.number::<i64>("in-force-by")? != receipt.in_force_by() {
            return Err(Malformed::Line("in-force-by"));
        }
        let [counted, proven] = lines.numbers("edges")?;
        let uncounted = lines.number("uncounted")?;
        let edges = lines.many("edge", line)?;
        let open_routes = lines.many("open-route", |value| {
            let (until, method, pattern) = route(value)?;
            Some(OpenRoute { method, pattern, until: number(until)? })
        })?;
        let connection_routes = lines.many("connection-route", |value| {
            let (seconds, method, pattern) = route(value)?;
            Some(ConnectionRoute { method, pattern, max_connection_age: number(seconds)? })
        })?;
        let [_, _, _] = lines.numbers("omitted")?;
        if lines.rest.next().is_some() {
            return Err(Malformed::Line("the end"));
        }
        Ok(Self { counted, proven, uncounted, edges, open_routes, connection_routes, ..receipt })
    }
}

impl Line {
    fn to_text(&self) -> String {
        let maybe = |number: Option<i64>| number.map_or_else(|| "-".to_owned(), |number| number.to_string());
        format!(
            "edge {} {} {} {} {}\n",
            self.edge,
            self.state.as_str(),
            maybe(self.confirmed_at),
            maybe(self.clock_offset_ms),
            self.clock.as_str()
        )
    }
}

/// As many lines as there is room for, in their order, and how many there was none for.
fn fitting(lines: impl Iterator<Item = String>, room: usize) -> (String, usize) {
    let (mut text, mut omitted) = (String::new(), 0);
    for line in lines {
        if omitted > 0 || text.len() + line.len() > room {
            omitted += 1;
        } else {
            text.push_str(&line);
        }
    }
    (text, omitted)
}

fn named<T: Copy>(all: &[T], name: impl Fn(T) -> &'static str, text: &str) -> Option<T> {
    all.iter().copied().find(|one| name(*one) == text)
}

/// A number in its one spelling.
fn number<T: FromStr + fmt::Display>(text: &str) -> Option<T> {
    text.parse().ok().filter(|number: &T| number.to_string() == text)
}

fn maybe(text: &str) -> Option<Option<i64>> {
    if text == "-" { Some(None) } else { number(text).map(Some) }
}

fn line(value: &str) -> Option<Line> {
    let mut words = value.split(' ');
    let mut word = || words.next();
    let line = Line {
        edge: word()?.to_owned(),
        state: {
            use LineState::{Confirmed, Removed, Silent, Waiting};
            named(&[Confirmed, Waiting, Silent, Removed], LineState::as_str, word()?)?
        },
        confirmed_at: maybe(word()?)?,
        clock_offset_ms: maybe(word()?)?,
        clock: named(&[Clock::Ok, Clock::Bad, Clock::Unknown], Clock::as_str, word()?)?,
    };
    words.next().is_none().then_some(line)
}

fn route(value: &str) -> Option<(&str, String, String)> {
    let mut words = value.splitn(3, ' ');
    Some((words.next()?, words.next()?.to_owned(), words.next()?.to_owned()))
}

struct Lines<'a> {
    rest: std::iter::Peekable<std::str::Split<'a, char>>,
}

impl<'a> Lines<'a> {
    fn one(&mut self, name: &'static str) -> Result<&'a str, Malformed> {
        let line = self.rest.next().ok_or(Malformed::Line(name))?;
        value_of(line, name).ok_or(Malformed::Line(name))
    }

    fn word(&mut self, name: &'static str) -> Result<String, Malformed> {
        let value = self.one(name)?;
        let fits = !value.is_empty() && value.bytes().all(|byte| byte.is_ascii_graphic());
        if fits { Ok(value.to_owned()) } else { Err(Malformed::Line(name)) }
    }

    fn number<T: FromStr + fmt::Display>(&mut self, name: &'static str) -> Result<T, Malformed> {
        number(self.one(name)?).ok_or(Malformed::Line(name))
    }

    fn numbers<const N: usize>(&mut self, name: &'static str) -> Result<[u64; N], Malformed> {
        let words: Vec<_> = self.one(name)?.split(' ').map(number).collect();
        let numbers: Option<Vec<_>> = words.into_iter().collect();
        numbers.and_then(|numbers| numbers.try_into().ok()).ok_or(Malformed::Line(name))
    }

    fn published(&mut self) -> Result<Option<Mark>, Malformed> {
        let bad = || Malformed::Line("published");
        let value = self.one("published")?;
        if value == "-" {
            return Ok(None);
        }
        let (incarnation, version) = value.split_once(' ').ok_or_else(bad)?;
        let mark = || Some(Mark { incarnation: number(incarnation)?, version: number(version)? });
        mark().map(Some).ok_or_else(bad)
    }

    fn many<T>(&mut self, name: &'static str, read: impl Fn(&str) -> Option<T>) -> Result<Vec<T>, Malformed> {
        let mut found = Vec::new();
        while let Some(value) = self.rest.peek().and_then(|line| value_of(line, name)) {
            found.push(read(value).ok_or(Malformed::Line(name))?);
            self.rest.next();
        }
        Ok(found)
    }
}

fn value_of<'a>(line: &'a str, name: &str) -> Option<&'a str> {
    line.strip_prefix(name)?.strip_prefix(' ')
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn example(edges: usize, routes: usize) -> Receipt {
        let line = |number: usize| Line {
            edge: format!("edge_{number:016}"),
            state: [LineState::Confirmed, LineState::Waiting, LineState::Silent, LineState::Removed][number % 4],
            confirmed_at: (number.is_multiple_of(4)).then_some(1_767_225_600_100),
            clock_offset_ms: (!number.is_multiple_of(3)).then_some(-12),
            clock: [Clock::Unknown, Clock::Ok, Clock::Bad][number % 3],
        };
        Receipt {
            set: "set_0123456789ab".into(),
            workspace: "ws_a".into(),
            key: "key_0123456789".into(),
            state: State::BoundElapsed,
            at: 1_767_225_700_000,
            revoked_at: 1_767_225_600_000,
            committed_by: 1_767_225_600_004,
            published: Some(Mark { incarnation: 0, version: 17 }),
            bound_ms: 65_000,
            counted: edges as u64,
            proven: 0,
            uncounted: 3,
            edges: (0..edges).map(line).collect(),
            open_routes: (0..routes)
                .map(|number| OpenRoute {
                    method: "GET".into(),
                    pattern: format!("/status/{{id}}/{number}"),
                    until: 1_767_226_200_004,
                })
                .collect(),
            connection_routes: (0..routes)
                .map(|number| ConnectionRoute {
                    method: "*".into(),
                    pattern: format!("/events/{number}"),
                    max_connection_age: 60,
                })
                .collect(),
        }
    }

    #[test]
    fn a_receipt_comes_back_from_its_text() {
        let receipt = example(5, 2);
        assert_eq!(Receipt::parse(&receipt.to_text()), Ok(receipt.clone()));
        let pending = Receipt { published: None, ..receipt };
        assert_eq!(Receipt::parse(&pending.to_text()), Ok(pending));
    }

    #[test]
    fn what_has_no_room_is_counted() {
        let receipt = example(5_000, 5_000);
        let text = receipt.to_text();
        assert!(text.len() <= MAX_TEXT_LEN, "{}", text.len());
        let read = Receipt::parse(&text).unwrap();
        assert_eq!((read.counted, read.edges.len() < 5_000), (5_000, true));
        assert_eq!(read.edges, receipt.edges[..read.edges.len()]);
        assert!(!read.edges.is_empty() && !read.open_routes.is_empty() && !read.connection_routes.is_empty());
        let omitted = format!(
            "omitted {} {} {}\n",
            5_000 - read.edges.len(),
            5_000 - read.open_routes.len(),
            5_000 - read.connection_routes.len()
        );
        assert!(text.ends_with(&omitted));
    }

    #[test]
    fn another_format_is_refused_by_name() {
        let text = example(1, 0).to_text();
        assert_eq!(Receipt::parse(&text.replace("receipt/1", "receipt/2")), Err(Malformed::Version));
        assert_eq!(Receipt::parse("nightlatch.head/4\n"), Err(Malformed::Kind));
        assert_eq!(Receipt::parse(&text.replace("bound 65000", "bound 065000")), Err(Malformed::Line("bound")));
        assert_eq!(
            Receipt::parse(&text.replace("in-force-by 1", "in-force-by 2")),
            Err(Malformed::Line("in-force-by"))
        );
        assert_eq!(Receipt::parse(&format!("{text}more\n")), Err(Malformed::Line("the end")));
    }

    proptest! {
        /// One text for one receipt: whatever is read writes itself as it was read, up to what was left out.
        #[test]
        fn a_text_has_one_spelling(place in 0_usize..600, byte in any::<u8>()) {
            let mut bytes = example(3, 1).to_text().into_bytes();
            let place = place % bytes.len();
            bytes[place] = byte;
            if let Ok(text) = String::from_utf8(bytes)
                && let Ok(receipt) = Receipt::parse(&text)
            {
                let again = receipt.to_text();
                let kept = |text: &str| text.rsplit_once("omitted").map(|(kept, _)| kept.to_owned());
                prop_assert_eq!(kept(&again), kept(&text));
            }
        }
    }
}
