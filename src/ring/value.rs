//! [`Value`]: the bytes of an entry, pinned in place, or a copy of them.
//!
//! ```text
//!   Value { data, owner: Chunk }  --pin-->  chunk of a ring   | ... | header | key | value | ... |
//!         { data } -------------------------------------------------------------->
//!   Value { data, owner: Copy }   --count-> Arc<[u8]>         | padding | bytes |
//! ```
//!
//! # Invariants
//!
//! 1. `data` lies in the memory that `owner` keeps. Nobody writes or frees these bytes while
//!    `owner` has its pin or its count.
//! 2. A pinned chunk keeps its ring.

use core::borrow::Borrow;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::iter::repeat_n;
use core::mem::ManuallyDrop;
use core::ops::Deref;
use core::ptr::NonNull;
use std::sync::Arc;

use super::chunk::ChunkId;
use super::header::Alignment;
use super::shared::RingShared;

/// The value of an entry, without a copy.
///
/// A value pins the chunk of its entry. The bytes do not change while it lives, even if the entry
/// is replaced, removed or evicted, or if the cache is dropped.
///
/// The chunk cannot be reused meanwhile. So keep values while you read them, and copy what you keep
/// for long. Values pin at most a quarter of a shard's memory. Beyond that,
/// [`Cache::get`](crate::Cache::get) returns copies, which behave the same.
///
/// A value dereferences to `[u8]`. It compares, orders and hashes like its bytes.
///
/// ```
/// use bytecache::Cache;
///
/// let cache = Cache::new(1 << 20)?;
/// cache.insert("k", "first")?;
/// let value = cache.get("k").ok_or("missing")?;
/// cache.insert("k", "second")?;
/// drop(cache);
/// assert_eq!(value, *b"first");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost
///
/// Creating, cloning and dropping a value are one atomic addition each, to a counter of its chunk.
/// A copy needs an allocation.
pub struct Value {
    data: NonNull<[u8]>,
    owner: Owner,
}

/// The owner of the bytes of a value.
enum Owner {
    /// One pin on the chunk.
    Chunk { ring: NonNull<RingShared>, chunk: ChunkId },
    /// The allocation that the bytes lie in. [`Value::drop`] drops it.
    Copy(ManuallyDrop<Arc<[u8]>>),
}

// SAFETY:
// * invariant 1: no thread writes to the bytes while the owner's pin or count is held;
// * `RingShared` and `Arc<[u8]>` may be used from and dropped on any thread.
unsafe impl Send for Value {}
// SAFETY: like `Send`. A `&Value` gives read access to the bytes, and `clone`, which is atomic.
unsafe impl Sync for Value {}

impl Value {
    /// Returns a value that takes over one pin on `chunk`.
    ///
    /// # Safety
    ///
    /// * The caller hands over one pin on `chunk` of `ring`. The chunk's own pin was present when
    ///   it was taken.
    /// * `data` lies in that chunk, and was live then.
    pub(super) unsafe fn pinned(ring: NonNull<RingShared>, chunk: ChunkId, data: &[u8]) -> Self {
        Self { data: NonNull::from(data), owner: Owner::Chunk { ring, chunk } }
    }

    /// Returns a value with a copy of `data`, aligned like the values of a ring.
    pub(super) fn copied(data: &[u8], alignment: Alignment) -> Self {
        let most_padding = alignment.bytes() - 1;
        if most_padding == 0 {
            let copy: Arc<[u8]> = Arc::from(data);
            return Self { data: NonNull::from(&*copy), owner: Owner::Copy(ManuallyDrop::new(copy)) };
        }
        let mut copy: Arc<[u8]> = repeat_n(0, data.len() + most_padding).collect();
        let start = copy.as_ptr().addr().wrapping_neg() % alignment.bytes();
        let place = start..start + data.len();
        // There is one handle so far, so `make_mut` does not clone.
        Arc::make_mut(&mut copy)[place.clone()].copy_from_slice(data);
        Self { data: NonNull::from(&copy[place]), owner: Owner::Copy(ManuallyDrop::new(copy)) }
    }

