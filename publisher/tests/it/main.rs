//! The publisher over a real socket: tonic clients, and plain HTTP where browsers are played. The broker is a small one
//! that can be made to wait, to fail and to go away.

mod fake;
mod fast_path;
mod program;
mod publish;
mod raw;
mod serving;
mod stream;
mod streamed;

mod web;
