//! Bytes of the services' own memory: at rest, for connections, streams and topics, and for channels published on.

use std::{
    env,
    fmt::Write as _,
    fs,
    path::PathBuf,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context as _, bail};
use tidings::pb::{
    PublishRequest, StreamMessagesRequest, StreamMessagesResponse, publish_request::Payload,
    publisher_service_client::PublisherServiceClient, subscriber_service_client::SubscriberServiceClient,
};
use tidings_testing::{RedisServer, free_port};
use tokio::time::{sleep, timeout};
use tonic::{
    Streaming,
    transport::{Channel, Endpoint},
};

const TEST_TIMEOUT: Duration = Duration::from_secs(60);
/// How long a service may take to put away what it needed only for opening.
const SETTLE: Duration = Duration::from_secs(8);
const STREAMS: usize = 4_000;
const CHANNELS: usize = 10_000;
const PATTERN_STREAMS: usize = 50;

/// A service's process, ended when it is dropped.
struct Service {
    process: Child,
    url: String,
}

impl Drop for Service {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

type Stream = Streaming<StreamMessagesResponse>;

pub(super) async fn measure() -> anyhow::Result<String> {
    let redis = tokio::task::spawn_blocking(RedisServer::start).await?;
    let mut text = "memory of the services (resident), bytes each\n\n".to_owned();
    let mut line = |what: &str, rest: f64, each: f64, redis: f64| {
        let (rest, each) = (rest / 1024.0 / 1024.0, each / 1024.0);
        writeln!(text, "{what:<56} {rest:>6.1} MiB at rest {each:>8.2} KiB each {redis:>8.2} KiB each on Redis")
    };
    for (what, streams_each, channels) in [
        ("stream, one a connection, all on one channel", 1, 1),
        ("stream, 100 a connection, all on one channel", 100, 1),
        ("stream, 100 a connection, each on a channel of its own", 100, STREAMS),
    ] {
        let service = start("tidings-subscriber", &redis).await?;
        let (rest, before) = (service.resident()?, used(&redis));
        let streams = open(&service, streams_each, channels).await?;
        sleep(SETTLE).await;
        let each = (service.resident()? - rest) / STREAMS as f64;
        line(what, rest, each, (used(&redis) - before) / 1024.0 / STREAMS as f64)?;
        drop(streams);
    }
    let service = start("tidings-publisher", &redis).await?;
    let (rest, before) = (service.resident()?, used(&redis));
    publish(&service).await?;
    sleep(SETTLE).await;
    let each = (service.resident()? - rest) / CHANNELS as f64;
    line("channel published on once", rest, each, (used(&redis) - before) / 1024.0 / CHANNELS as f64)?;
    let service = start("tidings-subscriber", &redis).await?;
    let (rest, before) = (service.resident()?, used(&redis));
    let mut client = SubscriberServiceClient::new(service.connect().await?);
    let mut streams = Vec::new();
    for _ in 0..PATTERN_STREAMS {
        let request = StreamMessagesRequest { pattern: "sizing.*".to_owned(), ..Default::default() };
        streams.push(follow(&mut client, request).await?);
    }
    sleep(SETTLE).await;
    let each = (service.resident()? - rest) / PATTERN_STREAMS as f64;
    let what = format!("stream on a pattern of {CHANNELS} channels");
    line(&what, rest, each, (used(&redis) - before) / 1024.0 / PATTERN_STREAMS as f64)?;
    Ok(text)
}

/// Opens all streams, and reads of each what comes first.
async fn open(service: &Service, each: usize, channels: usize) -> anyhow::Result<Vec<Stream>> {
    let mut streams = Vec::with_capacity(STREAMS);
    for connection in 0..STREAMS / each {
        let mut client = SubscriberServiceClient::new(service.connect().await?);
        for stream in 0..each {
            let channel = format!("sizing.{}", (connection * each + stream) % channels);
            let request = StreamMessagesRequest { channel, ..Default::default() };
            streams.push(follow(&mut client, request).await?);
        }
    }
    Ok(streams)
}

async fn follow(
    client: &mut SubscriberServiceClient<Channel>,
    request: StreamMessagesRequest,
) -> anyhow::Result<Stream> {
    let mut stream = timeout(TEST_TIMEOUT, client.stream_messages(request)).await??.into_inner();
    for _ in ["started", "caught_up"] {
        timeout(TEST_TIMEOUT, stream.message()).await??.context("a first event")?;
    }
    Ok(stream)
}

async fn publish(service: &Service) -> anyhow::Result<()> {
    let mut client = PublisherServiceClient::new(service.connect().await?);
    for channel in 0..CHANNELS {
        let (channel, payload) = (format!("sizing.{channel}"), Some(Payload::Text("a".to_owned())));
        client.publish(PublishRequest { channel, payload, ..Default::default() }).await?;
    }
    Ok(())
}

async fn start(name: &str, redis: &RedisServer) -> anyhow::Result<Service> {
    let program = binary(name)?;
    let port = free_port();
    let arguments = ["--listen", &format!("127.0.0.1:{port}"), "--redis-url", &redis.url(), "--log-filter", "warn"];
    // All come from one address, which may not have as much.
    let limits = ["--address-max-connections=10000", "--caller-max-positions=1000000"];
    let process =
        Command::new(program).args(arguments).args(limits).stdin(Stdio::null()).stdout(Stdio::null()).spawn()?;
    let service = Service { process, url: format!("http://127.0.0.1:{port}") };
    let answers = async {
        while service.connect().await.is_err() {
            sleep(Duration::from_millis(50)).await;
        }
    };
    timeout(TEST_TIMEOUT, answers).await.context("the service does not start")?;
    // Connected to Redis, and quiet.
    sleep(Duration::from_secs(3)).await;
    Ok(service)
}

/// A service's program is beside this one's folder.
fn binary(name: &str) -> anyhow::Result<PathBuf> {
    let own = env::current_exe()?;
    let folder = own.ancestors().nth(2).context("a folder of binaries")?;
    let program = folder.join(name);
    if !program.is_file() {
        bail!("{} is not there; build the services first: cargo build --release --locked --bins", program.display());
    }
    Ok(program)
}

impl Service {
    async fn connect(&self) -> anyhow::Result<Channel> {
        Ok(Endpoint::from_shared(self.url.clone())?.connect().await?)
    }

    fn resident(&self) -> anyhow::Result<f64> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        let kilobytes: f64 = line.trim().trim_end_matches(" kB").parse()?;
        Ok(kilobytes * 1024.0)
    }
}

fn used(redis: &RedisServer) -> f64 {
    let info = redis.command(&["INFO", "memory"]);
    info.lines().find_map(|line| line.strip_prefix("used_memory:")?.trim().parse().ok()).unwrap_or(f64::NAN)
}
