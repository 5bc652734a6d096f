//! The main job with the real programs: an office clones shops and keeps them in step.

use tests::kit::World;

const SALES: usize = 20;

#[test]
fn an_office_clones_two_shops_and_keeps_them_in_step() {
    let world = World::retail(&["north", "south"]);
    world.clone_all();
    for round in 0..2 {
        for (name, seed) in [("north", 10 + round), ("south", 20 + round)] {
            let shop = world.shop(name);
            shop.database.load(&fixtures::trade::day_of_sales(seed, SALES, i64::from(shop.id)));
        }
        world.office.load(&fixtures::trade::office_edits(30 + round, 40));
        let told = world.office(&["update", "--all", "--jobs", "2"]).succeeded();
        assert!(told.contains("north") && told.contains("south"), "{told}");
    }
    for name in ["north", "south"] {
        world.office(&["update", name]).succeeded();
        let again = world.office(&["--json", "update", name]).succeeded();
        assert!(again.contains("\"pulled_rows\":0") && again.contains("\"pushed_rows\":0"), "{again}");
        world.office(&["verify", name]).succeeded();
    }
    assert_eq!(world.office.int("select count(*) from sale where id > 1000000000000"), 4 * SALES as i64);
}
