//! The checker itself, on histories written by hand: good ones pass, and every kind of bad one is found.

mod gaps;
mod publishing;
mod script;
mod streams;
mod work;
