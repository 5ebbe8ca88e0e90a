//! What is counted: events, faults, and how long revocations take.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;

use crate::plan::Transport;

/// Counts of one world or many.
#[derive(Clone, Debug, Default, Serialize)]
pub struct Counts {
    /// Events of the simulation.
    pub events: u64,
    /// What people did.
    pub acts: u64,
    /// Transactions of people that were committed.
    pub commits: u64,
    /// Changes of members that were committed: of their scopes, suspended, resumed.
    pub members: u64,
    /// Faults by kind.
    pub faults: BTreeMap<&'static str, u64>,
    /// Heads that were signed.
    pub heads: u64,
    /// Versions that were published.
    pub versions: u64,
    /// Bases.
    pub cuts: u64,
    /// Backups put in the database's place.
    pub restores: u64,
    /// Recoveries after that.
    pub recoveries: u64,
    /// Changes of the key that signs.
    pub rotations_of_signers: u64,
    /// Keys that a deny note has ended.
    pub denials: u64,
    /// Deny notes that edges have taken.
    pub denied_by_note: u64,
    /// Answers of open routes, from a set that others could not be answered from.
    pub open_answers: u64,
    /// Edges.
    pub edges: u64,
    /// Verdicts that were held against the model.
    pub verdicts: u64,
    /// Replicas that were held against the model, key by key.
    pub replicas: u64,
    /// Heads that edges put into force.
    pub in_force: u64,
    /// Refusals of edges, by code.
    pub refusals: BTreeMap<&'static str, u64>,
    /// Verdicts while the set could not answer (503).
    pub unfit: u64,
    /// Acceptances past the bound at edges outside the clock assumption, which could not have known.
    pub late_outside: u64,
    /// The same at edges that are inside each half of the assumption, but not inside both together.
    pub late_between: u64,
    /// Edges whose clock the control plane found wrong by a report.
    pub clocks_reported: u64,
    /// Restarts of durable edges below what they had served but not yet confirmed.
    pub unconfirmed_lost: u64,
    /// Milliseconds from the commit of a revocation to its force, by transport.
    #[serde(skip)]
    pub delays: BTreeMap<Transport, Delays>,
}

/// A distribution, to three digits.
#[derive(Clone, Debug, Default)]
pub struct Delays(BTreeMap<u64, u64>);

impl Delays {
    pub(crate) fn add(&mut self, ms: u64) {
        // Three digits are enough.
        let mut unit = 1;
        while ms / unit >= 1_000 {
            unit *= 10;
        }
        *self.0.entry(ms.div_ceil(unit) * unit).or_default() += 1;
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.0.values().sum()
    }

    /// Whether there is none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// The delay in milliseconds that a share of a thousandth do not exceed.
    pub fn permille(&self, share: u64) -> u64 {
        let rank = (self.len() * share).div_ceil(1_000);
        let mut seen = 0;
        let over = self.0.iter().find(|(_, count)| {
            seen += **count;
            seen >= rank
        });
        over.map_or(0, |(ms, _)| *ms)
    }
}

impl Counts {
    /// Adds another world's.
    pub fn add(&mut self, other: &Self) {
        let sums = [
            (&mut self.events, other.events),
            (&mut self.acts, other.acts),
            (&mut self.commits, other.commits),
            (&mut self.members, other.members),
            (&mut self.heads, other.heads),
            (&mut self.versions, other.versions),
            (&mut self.cuts, other.cuts),
            (&mut self.restores, other.restores),
            (&mut self.recoveries, other.recoveries),
            (&mut self.rotations_of_signers, other.rotations_of_signers),
            (&mut self.denials, other.denials),
            (&mut self.denied_by_note, other.denied_by_note),
            (&mut self.open_answers, other.open_answers),
            (&mut self.edges, other.edges),
            (&mut self.verdicts, other.verdicts),
            (&mut self.replicas, other.replicas),
            (&mut self.in_force, other.in_force),
            (&mut self.unfit, other.unfit),
            (&mut self.late_outside, other.late_outside),
            (&mut self.late_between, other.late_between),
            (&mut self.clocks_reported, other.clocks_reported),
            (&mut self.unconfirmed_lost, other.unconfirmed_lost),
        ];
        for (sum, more) in sums {
            *sum += more;
        }
        for (name, count) in &other.faults {
            *self.faults.entry(name).or_default() += count;
        }
        for (name, count) in &other.refusals {
            *self.refusals.entry(name).or_default() += count;
        }
        for (transport, delays) in &other.delays {
            let sum = self.delays.entry(*transport).or_default();
            for (ms, count) in &delays.0 {
                *sum.0.entry(*ms).or_default() += count;
            }
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { events, acts, commits, heads, versions, cuts, restores, recoveries, .. } = self;
        let Self { edges, verdicts, replicas, in_force, unfit, late_outside, late_between, .. } = self;
        writeln!(
            f,
            "{events} events; people: {acts} acts, {commits} commits, {} changes of members, {restores} restores, {recoveries} recoveries",
            self.members
        )?;
        writeln!(f, "publishers: {heads} heads, {versions} versions, {cuts} bases")?;
        writeln!(
            f,
            "edges: {edges}; {in_force} heads put into force, {replicas} replicas and {verdicts} verdicts checked"
        )?;
        let Self { rotations_of_signers, denials, denied_by_note, open_answers, .. } = self;
        writeln!(
            f,
            "{rotations_of_signers} changes of the signing key; {denials} deny notes, taken {denied_by_note} times"
        )?;
        writeln!(f, "{open_answers} answers of open routes past the validity")?;
        writeln!(f, "{unfit} looks at edges that could not answer (503)")?;
        writeln!(
            f,
            "clocks: {} found wrong by a report; {late_outside} acceptances past the bound at edges outside the \
             assumption that could not know, {late_between} inside each half of it",
            self.clocks_reported
        )?;
        writeln!(f, "faults: {}", listed(&self.faults))?;
        write!(f, "refusals: {}", listed(&self.refusals))
    }
}

fn listed(counts: &BTreeMap<&'static str, u64>) -> String {
    let parts: Vec<_> = counts.iter().map(|(name, count)| format!("{count} {name}")).collect();
    parts.join(", ")
}
