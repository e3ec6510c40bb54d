//! All routes at one moment, in pieces, so that changing one costs the same however many there are.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::Route;
use crate::names::AgentName;

/// How many pieces. A change copies the list of them and one piece.
const PIECES: usize = 256;

type Piece = Arc<BTreeMap<AgentName, Arc<Route>>>;

/// Routes by agent's name. Cheap to clone: clones share what neither changes.
#[derive(Clone, Debug)]
pub struct Routes {
    pieces: Vec<Piece>,
    count: usize,
}

impl Default for Routes {
    fn default() -> Self {
        Self {
            pieces: vec![Piece::default(); PIECES],
            count: 0,
        }
    }
}

/// Which piece a name is in: FNV-1a, the same in every run.
fn place(name: &str) -> usize {
    let hash = name.bytes().fold(0xcbf2_9ce4_8422_2325_u64, |hash, byte| {
        (hash ^ u64::from(byte)).wrapping_mul(0x100_0000_01b3)
    });
    usize::try_from(hash % PIECES as u64).unwrap_or(0)
}

impl Routes {
    /// The route of an agent.
    pub fn get(&self, name: &(impl AsRef<str> + ?Sized)) -> Option<&Arc<Route>> {
        let name = name.as_ref();
        self.pieces.get(place(name))?.get(name)
    }

    /// Whether there is an agent of this name.
    pub fn contains_key(&self, name: &(impl AsRef<str> + ?Sized)) -> bool {
        self.get(name).is_some()
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.count
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.count == 0
    }

    /// All of them, in no order that means something, the same in every run.
    pub fn iter(&self) -> impl Iterator<Item = (&AgentName, &Arc<Route>)> {
        self.pieces.iter().flat_map(|piece| piece.iter())
    }

    pub(super) fn insert(&mut self, name: AgentName, route: Arc<Route>) {
        if let Some(piece) = self.pieces.get_mut(place(name.as_str())) {
            let before = Arc::make_mut(piece).insert(name, route);
            self.count += usize::from(before.is_none());
        }
    }

    pub(super) fn remove(&mut self, name: &AgentName) {
        if let Some(piece) = self.pieces.get_mut(place(name.as_str())) {
            let before = Arc::make_mut(piece).remove(name);
            self.count -= usize::from(before.is_some());
        }
    }
}
