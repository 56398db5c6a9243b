//! Revocation lists that this organisation's peer looks at by itself, fresher than those on the record.
//!
//! What is on the record binds everybody, and comes there when a tenant publishes it. A peer decides on its own approvals, and may know more: `peer.toml` names authorities, and
//! where their newest lists are. A list is taken if the authority signed it, it is not of the future, and not older than the one that is held. What it revokes gets no
//! approval from this peer; it never gives what the record takes. A list that cannot be had leaves the last one, and the record's, in place: approvals of other
//! organisations would be given all the same, so nothing is gained by stopping.

use super::settings::RevocationSettings;
use crate::record::{FresherLists, Hash};
use certs::{RevocationList, chain::PkiAuthority, revocation_list_from_pem};
use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

/// How often lists are looked for.
const EVERY: Duration = Duration::from_secs(60);
/// How often a file is.
const EVERY_FILE: Duration = Duration::from_secs(1);
const WITHIN: Duration = Duration::from_secs(30);
const MAX_LIST: u64 = certs::MAX_REVOCATION_LIST as u64;
const MAX_CERTIFICATE: u64 = 64 * 1024;
/// How far thisUpdate may be ahead of this peer's clock, in seconds.
const TOLERANCE_S: u64 = 60;

/// One authority, and where its list is.
#[derive(Debug)]
pub struct Source {
    authority: PkiAuthority,
    from: From,
    held: Option<RevocationList>,
}

#[derive(Debug)]
enum From {
    File(PathBuf),
    Url(String),
}

/// Reads the authorities of the settings; relative paths are below the peer's folder.
///
/// # Errors
/// A sentence that says what is wrong with which entry.
pub fn sources(settings: &[RevocationSettings], folder: &Path) -> Result<Vec<Source>, String> {
    let read = |entry: &RevocationSettings| {
        let path = folder.join(&entry.authority);
        let wrong = |reason: String| format!("[[revocation]] {}: {reason}", path.display());
        let bytes = crate::folder::read_limited(&path, MAX_CERTIFICATE)
            .map_err(|error| wrong(error.to_string()))?;
        let found = certs::chain::certificates_from_pem(&bytes)
            .map_err(|error| wrong(error.to_string()))?;
        let [der] = found.as_slice() else {
            return Err(wrong("it must have one certificate".to_owned()));
        };
        let authority = PkiAuthority::from_der(der).map_err(|error| wrong(error.to_string()))?;
        let is_url = entry.list.starts_with("http://") || entry.list.starts_with("https://");
        let from = if is_url {
            From::Url(entry.list.clone())
        } else {
            From::File(folder.join(&entry.list))
        };
        Ok(Source {
            authority,
            from,
            held: None,
        })
    };
    settings.iter().map(read).collect()
}

/// Looks for lists, for ever; each source by a task of its own.
pub fn watch(sources: Vec<Source>, lists: &Arc<FresherLists>) -> tokio::task::JoinSet<()> {
    let mut tasks = tokio::task::JoinSet::new();
    for source in sources {
        tasks.spawn(watch_one(source, lists.clone()));
    }
    tasks
}

async fn watch_one(mut source: Source, lists: Arc<FresherLists>) {
    let mut last_failure = None;
    loop {
        match source.look(crate::platform::now_ms() / 1000).await {
            Ok(Some(serials)) => {
                let authority = source.authority.key_hash();
                tracing::info!(source = %source.from, revoked = serials.len(), "a revocation list is taken");
                lists.put(authority, serials);
                last_failure = None;
            }
            Ok(None) => last_failure = None,
            Err(reason) if last_failure.as_ref() != Some(&reason) => {
                tracing::warn!(source = %source.from, reason, "no revocation list is taken; the last one counts");
                last_failure = Some(reason);
            }
            Err(_) => {}
        }
        tokio::time::sleep(match source.from {
            From::File(_) => EVERY_FILE,
            From::Url(_) => EVERY,
        })
        .await;
    }
}

impl Source {
    /// Whose list it is.
    #[must_use]
    pub fn authority(&self) -> Hash {
        self.authority.key_hash()
    }

    /// What the list revokes, if there is another one than before.
    async fn look(&mut self, now_s: u64) -> Result<Option<Vec<Vec<u8>>>, String> {
        let bytes = match &self.from {
            From::File(path) => {
                let path = path.clone();
                let reading = tokio::task::spawn_blocking(move || {
                    crate::folder::read_limited(&path, MAX_LIST)
                });
                let read = reading.await.map_err(|error| error.to_string())?;
                read.map_err(|error| error.to_string())?.to_vec()
            }
            From::Url(url) => fetch(url).await?,
        };
        let der = if bytes.starts_with(b"-----BEGIN") {
            revocation_list_from_pem(&bytes).map_err(|error| error.to_string())?
        } else {
            bytes
        };
        let list = self
            .authority
            .revocation_list(&der)
            .map_err(|error| error.to_string())?;
        if self.held.as_ref() == Some(&list) {
            return Ok(None);
        }
        list.may_replace(self.held.as_ref(), now_s, TOLERANCE_S)
            .map_err(|error| error.to_string())?;
        let serials = list.serials().map(<[u8]>::to_vec).collect();
        self.held = Some(list);
        Ok(Some(serials))
    }
}

