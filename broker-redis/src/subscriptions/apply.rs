//! The call that carries out changes: it is made ready here, so that the script has little to do.

use redis::Cmd;
use tidings::{
    broker::{
        Error,
        subscriptions::{Applied, Change, Keyed, Outcome, Place},
    },
    subscription::{Attempts, Block, Generation},
};

use super::{
    answer::{Fields, not_understood},
    books::read_state,
    letters::{name, record},
    messages::sequence,
};
use crate::{keys::Keys, script};

/// Writes the call.
pub(super) fn write_apply(keys: &Keys, place: &Place, generation: Generation, changes: &[Change]) -> Cmd {
    let mut call = script::SUBSCRIPTION_APPLY.call();
    // Few keys are needed for claims and acknowledgements, and each costs Redis time.
    let needs_all = changes.iter().any(is_more);
    call.arg(if needs_all { 12 } else { 4 });
    call.arg(keys.books(place)).arg(keys.head(&place.channel)).arg(keys.blocks_out(place)).arg(keys.waiting(place));
    if needs_all {
        call.arg(keys.waiting_order(place)).arg(keys.attempts(place)).arg(keys.kept(place));
        call.arg(keys.dead(place)).arg(keys.letters(place)).arg(keys.outbox(place));
        call.arg(keys.order_keys(place)).arg(keys.parked(place));
    }
    call.arg(place.channel.as_str()).arg(generation.to_string());
    changes.iter().for_each(|change| write_change(&mut call, change));
    call
}

/// Whether a change says more than a claim and blocks.
fn is_more(change: &Change) -> bool {
    let Change { take, not_before_ms, wait, forget, dead, lost, close, park, open, .. } = change;
    let has_none = take.is_empty() && wait.is_empty() && forget.is_empty() && dead.is_empty();
    let has_no_key = close.is_empty() && park.is_empty() && open.is_empty();
    !(has_none && has_no_key) || *not_before_ms != 0 || *lost != 0
}

fn write_change(call: &mut Cmd, change: &Change) {
    match &change.claim {
        Some(claim) => {
            let epoch = claim.to.epoch.map(|epoch| epoch.to_string()).unwrap_or_default();
            call.arg(claim.from).arg(claim.to.sequence.saturating_add(1)).arg(claim.to.sequence);
            call.arg(epoch).arg(claim.revision)
        }
        None => call.arg(""),
    };
    call.arg(change.added()).arg(change.most_out).arg(change.blocks.len());
    let bytes = |block: &Option<Block>| block.as_ref().map(Block::to_bytes).unwrap_or_default();
    for block in &change.blocks {
        call.arg(block.id.to_string()).arg(bytes(&block.from)).arg(bytes(&block.to));
    }
    if is_more(change) {
        write_more(call.arg(1), change);
    } else {
        call.arg("");
    }
}

fn write_more(call: &mut Cmd, change: &Change) {
    let Change { take, taken, not_before_ms, wait, forget, dead, lost, close, park, open, .. } = change;
    call.arg(*not_before_ms).arg(*lost);
    call.arg(take.len()).arg(wait.len()).arg(forget.len()).arg(dead.len()).arg(taken.len().min(take.len()));
    call.arg(close.len()).arg(park.len()).arg(open.len());
    for number in take {
        call.arg(sequence(*number));
    }
    for attempts in taken.iter().take(take.len()) {
        call.arg(kept(*attempts));
    }
    for waiting in wait {
        call.arg(waiting.due_ms).arg(sequence(waiting.sequence));
    }
    for waiting in wait {
        call.arg(waiting.sequence).arg(sequence(waiting.sequence));
    }
    for waiting in wait {
        call.arg(sequence(waiting.sequence)).arg(waiting.attempts.to_string());
    }
    for number in forget {
        call.arg(sequence(*number));
    }
    for letter in dead {
        call.arg(name(letter.sequence, letter.epoch)).arg(sequence(letter.sequence)).arg(record(letter));
    }
    for Keyed { key, sequence: number } in close {
        let (key, number) = (key.to_string(), sequence(*number));
        call.arg(&key).arg(&number).arg(&number).arg(&key);
    }
    for Keyed { key, sequence: number } in park {
        let number = sequence(*number);
        call.arg(key.to_string()).arg(&number).arg(format!("{key}:{number}"));
    }
    for number in open {
        call.arg(sequence(*number));
    }
}

/// Attempts as they are kept: nothing is, of a message that was never delivered.
fn kept(attempts: Attempts) -> String {
    if attempts == Attempts::default() { String::new() } else { attempts.to_string() }
}

/// Reads what `subscription_apply.lua` answers.
pub(super) fn read_applied(mut fields: Fields, changes: usize) -> Result<Applied, Error> {
    match fields.len() {
        0 => return Ok(Applied::Missing),
        1 => return Ok(Applied::Over(fields.parse()?)),
        _ => {}
    }
    let state = read_state(&mut fields)?;
    let mut outcomes = Vec::with_capacity(changes);
    while fields.len() > 0 {
        outcomes.push(match fields.parse::<u8>()? {
            0 => Outcome::Done,
            1 => Outcome::Differs,
            2 => Outcome::Full,
            _ => return Err(not_understood()),
        });
    }
    if outcomes.len() == changes { Ok(Applied::Done(state, outcomes)) } else { Err(not_understood()) }
}

