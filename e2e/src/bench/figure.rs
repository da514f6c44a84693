//! A figure, its goal, and what others need for the same.

use serde::Serialize;

/// What was measured.
#[derive(Clone, Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Figure {
    /// What it is a figure of.
    pub what: String,
    /// The value, in `unit`.
    pub measured: f64,
    /// Such as `ms`; `MB` are millions of bytes.
    pub unit: &'static str,
    /// What it should be; absent for figures that only explain others.
    pub goal: Option<Goal>,
    /// What programs of the same purpose need, measured on a machine of this class.
    pub others: Option<&'static str>,
    /// How it came about.
    pub note: String,
}

/// What a value should be.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub enum Goal {
    /// No more than this.
    AtMost(f64),
    /// No less than this.
    AtLeast(f64),
}

impl Figure {
    /// A figure without goal.
    #[must_use]
    pub fn new(what: impl Into<String>, measured: f64, unit: &'static str) -> Self {
        Self { what: what.into(), measured, unit, goal: None, others: None, note: String::new() }
    }

    /// It should be no more than this.
    #[must_use]
    pub fn at_most(mut self, goal: f64) -> Self {
        self.goal = Some(Goal::AtMost(goal));
        self
    }

    /// It should be no less than this.
    #[must_use]
    pub fn at_least(mut self, goal: f64) -> Self {
        self.goal = Some(Goal::AtLeast(goal));
        self
    }

    /// What others need.
    #[must_use]
    pub fn others(mut self, others: &'static str) -> Self {
        self.others = Some(others);
        self
    }

    /// How it came about.
    #[must_use]
    pub fn note(mut self, note: impl Into<String>) -> Self {
        self.note = note.into();
        self
    }

    /// Measured to goal; absent without one, or where it is zero.
    #[must_use]
    pub fn ratio(&self) -> Option<f64> {
        let (Goal::AtMost(goal) | Goal::AtLeast(goal)) = self.goal?;
        (goal > 0.0).then(|| self.measured / goal)
    }

    /// Whether the goal is met; absent without one.
    #[must_use]
    pub fn met(&self) -> Option<bool> {
        Some(match self.goal? {
            Goal::AtMost(goal) => self.measured <= goal,
            Goal::AtLeast(goal) => self.measured >= goal,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_goal_is_met_on_its_own_side() {
        let slow = Figure::new("a", 40.0, "ms").at_most(30.0);
        assert_eq!(slow.met(), Some(false));
        assert_eq!(Figure::new("a", 30.0, "ms").at_most(30.0).met(), Some(true));
        assert_eq!(Figure::new("a", 40.0, "/s").at_least(30.0).met(), Some(true));
        assert_eq!(Figure::new("a", 40.0, "/s").met(), None);
    }

    #[test]
    fn a_goal_of_nothing_has_no_ratio() {
        assert_eq!(Figure::new("a", 0.0, "writes").at_most(0.0).ratio(), None);
        assert_eq!(Figure::new("a", 0.0, "writes").at_most(0.0).met(), Some(true));
        assert_eq!(Figure::new("a", 15.0, "ms").at_most(30.0).ratio(), Some(0.5));
    }
}
