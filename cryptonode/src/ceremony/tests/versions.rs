//! Members that cannot take part say so by name, also when they cannot read what is proposed.

use dkg::{Message, SignedProposal};
use serde_bytes::ByteBuf;

use super::STEADY;
use super::cluster::{Node, cluster, wish};

/// The proposal's own version is another than this software's, or it has a field that this software does not know. The refusal names the ceremony, so
/// that its leader takes it for what it is.
#[tokio::test(flavor = "multi_thread")]
async fn a_proposal_that_this_version_cannot_read_is_refused_under_its_id() {
    let nodes = cluster(&["n1", "n2"], STEADY);
    nodes.iter().for_each(Node::start);
    let leader = nodes[0].leader(&wish(1));
    let proposal = leader.proposal().to_bytes();
    let altered = |from: &[u8], to: &[u8]| {
        let mut places = proposal.windows(from.len());
        let at = places.position(|window| window == from).unwrap();
        [&proposal[..at], to, &proposal[at + from.len()..]].concat()
    };
    let cases = [
        (altered(b"gversion\x01", b"gversion\x02"), "other-version"),
        (
            altered(b"gversion\x01", b"gversjon\x01"),
            "message-malformed",
        ),
    ];
    for (bytes, expected) in cases {
        let message = Message::Propose {
            proposal: SignedProposal {
                proposal: ByteBuf::from(bytes),
                signature: [0; 64],
            },
        };
        match nodes[1].tell(&nodes[0], message) {
            Message::Refused { ceremony, code, .. } => {
                assert_eq!((ceremony, code.as_str()), (leader.ceremony(), expected));
            }
            other => panic!("{other:?}"),
        }
        assert!(nodes[1].stage(&leader.ceremony()).is_none());
    }
}
