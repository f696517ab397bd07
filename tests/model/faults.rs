//! Faults to plant, so that the model is seen to find them.

use sea_orm::{ConnectionTrait, DatabaseConnection, Statement};

use crate::Model;
use crate::scenarios::{
    a_late_renewal, asked_under_a_lease_that_ends, refused_after_a_raise, two_calls_a_minute,
};
use crate::steps::{ABSENT, Case, EVERYDAY, FAILOVERS, IN_VAIN, Mood, REFUSED, Step};

/// A mistake in one of the statements.
pub(crate) struct PlantedBug {
    pub(crate) what: &'static str,
    /// Of the violation that shows it.
    pub(crate) shows_as: &'static str,
    pub(crate) shows_in: Shows,
    function: &'static str,
    right: &'static str,
    wrong: &'static str,
}

/// Where a fault shows soon.
pub(crate) enum Shows {
    /// In random cases of a mood.
    Mood([Mood; 1]),
    /// After these steps: several must follow each other, as random ones hardly ever do.
    Steps(fn() -> Vec<Step>),
}

/// A fault that is planted, and the statement that undoes it.
pub(crate) struct Planted {
    pub(crate) undo: String,
}

pub(crate) const PLANTED_BUGS: &[PlantedBug] = &[
    PlantedBug {
        what: "calls that may run on after their worker's death use no capacity",
        shows_as: "I5",
        shows_in: Shows::Mood([IN_VAIN]),
        function: "calls_without_a_lease",
        right: "IF begun IS NULL THEN",
        wrong: "IF true THEN",
    },
    PlantedBug {
        what: "a share is taken away before its worker has heard of it",
        shows_as: "I5",
        shows_in: Shows::Mood([EVERYDAY]),
        function: "grant_lease",
        right: "own.granted := greatest(target, p.in_use_bound)",
        wrong: "own.granted := target",
    },
    PlantedBug {
        what: "a limit that was lowered is heard of at the next renewal only",
        shows_as: "I5",
        shows_in: Shows::Mood([EVERYDAY]),
        function: "admission_by_key",
        right: "OR key.version <> p.version",
        wrong: "",
    },
    PlantedBug {
        what: "a call that runs is made again",
        shows_as: "I4",
        shows_in: Shows::Mood([IN_VAIN]),
        function: "admission_by_call",
        right: "l.lease_id = last.lease_id AND is_living(l)",
        wrong: "l.lease_id = last.lease_id AND false",
    },
    PlantedBug {
        what: "a pause holds nobody back",
        shows_as: "a call began while the key was paused",
        shows_in: Shows::Mood([EVERYDAY]),
        function: "admission_by_key",
        right: "IF key.paused THEN",
        wrong: "IF false THEN",
    },
    PlantedBug {
        what: "a call that is done is made again",
        shows_as: "I4",
        shows_in: Shows::Mood([EVERYDAY]),
        function: "admission_by_call",
        right: "IF last.state IN ('done', 'rejected') AND last.result IS NOT NULL THEN",
        wrong: "IF false THEN",
    },
    PlantedBug {
        what: "a refusal holds nobody back",
        shows_as: "I7",
        shows_in: Shows::Mood([REFUSED]),
        function: "admission_by_key",
        right: "IF key.throttled_until > t THEN",
        wrong: "IF false THEN",
    },
    PlantedBug {
        what: "what the provider said of one call, its next attempt doesn't know",
        shows_as: "I7: call",
        shows_in: Shows::Mood([REFUSED]),
        function: "admission_by_key",
        right: "last.ended_at + last.wait_ms * interval '1 ms' > t",
        wrong: "false",
    },
    PlantedBug {
        what: "a call that was not answered is taken for ended",
        shows_as: "I5",
        shows_in: Shows::Mood([IN_VAIN]),
        function: "end_call",
        right: "CASE WHEN e.may_run THEN c.runs_until",
        wrong: "CASE WHEN false THEN c.runs_until",
    },
    PlantedBug {
        what: "a loss is not recorded",
        shows_as: "I4",
        shows_in: Shows::Mood([IN_VAIN]),
        function: "note_losses",
        right: "c.state = 'ambiguous' AND c.idempotency_key IS NULL",
        wrong: "false",
    },
    PlantedBug {
        what: "a call begins under a lease that is over",
        shows_as: "I5",
        shows_in: Shows::Steps(asked_under_a_lease_that_ends),
        function: "admission_by_key",
        right: "lease.ended_at IS NOT NULL OR lease.expires_at <= t",
        wrong: "false",
    },
    PlantedBug {
        what: "a minute has half a minute",
        shows_as: "I6",
        shows_in: Shows::Steps(two_calls_a_minute),
        function: "rate_wait_ms",
        right: "begun_at > t - interval '61 s'",
        wrong: "begun_at > t - interval '31 s'",
    },
    PlantedBug {
        what: "a renewal that arrives late counts",
        shows_as: "I5",
        shows_in: Shows::Steps(a_late_renewal),
        function: "grant_lease",
        right: "p.renewal <= own.renewal",
        wrong: "false",
    },
    PlantedBug {
        what: "an orphaned call uses capacity until its timeout",
        shows_as: "I8",
        shows_in: Shows::Mood([IN_VAIN]),
        function: "orphan_span",
        right: "2 * longest)",
        wrong: "interval '1 h')",
    },
    PlantedBug {
        what: "a result is given to whoever asks under the same name",
        shows_as: "I19",
        shows_in: Shows::Mood([EVERYDAY]),
        function: "deciding_call",
        right: "AND c.fingerprint = p.fingerprint",
        wrong: "",
    },
    PlantedBug {
        what: "calls that may have been billed are not counted",
        shows_as: "I18",
        shows_in: Shows::Mood([IN_VAIN]),
        function: "admission_by_call",
        right: "billed >= p.max_billed_failures",
        wrong: "false",
    },
    PlantedBug {
        what: "a call whose row a failover took is not recorded",
        shows_as: "I4",
        shows_in: Shows::Mood([FAILOVERS]),
        function: "end_call",
        right: "call := call_made_again(p, e, t);",
        wrong: "RETURN NULL;",
    },
    PlantedBug {
        what: "a call is ended by a number that a failover gave to another",
        shows_as: "I4",
        shows_in: Shows::Mood([FAILOVERS]),
        function: "end_call",
        right: "WHERE c.token = p.token",
        wrong: "WHERE c.name = p.name",
    },
    PlantedBug {
        what: "a lease is known by a number that a failover gave to another worker",
        shows_as: "I5: workers",
        shows_in: Shows::Mood([FAILOVERS]),
        function: "grant_lease",
        right: "l.lease_id = p.lease_id AND l.worker = p.worker",
        wrong: "l.lease_id = p.lease_id",
    },
    PlantedBug {
        what: "a refusal cuts a limit under which its call didn't begin",
        shows_as: "the limit is cut for call",
        shows_in: Shows::Mood([REFUSED]),
        function: "cut_limit",
        right: "AND p_generation = key.generation",
        wrong: "",
    },
    PlantedBug {
        what: "a raise is no change of the limit",
        shows_as: "the limit is cut for call",
        shows_in: Shows::Steps(refused_after_a_raise),
        function: "raise_limit",
        right: "generation = generation + 1",
        wrong: "generation = generation",
    },
    PlantedBug {
        what: "a worker that can't reach Temporal keeps its share",
        shows_as: "I21",
        shows_in: Shows::Mood([ABSENT]),
        function: "renewed",
        right: "CASE WHEN p.cut_off THEN p.calls ELSE p.demand END",
        wrong: "p.demand",
    },
    PlantedBug {
        what: "a worker without work keeps its last poll from one that has some",
        shows_as: "I21",
        shows_in: Shows::Mood([EVERYDAY]),
        function: "weighed_demand",
        right: "others.starving AND l.starving_since IS NULL",
        wrong: "false",
    },
];

impl PlantedBug {
    /// Does it show, with which seed, and as what?
    pub(crate) fn found(&'static self, model: &Model) -> Option<(u64, String)> {
        let shows = |why: &String| why.starts_with(self.shows_as);
        match &self.shows_in {
            Shows::Mood(moods) => (0..10).find_map(|seed| {
                let (why, _) = model.check(moods, seed, 40, 0).err()?;
                Some((seed, why)).filter(|(_, why)| shows(why))
            }),
            Shows::Steps(steps) => {
                Some((0, model.run(&Case::of(steps())).err()?)).filter(|(_, why)| shows(why))
            }
        }
    }

    pub(crate) async fn plant(&self, db: &DatabaseConnection) -> Planted {
        let definition = Statement::from_string(
            db.get_database_backend(),
            format!("SELECT pg_get_functiondef('{}'::regproc) AS text", self.function),
        );
        let row = db.query_one_raw(definition).await.unwrap().unwrap();
        let undo: String = row.try_get("", "text").unwrap();
        assert!(undo.contains(self.right), "{} is not in {}", self.right, self.function);
        db.execute_unprepared(&undo.replace(self.right, self.wrong)).await.unwrap();
        Planted { undo }
    }
}
