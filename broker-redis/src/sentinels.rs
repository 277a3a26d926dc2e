//! The sentinels of a service: all of them are asked each second where its primary is, and at once when one of them
//! says that something happens, or when the primary can't be used. What they answer together is the topology.
//!
//! One answer is enough to follow a promotion, since it has a higher epoch than all before it: a sentinel that hangs is
//! not waited for. Only the first choice waits until each sentinel, those of the URL and those that they know, has
//! answered or failed, so that a stale one that is quick is not believed alone. Losing all sentinels takes nothing away
//! from a Redis that works.

mod answer;
mod election;
mod sentinel;

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tidings::{
    limits::{LOG_QUIET, SENTINELS},
    metrics,
};
use tokio::{
    sync::mpsc,
    time::{Instant, sleep},
};
use tokio_util::{sync::CancellationToken, task::AbortOnDropHandle};

use self::{
    answer::Answer,
    election::{Elected, elect},
    sentinel::{Refusal, Report, Sentinel},
};
#[cfg(any(test, fuzzing))]
use super::resp::Reply;
use super::{address::Address, server::Server, url::Service};

/// Those that are asked, and what they said.
pub(super) struct Sentinels {
    server: Server,
    service: Service,
    asked: BTreeMap<Address, Asked>,
    elected: Option<Elected>,
    trouble: Trouble,
    /// When the log last said that there is trouble, and whether that still stands.
    said: Option<Instant>,
    is_said: bool,
}

/// One of them.
struct Asked {
    last: Option<Result<Answer, Refusal>>,
    /// Its id, as it said last.
    id: Option<String>,
    /// The ids under which others know it; none where the URL names it. Whoever answers there under another one is not
    /// of this service: an address that a sentinel had may be another's now.
    announced: BTreeSet<String>,
    /// When the log last said that it can't be asked.
    said: Option<Instant>,
    _task: AbortOnDropHandle<()>,
}

/// What is wrong with all sentinels together.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trouble {
    None,
    /// None of them answers the question.
    Silent,
    /// They all know an older configuration only.
    Outdated,
}

impl Sentinels {
    /// Those of a server, where it has any.
    pub(super) fn of(server: &Server) -> Option<Self> {
        let service = server.service()?.clone();
        Some(Self {
            server: server.clone(),
            service,
            asked: BTreeMap::new(),
            elected: None,
            trouble: Trouble::None,
            said: None,
            is_said: false,
        })
    }

    /// Asks until the token is cancelled.
    pub(super) async fn keep(self, closing: CancellationToken) {
        closing.run_until_cancelled(self.keep_on()).await;
    }

    async fn keep_on(mut self) {
        let (reports, mut received) = mpsc::channel(SENTINELS);
        for address in self.service.sentinels.clone() {
            self.ask(address, BTreeSet::new(), &reports);
        }
        while let Some(report) = received.recv().await {
            self.note(report);
            self.discover(&reports);
            let silent = self.asked.values().filter(|asked| matches!(asked.last, Some(Err(_)))).count();
            metrics::sentinels_silent(silent);
            if self.elected.is_some() || self.asked.values().all(|asked| asked.last.is_some()) {
                self.choose();
            }
        }
    }

    /// Begins to ask one more.
    fn ask(&mut self, address: Address, announced: BTreeSet<String>, reports: &mpsc::Sender<Report>) {
        let sentinel = Sentinel::new(&self.server, address.clone(), &self.service.name);
        let task = tokio::spawn(sentinel.keep(self.server.topology().clone(), reports.clone()));
        self.asked.insert(
            address,
            Asked { last: None, id: None, announced, said: None, _task: AbortOnDropHandle::new(task) },
        );
    }

    /// Keeps what one says, and logs that it can't be asked: once when that begins, and not again for a while.
    fn note(&mut self, Report { address, answer }: Report) {
        // One that is not asked any more may have left a report.
        let Some(asked) = self.asked.get_mut(&address) else { return };
        let answer = answer.and_then(|answer| asked.check(answer));
        if let Err(refusal) = &answer
            && !matches!(asked.last, Some(Err(_)))
            && asked.said.is_none_or(|said| said.elapsed() >= LOG_QUIET)
        {
            asked.said = Some(Instant::now());
            tracing::warn!(sentinel = %address, reason = %refusal, "a sentinel can't be asked for the primary");
        }
        let id = answer.as_ref().ok().map(|answer| answer.id.clone()).filter(|id| !id.is_empty());
        asked.id = id.or(asked.id.take());
        asked.last = Some(answer);
    }

    fn answers(&self) -> impl Iterator<Item = &Answer> + Clone {
        self.asked.values().filter_map(|asked| asked.last.as_ref()?.as_ref().ok())
    }

    /// Asks those as well of whom the others know, and no longer those of whom nobody knows any more.
    fn discover(&mut self, reports: &mpsc::Sender<Report>) {
        if self.answers().next().is_none() {
            return;
        }
        // The URL may name the same ones otherwise.
        let seeds: BTreeSet<_> = self.service.sentinels.iter().cloned().collect();
        let ids: BTreeSet<_> = seeds.iter().filter_map(|seed| self.asked.get(seed)?.id.clone()).collect();
        let mut others: BTreeMap<Address, BTreeSet<String>> = BTreeMap::new();
        for other in self.answers().flat_map(|answer| &answer.others).filter(|other| !ids.contains(&other.id)) {
            others.entry(other.address.clone()).or_default().insert(other.id.clone());
        }
        self.asked.retain(|address, _| seeds.contains(address) || others.contains_key(address));
        for (address, announced) in others {
            let has_room = self.asked.len() < SENTINELS;
            match self.asked.get_mut(&address) {
                Some(_) if seeds.contains(&address) => {}
                Some(asked) => asked.announced = announced,
                None if has_room => self.ask(address, announced, reports),
                None => {}
            }
        }
    }

