//! How long a service takes from its start to its first answer, Redis being up.

use super::{Plan, Sample};
use crate::stage::{Meter, Service, answers};

/// Milliseconds.
pub(crate) async fn first_answer(plan: &mut Plan<'_>, service: Service) -> anyhow::Result<Sample> {
    // Redis starts with the first that needs it.
    plan.stage.service(service).await?;
    let meter = Meter::start(&[])?;
    let process = plan.stage.start(service)?;
    answers(service, &process.target).await?;
    let usage = meter.stop()?;
    Ok(Sample { figures: vec![usage.wall * 1e3], usage })
}
