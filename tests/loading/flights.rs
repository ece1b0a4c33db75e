//! Loading: one load of a key runs at a time, whatever happens to its leader, its followers, and
//! the key.

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Mutex, mpsc};
use std::task::Poll;
use std::thread;
use std::time::Duration;

use bytecache::testing::Inspect;
use bytecache::{Cache, Lifetime, LoadError, Value};

use crate::support::{Gate, Hand, alone, assert_nothing_is_left, block_on, timed, until};

const SECOND: Duration = Duration::from_secs(1);

type Answer = Result<Value, LoadError<String>>;

fn cache() -> Cache {
    Cache::builder().max_bytes(1 << 20).shards(1).build().unwrap()
}

fn ok(value: &str) -> Result<String, String> {
    Ok(value.to_string())
}

/// Panics: a loader that must not be called.
fn never() -> Result<String, String> {
    panic!("loaded although a value was present")
}

fn text(answer: Answer) -> String {
    String::from_utf8(answer.unwrap().to_vec()).unwrap()
}

// One caller.

#[test]
fn what_was_loaded_is_stored_and_not_loaded_again() {
    let _alone = alone();
    let cache = cache();
    assert_eq!(text(cache.get_or_load("key", || ok("value"))), "value");
    assert_eq!(text(cache.get_or_load("key", never)), "value");
    assert_eq!(cache.get("key").as_deref(), Some(&b"value"[..]));
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.hits, stats.misses, stats.inserts), (1, 2, 1, 1));
    assert_eq!(stats.load_times.histogram().map(|(_, count)| count).sum::<u64>(), 1);
    assert!(stats.load_times.total() > Duration::ZERO);
    assert_nothing_is_left(&cache);
}

#[test]
fn an_error_is_returned_and_the_next_call_loads_again() {
    let _alone = alone();
    let cache = cache();
    let error = cache.get_or_load("key", || Err::<String, _>("down".to_string())).unwrap_err();
    assert_eq!(error.failure().map(String::as_str), Some("down"));
    assert_eq!(text(cache.get_or_load("key", || ok("up"))), "up");
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.load_failures, stats.inserts), (2, 1, 1));
    assert_nothing_is_left(&cache);
}

#[test]
fn a_panic_goes_on_and_the_next_call_loads_again() {
    let _alone = alone();
    let cache = cache();
    let panic =
        catch_unwind(AssertUnwindSafe(|| cache.get_or_load("key", || -> Result<String, String> { panic!("!") })));
    assert!(panic.is_err());
    assert_eq!(text(cache.get_or_load("key", || ok("value"))), "value");
    assert_eq!(cache.stats().load_failures, 1);
    assert_nothing_is_left(&cache);
}

#[test]
fn what_cannot_be_stored_is_returned_and_counted_and_displaces_what_is_older() {
    let _alone = alone();
    let cache = cache();
    let large = "x".repeat(cache.max_entry_bytes());
    assert_eq!(text(cache.get_or_load("key", || ok(&large))), large);
    let long = vec![7; 70_000];
    assert_eq!(text(cache.get_or_load(&long, || ok("value"))), "value");
    let stats = cache.stats();
    assert_eq!((stats.rejected_too_large, stats.rejected_key_too_long, stats.loads), (1, 1, 2));
    assert!(cache.is_empty());

    let (cache, clock) = timed(|builder| builder);
    let sizes = Arc::new(AtomicUsize::new(1));
    let loader = {
        let sizes = Arc::clone(&sizes);
        let load = move |_: &[u8]| Ok::<_, String>(vec![1; sizes.load(Ordering::Relaxed)]);
        cache.loader().refresh_after(SECOND).build(load).unwrap()
    };
    assert_eq!(loader.get("key").unwrap().len(), 1);
    clock.advance(2 * SECOND);
    sizes.store(1 << 20, Ordering::Relaxed);
    assert_eq!(loader.get("key").unwrap().len(), 1 << 20);
    assert!(cache.get("key").is_none());
    assert_nothing_is_left(&cache);
}

