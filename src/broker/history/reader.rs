//! One reader of one channel: what follows its position, and what of it is lost.

pub use self::next::{Absence, Next};
use self::{
    lost::{trimmed, trimmed_to},
    origin::Origin,
    reports::Reports,
};
use super::{EpochStart, Gap, GapReason, Head};
use crate::message::{DataSet, Epoch, Lineage, Mark, Position};

mod lost;
mod next;
mod origin;
mod pasts;
mod reported;
mod reports;

/// One reader of one channel: its position, the history of that position, and what it has reported.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Reader {
    /// Just after the last message read or named in a gap.
    position: Position,
    /// Of the position's epoch, as far as it is known.
    origin: Origin,
    /// The data set in which the reader last saw the channel, or saw that it was not there.
    data_set: Option<DataSet>,
    /// What was reported to be lost.
    reports: Reports,
    /// Where it was before it fell back within an epoch, or came back to one.
    fell_from: Position,
    /// Its position, where that is of an epoch older than the head's list and the log was seen to lead on from there.
    whole: Option<Position>,
}

impl Reader {
    /// A reader at a position.
    pub fn new(position: Position) -> Self {
        Self { position, ..Self::default() }
    }

    /// A reader that resumes at a position, with what its cursor knows of where that lies.
    pub fn resume(Mark { position, lineage }: Mark) -> Self {
        let data_set = match lineage {
            Lineage::DataSet(data_set) => Some(data_set),
            Lineage::Unknown | Lineage::Epoch { .. } => None,
        };
        let origin = Origin::said(position.epoch, lineage);
        Self { position, origin, data_set, ..Self::default() }
    }

    /// The data set in which a channel that had no head was found not to be there: if it has a head in another one
    /// later, messages may have been lost with this one.
    #[must_use]
    pub fn in_data_set(mut self, data_set: Option<DataSet>) -> Self {
        self.data_set = data_set;
        self
    }

    /// Just after the last message read or named in a gap.
    pub fn position(&self) -> Position {
        self.position
    }

    /// Messages up to this sequence of its epoch were read.
    pub fn advance(&mut self, sequence: i64) {
        self.position.sequence = sequence;
    }

    /// Its caller reports a gap that ends here, another one than the head shows.
    pub fn resume_at(&mut self, position: Position) {
        self.position = position;
    }

    /// Where the position lies, as far as the reader knows, for its cursor.
    pub fn lineage(&self) -> Lineage {
        match self.position.epoch {
            None => self.data_set.map_or(Lineage::Unknown, Lineage::DataSet),
            epoch => self.origin.lineage(epoch),
        }
    }

    /// The same with the position.
    pub fn mark(&self) -> Mark {
        Mark { position: self.position, lineage: self.lineage() }
    }

    /// Whether messages may have been lost before the first that the reader has seen, as far as the present data set
    /// shows: the head must be looked at before a first message is taken for the first.
    pub fn doubts_first(&self, present: Option<DataSet>) -> bool {
        self.position.epoch.is_none() && self.data_set.zip(present).is_some_and(|(known, present)| known != present)
    }

    /// Messages came that follow the reader's position, whose epoch comes from there.
    pub fn follow(&mut self, to: Position, lineage: Lineage) {
        if self.origin.lineage(to.epoch) == Lineage::Unknown {
            self.origin = Origin::said(to.epoch, lineage);
        }
        self.position = to;
    }

    /// The data set in which the reader last saw the channel.
    pub fn data_set(&self) -> Option<DataSet> {
        self.data_set
    }

