//! Shares that real nodes gave, presented as something that they are not. The one who collects them finds out.

use reencrypt::{Opening, Progress, Share, ShareError};

use crate::asking::{Asked, Read, Said};
use crate::cluster::Scene;

async fn share(scene: &Scene, read: &Read, asked: &Asked, place: usize) -> Vec<u8> {
    match read.client.ask(scene, place, asked).await {
        Said::Share(share) => share,
        refused @ Said::Refused { .. } => panic!("{refused:?}"),
    }
}

fn verdict(scene: &Scene, read: &Read, share: &[u8]) -> Result<(), ShareError> {
    let package = scene.cluster.package();
    let public = read.ephemeral.public();
    Share::parse(share)
        .and_then(|share| share.verify(package, &read.wrapped, public))
        .map(drop)
}

#[test]
fn a_share_moved_to_another_read_or_node_is_found_out() {
    Scene::run(async |scene| {
        let (read, other) = (Read::new(scene), Read::new(scene));
        let (asked, of_other) = (read.asked(scene), other.asked(scene));
        let first = share(scene, &read, &asked, 0).await;
        let second = share(scene, &read, &asked, 1).await;
        let foreign = share(scene, &other, &of_other, 1).await;
        assert_eq!(verdict(scene, &read, &first), Ok(()));
        assert_eq!(verdict(scene, &other, &foreign), Ok(()));
        // A true share of another read; the first node's under the second one's number.
        let mut renumbered = first.clone();
        renumbered[..2].copy_from_slice(&second[..2]);
        for moved in [&foreign, &renumbered] {
            let refused = verdict(scene, &read, moved).unwrap_err();
            assert_eq!(refused.code(), "share-proof");
        }
        // The opening names whose answer it was, and goes on with others.
        let mut opening = Opening::new(
            read.wrapped,
            read.ephemeral,
            scene.cluster.package().clone(),
        )
        .unwrap();
        let index = |place: usize| scene.cluster.members()[place].index;
        assert!(matches!(opening.add(index(0), &first), Progress::Need(_)));
        match opening.add(index(1), &foreign) {
            Progress::Need(_) => {}
            other => panic!("{other:?}"),
        }
        assert!(
            opening
                .culprits()
                .iter()
                .any(|culprit| culprit.index == index(1))
        );
    });
}
