//! One line of the result.

/// What a goal asks for.
#[derive(Clone, Copy)]
pub(super) enum Target {
    /// The ratio to the reference may be no lower than the first; the second is the floor below which work stops.
    RatioAtLeast(f64, f64),
    /// The ratio to the reference may be no higher.
    RatioAtMost(f64),
    /// The value may be no lower.
    AtLeast(f64),
    /// The value may be no higher.
    AtMost(f64),
}

/// One goal and what was measured for it.
pub(super) struct Row {
    /// What it is about, with its unit.
    pub(super) goal: String,
    /// What was measured.
    pub(super) measured: f64,
    /// What it is held against, measured in the same run.
    pub(super) reference: Option<f64>,
    /// What is asked for; nothing where the number is for information.
    pub(super) target: Option<Target>,
}

impl Row {
    /// A number for information.
    pub(super) fn new(goal: impl Into<String>, measured: f64) -> Self {
        Self { goal: goal.into(), measured, reference: None, target: None }
    }

    /// Holds it against what was measured in the same run.
    pub(super) fn against(self, reference: f64) -> Self {
        Self { reference: Some(reference), ..self }
    }

    /// Asks for something.
    pub(super) fn target(self, target: Target) -> Self {
        Self { target: Some(target), ..self }
    }

    /// Measured by reference.
    pub(super) fn ratio(&self) -> Option<f64> {
        self.reference.map(|reference| self.measured / reference)
    }

    /// Whether the goal is met; nothing where there is none.
    pub(super) fn pass(&self) -> Option<bool> {
        let ratio = self.ratio().unwrap_or(f64::NAN);
        Some(match self.target? {
            Target::RatioAtLeast(least, _) => ratio >= least,
            Target::RatioAtMost(most) => ratio <= most,
            Target::AtLeast(least) => self.measured >= least,
            Target::AtMost(most) => self.measured <= most,
        })
    }

    /// The target in words.
    pub(super) fn target_text(&self) -> Option<String> {
        Some(match self.target? {
            Target::RatioAtLeast(least, floor) => format!("ratio ≥ {least} (floor {floor})"),
            Target::RatioAtMost(most) => format!("ratio ≤ {most}"),
            Target::AtLeast(least) => format!("≥ {least}"),
            Target::AtMost(most) => format!("≤ {most}"),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn goals_are_judged_by_value_or_ratio() {
        let row = Row::new("x", 90.0).against(100.0);
        assert_eq!((row.ratio(), row.pass()), (Some(0.9), None));
        assert_eq!(row.target(Target::RatioAtLeast(0.9, 0.85)).pass(), Some(true));
        assert_eq!(Row::new("x", 112.0).against(100.0).target(Target::RatioAtMost(1.1)).pass(), Some(false));
        assert_eq!(Row::new("x", 1.0).target(Target::AtMost(2.0)).pass(), Some(true));
        assert_eq!(Row::new("x", f64::NAN).target(Target::AtLeast(2.0)).pass(), Some(false));
        assert_eq!(Row::new("x", 1.0).target(Target::RatioAtMost(2.0)).pass(), Some(false), "no reference, no ratio");
    }
}
