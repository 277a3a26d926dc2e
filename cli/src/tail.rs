//! `tidings tail`: follows a channel or a pattern, and resumes by cursor where a lost connection cut it off.

use std::time::Duration;

use clap::Args;
use futures_util::StreamExt;
use tidings::{
    limits::TAIL_FLUSH_EVENTS,
    pb::{StreamMessagesResponse, stream_messages_response::Event},
    printable::printable,
};
use tokio_util::sync::CancellationToken;
use tonic::{Status, Streaming};

use crate::{
    client::{Calls, SubscriberAddress, SubscriberClient},
    error::{Error, describe},
    output::{Out, OutputOrJson, note, reader_gone},
    render,
    retry::Retry,
};

mod resume;
mod start;

pub(crate) use resume::Resume;
use start::Start;
pub(crate) use start::parse_since;

/// Follow a channel, or all channels that match a pattern
///
/// Prints each message as it arrives, until Ctrl-C, until there were --count of them, or until nobody reads its output
/// any more. After a lost connection it resumes where it was; missing messages are shown as a gap.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidings tail orders                       what is published from now on
  tidings tail orders --last 10             the last ten messages first
  tidings tail 'orders.*' --since 10m       all channels of a pattern, from ten minutes ago on
  tidings tail orders --earliest --count 1  the oldest message, and no more
  tidings tail orders --json | jq .text     one JSON object a line, for programs")]
pub(crate) struct Tail {
    /// A channel ('' is the server's default channel), or a Redis glob such as 'orders.*'
    #[arg(value_name = "CHANNEL-OR-PATTERN", default_value = "", hide_default_value = true)]
    target: String,
    #[command(flatten)]
    start: Start,
    /// End after so many messages
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u64).range(1..))]
    count: Option<u64>,
    /// How it prints; as JSON a gap is an object with the one key `gap`
    #[command(flatten)]
    output: OutputOrJson,
    #[command(flatten)]
    subscriber: SubscriberAddress,
    #[command(flatten)]
    calls: Calls,
}

/// How following a stream ended.
enum Ended {
    /// As many messages as were asked for have been printed.
    Enough,
    /// The stream ended, with this status.
    Lost(Status),
}

impl Tail {
    /// Prints events until `stop` is cancelled, nobody reads them any more, or there were enough. Only a stream that
    /// was open once is resumed: an address or a request that is wrong from the start fails at once.
    pub(crate) async fn run(self, out: &mut Out, stop: CancellationToken) -> Result<(), Error> {
        tokio::select! {
            done = self.follow(out) => done,
            () = stop.cancelled() => Ok(()),
            () = reader_gone() => Ok(()),
        }
    }

    async fn follow(self, out: &mut Out) -> Result<(), Error> {
        let address = &self.subscriber.address;
        let beginning = self.beginning();
        let mut resume = Resume::new(&self.target, self.start.into_request());
        let mut client = self.calls.of(address, self.subscriber.connect(&self.calls)).await?;
        let opened = self.calls.of(address, async { Ok(client.stream_messages(resume.request()).await?) });
        let mut stream = opened.await?.into_inner();
        let is_json = self.output.is_json();
        if !is_json {
            note(beginning);
        }
        let mut left = self.count.unwrap_or(u64::MAX);
        loop {
            let status = match follow(stream, is_json, &mut resume, out, &mut left).await? {
                Ended::Enough => return Ok(()),
                Ended::Lost(status) => status,
            };
            stream = reopen(&mut client, &resume, status, self.calls.duration(), |words| note(words)).await?;
        }
    }

    /// What is followed, from where, and until when.
    fn beginning(&self) -> String {
        let name = printable(&self.target);
        let what = match &*name {
            "" => format!("the default channel of {}", self.subscriber.address),
            pattern if Resume::is_pattern(pattern) => format!("all channels that match {pattern}"),
            channel => channel.to_owned(),
        };
        let end = match self.count {
            Some(1) => "ends after one message".to_owned(),
            Some(count) => format!("ends after {count} messages"),
            None => "Ctrl-C ends it".to_owned(),
        };
        format!("following {what} {}, waiting for new messages ({end})", self.start.describe())
    }
}

async fn follow(
    stream: Streaming<StreamMessagesResponse>,
    is_json: bool,
    resume: &mut Resume,
    out: &mut Out,
    left: &mut u64,
) -> Result<Ended, Error> {
    let mut events = stream.ready_chunks(TAIL_FLUSH_EVENTS);
    loop {
        let batch = events.next().await;
        for event in batch.unwrap_or_else(|| vec![Err(Status::unavailable("the server ended the stream"))]) {
            match event {
                Ok(StreamMessagesResponse { event: Some(event) }) => {
                    print(&event, is_json, out)?;
                    *left -= u64::from(matches!(event, Event::Message(_)));
                    resume.passed(event);
                }
                Ok(_) => {}
                Err(status) => {
                    out.flush()?;
                    return Ok(Ended::Lost(status));
                }
            }
            if *left == 0 {
                out.flush()?;
                return Ok(Ended::Enough);
            }
        }
        out.flush()?;
    }
}

fn print(event: &Event, is_json: bool, out: &mut Out) -> std::io::Result<()> {
    let palette = out.palette();
    match event {
        Event::Message(message) if is_json => out.line(render::json(message)),
        Event::Message(message) => out.line(render::line(message, &palette)),
        Event::Gap(gap) if is_json => out.line(render::gap_json(gap)),
        Event::Gap(gap) => out.line(render::gap_line(gap, &palette)),
        Event::Started(_) | Event::CaughtUp(_) | Event::Heartbeat(_) => Ok(()),
    }
}

/// Opens the stream again from where it was cut off; tries until that works or the server refuses. Each try may take
/// `timeout`. How it goes is said through `say`.
pub(crate) async fn reopen(
    client: &mut SubscriberClient,
    resume: &Resume,
    mut status: Status,
    timeout: Duration,
    say: impl Fn(&str),
) -> Result<Streaming<StreamMessagesResponse>, Error> {
    let mut retry = Retry::begin(&status, &say);
    loop {
        retry.admit(&status, &say).await?;
        if !resume.is_possible() {
            return Err(Error::NotResumable(describe(&status)));
        }
        retry.pause(&status).await;
        status = match tokio::time::timeout(timeout, client.stream_messages(resume.request())).await {
            Ok(Ok(stream)) => {
                say("resumed");
                return Ok(stream.into_inner());
            }
            Ok(Err(status)) => status,
            Err(_) => Status::unavailable("the server does not answer"),
        };
    }
}