    /// Looks at the head and says what is next; moves over gaps and into a new epoch where nothing was lost. `absence`
    /// counts where there is no head.
    pub fn next(&mut self, head: Option<&Head>, absence: Absence) -> Next {
        let Some(head) = head else { return self.without_head(absence) };
        if head.epochs.is_empty() {
            return Next::End;
        }
        self.come_back(head);
        if let Some(gap) = self.enter(head) {
            return Next::Gap(gap);
        }
        self.data_set = head.data_set.or(self.data_set);
        loop {
            let Some(index) = self.index(head) else {
                if self.whole.take() == Some(self.position) {
                    match self.leave_unlisted(head) {
                        Some(next) => return next,
                        None => continue,
                    }
                }
                match self.leave_fork(head) {
                    None => return Next::Unlisted,
                    Some(Some(gap)) => return Next::Gap(gap),
                    Some(None) => continue,
                }
            };
            let own = head.epochs[index].epoch;
            self.learn(head, index);
            self.pass_over_reported(own, head.last_of(index));
            if index == 0 && self.position.sequence + 1 < head.epochs[0].first {
                return self.before_oldest(head);
            }
            let Some(successor) = head.epochs.get(index + 1) else {
                if self.position.sequence > head.last {
                    return self.fall_back(own, head.last);
                }
                return self.in_epoch(head, index, head.last);
            };
            if self.position.sequence < successor.first - 1 {
                return self.in_epoch(head, index, successor.first - 1);
            }
            let gap = self.cross(head, own, successor);
            if self.position.epoch == Some(successor.epoch) {
                self.learn(head, index + 1);
            }
            if let Some(gap) = gap {
                return Next::Gap(gap);
            }
        }
    }

    /// Whether the reader has reported that what follows its position in its epoch is lost. Only a new epoch leads on
    /// then: copies of what was lost, wherever they may still be, are not to be read.
    pub fn awaits_epoch(&self) -> bool {
        self.position
            .epoch
            .is_some_and(|epoch| self.reports.beyond(epoch, self.position.sequence) > self.position.sequence)
    }

    /// Where the reader was before it fell back within an epoch, or how far it once had the one that it came back to.
    pub fn fell_from(&self) -> Position {
        self.fell_from
    }

    /// Up to where the reader once had its epoch, which is beyond its position where Redis has gone back since. What is
    /// there now, and newer, replaces what it had.
    pub fn had(&self) -> i64 {
        let before = if self.fell_from.epoch == self.position.epoch { self.fell_from.sequence } else { 0 };
        before.max(self.position.sequence)
    }

    /// Answers [`Next::Unlisted`]: `whole` when the log holds the message at the reader's position in the reader's
    /// epoch, or the one after it. Otherwise there is a gap of unknown length, up to what is retained.
    pub fn settle(&mut self, head: &Head, whole: bool) -> Option<Gap> {
        if whole {
            self.whole = Some(self.position);
            return None;
        }
        // A copy may come back that continues the reader's own history.
        self.leave(true);
        Some(self.lose_sight(head))
    }

    /// Continues from an epoch older than the head's list: with what the log has before the oldest of the list, and
    /// after that with what was lost where it began. Nothing where the reader is in it now.
    fn leave_unlisted(&mut self, head: &Head) -> Option<Next> {
        if self.position.sequence + 1 < head.epochs[0].first {
            return Some(self.before_oldest(head));
        }
        self.cross_to_oldest(head, self.position.epoch).map(Next::Gap)
    }

    /// What the log has before the oldest epoch of the head's list. Which epochs that is of only its messages say: the
    /// reader's position stays in its own until it has read them. Where it does not reach back to the reader, nobody
    /// knows any more what was lost between the two.
    fn before_oldest(&mut self, head: &Head) -> Next {
        let oldest = &head.epochs[0];
        if head.first <= self.position.sequence + 1 {
            self.position.epoch.get_or_insert(oldest.epoch);
            return Next::Read { to: oldest.first - 1 };
        }
        Next::Gap(self.lose_sight(head))
    }

    /// Continues with what is retained, after a gap of unknown length.
    fn lose_sight(&mut self, head: &Head) -> Gap {
        let lost = std::mem::replace(&mut self.position, head.position_at(head.first - 1));
        if let Some(index) = self.index(head) {
            self.learn(head, index);
        }
        Gap::lost(lost.epoch, lost.sequence + 1, 0, self.position)
    }

    /// Moves to the oldest epoch of the head's list, once all is reported that was lost where it began. Of the one
    /// before it, that is the reader's, or one that followed it.
    fn cross_to_oldest(&mut self, head: &Head, own: Option<Epoch>) -> Option<Gap> {
        let oldest = head.epochs.first()?;
        let sequence = self.position.sequence;
        let beyond = own.map(|own| (own, oldest.first.max(sequence + 1), oldest.previous_end));
        let losses = beyond.into_iter().chain(lost::found_out(head, oldest.epoch));
        let first = self.reports.first_unreported(losses);
        // While there is more to report, the reader's epoch is not listed, and this is asked once more.
        if !first.is_some_and(|(_, more)| more) {
            self.position = Position::new(oldest.epoch, sequence);
            self.learn(head, 0);
        }
        let ((epoch, from, to), more) = first?;
        self.report(epoch, from, to, self.position).map(|gap| Gap { more, ..gap })
    }

