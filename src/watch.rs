//! The watch event: what one source of objects says about them, first as a list and then as changes.
//!
//! Owns the protocol's vocabulary alone. Ports produce it (a store's change stream, a list of containers followed by events),
//! the controller's cache consumes it. Knows no transport, no object and no error: how a source recovers is its own affair, and
//! what it then says is a new list.

/// One statement of a watched source about its objects. What is said of a deleted one is `D`: the object as it was last
/// known, or only its key where the source knows no more.
///
/// # Guarantees
///
/// A source that keeps to the protocol says `Init`, then one `InitApply` for each object that exists, then `InitDone`,
/// then any number of `Apply` and `Delete`. It may begin again with `Init` at any time: after a gap that it could not
/// close, or after an error. An object that an earlier list or an `Apply` named and that a completed list does not name
/// is gone.
///
/// # Assumptions
///
/// Events are hints and may be missed between two lists, so nothing that must happen once per change may hang on them.
/// A list that began and never came to `InitDone` says nothing about what is gone.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum WatchEvent<T, D = T> {
    /// A list begins. What an earlier, unfinished list said is void.
    Init,
    /// One object of the list.
    InitApply(T),
    /// The list is complete: it replaces all that was known before, at once.
    InitDone,
    /// An object was added or changed.
    Apply(T),
    /// An object is gone.
    Delete(D),
}

impl<T, D> WatchEvent<T, D> {
    /// The same event about what `change` makes of an object that exists.
    pub fn map<U>(self, change: impl FnOnce(T) -> U) -> WatchEvent<U, D> {
        match self {
            Self::Init => WatchEvent::Init,
            Self::InitApply(object) => WatchEvent::InitApply(change(object)),
            Self::InitDone => WatchEvent::InitDone,
            Self::Apply(object) => WatchEvent::Apply(change(object)),
            Self::Delete(deleted) => WatchEvent::Delete(deleted),
        }
    }

    /// The same event with what `change` makes of what is said of a deleted object.
    pub fn map_deleted<U>(self, change: impl FnOnce(D) -> U) -> WatchEvent<T, U> {
        match self {
            Self::Init => WatchEvent::Init,
            Self::InitApply(object) => WatchEvent::InitApply(object),
            Self::InitDone => WatchEvent::InitDone,
            Self::Apply(object) => WatchEvent::Apply(object),
            Self::Delete(deleted) => WatchEvent::Delete(change(deleted)),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::WatchEvent::{self, Apply, Delete, Init, InitApply, InitDone};

    #[test]
    fn mapping_keeps_the_kind_of_event_and_changes_its_object() {
        let mapped = |event: WatchEvent<u8>| event.map(u32::from).map_deleted(u64::from);
        assert_eq!(mapped(Init), Init);
        assert_eq!(mapped(InitApply(1)), InitApply(1_u32));
        assert_eq!(mapped(InitDone), InitDone);
        assert_eq!(mapped(Apply(2)), Apply(2_u32));
        assert_eq!(mapped(Delete(3)), Delete(3_u64));
    }
}