#[test]
fn a_loader_that_asks_for_its_own_key_is_told_so() {
    let _alone = alone();
    let cache = cache();
    let answer = cache.get_or_load("key", || {
        let inner = cache.get_or_load("key", || ok("inner"));
        assert!(matches!(inner, Err(LoadError::Reentrant)));
        let inner = block_on(cache.get_or_load_async("key", async || ok("inner")));
        assert!(matches!(inner, Err(LoadError::Reentrant)));
        let inner = cache.get_or_load_many(&["other", "key"], |_| Ok::<Vec<Option<&str>>, String>(vec![]));
        assert!(matches!(inner, Err(LoadError::Reentrant)));
        // Other keys work, to any depth.
        let other = cache.get_or_load("other", || Ok::<_, String>(text(cache.get_or_load("third", || ok("3")))));
        Ok::<_, String>(text(other) + "1")
    });
    assert_eq!(text(answer), "31");
    assert_eq!(text(cache.get_or_load("other", never)), "3");
    assert_nothing_is_left(&cache);
}

#[test]
fn a_task_that_asks_for_the_key_it_loads_is_told_so_whichever_thread_polls_it() {
    let _alone = alone();
    let cache = cache();
    let gate = Gate::new();
    let (inner, waits) = (cache.clone(), gate.clone());
    let mut task = Hand::new(async move {
        let outer = inner.get_or_load_async("key", async || {
            waits.clone().await;
            let again = inner.get_or_load_async("key", async || ok("inner")).await;
            assert!(matches!(again, Err(LoadError::Reentrant)));
            let blocking = inner.get_or_load("key", || ok("inner"));
            assert!(matches!(blocking, Err(LoadError::Reentrant)));
            ok("value")
        });
        text(outer.await)
    });
    assert!(task.poll().is_pending());
    gate.open();
    let polled = thread::spawn(move || task.poll()).join().unwrap();
    assert_eq!(polled, Poll::Ready("value".to_string()));
    assert_nothing_is_left(&cache);
}

#[test]
fn a_load_within_another_tasks_poll_is_no_reentrance() {
    let _alone = alone();
    let cache = cache();
    let gate = Gate::new();
    let waits = gate.clone();
    let mut leader = Hand::new(cache.get_or_load_async("key", async || {
        waits.await;
        ok("led")
    }));
    assert!(leader.poll().is_pending());
    // This call is on the same thread, but not inside the loader.
    let mut follower = Hand::new(cache.get_or_load_async("key", async || never()));
    assert!(follower.poll().is_pending());
    gate.open();
    assert!(leader.poll().is_ready());
    assert_eq!(follower.poll().map(text), Poll::Ready("led".to_string()));
}

#[test]
fn a_call_that_loads_the_key_otherwise_is_not_given_an_error_of_another_type() {
    let _alone = alone();
    let cache = cache();
    let gate = Gate::new();
    let waits = gate.clone();
    let mut leader = Hand::new(cache.get_or_load_async("key", async || {
        waits.await;
        Err::<String, u32>(7)
    }));
    assert!(leader.poll().is_pending());
    let mut follower = Hand::new(cache.get_or_load_async("key", async || ok("mine")));
    assert!(follower.poll().is_pending());
    gate.open();
    assert!(matches!(leader.poll(), Poll::Ready(Err(LoadError::Failed(_)))));
    assert_eq!(follower.poll().map(text), Poll::Ready("mine".to_string()));
    assert_nothing_is_left(&cache);
}

#[test]
fn a_panic_in_what_the_user_converts_is_a_panic_of_the_load() {
    let _alone = alone();
    struct Bad;
    impl AsRef<[u8]> for Bad {
        fn as_ref(&self) -> &[u8] {
            panic!("no bytes")
        }
    }
    let cache = cache();
    assert!(catch_unwind(AssertUnwindSafe(|| cache.get_or_load("key", || Ok::<_, String>(Bad)))).is_err());
    assert_nothing_is_left(&cache);
}

// Leases.