async fn fetch(url: &str) -> Result<Vec<u8>, String> {
    let failed = |error: reqwest::Error| error.to_string();
    let client = reqwest::Client::builder()
        .timeout(WITHIN)
        .build()
        .map_err(failed)?;
    let mut response = client
        .get(url)
        .send()
        .await
        .and_then(reqwest::Response::error_for_status)
        .map_err(failed)?;
    let mut bytes = Vec::new();
    while let Some(part) = response.chunk().await.map_err(failed)? {
        if bytes.len() as u64 + part.len() as u64 > MAX_LIST {
            return Err("the list is too long".to_owned());
        }
        bytes.extend_from_slice(&part);
    }
    Ok(bytes)
}

impl std::fmt::Display for From {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::File(path) => write!(f, "{}", path.display()),
            Self::Url(url) => f.write_str(url),
        }
    }
}

#[cfg(test)]
mod tests {
    #![allow(clippy::unwrap_used, clippy::panic)]
    use super::*;
    use certs::{Algorithm, Issuer};

    const NOW: u64 = 1_800_000_000;

    fn list(issuer: &Issuer, serials: &[&[u8]], number: u64, at: u64) -> Vec<u8> {
        issuer
            .revocation_list(serials, number, at, at + 3_600)
            .unwrap()
    }

    #[tokio::test]
    async fn a_file_is_taken_when_its_authority_signed_it_and_it_is_no_older() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("list.crl");
        let generate = || Issuer::generate("people", Algorithm::EcdsaP256, NOW, NOW + 86_400);
        let (issuer, other) = (generate().unwrap(), generate().unwrap());
        std::fs::write(folder.path().join("ca.pem"), issuer.certificate_pem()).unwrap();
        let settings = RevocationSettings {
            authority: "ca.pem".to_owned(),
            list: "list.crl".to_owned(),
        };
        let missing = RevocationSettings {
            authority: "none.pem".to_owned(),
            ..settings.clone()
        };
        assert!(sources(&[missing], folder.path()).is_err());
        let mut source = sources(&[settings], folder.path()).unwrap().remove(0);
        assert!(source.look(NOW).await.is_err(), "there is no file");

        let write = |bytes: Vec<u8>| std::fs::write(&path, bytes).unwrap();
        write(list(&other, &[&[7]], 1, NOW));
        assert!(source.look(NOW).await.is_err(), "another authority's");
        write(list(&issuer, &[&[7]], 2, NOW));
        assert_eq!(source.look(NOW).await, Ok(Some(vec![vec![7]])));
        assert_eq!(source.look(NOW).await, Ok(None));
        write(list(&issuer, &[], 1, NOW));
        assert!(source.look(NOW).await.is_err(), "an older one");
        write(list(&issuer, &[&[7], &[9]], 3, NOW + 600));
        assert!(source.look(NOW).await.is_err(), "of the future");
        let both = Ok(Some(vec![vec![7], vec![9]]));
        assert_eq!(source.look(NOW + 600).await, both);
    }

    /// A company's web server: each question gets the next of these answers.
    fn server(answers: Vec<(&'static str, Vec<u8>)>) -> (String, std::thread::JoinHandle<()>) {
        use std::io::{BufRead as _, BufReader, Write as _};
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/people.crl", listener.local_addr().unwrap());
        let serving = std::thread::spawn(move || {
            for (status, body) in answers {
                let (mut stream, _) = listener.accept().unwrap();
                let request = BufReader::new(stream.try_clone().unwrap()).lines();
                let asked: Vec<String> = request
                    .map(Result::unwrap)
                    .take_while(|line| !line.is_empty())
                    .collect();
                assert!(asked.concat().starts_with("GET /people.crl "), "{asked:?}");
                let length = body.len();
                let head = format!(
                    "HTTP/1.1 {status}\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n"
                );
                stream.write_all(head.as_bytes()).unwrap();
                // One that is too long may not be read to its end.
                let _ = stream.write_all(&body);
            }
        });
        (url, serving)
    }

    #[tokio::test]
    async fn a_list_at_an_address_is_taken_likewise_and_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let issuer = Issuer::generate("people", Algorithm::EcdsaP256, NOW, NOW + 86_400).unwrap();
        let other = Issuer::generate("people", Algorithm::EcdsaP256, NOW, NOW + 86_400).unwrap();
        std::fs::write(folder.path().join("ca.pem"), issuer.certificate_pem()).unwrap();
        let (first, second) = (
            list(&issuer, &[&[7]], 1, NOW),
            list(&issuer, &[&[9]], 2, NOW),
        );
        let too_long = vec![0; usize::try_from(MAX_LIST).unwrap() + 1];
        let (url, serving) = server(vec![
            ("200 OK", first.clone()),
            ("503 Service Unavailable", b"later".to_vec()),
            ("200 OK", list(&other, &[], 3, NOW)),
            ("200 OK", too_long),
            ("200 OK", b"<html>not found</html>".to_vec()),
            ("200 OK", second),
            ("200 OK", first),
        ]);
        let settings = RevocationSettings {
            authority: "ca.pem".to_owned(),
            list: url,
        };
        let mut source = sources(&[settings], folder.path()).unwrap().remove(0);
        assert_eq!(source.look(NOW).await, Ok(Some(vec![vec![7]])));
        // The server is down, somebody else's list, one without end, an error page: the list that is held stays.
        for _ in 0..4 {
            assert!(source.look(NOW).await.is_err());
            assert!(
                source
                    .held
                    .as_ref()
                    .is_some_and(|it| it.serials().eq([&[7_u8][..]]))
            );
        }
        assert_eq!(source.look(NOW).await, Ok(Some(vec![vec![9]])));
        assert!(source.look(NOW).await.is_err(), "the older one again");
        serving.join().unwrap();
        // Nobody listens there any more.
        assert!(source.look(NOW).await.is_err());
    }
}
