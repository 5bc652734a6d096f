//! One office with one shop, and the programs of PostgreSQL.

use std::io::Read;
use std::path::{Path, PathBuf};
use std::process::Command;

use fixtures::generate::{Size, office_data};
use flate2::read::MultiGzDecoder;
use replica::ReplicaError;
use replica::apply::Applied;
use tests::database::Database;
use tests::engine::Engine;
use tests::{process, psql};

/// Tables whose rows come from the office, or from both.
pub(crate) const TO_SHOP: [&str; 24] = [
    "branch",
    "category",
    "product",
    "product_supplier",
    "price",
    "service",
    "payment_method",
    "promotion",
    "promotion_item",
    "\"PriceTag\"",
    "city_location",
    "person",
    "address",
    "bank_account",
    "employee",
    "employee_role",
    "sales_person",
    "client",
    "supplier",
    "login_user",
    "user_profile",
    "shelf",
    "specimen",
    "warehouse.transfer",
];

/// Tables whose rows come from the shop, or from both.
pub(crate) const FROM_SHOP: [&str; 20] = [
    "stock",
    "sale",
    "sale_item",
    "payment",
    "sale_log",
    "device_report",
    "city_location",
    "person",
    "address",
    "bank_account",
    "employee",
    "employee_role",
    "sales_person",
    "client",
    "supplier",
    "login_user",
    "user_profile",
    "shelf",
    "specimen",
    "warehouse.transfer",
];

/// The fixtures' policy without row filters, with the deletes of every table.
fn policy() -> String {
    let mut text = String::new();
    for line in fixtures::POLICY.lines().filter(|line| !line.starts_with("rows ") && !line.starts_with("history")) {
        text += line;
        text += "\n";
        if ["[table.sale]", "[table.sale_item]", "[table.payment]", "[table.sale_log]"].contains(&line) {
            text += "deletes = \"send\"\n";
        }
    }
    text
}

/// An office with a corner shop's data, and a shop that was cloned from it.
pub(crate) async fn open(seed: u64) -> Engine {
    let world = Engine::new(fixtures::SCHEMA, &policy(), &["north"]).await;
    let mut data = Vec::new();
    let size = Size { products: 120, persons: 120, sale_items: 300, ..Size::corner_shop() };
    office_data(size, seed, &mut data).expect("seeded data");
    world.database.load(&String::from_utf8(data).expect("text"));
    world.database.execute("truncate sale, sale_item, payment, sale_log, stock, device_report, till_entry");
    world.clone_shop("north").await.expect("a clone");
    world
}

/// Applies a script at the shop as a client of the base methods sends it.
pub(crate) async fn raw_session(world: &Engine, input: impl Read + Send + 'static) -> Result<Applied, ReplicaError> {
    let session = world.session("north", None, None).await;
    world.shop("north").shop.apply_session(session.sid, Box::new(input)).await
}

/// The text of a stream in a spool.
pub(crate) fn text_of(path: &Path) -> String {
    let file = std::fs::File::open(path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut text = String::new();
    MultiGzDecoder::new(file).read_to_string(&mut text).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    text
}

/// A program of PostgreSQL, found beside psql.
pub(crate) fn program(name: &str) -> Option<PathBuf> {
    let beside = replica::embedded::find_binaries(None).ok().map(|found| found.program(name));
    let beside = beside.filter(|path| path.is_file());
    beside.or_else(|| psql::find().map(|psql| psql.with_file_name(name)).filter(|path| path.is_file()))
}

/// What `pg_dump --data-only` writes.
pub(crate) fn dump(database: &Database, args: &[&str]) -> Vec<u8> {
    let mut command = Command::new(program("pg_dump").expect("pg_dump"));
    command.args(["--data-only", "--no-owner"]).args(args).arg("--dbname").arg(database.url()).env("LC_ALL", "C");
    process::run(&mut command).succeeded().into_bytes()
}
