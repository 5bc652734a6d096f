//! Rules broken on purpose, on the side of the drivers and the store, to see the simulation find them.

/// A broken rule.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sabotage {
    /// A watermark is the newest transaction id seen: what began before and commits later is skipped.
    XidCursor,
    /// A watermark is a time: what was written before it and is committed later is skipped.
    TimestampCursor,
    /// The office records a push when it has sent it, before the shop has applied it.
    EarlyRecord,
    /// A finish without an answer counts as failed: the push is frozen anew, and increments travel instead of totals.
    LostIsFailed,
    /// A session is applied again when it is finished again.
    NoLedger,
    /// The office stores the watermark of a pull in a transaction of its own, before it applies the rows.
    WatermarkFirst,
    /// The shop lets itself win where the office lets itself win.
    Asymmetric,
    /// The loser of a conflict is not kept.
    ForgetLoser,
    /// What came from an office is sent back to it.
    Echo,
    /// A watermark is acknowledged when it is issued.
    EarlyAcknowledge,
    /// A watermark is issued with an asynchronous commit of what it covers.
    LazyWatermark,
    /// Nobody asks the witness.
    NoWitness,
    /// An empty window re-points the watermark to a snapshot taken after the count.
    LateRepoint,
    /// A deleted row is sent as nothing.
    ForgetDeletes,
    /// What an earlier run had frozen is sent from its beginning into the session that holds a part of it.
    SendFromStart,
    /// A diff that was received in part is taken for whole.
    HalfDiff,
    /// The clock of the shop decides what is sent.
    ClockDecides,
    /// A clean that arrives late is carried out.
    LateClean,
    /// A row that one peer deleted and another brought back travels as the update that came before.
    ForgetRebirth,
    /// A push that rests on a watermark that is no longer kept is judged by another one.
    AnyBase,
    /// What was acknowledged stays so, though the office that did it was restored since.
    KeepAcknowledged,
    /// Every row that arrives is taken as it is, contended or not.
    LastWriterWins,
}

/// All of them, with their names.
pub const ALL: &[(&str, Sabotage)] = &[
    ("xid-cursor", Sabotage::XidCursor),
    ("timestamp-cursor", Sabotage::TimestampCursor),
    ("early-record", Sabotage::EarlyRecord),
    ("lost-is-failed", Sabotage::LostIsFailed),
    ("no-ledger", Sabotage::NoLedger),
    ("watermark-first", Sabotage::WatermarkFirst),
    ("asymmetric", Sabotage::Asymmetric),
    ("forget-loser", Sabotage::ForgetLoser),
    ("echo", Sabotage::Echo),
    ("early-acknowledge", Sabotage::EarlyAcknowledge),
    ("lazy-watermark", Sabotage::LazyWatermark),
    ("no-witness", Sabotage::NoWitness),
    ("late-repoint", Sabotage::LateRepoint),
    ("forget-deletes", Sabotage::ForgetDeletes),
    ("send-from-start", Sabotage::SendFromStart),
    ("half-diff", Sabotage::HalfDiff),
    ("clock-decides", Sabotage::ClockDecides),
    ("late-clean", Sabotage::LateClean),
    ("forget-rebirth", Sabotage::ForgetRebirth),
    ("any-base", Sabotage::AnyBase),
    ("keep-acknowledged", Sabotage::KeepAcknowledged),
    ("last-writer-wins", Sabotage::LastWriterWins),
];

/// The one of that name.
pub fn named(name: &str) -> Option<Sabotage> {
    ALL.iter().find(|(known, _)| *known == name).map(|(_, sabotage)| *sabotage)
}