    /// Steps over messages that the reader learned of in another way than from the head.
    pub fn skip_to(&mut self, resume: Position, reason: GapReason) -> Gap {
        let from = std::mem::replace(&mut self.position, resume);
        let epoch = resume.epoch.or(from.epoch);
        Gap { epoch, first_missing: from.sequence + 1, last_missing: resume.sequence, reason, resume, more: false }
    }

    /// The reader's epoch was rewritten from this sequence on: Redis came back with less than it had, and others
    /// wrote before anyone saw that. What the reader has of it is lost; it continues with what is there now. Nothing
    /// where its position is before that.
    pub fn rewrite(&mut self, epoch: Epoch, from: i64) -> Option<Gap> {
        let had = self.position.sequence;
        if self.position.epoch != Some(epoch) {
            return None;
        }
        // What was reported from there on has been replaced by other messages, which must be read.
        self.reports.cut(epoch, from);
        if had < from {
            return None;
        }
        self.position = Position::new(epoch, from - 1);
        Some(Gap::lost(Some(epoch), from, had, self.position))
    }

    fn index(&self, head: &Head) -> Option<usize> {
        match self.position.epoch {
            // From the beginning, sequence 1 of any epoch follows.
            None => Some(0),
            Some(epoch) => head.index_of(epoch),
        }
    }

    /// Remembers where the reader's epoch comes from.
    fn learn(&mut self, head: &Head, index: usize) {
        let own = self.position.epoch;
        let is_known = self.origin.lineage(own) != Lineage::Unknown;
        // Of the oldest that it lists, the head does not know the one before.
        if own.is_none() || (is_known && (index == 0 || !self.origin.lacks_ancestors())) {
            return;
        }
        self.origin = Origin::listed(head, index);
    }

    /// Before the first message of a channel: what was published and lost before the reader saw any of it.
    fn enter(&mut self, head: &Head) -> Option<Gap> {
        if self.position.epoch.is_some() {
            return None;
        }
        let first = head.epochs[0];
        // What was lost at a later beginning, of which the list knows none before, is reported there.
        let losses = lost::found_out(head, first.epoch).filter(|_| first.first <= 1);
        if let Some(((epoch, from, to), more)) = self.reports.first_unreported(losses) {
            // After the last of them the reader is past the beginning, also where it resumes by its cursor.
            let resume = if more { Position::START } else { Position::new(first.epoch, 0) };
            self.position = resume;
            self.data_set = head.data_set.or(self.data_set);
            return self.report(epoch, from, to, resume).map(|gap| Gap { more, ..gap });
        }
        let (known, present) = (self.data_set?, head.data_set?);
        self.data_set = Some(present);
        // Where receipts said what was lost, that is all there was.
        if known == present || !self.reports.is_empty() {
            return None;
        }
        Some(Gap::lost(None, 1, 0, Position::START))
    }

    fn without_head(&mut self, absence: Absence) -> Next {
        let lost = self.position;
        let is_same = self.data_set.is_none() || absence.data_set.is_none() || self.data_set == absence.data_set;
        if lost == Position::START {
            // Whether the channel was there in the data set that the reader knew, its next head shows.
            self.data_set = self.data_set.or(absence.data_set);
            return Next::End;
        }
        self.data_set = absence.data_set.or(self.data_set);
        // Also what expired may be there yet, on a server whose clock is late.
        let has_expired = absence.expired && is_same;
        self.leave(!has_expired);
        self.position = Position::START;
        self.reports.begin();
        if has_expired {
            return Next::End;
        }
        Next::Gap(Gap::lost(lost.epoch, lost.sequence + 1, 0, Position::START))
    }

