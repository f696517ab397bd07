//! One figure, beside what is possible.

use serde::{Deserialize, Serialize};

use crate::statistics::median;

/// Which way is better.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Better {
    /// Less.
    Lower,
    /// More.
    Higher,
    /// It is a circumstance.
    Neither,
}

/// One figure: the median of the runs, beside what is possible.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Figure {
    /// For programs, such as `latency_pro_p95`.
    pub name: String,
    /// For people.
    pub label: String,
    /// `s`, `ms`, `MB`, `%`, `/min`, or empty.
    pub unit: String,
    /// Which way is better.
    pub better: Better,
    /// The median of the runs.
    pub value: f64,
    /// The smallest of the runs.
    pub min: f64,
    /// The largest of the runs.
    pub max: f64,
    /// What nothing can beat, under the same limits.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bound: Option<f64>,
    /// How many times worse than the bound it is; 1 is as good.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times_bound: Option<f64>,
    /// What the list schedule takes in which nothing is lost between two calls.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub schedule: Option<f64>,
    /// How many times worse than the schedule it is.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub times_schedule: Option<f64>,
}

impl Figure {
    pub(crate) fn new(name: &str, label: &str, unit: &str, better: Better, value: f64) -> Self {
        Self {
            name: name.to_owned(),
            label: label.to_owned(),
            unit: unit.to_owned(),
            better,
            value,
            min: value,
            max: value,
            bound: None,
            times_bound: None,
            schedule: None,
            times_schedule: None,
        }
    }

    pub(super) fn beside(mut self, bound: Option<f64>, schedule: Option<f64>) -> Self {
        (self.bound, self.schedule) = (bound, schedule);
        self.relate();
        self
    }

    fn relate(&mut self) {
        let times = |possible: Option<f64>| match self.better {
            Better::Lower => {
                possible.filter(|possible| *possible > 0.0).map(|possible| self.value / possible)
            }
            Better::Higher => possible.filter(|_| self.value > 0.0).map(|possible| possible / self.value),
            Better::Neither => None,
        };
        (self.times_bound, self.times_schedule) = (times(self.bound), times(self.schedule));
    }
}

/// The medians of several runs' figures. What isn't in all of them is left out.
pub fn medians(runs: &[Vec<Figure>]) -> Vec<Figure> {
    let Some(first) = runs.first() else { return Vec::new() };
    let of_all = first.iter().filter_map(|figure| {
        let same =
            |run: &Vec<Figure>| run.iter().find(|other| other.name == figure.name).map(|other| other.value);
        let values: Vec<f64> = runs.iter().map(same).collect::<Option<_>>()?;
        let mut figure = Figure {
            value: median(&values)?,
            min: values.iter().copied().fold(f64::INFINITY, f64::min),
            max: values.iter().copied().fold(f64::NEG_INFINITY, f64::max),
            ..figure.clone()
        };
        figure.relate();
        Some(figure)
    });
    of_all.collect()
}
