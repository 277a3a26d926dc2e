//! `tidings tail`: follows a channel or a pattern, and goes on by cursor where a lost connection cut it off.

use std::time::Duration;

use clap::Args;
use futures_util::StreamExt;
use tidings::{
    limits::{TAIL_BACKOFF_MAX, TAIL_BACKOFF_MIN, TAIL_FLUSH_EVENTS},
    pb::{StreamMessagesResponse, stream_messages_response::Event, subscriber_service_client::SubscriberServiceClient},
};
use tokio_util::sync::CancellationToken;
use tonic::{Code, Status, Streaming, transport::Channel};
use tonic_types::StatusExt;

use crate::{
    client::SubscriberAddress,
    error::{Error, describe},
    output::{Out, note},
    render,
};

mod resume;
mod start;

use resume::Resume;
use start::Start;

/// Follow a channel, or all channels that match a pattern.
#[derive(Debug, Args)]
pub(crate) struct Tail {
    /// A channel ('' is the server's default channel), or a Redis glob such as 'orders.*'.
    #[arg(value_name = "CHANNEL-OR-PATTERN", default_value = "", hide_default_value = true)]
    target: String,
    #[command(flatten)]
    start: Start,
    /// One JSON object a line; a gap is an object with the one key `gap`.
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    subscriber: SubscriberAddress,
}

/// How following a stream ended.
enum Ended {
    /// We were asked to stop.
    Stopped,
    /// The stream ended, with this status.
    Lost(Status),
}

impl Tail {
    /// Prints events until `stop` is cancelled. Only a stream that stood once is resumed: an address or a request that
    /// is wrong from the start fails at once.
    pub(crate) async fn run(self, out: &mut Out, stop: CancellationToken) -> Result<(), Error> {
        let mut resume = Resume::new(&self.target, self.start.into_request());
        let opened = stop.run_until_cancelled(async {
            let mut client = self.subscriber.connect().await?;
            let stream = client.stream_messages(resume.request()).await?.into_inner();
            Ok::<_, Error>((client, stream))
        });
        let Some(opened) = opened.await else { return Ok(()) };
        let (mut client, mut stream) = opened?;
        loop {
            let status = match follow(stream, self.json, &mut resume, out, &stop).await? {
                Ended::Stopped => return Ok(()),
                Ended::Lost(status) => status,
            };
            stream = match stop.run_until_cancelled(reopen(&mut client, &resume, status)).await {
                Some(stream) => stream?,
                None => return Ok(()),
            };
        }
    }
}

async fn follow(
    stream: Streaming<StreamMessagesResponse>,
    json: bool,
    resume: &mut Resume,
    out: &mut Out,
    stop: &CancellationToken,
) -> Result<Ended, Error> {
    let mut events = stream.ready_chunks(TAIL_FLUSH_EVENTS);
    loop {
        let Some(batch) = stop.run_until_cancelled(events.next()).await else { return Ok(Ended::Stopped) };
        for event in batch.unwrap_or_else(|| vec![Err(Status::unavailable("the server ended the stream"))]) {
            match event {
                Ok(StreamMessagesResponse { event: Some(event) }) => {
                    print(&event, json, out)?;
                    resume.passed(event);
                }
                Ok(_) => {}
                Err(status) => {
                    out.flush()?;
                    return Ok(Ended::Lost(status));
                }
            }
        }
        out.flush()?;
    }
}

fn print(event: &Event, json: bool, out: &mut Out) -> std::io::Result<()> {
    let palette = out.palette();
    match event {
        Event::Message(message) if json => out.line(render::json(message)),
        Event::Message(message) => out.line(render::line(message, &palette)),
        Event::Gap(gap) if json => out.line(render::gap_json(gap)),
        Event::Gap(gap) => out.line(render::gap_line(gap, &palette)),
        Event::Started(_) | Event::CaughtUp(_) | Event::Heartbeat(_) => Ok(()),
    }
}

/// Opens the stream again from where it was cut off; tries until that works or the server refuses.
async fn reopen(
    client: &mut SubscriberServiceClient<Channel>,
    resume: &Resume,
    mut status: Status,
) -> Result<Streaming<StreamMessagesResponse>, Error> {
    if is_passing(&status) {
        note(format_args!("connection lost, trying again: {}", describe(&status)));
    }
    let mut pause = TAIL_BACKOFF_MIN;
    while is_passing(&status) {
        if !resume.is_possible() {
            return Err(Error::NotResumable(describe(&status)));
        }
        // Half of the pause is chance, so that many who were cut off together do not come back together.
        tokio::time::sleep(pause.mul_f64(0.5 + fastrand::f64() / 2.0).max(wanted_pause(&status))).await;
        pause = (pause * 2).min(TAIL_BACKOFF_MAX);
        status = match client.stream_messages(resume.request()).await {
            Ok(stream) => {
                note("resumed");
                return Ok(stream.into_inner());
            }
            Err(status) => status,
        };
    }
    Err(status.into())
}

/// Whether the same request may succeed later: the server says so, or the status was made by the client library.
fn is_passing(status: &Status) -> bool {
    let from_server = status.get_details_error_info().is_some();
    match status.code() {
        Code::Unavailable => true,
        Code::Unknown | Code::Internal | Code::Cancelled => !from_server,
        _ => status.get_details_retry_info().is_some(),
    }
}

fn wanted_pause(status: &Status) -> Duration {
    let wanted = status.get_details_retry_info().and_then(|info| info.retry_delay);
    wanted.unwrap_or_default().min(TAIL_BACKOFF_MAX)
}
