//! [`Value`]: the bytes of an entry, held in place.

use core::borrow::Borrow;
use core::cmp::Ordering;
use core::fmt;
use core::hash::{Hash, Hasher};
use core::iter::repeat_n;
use core::ops::Deref;
use core::ptr::NonNull;
use std::sync::Arc;

use super::chunk::ChunkId;
use super::header::Alignment;
use super::shared::RingShared;

/// The value of an entry, without a copy.
///
/// It holds one pin on the chunk that the entry lies in: the bytes stay as they are while it lives, even when
/// the entry is replaced, removed or evicted, and even when the cache is dropped. The chunk cannot be reused
/// meanwhile, so hold values for as long as you read them and not as a store. At most a quarter of a shard's
/// chunks can be held so; beyond that [`Cache::get`](crate::Cache::get) hands out copies, which look the
/// same.
///
/// ```
/// use bytecache::Cache;
///
/// let cache = Cache::new(1 << 20)?;
/// cache.insert("k", "first")?;
/// let value = cache.get("k").expect("just inserted");
/// cache.insert("k", "second")?;
/// drop(cache);
/// assert_eq!(value, *b"first");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Cost
///
/// Making, cloning and dropping one is an atomic addition to a counter of its chunk. A copy costs an
/// allocation.
pub struct Value {
    data: NonNull<[u8]>,
    owner: Owner,
}

/// What keeps the bytes of a value.
enum Owner {
    /// One pin on the chunk.
    Chunk { ring: NonNull<RingShared>, chunk: ChunkId },
    /// An allocation that the bytes lie in.
    Copy(Arc<[u8]>),
}

// SAFETY:
// * the bytes are not written while the owner's pin or count is held, by any thread;
// * `RingShared` and `Arc<[u8]>` may be used from and dropped on any thread.
unsafe impl Send for Value {}
// SAFETY: as above; a `&Value` gives reading access to the bytes, and `clone`, which is atomic.
unsafe impl Sync for Value {}

impl Value {
    /// # Safety
    ///
    /// * One pin on `chunk` of `ring` is handed over, and the chunk's own pin was there when it was taken;
    /// * `data` lies in that chunk and was live then.
    pub(super) unsafe fn pinned(ring: NonNull<RingShared>, chunk: ChunkId, data: &[u8]) -> Self {
        Self { data: NonNull::from(data), owner: Owner::Chunk { ring, chunk } }
    }

    /// A value that no cache has, aligned as those of a ring are.
    pub(super) fn copied(data: &[u8], alignment: Alignment) -> Self {
        let most_padding = alignment.bytes() - 1;
        if most_padding == 0 {
            let copy: Arc<[u8]> = Arc::from(data);
            return Self { data: NonNull::from(&*copy), owner: Owner::Copy(copy) };
        }
        let mut copy: Arc<[u8]> = repeat_n(0, data.len() + most_padding).collect();
        let start = copy.as_ptr().addr().wrapping_neg() % alignment.bytes();
        let place = start..start + data.len();
        // There is one handle so far, so this copies in place.
        Arc::make_mut(&mut copy)[place.clone()].copy_from_slice(data);
        Self { data: NonNull::from(&copy[place]), owner: Owner::Copy(copy) }
    }

    /// The bytes.
    #[inline]
    #[must_use]
    pub fn as_slice(&self) -> &[u8] {
        self.note_read();
        // SAFETY: initialised bytes in an arena or an `Arc`, which nobody writes or frees while `owner` holds them.
        unsafe { self.data.as_ref() }
    }

    /// Tells loom of a read, which must not meet a write.
    #[cfg(bytecache_loom)]
    fn note_read(&self) {
        if let Owner::Chunk { ring, .. } = self.owner {
            // SAFETY: a pinned chunk keeps the ring.
            unsafe { ring.as_ref() }.arena.note_read_at(self.data);
        }
    }

    #[cfg(not(bytecache_loom))]
    #[inline(always)]
    fn note_read(&self) {}
}

impl Clone for Value {
    fn clone(&self) -> Self {
        let owner = match &self.owner {
            Owner::Copy(copy) => Owner::Copy(Arc::clone(copy)),
            &Owner::Chunk { ring, chunk } => {
                // SAFETY: a pinned chunk keeps the ring: it is a live `RingShared`.
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
        if let Owner::Chunk { ring, chunk } = self.owner {
            // SAFETY: the pin that this value holds is given up here, once; until then it keeps the ring.
            unsafe { RingShared::unpin(ring, chunk) };
        }
    }
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

/// `Eq`, `Ord` and `Hash` of a value are those of its bytes, so a map with values as keys can be searched by bytes.
impl Borrow<[u8]> for Value {
    fn borrow(&self) -> &[u8] {
        self
    }
}

/// Prints the bytes as a byte string: `b"caf\xc3\xa9"`.
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

/// Copies the value's bytes.
impl From<Value> for Vec<u8> {
    fn from(value: Value) -> Self {
        value.to_vec()
    }
}

/// The value's bytes without a copy: the `Bytes` holds the pin.
#[cfg(feature = "bytes")]
#[cfg_attr(docsrs, doc(cfg(feature = "bytes")))]
impl From<Value> for bytes::Bytes {
    fn from(value: Value) -> Self {
        Self::from_owner(value)
    }
}