#[test]
fn a_clearing_that_others_insert_during_keeps_loads_from_being_stored_too() {
    let _alone = alone();
    type Handle = Arc<Mutex<Option<Cache>>>;
    let handle = Handle::default();
    let listener = {
        let handle = Arc::clone(&handle);
        move |_: &[u8], _: &[u8], _| {
            if let Some(cache) = handle.lock().unwrap().take() {
                cache.insert("new", "value").unwrap();
            }
        }
    };
    let (cache, _) = timed(|builder| builder.on_removal(listener));
    for key in 0..1_000_u32 {
        cache.insert(key.to_le_bytes(), [7; 500]).unwrap();
    }
    let answer = cache.get_or_load("key", || {
        *handle.lock().unwrap() = Some(cache.clone());
        cache.clear();
        ok("old")
    });
    assert_eq!(text(answer), "old");
    assert!(cache.get("key").is_none());
    assert_eq!(cache.stats().discarded_loads, 1);
}

/// Changes a key during its load in each way. Each change prevents the load's result from being
/// stored.
#[test]
fn whatever_changes_a_key_keeps_a_load_that_began_before_from_being_stored() {
    let _alone = alone();
    type Change = (&'static str, fn(&Cache));
    let changes: [Change; 15] = [
        ("insert", |cache| cache.insert("key", "new").unwrap()),
        ("insert_with_ttl", |cache| cache.insert_with_ttl("key", "new", SECOND).unwrap()),
        ("expired insert", |cache| cache.insert_with_ttl("key", "new", Duration::ZERO).unwrap()),
        ("refused insert", |cache| assert!(cache.insert("key", vec![1; 1 << 20]).is_err())),
        ("insert_if_absent", |cache| assert!(cache.insert_if_absent("key", "new").unwrap())),
        ("replace of nothing", |cache| assert!(!cache.replace("key", "new").unwrap())),
        ("remove", |cache| assert!(!cache.remove("key"))),
        ("take", |cache| assert!(cache.take("key").is_none())),
        ("clear", Cache::clear),
        ("retain", |cache| cache.retain(|_, _| true)),
        ("retain none", |cache| cache.retain(|_, _| false)),
        ("get_or_load of another", |cache| {
            cache.remove("key");
            // On another thread, and so not inside this loader.
            let other = || assert_eq!(text(cache.get_or_load("key", || ok("new"))), "new");
            thread::scope(|scope| scope.spawn(other).join().unwrap());
        }),
        ("zero set_ttl of nothing", |cache| assert!(!cache.set_ttl("key", Duration::ZERO).unwrap())),
        ("zero set_ttl with a stale period", |cache| {
            cache.insert_with_lifetime("key", "new", Lifetime::new().stale_for(SECOND)).unwrap();
            assert!(cache.set_ttl("key", Duration::ZERO).unwrap());
        }),
        ("zero set_ttl", |cache| {
            cache.insert("key", "new").unwrap();
            assert!(cache.set_ttl("key", Duration::ZERO).unwrap());
        }),
    ];
    for listened in [false, true] {
        for (name, change) in changes {
            let (cache, _) = timed(|builder| if listened { builder.on_removal(|_, _, _| {}) } else { builder });
            let answer = cache.get_or_load("key", || {
                change(&cache);
                ok("old")
            });
            assert_eq!(text(answer), "old", "{name}");
            assert_ne!(cache.get("key").as_deref(), Some(&b"old"[..]), "{name}");
            assert_eq!(cache.stats().discarded_loads, 1, "{name}");
            assert_nothing_is_left(&cache);
        }
    }
}

#[test]
fn what_does_not_change_a_key_lets_its_load_be_stored() {
    let _alone = alone();
    type Change = (&'static str, fn(&Cache));
    let others: [Change; 5] = [
        ("another key", |cache| cache.insert("other", "value").unwrap()),
        ("another key's removal", |cache| assert!(!cache.remove("other"))),
        ("read", |cache| assert!(cache.get("key").is_none())),
        ("persist", |cache| assert!(!cache.persist("key"))),
        ("touch", |cache| assert!(!cache.touch("key"))),
    ];
    for (name, other) in others {
        let cache = cache();
        let answer = cache.get_or_load("key", || {
            other(&cache);
            ok("loaded")
        });
        assert_eq!(text(answer), "loaded", "{name}");
        assert_eq!(cache.get("key").as_deref(), Some(&b"loaded"[..]), "{name}");
        assert_eq!(cache.stats().discarded_loads, 0, "{name}");
    }
}

#[test]
fn who_comes_after_an_invalidation_does_not_follow_the_load_from_before() {
    let _alone = alone();
    let cache = cache();
    let old = Gate::new();
    let waits = old.clone();
    let mut before = Hand::new(cache.get_or_load_async("key", async || {
        waits.await;
        ok("old")
    }));
    assert!(before.poll().is_pending());
    cache.remove("key");
    assert_eq!(text(cache.get_or_load("key", || ok("new"))), "new");
    old.open();
    assert_eq!(before.poll().map(text), Poll::Ready("old".to_string()));
    assert_eq!(text(cache.get_or_load("key", never)), "new");
    assert_eq!(cache.stats().discarded_loads, 1);
    assert_nothing_is_left(&cache);
}

// Many callers.

#[test]
fn ten_thousand_callers_of_a_key_load_it_once() {
    let _alone = alone();
    const TASKS: usize = 9_000;
    const THREADS: usize = 1_000;
    let cache = Cache::builder().max_bytes(64 << 20).build().unwrap();
    let loads = Arc::new(AtomicUsize::new(0));
    let (begin, begun) = mpsc::channel::<()>();
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_time().build().unwrap();
    // The first caller's load ends after all others have begun to wait.
    let leader = {
        let (cache, loads) = (cache.clone(), Arc::clone(&loads));
        thread::spawn(move || {
            text(cache.get_or_load("key", || {
                loads.fetch_add(1, Ordering::Relaxed);
                begun.recv().unwrap();
                ok("value")
            }))
        })
    };
    until(|| cache.loads_under_way().0 == 1);
    let tasks: Vec<_> = (0..TASKS)
        .map(|_| {
            let (cache, loads) = (cache.clone(), Arc::clone(&loads));
            runtime.spawn(async move {
                let load = async || {
                    loads.fetch_add(1, Ordering::Relaxed);
                    ok("another")
                };
                text(cache.get_or_load_async("key", load).await)
            })
        })
        .collect();
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            let (cache, loads) = (cache.clone(), Arc::clone(&loads));
            let call = move || {
                text(cache.get_or_load("key", || {
                    loads.fetch_add(1, Ordering::Relaxed);
                    ok("another")
                }))
            };
            thread::Builder::new().stack_size(256 << 10).spawn(call).unwrap()
        })
        .collect();
    until(|| cache.loads_under_way() == (1, TASKS + THREADS));
    let memory = cache.memory();
    assert!(memory.flights > TASKS * 16 && memory.allocated <= memory.max, "{memory:?}");
    begin.send(()).unwrap();
    assert_eq!(leader.join().unwrap(), "value");
    assert!(threads.into_iter().all(|thread| thread.join().unwrap() == "value"));
    runtime.block_on(async {
        for task in tasks {
            assert_eq!(task.await.unwrap(), "value");
        }
    });
    assert_eq!(loads.load(Ordering::Relaxed), 1);
    let stats = cache.stats();
    assert_eq!((stats.loads, stats.followers), (1, (TASKS + THREADS) as u64));
    assert_nothing_is_left(&cache);
}

