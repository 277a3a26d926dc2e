//! `tidings doctor`: what a Redis is like, for those who think of running Tidings on it.

use clap::Args;
use serde::Serialize;
use tidings::printable::{Printable, chain};
use tidings_runtime::config::{Examined, Finding, Verdict};

use crate::{
    error::Error,
    output::{Out, OutputOrJson},
    render,
};

/// The width of the column of matters: that of the longest, and a space.
const MATTER: usize = 12;

/// Look at a Redis: would Tidings run well on it, and what should be changed?
///
/// It asks for version and mode, rights, persistence, memory, limits, the channels of now and their rates, and the way
/// there, and says for each what is so and what to do. It only reads. Give it the flags that the services are to have.
/// The exit code is 1 where something must be changed, or where Redis can't be asked.
#[derive(Debug, Args)]
#[command(after_help = "\
Examples:
  tidings doctor --redis-url redis://redis.example:6379     a table
  tidings doctor --redis-url rediss://tidings@redis.example --redis-password-file secret --json
                                                            one object for each matter, for programs
  tidings doctor --acl --key-prefix news                    users with the smallest rights")]
pub(crate) struct Doctor {
    #[command(flatten)]
    examined: Examined,
    /// Print commands that make users with the smallest rights, and end: for a publisher, a subscriber that only reads,
    /// and one that captures or keeps durable subscriptions. The passwords in them are to be replaced
    #[arg(long)]
    acl: bool,
    #[command(flatten)]
    output: OutputOrJson,
}

/// A finding, as programs get it.
#[derive(Serialize)]
struct JsonFinding<'a> {
    matter: &'a str,
    verdict: &'a str,
    what: &'a str,
    advice: &'a str,
}

impl Doctor {
    /// Looks, and prints what was found.
    pub(crate) async fn run(self, out: &mut Out) -> Result<(), Error> {
        if self.acl {
            self.examined.users().iter().try_for_each(|user| out.line(user))?;
            return Ok(out.flush()?);
        }
        let findings = self.examined.examine().await.map_err(|error| Error::Examined(chain(&error)))?;
        for finding in &findings {
            if self.output.is_json() {
                out.line(json(finding))?;
            } else {
                row(finding, out)?;
            }
        }
        out.flush()?;
        let is_bad = findings.iter().any(|finding| finding.verdict == Verdict::Bad);
        if is_bad { Err(Error::No) } else { Ok(()) }
    }
}

fn word(verdict: Verdict) -> &'static str {
    match verdict {
        Verdict::Good => "good",
        Verdict::Warning => "warning",
        Verdict::Bad => "bad",
    }
}

fn json(finding: &Finding) -> String {
    let Finding { matter, verdict, what, advice } = finding;
    render::to_json(&JsonFinding { matter, verdict: word(*verdict), what, advice })
}

/// A line, and one more where there is something to do. Redis's words are printed as escapes where they could do harm.
fn row(finding: &Finding, out: &mut Out) -> Result<(), Error> {
    let Finding { matter, verdict, what, advice } = finding;
    let palette = out.palette();
    let style = match verdict {
        Verdict::Good => palette.sequence,
        Verdict::Warning | Verdict::Bad => palette.warning,
    };
    let what = Printable(what);
    out.line(format_args!("{style}{:<8}{style:#} {matter:<MATTER$} {what}", word(*verdict)))?;
    if !advice.is_empty() {
        out.line(format_args!("{:<8} {:<MATTER$} -> {}", "", "", Printable(advice)))?;
    }
    Ok(())
}
