use super::*;
use crate::figures::tests::s1;
use crate::scenario::Scenario;

fn settings() -> Settings {
    Settings {
        darkroom: "darkroom".into(),
        scenario: Scenario::S1,
        seed: 0,
        speed: 5.0,
        call_spread: 0.0,
        workers: 1,
        slots: 12,
        limit: None,
        transfer_slots: 20,
        image_bytes: 50_000,
        store: sandbox::StoreKind::InProcess,
        keys_honoured: true,
        kill: None,
        unavailable: None,
        cold: false,
        repeat: 1,
    }
}

fn report() -> Report {
    Report::new(&settings(), &[s1()], "darkroom-lab bench s1".into())
}

#[test]
fn json_comes_back_as_it_was_and_other_json_is_told() {
    let report = report();
    let back = Report::from_json(&report.to_json().unwrap()).unwrap();
    let told = |report: &Report| {
        report.figures.iter().map(|figure| (figure.name.clone(), number(figure.value))).collect::<Vec<_>>()
    };
    assert_eq!((&back.conditions, told(&back)), (&report.conditions, told(&report)));
    assert!(
        Report::from_json("{}").unwrap_err().to_string().contains("no report of `darkroom-lab bench --json`")
    );
    let later = Report { format: 2, ..report };
    assert!(Report::from_json(&later.to_json().unwrap()).unwrap_err().to_string().contains("format 2"));
}

#[test]
fn the_table_has_the_figure_beside_what_is_possible() {
    let table = table(&report());
    let line = table.lines().find(|line| line.starts_with("last task done")).unwrap();
    let cells: Vec<&str> = line.split_whitespace().skip(3).collect();
    assert_eq!(cells, ["108.0", "s", "106.0", "1.019", "108.0", "1.000"]);
    assert!(table.contains("1 worker of 12 calls and 20 transfers at once; pictures of 50 KB"), "{table}");
}

#[test]
fn calls_that_vary_are_told() {
    let vary = Settings { call_spread: 0.5, ..settings() };
    let told = table(&Report::new(&vary, &[s1()], String::new()));
    assert!(told.contains("a call takes 8 s ± up to 50 %"), "{told}");
    assert!(!table(&report()).contains('±'));
}

#[test]
fn a_busy_machine_is_warned_of() {
    let mut busy = s1();
    busy.costs.others_share = 0.25;
    let report = Report::new(&settings(), &[busy], String::new());
    assert!(report.warnings[0].starts_with("run 1: others used 25 %"), "{:?}", report.warnings);
}

#[test]
fn a_comparison_tells_figures_and_conditions_that_changed() {
    let (old, mut new) = (report(), report());
    new.conditions.slots = 48;
    let makespan = &mut new.figures[0];
    (makespan.value, makespan.min, makespan.max) = (54.0, 54.0, 54.0);
    let text = compare(&old, &new);
    assert!(text.contains("condition slots: 12 → 48\n"), "{text}");
    assert!(text.contains("108.0 → 54.00 s (-50.0 %, better)\n"), "{text}");
    assert!(
        text.lines().any(|line| line.starts_with("tasks a minute") && line.ends_with("(the same)")),
        "{text}"
    );
}

#[test]
fn the_page_needs_nothing_but_itself_and_escapes_what_it_is_told() {
    let mut report = report();
    report.conditions.command = "<script>".into();
    let page = page(&report, &s1());
    assert_eq!(page.matches("<svg").count(), 4);
    assert!(!page.contains("<script") && !page.contains("http"), "nothing is loaded, nothing injected");
    assert_eq!(page.matches("<path").count(), page.matches("</path>").count());
}