#[cfg(test)]
mod tests {
    use redis::Value;
    use tidings::{
        broker::subscriptions::{BlockChange, Claim, Letter, Waiting},
        channel::Names,
        message::{Epoch, Position},
        subscription::{BlockId, OrderKey, SubscriptionName, Token},
    };

    use super::*;

    /// The words of a call after the script's hash, without the keys: their number comes first.
    fn words(change: &Change) -> Vec<String> {
        let names = Names::new("tidings", "").expect("names");
        let channel = names.parse("orders").expect("a name");
        let place = Place { channel, name: SubscriptionName::parse("mail", &names).expect("a name") };
        let generation = Generation::from_u64(11).expect("not 0");
        let call = write_apply(&Keys::new("tidings"), &place, generation, std::slice::from_ref(change));
        let mut words = call.args_iter().skip(2).map(|word| match word {
            redis::Arg::Simple(word) => String::from_utf8_lossy(word).into_owned(),
            _ => String::new(),
        });
        let keys = words.next().expect("a number");
        let rest = words.skip(keys.parse().expect("a number"));
        std::iter::once(keys).chain(rest).collect()
    }

    fn epoch() -> Epoch {
        Epoch::from_u64(10).expect("not 0")
    }

    #[test]
    fn a_claim_has_few_keys_and_words() {
        let id = BlockId { token: Token::from_u64(12).expect("not 0"), number: 7, own: 0 };
        let block = Block::new(9, &[4, 5]).expect("a block");
        let change = Change {
            claim: Some(Claim { from: 4, to: Position::new(epoch(), 5), revision: 3 }),
            blocks: vec![BlockChange { id, from: None, to: Some(block) }],
            most_out: 100,
            ..Change::default()
        };
        let block = "000000000000090000000000000004\u{3}";
        let expected = ["4", "orders", "000000000000000b", "4", "6", "5", "000000000000000a", "3", "2", "100", "1"];
        assert_eq!(words(&change), [&expected[..], &["000000000000000c.7", "", block, ""]].concat());
    }

    #[test]
    fn what_else_a_change_says_comes_last() {
        let (sequence, attempts) = (2, Attempts { count: 1, first_ms: 5, redrives: 0 });
        let (reason, json) = ("bad".to_owned(), "{}".into());
        let key = OrderKey::of("customer").expect("a key");
        let text = key.to_string();
        let change = Change {
            take: vec![1],
            taken: vec![attempts],
            not_before_ms: 8,
            wait: vec![Waiting { sequence, due_ms: 9, attempts }],
            forget: vec![3],
            dead: vec![Letter { epoch: epoch(), sequence: 4, attempts, reason, key: Some(key), json }],
            lost: 6,
            close: vec![Keyed { key, sequence: 7 }],
            park: vec![Keyed { key, sequence: 8 }],
            open: vec![9],
            ..Change::default()
        };
        let [one, two, three, four] = ["0000000000000001", "0000000000000002", "0000000000000003", "0000000000000004"];
        let [seven, eight, nine] = ["0000000000000007", "0000000000000008", "0000000000000009"];
        let expected = [
            &[
                "12",
                "orders",
                "000000000000000b",
                "",
                "0",
                "0",
                "0",
                "1",
                "8",
                "6",
                "1",
                "1",
                "1",
                "1",
                "1",
                "1",
                "1",
                "1",
            ][..],
            &[one, "1,5,0", "9", two, "2", two, two, "1,5,0", three],
            &["0000000000000004.000000000000000a", four, &format!("1,5,0,{key};3;bad{{}}")],
            &[&text, seven, seven, &text, &text, eight, &format!("{text}:{eight}"), nine],
        ];
        assert_eq!(words(&change), expected.concat());
    }

    #[test]
    fn answers_are_whole_or_an_error() {
        let bulk = |text: &str| Value::BulkString(text.as_bytes().to_vec());
        let read = |fields: &[Value], changes| {
            read_applied(Fields::of(Value::Array(fields.to_vec())).expect("a list"), changes)
        };
        assert_eq!(read(&[], 1), Ok(Applied::Missing));
        let generation = Generation::from_u64(11).expect("not 0");
        assert_eq!(read(&[bulk("000000000000000b")], 1), Ok(Applied::Over(generation)));
        let mut fields =
            ["1", "5000", "000000000000000b", "3", "4", "2", "000000000000000a", "5", ""].map(bulk).to_vec();
        fields.extend([Value::Int(0), Value::Int(2)]);
        let Ok(Applied::Done(state, outcomes)) = read(&fields, 2) else { panic!("{:?}", read(&fields, 2)) };
        assert_eq!((state.now_ms, state.next, state.out, state.due_ms), (1_005, 4, 2, None));
        assert_eq!(outcomes, [Outcome::Done, Outcome::Full]);
        assert!(read(&fields, 3).is_err(), "an outcome is missing");
        for (field, wrong) in [(2, "x"), (4, "0"), (5, "-1"), (6, "x"), (8, "soon")] {
            let mut fields = fields.clone();
            fields[field] = bulk(wrong);
            assert!(read(&fields, 2).is_err(), "{field} {wrong}");
        }
        fields[10] = Value::Int(3);
        assert!(read(&fields, 2).is_err());
    }
}
