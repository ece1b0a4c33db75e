//! The errors of loaders as the sources of `LoadError`s: each kind is found in the chain, by every
//! caller that waited, through threads, tasks and loads of many keys.

use std::error::Error;
use std::fmt;
use std::io;
use std::sync::Arc;
use std::task::Poll;

use bytecache::{Cache, LoadError, Loaded};

use crate::support::{Gate, Hand, alone, block_on};

/// An error with a source of its own.
#[derive(Debug)]
struct NoRow(io::Error);

impl fmt::Display for NoRow {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("no row")
    }
}

impl Error for NoRow {
    fn source(&self) -> Option<&(dyn Error + 'static)> {
        Some(&self.0)
    }
}

fn no_row() -> NoRow {
    NoRow(io::Error::other("no route"))
}

fn cache() -> Cache {
    Cache::new(1 << 20).unwrap()
}

/// The messages of a chain of errors.
fn chain(error: &(dyn Error + 'static)) -> Vec<String> {
    std::iter::successors(Some(error), |&error| error.source()).map(ToString::to_string).collect()
}

/// Returns the first error of this type in a chain.
fn find<'a, E: Error + 'static>(error: &'a (dyn Error + 'static)) -> Option<&'a E> {
    std::iter::successors(Some(error), |&error| error.source()).find_map(|error| error.downcast_ref())
}

#[test]
fn an_io_error_is_the_source() {
    let _alone = alone();
    let error = cache().get_or_load("key", || Err::<&str, _>(io::Error::from(io::ErrorKind::TimedOut))).unwrap_err();
    assert_eq!(chain(&error), ["the loader failed", "timed out"]);
    assert_eq!(find::<io::Error>(&error).unwrap().kind(), io::ErrorKind::TimedOut);
    assert_eq!(error.failure().unwrap().kind(), io::ErrorKind::TimedOut);
}

#[test]
fn the_error_in_a_box_is_the_source() {
    let _alone = alone();
    type Boxed = Box<dyn Error + Send + Sync>;
    let load = || -> Result<&str, Boxed> { Err(no_row())? };
    let error = cache().get_or_load("key", load).unwrap_err();
    assert_eq!(chain(&error), ["the loader failed", "no row", "no route"]);
    assert!(find::<NoRow>(&error).is_some() && find::<io::Error>(&error).is_some());
    assert!(error.failure().unwrap().is::<NoRow>());
    // So it is in a shared box.
    let load = || -> Result<&str, Arc<dyn Error + Send + Sync>> { Err(Arc::new(no_row())) };
    let error = cache().get_or_load("key", load).unwrap_err();
    assert_eq!(chain(&error), ["the loader failed", "no row", "no route"]);
    assert!(find::<NoRow>(&error).is_some());
}

#[test]
fn a_text_is_part_of_the_message() {
    let _alone = alone();
    let error = cache().get_or_load("key", || Err::<&str, _>("no route".to_string())).unwrap_err();
    assert_eq!(chain(&error), ["the loader failed: no route"]);
    assert_eq!(error.failure().unwrap(), "no route");
    let error = cache().get_or_load("key", || Err::<&str, _>("no route")).unwrap_err();
    assert_eq!(chain(&error), ["the loader failed: no route"]);
    let code = cache().get_or_load("key", || Err::<&str, _>(7)).unwrap_err();
    assert_eq!(code.failure(), Some(&7));
}

#[test]
fn the_error_in_an_anyhow_error_is_the_source() {
    let _alone = alone();
    let load = || -> anyhow::Result<&str> { Err(no_row())? };
    let error = cache().get_or_load("key", load).unwrap_err();
    assert_eq!(chain(&error), ["the loader failed", "no row", "no route"]);
    assert!(error.failure().unwrap().is::<NoRow>());
    // The chain of anyhow's error, and what it finds there.
    let error = anyhow::Error::from(error);
    let messages: Vec<_> = error.chain().map(ToString::to_string).collect();
    assert_eq!(messages, ["the loader failed", "no row", "no route"]);
    assert!(error.downcast_ref::<LoadError<anyhow::Error>>().is_some());
    assert!(error.chain().any(|error| error.is::<NoRow>()));
    assert_eq!(format!("{error:#}"), "the loader failed: no row: no route");
    let with_context = || -> anyhow::Result<&str> { Err(anyhow::Error::from(no_row()).context("user 7")) };
    let error = cache().get_or_load("key", with_context).unwrap_err();
    assert_eq!(chain(&error), ["the loader failed", "user 7", "no row", "no route"]);
    assert!(find::<NoRow>(&error).is_some());
}

#[test]
fn errors_without_a_loader_s_have_no_source() {
    let absent = cache().get_or_load("key", || Ok::<Loaded<&str>, io::Error>(Loaded::Absent)).unwrap_err();
    assert!(absent.source().is_none());
    assert_eq!(absent.to_string(), "the loader found nothing");
}

#[test]
fn followers_tasks_loaders_and_batches_have_the_same_source() {
    let _alone = alone();
    let cache = cache();
    let gate = Gate::new();
    let load = || {
        let gate = gate.clone();
        async move {
            gate.await;
            Err::<&str, _>(no_row())
        }
    };
    let (mut leader, mut follower) =
        (Hand::new(cache.get_or_load_async("key", load)), Hand::new(cache.get_or_load_async("key", load)));
    assert!(leader.poll().is_pending() && follower.poll().is_pending());
    gate.open();
    let answers = [leader.poll(), follower.poll()].map(|answer| match answer {
        Poll::Ready(answer) => answer.unwrap_err(),
        Poll::Pending => panic!("the load is over"),
    });
    let [led, followed] = &answers;
    assert!(std::ptr::eq(find::<NoRow>(led).unwrap(), find::<NoRow>(followed).unwrap()), "they share it");

    let loader = cache.loader().build(|_| Err::<&str, _>(no_row())).unwrap();
    assert!(find::<NoRow>(&loader.get("key").unwrap_err()).is_some());
    let loader = cache.loader().build_async(|_| async { Err::<&str, _>(anyhow::Error::from(no_row())) }).unwrap();
    assert!(find::<NoRow>(&block_on(loader.get_async("key")).unwrap_err()).is_some());
    assert!(find::<NoRow>(&block_on(loader.boxed().get_async("key")).unwrap_err()).is_some());
    let many = cache.get_or_load_many(&["a", "b"], |_| Err::<Vec<Option<&str>>, _>(no_row()));
    assert!(find::<NoRow>(&many.unwrap_err()).is_some());
    let many = cache.get_or_load_many_async(&["a", "b"], async |_| Err::<Vec<Option<&str>>, _>(no_row()));
    assert!(find::<NoRow>(&block_on(many).unwrap_err()).is_some());
}

#[test]
fn a_boxed_loader_has_the_rules_of_the_loader() {
    let _alone = alone();
    let cache = cache();
    let builder = cache.loader().negative_ttl(std::time::Duration::from_secs(60));
    let loader = builder
        .build_async(|key| async move { Ok::<_, io::Error>(Loaded::from((&*key == b"known").then_some("value"))) });
    let loader: bytecache::BoxAsyncLoader<io::Error> = loader.unwrap().boxed();
    assert_eq!(block_on(loader.get_async("known")).unwrap(), "value");
    for _ in 0..2 {
        assert!(block_on(loader.get_async("unknown")).unwrap_err().is_absent());
    }
    assert_eq!((cache.stats().loads, cache.stats().negative_hits), (2, 1));
}