#[test]
fn callers_that_come_at_once_load_once() {
    let _alone = alone();
    for round in 0..200 {
        let cache = cache();
        let loads = AtomicUsize::new(0);
        let barrier = Barrier::new(4);
        thread::scope(|scope| {
            for _ in 0..4 {
                scope.spawn(|| {
                    barrier.wait();
                    let load = || {
                        loads.fetch_add(1, Ordering::Relaxed);
                        ok("value")
                    };
                    assert_eq!(text(cache.get_or_load("key", load)), "value");
                });
            }
        });
        assert_eq!(loads.load(Ordering::Relaxed), 1, "round {round}");
        assert_nothing_is_left(&cache);
    }
}

#[test]
fn without_memory_for_a_flight_a_caller_loads_for_itself() {
    let _alone = alone();
    let cache = Cache::builder().max_bytes(64 << 10).shards(1).build().unwrap();
    let mut tasks: Vec<_> = (0..2_000)
        .map(|key: u32| {
            let cache = cache.clone();
            Hand::new(async move {
                let load = async || {
                    Gate::new().await;
                    ok("never")
                };
                cache.get_or_load_async(key.to_le_bytes(), load).await
            })
        })
        .collect();
    assert!(tasks.iter_mut().all(|task| task.poll().is_pending()));
    let (memory, stats) = (cache.memory(), cache.stats());
    assert!(memory.allocated <= memory.max, "{memory:?}");
    let (under_way, unshared) = (cache.loads_under_way().0 as u64, stats.unshared_loads);
    assert!(under_way > 20 && unshared > 0 && under_way + unshared == 2_000, "{under_way} and {unshared}");
    let answer = cache.get_or_load("one more", || ok("value"));
    assert_eq!(text(answer), "value");
    assert!(cache.get("one more").is_none());
    drop(tasks);
    assert_nothing_is_left(&cache);
    assert_eq!(text(cache.get_or_load("one more", || ok("value"))), "value");
    assert!(cache.get("one more").is_some());
}

