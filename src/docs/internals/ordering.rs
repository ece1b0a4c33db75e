//! Memory orders, pair by pair.
//!
//! For each atomic, this page names the operations that pair, and states what both sides may
//! conclude. Where Relaxed is used, it says why that is enough. It also names the model in
//! `src/loom/` that fails when the order is weakened.
//!
//! Three things are not listed, since other code orders them. The mutex of a shard orders
//! everything that it guards. `crossbeam-epoch` orders lists of threads' records. `Arc` orders the
//! last count of a ring or table.
//!
//! # The life of an entry's bytes
//!
//! ```text
//!   writer  bytes -- Release --> lane       lane changed -- fence -- scans slots -- drop_own --+  bytes
//!                       |                      :                      ^                        |    ^
//!   reader  sets a slot, fence, second look ---+-- reads, pins -- clears the slot (Release)    |    |
//!           (Acquire)                                 |                                        |    |
//!   holder                                            +-- reads -- unpin (Release) ------------+--> a
//! ```
//!
//! At `a`: the Acquire fence of `ended`, the Release of `mark`, the Acquire of `take`.
//!
//! Each arrow is one of the pairs below. If one of them is missing, a reader may see bytes of
//! another entry. The models show that, with the exceptions that the sections name.
//!
//! # Slots: `reclaim/slots.rs`, `shard/lookup.rs`
//!
//! A reader publishes the entry that it is about to read in a slot of its thread, and then loads
//! the lane again. A writer changes lanes, and scans the slots before it reuses a chunk (hazard
//! pointers: Michael, IEEE TPDS 2004).
//!
//! | operation | order | pairs with, and why |
//! |---|---|---|
//! | `SlotName::hold`, `Batch::name` | Release store, then a SeqCst fence (on x86, `hold` is one exchange, which is both: `sync/real.rs`) | The fence of `for_each_hold`. One of the two fences comes first. If it is the reader's, the writer sees the slot. If it is the writer's, the reader's second look sees the changed lane. Release: a scan that sees this entry in the slot knows that the reads of the slot's former entry are over. |
//! | the second look: `Bucket::live_again` | Acquire | The lane's Release made the entry's bytes visible. It may lead to a newer entry in the same place, which the slot holds just as well. |
//! | clearing: `Slot::drop`, `Holds::clear_next` | Release | The loads of `for_each_hold`: the reads are over before the chunk is written to. |
//! | `for_each_hold` | SeqCst fence, then Acquire loads | Both of the above. |
//! | the list of records, `has_batch` | stored before a slot that they lead to, loaded after the scan's fence | If a scan does not see them, its fence came before the reader's fence. So Relaxed is enough for `has_batch`. |
//! | `State`, of a slot or a batch | Relaxed | Used by the record's owner alone. Another thread gets the record by the registry's lock. |
//!
//! No model fails if the scan's slot loads are Relaxed instead of Acquire. On every path that frees
//! a chunk, an Acquire fence follows the loads: that of `PinWord::ended`, or that of the next scan.
//! The loads stay Acquire, so that the pair does not depend on these paths.
//!
//! Models: `chunks::bytes_stay_while_a_slot_names_them`,
//! `chunks::a_slot_that_names_another_entry_has_let_the_former_go`,
//! `chunks::bytes_stay_while_a_batch_names_them`,
//! `sweeps::an_entry_that_leaves_after_it_has_moved_is_not_read`.
//!
//! # The index: `index/bucket.rs`, `index/places.rs`, `index/mod.rs`
//!
//! Tags, locations and overflow counts are stored only by the holder of the shard's lock. So the
//! holder's loads can be Relaxed, and are exact.
//!
//! | atomic | stores | loads | conclusion |
//! |---|---|---|---|
//! | location | `set_location`, `move_location`, Release | `live_again`, Acquire | A reader that gets a location sees all bytes of its entry. If it gets an older location, that entry was present when its slot was set. |
//! | location, at the first look | with the location | `word`, Relaxed | It only says which entry to hold and prefetch. Nothing is read before the second look. |
//! | location's hash bits | with the location | `word`, Relaxed | They decide whether to look. They do not change while a key stays in its lane. |
//! | location, cleared | `clear_location`, `wipe` | `live_again`, Acquire | There are no bytes to be seen, so any order is enough. The fences ensure that a later second look sees the lane cleared. |
//! | tags | `set_tag`, Relaxed | `tags`, Relaxed | A hint, since the key is compared in any case. A new tag with an old location leads to the key of another entry, or to none. So does an old tag with a new location. |
//! | overflow | `add_overflow`, `remove_overflow`, Relaxed | `has_overflowed`, Relaxed | Counts every stray that is present throughout the search: it was counted before it was published, and stays counted until it is erased or a sweep moves it. Entries at home or at their alternative are found without it. So a search may load the count of home at any time: `Candidates` does so before it searches the alternative, `first_candidate` after that. A sweep lowers the old counts after the word, so a search that misses a stray for that reason is repeated. |
//! | visits | `visit` by readers, `set_visits`, Relaxed | `visits`, Relaxed | A load and a store, not one step: visits may be lost. They only help to choose victims. |
//!
//! A key that is present throughout a search is found. Its tag was stored before the search began,
//! and does not change while the key stays in its lane. A search that meets a sweep is repeated:
//! see below. An update changes the location from one entry of the key to the next, in a single
//! store. If the entry that is found has expired, the reader searches again in case it was replaced
//! meanwhile. A thread that has seen the newer value does not see the older one again: loads of one
//! atomic by one thread never go back.
//!
//! A walk (`index/walk.rs`) relies on the same. It reads the used lanes of a bucket and visits
//! their entries. Before it goes on to a bucket for strays, it checks whether the one before has
//! overflowed. An entry that is present throughout has its tag in a lane, and is counted if it is a
//! stray. Both hold until a sweep moves the entry. So each step ends like a search that finds
//! nothing: `may_have_passed` is `may_have_moved` for the hash at which the walk is. An entry that
//! seems to have left is searched by its key, as in a read.
//!
//! Models: `publishing::an_entry_is_seen_whole_or_not_at_all`,
//! `publishing::a_key_that_is_updated_is_never_absent`.
//!
//! For `get_many`: `publishing::what_a_guess_finds_is_not_older_than_what_was_read_since` and
//! `publishing::a_guess_in_a_lane_that_a_sweep_has_cleared_since_is_not_believed`. They fail if a
//! guess is accepted without a second look at its lane.
//!
//! For `clear`: `publishing::bytes_stay_while_a_reader_looks_at_them_and_the_shard_is_cleared`.
//!
//! # Sweeps: `index/sweep.rs`
//!
//! A table changes its size in place. A step of the sweep moves the entries of one home bucket. The
//! *progress word* says which homes have moved. Only the holder of the lock stores it, and a step
//! has this order:
//!
//! ```text
//!   writer  new lanes -- Release --> word -- Release fence --> old lanes, sizes of the next sweep
//!               :                     :                              :
//!   reader  searches the new   <-- Acquire                        sees one of them
//!           layout                    word again (Relaxed) <-- Acquire fence
//! ```
//!
//! | operation | order | pairs with, and why |
//! |---|---|---|
//! | the word: `set_progress` | Release store | `Table::progress`, Acquire: a search that begins with this word sees the entries in their new lanes, the overflow counts on the way to them, and the sizes of the sweep. |
//! | after the word: `set_progress` | Release fence | The Acquire fences of `may_have_moved` and `has_passed`. Later stores clear old lanes, lower overflow counts, and set sizes of the next sweep. A reader that sees one of them also sees this word, or a later one, after its fence. |
//! | a search that finds nothing: `may_have_moved` | Acquire fence, then a Relaxed load | The Release fence. With the word that the search began with, the search has missed nothing. With another one, it is repeated if the sweep has passed its hash in between. |
//! | the same, before that answer: `has_passed` | Relaxed loads of the sizes, Acquire fence, Relaxed load of the word | The Release fence that precedes the next sizes. The sizes are those of the reader's sweep only if the word after them still names that sweep. Otherwise the search is repeated. |
//! | sizes, when a sweep begins | Relaxed store | Made visible by the Release store of the word that follows. |
//! | sizes, in a search | Relaxed load | The search has loaded the word of the sweep with Acquire, so it sees these sizes or later ones. With later ones it searches the wrong buckets. It then finds the key all the same, or is repeated. |
//! | the word: `own_progress` | Relaxed load | Under the lock, and only its holder stores. |
//! | the word: `Table::prefetch_home` | Acquire load, by `Table::progress` | Needs no order, as nothing is read at that address. |
//!
//! Three more facts need no order of their own:
//!
//! * A search that finds its entry does not load the word again. The old lane is cleared under the
//!   lock before the entry's bytes change hands. So the fence of the slot and the second look at
//!   the lane are enough, as for an entry that is removed.
//! * A thread that has read a newer value does not read an older one from the old lane. The newer
//!   location was published with Release after the old lane was cleared.
//! * A shard that is emptied after a panic stores the lanes without a fence. A search that misses a
//!   lane that was cleared this way is right: the entry is gone. The same holds for pages that the
//!   system takes back, which only have free lanes.
//!
//! Models, each of which was seen to fail:
//!
//! | model | fails with this weakened |
//! |---|---|
//! | `sweeps::a_key_is_found_while_its_table_grows`, `sweeps::a_key_is_found_while_its_table_shrinks` | the Release store of the word, the fence after it, the Acquire of `progress`, the fence of `may_have_moved`; the order of new lanes, word, old lanes; no second look at the word |
//! | `sweeps::a_stray_is_found_while_the_way_to_it_changes` | overflow counts are lowered before the word, or raised after it |
//! | `sweeps::a_key_that_moves_and_is_updated_is_never_absent` | the fence after the word |
//! | `sweeps::a_key_whose_bytes_move_before_and_after_its_lane_is_never_absent` | the fence after the word; no second look at the lane |
//! | `sweeps::a_key_is_found_while_one_sweep_follows_another` | the fence of `has_passed`; its second look at the word; positions of different sweeps are compared |
//! | `sweeps::an_entry_that_leaves_after_it_has_moved_is_not_read` | `set_location`; the old lane is not cleared; no second look at the lane |
//!
//! # The list of records: `Published` in `reclaim/mod.rs`
//!
//! `crossbeam-epoch` frees a replaced list when no scan can see it any more. `replace` (AcqRel)
//! pairs with `load` (Acquire): a scan sees whole records. The models do not test the epochs: their
//! substitute under loom frees nothing.
//!
//! # Pins of chunks: `ring/chunk.rs`, `ring/shared.rs`
//!
//! The word of a chunk has the ring's own pin, the mark, and the number of values. Every change but
//! `renew` is a read-modify-write. So the changes are in one order, and a Release in it reaches
//! every later Acquire (a *release sequence*).
//!
//! | operation | order | pairs with, and why |
//! |---|---|---|
//! | `pin` | Relaxed | The location was loaded with Acquire, so the bytes are visible. The ring's own pin cannot end while a slot holds the entry or the lock is held, so the word is not zero. |
//! | `pin_again` | Relaxed | A pin is held already, as in `Arc::clone`. |
//! | `unpin` | Release | The fence in `ended`: this value's reads happen before the chunk is freed, by any thread. |
//! | `drop_own` | Release | The same fence. It also passes on what the scan of the slots has acquired: the ends of reads that never took a value. |
//! | `ended`, at zero | Acquire fence | Only the thread that found zero needs it. No other thread changes the word then: pins come from live locations, and marks from pins. |
//! | `renew` | Relaxed store | No thread pins the chunk before it is in the freed set, which is a Release. `recount` and `take_over` may load the word earlier, and find no mark to remove. |
//! | `mark`, `is_marked`, `unmark`, `unmark_last` | Relaxed | Bits that say whether the chunk is among those that `pinned` counts. The order of the word's changes includes them. |
//! | `has_values` | Acquire | `unpin`: a ring that is dropped frees its memory after the reads of values that have ended. Elsewhere it is a hint. |
//! | `span`, `back` | Relaxed | Stored under the lock before the chunk's first location is published. Loaded by holders of a pin or a location, or by the thread that frees the chunk. |
//!
//! The thread that ends the last pin owns a count of the ring's `Arc`. `drop_own` adds that
//! count before it ends the ring's own pin, so the last value finds it, on any thread. loom does
//! not see the counts of the `Arc`, so models track them in `Counts` of `ring/shadow.rs`.
//!
//! * `FreedSet::mark` (Release) pairs with the swap in `take` (Acquire): the pin word is new, and
//!   all reads of the chunk happen before the next bytes are written. The load before the swap is
//!   Relaxed: a bit that it does not see is taken the next time.
//! * `pinned` is a Relaxed counter. It bounds how many chunks values may hold. A mark in a pin word
//!   has the number that was added with it. Only one thread removes a mark: by an exchange of the
//!   word, or because it frees the chunk. It subtracts the number, or keeps it for a mark of its
//!   own (`take_over`).
//! * `is_crowded`, `is_orphan`, `last_marked`, `recount_at` and `usual_lines` are Relaxed hints.
//!
//! Models: `chunks::bytes_stay_while_a_value_holds_them`,
//! `chunks::a_value_that_frees_the_chunk_waits_for_readers_without_values`,
//! `chunks::values_outlive_the_ring_and_let_it_go_once`,
//! `chunks::values_in_a_retired_chunk_outlive_the_ring`,
//! `chunks::chunks_that_are_freed_at_once_all_come_back`, `chunks::pinned_chunks_are_counted_once`,
//! `chunks::a_freed_chunk_is_not_counted_as_pinned`.
//!
//! No model covers the Acquire of `has_values`: loom does not see memory that is freed.
//!
//! # An entry's first word: `ring/arena.rs`
//!
//! The first word has lengths and flags. Like the other bytes, it is written before the location is
//! published and read after the location was loaded. So Relaxed is enough. Later only the dead mark
//! changes. The lock's holder stores it while readers load the lengths, so the word is atomic.
//!
//! * `mark_dead` (Release) comes after the lane has changed. `has_left` loads the mark with
//!   Relaxed. A reader that finds the mark searches again, and the fence of its next hold pairs
//!   with `mark_dead`. So its second look at the lane does not find the dead entry again. With a
//!   Relaxed store, the reader might find it any number of times. Only readers of stamps check the
//!   mark.
//!
//! In models, an entry's words are loom's own atomics, behind the same functions
//! (`ring/shadow.rs`). The other bytes are loom's cells. A model fails if the pairs above do not
//! order an access to a cell.
//!
//! Model: `idle::an_update_sets_the_deadline_whatever_a_reader_does_to_the_former_entry`.
//!
//! # Stamps: `ring/arena.rs`, `ring/relay.rs`, `shard/idle.rs`
//!
//! Stamps are deadlines and other times. They are written before the location is published. Later
//! they change only by read-modify-write (AcqRel), so the changes of one stamp follow each other in
//! one order. Only the idle stamp is also changed by readers.
//!
//! * `set_stamp` (the Release half) pairs with `stamp_at` and `idle_stamp` (Acquire). A thread that
//!   sees a changed deadline sees all that was written before the change, also in its later reads
//!   of other keys.
//!
//! An entry may be relocated while readers change its idle stamp. The *relay* (`relay.rs`) holds
//! the stamp meanwhile. At each moment one word is in force: the stamp at the old place, the relay,
//! or the stamp at the new place.
//!
//! | operation | order | pairs with, and why |
//! |---|---|---|
//! | the relay is opened | Release store | Its load (Acquire): a reader that finds another entry's stamp in the relay finds its own entry dead, or in its new place. |
//! | the old stamp becomes `LEAVING` | AcqRel exchange | Release: a reader that loads `LEAVING` (Acquire) finds the relay opened. Acquire: earlier changes by readers are passed on. |
//! | the relay is changed | AcqRel exchange | Its load, and its closing. |
//! | the relay is closed | AcqRel | Release, after the old entry was marked dead: a reader that finds it closed finds the mark. Acquire: the last change of the relay is passed on. |
//! | the new stamp is no longer `ARRIVING` | AcqRel exchange | `idle_stamp`: it passes on the change that the closing took over. |
//! | `ARRIVING` is stored | Relaxed | The location is published with Release after it. |
//! | a stamp is loaded again, after the relay | Relaxed load | The load of the relay has synchronized with its change, if there was one. |
//! | turns (uses of the relay) are counted | Relaxed load | Under the lock. |
//!
//! A reader that has found any entry past its deadline checks the dead mark as well: another entry
//! may have taken its place before the deadline.
//!
//! Expiry claims the idle stamp by an exchange before it removes an entry. If a reader's exchange
//! comes first, the entry lives on. Otherwise the reader's exchange fails, and the read is a miss.
//!
//! Models of the relay, each of which was seen to fail:
//!
//! | model | fails with this weakened |
//! |---|---|
//! | `relay::a_reader_sees_its_change_of_a_stamp_that_is_on_its_way` | the Release of `LEAVING` and of the closing, the loads of the stamp and of the relay; no check of the dead mark |
//! | `relay::a_change_counts_for_its_own_entry_while_others_are_relocated` | the opening; or no second look at `ARRIVING`, no turns, one word for both `LEAVING` and `ARRIVING` |
//! | `relay::a_reader_sees_the_stamp_of_its_own_entry_while_others_are_relocated` | no second look by a reader that only loads |
//! | `relay::who_sees_a_change_sees_what_was_done_before_it` | the Acquire of `LEAVING` and of the closing, the load of a stamp that is in the relay |
//! | `relay::who_sees_a_stamp_that_has_arrived_sees_what_was_done_before_it_was_changed` | the exchange that ends `ARRIVING` |
//! | `relay::the_later_of_two_changes_counts` | a reader, or the cleaner, stores without comparing |
//! | `idle::who_sees_a_deadline_changed_sees_what_was_done_before_that` | `set_stamp`, the loads in `stamp_at` and `idle_stamp` |
//! | `idle::what_was_hit_is_there_in_the_next_tick_while_it_is_relocated` | the new stamp is settled only after it was published |
//!
//! No model fails if the exchanges of readers are weakened. The fence of a reader's hold comes
//! before each of them, and has the effect of their Release.
//!
//! Models of whole shards: `idle::a_read_counts_although_the_entry_is_relocated_meanwhile`,
//! `idle::what_one_reader_saw_of_another_is_not_lost_in_a_relocation`,
//! `idle::the_later_of_two_reads_counts`,
//! `idle::a_read_that_was_a_hit_keeps_the_entry_through_relocation_and_expiry`,
//! `idle::either_a_read_comes_first_or_the_expiry`,
//! `idle::a_read_counts_although_set_ttl_stores_the_entry_anew`,
//! `idle::a_read_counts_although_a_new_value_keeps_the_deadline`,
//! `idle::a_reader_that_was_put_aside_sees_what_another_did_to_the_relocated_entry`,
//! `idle::an_entry_that_was_made_persistent_stays_so_whoever_reads_it`.
//!
//! # A shard's time: `expiry/time.rs`
//!
//! Stamps hold the low half of a tick. A reader completes it with the time that its shard has
//! *reached*. An entry's *removal* is the tick from which its space may be taken back. The reached
//! time lies before the removals of all entries that are present.
//!
//! * `reach` (Release), after entries were removed, pairs with `reached` (Acquire), before a
//!   search. A reader that sees the later time does not find an entry whose removal lies before
//!   that time. Otherwise the reader would take the removal for one that is four billion ticks
//!   ahead. A reader may see an older time and find a newer entry. It is right as long as the two
//!   are less than 50 days apart.
//! * `skew` is stored (Release) after the clock was seen to have gone back, and loaded (Acquire)
//!   before the clock is read. With the new skew, the reader also sees the clock after its move
//!   back. With the old skew, the time is too early, and `reached` takes its place.
//!
//! Models: `idle::an_entry_that_is_being_taken_out_is_not_found_alive`,
//! `idle::a_key_whose_entry_is_replaced_before_its_deadline_is_never_missed`. No model covers
//! `skew`: loom does not model clocks.
//!
//! # The touch log: `shard/touch.rs`
//!
//! * `push` adds to `used` (AcqRel). `drain` stores 0 in it (Release) after it has emptied the
//!   places: so a place is filled only after it was emptied.
//! * `drain` first swaps the capacity into `used` (AcqRel): from then on, pushes find the stripe
//!   full.
//! * `has_any` loads `used` (Relaxed) and only spares a call of `drain`. A thread sees its own
//!   touches.
//! * Places are Relaxed. A thread may take a place, and fill it only after a drain has passed. Its
//!   touch then comes one drain late, or takes the place of one that came after that drain. Each id
//!   is swapped out, so a touch arrives at most once.
//! * With one thread nothing is late or lost: it sees its own stores, and drains a full stripe
//!   itself.
//!
//! Models: `touches::touches_that_meet_no_drain_all_arrive`,
//! `touches::a_touch_arrives_at_most_once_however_often_the_log_is_drained`. They need each step to
//! be one read-modify-write, and pass with weaker orders. The orders keep a place from being
//! emptied after it was filled again, on processors that reorder a load and a later store. loom
//! does not explore that. The fault would lose a touch at worst.
//!
//! # The miss log: `shard/misses.rs`
//!
//! All accesses are Relaxed, and no model is needed. A reader stores a hash, and the holder of the
//! lock takes it out. No other memory depends on the hash. A hash may be lost. Each push is seen at
//! most once, since one store fills a place and one empties it.
//!
//! # The record of changes: `shard/save.rs`
//!
//! While a cache is saved, writers of all shards set bits in one record, each under the lock of its
//! shard. Relaxed is enough: the thread that saves takes each lock once before it reads the bits,
//! and sets the bits that the shard has kept back. So it sees the bits of all changes that came
//! before. Later changes count as changes after the save.
//!
//! The entries are copied without the lock, by the second look at a lane that every reader takes. A
//! copy that is older than the entry has its key in the record. If a copy belongs to a later entry
//! of the same lane, the record has the key of the former one.
//!
//! Models: all in `src/loom/saves.rs`.
//!
//! # Loads: `shard/load.rs`, `flight.rs`
//!
//! * The shard's lock alone orders leases. A caller changes the database, and then writes the key.
//!   A load that registers after this write reads the changed database. A load that registered
//!   before finds its flight gone, and does not store its result.
//! * A flight's own lock orders its end and its followers. A task takes this lock, checks that the
//!   load has not ended, and registers before it releases the lock.
//! * `seated`, `seats` and `bytes` are Relaxed. Places for waiting tasks are taken under the
//!   shard's lock, and may be given up at any time.
//!
//! Models: all in `src/loom/loads.rs`.
//!
//! # Namespaces: `namespace/`
//!
//! | atomic | stores | loads | conclusion |
//! |---|---|---|---|
//! | a scope's prefix | `next_generation` and, before a restored cache is shared, `advance_to`: Release | `prefix`, Acquire | A caller that finds the next prefix sees what came before the invalidation. A caller that has learned of the invalidation in another way finds it, as a word never goes back. No entry is found through the prefix alone: the lanes order the bytes. |
//! | the number of scopes | `open`, Release | `is_empty`, Acquire | A writer that sees a scope's entry got its key from a caller, who had opened the scope before. So the writer sees that there is one. |
//! | invalidations, listeners | Relaxed | Relaxed | Hints. If a write misses a listener that is being set, entries that leave in it are not shown. If `maintain` misses an invalidation, the next call sweeps. |
//! | the counters of a scope | Relaxed | Relaxed | They order nothing. |
//!
//! A load that is about to be stored compares its prefix with the scope's under the lock of its
//! shard. If the invalidation comes after that, the entry is stored under a prefix that no later
//! caller uses. There is no model, as nothing is read through these words.
//!
//! # The advisor: `advisor/`, `shard/sampling.rs`
//!
//! All atomics are Relaxed, and no model is needed, as nothing is read through them. The engine and
//! the queues are behind locks, which threads only try.
//!
//! * `below` is the threshold of the sampler, and `sampled_below` is a shard's copy. With an
//!   earlier one, a shard pushes events that the engine ignores, or leaves some out.
//! * `capacity` is a sum of differences, which wraps around. The engine follows it with some delay.
//! * `clears` counts the clears. The caller has emptied the queues before. An event that another
//!   thread pushes meanwhile may be followed before or after.
//! * `reads_to_turn` is the mean number of reads to the next turn. With an earlier one, the turns
//!   of a batch stand for that many reads.
//! * `THREADS` gives each thread another number, as the seed of its turns. `CACHES` gives each
//!   cache one.
//! * `len` of a queue is a hint that spares a look at an empty one.
//! * `followed`, `dropped`, `dropped_reads` and those of turns are counters.
//!
//! # Counters: `shard/account.rs`, `stats.rs`
//!
//! * The account's `allocated` is one word that is changed by read-modify-write, Relaxed. In the
//!   order of its changes, it never exceeds the budget. It does not order accesses to the memory
//!   that it counts. `index` and `flights` are parts of it, for reports. `Room` is a sum of targets
//!   and budgets in one word, changed in the same way: what one shard takes of it, no other takes.
//! * The counters of loads are Relaxed, and shared by all shards of a cache.
//! * `waiting_bytes` (`removal.rs`) is a Relaxed bound: each list that it counts is behind a lock,
//!   or owned by one thread. `deferred_lists` is Relaxed, too. It tells a write whether earlier
//!   writes have left notices to take.
//! * Read counters are Relaxed. An owned stripe is a load and a store: no other living thread has
//!   its number. The mutex of the free numbers orders the last use of a stripe by an ended thread
//!   and the first use by the next thread. The first stripe is shared, and uses atomic additions.