    /// Returns the bytes.
    ///
    /// ```
    /// use bytecache::Cache;
    ///
    /// let cache = Cache::new(1 << 20)?;
    /// cache.insert("user:1", "Ada")?;
    /// let value = cache.get("user:1").ok_or("missing")?;
    /// let name: &[u8] = value.as_slice();
    /// assert_eq!(name, b"Ada");
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.note_read();
        // SAFETY: initialised bytes in an arena or an `Arc`. By invariant 1, nobody writes or frees
        // them while `self` is borrowed.
        unsafe { self.data.as_ref() }
    }

    /// Reports a read to models, in which it must not overlap with a write.
    #[inline(always)]
    fn note_read(&self) {
        if let Owner::Chunk { ring, .. } = self.owner {
            // SAFETY: invariant 2.
            unsafe { ring.as_ref() }.arena().note_read_at(self.data);
        }
    }
}

/// Pins the chunk once more, or copies the bytes if the chunk's counter is full.
impl Clone for Value {
    fn clone(&self) -> Self {
        let owner = match &self.owner {
            Owner::Copy(copy) => Owner::Copy(copy.clone()),
            &Owner::Chunk { ring, chunk } => {
                // SAFETY: by invariant 2, it is a live `RingShared`.
                let shared = unsafe { ring.as_ref() };
                if !shared.pin_again(chunk) {
                    return shared.copied(self);
                }
                Owner::Chunk { ring, chunk }
            }
        };
        Self { data: self.data, owner }
    }
}

impl Drop for Value {
    #[inline]
    fn drop(&mut self) {
        self.note_read();
        match &mut self.owner {
            // SAFETY: the pin of this value is given up here, once. Until then it keeps the ring.
            &mut Owner::Chunk { ring, chunk } => unsafe { RingShared::unpin(ring, chunk) },
            // SAFETY: this value is not used after its drop.
            Owner::Copy(copy) => unsafe { drop_copy(copy) },
        }
    }
}

/// Drops a copy. Not inlined, as most values are none.
///
/// # Safety
///
/// `copy` is not used after this call.
#[inline(never)]
unsafe fn drop_copy(copy: &mut ManuallyDrop<Arc<[u8]>>) {
    // SAFETY: the caller's duty is the same.
    unsafe { ManuallyDrop::drop(copy) };
}

impl Deref for Value {
    type Target = [u8];

    #[inline]
    fn deref(&self) -> &[u8] {
        self.as_slice()
    }
}

impl AsRef<[u8]> for Value {
    fn as_ref(&self) -> &[u8] {
        self
    }
}

/// Lets a map with values as keys be searched by bytes: `Eq`, `Ord` and `Hash` are those of the
/// bytes.
impl Borrow<[u8]> for Value {
    fn borrow(&self) -> &[u8] {
        self
    }
}

/// Writes the bytes as a byte string: `b"caf\xc3\xa9"`.
impl fmt::Debug for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "b\"{}\"", self.escape_ascii())
    }
}

impl PartialEq for Value {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl Eq for Value {}

impl Ord for Value {
    fn cmp(&self, other: &Self) -> Ordering {
        self.as_slice().cmp(other)
    }
}

impl PartialOrd for Value {
    fn partial_cmp(&self, other: &Self) -> Option<Ordering> {
        Some(self.cmp(other))
    }
}

impl Hash for Value {
    fn hash<H: Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

impl PartialEq<[u8]> for Value {
    fn eq(&self, other: &[u8]) -> bool {
        **self == *other
    }
}

impl PartialEq<&[u8]> for Value {
    fn eq(&self, other: &&[u8]) -> bool {
        **self == **other
    }
}

impl<const N: usize> PartialEq<[u8; N]> for Value {
    fn eq(&self, other: &[u8; N]) -> bool {
        **self == other[..]
    }
}

impl<const N: usize> PartialEq<&[u8; N]> for Value {
    fn eq(&self, other: &&[u8; N]) -> bool {
        **self == other[..]
    }
}

impl PartialEq<Vec<u8>> for Value {
    fn eq(&self, other: &Vec<u8>) -> bool {
        **self == other[..]
    }
}

impl PartialEq<str> for Value {
    fn eq(&self, other: &str) -> bool {
        **self == *other.as_bytes()
    }
}

impl PartialEq<&str> for Value {
    fn eq(&self, other: &&str) -> bool {
        **self == *other.as_bytes()
    }
}

/// Copies the bytes.
impl From<Value> for Vec<u8> {
    fn from(value: Value) -> Self {
        value.to_vec()
    }
}

/// Converts the value without a copy: the `Bytes` keeps the pin.
#[cfg(feature = "bytes")]
#[cfg_attr(docsrs, doc(cfg(feature = "bytes")))]
impl From<Value> for bytes::Bytes {
    fn from(value: Value) -> Self {
        Self::from_owner(value)
    }
}
