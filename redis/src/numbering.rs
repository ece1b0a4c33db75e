//! Asks Redis for the number of a namespace's generation, and changes it.

use std::sync::Arc;

use tokio::time::timeout;

use crate::error::Error;
use crate::remote::Shared;
use crate::space::Space;
use crate::wire::Wire;

/// Asks for the generation of a namespace. Returns it, and `true` if a change of it cannot have
/// been missed. The number is that of a moment after the call has begun.
///
/// A number that has gone back is advanced beyond the highest one that this instance knows.
pub(crate) async fn ask(shared: &Arc<Shared>, wire: &Wire, space: &Arc<Space>) -> Result<(i64, bool), Error> {
    let asked = space.generation.ask();
    let number = wire.generation(&space.generation_key).await?;
    if asked.lag(number).is_none() {
        return Ok((number, space.generation.learn(asked, number)));
    }
    let (shared, wire, space) = (Arc::clone(shared), wire.clone(), Arc::clone(space));
    // A change must be followed to its end, also if the caller gives up.
    let handle = shared.handle.clone();
    let advancing = handle.spawn(async move {
        let waiting = timeout(shared.options.command_timeout.saturating_mul(2), space.generation.advancing.lock());
        let _one = waiting.await.map_err(|_| Error::TimedOut)?;
        // Another task may have advanced it meanwhile.
        if let Some(known) = space.generation.known().filter(|&known| asked.lag(known).is_none()) {
            return Ok(known);
        }
        let asked = space.generation.ask();
        let number = wire.generation(&space.generation_key).await?;
        match asked.lag(number) {
            None => Ok(number),
            Some(lag) => advance(&shared, &wire, &space, lag).await,
        }
    });
    Ok((advancing.await.unwrap_or(Err(Error::NoRuntime))?, false))
}

/// Begins a new generation: adds `by` to the number of the current one. Returns the sum.
///
/// Redis does not tell this instance of the change. So local entries are invalidated here: before
/// the command is sent, and again after it, for loads that have asked for the older number
/// meanwhile.
pub(crate) async fn advance(shared: &Shared, wire: &Wire, space: &Space, by: i64) -> Result<i64, Error> {
    let change = space.generation.begin_change();
    space.local.invalidate_all();
    let mut advanced = wire.advance_generation(&space.generation_key, by).await;
    // A number that was lost has gone back, and may have been used before.
    let lag = advanced.as_ref().ok().and_then(|number| change.began().lag(number.saturating_sub(1)));
    if let Some(lag) = lag {
        advanced = wire.advance_generation(&space.generation_key, lag).await;
    }
    match &advanced {
        Ok(generation) => change.finish(*generation),
        Err(error) => shared.give_up(wire, space, error),
    }
    space.local.invalidate_all();
    advanced
}
