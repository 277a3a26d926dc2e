//! One suite that holds both brokers to the same meaning: the embedded one, and Redis with a server of its own for each
//! test, once without users and TLS and once over TLS with the users of `docs/security.md`. The code in these
//! modules knows only [`Broker`](tidings::broker::Broker) and [`Subscriptions`](tidings::broker::Subscriptions).

use fixture::Fixture;

mod dedup;
mod fixture;
mod live;
mod log;
mod publish;
mod rights;
mod subscriptions;
mod trim;
mod twins;

macro_rules! conformance {
    ($($module:ident: $($test:ident),+;)+) => {
        conformance!(@ memory $($module $($test)+;)+);
        conformance!(@ redis $($module $($test)+;)+);
        conformance!(@ least_rights $($module $($test)+;)+);
    };
    (@ $broker:ident $($module:ident $($test:ident)+;)+) => {
        mod $broker {
            $(mod $module {
                $(#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
                async fn $test() {
                    let fixture = crate::Fixture::$broker();
                    crate::$module::$test(&fixture).await;
                    fixture.close().await;
                })+
            })+
        }
    };
}

conformance! {
    publish:
        sequences_are_consecutive_across_publishers,
        calls_take_effect_in_the_order_they_are_made,
        a_batch_lands_together_or_not_at_all,
        the_largest_message_passes_and_a_larger_one_does_not,
        the_log_holds_what_the_receipt_says,
        payloads_are_kept_byte_for_byte,
        replicas_that_do_not_exist_are_refused,
        an_empty_batch_does_nothing;
    dedup:
        a_repeat_is_answered_with_the_first_receipt,
        fifty_at_once_are_published_once,
        repeats_within_a_batch_are_duplicates,
        ids_are_remembered_per_channel,
        ids_nobody_gave_are_not_compared,
        after_the_window_an_id_is_new,
        too_many_ids_refuse_the_whole_batch;
    log:
        an_unknown_channel_is_empty,
        pages_go_both_ways_and_miss_nothing,
        pages_keep_to_their_limits,
        heads_report_each_channel_in_the_order_asked,
        times_lead_to_sequences,
        channels_are_listed_in_name_order;
    trim:
        the_log_is_trimmed_by_count,
        the_log_is_trimmed_by_bytes,
        the_log_is_trimmed_by_age,
        a_message_that_is_too_old_stays_until_the_next_publish,
        a_quiet_log_expires_and_its_numbers_continue,
        without_history_messages_are_numbered_and_pushed;
    live:
        after_the_confirmation_every_push_arrives,
        nothing_is_lost_while_a_subscription_begins,
        a_channel_and_a_pattern_bring_one_push_each,
        patterns_bring_channels_that_are_new,
        a_check_is_answered_after_the_pushes,
        an_ended_subscription_brings_nothing_more,
        connections_do_not_share_their_pushes,
        dropping_the_commands_ends_the_events;
    subscriptions:
        a_subscription_begins_where_it_is_asked_to,
        names_are_unique_over_all_channels,
        a_channel_has_no_more_subscriptions_than_it_may,
        settings_are_replaced_by_revision,
        a_look_says_when_it_was_used,
        one_that_is_used_meanwhile_is_not_deleted_as_unused,
        streams_of_all_processes_are_counted,
        a_glance_shows_what_a_look_does,
        a_seek_ends_all_leases_and_keeps_letters,
        a_deleted_subscription_leaves_nothing,
        a_claim_takes_only_what_is_next,
        two_claims_of_the_same_messages_do_not_both_succeed,
        a_claim_beyond_the_end_is_refused,
        a_claim_under_old_settings_is_refused,
        changes_of_a_call_are_carried_out_each_for_itself,
        not_before_its_time,
        a_block_that_differs_is_not_replaced,
        no_more_is_out_than_may_be,
        what_differs_is_not_called_full,
        overdue_blocks_are_found_by_anyone,
        what_waits_is_due_in_its_order_and_taken_once,
        what_is_not_due_is_not_taken,
        what_was_delivered_meanwhile_is_not_taken,
        attempts_are_remembered_while_it_waits,
        json_is_kept_until_settled,
        dead_letters_are_listed_oldest_first_page_by_page,
        a_redriven_message_has_its_json,
        a_redrive_that_is_repeated_does_nothing_twice,
        what_is_handed_out_again_anyway_does_not_wait_as_well,
        a_letter_is_in_the_outbox_until_it_is_sent,
        the_outbox_comes_oldest_first_in_pieces,
        what_is_put_back_leaves_the_outbox,
        what_outgrows_the_outbox_is_lost,
        messages_of_a_key_are_under_way_one_by_one,
        what_is_parked_behind_nothing_is_due_at_once,
        one_that_waits_keeps_its_key_closed,
        parked_messages_are_backlog_and_held,
        a_key_is_open_after_a_seek,
        what_is_put_back_comes_last_of_its_key,
        what_is_put_back_twice_stays,
        ten_thousand_are_parked_and_come_in_their_order,
        a_late_ack_is_settled_where_its_message_is,
        what_was_lost_makes_old_acks_uncertain,
        what_died_before_a_seek_may_be_settled_after_it,
        the_backlog_is_exact,
        what_is_not_settled_is_not_trimmed,
        beyond_its_messages_nothing_is_held,
        the_bytes_of_a_hold_are_kept_and_no_more,
        a_hold_with_fewer_bytes_than_the_history_holds_no_more_of_what_is_old,
        what_is_not_settled_outlives_the_histories_age;
}
