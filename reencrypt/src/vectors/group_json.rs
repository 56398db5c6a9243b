//! `group.json`. Section 1: generators and hashing.

use super::*;

#[derive(Deserialize)]
struct File {
    generator: Bytes,
    shadow_generator: Bytes,
    hash: Vec<Hashed>,
}

#[derive(Deserialize)]
struct Hashed {
    tag: String,
    items: Vec<Bytes>,
    hash: Bytes,
    scalar: Bytes,
}

#[test]
fn vectors_of_generators() {
    let file: File = load("group.json");
    assert_eq!(Point::generator().as_bytes(), &file.generator.array());
    assert_eq!(
        Point::shadow_generator().as_bytes(),
        &file.shadow_generator.array()
    );
    assert_eq!(file.generator.point(), Point::generator());
    assert_eq!(file.shadow_generator.point(), Point::shadow_generator());
}

#[test]
fn vectors_of_hashes() {
    let file: File = load("group.json");
    assert!(!file.hash.is_empty());
    for vector in file.hash {
        let items: Vec<&[u8]> = vector.items.iter().map(|item| item.0.as_slice()).collect();
        assert_eq!(hash(&vector.tag, &items), vector.hash.array());
        assert_eq!(
            hash_to_scalar(&vector.tag, &items).to_bytes(),
            vector.scalar.array()
        );
    }
}
