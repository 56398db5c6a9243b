//! The acts of the story, in their order.

use std::path::Path;

use serde_json::Value;

use super::document::Document;
use super::phases::ToldRead;
use super::story::{Story, Told, human_size};
use super::{audits, read_back};
use crate::site::{Exchange, READER, STRANGER, Site, SiteError, WRITER};

/// The nodes that are killed, by their places: two that the cluster can do without, and one more.
const SPARE: [usize; 2] = [3, 4];
const ONE_MORE: usize = 2;

/// Plays the story until it ends or a step fails.
pub(super) async fn play(
    site: &mut Site,
    story: &mut Story,
    documents: &[Document],
    reads: &mut Vec<ToldRead>,
) {
    // A failed step has told why; what comes after it would only repeat it.
    let _ = play_through(site, story, documents, reads).await;
}

async fn play_through(
    site: &mut Site,
    story: &mut Story,
    documents: &[Document],
    reads: &mut Vec<ToldRead>,
) -> Option<()> {
    story.heading("A cluster whose key nobody holds");
    let exchange = build(site, story).await?;

    story.heading("Documents");
    for document in documents {
        write(story, &exchange, document).await?;
        reads.push(read(site, story, &exchange, document, "read", "all nodes up:").await?);
    }
    let first = documents.first()?;
    stranger(site, story, &exchange, first).await?;

    story.heading("Nodes fail and come back");
    kill(site, story, "kill-two-nodes", &SPARE).await?;
    reads.push(
        read(
            site,
            story,
            &exchange,
            first,
            "read-with-two-dead",
            "two nodes dead:",
        )
        .await?,
    );
    kill(site, story, "kill-a-third-node", &[ONE_MORE]).await?;
    too_few(site, story, &exchange, first).await?;
    restart(site, story, ONE_MORE).await?;
    reads.push(
        read(
            site,
            story,
            &exchange,
            first,
            "read-after-restart",
            "one is back:",
        )
        .await?,
    );

    story.heading("What outsiders can check");
    audits::verify(site, story, &exchange, reads.len()).await
}

async fn build(site: &mut Site, story: &mut Story) -> Option<Exchange> {
    let plan = *site.plan();
    let names = plan.organisation_names().join(", ");
    let title = format!(
        "{} organisations make their keys and agree that {} must approve each read",
        plan.organisations, plan.approvals
    );
    story
        .step("init-organisations", title, async {
            site.init_platform().await?;
            Ok::<_, SiteError>((
                (),
                Told::new(format!(
                    "{names}; the nodes get their policy, with the approval CAs"
                ))
                .with("organisations", plan.organisations)
                .with("approvals_needed", plan.approvals),
            ))
        })
        .await?;
    story
        .step(
            "init-nodes",
            format!(
                "{} crypto nodes make their identities, with a recovery phrase each",
                plan.nodes
            ),
            async {
                site.init_nodes().await?;
                Ok::<_, SiteError>((
                    (),
                    Told::new("each knows the others by a public card").with("nodes", plan.nodes),
                ))
            },
        )
        .await?;
    story
        .step(
            "start-nodes",
            format!("{} crypto nodes start, a process each", plan.nodes),
            async {
                site.start_nodes().await?;
                let ports: Vec<String> = site
                    .nodes()
                    .iter()
                    .map(|node| node.address.port().to_string())
                    .collect();
                Ok::<_, SiteError>((
                    (),
                    Told::new(format!("QUIC on 127.0.0.1, ports {}", ports.join(", "))),
                ))
            },
        )
        .await?;
    let key = story
        .step(
            "key-generation",
            format!(
                "They generate a key together: any {} of {} can use it, nobody holds it",
                plan.threshold, plan.nodes
            ),
            async {
                site.generate_key().await?;
                let key = site.public_key()?;
                let told = Told::new(format!("Y = {}", hex::encode(key)))
                    .with("public_key", hex::encode(key));
                Ok::<_, SiteError>((
                    key,
                    told.with("threshold", plan.threshold)
                        .with("members", plan.nodes),
                ))
            },
        )
        .await?;
    story
        .step(
            "start-platform",
            "The platform starts, with a peer of each organisation for the golden record",
            async {
                site.start_platform().await?;
                Ok::<_, SiteError>((
                    (),
                    Told::new(format!("REST on {}", site.url())).with("url", site.url()),
                ))
            },
        )
        .await?;
    story
        .step("enrol", format!("{WRITER}, {READER} and {STRANGER} are registered; {WRITER} makes a dataset under Y and lets {READER} read"), async {
            let exchange = Exchange::enrol(site, key).await?;
            Ok::<_, SiteError>((exchange, Told::new("each signs with a key of their own")))
        })
        .await
}

