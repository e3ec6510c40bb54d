//! Tests of the checker: a journal that does what none may is found out, each in its own words; a true one in the same runs is not.

use crate::history::check;
use crate::lies::Lie;
use crate::world::{Plan, run};

/// What the checker says of a lie, over a few runs.
fn said(lie: Option<Lie>) -> String {
    let mut said = String::new();
    for seed in 0..6 {
        let plan = Plan {
            seed,
            servers: 2,
            lie,
            ..Plan::default()
        };
        for fault in check(&run(&plan).history).faults {
            said.push_str(&fault);
            said.push('\n');
        }
        if lie.is_some() && !said.is_empty() {
            break;
        }
    }
    said
}

macro_rules! found {
    ($($name:ident: $lie:ident, $words:literal;)*) => {
        $(#[test] fn $name() {
            let said = said(Some(Lie::$lie));
            assert!(said.contains($words), "{said}");
        })*
    };
}

#[test]
fn a_true_journal_is_believed() {
    assert_eq!(said(None), "");
}

found! {
    a_promise_before_it_is_on_disk_is_found: AcknowledgesBeforeDurable, "is lost";
    dropping_what_waits_is_found: DropsTheOldest, "is lost";
    keeping_a_request_twice_is_found: AdmitsTwice, "has 2 records";
    dropping_what_is_unknown_is_found: DropsTheUnknown, "is lost";
    a_claim_that_never_lapses_is_found: ClaimsNeverLapse, "claimed is no end";
    a_claim_that_lapses_at_once_is_found: ClaimsLapseAtOnce, "law";
    a_record_given_to_two_is_found: GivesTwice, "law 3";
    a_repeated_post_is_found: ReplaysWhatWasSent, "may not be repeated";
    a_dropped_field_is_found: DropsAField, "header fields came as";
    joined_fields_are_found: JoinsFields, "header fields came as";
    a_dropped_query_is_found: DropsTheQuery, "came as";
    a_server_error_that_counts_as_done_is_found: CompletesWithErrors, "completed with";
    a_lost_settle_is_found: LosesASettle, "law";
    the_wrong_order_is_found: OutOfOrder, "order:";
    a_forgotten_capability_is_found: ForgetsACapability, "opens nothing";
    anothers_body_is_found: AnothersBody, "another body came";
    anothers_answer_is_found: AnothersAnswer, "answer";
}
