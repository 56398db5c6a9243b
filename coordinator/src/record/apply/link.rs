//! Links between versions: that one was derived from another is on the record, and proven without decrypting either.

use super::{Rules, next_version};
use crate::record::{
    event::Event,
    identifier::{UserName, VersionName},
    rejection::Rejection,
    state::LinkVersion,
    transaction::{Link, Role},
};

impl Rules<'_> {
    pub(super) fn link(&mut self, it: &Link) -> Result<Vec<Event>, Rejection> {
        let name = it.name();
        let (author, _) = self.permitted(&name.dataset_name(), Role::Writer)?;
        next_version(
            "the link",
            self.state.link(&name).map_or(0, |link| link.version),
            it.version,
        )?;
        if it.from == it.to {
            return Err(Rejection::LinkToItself);
        }
        for end in [&it.from, &it.to] {
            self.check_end(end, &author)?;
        }

        let link = LinkVersion {
            version: it.version,
            from: it.from.clone(),
            to: it.to.clone(),
            relation: it.relation.clone(),
            author,
            transaction: self.transaction.id(),
            changed_ms: self.block.time_ms,
        };
        self.state
            .links
            .put(&mut self.state.tree, name.clone(), link);
        Ok(vec![Event::Linked {
            link: name,
            version: it.version,
        }])
    }

    /// A version that exists, in a dataset in which the author has some role: what is linked is claimed about.
    fn check_end(&self, end: &VersionName, author: &UserName) -> Result<(), Rejection> {
        let dataset = end.dataset_name();
        let permissions = self
            .state
            .permissions(&dataset)
            .ok_or_else(|| Rejection::UnknownDataset(dataset.clone()))?;
        if !permissions.knows(author) {
            return Err(Rejection::NotPermitted {
                user: author.clone(),
                role: Role::Reader,
                dataset,
            });
        }
        self.state
            .version(end)
            .map(|_| ())
            .ok_or_else(|| Rejection::UnknownVersion(end.clone()))
    }
}
