//! Public key packages that are no sharing, and shares that do not fit one.

use super::*;

#[test]
fn a_package_that_is_no_sharing_is_refused() {
    for (threshold, members) in [(1, 1), (1, 4), (2, 2), (3, 5), (5, 5), (4, 40)] {
        let cluster = Cluster::deal(threshold, members, 0, &mut rng());
        let package = &cluster.package;
        let y = package.public_key();
        let shares = package.public_shares().to_vec();
        let refused = Err(PublicKeyPackageError::NotASharing { threshold });
        let new = |y, shares| PublicKeyPackage::new(y, 0, threshold, shares).map(drop);

        assert_eq!(new(random_point(), shares.clone()), refused);
        for place in 0..shares.len() {
            let mut wrong = shares.clone();
            wrong[place] = random_point();
            assert_eq!(new(y, wrong), refused);
        }
        if threshold > 1 {
            let mut swapped = shares.clone();
            swapped.swap(0, 1);
            assert_eq!(new(y, swapped), refused);
            let smaller = threshold - 1;
            assert_eq!(
                PublicKeyPackage::new(y, 0, smaller, shares.clone()).map(drop),
                Err(PublicKeyPackageError::NotASharing { threshold: smaller })
            );
        }
        let impossible = [0, members + 1];
        for threshold in impossible {
            assert_eq!(
                PublicKeyPackage::new(y, 0, threshold, shares.clone()).map(drop),
                Err(PublicKeyPackageError::Threshold { threshold, members })
            );
        }
    }
    let y = random_point();
    assert_eq!(
        PublicKeyPackage::new(y, 0, 1, Vec::new()).map(drop),
        Err(PublicKeyPackageError::Threshold {
            threshold: 1,
            members: 0
        })
    );
    assert_eq!(
        PublicKeyPackage::new(y, 0, 1, vec![y; 65_536]).map(drop),
        Err(PublicKeyPackageError::TooManyMembers { got: 65_536 })
    );
}

#[test]
fn a_key_share_that_does_not_fit_the_package_is_refused() {
    let cluster = Cluster::deal(2, 3, 1, &mut rng());
    let y = cluster.public_key();
    let share = |index, epoch, y, bytes: &[u8; 32]| {
        KeyShare::new(
            index,
            epoch,
            y,
            SecretScalar::from_canonical_bytes(bytes).unwrap(),
        )
    };
    let bytes = cluster.node(2).secret().to_bytes();
    let check = |share: Result<KeyShare, KeyShareError>| share.unwrap().check(&cluster.package);
    assert_eq!(check(share(2, 1, y, &bytes)), Ok(()));
    assert_eq!(
        share(0, 1, y, &bytes).unwrap_err(),
        KeyShareError::IndexZero
    );
    assert_eq!(
        check(share(2, 1, random_point(), &bytes)),
        Err(KeyShareError::OtherKey)
    );
    assert_eq!(
        check(share(2, 0, y, &bytes)),
        Err(KeyShareError::OtherEpoch {
            share: 0,
            package: 1
        })
    );
    assert_eq!(
        check(share(4, 1, y, &bytes)),
        Err(KeyShareError::NotAMember {
            index: 4,
            members: 3
        })
    );
    assert_eq!(
        check(share(3, 1, y, &bytes)),
        Err(KeyShareError::OtherPublicShare { index: 3 })
    );
}