async fn write(story: &mut Story, exchange: &Exchange, document: &Document) -> Option<()> {
    let title = format!(
        "{WRITER} writes {} ({})",
        document.file.display(),
        human_size(document.length)
    );
    story
        .step("write", title, async {
            let written = exchange.write(&document.name, &document.file).await?;
            let told = Told::new(format!(
                "document {}, version {}, on the record in block {}",
                document.name, written.version, written.receipt.height
            ))
            .with("document", document.name.as_str())
            .with("bytes", written.length)
            .with("sha256", written.sha256)
            .with("transaction", written.receipt.transaction_id);
            Ok::<_, SiteError>(((), told))
        })
        .await
}

async fn read(
    site: &Site,
    story: &mut Story,
    exchange: &Exchange,
    document: &Document,
    name: &'static str,
    when: &'static str,
) -> Option<ToldRead> {
    let into = read_back(site, document);
    story
        .step(
            name,
            format!("{READER} reads {} and compares", document.name),
            async {
                let got = exchange.read(&document.name, &into).await?;
                compare(document, &into).await?;
                let report = got.report.ok_or_else(|| {
                    SiteError::Unexpected("the platform kept no report of the read".to_owned())
                })?;
                let approved: Vec<&str> = report
                    .organisations
                    .iter()
                    .filter(|o| o.approved)
                    .map(|o| o.organisation.as_str())
                    .collect();
                let answered: Vec<&str> = report
                    .nodes
                    .iter()
                    .filter(|n| n.outcome == "answered")
                    .map(|n| n.name.as_str())
                    .collect();
                let told = Told::new(format!(
                    "the same {} came back; approved by {}; re-encrypted by {}",
                    human_size(got.length),
                    approved.join(", "),
                    answered.join(", ")
                ))
                .with("document", document.name.as_str())
                .with("bytes", got.length)
                .with("sha256", got.sha256)
                .with("transaction", report.transaction_id.as_str());
                Ok::<_, SiteError>((ToldRead { when, report }, told))
            },
        )
        .await
}

async fn compare(document: &Document, with: &Path) -> Result<(), SiteError> {
    let (ours, theirs) = (document.clone(), with.to_owned());
    let same = tokio::task::spawn_blocking(move || ours.is_same_as(&theirs)).await;
    match same {
        Ok(Ok(true)) => Ok(()),
        Ok(Ok(false)) => Err(SiteError::Unexpected(format!(
            "what was read back into {} differs from {}; was the file changed meanwhile?",
            with.display(),
            document.file.display()
        ))),
        Ok(Err(source)) => Err(SiteError::Io {
            what: format!("compare with {}", document.file.display()),
            source,
        }),
        Err(error) => Err(SiteError::Unexpected(format!(
            "the comparison stopped: {error}"
        ))),
    }
}