#[test]
fn a_key_that_is_loaded_many_times_over_takes_no_memory_for_good() {
    let _alone = alone();
    let cache = cache();
    for round in 0..10_000_u32 {
        let key = round.to_le_bytes();
        let mut led = Hand::new(cache.get_or_load_async(key, async || {
            Gate::new().await;
            ok("never")
        }));
        assert!(led.poll().is_pending());
    }
    assert_eq!(cache.stats().load_cancellations, 10_000);
    assert_nothing_is_left(&cache);
}

// Code of the caller that runs during a load.

#[test]
fn a_listener_may_ask_for_the_key_that_is_being_loaded() {
    let _alone = alone();
    type Handle = Arc<Mutex<Option<Cache>>>;
    let handle = Handle::default();
    let asked = Arc::new(AtomicUsize::new(0));
    let listener = {
        let (handle, asked) = (Arc::clone(&handle), Arc::clone(&asked));
        move |_: &[u8], _: &[u8], _| {
            let cache = handle.lock().unwrap().clone();
            let Some(cache) = cache else { return };
            for key in ["key", "another"] {
                match cache.get_or_load(key, || Err::<&str, _>("not now".to_string())) {
                    Err(LoadError::Reentrant) => drop(asked.fetch_add(1, Ordering::Relaxed)),
                    Err(LoadError::Failed(_)) => {}
                    other => panic!("{other:?}"),
                }
            }
        }
    };
    let (cache, clock) = timed(|builder| builder.on_removal(listener));
    let expire = || {
        cache.insert_with_ttl("dying", "value", SECOND).unwrap();
        clock.advance(2 * SECOND);
    };
    expire();
    *handle.lock().unwrap() = Some(cache.clone());
    // The beginning of this load removes the expired entry.
    assert_eq!(text(cache.get_or_load("key", || ok("value"))), "value");
    assert_eq!(asked.swap(0, Ordering::Relaxed), 1);
    cache.clear();
    asked.store(0, Ordering::Relaxed);
    expire();
    let many =
        cache.get_or_load_many(&["another", "key"], |missing| Ok::<_, String>(vec![Some("value"); missing.len()]));
    assert_eq!(many.unwrap().len(), 2);
    assert_eq!(asked.load(Ordering::Relaxed), 2);
    *handle.lock().unwrap() = None;
    assert_eq!(cache.stats().listener_panics, 0);
    assert_nothing_is_left(&cache);
}

