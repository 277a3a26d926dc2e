//! Answers of the scripts that read: heads and pages.
#![no_main]

tidings_fuzz::target!("answers", tidings_redis::fuzzing::answer_seeds, tidings_redis::fuzzing::check_answer);
