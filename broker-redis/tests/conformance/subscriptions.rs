//! The books of durable subscriptions: what is handed out, leased, retried and dead, and what is held of the log.

mod backlog;
mod begin;
mod claims;
mod fates;
mod holds;
mod keys;
mod leases;
mod letters;
mod outbox;
mod retries;
mod rig;
mod uses;

pub(crate) use self::{
    backlog::the_backlog_is_exact,
    begin::{
        a_channel_has_no_more_subscriptions_than_it_may, a_deleted_subscription_leaves_nothing,
        a_glance_shows_what_a_look_does, a_seek_ends_all_leases_and_keeps_letters,
        a_subscription_begins_where_it_is_asked_to, names_are_unique_over_all_channels,
        settings_are_replaced_by_revision,
    },
    claims::{
        a_claim_beyond_the_end_is_refused, a_claim_takes_only_what_is_next, a_claim_under_old_settings_is_refused,
        changes_of_a_call_are_carried_out_each_for_itself, not_before_its_time,
        two_claims_of_the_same_messages_do_not_both_succeed,
    },
    fates::{
        a_late_ack_is_settled_where_its_message_is, what_died_before_a_seek_may_be_settled_after_it,
        what_was_lost_makes_old_acks_uncertain,
    },
    holds::{
        a_hold_with_fewer_bytes_than_the_history_holds_no_more_of_what_is_old, beyond_its_messages_nothing_is_held,
        the_bytes_of_a_hold_are_kept_and_no_more, what_is_not_settled_is_not_trimmed,
        what_is_not_settled_outlives_the_histories_age,
    },
    keys::{
        a_key_is_open_after_a_seek, messages_of_a_key_are_under_way_one_by_one, one_that_waits_keeps_its_key_closed,
        parked_messages_are_backlog_and_held, ten_thousand_are_parked_and_come_in_their_order,
        what_is_parked_behind_nothing_is_due_at_once, what_is_put_back_comes_last_of_its_key,
        what_is_put_back_twice_stays,
    },
    leases::{
        a_block_that_differs_is_not_replaced, no_more_is_out_than_may_be, overdue_blocks_are_found_by_anyone,
        what_differs_is_not_called_full,
    },
    letters::{
        a_redrive_that_is_repeated_does_nothing_twice, a_redriven_message_has_its_json,
        dead_letters_are_listed_oldest_first_page_by_page, what_is_handed_out_again_anyway_does_not_wait_as_well,
    },
    outbox::{
        a_letter_is_in_the_outbox_until_it_is_sent, the_outbox_comes_oldest_first_in_pieces,
        what_is_put_back_leaves_the_outbox, what_outgrows_the_outbox_is_lost,
    },
    retries::{
        attempts_are_remembered_while_it_waits, json_is_kept_until_settled, what_is_not_due_is_not_taken,
        what_waits_is_due_in_its_order_and_taken_once, what_was_delivered_meanwhile_is_not_taken,
    },
    uses::{
        a_look_says_when_it_was_used, one_that_is_used_meanwhile_is_not_deleted_as_unused,
        streams_of_all_processes_are_counted,
    },
};
