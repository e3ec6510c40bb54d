//! How far a pull is, added up from what the engine says of each layer.

use std::collections::BTreeMap;

use serde_json::Value;

use super::map;
use crate::runtime::PullProgress;

/// What is known of the layers.
#[derive(Debug, Default)]
pub(super) struct Tally(BTreeMap<String, Layer>);

#[derive(Debug, Default)]
struct Layer {
    done: bool,
    current: u64,
    total: u64,
}

impl Tally {
    /// Adds one line of a pull; answers how far it is, when the line said something of a layer.
    pub(super) fn add(&mut self, line: &Value) -> Option<PullProgress> {
        let status = map::text(line, "/status")?;
        let id = map::text(line, "/id")?;
        match status {
            "Pulling fs layer" | "Waiting" => {
                self.0.entry(id.to_owned()).or_default();
            }
            "Downloading" => {
                let number = |path| line.pointer(path).and_then(Value::as_u64);
                let layer = self.0.entry(id.to_owned()).or_default();
                layer.current = number("/progressDetail/current").unwrap_or(layer.current);
                layer.total = number("/progressDetail/total").unwrap_or(layer.total);
            }
            "Download complete" | "Pull complete" | "Already exists" => {
                let layer = self.0.entry(id.to_owned()).or_default();
                (layer.done, layer.current) = (true, layer.total);
            }
            _ => return None,
        }
        let layers = self.0.values();
        Some(PullProgress {
            layers: u32::try_from(self.0.len()).unwrap_or(u32::MAX),
            layers_done: u32::try_from(layers.clone().filter(|layer| layer.done).count())
                .unwrap_or(u32::MAX),
            bytes: layers.clone().map(|layer| layer.total).sum(),
            bytes_done: layers.map(|layer| layer.current).sum(),
        })
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used)]
    use serde_json::json;

    use super::*;

    #[test]
    fn layers_are_added_up() {
        let mut tally = Tally::default();
        for line in [
            json!({"status": "Pulling from library/redis", "id": "7"}),
            json!({"status": "Pulling fs layer", "id": "a", "progressDetail": {}}),
            json!({"status": "Pulling fs layer", "id": "b", "progressDetail": {}}),
            json!({"status": "Already exists", "id": "c"}),
            json!({"status": "Downloading", "id": "a", "progressDetail": {"current": 5_000_000, "total": 20_000_000}}),
            json!({"status": "Downloading", "id": "b", "progressDetail": {"current": "odd"}}),
            json!(7),
        ] {
            tally.add(&line);
        }
        let line = json!({"status": "Download complete", "id": "b"});
        let progress = tally.add(&line).unwrap();
        assert_eq!(progress.to_string(), "2 of 3 layers, 5 of 20 MB");
        let line = json!({"status": "Pull complete", "id": "a"});
        let progress = tally.add(&line).unwrap();
        assert_eq!(progress.to_string(), "3 of 3 layers, 20 of 20 MB");
        assert_eq!(tally.add(&json!({"status": "Digest: sha256:1"})), None);
    }
}
