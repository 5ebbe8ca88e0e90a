//! Taking a changed configuration over while requests are answered.

use std::sync::Arc;

use nightlatch_gate::policy::Policy;
use nightlatch_sync::{Edge, EdgeConfig};

use crate::config::Config;
use crate::mark::Kept;
use crate::shared::Shared;
use crate::source::Source;
use crate::supply::Supply;
use crate::warm;

/// Puts a configuration into force. What is loaded stays, unless the keys it is believed by, the peppers or the memory it may
/// take have changed: then another edge is made of what is known and on the disk, and takes its place where it answers too.
///
/// # Errors
/// A text that says why nothing has changed.
pub(crate) fn take_over(shared: &Shared, supply: &Supply, kept: &Kept, config: Arc<Config>) -> Result<(), String> {
    let source = Source::new(&config)?;
    let before = Arc::clone(&shared.gate().config);
    let other = if same(&before.edge, &config.edge) { None } else { Some(another(shared, supply, kept, &config)?) };
    supply.set_source(source);
    let mut gate = shared.gate_mut();
    if let Some(edge) = other {
        gate.edge = edge;
    }
    gate.config = config;
    Ok(())
}

/// Whether an edge of one configuration is one of the other. How often it looks at its source is not its own business here.
fn same(one: &EdgeConfig, other: &EdgeConfig) -> bool {
    let peppers = |config: &EdgeConfig| -> Vec<_> {
        config.peppers.iter().map(|pepper| (pepper.id().to_owned(), pepper.check())).collect()
    };
    same_trust(one, other) && one.set == other.set && one.room == other.room && peppers(one) == peppers(other)
}

fn same_trust(one: &EdgeConfig, other: &EdgeConfig) -> bool {
    one.roots == other.roots && one.verifiers == other.verifiers
}

/// An edge by a new configuration, that knows what the one in force knows.
fn another(shared: &Shared, supply: &Supply, kept: &Kept, config: &Config) -> Result<Edge<Policy>, String> {
    let now = shared.clock.now();
    let (mut edge, pepper, trust_stays) = {
        let gate = shared.gate();
        let mut edge = Edge::new(config.edge.clone(), gate.edge.mark());
        if let Some(signer) = gate.edge.marked_by() {
            edge.set_marked_by(signer);
        }
        // What could not be kept on the disk is not forgotten either.
        if let Some(note) = gate.edge.trust_note()
            && let Err(refusal) = edge.take_trust(note)
        {
            tracing::warn!("the trust note in force is not one of the new configuration's roots: {refusal}");
        }
        if let Some(note) = gate.edge.deny_note()
            && let Err(refusal) = edge.take_deny(note)
        {
            tracing::warn!("the deny note in force is not one of the new configuration's keys: {refusal}");
        }
        let answering = gate.edge.serving(now).or_else(|| gate.edge.serving_open(now));
        let pepper = answering.map(|serving| serving.head().pepper.clone());
        (edge, pepper, same_trust(&gate.config.edge, &config.edge))
    };
    if let Some(pepper) = &pepper
        && !config.edge.peppers.iter().any(|held| held.id() == pepper)
    {
        return Err(format!("peppers_file lacks the pepper {pepper}, which the set in force is made with"));
    }
    warm::start(&mut edge, &config.edge.roots, &supply.store, kept, now);
    // Whom it believes may have changed because what is loaded is not to be believed.
    if pepper.is_some() && trust_stays && edge.serving(now).is_none() {
        return Err(
            "the set on the disk does not come into force by it, and what is in force would be lost; send SIGHUP \
                    again when a fresh set is in force and kept"
                .into(),
        );
    }
    Ok(edge)
}
