//! W-TinyLFU: Einziger, Friedman and Manes, "TinyLFU: a highly efficient cache admission policy",
//! ACM TOS 2017. Its window adapts, as in Einziger, Eytan, Friedman and Manes, "Adaptive software
//! cache management", Middleware 2018, but by another signal.
//!
//! ```text
//!   miss -> [ window: LRU, 1 % at first ] -- oldest: candidate -> [ main: SLRU, 80 % protected ]
//!             the candidate or main's next victim stays, whichever was seen more often lately
//! ```
//!
//! New entries enter a window. An entry that leaves it is a candidate. It enters main if it was
//! seen more often lately than main's next victim, and is evicted otherwise. A sketch that counts
//! all accesses tells how often (`Sketch`). Main is a segmented LRU. Now and then a popular
//! candidate is admitted against the rule. Otherwise a client could keep keys out for ever by
//! raising the counts of others.
//!
//! The second paper's hill climber moves the border between window and main, checks whether the
//! ratio of hits rises, and goes on or turns round. It takes every change of the traffic for its
//! own doing. Here the border moves towards the part that had more hits for its size, which a
//! single period shows (`Climber`). Over the reference traces that misses 0.6 points less.
//!
//! Where the papers leave a choice:
//!
//! * Shares are of the charge, and the window's is rounded up.
//! * A candidate that wins opens main for all the room that the newcomer needs. Further victims are
//!   not compared. Comparing them misses 0.4 points more over the traces with sizes.
//! * A newcomer larger than the window stays in it alone until the next one comes.
//! * A part whose share has become smaller gives up a few entries at each access.
//!
//! Costs 22 bytes for each id, of which 8 are the sketch. Every operation is O(1) amortised. It is
//! the wrong choice for keys that are read twice, far apart, and never again, and where popularity
//! changes faster than the sketch forgets. By its definition it learns only from accesses that hit
//! or store. Where keys are written once and read once later, and a miss stores nothing, it keeps
//! the keys that came first.

use crate::error::BuildError;
use crate::policy::built_in::{BuiltIn, Parameters};
use crate::policy::parameter::{OutOfRange, Parameter};
use crate::policy::standing::{StateReader, StateWriter};
use crate::policy::structures::{IdWords, Lists, QueueId, Sketch};
use crate::policy::{EntryId, EvictionPolicy, Newcomer, PolicyContext, Recency, Residents, Standing, percent_of};

const WINDOW: QueueId = QueueId::new(0);
const PROBATION: QueueId = QueueId::new(1);
const PROTECTED: QueueId = QueueId::new(2);

/// The share of main that protected entries may take, as in the paper.
const PROTECTED_PERCENT: u8 = 80;
/// Counters of the sketch for each id: four for each of a key's four counters, as in Caffeine.
const COUNTERS: usize = 16;
/// Accesses between two halvings of the sketch for each entry that fits: the paper's ratio of
/// sample and cache.
const HALVING_PERIOD: u64 = 10;
/// A candidate that was seen so often is admitted against the rule once in `LENIENCE` times, as in
/// Caffeine. Otherwise a victim that shares its counters with a hot key would stay for ever.
const WARM: u8 = 6;
const LENIENCE: u32 = 128;

/// Parameters of [`Policy::TinyLfu`](crate::Policy::TinyLfu).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct TinyLfuConfig {
    window_percent: u8,
    is_adaptive: bool,
}

impl Default for TinyLfuConfig {
    fn default() -> Self {
        Self { window_percent: 1, is_adaptive: true }
    }
}

impl TinyLfuConfig {
    const WINDOW: Parameter = Parameter::number(TinyLfu::NAME, "window", 1..=99);
    const ADAPTIVE: Parameter = Parameter::flag(TinyLfu::NAME, "adaptive");

    /// Returns the default parameters: a window of 1 %, which adapts.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::TinyLfuConfig;
    ///
    /// assert_eq!(Policy::from(TinyLfuConfig::new()), Policy::TinyLfu);
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets how much of the capacity the window may take at first, in percent: from 1 to 99.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::TinyLfuConfig;
    ///
    /// let policy = Policy::from(TinyLfuConfig::new().window_percent(20)?);
    /// assert_eq!(policy.to_string(), "w-tinylfu(window=20,adaptive=true)");
    /// assert!(TinyLfuConfig::new().window_percent(0).is_err());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Returns [`BuildError::PolicyParameter`] for any other number.
    pub fn window_percent(mut self, percent: u8) -> Result<Self, BuildError> {
        self.window_percent = Self::WINDOW.check(percent)?;
        Ok(self)
    }

