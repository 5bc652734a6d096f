//! Every input of the corpus, and some made out of them, against every reader. The program `fuzz` goes on from here.

use tests::fuzz::mutate::Mutator;
use tests::fuzz::{all, corpus, http};
use tests::kit::{Plan, World};
use tests::wait_for;

/// Inputs made out of each corpus.
const MUTATIONS: usize = 1500;

#[test]
fn no_input_of_the_corpus_and_none_made_of_it_breaks_a_promise_of_a_reader() {
    for target in all() {
        let inputs = corpus::read(&corpus::dir(target.name)).expect("a corpus");
        assert!(!inputs.is_empty(), "{} has no corpus", target.name);
        for (name, input) in &inputs {
            println!("{}/{name}: {}", target.name, (target.run)(input));
        }
        let pool: Vec<Vec<u8>> = inputs.into_iter().map(|(_, input)| input).collect();
        let mut mutator = Mutator::new(1, target.dictionary);
        for _ in 0..MUTATIONS {
            let input = mutator.next(&pool);
            // said when it fails
            println!("{} {}", target.name, String::from_utf8_lossy(&input[..input.len().min(200)]));
            (target.run)(&input);
        }
    }
}

#[test]
fn whatever_comes_over_http_the_agent_answers_or_closes_and_serves_on() {
    let world = World::new(&Plan::of(
        "create table note (id int primary key, text text)",
        "name = \"p\"\n[tables]\nnote = \"both\"",
        "",
    ));
    let address = world.shops[0].url().trim_start_matches("http://");
    let inputs = corpus::read(&corpus::dir("http")).expect("a corpus");
    for (name, input) in &inputs {
        println!("{name}: {}", http::exchange(address, input));
    }
    let pool: Vec<Vec<u8>> = inputs.into_iter().map(|(_, input)| input).collect();
    let mut mutator = Mutator::new(1, http::WORDS);
    for _ in 0..MUTATIONS / 5 {
        http::exchange(address, &mutator.next(&pool));
    }
    wait_for::condition("an answer to a sane call", || http::still_serves(address));
}
