//! One suite that holds both brokers to the same meaning: the embedded one, and Redis with a server of its own for each
//! test, once without users and TLS and once over TLS with the users of `docs/security.md`. The code in these
//! modules knows only [`Broker`](tidings::broker::Broker).

use fixture::Fixture;

mod dedup;
mod fixture;
mod live;
mod log;
mod publish;
mod rights;
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
}
