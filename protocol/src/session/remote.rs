//! What a shop tells of a session.

/// Where a session at the shop stands, as `sql_status` tells it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum RemoteState {
    /// It takes chunks.
    Open,
    /// It is being applied right now.
    Applying,
    /// It was applied.
    Applied,
    /// It ended with a fault.
    Refused,
    /// It was dropped, or was idle too long.
    Gone,
}

impl RemoteState {
    /// The state of that name on the wire; none for a name this version does not know.
    pub fn from_wire(name: &str) -> Option<Self> {
        Some(match name {
            "open" => Self::Open,
            "applying" => Self::Applying,
            "applied" => Self::Applied,
            "refused" => Self::Refused,
            "aborted" | "expired" => Self::Gone,
            _ => return None,
        })
    }
}