    /// Takes the primary from what all say now.
    fn choose(&mut self) {
        let Some(newest) = self.answers().map(|answer| answer.epoch).max() else {
            let trouble = self.silence();
            if self.is_to_be_said(Trouble::Silent) {
                let (service, reason) = (&self.service.name, &trouble);
                let text = "no sentinel can be asked; the primary that was known last goes on being used";
                tracing::warn!(service, reason, "{text}");
            }
            return self.server.topology().set_trouble(trouble);
        };
        let Some(elected) = elect(self.answers(), self.elected.as_ref()) else {
            if self.is_to_be_said(Trouble::Outdated) {
                let (service, known) = (&self.service.name, self.elected.as_ref().map(|elected| elected.epoch));
                let text = "the sentinels know an older configuration than they did before; it is not followed";
                tracing::warn!(service, config_epoch = newest, known, "{text}");
            }
            return;
        };
        let is_over = self.is_to_be_said(Trouble::None);
        let service = &self.service.name;
        if is_over {
            tracing::info!(service, "the sentinels can be asked for the primary again");
        }
        if self.elected.as_ref().is_none_or(|current| current.address != elected.address) {
            let Elected { address, epoch } = &elected;
            tracing::info!(service, config_epoch = epoch, "the primary is now {address}");
        }
        if self.server.topology().set(elected.address.clone()) {
            metrics::primary_replaced();
        }
        self.elected = Some(elected);
    }

    /// Notes what is wrong with all of them; answers whether that is to be said: when it begins, though not again for a
    /// while, and its end where its beginning was said. As long as there is no primary at all, the connection says it.
    fn is_to_be_said(&mut self, trouble: Trouble) -> bool {
        let is_new = std::mem::replace(&mut self.trouble, trouble) != trouble && self.elected.is_some();
        match trouble {
            Trouble::None => is_new && std::mem::take(&mut self.is_said),
            Trouble::Silent | Trouble::Outdated => {
                let is_quiet = self.said.is_none_or(|said| said.elapsed() >= LOG_QUIET);
                if is_new && is_quiet {
                    (self.said, self.is_said) = (Some(Instant::now()), true);
                }
                is_new && is_quiet
            }
        }
    }

    /// Why nobody says where the primary is.
    fn silence(&self) -> String {
        let service = &self.service.name;
        let refusal = |asked: &Asked| asked.last.as_ref()?.as_ref().err().cloned();
        let refusals: Vec<_> = self.asked.iter().filter_map(|(at, asked)| Some((at, refusal(asked)?))).collect();
        let names = refusals.iter().map(|(_, refusal)| match refusal {
            Refusal::Unknown { names } => Some(names),
            Refusal::Silent(_) => None,
        });
        match names.collect::<Option<Vec<_>>>() {
            Some(names) => {
                let names: BTreeSet<_> = names.into_iter().flatten().map(String::as_str).collect();
                format!("no sentinel knows {service}{}", answer::known(names))
            }
            None => {
                let reasons: Vec<_> =
                    refusals.iter().map(|(address, refusal)| format!("{address}: {refusal}")).collect();
                format!("no sentinel can be asked where the primary of {service} is: {}", reasons.join("; "))
            }
        }
    }
}

impl Asked {
    /// Whether an answer is of the sentinel that is meant.
    fn check(&self, answer: Answer) -> Result<Answer, Refusal> {
        let is_another = !self.announced.is_empty() && !answer.id.is_empty() && !self.announced.contains(&answer.id);
        if is_another { Err(Refusal::Silent("another sentinel answers there".to_owned())) } else { Ok(answer) }
    }
}

/// Whatever a sentinel answers, what is taken from it can be connected to.
#[cfg(any(test, fuzzing))]
pub(super) fn check_reply(reply: &Reply) {
    let others = answer::others(reply).into_iter().map(|other| other.address);
    for address in others.chain(answer::address(reply)) {
        assert!(!address.host.is_empty() && address.port > 0, "{address:?}");
    }
    let (_, name) = (answer::epoch(reply), answer::name(reply));
    assert_ne!(name.as_deref(), Some(""));
}

/// Pauses between two questions to one sentinel: until it is time, or something has happened.
async fn pause(interval: Duration, happened: impl Future<Output = ()>) {
    tokio::select! {
        () = sleep(interval) => {}
        () = happened => {}
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn asked(announced: &[&str]) -> Asked {
        let announced = announced.iter().map(|id| (*id).to_owned()).collect();
        let task = AbortOnDropHandle::new(tokio::spawn(async {}));
        Asked { last: None, id: None, announced, said: None, _task: task }
    }

    #[tokio::test]
    async fn who_answers_under_another_id_than_is_known_is_another() {
        let address = Address { host: "redis.test".to_owned(), port: 1 };
        let answer = |id: &str| Answer { id: id.to_owned(), epoch: 9, address: address.clone(), others: Vec::new() };
        for (announced, id, is_meant) in [
            (&[][..], "a", true),
            (&["a"], "a", true),
            (&["a", "b"], "b", true),
            (&["a"], "", true),
            (&["a"], "b", false),
        ] {
            let checked = asked(announced).check(answer(id));
            assert_eq!(checked.is_ok(), is_meant, "{announced:?}, {id}: {checked:?}");
        }
    }
}
