//! Two dealers in league, against real nodes over QUIC.
//!
//! They deal wrong shares to two members: errors that cancel in the sum of the one, and not in that of the other. The one finds its share
//! right; the other asks for the whole deals and complains of both. Had a member looked at its own sum alone, and nobody further, the
//! key would have a share that is worth nothing as soon as one of the two dealers does not count.

use curve25519_dalek::Scalar;
use testkit::misbehaviour::Misbehaviour;
use threshold_exchange::site::Site;
use tokio::runtime::Runtime;

use crate::impostor::so_many_nodes;
use crate::members::{Seated, all_have, identity_of, make_key_without};

/// The first leads; the sum of the second is right, that of the third is not.
const HONEST: [usize; 3] = [0, 1, 2];
const DECEIVED: usize = 1;
const WRONGED: usize = 2;
const CHEATS: [usize; 2] = [3, 4];

/// Whether a node's log says that it came to this stage of a ceremony.
fn came_to(site: &Site, seat: usize, stage: &str) -> bool {
    let log = site.layout().log(&site.nodes()[seat].name);
    let log = std::fs::read_to_string(log).unwrap();
    log.contains(&format!("to=\"{stage}\""))
}

#[test]
fn errors_that_cancel_in_one_nodes_sum_and_not_in_anothers_name_both_dealers() {
    let runtime = Runtime::new().unwrap();
    let mut site = runtime.block_on(so_many_nodes("conspiracy", 5));
    // Before they run: their stores are closed.
    let [deceived, wronged] =
        [DECEIVED, WRONGED].map(|seat| identity_of(&site, seat).signing.verifying_key().to_bytes());
    runtime.block_on(async {
        for seat in HONEST {
            site.start_node(seat).await.unwrap();
        }
    });
    let [plus, minus] = [Scalar::ONE, -Scalar::ONE];
    let cheats = [plus, minus].into_iter().zip(CHEATS).map(|(error, seat)| {
        Seated::who_errs(&site, seat, vec![(deceived, error), (wronged, plus)])
    });
    let cheats: Vec<Seated> = cheats.collect();
    let made = runtime.block_on(make_key_without(&site, 0, "2"));
    assert_eq!(made["outcome"], "activated", "{made}");
    assert!(cheats.iter().all(|cheat| cheat.lies() > 0));

    // Both are named, with proof, and nobody else.
    let mut named: Vec<&str> = Vec::new();
    for one in made["excluded"].as_array().unwrap() {
        assert_eq!(one["proved"], true, "{made}");
        assert_eq!(one["code"], "deal-share", "{made}");
        named.push(one["member"].as_str().unwrap());
    }
    named.sort_unstable();
    let names = CHEATS.map(|seat| site.nodes()[seat].name.as_str());
    assert_eq!(named, names, "{made}");
    // By the one in whose sum they do not cancel; the other has found nothing wrong.
    for stage in ["deals-wanted", "complained"] {
        assert!(came_to(&site, WRONGED, stage), "{stage}");
        assert!(!came_to(&site, DECEIVED, stage), "{stage}");
    }
    assert!(came_to(&site, DECEIVED, "acknowledged"));
    let key = made["public_key"].as_str().unwrap();
    runtime.block_on(all_have(&site, &HONEST, key, Misbehaviour::WrongShare));
}
