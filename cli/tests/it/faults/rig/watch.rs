//! A stream that is read and recorded by a task of its own, so that it is read whatever the test does meanwhile.

use std::sync::{Arc, Mutex};

use tidings::pb::{
    Gap, Message, StreamMessagesRequest, stream_messages_response::Event,
    subscriber_service_client::SubscriberServiceClient,
};
use tokio::{task::JoinHandle, time::Instant};
use tonic::{Status, transport::Channel};

use super::until;
use crate::harness::TEST_TIMEOUT;

#[derive(Default)]
struct Record {
    /// Messages and gaps, with the time of their arrival.
    events: Vec<(Instant, Event)>,
    /// How it ended, if it did.
    end: Option<Status>,
}

/// A recorded stream. It ends when this is dropped.
pub(crate) struct Watch {
    record: Arc<Mutex<Record>>,
    task: JoinHandle<()>,
}

impl Watch {
    /// Opens a stream and waits until it has caught up.
    pub(super) async fn open(mut client: SubscriberServiceClient<Channel>, request: StreamMessagesRequest) -> Self {
        let opened =
            tokio::time::timeout(TEST_TIMEOUT, client.stream_messages(request)).await.expect("headers in time");
        let mut stream = opened.expect("a stream").into_inner();
        let record = Arc::<Mutex<Record>>::default();
        let (caught_up, live) = tokio::sync::oneshot::channel();
        let task = tokio::spawn({
            let record = Arc::clone(&record);
            async move {
                let mut caught_up = Some(caught_up);
                let end = loop {
                    match stream.message().await {
                        Err(status) => break status,
                        Ok(None) => break Status::ok(""),
                        Ok(Some(response)) => match response.event.expect("an event of a known kind") {
                            Event::CaughtUp(_) => {
                                let notify = caught_up.take().expect("caught_up comes once");
                                let _ = notify.send(());
                            }
                            event @ (Event::Message(_) | Event::Gap(_)) => {
                                record.lock().expect("no panic").events.push((Instant::now(), event));
                            }
                            Event::Started(_) | Event::Heartbeat(_) => {}
                        },
                    }
                };
                record.lock().expect("no panic").end = Some(end);
            }
        });
        // A stream that ends at once reports that itself.
        let _ = tokio::time::timeout(TEST_TIMEOUT, live).await.expect("caught up in time");
        Self { record, task }
    }

    /// What has come of a channel, in order: messages and gaps.
    pub(crate) fn events(&self, channel: &str) -> Vec<Event> {
        let record = self.record.lock().expect("no panic");
        let events = record.events.iter().map(|(_, event)| event);
        events.filter(|event| channel_of(event) == channel).cloned().collect()
    }

    /// The gaps of a channel.
    pub(crate) fn gaps(&self, channel: &str) -> Vec<Gap> {
        let gap = |event| if let Event::Gap(gap) = event { Some(gap) } else { None };
        self.events(channel).into_iter().filter_map(gap).collect()
    }

    /// The messages of a channel.
    pub(crate) fn messages(&self, channel: &str) -> Vec<Message> {
        let message = |event| if let Event::Message(message) = event { Some(message) } else { None };
        self.events(channel).into_iter().filter_map(message).collect()
    }

    /// Waits until the message with this id has come, and answers when it did.
    pub(crate) async fn until_message(&self, id: &str) -> Instant {
        let mut arrived = None;
        until(&format!("message {id} arrives"), || {
            let record = self.record.lock().expect("no panic");
            assert!(record.end.is_none(), "the stream has ended: {:?}", record.end);
            let is_it = |event: &Event| matches!(event, Event::Message(message) if message.message_id == id);
            arrived = record.events.iter().find(|(_, event)| is_it(event)).map(|(at, _)| *at);
            arrived.is_some()
        })
        .await;
        arrived.expect("it has come")
    }

    /// Waits for so many gaps in a channel.
    pub(crate) async fn until_gaps(&self, channel: &str, count: usize) -> Vec<Gap> {
        until(&format!("{count} gaps in {channel}"), || self.gaps(channel).len() >= count).await;
        self.gaps(channel)
    }

    /// Waits for the stream's end.
    pub(crate) async fn end(&self) -> Status {
        until("the stream ends", || self.record.lock().expect("no panic").end.is_some()).await;
        self.record.lock().expect("no panic").end.clone().expect("it has ended")
    }

    /// How it ended, if it did.
    pub(crate) fn ended(&self) -> Option<Status> {
        self.record.lock().expect("no panic").end.clone()
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        self.task.abort();
    }
}

fn channel_of(event: &Event) -> &str {
    match event {
        Event::Message(message) => &message.channel,
        Event::Gap(gap) => &gap.channel,
        _ => "",
    }
}
