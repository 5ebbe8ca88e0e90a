//! Whom keys act for: service accounts, partner organisations, gateways, members.

use nightlatch_keyset::PrincipalKind;

use super::{Description, Name, Refusal, Scope, Scopes};

/// The principal that keys act for where none is named. It is always there.
pub const DEFAULT_SUBJECT: u32 = 1;

/// Where a principal stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PrincipalState {
    /// Its keys work, and it may have more.
    Active,
    /// Its keys are disabled until it is resumed.
    Suspended,
    /// Its keys are revoked: final.
    Removed,
}

impl PrincipalState {
    /// The name used in the API and the database.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Active => "active",
            Self::Suspended => "suspended",
            Self::Removed => "removed",
        }
    }

    /// The state of that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Active, Self::Suspended, Self::Removed].into_iter().find(|state| state.as_str() == name)
    }
}

/// A principal's record.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Principal {
    /// Its number in the workspace, never used again.
    pub subject: u32,
    /// What it is.
    pub kind: PrincipalKind,
    /// What people call it.
    pub name: String,
    /// What it is for.
    pub description: Option<String>,
    /// Where it stands.
    pub state: PrincipalState,
    /// What its keys may carry at most; anything where there is none.
    pub ceiling: Option<Scopes>,
    /// Unix milliseconds.
    pub created_at: i64,
    /// Unix milliseconds, while it is suspended.
    pub suspended_at: Option<i64>,
    /// Unix milliseconds.
    pub removed_at: Option<i64>,
    /// Counts the changes of the record.
    pub revision: i64,
}

/// A change of a principal's record. The outer `None` leaves a field, the inner `None` clears it.
#[derive(Clone, Debug, Default)]
pub struct PrincipalPatch {
    /// What people call it.
    pub name: Option<Name>,
    /// What it is for.
    pub description: Option<Option<Description>>,
    /// What keys issued from now on may carry. Keys that exist keep their scopes.
    pub ceiling: Option<Option<Scopes>>,
}

impl Principal {
    /// Stops its keys. `None` where it is suspended already.
    ///
    /// # Errors
    /// [`Refusal::PrincipalRemoved`].
    pub fn suspend(&self, now: i64) -> Result<Option<Self>, Refusal> {
        match self.state {
            PrincipalState::Removed => Err(Refusal::PrincipalRemoved),
            PrincipalState::Suspended => Ok(None),
            PrincipalState::Active => {
                Ok(Some(Self { state: PrincipalState::Suspended, suspended_at: Some(now), ..self.clone() }))
            }
        }
    }

    /// Lets its keys work again, as far as nothing else stops them. `None` where it is not suspended.
    ///
    /// # Errors
    /// [`Refusal::PrincipalRemoved`].
    pub fn resume(&self) -> Result<Option<Self>, Refusal> {
        match self.state {
            PrincipalState::Removed => Err(Refusal::PrincipalRemoved),
            PrincipalState::Active => Ok(None),
            PrincipalState::Suspended => {
                Ok(Some(Self { state: PrincipalState::Active, suspended_at: None, ..self.clone() }))
            }
        }
    }

    /// Ends it, and with it its keys. `None` where it is removed already.
    ///
    /// # Errors
    /// [`Refusal::DefaultPrincipal`] for the one that is always there.
    pub fn remove(&self, now: i64) -> Result<Option<Self>, Refusal> {
        if self.subject == DEFAULT_SUBJECT {
            return Err(Refusal::DefaultPrincipal);
        }
        if self.state == PrincipalState::Removed {
            return Ok(None);
        }
        Ok(Some(Self { state: PrincipalState::Removed, removed_at: Some(now), ..self.clone() }))
    }

    /// Changes its record. `None` where that changes nothing.
    ///
    /// # Errors
    /// [`Refusal::PrincipalRemoved`].
    pub fn patch(&self, patch: PrincipalPatch) -> Result<Option<Self>, Refusal> {
        if self.state == PrincipalState::Removed {
            return Err(Refusal::PrincipalRemoved);
        }
        let mut after = self.clone();
        if let Some(name) = patch.name {
            after.name = name.into_string();
        }
        if let Some(description) = patch.description {
            after.description = description.map(Description::into_string);
        }
        if let Some(ceiling) = patch.ceiling {
            after.ceiling = ceiling;
        }
        Ok((after != *self).then_some(after))
    }

