//! Attacks, each against the real programs. They cost nobody but the attacker: an honest office is served all the while,
//! the agent's memory stays bounded (I16), nothing of the shop's database or of its catalogue changes, and no secret shows.

#[path = "attacks/answers.rs"]
mod answers;
#[path = "attacks/besieged.rs"]
mod besieged;
#[path = "attacks/credentials.rs"]
mod credentials;
#[path = "attacks/documents.rs"]
mod documents;
#[path = "attacks/hostile_server.rs"]
mod hostile_server;
#[path = "attacks/http.rs"]
mod http;
#[path = "attacks/sql.rs"]
mod sql;