#[test]
fn a_listener_may_ask_for_any_key_while_many_are_landed() {
    let _alone = alone();
    type Handle = Arc<Mutex<Option<Cache>>>;
    for fails in [false, true] {
        let (handle, refused) = (Handle::default(), Arc::new(AtomicUsize::new(0)));
        let listener = {
            let (handle, refused) = (Arc::clone(&handle), Arc::clone(&refused));
            move |_: &[u8], _: &[u8], _| {
                let cache = handle.lock().unwrap().clone();
                let Some(cache) = cache else { return };
                for key in [0_u8, 39] {
                    // The call returns, whether the key is still being loaded or its load has
                    // ended.
                    let answer = cache.get_or_load([key], || Err::<&str, _>("not now".to_string()));
                    refused.fetch_add(usize::from(matches!(answer, Err(LoadError::Reentrant))), Ordering::Relaxed);
                }
            }
        };
        let (cache, clock) = timed(|builder| builder.on_removal(listener));
        *handle.lock().unwrap() = Some(cache.clone());
        let keys: Vec<_> = (0..40_u8).map(|key| [key]).collect();
        let answer = cache.get_or_load_many(&keys, |missing| {
            // These entries have expired, and leave while the results are stored. Because of their
            // number, the listener is notified of some before all results are stored.
            for dying in 0..1_200_u32 {
                cache.insert_with_ttl(dying.to_le_bytes(), [7; 500], SECOND).unwrap();
            }
            clock.advance(2 * SECOND);
            if fails { Err("down".to_string()) } else { Ok(vec![Some("value"); missing.len()]) }
        });
        assert_eq!(answer.is_err(), fails);
        assert!(refused.load(Ordering::Relaxed) > 100);
        *handle.lock().unwrap() = None;
        assert_eq!(cache.stats().listener_panics, 0);
        assert_nothing_is_left(&cache);
    }
}

#[test]
fn an_executor_that_polls_as_it_wakes_is_not_taken_for_the_loader() {
    let _alone = alone();
    type Slot = Arc<Mutex<Option<Hand<'static, Answer>>>>;
    struct Polls(Slot, Arc<Mutex<Vec<Answer>>>);
    impl std::task::Wake for Polls {
        fn wake(self: Arc<Self>) {
            let task = self.0.lock().unwrap().take();
            if let Some(Poll::Ready(answer)) = task.map(|mut task| task.poll()) {
                self.1.lock().unwrap().push(answer);
            }
        }
    }
    let cache = cache();
    let answers: Arc<Mutex<Vec<Answer>>> = Arc::default();
    let slot = Slot::default();
    // The follower's error type differs from the leader's, so it loads for itself when it is woken.
    let answer = cache.get_or_load("key", || {
        let follower = {
            let cache = cache.clone();
            thread::spawn(move || {
                let mut task = Hand::new(async move { cache.get_or_load_async("key", async || ok("own")).await });
                assert!(task.poll().is_pending());
                task
            })
        };
        let mut task = follower.join().unwrap();
        let waker = Arc::new(Polls(Arc::clone(&slot), Arc::clone(&answers))).into();
        assert!(task.poll_with(&waker).is_pending());
        *slot.lock().unwrap() = Some(task);
        Err::<&str, u32>(7)
    });
    assert!(matches!(answer, Err(LoadError::Failed(_))));
    assert_eq!(answers.lock().unwrap().pop().map(text), Some("own".to_string()));
    assert_nothing_is_left(&cache);
}

#[test]
fn what_a_dropped_loader_owns_may_ask_for_its_key() {
    let _alone = alone();
    struct Asks(Cache);
    impl Drop for Asks {
        fn drop(&mut self) {
            assert!(matches!(self.0.get_or_load("key", || ok("inner")), Err(LoadError::Reentrant)));
        }
    }
    let cache = cache();
    let load = |is_over: bool| {
        let owned = Asks(cache.clone());
        let load = async move || {
            let _owned = owned;
            if !is_over {
                Gate::new().await;
            }
            ok("value")
        };
        Hand::new(cache.get_or_load_async("key", load))
    };
    let mut cancelled = load(false);
    assert!(cancelled.poll().is_pending());
    drop(cancelled);
    assert_nothing_is_left(&cache);
    assert_eq!(load(true).poll().map(text), Poll::Ready("value".to_string()));
    cache.remove("key");
    let mut many = Hand::new(cache.get_or_load_many_async(&["other", "key"], |_| {
        let owned = Asks(cache.clone());
        async move {
            let _owned = owned;
            Gate::new().await;
            Ok::<Vec<Option<&str>>, String>(vec![])
        }
    }));
    assert!(many.poll().is_pending());
    drop(many);
    assert_nothing_is_left(&cache);
}

