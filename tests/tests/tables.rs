//! Tables of every kind and rows in every order: foreign keys in cycles, trees, partitions, identity and generated
//! columns, odd names. What the schema makes happen on one side arrives on the other as data, once.

#[path = "tables/indexes.rs"]
mod indexes;
#[path = "tables/kinds.rs"]
mod kinds;
#[path = "tables/order.rs"]
mod order;
#[path = "tables/partitions.rs"]
mod partitions;
#[path = "tables/values.rs"]
mod values;
