//! The sync job: copies the publisher's store to another, files first, the head last, by the real plan.

use std::collections::BTreeSet;

use nightlatch_keyset::FileName;
use nightlatch_sync::plan_copy;

use crate::plan::Node;
use crate::store::Bytes;
use crate::world::{Event, World};

/// Milliseconds between passes.
const PACE: u64 = 1_000;

/// A job, and where it copies to.
pub(crate) struct Job {
    target: usize,
}

/// What it does next.
pub(crate) enum JobStep {
    Look,
    Read,
    Compare(Bytes),
    Copy { note: Bytes, tag: u64, files: Vec<(FileName, bool)>, replace: bool },
}

impl Job {
    pub(crate) fn new(target: usize) -> Self {
        Self { target }
    }
}

impl World {
    fn next(&mut self, job: usize, step: JobStep) {
        match self.travel(Node::Job(job)) {
            Some(wait) => self.push(self.now + wait, Event::Job(job, Box::new(step))),
            None => self.push(self.now + 2 * PACE, Event::Job(job, Box::new(JobStep::Look))),
        }
    }

    fn rest(&mut self, job: usize) {
        self.push(self.now + PACE, Event::Job(job, Box::new(JobStep::Look)));
    }

    pub(crate) fn job(&mut self, job: usize, step: JobStep) {
        let (now, target) = (self.now, self.jobs[job].target);
        let down = |world: &Self, store: usize| now < world.stores[store].down_until;
        match step {
            JobStep::Look => self.next(job, JobStep::Read),
            JobStep::Read => match self.stores[0].head() {
                (Some(note), _) if !down(self, 0) => self.next(job, JobStep::Compare(note)),
                _ => self.rest(job),
            },
            JobStep::Compare(note) => {
                if down(self, target) {
                    return self.rest(job);
                }
                let (held, tag) = self.stores[target].head();
                if held.as_ref() == Some(&note) {
                    self.stores[target].deny = self.stores[0].deny.clone();
                    return self.rest(job);
                }
                let Some(head) = self.open(&note) else { return self.rest(job) };
                let held = held.and_then(|held| self.open(&held));
                let present: BTreeSet<FileName> = self.stores[target].files.keys().copied().collect();
                // Refused: the source's head has gone back for a moment.
                let Ok(plan) = plan_copy(&head, held.as_ref(), &present) else { return self.rest(job) };
                let mut files: Vec<_> = plan.copy.into_iter().map(|name| (name, true)).collect();
                files.extend(plan.lagging.into_iter().map(|name| (name, false)));
                files.reverse();
                self.next(job, JobStep::Copy { note, tag, files, replace: plan.head });
            }
            JobStep::Copy { note, tag, mut files, replace } => {
                if down(self, 0) || down(self, target) {
                    return self.rest(job);
                }
                match files.pop() {
                    Some((name, needed)) => {
                        match self.stores[0].files.get(&name).cloned() {
                            Some(bytes) => self.put_file(target, name, bytes),
                            None if needed => return self.rest(job),
                            None => {}
                        }
                        self.next(job, JobStep::Copy { note, tag, files, replace });
                    }
                    None => {
                        if replace {
                            // Small notes that heads do not imply, but may need.
                            self.stores[target].trust = self.stores[0].trust.clone();
                            self.stores[target].deny = self.stores[0].deny.clone();
                            self.put_head(target, &note, tag);
                        }
                        self.rest(job);
                    }
                }
            }
        }
    }
}