    /// Sets whether the window adapts.
    ///
    /// ```
    /// use bytecache::Policy;
    /// use bytecache::policy::TinyLfuConfig;
    ///
    /// let policy = Policy::from(TinyLfuConfig::new().adaptive(false));
    /// assert_eq!(policy.to_string(), "w-tinylfu(window=1,adaptive=false)");
    /// ```
    #[must_use]
    pub fn adaptive(mut self, is_adaptive: bool) -> Self {
        self.is_adaptive = is_adaptive;
        self
    }
}

impl Parameters for TinyLfuConfig {
    fn values(self) -> Vec<(Parameter, String)> {
        vec![(Self::WINDOW, self.window_percent.to_string()), (Self::ADAPTIVE, self.is_adaptive.to_string())]
    }

    fn with(self, parameter: &Parameter, value: &str) -> Result<Self, OutOfRange> {
        Ok(if *parameter == Self::WINDOW {
            Self { window_percent: parameter.parse_number(value)?, ..self }
        } else {
            self.adaptive(parameter.parse_flag(value)?)
        })
    }
}

#[derive(Debug)]
pub(crate) struct TinyLfu {
    lists: Lists<3>,
    sketch: Sketch,
    /// The top half of the hash of each id.
    hashes: IdWords,
    capacity: u64,
    /// The window's part of the capacity. It determines the next two fields.
    window_percent: f64,
    /// The charge that the window may have.
    window_max: u64,
    /// The charge that protected entries may have.
    protected_max: u64,
    /// A candidate has won since the newcomer came. The rest of the room is made without comparing.
    has_admitted: bool,
    climber: Option<Climber>,
    random: u32,
}

impl TinyLfu {
    /// Divides the capacity. The window's share is rounded up, as an empty window would admit
    /// nothing.
    fn divide(&mut self) {
        #[allow(clippy::cast_possible_truncation, reason = "a part of the capacity")]
        let main = (self.capacity as f64 * (100.0 - self.window_percent) / 100.0) as u64;
        self.window_max = self.capacity.saturating_sub(main).max(1);
        self.protected_max = percent_of(self.capacity.saturating_sub(self.window_max), PROTECTED_PERCENT);
    }

    /// Returns how many entries fit, if later ones have the mean charge of the current ones.
    fn expected_entries(&self) -> u64 {
        let entries: usize = QueueId::first(3).map(|list| self.lists.len(list)).sum();
        let charge: u64 = QueueId::first(3).map(|list| self.lists.charge(list)).sum();
        let usual_charge = charge / entries.max(1) as u64;
        self.capacity / usual_charge.max(1)
    }

    /// Moves the oldest entries of a list that has more than `max` to probation, to the end that
    /// `to` says. Together they have hardly more than `most`, so a limit that has become much
    /// smaller is reached in many short steps.
    fn shed(&mut self, list: QueueId, max: u64, most: u64, to: fn(&mut Lists<3>, QueueId, EntryId)) {
        let goal = self.lists.charge(list).saturating_sub(most).max(max);
        while self.lists.charge(list) > goal {
            let Some(oldest) = self.lists.oldest(list) else { return };
            to(&mut self.lists, PROBATION, oldest);
        }
    }

    fn frequency(&self, id: EntryId) -> u8 {
        self.sketch.frequency(self.hash_of(id))
    }

    fn note_hash(&mut self, newcomer: &Newcomer) {
        #[allow(clippy::cast_possible_truncation, reason = "the top half is left")]
        {
            self.hashes[newcomer.id] = (newcomer.hash >> 32) as u32;
        }
    }

    fn hash_of(&self, id: EntryId) -> u64 {
        u64::from(self.hashes[id]) << 32
    }

    /// Returns the entry that leaves the window for the newcomer, or `None` if there is room.
    fn candidate(&self, newcomer: Option<&Newcomer>) -> Option<EntryId> {
        let charge = newcomer.map_or(0, |newcomer| u64::from(newcomer.charge));
        if self.lists.charge(WINDOW) + charge > self.window_max { self.lists.oldest(WINDOW) } else { None }
    }

