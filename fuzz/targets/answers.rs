//! Answers of the scripts that read: heads and pages.
#![no_main]

tidings_fuzz::target!("answers", tidings::fuzzing::ANSWERS.seeds, tidings::fuzzing::ANSWERS.check);
