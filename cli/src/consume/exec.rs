//! The command of `--exec`, run for one message.

use std::{
    collections::BTreeMap,
    env,
    io::Write as _,
    os::unix::process::ExitStatusExt as _,
    process::{ExitStatus, Stdio},
};

use rustix::process::{Pid, Signal, kill_process_group};
use tidings::{
    limits::{EXEC_PIPES_GRACE, REASON_BYTES},
    pb::{ReceivedMessage, message::Payload},
};
use tokio::{
    io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _},
    process::{Child, Command},
    time::timeout,
};

use crate::render;

/// The exit code that puts a message aside: EX_DATAERR of sysexits.h.
const DATA_ERROR: i32 = 65;
/// What the variables of attributes begin with.
const ATTRIBUTE: &str = "TIDINGS_ATTRIBUTE_";

/// A command for a shell.
#[derive(Debug)]
pub(super) struct Script(String);

/// What came of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Verdict {
    Done,
    Failed {
        reason: String,
        /// Another try makes no sense.
        is_final: bool,
    },
}

impl Script {
    pub(super) fn new(command: String) -> Self {
        Self(command)
    }

    /// Runs it for a message. Where this is dropped, the command and what it has started are killed.
    pub(super) async fn run(&self, received: ReceivedMessage) -> Verdict {
        let mut command = Command::new("sh");
        // A group of its own: Ctrl-C is for the one who waits for it.
        command.arg("-c").arg(&self.0).process_group(0).stdin(Stdio::piped()).stderr(Stdio::piped());
        for (name, _) in env::vars_os() {
            if name.as_encoded_bytes().starts_with(ATTRIBUTE.as_bytes()) {
                command.env_remove(name);
            }
        }
        command.envs(variables(&received));
        match command.spawn() {
            Ok(child) => {
                let payload = received.message.and_then(|message| message.payload);
                attend(child, payload).await
            }
            Err(error) => {
                Verdict::Failed { reason: cut(format!("the command can't be started: {error}")), is_final: false }
            }
        }
    }
}

/// Feeds a command, listens to it, and waits for its end.
async fn attend(mut child: Child, payload: Option<Payload>) -> Verdict {
    let group = Group::of(&child);
    let (stdin, stderr) = (child.stdin.take(), child.stderr.take());
    let mut last = LastLine::default();
    let status = {
        let mut pipes = Box::pin(async {
            let body = payload.as_ref().map_or(&b""[..], bytes);
            tokio::join!(feed(stdin, body), copy(stderr, &mut last));
        });
        let mut are_open = true;
        loop {
            tokio::select! {
                status = child.wait() => {
                    if are_open {
                        // What it left running may hold them open for long.
                        let _ = timeout(EXEC_PIPES_GRACE, pipes).await;
                    }
                    break status;
                }
                () = &mut pipes, if are_open => are_open = false,
            }
        }
    };
    group.let_go();
    match status {
        Ok(status) => verdict(status, &last.into_text()),
        Err(error) => Verdict::Failed { reason: cut(format!("its end can't be awaited: {error}")), is_final: false },
    }
}

fn verdict(status: ExitStatus, last: &str) -> Verdict {
    if status.success() {
        return Verdict::Done;
    }
    let end = match (status.code(), status.signal()) {
        (Some(code), _) => format!("exit status {code}"),
        (None, Some(signal)) => format!("killed by signal {signal}"),
        (None, None) => "ended in an unknown way".to_owned(),
    };
    let reason = if last.is_empty() { end } else { format!("{end}: {last}") };
    Verdict::Failed { reason: cut(reason), is_final: status.code() == Some(DATA_ERROR) }
}

/// As much of a reason as the service takes.
fn cut(mut reason: String) -> String {
    let mut end = REASON_BYTES.min(reason.len());
    while !reason.is_char_boundary(end) {
        end -= 1;
    }
    reason.truncate(end);
    reason
}

fn bytes(payload: &Payload) -> &[u8] {
    match payload {
        Payload::Text(text) | Payload::Json(text) => text.as_bytes(),
        Payload::Data(data) => data,
    }
}

/// A command need not read its input.
async fn feed(stdin: Option<impl AsyncWrite + Unpin>, body: &[u8]) {
    if let Some(mut stdin) = stdin {
        let _ = stdin.write_all(body).await;
        let _ = stdin.shutdown().await;
    }
}

/// Passes on what a command says, and remembers the end of it.
async fn copy(stderr: Option<impl AsyncRead + Unpin>, last: &mut LastLine) {
    let Some(mut stderr) = stderr else { return };
    let mut buffer = [0; 4096];
    while let Ok(read @ 1..) = stderr.read(&mut buffer).await {
        // A closed one is no reason to fail.
        let _ = std::io::stderr().lock().write_all(&buffer[..read]);
        last.add(&buffer[..read]);
    }
}

/// The last line that is not empty, as far as a reason can have it.
#[derive(Debug, Default)]
struct LastLine {
    whole: Vec<u8>,
    begun: Vec<u8>,
}

impl LastLine {
    fn add(&mut self, bytes: &[u8]) {
        for byte in bytes {
            match byte {
                b'\n' if self.begun.trim_ascii().is_empty() => self.begun.clear(),
                b'\n' => self.whole = std::mem::take(&mut self.begun),
                byte if self.begun.len() < REASON_BYTES => self.begun.push(*byte),
                _ => {}
            }
        }
    }