    fn victim(&self) -> Option<EntryId> {
        [PROBATION, PROTECTED, WINDOW].into_iter().find_map(|list| self.lists.oldest(list))
    }

    /// Returns `true` if the candidate was seen more often than the victim, or by leniency.
    fn is_admitted(&mut self, candidate: EntryId, victim: EntryId) -> bool {
        let frequency = self.frequency(candidate);
        frequency > self.frequency(victim) || (frequency >= WARM && self.is_lenient())
    }

    /// Returns `true` once in `LENIENCE` times. Xorshift (Marsaglia 2003) from a fixed seed, so
    /// that runs can be repeated.
    fn is_lenient(&mut self) -> bool {
        self.random ^= self.random << 13;
        self.random ^= self.random >> 17;
        self.random ^= self.random << 5;
        self.random % LENIENCE == 0
    }

    /// Notifies the climber of an access, and of the list of its hit.
    fn climb(&mut self, hit: Option<QueueId>) {
        let Some(climber) = &mut self.climber else { return };
        if let Some(window_percent) = climber.note(hit, self.window_percent) {
            self.window_percent = window_percent;
            self.divide();
        }
    }
}

impl BuiltIn for TinyLfu {
    const NAME: &'static str = "w-tinylfu";
    type Config = TinyLfuConfig;

    fn new(config: TinyLfuConfig, context: &PolicyContext) -> Self {
        let mut policy = Self {
            lists: Lists::new(context.ids()),
            sketch: Sketch::new(context.ids() * COUNTERS),
            hashes: IdWords::new(context.ids()),
            capacity: context.capacity(),
            window_percent: config.window_percent.into(),
            window_max: 0,
            protected_max: 0,
            has_admitted: false,
            climber: config.is_adaptive.then(Climber::new),
            random: 1,
        };
        policy.divide();
        policy
    }
}

impl EvictionPolicy for TinyLfu {
    fn recency(&self) -> Recency {
        Recency::Ordered
    }

    fn prepare_insert(&mut self, newcomer: &Newcomer) {
        self.has_admitted = false;
        self.note_hash(newcomer);
        let entries = self.expected_entries();
        self.sketch.set_period(entries.saturating_mul(HALVING_PERIOD));
        self.sketch.record(self.hash_of(newcomer.id));
        if let Some(climber) = &mut self.climber {
            climber.set_period(entries);
        }
        self.climb(None);
    }

    fn evict(&mut self, newcomer: Option<&Newcomer>, residents: &mut Residents<'_>) -> Option<EntryId> {
        let candidate = if self.has_admitted { None } else { self.candidate(newcomer) };
        if let Some(candidate) = candidate {
            let victim = self.victim()?;
            self.has_admitted = self.is_admitted(candidate, victim);
            if !self.has_admitted {
                self.lists.evict(candidate, residents);
                return Some(candidate);
            }
            self.lists.move_to_newest(PROBATION, candidate);
        }
        let victim = self.victim()?;
        self.lists.evict(victim, residents);
        Some(victim)
    }

    fn insert(&mut self, newcomer: &Newcomer) {
        let charge = u64::from(newcomer.charge);
        // Entries beyond a window that has become smaller are evicted next. Those that make room
        // for the newcomer are not.
        self.shed(WINDOW, self.window_max, charge, Lists::move_to_oldest);
        self.shed(WINDOW, self.window_max.saturating_sub(charge), charge, Lists::move_to_newest);
        self.lists.push_newest(WINDOW, newcomer.id, newcomer.charge);
    }

    fn touch(&mut self, id: EntryId) {
        self.sketch.record(self.hash_of(id));
        let list = self.lists.list_of(id);
        self.lists.move_to_newest(if list == WINDOW { WINDOW } else { PROTECTED }, id);
        // Twice the charge that may have come in, or a smaller limit would never be reached.
        let most = 2 * u64::from(self.lists.charge_of(id));
        self.shed(PROTECTED, self.protected_max, most, Lists::move_to_newest);
        self.climb(Some(list));
    }

    fn update(&mut self, id: EntryId, _old_charge: u32, charge: u32) {
        self.has_admitted = false;
        self.lists.set_charge(id, charge);
        self.touch(id);
    }