async fn stranger(
    site: &Site,
    story: &mut Story,
    exchange: &Exchange,
    document: &Document,
) -> Option<()> {
    let into = read_back(site, document).with_extension("stolen");
    story
        .step(
            "stranger-refused",
            format!("{STRANGER}, whom nobody let in, tries the same"),
            async {
                let error = expect_refusal(
                    exchange.read_as_stranger(&document.name, &into).await,
                    &["not-permitted"],
                )?;
                if into.exists() {
                    return Err(SiteError::Unexpected(format!(
                        "{} exists although the read was refused",
                        into.display()
                    )));
                }
                Ok::<_, SiteError>(((), told_refusal(&error)))
            },
        )
        .await
}

async fn kill(
    site: &mut Site,
    story: &mut Story,
    name: &'static str,
    places: &[usize],
) -> Option<()> {
    let names: Vec<String> = places
        .iter()
        .filter_map(|&at| site.nodes().get(at))
        .map(|node| node.name.clone())
        .collect();
    let names = names.join(" and ");
    story
        .step(name, format!("{names} lose power (SIGKILL)"), async {
            for &place in places {
                site.kill_node(place).await?;
            }
            let left = site.nodes().iter().filter(|node| node.is_running()).count();
            Ok::<_, SiteError>((
                (),
                Told::new(format!("{left} of {} nodes are left", site.nodes().len()))
                    .with("left", left),
            ))
        })
        .await
}

async fn too_few(
    site: &Site,
    story: &mut Story,
    exchange: &Exchange,
    document: &Document,
) -> Option<()> {
    let into = read_back(site, document).with_extension("too-few");
    story
        .step(
            "too-few-nodes-refused",
            format!("{READER} tries to read with two nodes left"),
            async {
                let error = expect_refusal(
                    exchange.read(&document.name, &into).await,
                    &["too-few-answers"],
                )?;
                Ok::<_, SiteError>(((), told_refusal(&error)))
            },
        )
        .await
}

/// A refusal with one of these codes is what should come; anything else is a failure of the step.
fn expect_refusal<T>(result: Result<T, SiteError>, codes: &[&str]) -> Result<SiteError, SiteError> {
    match result {
        Ok(_) => Err(SiteError::Unexpected(
            "it was let in, and should have been refused".to_owned(),
        )),
        Err(error @ SiteError::Platform { .. }) if codes.contains(&error.code()) => Ok(error),
        Err(error) => Err(SiteError::Unexpected(format!(
            "it was refused for another reason than it should: {error}"
        ))),
    }
}

fn told_refusal(error: &SiteError) -> Told {
    Told::new(format!("refused, as it should be: {error}"))
        .with("code", error.code())
        .with("message", error.to_string())
}

async fn restart(site: &mut Site, story: &mut Story, place: usize) -> Option<()> {
    let name = site
        .nodes()
        .get(place)
        .map(|node| node.name.clone())
        .unwrap_or_default();
    story
        .step("restart-node", format!("{name} starts again, from its own disk"), async {
            site.start_node(place).await?;
            Ok::<_, SiteError>(((), Told::new("it checked its share against its public share, and its audit log, before it served").with("node", name.as_str())))
        })
        .await
}

/// Stops everything, whatever happened before.
pub(super) async fn stop(site: &mut Site, story: &mut Story) {
    let processes = site.pids().len();
    let title = format!("{processes} processes are stopped");
    let _ = story
        .step("stop", title, async {
            let pids = site.pids();
            let killed = site.stop().await?;
            if !killed.is_empty() {
                return Err(SiteError::Unexpected(format!(
                    "{} did not stop when asked and had to be killed",
                    killed.join(", ")
                )));
            }
            let left: Vec<String> = pids
                .iter()
                .filter(|pid| Path::new(&format!("/proc/{pid}")).exists())
                .map(u32::to_string)
                .collect();
            if !left.is_empty() {
                return Err(SiteError::Unexpected(format!(
                    "processes {} are still there",
                    left.join(", ")
                )));
            }
            Ok((
                (),
                Told::new("nothing is left running").with("processes", Value::from(processes)),
            ))
        })
        .await;
}