    fn into_text(self) -> String {
        let last = if self.begun.trim_ascii().is_empty() { self.whole } else { self.begun };
        String::from_utf8_lossy(last.trim_ascii()).into_owned()
    }
}

/// What a message is, as variables.
fn variables(received: &ReceivedMessage) -> BTreeMap<String, String> {
    let mut variables = BTreeMap::from([("TIDINGS_ATTEMPT".to_owned(), received.delivery_attempt.to_string())]);
    let Some(message) = &received.message else { return variables };
    let attributes: BTreeMap<_, _> = message.attributes.iter().collect();
    let attributes = attributes.into_iter().map(|(key, value)| (attribute_name(key), value.clone()));
    let own = [
        ("TIDINGS_CHANNEL", message.channel.clone()),
        ("TIDINGS_MESSAGE_ID", message.message_id.clone()),
        ("TIDINGS_SEQUENCE", message.sequence.to_string()),
        ("TIDINGS_EPOCH", message.epoch.clone()),
        ("TIDINGS_PUBLISH_TIME", render::time(message.publish_time.as_ref())),
        ("TIDINGS_ORDERING_KEY", message.ordering_key.clone()),
    ];
    variables.extend(attributes.chain(own.map(|(name, value)| (name.to_owned(), value))));
    for value in variables.values_mut() {
        // No environment can have a NUL.
        *value = value.replace('\0', "\u{fffd}");
    }
    variables
}

fn attribute_name(key: &str) -> String {
    let name = key.chars().map(|c| if c.is_ascii_alphanumeric() { c.to_ascii_uppercase() } else { '_' });
    ATTRIBUTE.chars().chain(name).collect()
}

/// A command and what it has started, until it is over.
struct Group(Option<Pid>);

impl Group {
    fn of(child: &Child) -> Self {
        Self(child.id().and_then(|id| i32::try_from(id).ok()).and_then(Pid::from_raw))
    }

    fn let_go(mut self) {
        self.0 = None;
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        if let Some(group) = self.0 {
            let _ = kill_process_group(group, Signal::KILL);
        }
    }
}

#[cfg(test)]
mod tests {
    use tidings::pb::Message;

    use super::*;

    fn received(attributes: &[(&str, &str)], payload: Payload) -> ReceivedMessage {
        let attributes = attributes.iter().map(|(key, value)| ((*key).to_owned(), (*value).to_owned())).collect();
        let message = Message { sequence: 7, attributes, payload: Some(payload), ..Message::default() };
        ReceivedMessage { message: Some(message), delivery_attempt: 2, ..ReceivedMessage::default() }
    }

    async fn run(command: &str, received: ReceivedMessage) -> Verdict {
        Script::new(command.to_owned()).run(received).await
    }

    fn failed(reason: &str, is_final: bool) -> Verdict {
        Verdict::Failed { reason: reason.to_owned(), is_final }
    }

    #[tokio::test]
    async fn a_command_gets_the_body_and_the_variables() {
        let attributes = [("trace-id", "t\u{0}1"), ("größe", "x")];
        let text = || received(&attributes, Payload::Text("body\n".to_owned()));
        let test = "test \"$(cat; echo x)\" = \"body\nx\" && test $TIDINGS_SEQUENCE.$TIDINGS_ATTEMPT = 7.2 &&
            test \"$TIDINGS_ATTRIBUTE_TRACE_ID\" = t\u{fffd}1 && test $TIDINGS_ATTRIBUTE_GR__E = x";
        assert_eq!(run(test, text()).await, Verdict::Done);
        let data = received(&[], Payload::Data(vec![0, 255].into()));
        assert_eq!(run("test \"$(od -An -tx1)\" = ' 00 ff'", data).await, Verdict::Done);
        // More than a pipe holds, and nobody reads it.
        let large = received(&[], Payload::Text("x".repeat(500_000)));
        assert_eq!(run("exit 0", large.clone()).await, Verdict::Done);
        assert_eq!(run("test $(wc -c) = 500000", large).await, Verdict::Done);
    }

    #[tokio::test]
    async fn a_failure_says_why() {
        let text = || received(&[], Payload::Text("m".to_owned()));
        assert_eq!(run("exit 3", text()).await, failed("exit status 3", false));
        assert_eq!(
            run("echo no >&2; echo ' room ' >&2; echo >&2; exit 65", text()).await,
            failed("exit status 65: room", true)
        );
        assert_eq!(run("kill -9 $$", text()).await, failed("killed by signal 9", false));
        let Verdict::Failed { reason, .. } = run("printf 'ä%.0s' $(seq 2000) >&2; exit 1", text()).await else {
            panic!("it fails")
        };
        assert!((REASON_BYTES - 2..=REASON_BYTES).contains(&reason.len()), "{}", reason.len());
    }

    #[tokio::test]
    async fn what_a_command_leaves_running_is_not_waited_for() {
        let text = received(&[], Payload::Text("m".to_owned()));
        let began = std::time::Instant::now();
        assert_eq!(run("sleep 20 & exit 0", text).await, Verdict::Done);
        assert!(began.elapsed().as_secs() < 10);
    }
}