    fn remove(&mut self, id: EntryId, _charge: u32) {
        self.lists.remove(id);
    }

    fn set_capacity(&mut self, charge: u64) {
        self.capacity = charge;
        self.divide();
    }

    fn resize(&mut self, ids: usize, _max_entries: usize) -> bool {
        let are_lists_done = self.hashes.resize(ids) && self.lists.resize(ids);
        self.sketch.resize(ids * COUNTERS) && are_lists_done
    }

    fn rename(&mut self, from: EntryId, to: EntryId) {
        self.lists.rename(from, to);
        self.hashes.rename(from, to);
    }

    fn bytes(&self) -> usize {
        self.lists.allocated() + self.sketch.allocated() + self.hashes.allocated()
    }

    fn validate(&self) {
        self.lists.validate();
        assert!(self.window_max + self.protected_max <= self.capacity.max(1));
    }

    fn snapshot_name(&self) -> &'static str {
        Self::NAME
    }

    fn begin_walk(&mut self) {
        self.lists.begin_walk();
    }

    /// The rank is how often the key was seen lately.
    fn walk(&mut self, most: usize, show: &mut dyn FnMut(EntryId, Standing)) -> bool {
        for _ in 0..most {
            let Some(id) = self.lists.walk() else { return true };
            show(id, Standing::new().class(self.lists.list_of(id).number()).rank(self.frequency(id).into()));
        }
        false
    }

    fn restore(&mut self, newcomer: &Newcomer, standing: Standing) {
        let list = QueueId::first(3).find(|list| list.number() == standing.class).unwrap_or(WINDOW);
        self.note_hash(newcomer);
        self.sketch.raise(self.hash_of(newcomer.id), standing.rank);
        self.lists.push_newest(list, newcomer.id, newcomer.charge);
    }

    fn save_history(&self, part: usize, bytes: &mut Vec<u8>) -> bool {
        self.sketch.save(part, bytes)
    }

    fn restore_history(&mut self, _part: usize, bytes: &[u8]) {
        self.sketch.restore(bytes);
    }

    /// Appends the window's share in percent, and counts of this period.
    fn save_state(&self, state: &mut Vec<u8>) {
        let mut state = StateWriter(state);
        state.number(self.window_percent).number(self.sketch.recorded() as f64);
        if let Some(climber) = &self.climber {
            climber.save(&mut state);
        }
    }

    fn restore_state(&mut self, state: &[u8]) {
        let mut state = StateReader(state);
        let (Some(percent), Some(recorded)) = (state.number_in(1.0..=99.0), state.count()) else { return };
        self.sketch.set_recorded(recorded.into());
        if let Some(climber) = &mut self.climber {
            climber.restore(&mut state);
            self.window_percent = percent;
            self.divide();
        }
    }
}

/// Moves the border between window and main.
///
/// Once in a period it compares the hits of the two parts for each percent of the capacity. The
/// part that has more grows, the faster the more the two differ. Where next to nothing is hit,
/// there is nothing to compare and little to lose. Then the border wanders to and fro, until some
/// place is better.
#[derive(Debug)]
struct Climber {
    window_hits: u64,
    main_hits: u64,
    accesses: u64,
    period: u64,
    /// The direction in which the border wanders.
    is_window_to_grow: bool,
}

impl Climber {
    /// Accesses in a period for each entry that fits. With ten, as in the paper, 0.15 points more
    /// are missed on the reference traces. With one it is 0.13, as the border follows every burst
    /// of hits.
    const PERIOD: u64 = 4;
    /// The percent of the capacity by which the border moves where one part has e times the other's
    /// hits, and when it wanders. Half of that misses as much on the reference traces, twice of it
    /// 0.1 points more.
    const GAIN: f64 = 3.0;
    /// Hits that each part is credited with, as a share of the accesses. A part must be large
    /// enough to have hits before it can show its worth. The fewer the other one has, the larger it
    /// may become on credit. Four times as much credit misses 0.1 points more on the reference
    /// traces.
    const CREDIT: f64 = 1.0 / 256.0;
    /// The ratio of hits below which the border wanders. Where every key comes just twice, farther
    /// apart than the window holds, main has up to 1.7 % by chance, and a larger window 50 %.
    const NEXT_TO_NOTHING: f64 = 0.02;
    /// Bounds of the window, in percent. Either part must stay large enough for its hits to be
    /// counted.
    const MIN: f64 = 1.0;
    const MAX: f64 = 80.0;