    /// The reader's epoch is of a history that is gone: Redis went back to where another one begins. The reader
    /// continues from the last epoch that both have in common, with what it has not had of it. `None` where none is
    /// known; otherwise what was lost, if anything.
    fn leave_fork(&mut self, head: &Head) -> Option<Option<Gap>> {
        let lost = self.position;
        let own = lost.epoch?;
        let (common, own_first) = match self.origin.exit(own, head) {
            Some(common) => (common, None),
            // What came after a server that did not have the channel has nothing in common with what was before that.
            None => (self.reports.recall(head)?, Some(1)),
        };
        // An epoch without a message has lost none: what was lost is of the one before.
        let named = match self.origin.lineage(Some(own)) {
            Lineage::Epoch { first, previous: Some(previous) } if first > lost.sequence => previous,
            _ => own,
        };
        let stages = self.origin.stages(own);
        self.go_to(head, common);
        let from = own_first.unwrap_or(self.position.sequence.min(common.1) + 1);
        let gap = self.report(named, from, lost.sequence, self.position);
        // What it read of the fork is not read again, where a server has that after all.
        for (epoch, first, last) in stages {
            if head.index_of(epoch).is_none() {
                self.reports.add(epoch, first, last);
            }
        }
        Some(gap)
    }

    /// Continues in an epoch of the head's, by its index, of which the reader had this much. What was read or reported
    /// of it beyond is not read again.
    fn go_to(&mut self, head: &Head, (index, had): (usize, i64)) {
        let epoch = head.epochs[index].epoch;
        self.fell_from = Position::new(epoch, had);
        let had = self.reports.beyond(epoch, had);
        let sequence = had.min(head.last_of(index));
        self.reports.add(epoch, sequence + 1, had);
        self.position = Position::new(epoch, sequence);
        self.learn(head, index);
    }

    /// A server has the channel again, after one that did not: where it has the reader's epoch, or what came
    /// before that, the reader continues there.
    fn come_back(&mut self, head: &Head) {
        if self.position != Position::START {
            return;
        }
        if let Some(common) = self.reports.recall(head) {
            self.go_to(head, common);
        }
    }

    /// Remembers what the reader is, before it loses its position; `is_reported`: it reports all that follows as lost.
    fn leave(&mut self, is_reported: bool) {
        self.reports.leave(self.position, self.origin.clone(), is_reported);
    }

    /// What was read or reported of an epoch is not read again, where a server has it after all.
    fn pass_over_reported(&mut self, own: Epoch, end: i64) {
        if self.position.epoch == Some(own) {
            let reported = self.reports.beyond(own, self.position.sequence).min(end);
            self.position.sequence = self.position.sequence.max(reported);
        }
    }

    /// The head is below the reader in the same epoch: Redis came back with less than it had.
    fn fall_back(&mut self, own: Epoch, last: i64) -> Next {
        let had = self.position.sequence;
        self.fell_from = self.position;
        self.position = Position::new(own, last);
        self.report(own, last + 1, had, self.position).map_or(Next::End, Next::Gap)
    }

    /// Moves to the beginning of the next epoch, once all is reported that was lost there: first what the old one had
    /// beyond, then what was found out when the next one began.
    fn cross(&mut self, head: &Head, own: Epoch, successor: &EpochStart) -> Option<Gap> {
        let resume = Position::new(successor.epoch, successor.first - 1);
        let losses = lost::after(head, own, self.position.sequence, successor);
        let Some(((epoch, from, to), more)) = self.reports.first_unreported(losses) else {
            self.position = resume;
            return None;
        };
        // A client that leaves between two of them gets both again, which is better than only one. What it had
        // beyond is lost.
        let before = Position::new(own, self.position.sequence.min(successor.first - 1));
        self.position = if more { before } else { resume };
        self.report(epoch, from, to, self.position).map(|gap| Gap { more, ..gap })
    }

    /// A loss, less what was reported of it before.
    fn report(&mut self, epoch: Epoch, from: i64, to: i64, resume: Position) -> Option<Gap> {
        let (first_missing, last_missing) = self.reports.report(epoch, from, to)?;
        Some(Gap::lost(Some(epoch), first_missing, last_missing, resume))
    }

    /// The reader is in an epoch that ends at `limit`: messages up to there are in the log, or were trimmed.
    fn in_epoch(&mut self, head: &Head, index: usize, limit: i64) -> Next {
        let from = self.position.sequence;
        let own = head.epochs[index].epoch;
        if from >= limit {
            return Next::End;
        }
        if head.first <= from + 1 {
            self.position.epoch = Some(own);
            self.learn(head, index);
            return Next::Read { to: limit };
        }
        let (index, last_missing) = trimmed_to(head, index, limit);
        self.position = Position::new(head.epochs[index].epoch, last_missing);
        self.learn(head, index);
        Next::Gap(trimmed(head, own, from, self.position))
    }
}