    /// Whether it may have another key with these scopes.
    ///
    /// # Errors
    /// [`Refusal::PrincipalSuspended`], [`Refusal::PrincipalRemoved`], [`Refusal::BeyondCeiling`].
    pub fn admits(&self, scopes: &Scopes) -> Result<(), Refusal> {
        match self.state {
            PrincipalState::Suspended => return Err(Refusal::PrincipalSuspended),
            PrincipalState::Removed => return Err(Refusal::PrincipalRemoved),
            PrincipalState::Active => {}
        }
        let beyond: Vec<Scope> = self.ceiling.as_ref().map(|ceiling| scopes.missing_in(ceiling)).unwrap_or_default();
        if beyond.is_empty() { Ok(()) } else { Err(Refusal::BeyondCeiling { scopes: beyond }) }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn principal(subject: u32) -> Principal {
        Principal {
            subject,
            kind: PrincipalKind::ServiceAccount,
            name: "exporter".to_owned(),
            description: None,
            state: PrincipalState::Active,
            ceiling: Some(Scopes::new(["a", "b"]).unwrap()),
            created_at: 0,
            suspended_at: None,
            removed_at: None,
            revision: 1,
        }
    }

    #[derive(Clone, Copy, Debug)]
    enum Step {
        Suspend,
        Resume,
        Remove,
        Admit(&'static str),
    }

    fn steps() -> impl Strategy<Value = Vec<Step>> {
        let step = prop_oneof![
            3 => Just(Step::Suspend),
            3 => Just(Step::Resume),
            1 => Just(Step::Remove),
            3 => prop_oneof![Just("a"), Just("c")].prop_map(Step::Admit),
        ];
        proptest::collection::vec(step, 1..30)
    }

    proptest! {
        /// The model knows two flags. A removed principal stays as it is for ever.
        #[test]
        fn a_principal_does_what_its_model_does(steps in steps(), subject in 1_u32..3) {
            let (mut real, mut suspended, mut removed) = (principal(subject), false, false);
            for (now, step) in (1_i64..).zip(steps) {
                let before = real.clone();
                let outcome = match step {
                    Step::Suspend => real.suspend(now),
                    Step::Resume => real.resume(),
                    Step::Remove => real.remove(now),
                    Step::Admit(scope) => {
                        let fits = real.admits(&Scopes::new([scope]).unwrap());
                        prop_assert_eq!(fits.is_ok(), !suspended && !removed && scope != "c");
                        continue;
                    }
                };
                match step {
                    Step::Remove if subject == DEFAULT_SUBJECT => {
                        prop_assert_eq!(outcome.clone(), Err(Refusal::DefaultPrincipal));
                    }
                    Step::Remove => removed = true,
                    _ if removed => prop_assert_eq!(outcome.clone(), Err(Refusal::PrincipalRemoved)),
                    Step::Suspend => suspended = true,
                    Step::Resume => suspended = false,
                    Step::Admit(_) => {}
                }
                if let Ok(Some(after)) = outcome {
                    prop_assert_ne!(&after, &before, "a change changes something");
                    real = after;
                }
                let expected = match (removed, suspended) {
                    (true, _) => PrincipalState::Removed,
                    (false, true) => PrincipalState::Suspended,
                    (false, false) => PrincipalState::Active,
                };
                prop_assert_eq!(real.state, expected);
                prop_assert_eq!(real.removed_at.is_some(), removed);
                prop_assert!(removed || real.suspended_at.is_some() == suspended);
            }
        }
    }

    #[test]
    fn s0_13_scopes_beyond_the_ceiling_are_named() {
        let beyond = principal(2).admits(&Scopes::new(["b", "c", "d"]).unwrap());
        let scopes = ["c", "d"].map(|word| Scope::new(word).unwrap()).to_vec();
        assert_eq!(beyond, Err(Refusal::BeyondCeiling { scopes }));
        assert_eq!(Principal { ceiling: None, ..principal(2) }.admits(&Scopes::new(["c"]).unwrap()), Ok(()));
    }

    #[test]
    fn a_patch_that_says_nothing_new_changes_nothing() {
        let before = principal(2);
        let name = Some(Name::new("exporter").unwrap());
        assert_eq!(before.patch(PrincipalPatch { name, ..PrincipalPatch::default() }), Ok(None));
        let patch = PrincipalPatch { ceiling: Some(None), ..PrincipalPatch::default() };
        assert_eq!(before.patch(patch).unwrap().unwrap().ceiling, None);
    }
}
