//! Memory orders, pair by pair.
//!
//! For each atomic: which operation pairs with which, what both sides may conclude, why Relaxed does where it
//! is used, and the model in `src/loom/` that was seen to fail when the order was weakened. Three things
//! are not ordered here but by their own means: what a shard's lock guards (its mutex), lists of threads' records
//! (`crossbeam-epoch`), and the last count of a ring or table (`Arc`).
//!
//! # The life of an entry's bytes
//!
//! ```text
//!   writer   bytes --- Release --> lane             lane changed --- fence --- looks at the slots -- drop_own --+   bytes
//!                         |                              :                        ^                              |     ^
//!   reader   names a slot, fence, looks again: Acquire --+--- reads, pins --- clears the slot (Release)         |     |
//!                                                                |                                               |     |
//!   holder                                                       +--- reads --- unpin (Release) ----------------+-> fence
//!                                                                                    (Acquire), mark (Release), take (Acquire)
//! ```
//!
//! Each arrow is one of the pairs below. Without any one of them a reader may see bytes of another entry, and
//! loom says so.
//!
//! # Slots: `reclaim/slots.rs`, `shard/lookup.rs`
//!
//! A reader names the entry that it is about to read in a slot of its thread, and then looks at the lane again. A writer changes
//! lanes, and then looks at the slots before it reuses a chunk (hazard pointers: Michael, IEEE TPDS 2004).
//!
//! | operation | order | pairs with, and why |
//! |---|---|---|
//! | `Slot::hold`, `Batch::name` | Release store, then a SeqCst fence | The fence of `for_each_hold`. One of the two fences comes first. If it is the reader's, the writer sees the name; if it is the writer's, the reader's second look sees the changed lane, or another table. Release: a scan that sees this name knows that the reads under the former one are over. |
//! | the second look: `Kept::is_current`, then `Bucket::live_again` | Acquire | The table, as lanes of a replaced one prove nothing; the lane, whose Release made the entry's bytes visible. It may be a newer entry in the same place, which is held as well as the first one would be. |
//! | clearing: `Slot::drop`, `Holds::clear_next` | Release | The loads of `for_each_hold`: the reads are over before the chunk is written to. |
//! | `for_each_hold` | SeqCst fence, then Acquire loads | Both of the above. |
//! | the list of records, `has_batch` | stored before a slot that they lead to, loaded after the scan's fence | If a scan does not see them, its fence came before the reader's. So Relaxed does for `has_batch`. |
//! | `Record::used` | Relaxed | For the record's owner alone. Another thread gets it by the registry's lock. |
//! | a search that finds nothing | Acquire fence, then `is_current` | The Release fence of `Buckets::release`, or what the system does as it clears pages: a reader that sees a lane cleared so sees the next table, too. |
//!
//! Models: `chunks::bytes_stay_while_a_slot_names_them`, `chunks::a_slot_that_names_another_entry_has_let_the_former_go`,
//! `chunks::bytes_stay_while_a_batch_names_them`, and both of `growth`.
//!
//! # The index: `index/bucket.rs`, `index/mod.rs`
//!
//! Tags, locations and overflow counts are stored by the holder of the shard's lock alone, so its own loads
//! are Relaxed and exact.
//!
//! | atomic | stores | loads | what follows |
//! |---|---|---|---|
//! | location | `set_location`, `move_location`, Release | `live_again`, Acquire | A reader that gets a location sees all bytes of its entry. If it gets an older one, that entry was there when its slot named it. |
//! | location, at first sight | with the location | `word`, Relaxed | Only says which entry to name and fetch. Nothing is read before the second look. |
//! | location's hash bits | with the location | `word`, Relaxed | They decide whether to look. They do not change while a key stays in its lane. |
//! | location, cleared | `clear_location`, `wipe` | `live_again`, Acquire | There are no bytes to be seen, so any order does. That a later second look sees the lane cleared is the fences' doing. |
//! | tags | `set_tag`, Relaxed | `tags`, Relaxed | A hint. Whatever lane it leads to, the key is compared. A new tag with an old location gives another entry's key, or none; an old tag with a new location too. |
//! | overflow | `add_overflow`, `remove_overflow`, Relaxed | `has_overflowed`, Relaxed | Counts every entry that is present throughout the search: it was counted before it was published, and is until it is erased. |
//! | visits | `visit` by readers, `set_visits`, Relaxed | `visits`, Relaxed | A load and a store, not one step: visits may be lost. They choose victims and guard nothing. |
//! | `TableHint` | `set`, Relaxed | `prefetch`, Relaxed | Addresses that are prefetched and never read. Any mixture of old and new ones will do. |
//!
//! A key that is present throughout a search is found; and where what is found has expired, it is looked for again if that
//! was replaced meanwhile. Its tag was stored before the search began and does not change while the key stays; an update
//! changes the location from one entry of the key to the next, in a single store. A thread that has seen the newer value
//! does not see the older one again, as the loads of one atomic by one thread never go back.
//!
//! A walk (`index/walk.rs`) relies on the same: it reads the used lanes of a bucket, shows their entries, and then looks whether
//! the bucket has overflowed. An entry that is present throughout has its tag, and is counted, at each of these moments, in
//! each table. A table that was replaced may have been emptied: each step ends as a search does that finds nothing, by an Acquire
//! fence and a look whether its table is the present one. Where an entry seems to be over, it is looked for by its key, as a
//! read does.
//!
//! Models: `publishing::an_entry_is_seen_whole_or_not_at_all`, `publishing::a_key_that_is_updated_is_never_absent`. For
//! `get_many`: `publishing::what_a_guess_finds_is_not_older_than_what_was_read_since` and
//! `publishing::a_guess_in_a_table_that_was_replaced_since_is_not_believed`, which fail if a guess is believed for its table
//! or its lane alone. For `clear`: `publishing::bytes_stay_while_a_reader_looks_at_them_and_the_shard_is_cleared`, which fails
//! if the ring is cleared before the index.
//!
//! # The table: `Kept` in `reclaim/mod.rs`
//!
//! * `replace` (Release) pairs with `load` and `is_current` (Acquire): who gets the pointer sees the whole table, with all
//!   entries that were moved to it. Writers hold the shard's lock, which orders them.
//! * Replaced tables are kept as long as the shard, so a search needs no hold on its table. Their pages go back to the system at
//!   once, and read as free lanes from then on. A search believes a table only if it is the present one after the search.
//!
//! Models: `growth::a_key_is_found_while_its_table_is_replaced_and_cleared`,
//! `growth::an_entry_that_leaves_after_its_table_was_replaced_is_not_read`.
//!
//! # The list of records: `Published` in `reclaim/mod.rs`
//!
//! `crossbeam-epoch` lets a list go that was replaced when no scan can see it any more. `replace` (AcqRel) pairs with `load`
//! (Acquire): a scan sees whole records. No model relies on the epochs, whose stand-in drops nothing.
//!
//! # Pins of chunks: `ring/chunk.rs`, `ring/shared.rs`
//!
//! The word of a chunk: the ring's own pin, the mark, and the number of values. Every change but `renew` is a
//! read-modify-write, so they all see each other in one order, and a Release in it reaches every later
//! Acquire (a *release sequence*).
//!
//! | operation | order | pairs with, and why |
//! |---|---|---|
//! | `pin` | Relaxed | The location was loaded with Acquire, so the bytes are visible. The own pin cannot end while a slot names the entry, or the lock is held, so the word is not zero. |
//! | `pin_again` | Relaxed | A pin is held already, as in `Arc::clone`. |
//! | `unpin` | Release | The fence in `ended`: this value's reads happen before the chunk is freed, whoever frees it. |
//! | `drop_own` | Release | The same fence. It passes on what the look at the slots has gathered: reads that never took a value. |
//! | `ended`, at zero | Acquire fence | Only the thread that found zero needs it. Nobody else changes the word then: values come from live locations, marks from values. |
//! | `renew` | Relaxed store | Nobody looks before the chunk is in the freed set, which is a Release. |
//! | `mark`, `unmark`, `unmark_last` | Relaxed | Bits that say whether the chunk is among those that `pinned` counts. They follow each other in the one order of the word. |
//! | `has_values` | Acquire | `unpin`: a ring that is dropped frees its memory after the reads of the values that it finds gone. Elsewhere it is a hint. |
//! | `span`, `back` | Relaxed | Stored under the lock before the chunk's first location is published, and loaded by holders of a pin or a location, or by whoever frees the chunk. |
//!
//! The thread that brings the word to zero has a count of the ring's `Arc`: `drop_own` makes one before it ends the own pin, so
//! the last value finds it, on whichever thread. Models count these counts (`ring/shadow.rs`, `Counts`), as loom does not see
//! those of the `Arc`.
//!
//! * `FreedSet::mark` (Release) pairs with the swap in `take` (Acquire): the pin word is new, and all reads
//!   of the chunk happen before the next bytes are written. The load before the swap is Relaxed: a bit that
//!   it misses is taken the next time.
//! * `pinned` is a Relaxed counter. It bounds how many chunks values may hold; an add comes before its subtraction because the
//!   pin word orders the two.
//! * `is_crowded`, `is_orphan`, `recount_at` and `usual_lines` are Relaxed hints.
//!
//! Models: `chunks::bytes_stay_while_a_value_holds_them`,
//! `chunks::a_value_that_frees_the_chunk_waits_for_readers_without_values`,
//! `chunks::values_outlive_the_ring_and_let_it_go_once`,
//! `chunks::values_in_a_retired_chunk_outlive_the_ring`,
//! `chunks::chunks_that_are_freed_at_once_all_come_back`, `chunks::pinned_chunks_are_counted_once`,
//! `chunks::a_freed_chunk_is_not_counted_as_pinned`. None covers the Acquire of `has_values`: loom does not
//! see memory that is freed.
//!
//! # An entry's first word: `ring/memory.rs`
//!
//! Lengths and flags. It is written before the location is published and read after that was loaded, as the other bytes
//! are, so Relaxed does. Later only the dead mark changes, stored by the lock's holder while readers load the lengths: that
//! is why it is atomic.
//!
//! * `mark_dead` (Release) comes after the lane has changed. `has_left` loads the mark with Relaxed: a reader that finds it
//!   searches again, and the fence of its next hold pairs with `mark_dead`. So its second look at the lane does not find the
//!   dead entry again. With a weaker store it might, over and over. Only readers of stamps ask.
//!
//! In models an entry's words are atomics of loom's own, behind the functions that ship (`ring/shadow.rs`). The bytes around
//! them have cells, and any access to one that the pairs above do not order fails a model.
//!
//! Model: `idle::an_update_sets_the_deadline_whatever_a_reader_does_to_the_former_entry`.
//!
//! # Stamps: `ring/memory.rs`, `ring/relay.rs`, `shard/idle.rs`
//!
//! Deadlines and the like. They are written before the location is published, and then changed by read-modify-write alone
//! (AcqRel), so that the changes of one stamp follow each other in one order. All but the idle stamp are changed by the
//! lock's holder only.
//!
//! * `set_stamp` (the Release half) pairs with `stamp_at` and `idle_stamp` (Acquire). A thread that sees a deadline changed
//!   finds all that was written before: a read of another key does not go back behind that.
//!
//! The idle stamp is changed by readers too, and an entry may be relocated while they do. `relay.rs` hands it over: at each
//! moment one word is in force, the stamp at the old place, the relay, or the stamp at the new place.
//!
//! | operation | order | pairs with, and why |
//! |---|---|---|
//! | the relay is opened | Release store | Its load (Acquire): a reader that finds another entry's stamp in the relay finds its own entry dead, or arrived. |
//! | the old stamp becomes `LEAVING` | AcqRel exchange | Release: a reader that loads `LEAVING` (Acquire) finds the relay opened. Acquire: what readers did before it is passed on. |
//! | the relay is changed | AcqRel exchange | Its load, and its closing. |
//! | the relay is closed | AcqRel | Release, after the old entry was marked dead: a reader that finds it closed finds the mark. Acquire: the last change of the relay is passed on. |
//! | the new stamp is no longer `ARRIVING` | AcqRel exchange | `idle_stamp`: it passes on what the closing took over. |
//! | `ARRIVING` is stored | Relaxed | The location is published with Release after it. |
//! | a stamp is looked at again, after the relay | Relaxed load | The load of the relay has synchronized with its change, if there was one. |
//! | turns are counted | Relaxed load | Under the lock. |
//!
//! A reader that has found any entry past its deadline looks for the dead mark as well: another may have come into its place
//! before that passed.
//!
//! Expiry claims the idle stamp by an exchange before it takes an entry out: a reader's exchange comes before, and the
//! entry lives on, or it fails, and the read is a miss.
//!
//! Models of the relay, each of which was seen to fail:
//!
//! | model | weakened |
//! |---|---|
//! | `relay::a_reader_sees_its_change_of_a_stamp_that_is_on_its_way` | the Release of `LEAVING` and of the closing, the loads of the stamp and of the relay; no look for the dead mark |
//! | `relay::a_change_counts_for_its_own_entry_while_others_are_relocated` | the opening; no second look at `ARRIVING`, no turns, one word for `LEAVING` and `ARRIVING` |
//! | `relay::a_reader_sees_the_stamp_of_its_own_entry_while_others_are_relocated` | no second look by one that only loads |
//! | `relay::who_sees_a_change_sees_what_was_done_before_it` | the Acquire of `LEAVING` and of the closing, the load of a stamp that is in the relay |
//! | `relay::who_sees_a_stamp_that_has_arrived_sees_what_was_done_before_it_was_changed` | the exchange that ends `ARRIVING` |
//! | `relay::the_later_of_two_changes_counts` | a reader, or the cleaner, stores without comparing |
//! | `idle::who_sees_a_deadline_changed_sees_what_was_done_before_that` | `set_stamp`, the loads in `stamp_at` and `idle_stamp` |
//! | `idle::what_was_hit_is_there_in_the_next_tick_while_it_is_relocated` | the new stamp is settled only after it was published |
//!
//! No model sees the exchanges of readers weakened. The fence of a reader's hold comes before each of them, and does what their
//! Release is for.
//!
//! Models of whole shards: `idle::a_read_counts_although_the_entry_is_relocated_meanwhile`,
//! `idle::what_one_reader_saw_of_another_is_not_lost_in_a_relocation`, `idle::the_later_of_two_reads_counts`,
//! `idle::a_read_that_was_a_hit_keeps_the_entry_through_relocation_and_expiry`, `idle::either_a_read_comes_first_or_the_expiry`,
//! `idle::a_read_counts_although_set_ttl_stores_the_entry_anew`,
//! `idle::a_reader_that_was_put_aside_sees_what_another_did_to_the_relocated_entry`,
//! `idle::an_entry_that_was_made_persistent_stays_so_whoever_reads_it`.
//!
//! # A shard's time: `expiry/time.rs`
//!
//! Stamps hold the low half of a tick. A reader completes it from the time that its shard has *reached*, which lies before
//! every removal that is still to come.
//!
//! * `reach` (Release), after entries were taken out, pairs with `reached` (Acquire), before an entry is looked for: a
//!   reader that sees the later time does not find an entry whose removal lies before it, which it would take for one that
//!   is four billion ticks ahead. A reader that sees an older time and finds a newer entry is right as long as the two are
//!   less than 50 days apart.
//! * `skew` is stored (Release) after the clock was seen to have gone back, and loaded (Acquire) before the clock is read:
//!   with the new skew, the clock is read as it is since it went back. With the old one, the time is early, and `reached`
//!   stands in for it.
//!
//! Models: `idle::an_entry_that_is_being_taken_out_is_not_found_alive`,
//! `idle::a_key_whose_entry_is_replaced_before_its_deadline_is_never_missed`. None covers `skew`: loom does not model clocks.
//!
//! # The touch log: `shard/touch.rs`
//!
//! * `push` adds to `used` (AcqRel), and `drain` stores 0 in it (Release) after it has emptied the places: a
//!   place is filled after it was emptied.
//! * `drain` first swaps the capacity in (AcqRel): from then on pushes find the stripe full.
//! * Places are Relaxed. A thread may take a place, and fill it only after a drain has passed. Its touch then
//!   comes one drain late, or takes the place of one that came after that drain. Each id is swapped out, so a
//!   touch arrives at most once.
//! * With one thread nothing is late or lost: it sees its own stores, and drains a full stripe itself.
//!
//! Models: `touches::touches_that_meet_no_drain_all_arrive`,
//! `touches::a_touch_arrives_at_most_once_however_often_the_log_is_drained`. They need each step to be one
//! read-modify-write, and none of the orders: those keep a place from being emptied after it was filled anew
//! on processors that let loads pass later stores, which loom does not explore and which would cost a touch
//! at worst.
//!
//! # Loads: `shard/load.rs`, `flight.rs`
//!
//! * Leases are ordered by the shard's lock alone. A changed store is seen by every load that boards after the write that
//!   followed the change; a load that boarded before it finds its flight gone when it comes to store.
//! * A flight's end and those who wait for it are ordered by the flight's own lock: a task registers under the hold of it
//!   under which it has found no end.
//! * `seated`, `seats` and `bytes` are Relaxed: seats are taken under the shard's lock, and given up at any time.
//!
//! Models: all of `loads`.
//!
//! # Counters: `shard/account.rs`, `stats.rs`
//!
//! * The account's `allocated` is one word that is changed by read-modify-write, Relaxed: it never passes the
//!   budget in the one order of its changes. The memory behind it is handed over by other means. `index` is a
//!   part of it, for reports.
//! * The counters of loads are Relaxed, and shared by all shards of a cache.
//! * A teller's `waiting_bytes` (`removal.rs`) is a bound, Relaxed: each list that it counts is behind a lock, or a thread's own. So
//!   is `kept_lists`, by which a write sees whether there is anything to take: what an earlier write has left, it sees.
//! * Read counters are Relaxed. An owned stripe is a load and a store: no other living thread has its number.
//!   The mutex around the free numbers passes a stripe from a thread that has ended to the next. The last
//!   stripe is shared and is added to.
