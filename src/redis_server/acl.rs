//! What agents may do in their Redis: everything with data, nothing with the server. An allow-list, so that what a later
//! Redis adds is denied until it is looked at.

use sha2::{Digest as _, Sha256};

/// Data types, publishing and transactions, without what Redis itself calls administration or dangerous.
const CATEGORIES: [&str; 12] = [
    "+@string",
    "+@bitmap",
    "+@hash",
    "+@list",
    "+@set",
    "+@sortedset",
    "+@stream",
    "+@hyperloglog",
    "+@geo",
    "+@transaction",
    "-@admin",
    "-@dangerous",
];

/// Single commands beside the categories.
///
/// Not here, since they list other agents' keys or channels, or tell of other clients: `KEYS`, `SCAN`, `RANDOMKEY`, `DBSIZE`,
/// `PUBSUB CHANNELS`, `CLIENT LIST`, `CLIENT TRACKING` (its broadcasts name every changed key), `MONITOR`, `INFO` but for the
/// part with the version, which queue libraries read.
const COMMANDS: [&str; 59] = [
    // Keys, by name.
    "+del",
    "+unlink",
    "+exists",
    "+expire",
    "+expireat",
    "+pexpire",
    "+pexpireat",
    "+expiretime",
    "+pexpiretime",
    "+ttl",
    "+pttl",
    "+persist",
    "+type",
    "+touch",
    "+rename",
    "+renamenx",
    "+copy",
    "+object|encoding",
    "+sort",
    "+sort_ro",
    // Messages.
    "+publish",
    "+subscribe",
    "+unsubscribe",
    "+psubscribe",
    "+punsubscribe",
    "+pubsub|numsub",
    "+spublish",
    "+ssubscribe",
    "+sunsubscribe",
    // Scripts; what they call is judged in the same way.
    "+eval",
    "+eval_ro",
    "+evalsha",
    "+evalsha_ro",
    "+script|load",
    "+script|exists",
    // The connection.
    "+auth",
    "+hello",
    "+ping",
    "+echo",
    "+quit",
    "+reset",
    "+select",
    "+client|setname",
    "+client|getname",
    "+client|id",
    "+client|reply",
    "+acl|whoami",
    "+time",
    "+command",
    "+command|count",
    "+command|docs",
    "+command|info",
    "+command|list",
    "+command|getkeys",
    "+info|server",
    "-pfdebug",
    "-pfselftest",
    "-move",
    "-xsetid",
];

/// The user of our own.
pub(super) const ADMIN: &str = "agentainer";

/// The ACL file: agents come without a password, we with one.
pub(super) fn text(version: (u32, u32, u32), password: &str) -> String {
    let mut rules: Vec<&str> = CATEGORIES.into_iter().chain(COMMANDS).collect();
    if version < (7, 0, 0) {
        // Unknown to it, and an unknown name keeps it from starting.
        let newer = [
            "+expiretime",
            "+pexpiretime",
            "+sort_ro",
            "+spublish",
            "+ssubscribe",
            "+sunsubscribe",
            "+eval_ro",
            "+evalsha_ro",
            "+command|docs",
            "+command|list",
        ];
        rules.retain(|rule| !newer.contains(rule));
    }
    if version >= (7, 2, 0) {
        rules.push("+client|setinfo");
    }
    let hash: String = Sha256::digest(password.as_bytes())
        .iter()
        .map(|byte| format!("{byte:02x}"))
        .collect();
    format!(
        "user default on nopass sanitize-payload ~* &* -@all {}\nuser {ADMIN} on #{hash} ~* &* +@all\n",
        rules.join(" ")
    )
}