#[test]
fn without_memory_a_loader_that_asks_for_its_own_key_is_told_so_too() {
    let _alone = alone();
    let cache = cache();
    let key = vec![7; 70_000]; // It cannot be stored, so its load is not shared.
    let answer = cache.get_or_load(&key, || {
        let inner = cache.get_or_load(&key, || ok("inner"));
        assert!(matches!(inner, Err(LoadError::Reentrant)));
        ok("value")
    });
    assert_eq!(text(answer), "value");
    assert_eq!((cache.stats().unshared_loads, cache.stats().loads), (1, 1));
}

#[test]
fn neither_large_keys_nor_loads_that_do_not_end_empty_the_cache() {
    let _alone = alone();
    let cache = cache();
    for key in 0..4_000_u32 {
        cache.insert(key.to_le_bytes(), [7; 100]).unwrap();
    }
    let before = cache.len();
    assert_eq!(text(cache.get_or_load(vec![7; 700_000], || ok("value"))), "value");
    assert_eq!(cache.len(), before);
    let mut hanging: Vec<_> = (0..5_000_u32)
        .map(|key| {
            let load = async || {
                Gate::new().await;
                ok("never")
            };
            Hand::new(cache.get_or_load_async([key.to_le_bytes(), [1; 4]].concat(), load))
        })
        .collect();
    assert!(hanging.iter_mut().all(|load| load.poll().is_pending()));
    assert!(cache.len() * 5 > before * 4, "{} of {before} entries are left", cache.len());
    assert!(cache.stats().unshared_loads > 1_000);
    // The ring gets the memory of the loads back.
    drop(hanging);
    for key in 0..20_000_u32 {
        cache.insert(key.to_le_bytes(), [7; 100]).unwrap();
    }
    assert!(cache.len() >= before);
    assert_nothing_is_left(&cache);
}

#[test]
fn a_policy_that_panics_while_a_result_is_stored_is_a_panic_of_the_load() {
    let _alone = alone();
    use bytecache::policy::{EntryId, EvictionPolicy, Newcomer, Residents};
    struct Bad;
    impl EvictionPolicy for Bad {
        fn prepare_insert(&mut self, newcomer: &Newcomer) {
            assert!(newcomer.charge < 1000, "on purpose");
        }
        fn insert(&mut self, _: &Newcomer) {}
        fn remove(&mut self, _: EntryId, _: u32) {}
        fn evict(&mut self, _: Option<&Newcomer>, _: &mut Residents<'_>) -> Option<EntryId> {
            None
        }
        fn resize(&mut self, _: usize, _: usize) -> bool {
            true
        }
        fn rename(&mut self, _: EntryId, _: EntryId) {}
        fn bytes(&self) -> usize {
            0
        }
    }
    let cache = Cache::builder().max_bytes(1 << 20).shards(1).custom_policy(|_| Box::new(Bad)).build().unwrap();
    let gate = Gate::new();
    let waits = gate.clone();
    let mut leader = Hand::new(cache.get_or_load_async("key", async || {
        waits.await;
        Ok::<_, String>(vec![7; 2_000])
    }));
    assert!(leader.poll().is_pending());
    let mut follower = Hand::new(cache.get_or_load_async("key", async || ok("not to be called")));
    assert!(follower.poll().is_pending());
    gate.open();
    assert!(catch_unwind(AssertUnwindSafe(|| leader.poll())).is_err());
    assert!(matches!(follower.poll(), Poll::Ready(Err(LoadError::Panicked))));
    assert_eq!((cache.stats().loads, cache.stats().load_failures), (1, 1));
    assert_nothing_is_left(&cache);
    assert_eq!(text(cache.get_or_load("key", || ok("small"))), "small");
}
