//! Walks through every call that changes something: each is made so that it succeeds, and so that it does not. What each
//! needs and leaves behind is in `operations.txt`.

mod audited;
mod by_session;
pub(crate) mod ready;

use std::collections::BTreeMap;

use crate::operation::Operation;

/// A line of `operations.txt`.
pub(crate) struct Line {
    /// The status of success.
    pub(crate) status: u16,
    /// What a session needs for it.
    session: Session,
    /// The entries that it leaves in the audit log, and what each shows.
    entries: Vec<(&'static str, &'static str)>,
}

/// What a call needs of a session.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Session {
    /// That somebody has just proved who they are.
    StepUp,
    /// That it is live.
    Live,
    /// Nobody is asked for one.
    Open,
    /// It is not for people: edges have tokens.
    NotForPeople,
}

/// Words of the lines of a table, comments and empty lines left out.
pub(crate) fn lines(table: &'static str) -> impl Iterator<Item = Vec<&'static str>> {
    let lines = table.lines().filter(|line| !line.starts_with('#') && !line.trim().is_empty());
    lines.map(|line| line.split_whitespace().collect())
}

/// What is written of every call, by its id in the document.
pub(crate) fn table() -> BTreeMap<&'static str, Line> {
    let line = |words: Vec<&'static str>| {
        let session = match words[2] {
            "step-up" => Session::StepUp,
            "live" => Session::Live,
            "open" => Session::Open,
            "edge" => Session::NotForPeople,
            other => panic!("{other} in {words:?}"),
        };
        let entries = words[3..]
            .iter()
            .filter(|word| **word != "-")
            .map(|word| word.split_once(':').unwrap_or_else(|| panic!("{word} says not what it shows")));
        (words[0], Line { status: words[1].parse().unwrap(), session, entries: entries.collect() })
    };
    lines(include_str!("operations.txt")).map(line).collect()
}

/// Every call that may change something, with what is written of it.
fn walk() -> Vec<(Operation, Line)> {
    let mut table = table();
    let walk: Vec<_> = Operation::whole_document()
        .into_iter()
        .filter_map(|operation| match (table.remove(operation.id.as_str()), operation.changes()) {
            (Some(line), _) => Some((operation, line)),
            (None, false) => None,
            (None, true) => panic!("{}: add to walks/operations.txt what it needs and leaves behind", operation.id),
        })
        .collect();
    assert!(table.is_empty(), "operations.txt has calls that the document has not: {:?}", table.keys());
    walk
}