    fn new() -> Self {
        Self { window_hits: 0, main_hits: 0, accesses: 0, period: u64::MAX, is_window_to_grow: true }
    }

    /// Sets the period of a shard of `entries` entries.
    fn set_period(&mut self, entries: u64) {
        self.period = entries.saturating_mul(Self::PERIOD);
    }

    /// Appends the counts of this period, and the direction in which the border wanders.
    fn save(&self, state: &mut StateWriter<'_>) {
        let numbers = [self.window_hits, self.main_hits, self.accesses, self.is_window_to_grow.into()];
        numbers.into_iter().for_each(|number| _ = state.number(number as f64));
    }

    /// Restores them, unless one cannot be one.
    fn restore(&mut self, state: &mut StateReader<'_>) {
        let numbers = [(); 4].map(|()| state.count());
        if let [Some(window_hits), Some(main_hits), Some(accesses), Some(is_window_to_grow)] = numbers {
            (self.window_hits, self.main_hits) = (window_hits.into(), main_hits.into());
            (self.accesses, self.is_window_to_grow) = (accesses.into(), is_window_to_grow != 0);
        }
    }

    /// Counts an access. Once in a period, returns the new border.
    fn note(&mut self, hit: Option<QueueId>, window_percent: f64) -> Option<f64> {
        self.accesses += 1;
        match hit {
            Some(WINDOW) => self.window_hits += 1,
            Some(_) => self.main_hits += 1,
            None => {}
        }
        if self.accesses < self.period {
            return None;
        }
        let moved = (window_percent + self.step(window_percent)).clamp(Self::MIN, Self::MAX);
        (self.window_hits, self.main_hits, self.accesses) = (0, 0, 0);
        Some(moved)
    }

    fn step(&mut self, window_percent: f64) -> f64 {
        let accesses = self.accesses as f64;
        if ((self.window_hits + self.main_hits) as f64) < Self::NEXT_TO_NOTHING * accesses {
            return self.wander(window_percent);
        }
        let earned = |hits: u64, percent: f64| (hits as f64 + Self::CREDIT * accesses) / percent;
        Self::GAIN * (earned(self.window_hits, window_percent) / earned(self.main_hits, 100.0 - window_percent)).ln()
    }

    fn wander(&mut self, window_percent: f64) -> f64 {
        let is_at_end = if self.is_window_to_grow { window_percent >= Self::MAX } else { window_percent <= Self::MIN };
        self.is_window_to_grow ^= is_at_end;
        if self.is_window_to_grow { Self::GAIN } else { -Self::GAIN }
    }
}

#[cfg(test)]
mod tests {
    use crate::policy::Policy;
    use crate::policy::tests::Outcome::{Evicts, Hit, Miss};
    use crate::policy::tests::follow;

    #[test]
    fn w_tiny_lfu_on_a_hand_worked_trace() {
        // The window holds one, and two may be protected. Window | probation | protected, each from
        // the oldest to the newest, and how often the keys that matter were seen.
        follow(
            Policy::TinyLfu,
            4,
            &[
                (1, Miss),
                (2, Miss),
                (3, Miss),
                (4, Miss),         // 4 | 1 2 3 |
                (1, Hit),          // 4 | 2 3 | 1
                (5, Evicts(&[4])), // 5 | 2 3 | 1: of equals, 2 and the candidate 4, the candidate goes
                (5, Hit),          // 5 | 2 3 | 1
                (6, Evicts(&[2])), // 6 | 3 5 | 1: 5 was seen twice, 2 once
                (3, Hit),          // 6 | 5 | 1 3
                (5, Hit),          // 6 | 1 | 3 5
                (7, Evicts(&[6])), // 7 | 1 | 3 5: 6 once, 1 twice
                (6, Evicts(&[7])), // 6 | 1 | 3 5
                (6, Hit),
                (8, Evicts(&[1])), // 8 | 6 | 3 5: 6 three times, once before it was evicted
                (8, Hit),
                (9, Evicts(&[8])), // 9 | 6 | 3 5: hits do not take 8 out of the window; twice, 6 three times
            ],
        );
    }
}
