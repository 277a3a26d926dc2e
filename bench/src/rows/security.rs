//! What TLS and tokens cost: each beside the same service without them.

use super::{Row, Unit, figure, rate, row};
use crate::{
    measure::{
        Begins,
        Probe::{self, *},
    },
    stage::Access::{Plain, TlsAndToken, Token},
};

const BOTH: Probe = FanoutBy(TlsAndToken, 100);

/// All of them.
pub(crate) const SECURITY: &[Row] = &[
    row("unary Publish with TLS and a token / without", UnaryBy(TlsAndToken), UnaryBy(Plain), 0.7, 0.85),
    row("unary Publish with a token, whole in each call / without", UnaryBy(Token), UnaryBy(Plain), 0.9, 0.97),
    row(
        "unary Publish with a token, whole once a connection / without",
        TokenOnceBy(Token),
        TokenOnceBy(Plain),
        0.9,
        0.97,
    ),
    row(
        "PublishStream with TLS and a token / without",
        PublishStreamBy(TlsAndToken),
        PublishStreamBy(Plain),
        0.7,
        0.85,
    ),
    row("PublishStream with a token / without", PublishStreamBy(Token), PublishStreamBy(Plain), 0.9, 0.97),
    row("fan-out to 100 streams with TLS and a token / without", BOTH, FanoutBy(Plain, 100), 0.4, 0.6),
    row("fan-out to 100 streams with a token / without", FanoutBy(Token, 100), FanoutBy(Plain, 100), 0.9, 0.97),
    figure(
        "CPU of the subscriber a delivery with TLS and a token / without",
        (BOTH, 1),
        Some((FanoutBy(Plain, 100), 1)),
        Unit::Nanoseconds,
    ),
    figure("of the subscriber's CPU with TLS, what AES-256-GCM has", (BOTH, 2), None, Unit::Percent),
    figure(
        "CPU of the publisher a connection with a whole handshake / in plain text",
        (Connect(Begins::Handshake), 0),
        Some((Connect(Begins::Plain), 0)),
        Unit::Microseconds,
    ),
    figure(
        "CPU of the publisher a connection that resumes a session / in plain text",
        (Connect(Begins::Resumption), 0),
        Some((Connect(Begins::Plain), 0)),
        Unit::Microseconds,
    ),
    figure(
        "CPU of the publisher a Publish with a token never seen / seen before",
        (NewTokens, 0),
        Some((NewTokens, 1)),
        Unit::Microseconds,
    ),
    figure("memory of the publisher a token, of 8,000", (NewTokens, 2), None, Unit::Kibibytes),
    rate("unary Publish by 1,000 callers in turn, each with a token / by one", Callers(1_000), Callers(1)),
    rate("unary Publish, Redis over TLS / in plain text", UnaryOverTls, UnaryBy(Plain)),
    rate("PublishStream, Redis over TLS / in plain text", PublishStreamOverTls, PublishStreamBy(Plain)),
    rate("fan-out to 10 streams, Redis over TLS / in plain text", FanoutOverTls(10), FanoutBy(Plain, 10)),
];
