use tidings::pb::{Message, StreamMessagesResponse, message::Payload, stream_messages_response::Event};

use super::*;
use crate::load::{
    http2::WINDOW_UPDATE,
    text::{self, Pattern},
};

fn session(streams: usize) -> Session {
    let stream = |_| Stream { frames: Frames::new(Order::Numbered), accepted: false, taken: 0 };
    Session { state: State { streams: (0..streams).map(stream).collect(), ..State::default() }, ..Session::default() }
}

/// Frames as a server sends them: settings, headers and then data that messages do not heed the edges of.
fn sent(streams: usize, messages: usize, cut: usize) -> Vec<u8> {
    let (mut server, mut body, mut text) = (Vec::new(), Vec::new(), Pattern::new(text::first()));
    for sequence in 1..=messages as i64 {
        let payload = Some(Payload::Text(String::from_utf8_lossy(text.bytes()).into_owned()));
        let message = Message { sequence, payload, ..Message::default() };
        body.extend_from_slice(&framed(&StreamMessagesResponse { event: Some(Event::Message(message)) }));
        text.step();
    }
    put(&mut server, SETTINGS, 0, 0, &[]);
    (0..streams).for_each(|n| put(&mut server, HEADERS, END_HEADERS, number(n), &[0x88]));
    put(&mut server, PING, 0, 0, b"12345678");
    for piece in body.chunks(cut) {
        (0..streams).for_each(|n| put(&mut server, DATA, 0, number(n), piece));
    }
    server
}

#[test]
fn streams_are_distinguished_wherever_the_bytes_are_cut() {
    for (cut, size) in [(100, 1), (1_000, 7), (999, 4_000), (16_384, 16_384)] {
        let mut session = session(3);
        sent(3, 200, cut).chunks(size).for_each(|piece| session.take(piece).expect("in order"));
        assert!(
            session.state.streams.iter().all(|stream| stream.accepted && stream.frames.seen == 200),
            "{cut} {size}"
        );
        let pong = [&[0, 0, 8, PING, ACK, 0, 0, 0, 0][..], b"12345678"].concat();
        assert_eq!(session.state.out, [&[0, 0, 0, SETTINGS, ACK, 0, 0, 0, 0][..], &pong].concat());
    }
}

#[test]
fn windows_are_given_back() {
    let mut session = session(1);
    let bytes = sent(1, 12_000, 16_384);
    session.take(&bytes).expect("in order");
    let updates = session.state.out.windows(4).filter(|bytes| *bytes == [0, 4, WINDOW_UPDATE, 0]).count();
    assert!(updates >= 1, "{} bytes, {updates} updates", bytes.len());
    assert!(session.state.streams[0].taken <= STREAM_WINDOW_BYTES / 2);
}

#[test]
fn an_end_is_an_error() {
    for (kind, flags) in [(HEADERS, END_STREAM), (DATA, END_STREAM), (RST_STREAM, 0), (GOAWAY, 0)] {
        let mut server = Vec::new();
        put(&mut server, kind, flags, 1, &[0; 8]);
        assert!(session(1).take(&server).is_err(), "{kind}");
    }
}
